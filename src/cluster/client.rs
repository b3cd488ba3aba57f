//! Talking to the API server: HTTP/2 in separate sets of connections, and calls with a deadline under a named identity.
//!
//! The server allows a hundred streams for each connection, so watches have connections of their own. kube's own retries are not
//! used: they repeat creates.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use tower::{BoxError, ServiceBuilder};

use super::account::is_dns_name;
use super::error::{classify, on_the_way};
use super::fence::Fence;
use crate::engine::action::{Fault, FaultKind};
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::Code;

/// How a connection is found out to be dead.
#[derive(Clone, Copy)]
struct Ping {
    every: Duration,
    answered: Duration,
}

const PING: Ping = Ping { every: Duration::from_secs(30), answered: Duration::from_secs(20) };
/// A renewal on a dead connection must not cost the Lease.
const LEASE_PING: Ping = Ping { every: Duration::from_secs(2), answered: Duration::from_secs(2) };
/// How long a call about a Lease may take.
const LEASE_DEADLINE: Duration = Duration::from_secs(2);

/// How long a call may take that is not a watch; below the server's own minute.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often a read is tried.
const READ_TRIES: u32 = 4;
/// What is asked by a create that creates nothing.
const REVIEWS: &[&str] = &["/apis/authorization.k8s.io/", "/apis/authentication.k8s.io/"];
/// The longest pause between two tries of a read.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Watches on one connection.
const WATCHES_PER_CONNECTION: usize = 60;

/// All connections of the process.
pub struct Connections {
    config: Config,
    calls: Client,
    leases: Client,
    watches: Mutex<Vec<WatchClient>>,
    fence: Arc<Fence>,
    telemetry: Arc<Telemetry>,
}

/// A connection could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No kubeconfig and no service account of a pod.
    #[error("no cluster to talk to: neither a kubeconfig nor a pod's service account was found")]
    Config(#[from] kube::config::InferConfigError),
    /// The kubeconfig that was named is not there, or has no such context.
    #[error("the kubeconfig cannot be used")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The kubeconfig cannot be used.
    #[error("the connection's credentials cannot be used")]
    Credentials(#[from] kube::Error),
}

/// The cluster that a person names; by default the kubeconfig's, or that of the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// A kubeconfig, instead of those of `KUBECONFIG` and of the home directory.
    pub kubeconfig: Option<PathBuf>,
    /// A context of it, instead of its current one.
    pub context: Option<String>,
}

impl Connections {
    /// Connects with the kubeconfig or, in a pod, with its service account. Nothing is sent yet.
    pub async fn infer() -> Result<Self, ConnectError> {
        Self::new(Config::infer().await?)
    }

    /// Connects to the cluster that a person names.
    pub async fn of(place: &Place) -> Result<Self, ConnectError> {
        if *place == Place::default() {
            return Self::infer().await;
        }
        let kubeconfig = match &place.kubeconfig {
            Some(file) => Kubeconfig::read_from(file)?,
            None => Kubeconfig::read()?,
        };
        let options = KubeConfigOptions { context: place.context.clone(), ..KubeConfigOptions::default() };
        Self::new(Config::from_custom_kubeconfig(kubeconfig, &options).await?)
    }

    /// Connects with a configuration.
    pub fn new(mut config: Config) -> Result<Self, ConnectError> {
        config.default_retry = false;
        let (calls, leases) = (client(&config, PING)?, client(&config, LEASE_PING)?);
        Ok(Self {
            config,
            calls,
            leases,
            watches: Mutex::new(Vec::new()),
            fence: Arc::new(Fence::open()),
            telemetry: Arc::default(),
        })
    }

    /// The same, telling what happens there.
    #[must_use]
    pub fn watched_by(mut self, telemetry: Arc<Telemetry>) -> Self {
        self.telemetry = telemetry;
        self
    }

    /// The same with a fence that no write passes before a Lease has opened it.
    #[must_use]
    pub fn fenced(self) -> Self {
        Self { fence: Arc::new(Fence::closed()), ..self }
    }

    /// What bounds the time in which writes are sent.
    pub fn fence(&self) -> Arc<Fence> {
        self.fence.clone()
    }

    /// Whom what happens is told.
    pub fn telemetry(&self) -> Arc<Telemetry> {
        self.telemetry.clone()
    }

    /// Calls under the operator's own identity.
    pub fn calls(&self) -> Calls {
        Calls {
            client: self.calls.clone(),
            account: None,
            fence: self.fence.clone(),
            telemetry: self.telemetry.clone(),
            deadline: DEADLINE,
        }
    }

    /// Calls for Leases: on a connection of their own, so that nothing holds up a renewal, and past the fence that they open.
    pub fn lease_calls(&self) -> Calls {
        Calls {
            client: self.leases.clone(),
            account: None,
            fence: Arc::new(Fence::open()),
            telemetry: self.telemetry.clone(),
            deadline: LEASE_DEADLINE,
        }
    }

    /// The namespace that the configuration names.
    pub fn default_namespace(&self) -> &str {
        &self.config.default_namespace
    }

    /// A client for one more watch.
    pub fn for_watch(&self) -> Result<WatchClient, ConnectError> {
        let mut clients = self.watches.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // One of each is here.
        if let Some(free) = clients.iter().find(|client| Arc::strong_count(&client.used) <= WATCHES_PER_CONNECTION) {
            return Ok(free.clone());
        }
        let one = WatchClient { client: client(&self.config, PING)?, used: Arc::new(()) };
        clients.push(one.clone());
        Ok(one)
    }
}

/// A connection for watches, on which one has a place as long as this lives.
#[derive(Clone)]
pub struct WatchClient {
    client: Client,
    used: Arc<()>,
}

impl std::ops::Deref for WatchClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Requests under one identity.
#[derive(Clone)]
pub struct Calls {
    client: Client,
    account: Option<HeaderValue>,
    fence: Arc<Fence>,
    telemetry: Arc<Telemetry>,
    deadline: Duration,
}

/// One request.
pub struct Call<'a> {
    /// The verb.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Body and its content type.
    pub body: Option<(&'a Value, &'static str)>,
    /// Whether the answer may quote a Secret.
    pub about_secret: bool,
}

impl Calls {
    /// The same connection under a service account: by `Impersonate-User` alone, the server adds the groups.
    #[must_use]
    pub fn acting_as(&self, namespace: &str, account: &str) -> Self {
        let user = format!("system:serviceaccount:{namespace}:{account}");
        // What is no name of an account must not leave us with the operator's own rights, nor become another user: as nobody,
        // everything is refused.
        let is_one = is_dns_name(namespace) && is_dns_name(account);
        let account = HeaderValue::from_str(&user).ok().filter(|_| is_one);
        let account = account.unwrap_or(HeaderValue::from_static("system:anonymous"));
        Self {
            client: self.client.clone(),
            account: Some(account),
            fence: self.fence.clone(),
            telemetry: self.telemetry.clone(),
            deadline: self.deadline,
        }
    }

    /// Whom what happens is told.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Reads one JSON value.
    pub async fn get(&self, path: String) -> Result<Value, Fault> {
        self.send(Call { method: Method::GET, path, body: None, about_secret: false }).await
    }

    /// Creates through a POST.
    pub async fn post(&self, path: String, body: &Value) -> Result<Value, Fault> {
        let body = Some((body, "application/json"));
        self.send(Call { method: Method::POST, path, body, about_secret: false }).await
    }

    /// Reads aggregated discovery.
    pub async fn discover(&self, path: &str) -> Result<Value, Fault> {
        let call = Call { method: Method::GET, path: path.to_owned(), body: None, about_secret: false };
        let bytes = self.bytes(call, Some(kube::core::discovery::v2::ACCEPT_AGGREGATED_DISCOVERY_V2)).await?;
        serde_json::from_slice(&bytes).map_err(|error| on_the_way("reading discovery", &error))
    }

    /// Reads one page of a list.
    pub async fn list(&self, path: String, metadata_only: bool) -> Result<Value, Fault> {
        const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        let what = format!("GET {}", path.split('?').next().unwrap_or_default());
        let call = Call { method: Method::GET, path, body: None, about_secret: false };
        let bytes = self.bytes(call, metadata_only.then_some(METADATA)).await?;
        serde_json::from_slice(&bytes).map_err(|error| on_the_way(&what, &error))
    }

    /// Reads text of at most `limit` bytes.
    pub async fn text(&self, path: String, limit: usize) -> Result<String, Fault> {
        let bytes = self.bytes(Call { method: Method::GET, path, body: None, about_secret: false }, None).await?;
        let end = bytes.len().min(limit);
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    /// Sends a request and reads its JSON answer.
    pub async fn send(&self, call: Call<'_>) -> Result<Value, Fault> {
        let what = format!("{} {}", call.method, call.path.split('?').next().unwrap_or_default());
        let bytes = self.bytes(call, None).await?;
        serde_json::from_slice(&bytes).map_err(|error| on_the_way(&what, &error))
    }

    /// Sends a request. Reads, and reviews of rights, change nothing: they are repeated a few times; writes never are here, because
    /// only the engine knows whether one may be.
    async fn bytes(&self, call: Call<'_>, accept: Option<&'static str>) -> Result<Vec<u8>, Fault> {
        let repeatable = call.method == Method::GET || REVIEWS.iter().any(|reviews| call.path.starts_with(reviews));
        let mut pause = Duration::from_millis(100);
        let started = tokio::time::Instant::now();
        for _ in 1..READ_TRIES {
            match self.once(&call, accept).await {
                Err(fault)
                    if repeatable && fault.kind == FaultKind::Transient && started.elapsed() < self.deadline / 3 =>
                {
                    // The server may name a pause; one that is long is not waited for, the caller has deadlines of its own.
                    tokio::time::sleep(pause.max(fault.retry_after.unwrap_or_default()).min(LONGEST_PAUSE)).await;
                    pause *= 3;
                }
                answer => return answer,
            }
        }
        self.once(&call, accept).await
    }

    async fn once(&self, call: &Call<'_>, accept: Option<&'static str>) -> Result<Vec<u8>, Fault> {
        let what = format!("{} {}", call.method, call.path.split('?').next().unwrap_or_default());
        if call.method != Method::GET && !self.fence.is_open() {
            let message = format!("{what}: not sent, because the Lease of this process was not renewed in time");
            return Err(Fault { kind: FaultKind::Transient, message, retry_after: None });
        }
        let mut request = Request::builder().method(call.method.clone()).uri(&call.path);
        if let Some(account) = &self.account {
            request = request.header("Impersonate-User", account);
        }
        if let Some(accept) = accept {
            request = request.header(header::ACCEPT, accept);
        }
        let body = match call.body {
            Some((value, content_type)) => {
                request = request.header(header::CONTENT_TYPE, content_type);
                Body::from(serde_json::to_vec(value).map_err(|error| on_the_way(&what, &error))?)
            }
            None => Body::empty(),
        };
        let request = request.body(body).map_err(|error| on_the_way(&what, &error))?;
        let sent = tokio::time::Instant::now();
        let answer = async {
            let response = self.client.send(request).await.map_err(|error| on_the_way(&what, &error))?;
            let status = response.status();
            let retry_after = response
                .headers()
                .get(header::RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.parse().ok())
                .map(Duration::from_secs);
            let bytes = response.into_body().collect_bytes().await.map_err(|error| on_the_way(&what, &error))?;
            Ok((status, retry_after, bytes))
        };
        let answer = async {
            tokio::select! {
                answer = answer => answer,
                () = self.fence.closes(), if call.method != Method::GET => {
                    let message =
                        format!("{what}: broken off, because the Lease of this process was not renewed in time; whether it was done is not known");
                    Err(Fault { kind: FaultKind::Transient, message, retry_after: None })
                }
            }
        };
        let answer = tokio::time::timeout(self.deadline, answer).await;
        self.note(call, &answer, sent.elapsed());
        let (status, retry_after, bytes) = match answer {
            Ok(answer) => answer?,
            Err(_) => {
                return Err(classify(
                    StatusCode::GATEWAY_TIMEOUT,
                    None,
                    late(&what, self.deadline).to_string().as_bytes(),
                    &call.path,
                    false,
                ));
            }
        };
        if status.is_success() {
            Ok(bytes.to_vec())
        } else {
            Err(classify(status, retry_after, &bytes, &call.path, call.about_secret))
        }
    }

    /// Tells how a request went.
    fn note<T>(&self, call: &Call<'_>, answer: &Answered<T>, took: Duration) {
        let code = match answer {
            Ok(Ok((status, ..))) => Code::Status(status.as_u16()),
            Ok(Err(_)) => Code::Failed,
            Err(_) => Code::Late,
        };
        self.telemetry.metrics.requested(verb(call), code, took);
        match answer {
            Ok(Ok(_)) => self.telemetry.probes.answered(),
            Ok(Err(fault)) => self.telemetry.probes.unanswered(&fault.message),
            Err(_) => self.telemetry.probes.unanswered(&format!("{} was not answered in time", call.method)),
        }
    }
}

/// The status of an answer with what came along, or why there is none; an error where the deadline has passed.
type Answered<T> = Result<Result<(StatusCode, Option<Duration>, T), Fault>, tokio::time::error::Elapsed>;

/// The verb of a request, as Kubernetes names it.
fn verb(call: &Call<'_>) -> &'static str {
    match call.method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ if call.path.contains("?limit=") => "list",
        _ => "get",
    }
}

fn late(what: &str, deadline: Duration) -> Value {
    serde_json::json!({"message": format!("{what}: no answer within {}s", deadline.as_secs())})
}

/// One HTTP/2 connection to the API server (HTTP/1.1 where it offers nothing else).
fn client(config: &Config, ping: Ping) -> Result<Client, ConnectError> {
    let tls = config.rustls_client_config()?;
    let connector =
        hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_all_versions().build();
    let transport = HyperClient::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(ping.every)
        .http2_keep_alive_timeout(ping.answered)
        .http2_keep_alive_while_idle(true)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_request(|mut request: Request<Body>| {
            request.headers_mut().entry(header::USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
            request
        })
        .map_err(BoxError::from)
        .service(transport);
    Ok(Client::new(service, config.default_namespace.clone()))
}

const USER_AGENT: &str = concat!("swell/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn i9_a_name_that_is_none_becomes_nobody_and_never_the_operator() {
        let config = Config::new("http://127.0.0.1:1".parse().unwrap());
        let calls = Connections::new(config).unwrap().calls();
        let user = |namespace: &str, account: &str| {
            let acting = calls.acting_as(namespace, account).account;
            acting.map(|user| user.to_str().unwrap().to_owned())
        };
        assert_eq!(calls.account, None);
        assert_eq!(user("shop", "default").as_deref(), Some("system:serviceaccount:shop:default"));
        assert_eq!(user("shop", "a.b-c").as_deref(), Some("system:serviceaccount:shop:a.b-c"));
        for (namespace, account) in [
            ("shop", ""),
            ("", ""),
            ("", "default"),
            ("shop", "x:y"),
            ("shop", "default\r\nImpersonate-Group: system:masters"),
            ("shop", "default\0"),
            ("shop", "../other/default"),
            ("shop:x", "default"),
            ("shop", "Default"),
            ("shop", "d\u{e9}faut"),
        ] {
            assert_eq!(user(namespace, account).as_deref(), Some("system:anonymous"), "{namespace:?} {account:?}");
        }
    }
}

//! The kubelet's log endpoint of all nodes: it answers `kubectl logs` from the pod's annotation.
//!
//! The log is computed from the pod at the moment of asking. So it cannot be late: whoever sees a pod running, failed or
//! succeeded can read its log. KWOK serves logs too, but from files that it must first be told of.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http::{Request, Response, StatusCode};
use http_body_util::channel::{Channel, Sender};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{Api, Client};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::certificates::Certificates;
use crate::query;

const LOG: &str = "pods.swell.dev/log";
/// How often a followed log looks whether its container has ended.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

type Body = Channel<Bytes, Infallible>;

/// A free port for [`serve`].
pub(crate) async fn listen() -> Result<(TcpListener, u16)> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen for the API server's log requests")?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

/// Only the API server, by its client certificate, may ask.
pub(crate) fn tls(certificates: &Certificates) -> Result<TlsAcceptor> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificates.ca)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&certificates.server.cert)?],
            PrivateKeyDer::from_pem_file(&certificates.server.key)?,
        )?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Answers until it is aborted. Connections belong to the runtime and end with it.
pub(crate) async fn serve(listener: TcpListener, tls: TlsAcceptor, client: Client) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, tls.clone(), client.clone()));
        }
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, client: Client) {
    // Whoever breaks off a connection has nobody left to tell.
    if let Ok(stream) = tls.accept(stream).await {
        let service = service_fn(|request| answer(request, client.clone()));
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }
}

async fn answer(request: Request<Incoming>, client: Client) -> Result<Response<Body>, Infallible> {
    let segments: Vec<&str> = request.uri().path().split('/').skip(1).collect();
    let &["containerLogs", namespace, pod, container] = segments.as_slice() else {
        let text = "the testbed has no kubelet: logs are all that it can show of a pod".to_owned();
        return Ok(plain(StatusCode::NOT_IMPLEMENTED, text));
    };
    let asked = Asked::new(container, request.uri().query().unwrap_or_default());
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let found = match pods.get(pod).await {
        Ok(found) => found,
        Err(error) => return Ok(plain(StatusCode::NOT_FOUND, format!("pod {namespace}/{pod}: {error}"))),
    };
    let started = match started(&found, &asked) {
        Ok(started) => started,
        Err(text) => return Ok(plain(StatusCode::BAD_REQUEST, text)),
    };
    let lines = render(found.metadata.annotations.as_ref().and_then(|all| all.get(LOG)), started, &asked);
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        if sender.send_data(Bytes::from(lines)).await.is_ok() && asked.follow {
            follow(&pods, &found, &asked.container, &mut sender).await;
        }
    });
    Ok(Response::new(body))
}

fn plain(status: StatusCode, text: String) -> Response<Body> {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move { sender.send_data(Bytes::from(text)).await });
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// Keeps the answer open until the container has ended. There is nothing more to send: a scripted pod says all at its start.
async fn follow(pods: &Api<Pod>, pod: &Pod, container: &str, sender: &mut Sender<Bytes>) {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    loop {
        tokio::time::sleep(FOLLOW_EVERY).await;
        // An empty chunk shows whether anybody still listens.
        let listening = sender.send_data(Bytes::new()).await.is_ok();
        let running = match pods.get_opt(name).await {
            Ok(Some(now)) => now.metadata.uid == pod.metadata.uid && is_running(&now, container),
            Ok(None) | Err(_) => false,
        };
        if !(listening && running) {
            return;
        }
    }
}

/// What a log request may ask for.
#[derive(Debug, Default)]
struct Asked {
    container: String,
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail: Option<usize>,
    limit: Option<usize>,
    since: Option<Timestamp>,
}

impl Asked {
    fn new(container: &str, query: &str) -> Self {
        let mut asked = Self { container: container.to_owned(), ..Self::default() };
        for (key, value) in query::pairs(query) {
            match key.as_str() {
                "follow" => asked.follow = value == "true",
                "previous" => asked.previous = value == "true",
                "timestamps" => asked.timestamps = value == "true",
                "tailLines" => asked.tail = value.parse().ok(),
                "limitBytes" => asked.limit = value.parse().ok(),
                "sinceTime" => asked.since = value.parse().ok(),
                "sinceSeconds" => {
                    asked.since = value.parse().ok().map(|seconds| Timestamp::now() - Duration::from_secs(seconds));
                }
                _ => {}
            }
        }
        asked
    }
}

/// When the container whose log is asked for started, or why there is no log: the cases of a kubelet.
fn started(pod: &Pod, asked: &Asked) -> Result<Timestamp, String> {
    let container = &asked.container;
    let status = status_of(pod, container).ok_or_else(|| format!("container {container} has not been created yet"))?;
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let state = status.state.as_ref();
    let running = state.and_then(|state| state.running.as_ref()).map(|running| running.started_at.clone());
    let ended = state.and_then(|state| state.terminated.as_ref()).map(|terminated| terminated.started_at.clone());
    let found = if asked.previous {
        last.map(|last| last.started_at.clone()).ok_or_else(|| format!("container {container} has not run before"))?
    } else {
        running.or(ended).or_else(|| last.map(|last| last.started_at.clone())).ok_or_else(|| {
            let waiting = state.and_then(|state| state.waiting.as_ref());
            let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or("ContainerCreating");
            format!("container {container} has not started: {reason}")
        })?
    };
    Ok(found.map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    [&status.container_statuses, &status.init_container_statuses]
        .into_iter()
        .flatten()
        .flatten()
        .find(|status| status.name == container)
}

fn is_running(pod: &Pod, container: &str) -> bool {
    status_of(pod, container).and_then(|status| status.state.as_ref()).is_some_and(|state| state.running.is_some())
}

/// The lines of the annotation, one microsecond apart from the container's start on.
fn render(log: Option<&String>, started: Timestamp, asked: &Asked) -> String {
    let stamped: Vec<(Timestamp, &str)> = log
        .map_or("", String::as_str)
        .lines()
        .zip(0_u64..)
        .map(|(line, number)| (started + Duration::from_micros(number), line))
        .filter(|(time, _)| asked.since.is_none_or(|since| *time >= since))
        .collect();
    let first = stamped.len().saturating_sub(asked.tail.unwrap_or(usize::MAX));
    let mut text = String::new();
    for (time, line) in &stamped[first..] {
        if asked.timestamps {
            text.extend([format!("{time:.9}").as_str(), " "]);
        }
        text.extend([line, "\n"]);
    }
    if let Some(limit) = asked.limit.filter(|limit| *limit < text.len()) {
        text.truncate((0..=limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Asked, render};
    use jiff::Timestamp;

    fn rendered(query: &str) -> String {
        render(Some(&"one\ntwo\nthrée\n".to_owned()), Timestamp::UNIX_EPOCH, &Asked::new("main", query))
    }

    #[test]
    fn the_options_of_kubectl_logs_select_lines() {
        assert_eq!(rendered(""), "one\ntwo\nthrée\n");
        assert_eq!(rendered("tailLines=1"), "thrée\n");
        assert_eq!(rendered("tailLines=0"), "");
        assert_eq!(rendered("limitBytes=5"), "one\nt");
        assert_eq!(rendered("limitBytes=12"), "one\ntwo\nthr", "a character is never cut");
        assert_eq!(rendered("sinceTime=1970-01-01T00%3A00%3A00.000001Z"), "two\nthrée\n");
        assert_eq!(rendered("timestamps=true&tailLines=1"), "1970-01-01T00:00:00.000002000Z thrée\n");
    }
}

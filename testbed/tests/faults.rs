//! The fault tools, each against the real API server: that what is ordered happens, and nothing else.

use std::time::Duration;

use futures::StreamExt as _;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use rustls::pki_types::CertificateDer;
use serde_json::json;
use testbed::audit::Filter;
use testbed::faults::{EventFate, Fate, FaultProxy, Moment, When};

use super::{DEADLINE, Fixture};

/// A namespace seen from two sides: directly, and through a proxy.
struct Sides {
    fixture: Fixture,
    proxy: FaultProxy,
    client: Client,
}

impl Sides {
    async fn new(name: &str) -> Self {
        let fixture = Fixture::new(name).await;
        let base = &fixture.testbed.service_account_kubeconfig;
        let proxy = FaultProxy::start(base, &format!("{}.kubeconfig", fixture.namespace)).await.unwrap();
        let mut sides = Self { client: fixture.client.clone(), fixture, proxy };
        sides.client = Client::try_from(sides.config().await).unwrap();
        sides
    }

    async fn config(&self) -> kube::Config {
        let kubeconfig = Kubeconfig::read_from(self.proxy.kubeconfig()).unwrap();
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        config.default_retry = false;
        config
    }

    /// The ConfigMaps of the namespace, through the proxy.
    fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.fixture.namespace)
    }

    /// Begins to create a ConfigMap through the proxy.
    fn create(&self, name: &str) -> tokio::task::JoinHandle<Result<ConfigMap, kube::Error>> {
        let (maps, object) = (self.maps(), map(name));
        tokio::spawn(async move { maps.create(&PostParams::default(), &object).await })
    }

    /// Whether a ConfigMap is there, whatever the proxy says.
    async fn is_there(&self, name: &str) -> bool {
        self.fixture.api::<ConfigMap>().get_opt(name).await.unwrap().is_some()
    }

    async fn create_directly(&self, name: &str) {
        self.fixture.api::<ConfigMap>().create(&PostParams::default(), &map(name)).await.unwrap();
    }

    /// Follows the ConfigMaps through the proxy from now on: kinds and names of the events.
    async fn follow(&self) -> futures::stream::BoxStream<'static, Result<String, String>> {
        let version = self.fixture.api::<ConfigMap>().list(&kube::api::ListParams::default()).await.unwrap();
        let version = version.metadata.resource_version.unwrap();
        let events = self.maps().watch(&WatchParams::default(), &version).await.unwrap();
        let told = events.map(|event| match event {
            Ok(WatchEvent::Added(map)) => Ok(format!("ADDED {}", map.metadata.name.unwrap())),
            Ok(WatchEvent::Deleted(map)) => Ok(format!("DELETED {}", map.metadata.name.unwrap())),
            Ok(WatchEvent::Error(status)) => Err(status.code.to_string()),
            Ok(other) => Ok(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        });
        told.boxed()
    }
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

fn is_create(name: &'static str) -> When {
    When::calls(move |call| call.is("POST", "configmaps", name))
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("it comes within the deadline")
}

#[tokio::test]
async fn identities_pass_and_calls_are_counted_with_their_answers() {
    let sides = Sides::new("passes").await;
    let mark = sides.fixture.testbed.audit().mark().unwrap();
    let request = Request::post(format!("/api/v1/namespaces/{}/configmaps", sides.fixture.namespace))
        .header("Impersonate-User", "somebody")
        .header("Content-Type", "application/json")
        .body(serde_json::to_vec(&map("x")).unwrap())
        .unwrap();
    let refused = sides.client.request_text(request).await.unwrap_err().to_string();
    assert!(refused.contains("somebody"), "{refused}");
    sides.create("y").await.unwrap().unwrap();

    let calls = sides.proxy.calls();
    let [first, second] = calls.as_slice() else { panic!("two calls: {calls:#?}") };
    assert_eq!((first.number, first.user.as_deref(), first.code), (1, Some("somebody"), Some(403)));
    assert_eq!((second.number, second.user.as_deref(), second.code), (2, None, Some(201)));
    assert!(second.is("POST", "configmaps", "y") && second.is_write());
    let audit = sides.fixture.testbed.audit();
    audit.flushed(&sides.fixture.client).await.unwrap();
    let entries = audit.read_since(mark, &Filter::namespace(&sides.fixture.namespace).verbs(&["create"])).unwrap();
    let entries: Vec<_> = entries.iter().filter(|entry| entry.resource == "configmaps").collect();
    let account = "system:serviceaccount:kube-system:testbed-admin";
    assert_eq!(entries.iter().map(|entry| entry.acting_user()).collect::<Vec<_>>(), ["somebody", account]);
    assert!(entries.iter().all(|entry| entry.user == account), "the token came through");
}

#[tokio::test]
async fn http2_is_offered_and_a_lost_answer_breaks_off_one_stream_alone() {
    let sides = Sides::new("http2").await;
    let config = sides.config().await;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in config.root_cert.as_ref().unwrap() {
        roots.add(CertificateDer::from(certificate.clone())).unwrap();
    }
    let kubeconfig = std::fs::read_to_string(sides.proxy.kubeconfig()).unwrap();
    let token = serde_json::from_str::<serde_json::Value>(&kubeconfig).unwrap()["users"][0]["user"]["token"].clone();
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http2().build();
    let client: HyperClient<_, Full<Bytes>> =
        HyperClient::builder(TokioExecutor::new()).http2_only(true).build(connector);
    let send = |method: &str, path: &str, body: Vec<u8>| {
        let uri = format!("{}{path}", config.cluster_url.to_string().trim_end_matches('/'));
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("Authorization", format!("Bearer {}", token.as_str().unwrap()))
            .header("Content-Type", "application/json")
            .body(Full::from(body))
            .unwrap();
        let client = client.clone();
        async move {
            let response = client.request(request).await.map_err(|error| error.to_string())?;
            let (status, version) = (response.status(), response.version());
            response.into_body().collect().await.map_err(|error| error.to_string())?;
            Ok::<_, String>((status, version))
        }
    };
    let held = sides.proxy.rule(When::calls(|call| call.path == "/version"), Fate::Hold);
    let other = tokio::spawn(send("GET", "/version", Vec::new()));
    held.hit(1).await.unwrap();
    let lost = sides.proxy.rule(is_create("x"), Fate::Lose);
    let path = format!("/api/v1/namespaces/{}/configmaps", sides.fixture.namespace);
    soon(send("POST", &path, serde_json::to_vec(&map("x")).unwrap())).await.unwrap_err();
    assert_eq!(lost.hits(), 1);
    assert!(sides.is_there("x").await, "the answer was lost, not the write");
    held.end();
    let (status, version) = soon(other).await.unwrap().expect("the other stream lives");
    assert_eq!((status, version), (StatusCode::OK, http::Version::HTTP_2));
}

#[tokio::test]
async fn the_world_stops_before_a_call_or_after_it_and_the_test_says_how_it_goes_on() {
    let sides = Sides::new("stops").await;
    for (name, moment, is_done) in [("before", Moment::Before, false), ("after", Moment::After, true)] {
        let stop = sides.proxy.stop(is_create(name), moment);
        assert!(!stop.is_reached());
        let create = sides.create(name);
        assert_eq!(stop.reached().await.unwrap().name, name);
        assert_eq!(sides.is_there(name).await, is_done);
        stop.cut();
        soon(create).await.unwrap().unwrap_err();
        soon(sides.create(&format!("{name}-other"))).await.unwrap().expect("a new connection finds the world open");
        assert_eq!(sides.is_there(name).await, is_done, "what was held here is never done");
    }
    let (before, after) = (is_create("lost-before"), is_create("lost-after"));
    let stop = sides.proxy.stop(before, Moment::Before);
    let create = sides.create("lost-before");
    stop.reached().await.unwrap();
    stop.lose();
    soon(create).await.unwrap().unwrap_err();
    assert!(!sides.is_there("lost-before").await);
    let stop = sides.proxy.stop(after, Moment::After);
    let create = sides.create("lost-after");
    stop.reached().await.unwrap();
    stop.go_on();
    soon(create).await.unwrap().unwrap();
    let third = sides.proxy.calls().len() + 3;
    let stop = sides.proxy.stop(When::number(third), Moment::Before);
    soon(sides.create("one")).await.unwrap().unwrap();
    soon(sides.create("two")).await.unwrap().unwrap();
    let create = sides.create("three");
    assert_eq!(stop.reached().await.unwrap().number, third);
    assert!(!sides.is_there("three").await);
    stop.partition();
    assert!(!create.is_finished());
    sides.proxy.heal();
    soon(create).await.unwrap().unwrap();
}

#[tokio::test]
async fn calls_are_refused_held_and_passed_by_their_number_among_those_that_match() {
    let sides = Sides::new("rules").await;
    let busy = sides.proxy.rule(is_create("a").from(2).times(1), Fate::Refuse(429, Some(7)));
    let code = |error: kube::Error| match error {
        kube::Error::Api(status) => status.code,
        other => panic!("no status: {other}"),
    };
    soon(sides.create("a")).await.unwrap().unwrap();
    assert_eq!(code(soon(sides.create("a")).await.unwrap().unwrap_err()), 429);
    assert_eq!(code(soon(sides.create("a")).await.unwrap().unwrap_err()), 409, "there from the first time");
    assert_eq!(busy.hits(), 1);
    assert_eq!(sides.proxy.calls().iter().map(|call| call.code).collect::<Vec<_>>(), [Some(201), Some(429), Some(409)]);

    let held = sides.proxy.rule(is_create("b"), Fate::Hold);
    let create = sides.create("b");
    held.hit(1).await.unwrap();
    soon(sides.create("c")).await.unwrap().unwrap();
    assert!(!sides.is_there("b").await);
    held.end();
    soon(create).await.unwrap().unwrap();

    let held = sides.proxy.rule(is_create("d"), Fate::Hold);
    let create = sides.create("d");
    held.hit(1).await.unwrap();
    sides.proxy.cut();
    soon(create).await.unwrap().unwrap_err();
    held.end();
    soon(sides.create("e")).await.unwrap().unwrap();
    assert!(!sides.is_there("d").await, "it died with its connection");
}

#[tokio::test]
async fn nothing_passes_a_partition_and_what_was_on_its_way_arrives_when_it_heals() {
    let sides = Sides::new("partition").await;
    let mut events = sides.follow().await;
    sides.proxy.partition();
    let create = sides.create("x");
    sides.create_directly("y").await;
    assert!(tokio::time::timeout(Duration::from_millis(300), events.next()).await.is_err());
    assert!(!create.is_finished() && !sides.is_there("x").await);
    sides.proxy.heal();
    soon(create).await.unwrap().unwrap();
    assert_eq!(soon(events.next()).await.unwrap().as_deref(), Ok("ADDED y"));
}

#[tokio::test]
async fn events_come_late_in_order_or_never() {
    let sides = Sides::new("events").await;
    let mut events = sides.follow().await;
    let mut next = async || soon(events.next()).await.unwrap();
    let lost = sides.proxy.events(|event| event.name == "lost", EventFate::Drop);
    let held = sides.proxy.events(|event| event.kind == "ADDED" && event.name == "held", EventFate::Hold);
    for name in ["first", "lost", "held", "behind"] {
        sides.create_directly(name).await;
    }
    assert_eq!(next().await.as_deref(), Ok("ADDED first"));
    held.hit(1).await.unwrap();
    assert_eq!(lost.hits(), 1);
    held.end();
    assert_eq!(next().await.as_deref(), Ok("ADDED held"));
    assert_eq!(next().await.as_deref(), Ok("ADDED behind"));
    let time = Duration::from_millis(500);
    let late = sides.proxy.events(|event| event.resource == "configmaps", EventFate::Delay(time));
    let begun = std::time::Instant::now();
    sides.create_directly("late").await;
    assert_eq!(next().await.as_deref(), Ok("ADDED late"));
    assert!(begun.elapsed() >= time && late.hits() == 1);
}

#[tokio::test]
async fn watches_are_cut_expired_and_refused_while_calls_go_on() {
    let sides = Sides::new("watches").await;
    let mut events = sides.follow().await;
    sides.proxy.expire_watches();
    assert_eq!(soon(events.next()).await.unwrap(), Err("410".to_owned()));
    let mut events = sides.follow().await;
    sides.proxy.cut_watches();
    let end = soon(events.next()).await;
    assert!(end.as_ref().is_none_or(Result::is_err), "{end:?}");
    let gone = sides.proxy.rule(When::watches(|call| call.resource == "configmaps").once(), Fate::Refuse(410, None));
    let refused = sides.maps().watch(&WatchParams::default(), "1").await.err().map(|error| error.to_string());
    assert!(refused.as_ref().is_some_and(|error| error.contains("410") || error.contains("Expired")), "{refused:?}");
    assert_eq!(gone.hits(), 1);
    let mut events = sides.follow().await;
    soon(sides.create("x")).await.unwrap().unwrap();
    assert_eq!(soon(events.next()).await.unwrap().as_deref(), Ok("ADDED x"));
    assert!(sides.proxy.calls().iter().all(|call| !call.watch), "watches are no calls");
}

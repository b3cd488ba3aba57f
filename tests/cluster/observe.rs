//! What the operator tells about its work is what has happened: metrics, probes, Events, log lines, traces. And no Secret is among it.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};
use swell::api::{ApplicationStatus, OperationPhase, RecordState};
use swell::telemetry::Metrics;
use swell::telemetry::metrics::Described;
use testbed::audit::Filter;

use crate::support::told::{Collector, Pages, attribute};
use crate::support::{Place, config_map, deployment, document, eventually, job, testbed};

const HOOK: &str = "argocd.argoproj.io/hook";
const WAVE: &str = "argocd.argoproj.io/sync-wave";
const LISTEN: [&str; 2] = ["--listen", "127.0.0.1:0"];

async fn watched(prefix: &str) -> (Place, Pages) {
    let mut place = Place::without_operator(prefix).await;
    place.with_arguments(&LISTEN);
    place.start_operator().await;
    let pages = place.pages(1).await;
    (place, pages)
}

/// The manifests of an example in the namespace of a place.
fn example(place: &Place, file: &str) -> String {
    let path = format!("{}/examples/agent/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    text.replace("namespace: agent", &format!("namespace: {}", place.namespace))
}

fn kubectl_apply(manifests: &str, name: &str) {
    let path = testbed().dir.join(name);
    std::fs::write(&path, manifests).unwrap();
    crate::support::kubectl(&["apply", "--server-side", "--force-conflicts", "-f", path.to_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f80_the_metrics_after_the_example_are_what_has_happened() {
    let (place, pages) = watched("counted").await;
    kubectl_apply(&example(&place, "v1.yaml"), &format!("{}-v1.yaml", place.namespace));
    let first = place.ended("agent", OperationPhase::Succeeded).await.operation_state.unwrap();
    kubectl_apply(&example(&place, "v2.yaml"), &format!("{}-v2.yaml", place.namespace));
    place.ended_after("agent", &first.id, OperationPhase::Failed).await;
    let samples = eventually("nothing runs any more", || async {
        let samples = pages.samples().await;
        (samples.count("swell_operations_running") == 0).then_some(samples)
    })
    .await;
    if let Some(path) = std::env::var_os("SWELL_METRICS_CAPTURE") {
        std::fs::write(path, &samples.text).unwrap();
    }
    let count = |series: &str| samples.count(series);
    assert_eq!(count(r#"swell_operations_total{kind="sync",result="succeeded"}"#), 1);
    assert_eq!(count(r#"swell_operations_total{kind="sync",result="failed"}"#), 1);
    assert_eq!(count(r#"swell_operation_duration_seconds_count{kind="sync",result="succeeded"}"#), 1);
    let row = |row: &swell::api::ResourceResult| row.hook_type.is_some() && row.finished_at.is_some();
    let hooks = first.sync_result.as_ref().unwrap().resources.iter().filter(|r| row(r)).count();
    assert_eq!(hooks, 3, "two in PreSync, one in PostSync");
    assert_eq!(count(r#"swell_hooks_total{phase="PostSync",result="succeeded"}"#), 1);
    assert_eq!(count(r#"swell_hooks_total{phase="PreSync",result="failed"}"#), 1, "the migration of version 2");
    assert_eq!(count(r#"swell_hooks_total{phase="SyncFail",result="succeeded"}"#), 1, "the notification");
    assert_eq!(count(r#"swell_stage_duration_seconds_count{phase="Sync"}"#), 3, "of version 1 alone");
    assert_eq!(count(r#"swell_stage_duration_seconds_count{phase="SyncFail"}"#), 1);
    // The shortest time that the script gives the migration, and no less than its own row says.
    let took = samples.of(r#"swell_hook_duration_seconds_sum{phase="PostSync",result="succeeded"}"#);
    assert!(took >= 1.0, "{took}");
    assert_eq!(samples.sum("swell_applications", ""), 1);
    assert_eq!(count(r#"swell_applications{sync="OutOfSync",health="Healthy"}"#), 1);
    assert_eq!(samples.sum("swell_waits", ""), 0);
    let status = place.applications().get("agent").await.unwrap().status.unwrap();
    let objects = status.resources_total.unwrap();
    assert!(samples.sum("swell_managed_objects", "") >= u64::try_from(objects).unwrap());
    assert_eq!((count("swell_leading"), count("swell_buckets")), (1, 256));
    assert_eq!(count(concat!("swell_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}")), 1);
    assert!(samples.of("process_resident_memory_bytes") > 1e6);
    // No label has a value that somebody chose.
    let metrics = Metrics::default();
    for (name, labels) in samples.series() {
        let of_name =
            |metric: &&Described| metric.name == name || (metric.kind == "histogram" && name.starts_with(&metric.name));
        let described = metrics.described().iter().find(of_name).unwrap_or_else(|| panic!("{name} is not described"));
        for (label, value) in labels.iter().filter(|(label, _)| *label != "le") {
            let (_, values) = described.labels.iter().find(|(known, _)| known == label).unwrap();
            let is_code = *label == "code" && value.len() == 3 && value.parse::<u16>().is_ok();
            let is_known = values.split(", ").any(|known| known == *value) || *label == "version";
            assert!(is_code || is_known, "{name}: {label}={value} is none of {values}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_as_the_api_server_has_seen_them() {
    let (place, pages) = watched("requests").await;
    let hook = [(HOOK, "PreSync"), ("argocd.argoproj.io/hook-delete-policy", "HookSucceeded")];
    let manifests = [config_map("a", &[], "1"), job("migrate", &hook, &[])];
    place.apply("app", &manifests.concat()).await;
    place.ended("app", OperationPhase::Succeeded).await;
    let account = format!("system:serviceaccount:{}:default", place.namespace);
    let uris = [format!("/namespaces/{}/", place.namespace), account.clone()];
    // What the operator asks about this namespace, and as its account: everything but what all operators ask.
    let seen = |verb: &'static str| {
        let (uris, account) = (uris.clone(), account.clone());
        async move {
            testbed().audit().flushed(&place_client().await).await.unwrap();
            let all = testbed().audit().read(&Filter::user_agent("swell/").verbs(&[verb])).unwrap();
            let ours =
                all.iter().filter(|entry| entry.acting_user() == account || entry.request_uri.contains(&uris[0]));
            ours.filter(|entry| entry.stage == "ResponseComplete").count()
        }
    };
    for verb in ["patch", "update", "delete"] {
        // Writes come to an end a moment after the operation: the last status, the clean-up of the hook.
        eventually(&format!("{verb} is counted as seen"), || async {
            let counted = pages.samples().await.sum("swell_api_requests_total", &format!("verb=\"{verb}\""));
            (counted > 0 && counted == u64::try_from(seen(verb).await).unwrap()).then_some(())
        })
        .await;
    }
    let samples = pages.samples().await;
    assert!(samples.count("swell_watches") >= 4, "StorageClasses, CRDs, Applications, ConfigMaps, Jobs");
    assert!(samples.count(r#"swell_api_requests_total{verb="watch",code="200"}"#) >= samples.count("swell_watches"));
    let total = samples.sum("swell_api_requests_total", "verb=\"patch\"");
    assert_eq!(samples.count(r#"swell_api_request_duration_seconds_count{verb="patch"}"#), total);
    assert!(samples.sum("swell_watch_events_total", "ADDED") >= 2);
    assert!(samples.count("swell_reconcile_duration_seconds_count") >= 3);
}

async fn place_client() -> kube::Client {
    crate::support::admin().await
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_goes_with_the_api_server_and_comes_back_with_it_and_liveness_stays() {
    let (mut place, proxy) = Place::with_proxy("reachable").await;
    place.with_arguments(&LISTEN);
    place.start_operator_behind(&proxy);
    let pages = place.pages(1).await;
    let ready = |wanted: u16| {
        let pages = &pages;
        async move { pages.get("/readyz").await.filter(|(status, _)| *status == wanted).map(|(_, body)| body) }
    };
    let body = eventually("the operator is ready", || ready(200)).await;
    for check in ["[+]applications ok", "[+]discovery ok", "[+]facts ok", "[+]apiserver ok", "role: no election"] {
        assert!(body.contains(check), "{body}");
    }
    proxy.partition();
    let body = eventually("the operator is not ready any more", || ready(503)).await;
    assert!(body.contains("[-]apiserver failed: no answer for") && body.contains("[+]applications ok"), "{body}");
    let (status, body) = pages.get("/livez").await.unwrap();
    assert_eq!(status, 200, "a restart would not help: {body}");
    proxy.heal();
    eventually("the operator is ready again", || ready(200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_cannot_see_is_named_by_its_readiness() {
    let mut place = Place::without_operator("unseeing").await;
    place.with_arguments(&LISTEN);
    // The account of the namespace itself may not even list Applications.
    let bed = testbed();
    let text = testbed::for_service_account(&bed.kubeconfig, &place.namespace, "default", 3600).await.unwrap();
    let path = bed.dir.join(format!("{}.kubeconfig", place.namespace));
    std::fs::write(&path, text).unwrap();
    place.start_operator_with(&path);
    let pages = place.pages(1).await;
    let body = eventually("readiness names what is missing", || async {
        let (status, body) = pages.get("/readyz").await?;
        (status == 503 && body.contains("cannot be watched")).then_some(body)
    })
    .await;
    assert!(body.contains("[-]facts failed: StorageClasses cannot be watched") && body.contains("forbidden"), "{body}");
    assert!(body.contains("[+]apiserver ok"), "it answers: {body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stands_by_is_ready_and_says_so_and_a_leader_that_is_cut_off_leads_no_more() {
    let place = Place::with_crew("roles").await;
    let first = place.mate("first", &LISTEN).await;
    let second = place.mate("second", &LISTEN).await;
    place.agreed(2).await;
    let pages = [first.pages().await, second.pages().await];
    let told = |of: usize| {
        let pages = &pages[of];
        async move {
            let (ready, body) = pages.get("/readyz").await.unwrap();
            let (alive, _) = pages.get("/livez").await.unwrap();
            let samples = pages.samples().await;
            let role = body.lines().find_map(|line| line.strip_prefix("[ ]role: ")).unwrap().to_owned();
            (ready, alive, role, samples.count("swell_leading"), samples.count("swell_buckets"))
        }
    };
    let leads = (200, 200, "it leads".to_owned(), 1, 256);
    let stands_by = (200, 200, "it stands by".to_owned(), 0, 0);
    let leader = eventually("one leads, the other stands by, both are ready", || async {
        let told = [told(0).await, told(1).await];
        let leader = told.iter().position(|told| *told == leads)?;
        (told[1 - leader] == stands_by).then_some(leader)
    })
    .await;
    [&first, &second][leader].proxy.partition();
    eventually("the other one leads", || async { (told(1 - leader).await == leads).then_some(()) }).await;
    eventually("the one that was cut off neither leads nor is ready, and lives", || async {
        let (ready, alive, role, leading, buckets) = told(leader).await;
        (ready == 503 && alive == 200 && role == "it stands by" && leading == 0 && buckets == 0).then_some(())
    })
    .await;
    eventually("it says that neither its Lease nor the API server can be had", || async {
        let (_, body) = pages[leader].get("/readyz").await.unwrap();
        (body.contains("[-]apiserver failed") && body.contains("[-]lease failed")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_phases_hooks_and_what_was_taken_over_without_one_for_each_object() {
    let place = Place::new("events").await;
    let taken = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map-0", "namespace": place.namespace}, "data": {"value": "0"}
    });
    place.put(&taken).await;
    let maps = (0..20).map(|n| config_map(&format!("map-{n}"), &[(WAVE, if n < 10 { "0" } else { "1" })], "1"));
    let hooks = [
        job("migrate", &[(HOOK, "PreSync")], &[]),
        job(
            "smoke",
            &[(HOOK, "PostSync")],
            &[("pods.swell.dev/fail-after", "0s"), ("pods.swell.dev/message", "no luck")],
        ),
        job("notify", &[(HOOK, "SyncFail")], &[]),
    ];
    place.apply("app", &maps.chain(hooks).collect::<String>()).await;
    place.ended("app", OperationPhase::Failed).await;
    let events = eventually("the end is told", || async {
        let events = place.events("app").await;
        events.iter().any(|(_, reason, _)| reason == "OperationFailed").then_some(events)
    })
    .await;
    let told: Vec<_> = events.iter().map(|(kind, reason, note)| format!("{kind} {reason}: {note}")).collect();
    let has = |start: &str, part: &str| {
        assert!(told.iter().any(|line| line.starts_with(start) && line.contains(part)), "{start} … {part}\n{told:#?}");
    };
    for phase in ["PreSync begins", "Sync begins, waves: 2", "PostSync begins", "SyncFail begins"] {
        has(&format!("Normal PhaseStarted: {phase}"), "");
    }
    has("Normal HooksStarted: PreSync wave 0: Job", "migrate");
    has("Normal HooksSucceeded: PreSync wave 0: Job", "migrate");
    has("Warning HooksFailed: PostSync wave 0: Job", "no luck");
    has("Normal HooksSucceeded: SyncFail wave 0: Job", "notify");
    has("Warning ObjectsTakenOver: Sync wave 0: ConfigMap", "map-0 (until now managed by test)");
    assert!(told.len() <= 14, "{told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_about_an_operation_names_it_also_in_json() {
    let mut place = Place::without_operator("lines").await;
    place.with_arguments(&["--log-format", "json"]);
    place.start_operator().await;
    place.apply("app", &[config_map("a", &[], "1"), job("hook", &[(HOOK, "PreSync")], &[])].concat()).await;
    let id = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    let application = format!("{}/app", place.namespace);
    let lines = eventually("the end is logged", || async {
        let log = place.operator_log();
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.iter().any(|line| line["message"] == "an operation has ended").then_some(lines)
    })
    .await;
    let of_operation = |line: &&Value| line["target"].as_str().is_some_and(|target| target.contains("operator::app"));
    let lines: Vec<_> = lines.iter().filter(of_operation).collect();
    assert!(lines.len() >= 2, "{lines:#?}");
    for line in lines {
        assert_eq!(line["span"]["application"], application.as_str(), "{line}");
        let named = line["operation"].as_str().or(line["span"]["operation"].as_str());
        assert_eq!(named, Some(id.as_str()), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_one_tree_of_operation_stage_task_and_wait_also_over_a_restart() {
    let collector = Collector::start().await;
    let mut place = Place::without_operator("traced").await;
    place.with_arguments(&["--otlp-endpoint", &collector.endpoint]);
    place.start_operator().await;
    let manifests = [
        job("migrate", &[(HOOK, "PreSync")], &[("pods.swell.dev/complete-after", "3s")]),
        deployment("web", &[], &[("pods.swell.dev/ready-after", "2s")]),
        config_map("last", &[(WAVE, "1")], "1"),
    ];
    place.apply("app", &manifests.concat()).await;
    let is_recorded = |status: &ApplicationStatus| status.hooks.iter().any(|hook| hook.record == RecordState::Created);
    place.status("app", "the hook runs, and that is recorded", is_recorded).await;
    let killed = jiff::Timestamp::now();
    place.kill_operator();
    place.start_operator().await;
    let state = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap();
    let spans = eventually("the operation's own span has come", || async {
        let spans = collector.spans();
        spans.iter().any(|span| span.parent_span_id.is_empty()).then_some(spans)
    })
    .await;
    let by_id: BTreeMap<&[u8], &Span> = spans.iter().map(|span| (span.span_id.as_slice(), span)).collect();
    assert_eq!(by_id.len(), spans.len(), "every id once");
    let traces: BTreeSet<_> = spans.iter().map(|span| span.trace_id.clone()).collect();
    assert_eq!(traces.len(), 1, "one trace");
    let root = spans.iter().find(|span| span.parent_span_id.is_empty()).unwrap();
    assert_eq!(root.name, "operation sync");
    assert_eq!(attribute(root, "swell.operation.id").unwrap(), state.id);
    assert_eq!(attribute(root, "swell.operation.result").unwrap(), "succeeded");
    let nanos = |time: jiff::Timestamp| u64::try_from(time.as_nanosecond()).unwrap();
    assert_eq!(
        (root.start_time_unix_nano, root.end_time_unix_nano),
        (nanos(state.started_at), nanos(state.finished_at.unwrap()))
    );
    for span in spans.iter().filter(|span| !span.parent_span_id.is_empty()) {
        let parent = by_id.get(span.parent_span_id.as_slice()).unwrap_or_else(|| panic!("{span:?} has no parent"));
        assert!(span.start_time_unix_nano >= parent.start_time_unix_nano, "{span:?} begins before {parent:?}");
        assert!(span.end_time_unix_nano <= parent.end_time_unix_nano, "{span:?} ends after {parent:?}");
    }
    let path = |span: &Span| {
        let mut path = vec![span.name.clone()];
        let mut at = span;
        while let Some(parent) = by_id.get(at.parent_span_id.as_slice()) {
            path.insert(0, parent.name.clone());
            at = parent;
        }
        path.join(" → ")
    };
    let paths: Vec<_> = spans.iter().map(path).collect();
    for wanted in [
        "operation sync → PreSync wave 0 → hook Job",
        "operation sync → Sync wave 0 → apply Deployment",
        "operation sync → Sync wave 0 → apply Deployment → wait Progressing",
        "operation sync → Sync wave 1 → apply ConfigMap",
    ] {
        assert!(paths.iter().any(|path| path == wanted), "{wanted} is not among {paths:#?}");
    }
    let hook = spans.iter().find(|span| span.name == "hook Job").unwrap();
    assert!(hook.start_time_unix_nano <= nanos(killed), "it was created by the process that was killed: {hook:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_secret_holds_is_on_no_page_in_no_line_no_event_and_no_trace() {
    const VALUE: &str = "correct-horse-battery-staple";
    let collector = Collector::start().await;
    let mut place = Place::without_operator("discreet").await;
    place.with_arguments(&[&LISTEN[..], &["--otlp-endpoint", &collector.endpoint, "--log", "debug"]].concat());
    place.start_operator().await;
    let pages = place.pages(1).await;
    let secret = |name: &str, more: Value| {
        let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
        secret.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        document(&secret)
    };
    place.apply("good", &secret("good", json!({"stringData": {"password": VALUE}}))).await;
    // The API server refuses these: one is no JSON, of one it quotes the label, and one is no base64, which it takes for a fault of its own.
    let no_json = json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": VALUE}});
    place.apply("bad", &secret("bad", no_json)).await;
    let label = json!({"metadata": {"name": "worse", "labels": {"password": VALUE.replace('-', " ")}}});
    place.apply("worse", &secret("worse", label)).await;
    place.apply("odd", &secret("odd", json!({"data": {"password": VALUE}}))).await;
    place.ended("good", OperationPhase::Succeeded).await;
    for name in ["bad", "worse"] {
        place.ended(name, OperationPhase::Failed).await;
    }
    let says_why =
        |status: &ApplicationStatus| status.conditions.iter().any(|c| c.message.contains("refused the Secret"));
    place.status("odd", "one that says why it waits", says_why).await;
    eventually("all operations that have ended are traced", || async {
        (collector.spans().iter().filter(|span| span.parent_span_id.is_empty()).count() >= 3).then_some(())
    })
    .await;
    let encoded = [VALUE, "correct horse battery staple", "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBsZQ"];
    let mut told = vec![("metrics", pages.samples().await.text), ("log", place.operator_log())];
    told.push(("ready", pages.get("/readyz").await.unwrap().1));
    told.push(("traces", format!("{:?}", collector.spans())));
    for name in ["good", "bad", "worse", "odd"] {
        told.push(("events", format!("{:?}", place.events(name).await)));
        told.push(("status", serde_json::to_string(&place.applications().get(name).await.unwrap().status).unwrap()));
    }
    for (where_, text) in told {
        assert!(!encoded.iter().any(|value| text.contains(value)), "the value is in {where_}: {text}");
    }
}

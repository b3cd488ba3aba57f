//! What a real API server says to an Application: impossible values are refused in words that a person understands, possible
//! ones accepted.

use std::fmt::Write as _;

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Error};
use serde_json::{Value, json};
use swell::api::{Application, Operation, SyncOperation};

/// Every field of the custom resource, as it can be stored.
const FULL: &str = include_str!("../it/crd/full.yaml");

/// An Application with a usable source and these fields of the spec on top.
fn with(spec: Value) -> Value {
    let mut all = json!({"source": {"inline": "kind: List"}});
    let Value::Object(spec) = spec else { panic!("a spec is an object") };
    all.as_object_mut().unwrap().extend(spec);
    json!({"apiVersion": "swell.dev/v1alpha1", "kind": "Application", "metadata": {"name": "probe"}, "spec": all})
}

fn with_policy(policy: Value) -> Value {
    let mut application = with(json!({}));
    application["spec"]["syncPolicy"] = policy;
    application
}

fn with_operation(operation: Value) -> Value {
    let mut application = with(json!({}));
    application["operation"] = operation;
    application
}

/// Sends the object as JSON, so that what our types cannot say reaches the server too. Nothing is stored.
async fn send(client: &Client, namespace: &str, application: &Value) -> Result<Value, String> {
    let path =
        format!("/apis/swell.dev/v1alpha1/namespaces/{namespace}/applications?dryRun=All&fieldValidation=Strict");
    let request = http::Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(application).unwrap())
        .unwrap();
    match client.request::<Value>(request).await {
        Ok(answer) => Ok(answer),
        Err(Error::Api(status)) => Err(status.message),
        Err(error) => panic!("the API server could not be asked: {error}"),
    }
}

/// Sends each case and collects what went otherwise than said, so that one run shows every wrong sentence.
async fn refused(prefix: &str, cases: Vec<(Value, &str)>) {
    let client = crate::support::admin().await;
    let namespace = crate::support::namespace(&client, prefix).await;
    let mut wrong = String::new();
    for (application, words) in cases {
        match send(&client, &namespace, &application).await {
            Ok(_) => writeln!(wrong, "accepted, should say {words:?}").unwrap(),
            Err(message) if message.contains(words) => {}
            Err(message) => writeln!(wrong, "should say {words:?}, says: {message:.600}").unwrap(),
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

async fn accepted(prefix: &str, cases: Vec<Value>) {
    let client = crate::support::admin().await;
    let namespace = crate::support::namespace(&client, prefix).await;
    for application in cases {
        if let Err(message) = send(&client, &namespace, &application).await {
            panic!("{application:#} is refused: {message}");
        }
    }
}

#[tokio::test]
async fn a_source_that_is_none_two_or_too_large_is_refused_in_plain_words() {
    let source = |source: Value| with(json!({"source": source}));
    let mut absent = with(json!({}));
    absent["spec"].as_object_mut().unwrap().remove("source");
    refused(
        "crd-source",
        vec![
            (absent, "spec.source: Required value"),
            (source(json!({})), "spec.source is empty: give inline (a multi-document YAML text) or configMaps"),
            (
                source(json!({"inline": "", "configMaps": [{"name": "a"}]})),
                "spec.source has both inline and configMaps: give exactly one of them",
            ),
            (source(json!({"inline": "a".repeat(524_289)})), "spec.source.inline is larger than 512 KiB"),
            (source(json!({"inline": "ü".repeat(262_145)})), "spec.source.inline is larger than 512 KiB"),
            (source(json!({"configMaps": []})), "spec.source.configMaps in body should have at least 1 items"),
            (
                source(json!({"configMaps": vec![json!({"name": "a"}); 65]})),
                "spec.source.configMaps: Too many: 65: must have at most 64 items",
            ),
            (source(json!({"configMaps": [{"key": "a"}]})), "spec.source.configMaps[0].name: Required value"),
            (source(json!({"configMaps": [{"name": "A_b"}]})), "source.configMaps[].name must be a DNS name"),
            (
                source(json!({"configMaps": [{"name": "a", "key": "x/y"}]})),
                "source.configMaps[].key must be a key of a ConfigMap",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_impossible_value_of_the_spec_is_refused_in_plain_words() {
    refused(
        "crd-spec",
        vec![
            (with(json!({"destination": {"namespace": "Shop"}})), "destination.namespace must be the name of a namespace"),
            (with(json!({"destination": {"namespace": "a".repeat(64)}})), "spec.destination.namespace: Too long"),
            (with(json!({"serviceAccountName": ""})), "serviceAccountName must be a DNS name"),
            (with(json!({"deletionPolicy": "Keep"})), r#"spec.deletionPolicy: Unsupported value: "Keep": supported values: "Delete", "Orphan""#),
            (with(json!({"revisionHistoryLimit": 101})), "revisionHistoryLimit must be from 0 to 100"),
            (with(json!({"revisionHistoryLimit": -1})), "revisionHistoryLimit must be from 0 to 100"),
            (with(json!({"ignoreDifferences": [{"kind": "Job"}]})), "ignoreDifferences[] says nothing to ignore"),
            (
                with(json!({"ignoreDifferences": [{"kind": "Job", "jsonPointers": ["spec"]}]})),
                "ignoreDifferences[].jsonPointers must be JSON pointers such as /spec/replicas",
            ),
            (
                with(json!({"healthChecks": [{"apiVersion": "v1", "kind": "Secret", "current": "true"}]})),
                "healthChecks[] must not look into Secrets",
            ),
            (
                with(json!({"healthChecks": [{"apiVersion": "a/v1", "kind": "A", "current": ""}]})),
                "healthChecks[].current must be a CEL expression of at most 1 KiB",
            ),
            (
                with(json!({"healthChecks": [{"apiVersion": "a/v1", "kind": "A", "current": "true", "failed": "a".repeat(1025)}]})),
                "healthChecks[].failed must be a CEL expression of at most 1 KiB",
            ),
            (
                with(json!({"healthChecks": vec![json!({"apiVersion": "a/v1", "kind": "A", "current": "true"}); 2]})),
                "spec.healthChecks[1]: Duplicate value",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_impossible_value_of_the_sync_policy_is_refused_in_plain_words() {
    let mut cases = vec![
        (
            with_policy(json!({"timeouts": {"stage": 5}})),
            "spec.syncPolicy.timeouts.stage in body must be of type string",
        ),
        (with_policy(json!({"retry": {"limit": -2}})), "retry.limit must be a number of attempts, or -1 for no limit"),
        (with_policy(json!({"retry": {"limit": "3"}})), "spec.syncPolicy.retry.limit in body must be of type integer"),
        (with_policy(json!({"retry": {"backoff": {"factor": 0}}})), "retry.backoff.factor must be from 1 to 1000"),
        (
            with_policy(json!({"retry": {"backoff": {"duration": "x"}}})),
            "retry.backoff.duration must be a duration such as",
        ),
        (
            with_policy(json!({"retry": {"backoff": {"maxDuration": "x"}}})),
            "retry.backoff.maxDuration must be a duration such as",
        ),
        (with_policy(json!({"syncOptions": vec!["A=b"; 65]})), "spec.syncPolicy.syncOptions: Too many: 65"),
        (with_policy(json!({"syncOptions": ["a".repeat(257)]})), "spec.syncPolicy.syncOptions[0]: Too long"),
        (
            with_policy(json!({"timeouts": {"sync": "1d"}})),
            r#"timeouts.sync must be a duration such as "90s", "10m" or "1h30m", or "0" for none"#,
        ),
        (
            with_policy(json!({"timeouts": {"hook": "1d"}})),
            r#"timeouts.hook must be a duration such as "90s", "10m" or "1h30m", or "0" for none"#,
        ),
    ];
    for text in ["", "10x", "10 m", "-5s", "1.5", ".5s", "1m1m", "30m1h", "1m30", "soon", "1234567890", "123456h", "1d"]
    {
        cases.push((
            with_policy(json!({"timeouts": {"stage": text}})),
            r#"timeouts.stage must be a duration such as "90s", "10m" or "1h30m", or "0" for none"#,
        ));
        assert!(text.parse::<swell::api::Duration>().is_err(), "the schema refuses {text:?}, the parser does not");
    }
    refused("crd-policy", cases).await;
}

#[tokio::test]
async fn every_form_of_a_duration_that_the_server_accepts_is_one_that_we_can_read() {
    let mut cases = Vec::new();
    for text in [
        "0",
        "0s",
        "5",
        "600",
        "90s",
        "10m",
        "1h30m",
        "1h30m5s500ms",
        "1.5h",
        "0.25s",
        "1m1ms",
        "999999999",
        "99999h9999999m999999999s999999999ms",
    ] {
        text.parse::<swell::api::Duration>().unwrap();
        cases.push(with_policy(json!({"timeouts": {"stage": text}})));
    }
    accepted("crd-duration", cases).await;
}

#[tokio::test]
async fn an_operation_asks_for_exactly_one_thing() {
    let words = "operation must ask for one thing: give either sync or terminate";
    refused(
        "crd-operation",
        vec![
            (with_operation(json!({})), words),
            (with_operation(json!({"sync": {}, "terminate": {}})), words),
            (with_operation(json!({"initiatedBy": {"username": "jane"}})), words),
            (
                with_operation(json!({"sync": {"resources": [{"kind": "Job"}]}})),
                "operation.sync.resources[0].name: Required value",
            ),
        ],
    )
    .await;
    accepted("crd-operation", vec![with_operation(json!({"sync": {}})), with_operation(json!({"terminate": {}}))])
        .await;
}

#[tokio::test]
async fn an_unknown_field_is_refused_under_strict_validation_with_its_path() {
    refused(
        "crd-unknown",
        vec![
            (with(json!({"sourse": {}})), r#"unknown field "spec.sourse""#),
            (with(json!({"source": {"git": {"url": "https://example.com"}}})), r#"unknown field "spec.source.git""#),
            (
                with(json!({"destination": {"server": "https://example.com"}})),
                r#"unknown field "spec.destination.server""#,
            ),
            (
                with_policy(json!({"automated": {"prunee": true}})),
                r#"unknown field "spec.syncPolicy.automated.prunee""#,
            ),
            (with_operation(json!({"terminate": {"now": true}})), r#"unknown field "operation.terminate.now""#),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_is_possible_is_accepted_up_to_its_limits() {
    accepted(
        "crd-accepted",
        vec![
            with(json!({})),
            with(json!({"source": {"inline": "a".repeat(524_288)}})),
            with(json!({"source": {"configMaps": vec![json!({"name": "a.b-c"}); 64]}})),
            with(json!({"revisionHistoryLimit": 0, "deletionPolicy": "Orphan"})),
            with(json!({"healthChecks": [{"apiVersion": "a/v1", "kind": "A", "current": "a".repeat(1024)}]})),
            // In YAML a key with nothing behind it is a null: it counts as absent.
            with(json!({"deletionPolicy": null, "syncPolicy": {"syncOptions": null, "automated": {"prune": null}}})),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_server_adds_no_field_that_the_user_did_not_write() {
    let client = crate::support::admin().await;
    let namespace = crate::support::namespace(&client, "crd-quiet").await;
    let sent = with_policy(json!({"automated": {}}));
    let stored = send(&client, &namespace, &sent).await.unwrap();
    assert_eq!(stored["spec"], sent["spec"]);
    assert!(stored.get("operation").is_none() && stored.get("status").is_none(), "{stored:#}");
}

#[tokio::test]
async fn a_full_application_is_stored_and_read_back_as_it_was_sent() {
    let client = crate::support::admin().await;
    let namespace = crate::support::namespace(&client, "crd-full").await;
    let full: Value = serde_saphyr::from_str(FULL).unwrap();
    let wanted: Application = serde_json::from_value(full.clone()).unwrap();
    let strict =
        PatchParams { field_validation: Some(kube::api::ValidationDirective::Strict), ..PatchParams::default() };

    let api: Api<Application> = Api::namespaced(client, &namespace);
    let created = api.create(&PostParams::default(), &wanted).await.unwrap();
    assert_eq!(created.spec, wanted.spec);
    assert_eq!(created.operation, wanted.operation);
    assert_eq!(created.status, None, "status is a subresource: only the operator's door writes it");

    let stored = api.patch_status("full", &strict, &Patch::Merge(&json!({"status": full["status"]}))).await.unwrap();
    assert_eq!(stored.status, wanted.status);
    assert_eq!(stored.metadata.generation, created.metadata.generation, "a write of the status is no new generation");
}

#[tokio::test]
async fn asking_for_an_operation_is_a_new_generation_and_clearing_it_leaves_nothing() {
    let client = crate::support::admin().await;
    let namespace = crate::support::namespace(&client, "crd-ask").await;
    let api: Api<Application> = Api::namespaced(client, &namespace);
    let plain: Application = serde_json::from_value(with(json!({}))).unwrap();
    let created = api.create(&PostParams::default(), &plain).await.unwrap();

    let ask = json!({"operation": {"sync": {"prune": true}}});
    let asked = api.patch("probe", &PatchParams::default(), &Patch::Merge(&ask)).await.unwrap();
    let sync = SyncOperation { prune: true, ..SyncOperation::default() };
    assert_eq!(asked.operation, Some(Operation { sync: Some(sync), ..Operation::default() }));
    assert!(asked.metadata.generation > created.metadata.generation);

    let cleared =
        api.patch("probe", &PatchParams::default(), &Patch::Merge(&json!({"operation": null}))).await.unwrap();
    assert_eq!(cleared.operation, None);
}

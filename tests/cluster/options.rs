//! What sync options do: the destination's namespace, replacing and making anew, taking over, confirmation, propagation.

use jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use swell::api::{OperationPhase, ResultStatus};

use crate::hands::{CONFIG_MAP, Kind, blocked, depart, departed, grant_everywhere, patch};
use crate::support::{Place, config_map, deployment, document, entry_name, job, job_object, kubectl};

const REPLICA_SET: Kind<'static> = ("apps/v1", "ReplicaSet");
const OPTIONS: &str = "argocd.argoproj.io/sync-options";

fn options(options: &[&str]) -> Value {
    json!({"syncPolicy": {"syncOptions": options, "automated": {"prune": true}}})
}

/// What an account needs that deploys into a namespace which it creates itself.
pub(crate) fn everything_in_new_namespaces() -> Value {
    json!([
        {"apiGroups": [""], "resources": ["namespaces", "configmaps"], "verbs": ["get", "create", "patch", "delete"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "create", "patch", "delete"]}
    ])
}

async fn approve(place: &Place, name: &str) {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let change = json!({"metadata": {"annotations": {"argocd.argoproj.io/deletion-approved": now}}});
    place.applications().patch(name, &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
}

fn namespace_of(name: &str) -> Option<Value> {
    let output = kubectl(&["get", "namespace", name, "--ignore-not-found", "-o", "json"]);
    serde_json::from_str(&output).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn o10_f65_a_missing_destination_is_created_before_every_hook_and_is_never_ours() {
    let mut place = Place::without_operator("create").await;
    let destination = format!("{}-new", place.namespace);
    place.also_look_at(&destination);
    place.start_operator().await;
    grant_everywhere(&place, everything_in_new_namespaces()).await;
    let manifests = [
        job("early", &[("argocd.argoproj.io/hook", "PreSync"), ("argocd.argoproj.io/sync-wave", "-3")], &[]),
        config_map("settings", &[], "1"),
    ];
    let mut spec = options(&["CreateNamespace=true"]);
    spec["destination"] = json!({"namespace": destination});
    spec["syncPolicy"]["managedNamespaceMetadata"] =
        json!({"labels": {"team": "shop"}, "annotations": {"contact": "shop@example.com"}});
    place.apply_with("app", &manifests.concat(), spec).await;
    place.ended("app", OperationPhase::Succeeded).await;
    let writes = place.writes().await;
    let order: Vec<_> = writes.iter().filter(|entry| entry.code == 201).map(entry_name).collect();
    assert_eq!(order, [destination.as_str(), "early", "settings"], "the namespace comes before the hook of wave -3");
    let namespace = namespace_of(&destination).unwrap();
    assert_eq!(namespace.pointer("/metadata/labels/team"), Some(&json!("shop")));
    assert_eq!(namespace.pointer("/metadata/annotations/contact"), Some(&json!("shop@example.com")));
    assert_eq!(namespace.pointer("/metadata/labels").unwrap().get("applyset.kubernetes.io/part-of"), None);
    // A second sync has nothing to create, and the deletion leaves it.
    depart(&place, "app").await;
    let namespace = namespace_of(&destination).unwrap();
    assert!(namespace.pointer("/metadata/deletionTimestamp").is_none(), "{namespace}");
}

#[tokio::test(flavor = "multi_thread")]
async fn o10_a_destination_that_is_there_needs_no_right_to_create_one_and_a_missing_right_is_told_before_the_first_write()
 {
    let mut place = Place::without_operator("there").await;
    let missing = format!("{}-missing", place.namespace);
    place.also_look_at(&missing);
    place.start_operator().await;
    place.apply_with("app", &config_map("settings", &[], "1"), options(&["CreateNamespace=true"])).await;
    place.ended("app", OperationPhase::Succeeded).await;
    let mut spec = options(&["CreateNamespace=true"]);
    spec["destination"] = json!({"namespace": missing});
    place.apply_with("other", &config_map("settings", &[], "1"), spec).await;
    let message = place.ended("other", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(
        message.starts_with("nothing was written")
            && message.contains("may not create, get, patch namespaces cluster-wide"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_f75_a_prune_that_wants_a_confirmation_waits_for_it_by_name_and_holds_nothing_else() {
    let place = Place::new("confirm").await;
    let old = config_map("old", &[(OPTIONS, "Prune=confirm")], "1");
    place.apply_with("app", &[old, config_map("kept", &[], "1")].concat(), options(&[])).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    place.apply_with("app", &[config_map("kept", &[], "2"), config_map("new", &[], "1")].concat(), options(&[])).await;
    let said = blocked(&place, "app", &["old", "waits for a person's confirmation"]).await.reason.unwrap();
    let event = place.event("ConfirmationNeeded").await;
    assert!(event.contains("old") && event.contains("kubectl annotate"), "{event}");
    assert!(said.contains("kubectl annotate --overwrite swapp app") && said.contains("deletion-approved="), "{said}");
    assert!(place.uid("v1", "ConfigMap", "new").await.is_some(), "the others of its stage are applied");
    assert!(place.uid("v1", "ConfigMap", "old").await.is_some());
    approve(&place, "app").await;
    place.ended_after("app", &first, OperationPhase::Succeeded).await;
    place.gone("v1", "ConfigMap", "old").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_confirmation_that_comes_too_late_for_the_attempt_counts_for_the_next_operation() {
    let place = Place::new("late-confirm").await;
    let mut spec = options(&[]);
    spec["syncPolicy"]["timeouts"] = json!({"sync": "2s"});
    let old = config_map("old", &[(OPTIONS, "Prune=confirm")], "1");
    place.apply_with("app", &[old, config_map("kept", &[], "1")].concat(), options(&[])).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    place.apply_with("app", &config_map("kept", &[], "1"), spec).await;
    let state = place.ended_after("app", &first, OperationPhase::Failed).await.operation_state.unwrap();
    assert!(state.message.as_ref().unwrap().contains("was not confirmed within"), "{:?}", state.message);
    approve(&place, "app").await;
    place.ended_after("app", &state.id, OperationPhase::Succeeded).await;
    place.gone("v1", "ConfigMap", "old").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn x6_a_deletion_that_wants_a_confirmation_waits_for_it() {
    let place = Place::new("confirm-delete").await;
    let precious = config_map("precious", &[(OPTIONS, "Delete=confirm")], "1");
    place.apply("app", &precious).await;
    place.ended("app", OperationPhase::Succeeded).await;
    place.applications().delete("app", &DeleteParams::default()).await.unwrap();
    blocked(&place, "app", &["precious", "waits for a person's confirmation"]).await;
    assert!(place.uid("v1", "ConfigMap", "precious").await.is_some());
    approve(&place, "app").await;
    departed(&place, "app").await;
    assert!(place.uid("v1", "ConfigMap", "precious").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_f72_a_prune_that_foreground_holds_goes_on_in_the_background_as_soon_as_the_policy_says_so() {
    let place = Place::new("propagation").await;
    let web = deployment("web", &[], &[]);
    place.apply_with("app", &[web, config_map("kept", &[], "1")].concat(), options(&[])).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    let sets = place.api("apps/v1", "ReplicaSet").list(&kube::api::ListParams::default()).await.unwrap();
    let set = sets.items[0].metadata.name.clone().unwrap();
    patch(&place, REPLICA_SET, &set, json!({"metadata": {"finalizers": ["example.com/hold"]}})).await;
    place.apply_with("app", &config_map("kept", &[], "1"), options(&[])).await;
    place
        .object("apps/v1", "Deployment", "web", "foreground holds it", |web| {
            web.pointer("/metadata/finalizers").is_some_and(|finalizers| finalizers == &json!(["foregroundDeletion"]))
        })
        .await;
    blocked(&place, "app", &["web", "is being deleted", "foregroundDeletion"]).await;
    place.apply_with("app", &config_map("kept", &[], "1"), options(&["PrunePropagationPolicy=background"])).await;
    place.ended_after("app", &first, OperationPhase::Succeeded).await;
    assert!(place.uid("apps/v1", "Deployment", "web").await.is_none());
    patch(&place, REPLICA_SET, &set, json!({"metadata": {"finalizers": null}})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v27_a_namespace_with_objects_of_another_application_is_neither_pruned_nor_deleted() {
    let mut place = Place::without_operator("tenant").await;
    let shared = format!("{}-shared", place.namespace);
    place.also_look_at(&shared);
    place.start_operator().await;
    grant_everywhere(&place, everything_in_new_namespaces()).await;
    let namespace = document(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": shared}}));
    place.apply_with("one", &[namespace.clone(), config_map("kept", &[], "1")].concat(), options(&[])).await;
    let first = place.ended("one", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    let mut spec = options(&[]);
    spec["destination"] = json!({"namespace": shared});
    place.apply_with("two", &config_map("settings", &[], "1"), spec).await;
    place.ended("two", OperationPhase::Succeeded).await;
    place.apply_with("one", &config_map("kept", &[], "1"), options(&[])).await;
    let state = place.ended_after("one", &first, OperationPhase::Succeeded).await.operation_state.unwrap();
    let rows = state.sync_result.unwrap().resources;
    let row = rows.iter().find(|row| row.kind == "Namespace").unwrap();
    assert_eq!(row.status, Some(ResultStatus::PruneSkipped), "{row:?}");
    let message = row.message.clone().unwrap();
    assert!(message.contains(&format!("the Application {}/two has objects", place.namespace)), "{message}");
    // Nothing starts again and again for what is kept: another operation has come and gone meanwhile.
    place.apply("two", &config_map("other", &[], "1")).await;
    place.ended("two", OperationPhase::Succeeded).await;
    assert_eq!(place.applications().get("one").await.unwrap().status.unwrap().history.len(), 2);
    depart(&place, "one").await;
    let namespace = namespace_of(&shared).unwrap();
    assert!(namespace.pointer("/metadata/deletionTimestamp").is_none(), "{namespace}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f68_force_makes_an_object_anew_once_when_the_server_says_that_it_cannot_be_changed_and_only_then() {
    let place = Place::new("force").await;
    let migrate = |image: &str| {
        let mut job = job_object("migrate", &[(OPTIONS, "Force=true")], &[]);
        job["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        document(&job)
    };
    place.apply("app", &migrate("main:1")).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    let old = place.uid("batch/v1", "Job", "migrate").await.unwrap();
    place.apply("app", &migrate("main:2")).await;
    let state = place.ended_after("app", &first, OperationPhase::Succeeded).await.operation_state.unwrap();
    let new = place.uid("batch/v1", "Job", "migrate").await.unwrap();
    assert_ne!(old, new);
    // The same again, and something that can be changed: it stays.
    place.ask("app", json!({"sync": {}})).await;
    let state = place.ended_after("app", &state.id, OperationPhase::Succeeded).await.operation_state.unwrap();
    assert_eq!(place.uid("batch/v1", "Job", "migrate").await.as_ref(), Some(&new));
    // What could not be created either is not deleted for it.
    let mut broken = job_object("migrate", &[(OPTIONS, "Force=true")], &[]);
    broken["spec"]["template"]["spec"]["containers"][0]["image"] = json!("");
    place.apply("app", &document(&broken)).await;
    let message =
        place.ended_after("app", &state.id, OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(message.contains("image"), "{message}");
    assert_eq!(place.uid("batch/v1", "Job", "migrate").await, Some(new));
}

#[tokio::test(flavor = "multi_thread")]
async fn f68_what_cannot_be_changed_fails_without_force_and_says_so_and_a_claim_is_never_made_anew() {
    let place = Place::new("immutable").await;
    let claim = |size: &str| {
        document(&json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "annotations": {OPTIONS: "Force=true", "swell.dev/gate": "false"}},
            "spec": {"accessModes": [size], "resources": {"requests": {"storage": "1Gi"}}}
        }))
    };
    let mut migrate = job_object("migrate", &[], &[]);
    place.apply("app", &[document(&migrate), claim("ReadWriteOnce")].concat()).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    let uid = place.uid("v1", "PersistentVolumeClaim", "data").await.unwrap();
    migrate["spec"]["template"]["spec"]["containers"][0]["image"] = json!("main:2");
    place.apply("app", &[document(&migrate), claim("ReadWriteMany")].concat()).await;
    let state = place.ended_after("app", &first, OperationPhase::Failed).await.operation_state.unwrap();
    let rows = state.sync_result.unwrap().resources;
    let said = |kind: &str| rows.iter().find(|row| row.kind == kind).unwrap().message.clone().unwrap();
    assert!(said("Job").contains("immutable") && said("Job").contains("Force=true"), "{}", said("Job"));
    assert!(!said("PersistentVolumeClaim").contains("Force=true would"), "{}", said("PersistentVolumeClaim"));
    assert_eq!(place.uid("v1", "PersistentVolumeClaim", "data").await, Some(uid));
}

#[tokio::test(flavor = "multi_thread")]
async fn replace_takes_away_what_others_have_added_and_what_was_replaced_is_ours() {
    let place = Place::new("replace").await;
    let settings = |value: &str| config_map("settings", &[(OPTIONS, "Replace=true")], value);
    let plain = |value: &str| config_map("plain", &[], value);
    place.apply("app", &[settings("1"), plain("1")].concat()).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    for name in ["settings", "plain"] {
        patch(&place, CONFIG_MAP, name, json!({"data": {"added": "by hand"}})).await;
    }
    let before = place.uid("v1", "ConfigMap", "settings").await;
    place.apply("app", &[settings("2"), plain("2")].concat()).await;
    let state = place.ended_after("app", &first, OperationPhase::Succeeded).await;
    let data = |object: Value| object.pointer("/data").unwrap().clone();
    assert_eq!(data(place.get("v1", "ConfigMap", "settings").await.unwrap()), json!({"value": "2"}));
    assert_eq!(data(place.get("v1", "ConfigMap", "plain").await.unwrap()), json!({"value": "2", "added": "by hand"}));
    assert_eq!(before, place.uid("v1", "ConfigMap", "settings").await, "replaced in place");
    assert_eq!(state.sync.unwrap().status.as_str(), "Synced", "what was replaced is seen to be ours");
    let count = place.writes_to("configmaps", "settings").await.len();
    place.ask("app", json!({"sync": {}})).await;
    place.ended_after("app", &state.operation_state.unwrap().id, OperationPhase::Succeeded).await;
    assert_eq!(place.writes_to("configmaps", "settings").await.len(), count, "V23: what is unchanged is not written");
}

#[tokio::test(flavor = "multi_thread")]
async fn v25_at_a_take_over_the_fields_that_the_manifest_no_longer_has_go() {
    let place = Place::new("takeover").await;
    let by_hand = |name: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": place.namespace},
            "data": {"value": "old", "stale": "old"}})
    };
    let file = |name: &str| {
        let path = std::env::temp_dir().join(format!("{}-{name}.json", place.namespace));
        std::fs::write(&path, by_hand(name).to_string()).unwrap();
        path
    };
    // As kubectl does it of old, as it does it on the server's side, and as Argo CD does it.
    for (name, how) in [
        ("classic", &["apply"][..]),
        ("server-side", &["apply", "--server-side"][..]),
        ("argo", &["apply", "--server-side", "--field-manager=argocd-controller"][..]),
        ("same", &["apply"][..]),
        ("other", &["apply", "--server-side", "--field-manager=somebody"][..]),
    ] {
        let path = file(name);
        let mut args = how.to_vec();
        args.extend(["-f", path.to_str().unwrap()]);
        kubectl(&args);
    }
    let manifests = [
        config_map("classic", &[], "new"),
        config_map("server-side", &[], "new"),
        config_map("argo", &[], "new"),
        // Without a difference in what both have, nothing conflicts.
        config_map("same", &[], "old"),
        config_map("other", &[], "new"),
    ];
    place.apply("app", &manifests.concat()).await;
    let state = place.ended("app", OperationPhase::Succeeded).await;
    for (name, expected) in [
        ("classic", json!({"value": "new"})),
        ("server-side", json!({"value": "new"})),
        ("argo", json!({"value": "new"})),
        ("same", json!({"value": "old"})),
        ("other", json!({"value": "new", "stale": "old"})),
    ] {
        let object = place.get("v1", "ConfigMap", name).await.unwrap();
        assert_eq!(object.pointer("/data"), Some(&expected), "{name}: {object}");
    }
    assert_eq!(state.sync.as_ref().unwrap().status.as_str(), "Synced");
    let rows = state.operation_state.unwrap().sync_result.unwrap().resources;
    for (name, whose) in [("argo", "argocd-controller"), ("same", "kubectl-client-side-apply")] {
        let row = rows.iter().find(|row| row.name == name).unwrap();
        let said = format!("taken over; until now it was managed by {whose}");
        assert!(row.message.as_ref().is_some_and(|message| message.contains(&said)), "{row:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_take_over_leaves_the_fields_of_others_alone_where_the_migration_is_turned_off() {
    let place = Place::new("no-migration").await;
    let by_hand = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": place.namespace}, "data": {"value": "old", "stale": "old"}});
    let path = std::env::temp_dir().join(format!("{}-settings.json", place.namespace));
    std::fs::write(&path, by_hand.to_string()).unwrap();
    kubectl(&["apply", "-f", path.to_str().unwrap()]);
    place.apply_with("app", &config_map("settings", &[], "new"), options(&["ClientSideApplyMigration=false"])).await;
    place.ended("app", OperationPhase::Succeeded).await;
    let object = place.get("v1", "ConfigMap", "settings").await.unwrap();
    assert_eq!(object.pointer("/data"), Some(&json!({"value": "new", "stale": "old"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn f36_a_dry_run_ends_by_itself_tells_each_stage_and_writes_nothing() {
    let place = Place::new("dry-run").await;
    let hook = |name: &str, phase: &str| job(name, &[("argocd.argoproj.io/hook", phase)], &[]);
    let first = [hook("migrate", "PreSync"), config_map("kept", &[], "1"), config_map("old", &[], "1")].concat();
    place.apply_with("app", &first, options(&[])).await;
    let state = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap();
    // From here on nothing happens by itself.
    let mut manual = options(&[]);
    manual["syncPolicy"]["automated"] = json!({"enabled": false, "prune": true});
    let second = [
        hook("migrate", "PreSync"),
        config_map("kept", &[], "1"),
        config_map("new", &[], "1"),
        hook("mend", "SyncFail"),
    ];
    place.apply_with("app", &second.concat(), manual.clone()).await;
    place
        .status("app", "OutOfSync", |status| {
            status.sync.as_ref().is_some_and(|sync| sync.status.as_str() == "OutOfSync")
        })
        .await;
    let before = place.writes().await.len();
    place.ask("app", json!({"sync": {"dryRun": true, "prune": true}})).await;
    let status = place.ended_after("app", &state.id, OperationPhase::Succeeded).await;
    let dry = status.operation_state.unwrap();
    assert_eq!(
        dry.message.as_deref(),
        Some("dry run: 1 would be created, 0 changed, 1 deleted, 1 unchanged, 1 hook would run; nothing was written")
    );
    let rows = dry.sync_result.unwrap().resources;
    let told = |name: &str| rows.iter().find(|row| row.name == name).unwrap().message.clone().unwrap();
    assert_eq!(told("migrate"), "would run (dry run)");
    assert_eq!(told("mend"), "if the attempt fails: would run (dry run)");
    assert_eq!(told("kept"), "unchanged (dry run)");
    assert_eq!(told("old"), "would be deleted (dry run)");
    assert_eq!(place.writes().await.len(), before, "nothing was written");
    assert_eq!(status.history.len(), 1, "a dry run is no part of the history");
    // One that finds a refusal fails, and says which; an automated Application is not synced for it.
    let broken = config_map("new", &[], "1").replace("\"value\":\"1\"", "\"value\":1");
    place.apply_with("app", &broken, manual).await;
    place.ask("app", json!({"sync": {"dryRun": true}})).await;
    let failed = place.ended_after("app", &dry.id, OperationPhase::Failed).await;
    let message = failed.operation_state.unwrap().message.unwrap();
    assert!(message.contains("nothing was written") && message.contains("ConfigMap"), "{message}");
    assert_eq!(place.writes().await.len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn h7_a_sync_of_some_objects_touches_only_those_and_runs_no_hook() {
    let place = Place::new("selective").await;
    let manifests = |value: &str| {
        [
            job("migrate", &[("argocd.argoproj.io/hook", "PreSync")], &[]),
            config_map("one", &[], value),
            config_map("two", &[], value),
        ]
        .concat()
    };
    let mut manual = options(&[]);
    manual["syncPolicy"]["automated"] = json!({"enabled": false});
    place.apply_with("app", &manifests("1"), options(&[])).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap();
    place.apply_with("app", &manifests("2"), manual.clone()).await;
    place.ask("app", json!({"sync": {"resources": [{"kind": "ConfigMap", "name": "one"}]}})).await;
    let status = place.ended_after("app", &first.id, OperationPhase::Succeeded).await;
    let value = |object: Value| object.pointer("/data/value").unwrap().as_str().unwrap().to_owned();
    assert_eq!(value(place.get("v1", "ConfigMap", "one").await.unwrap()), "2");
    assert_eq!(value(place.get("v1", "ConfigMap", "two").await.unwrap()), "1");
    assert_eq!(place.creates("jobs", "migrate").await, 1, "the hook of the first sync alone");
    assert_eq!(status.history.len(), 2);
    let partial = status.operation_state.unwrap();
    // What is not there is named.
    place.ask("app", json!({"sync": {"resources": [{"kind": "ConfigMap", "name": "three"}]}})).await;
    let failed = place.ended_after("app", &partial.id, OperationPhase::Failed).await.operation_state.unwrap();
    let message = failed.message.unwrap();
    assert!(message.starts_with("operation.sync.resources[0]: the Application has no ConfigMap three"), "{message}");
    // The revision as a whole has not been synced by that: automation does it, with its hook.
    place.apply_with("app", &manifests("2"), options(&[])).await;
    place.ended_after("app", &failed.id, OperationPhase::Succeeded).await;
    assert_eq!(value(place.get("v1", "ConfigMap", "two").await.unwrap()), "2");
    assert_eq!(place.creates("jobs", "migrate").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_what_is_kept_though_it_left_the_source_is_out_of_sync_unless_it_says_that_it_is_extraneous() {
    let place = Place::new("extraneous").await;
    let compare = ("argocd.argoproj.io/compare-options", "IgnoreExtraneous");
    let kept = |name: &str, annotations: &[(&str, &str)]| {
        [config_map("stays", &[], "1"), config_map(name, annotations, "1")].concat()
    };
    let off = json!({"syncPolicy": {"automated": {"prune": false}}});
    for (app, annotations, expected) in [("plain", &[][..], "OutOfSync"), ("marked", &[compare][..], "Synced")] {
        let name = format!("old-{app}");
        let stays = config_map("stays", &[], "1").replace("stays", &format!("stays-{app}"));
        let both = kept(&name, annotations).replace("stays", &format!("stays-{app}"));
        place.apply_with(app, &both, off.clone()).await;
        let first = place.ended(app, OperationPhase::Succeeded).await.operation_state.unwrap().id;
        place.apply_with(app, &stays, off.clone()).await;
        let status = place.ended_after(app, &first, OperationPhase::Succeeded).await;
        assert_eq!(status.sync.unwrap().status.as_str(), expected, "{app}");
        let rows = status.operation_state.unwrap().sync_result.unwrap().resources;
        let row = rows.iter().find(|row| row.name == name).unwrap();
        assert_eq!(row.status, Some(ResultStatus::PruneSkipped), "{row:?}");
        assert!(place.uid("v1", "ConfigMap", &name).await.is_some());
    }
}

//! Forging: somebody else's membership, hooks, names and status.

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use swell::api::{OperationPhase, SyncStatus};
use swell::engine::membership::applied;
use swell::engine::object::{Digest, ObjectKey, Owner};
use testbed::audit::Filter;

use super::tenants::{Tenants, refused};
use crate::support::{Place, config_map, document, eventually, kubectl, testbed};

/// A whole member of somebody else's Application, made by hand in a namespace of one's own: label, identity, field manager, and if wanted
/// the marks of one of its hooks.
async fn forge(tenants: &Tenants, owner: &Owner, name: &str, hook: Option<(&str, &str)>) {
    let namespace = &tenants.attacker.namespace;
    let key = ObjectKey::new("", "ConfigMap", Some(namespace), name);
    let mut forged = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": {"applyset.kubernetes.io/part-of": owner.membership_id(), "swell.dev/bucket": owner.bucket()},
            "annotations": {"swell.dev/applied": applied(owner, &key, Digest::of_bytes(b"x"))}
        },
        "data": {"value": "forged"}
    });
    if let Some((operation, phase)) = hook {
        for (mark, value) in [("operation", operation), ("attempt", "1"), ("phase", phase)] {
            forged["metadata"]["annotations"][format!("swell.dev/{mark}")] = json!(value);
        }
    }
    let params = PatchParams::apply(&owner.field_manager()).force();
    tenants.api(namespace, "v1", "ConfigMap").patch(name, &params, &Patch::Apply(&forged)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_forged_membership_labels_and_hooks_of_another_application_neither_hold_it_up_nor_show_in_it_nor_go_with_it()
{
    let tenants = Tenants::new("forge").await;
    let victim = Owner::new(&tenants.victim, "app");
    let policy = json!({"automated": {"prune": true, "selfHeal": true}});
    tenants
        .victim_applies(
            "app",
            &[config_map("settings", &[], "1"), config_map("old", &[], "1")].concat(),
            policy.clone(),
        )
        .await;
    let first = tenants.victim_succeeds("app").await.operation_state.unwrap().id;
    forge(&tenants, &victim, "member", None).await;
    forge(&tenants, &victim, "hook", Some((&first, "PreSync"))).await;
    forge(&tenants, &victim, "farewell", Some((&first, "PostDelete"))).await;
    eventually("the operator has seen them", || async {
        let log = tenants.attacker.operator_log();
        log.contains("carries the marks of this Application, which has never written there").then_some(())
    })
    .await;
    // A sync with prune: what is the victim's goes, nothing else is even tried.
    tenants.victim_applies("app", &config_map("settings", &[], "2"), policy).await;
    let status = tenants
        .victim_status("app", "synced again", |status| {
            let state = status.operation_state.as_ref();
            state.is_some_and(|state| state.id > first && state.phase.is_ended())
        })
        .await;
    let state = status.operation_state.unwrap();
    assert_eq!(state.phase, OperationPhase::Succeeded, "{:?}", state.message);
    assert_eq!(status.sync.unwrap().status, SyncStatus::Synced);
    let rows: Vec<_> = status.resources.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(rows, ["settings"]);
    assert!(tenants.theirs("v1", "ConfigMap", "old").await.is_none());
    tenants.their_applications().delete("app", &DeleteParams::default()).await.unwrap();
    eventually("the victim's Application is gone", || async {
        tenants.their_applications().get_opt("app").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(tenants.theirs("v1", "ConfigMap", "settings").await.is_none());
    for name in ["member", "hook", "farewell"] {
        assert!(tenants.attacker.uid("v1", "ConfigMap", name).await.is_some(), "{name} is the attacker's");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_in_a_namespace_of_both_nobody_takes_or_deletes_an_object_or_hook_of_another_application_by_naming_it() {
    let tenants = Tenants::new("shared").await;
    let (place, victim) = (&tenants.attacker, &tenants.victim);
    // The attacker's account may edit in the victim's namespace too.
    place.grant("edit", victim).await;
    tenants.victim_applies("app", &config_map("settings", &[], "theirs"), json!({})).await;
    tenants.victim_succeeds("app").await;
    let before = tenants.theirs("v1", "ConfigMap", "settings").await.unwrap().metadata;
    let adopt = format!("{}/adopt", place.namespace);
    let named = |annotations: Value, labels: Value| {
        document(&json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": "mine"},
            "metadata": {"name": "settings", "namespace": victim, "annotations": annotations, "labels": labels}}))
    };
    let owner = Owner::new(victim, "app");
    let hook = [
        ("argocd.argoproj.io/hook", "PreSync"),
        ("argocd.argoproj.io/hook-delete-policy", "BeforeHookCreation,HookSucceeded"),
    ];
    let hook: serde_json::Map<_, _> = hook.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    let attempts = [
        ("plain", named(json!({}), json!({}))),
        ("adopt", named(json!({"swell.dev/adopt-by": adopt}), json!({}))),
        ("anew", named(json!({"argocd.argoproj.io/sync-options": "Replace=true,Force=true"}), json!({}))),
        ("hook", named(Value::Object(hook), json!({}))),
    ];
    for (name, manifests) in &attempts {
        place.apply(name, manifests).await;
    }
    // Marks of the manifest's own are refused, whomever they name.
    place.apply("label", &named(json!({}), json!({"applyset.kubernetes.io/part-of": owner.membership_id()}))).await;
    let message = refused(place, "label").await;
    assert!(message.contains("applyset.kubernetes.io/part-of"), "{message}");
    for (name, _) in &attempts {
        let message = refused(place, name).await;
        assert!(message.contains(&format!("belongs to the Application {victim}/app")), "{name}: {message}");
        place.applications().delete(name, &DeleteParams::default()).await.unwrap();
    }
    eventually("the attacker's Applications are gone", || async {
        let left = place.applications().list(&kube::api::ListParams::default()).await.unwrap().items;
        left.iter().all(|application| application.metadata.name.as_deref() == Some("label")).then_some(())
    })
    .await;
    let after = tenants.theirs("v1", "ConfigMap", "settings").await.unwrap();
    assert_eq!(after.metadata.uid, before.uid);
    assert_eq!(after.data.pointer("/data/value"), Some(&json!("theirs")));
    assert_eq!(after.metadata.resource_version, before.resource_version, "it was not even touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_status_that_the_tenant_has_forged_makes_nobody_delete_or_read_for_him() {
    let tenants = Tenants::new("status").await;
    let (place, victim) = (&tenants.attacker, &tenants.victim);
    tenants.victim_applies("app", &config_map("settings", &[], "theirs"), json!({})).await;
    tenants.victim_succeeds("app").await;
    place.put(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password", "namespace": victim}, "stringData": {"password": "c4n4ry-theirs"}})).await;
    let uid = |object: Option<DynamicObject>| object.unwrap().metadata.uid.unwrap();
    let settings = uid(tenants.theirs("v1", "ConfigMap", "settings").await);
    let secret = uid(tenants.theirs("v1", "Secret", "password").await);
    let pre_sync = config_map(
        "settings",
        &[("argocd.argoproj.io/hook", "PreSync"), ("argocd.argoproj.io/hook-delete-policy", "HookSucceeded")],
        "1",
    );
    place.apply_with("app", &[pre_sync, config_map("mine", &[], "1")].concat(), json!({})).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap();
    let record = |kind: &str, name: &str, uid: &str, stage: &str| {
        json!({"group": "", "kind": kind, "namespace": victim, "name": name, "phase": "PreSync", "operation": "zzzzzzzz", "attempt": 1,
            "record": stage, "uid": uid, "digest": "00000000000000000000", "at": "2026-01-01T00:00:00Z",
            "outcome": {"phase": "Succeeded", "message": "forged \u{1b}[2J"}})
    };
    let forged = json!({"status": {
        "inventory": {"kinds": ["/ConfigMap", "/Secret", "/Namespace"], "namespaces": [victim, "kube-system"]},
        "hooks": [
            record("ConfigMap", "settings", &settings, "Ended"), record("Secret", "password", &secret, "Ended"),
            record("Secret", "../../../secrets/password", &secret, "Ended"), record("ConfigMap", "settings", &settings, "Created")
        ],
        "operationState": {
            "id": "zzzzzzzz", "attempt": 1, "phase": "Running", "startedAt": "2026-01-01T00:00:00Z", "retryCount": 0,
            "revision": first.revision, "message": "forged; SyncFail ", "firstWriteAt": "2026-01-01T00:00:00Z",
            "stage": {"phase": "Delete", "wave": 0, "index": 1, "total": 1, "text": "Delete 0 (1/1)", "since": "2026-01-01T00:00:00Z", "blockedOn": []}
        }
    }});
    let answer = place.applications().patch_status("app", &PatchParams::default(), &Patch::Merge(&forged)).await;
    answer.expect("the tenant may write his status");
    // The ApplySet annotations are copies: what they say is not believed either.
    let annotations = json!({"metadata": {"annotations": {
        "applyset.kubernetes.io/contains-group-kinds": "Secret,Namespace", "applyset.kubernetes.io/additional-namespaces": format!("{victim},kube-system")
    }}});
    place.applications().patch("app", &PatchParams::default(), &Patch::Merge(&annotations)).await.unwrap();
    place.ask("app", json!({"sync": {"prune": true, "resources": [{"kind": "ConfigMap", "name": "settings", "namespace": victim}]}})).await;
    place.ask("app", json!({"sync": {"prune": true}})).await;
    let status = place
        .status("app", "synced after the forgery", |status| {
            let state = status.operation_state.as_ref();
            state.is_some_and(|state| state.phase.is_ended() && state.id != first.id && state.id != "zzzzzzzz")
                && status.sync.as_ref().is_some_and(|sync| sync.status == SyncStatus::Synced)
        })
        .await;
    place.applications().delete("app", &DeleteParams::default()).await.unwrap();
    eventually("the Application is gone", || async {
        place.applications().get_opt("app").await.unwrap().is_none().then_some(())
    })
    .await;
    assert_eq!(uid(tenants.theirs("v1", "ConfigMap", "settings").await), settings);
    assert_eq!(uid(tenants.theirs("v1", "Secret", "password").await), secret);
    assert_eq!(tenants.harm().await, Vec::<String>::new());
    assert!(!serde_json::to_string(&status).unwrap().contains("c4n4ry"));
    let audit = testbed().audit();
    let entries = audit.read(&Filter::namespace(victim)).unwrap();
    let reads = entries.iter().filter(|entry| entry.resource == "secrets" && entry.verb == "get" && entry.code < 300);
    assert_eq!(
        reads
            .map(|entry| entry.acting_user().to_owned())
            .filter(|user| user.contains("swell") || user.contains(&place.namespace))
            .collect::<Vec<_>>(),
        Vec::<String>::new()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_what_controllers_make_with_a_copy_of_our_labels_is_no_member() {
    let place = Place::new("slices").await;
    let service = |port: u16| {
        document(
            &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": port}]}}),
        )
    };
    let own = document(
        &json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "own"}, "addressType": "IPv4", "endpoints": [], "ports": []}),
    );
    let role = format!("{}-slices", place.namespace);
    kubectl(&[
        "create",
        "clusterrole",
        &role,
        "--verb",
        "get,create,patch,delete",
        "--resource",
        "endpointslices.discovery.k8s.io",
    ]);
    place.grant(&role, &place.namespace).await;
    let policy = json!({"syncPolicy": {"automated": {"prune": true}}});
    place.apply_with("app", &[service(80), own.clone()].concat(), policy.clone()).await;
    let first = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    let label = format!("applyset.kubernetes.io/part-of={}", place.owner("app").membership_id());
    let slices = || {
        kubectl(&[
            "get",
            "endpointslices",
            "--namespace",
            &place.namespace,
            "-l",
            &label,
            "-o",
            "jsonpath={range .items[*]}{.metadata.uid} {.metadata.name}{\"\\n\"}{end}",
        ])
    };
    let of_controller = |text: &str| text.lines().find(|line| !line.ends_with(" own")).map(str::to_owned);
    let copied = eventually("the controller has copied the labels", || async { of_controller(&slices()) }).await;
    place.apply_with("app", &[service(81), own].concat(), policy).await;
    let status = place.ended_after("app", &first, OperationPhase::Succeeded).await;
    assert_eq!(status.sync.unwrap().status, SyncStatus::Synced, "it is nothing to prune");
    assert_eq!(status.resources.len(), 2, "{:?}", status.resources);
    assert_eq!(of_controller(&slices()), Some(copied), "it was left alone");
}

//! The part of an attacker who has rights on Applications, and what a tenant usually has, in one namespace only. Nothing gets through,
//! and each refusal says why. What lower levels show is listed in `docs/security.md`.

use std::fmt::Write as _;

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use swell::api::{Application, ApplicationStatus, OperationPhase, SyncStatus};
use swell::engine::membership::applied;
use swell::engine::object::{Digest, ObjectKey, Owner};
use testbed::audit::Filter;

use crate::support::{Place, config_map, document, eventually, job, kubectl, namespace, testbed};

/// The attacker's place, and the namespace of a victim whose own account may edit there. One operator looks at both.
struct Tenants {
    attacker: Place,
    victim: String,
}

impl Tenants {
    async fn new(prefix: &str) -> Self {
        let mut tenants = Self::without_operator(prefix).await;
        tenants.attacker.start_operator().await;
        tenants
    }

    async fn without_operator(prefix: &str) -> Self {
        let mut attacker = Place::without_operator(prefix).await;
        let victim = namespace(&attacker.client, &format!("{prefix}-victim")).await;
        attacker.also_look_at(&victim);
        kubectl(&[
            "create",
            "rolebinding",
            "victim",
            "--namespace",
            &victim,
            "--clusterrole",
            "edit",
            "--serviceaccount",
            &format!("{victim}:default"),
        ]);
        Self { attacker, victim }
    }

    /// An object of the victim's namespace.
    async fn theirs(&self, api_version: &str, kind: &str, name: &str) -> Option<DynamicObject> {
        self.api(&self.victim, api_version, kind).get_opt(name).await.unwrap()
    }

    fn api(&self, namespace: &str, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.attacker.client.clone(), namespace, &resource)
    }

    fn their_applications(&self) -> Api<Application> {
        Api::namespaced(self.attacker.client.clone(), &self.victim)
    }

    async fn victim_applies(&self, name: &str, manifests: &str, policy: Value) {
        let application = json!({
            "apiVersion": "swell.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": name, "namespace": self.victim},
            "spec": {"source": {"inline": manifests}, "syncPolicy": policy}
        });
        self.attacker.put(&application).await;
    }

    async fn victim_status(
        &self,
        name: &str,
        what: &str,
        done: impl Fn(&ApplicationStatus) -> bool,
    ) -> ApplicationStatus {
        eventually(&format!("the victim's {name} is {what}"), || async {
            let application = self.their_applications().get_opt(name).await.unwrap()?;
            application.status.filter(|status| done(status))
        })
        .await
    }

    async fn victim_succeeds(&self, name: &str) -> ApplicationStatus {
        self.victim_status(name, "synced", |status| {
            status.operation_state.as_ref().is_some_and(|state| state.phase == OperationPhase::Succeeded)
        })
        .await
    }

    /// Every write that was done in the victim's namespace with the rights of the attacker's account, or with the operator's own.
    async fn harm(&self) -> Vec<String> {
        let audit = testbed().audit();
        audit.flushed(&self.attacker.client).await.unwrap();
        let suspects = [
            format!("system:serviceaccount:{}:default", self.attacker.namespace),
            "system:serviceaccount:swell-system:swell".to_owned(),
        ];
        let entries = audit.read(&Filter::namespace(&self.victim)).unwrap();
        let harm = entries.iter().filter(|entry| {
            let ours = entry.group == "swell.dev"
                || entry.resource == "events"
                || entry.group.ends_with("authorization.k8s.io");
            entry.is_write() && entry.code < 300 && !ours && suspects.iter().any(|user| user == entry.acting_user())
        });
        harm.map(|entry| format!("{} {} by {}", entry.verb, entry.request_uri, entry.acting_user())).collect()
    }
}

fn at(namespace: &str, kind: &str, name: &str) -> String {
    document(&json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}))
}

async fn refused(place: &Place, name: &str) -> String {
    place.ended(name, OperationPhase::Failed).await.operation_state.unwrap().message.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_no_object_hook_or_destination_in_another_namespace_no_cluster_role_and_no_binding_is_reached_beyond_the_rights_of_the_account()
 {
    let tenants = Tenants::new("reach").await;
    let (place, victim) = (&tenants.attacker, &tenants.victim);
    let rbac = "rbac.authorization.k8s.io/v1";
    let hook = job("steal", &[("argocd.argoproj.io/hook", "PreSync")], &[])
        .replace("\"name\":\"steal\"", &format!("\"name\":\"steal\",\"namespace\":\"{victim}\""));
    let binding = document(&json!({
        "apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": {"name": format!("{}-admin", place.namespace)},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": place.namespace}]
    }));
    let role = document(&json!({
        "apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": format!("{}-all", place.namespace)},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    }));
    let attempts = [
        ("object", at(victim, "ConfigMap", "x"), "configmaps"),
        ("secret", at(victim, "Secret", "x"), "secrets"),
        ("hook", hook, "jobs.batch"),
        ("role", role, "clusterroles.rbac.authorization.k8s.io"),
        ("binding", binding, "clusterrolebindings.rbac.authorization.k8s.io"),
        (
            "namespace",
            document(
                &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": victim, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}),
            ),
            "namespaces",
        ),
    ];
    for (name, manifests, _) in &attempts {
        place.apply(name, manifests).await;
    }
    let spec = json!({"destination": {"namespace": victim}, "syncPolicy": {
        "syncOptions": ["CreateNamespace=true"], "managedNamespaceMetadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}
    }});
    place.apply_with("destination", &config_map("x", &[], "1"), spec).await;
    for (name, _, resource) in attempts {
        let message = refused(place, name).await;
        let said = format!("nothing was written: service account {}/default may not ", place.namespace);
        assert!(message.starts_with(&said) && message.contains(resource), "{name}: {message}");
    }
    let message = refused(place, "destination").await;
    assert!(
        message.contains("may not create, get, patch namespaces cluster-wide")
            || message.contains(&format!("in namespace {victim}")),
        "{message}"
    );
    assert_eq!(tenants.harm().await, Vec::<String>::new());
    assert!(tenants.theirs("v1", "ConfigMap", "x").await.is_none());
    let labels = kubectl(&["get", "namespace", victim, "-o", "jsonpath={.metadata.labels}"]);
    assert!(!labels.contains("privileged"), "{labels}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_bind_escalate_and_every_role_or_binding_with_more_than_the_account_holds_are_refused_in_the_words_of_the_api_server()
 {
    let place = Place::new("escalate").await;
    // One who may write roles and bindings of his namespace, as an admin of it may.
    place.grant("admin", &place.namespace).await;
    let rbac = "rbac.authorization.k8s.io";
    let role = document(&json!({
        "apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": {"name": "more"},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    }));
    let verbs = document(&json!({
        "apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": {"name": "more"},
        "rules": [{"apiGroups": [rbac], "resources": ["roles", "rolebindings"], "verbs": ["bind", "escalate"]}]
    }));
    let binding = document(&json!({
        "apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": {"name": "more"},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": place.namespace}]
    }));
    for (name, manifests, kind) in
        [("role", role, "Role"), ("verbs", verbs, "Role"), ("binding", binding, "RoleBinding")]
    {
        place.apply(name, &manifests).await;
        let message = refused(&place, name).await;
        assert!(message.contains("not currently held") && message.contains("more"), "{name}: {message}");
        assert!(place.get(&format!("{rbac}/v1"), kind, "more").await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_no_field_of_an_application_names_an_account_or_a_config_map_of_another_namespace() {
    let tenants = Tenants::without_operator("names").await;
    let place = &tenants.attacker;
    let account = |name: &str| json!({"source": {"inline": ""}, "serviceAccountName": name});
    let source = |name: &str| json!({"source": {"configMaps": [{"name": name}]}});
    let victim = &tenants.victim;
    let specs = [
        (account(&format!("{victim}/default")), "serviceAccountName"),
        (account(&format!("{victim}:default")), "serviceAccountName"),
        (account("default\r\nImpersonate-Group: system:masters"), "serviceAccountName"),
        (account("default,system:masters"), "serviceAccountName"),
        (account(".."), "serviceAccountName"),
        (source(&format!("../../{victim}/configmaps/x")), "source.configMaps[].name"),
        (source(&format!("{victim}/x")), "source.configMaps[].name"),
        (source("x?watch=true"), "source.configMaps[].name"),
        (json!({"source": {"inline": ""}, "destination": {"namespace": "a/../b"}}), "destination"),
    ];
    for (spec, field) in specs {
        let application = json!({
            "apiVersion": "swell.dev/v1alpha1", "kind": "Application", "metadata": {"name": "app", "namespace": place.namespace}, "spec": spec
        });
        let answer = place.applications().patch("app", &PatchParams::apply("test"), &Patch::Apply(&application)).await;
        let refusal = answer.expect_err(&spec.to_string()).to_string();
        assert!(refusal.contains(field), "{spec}: {refusal}");
    }
}

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

#[tokio::test(flavor = "multi_thread")]
async fn huge_and_binary_config_maps_alias_bombs_and_more_than_10000_documents_are_refused_with_the_bound_and_hold_nobody_else_up()
 {
    let tenants = Tenants::new("bombs").await;
    let place = &tenants.attacker;
    let mut bomb = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\na: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (one, next) in ('a'..'i').zip('b'..='i') {
        let aliases = vec![format!("*{one}"); 10].join(",");
        let _ = writeln!(bomb, "{next}: &{next} [{aliases}]");
    }
    place.apply("bomb", &bomb).await;
    place
        .apply(
            "deep",
            &format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: deep}}\ndata: {}", "[".repeat(10_000)),
        )
        .await;
    let map = |name: &str, data: Value, binary: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": place.namespace}, "data": data, "binaryData": binary});
    let many = |from: usize| {
        let one = |n| format!("---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: m{n}}}}}\n");
        (from..from + 6000).map(one).collect::<Vec<_>>().concat()
    };
    place.put(&map("many", json!({"a": many(0), "b": many(6000)}), json!({}))).await;
    place.put(&map("binary", json!({}), json!({"a": "AAECAwQ="}))).await;
    for n in 0..10 {
        let huge = format!("# {}\n", "x".repeat(1_000_000));
        // Too large for the last-applied annotation, and for a server-side apply all the same.
        let maps = tenants.api(&place.namespace, "v1", "ConfigMap");
        let object = serde_json::from_value(map(&format!("huge-{n}"), json!({"a": huge}), json!({}))).unwrap();
        maps.create(&kube::api::PostParams::default(), &object).await.unwrap();
    }
    place.apply_spec("many", json!({"source": {"configMaps": [{"name": "many"}]}})).await;
    place.apply_spec("binary", json!({"source": {"configMaps": [{"name": "binary"}]}})).await;
    let huge: Vec<_> = (0..10).map(|n| json!({"name": format!("huge-{n}")})).collect();
    place.apply_spec("huge", json!({"source": {"configMaps": huge}})).await;
    // The same ones again and again cost as much as others.
    let endless: Vec<_> = (0..34).map(|n| json!({"name": format!("huge-{}", n % 10)})).collect();
    place.apply_spec("endless", json!({"source": {"configMaps": endless}})).await;
    tenants.victim_applies("app", &config_map("settings", &[], "1"), json!({})).await;
    tenants.victim_succeeds("app").await;
    for (name, why) in [
        ("bomb", "anchors and aliases copy more values than the limit of 200000"),
        ("deep", "nested deeper than the limit of 128 levels"),
        ("many", "more objects than the limit of 10000"),
        ("binary", "has no keys with text"),
        ("endless", "the ConfigMaps of the source have more than 33554432 bytes"),
        ("huge", ""),
    ] {
        let message = match name {
            // Comments alone are no manifests: what counts is that ten megabytes of them are read and let go.
            "huge" => place
                .status(name, "ended", |status| {
                    status.operation_state.as_ref().is_some_and(|state| state.phase.is_ended())
                })
                .await
                .operation_state
                .unwrap()
                .message
                .unwrap(),
            _ => refused(place, name).await,
        };
        assert!(message.contains(why), "{name}: {message}");
        assert!(message.len() < 8 * 1024, "{name}: {} bytes", message.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_or_message_forges_a_line_of_the_log_or_reaches_a_terminal() {
    for format in ["text", "json"] {
        let mut place = Place::without_operator(&format!("inject-{format}")).await;
        place.start_operator_told(&["--log", "swell=debug", "--log-format", format]).await;
        let things = place.third_party().await;
        let evil = "x\n2026-01-01T00:00:00Z  INFO swell: forged\u{1b}[2J\u{9b}31m\u{202e}\r";
        let named = |field: &str| {
            let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
            *object.pointer_mut(field).unwrap() = json!(evil);
            document(&object)
        };
        let annotated = document(
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "annotations": {(evil): 1, "swell.dev/timeout": evil}}}),
        );
        for (name, manifests) in [
            ("name", named("/metadata/name")),
            ("kind", named("/kind")),
            ("version", named("/apiVersion")),
            ("annotation", annotated),
        ] {
            // YAML takes such a character in its escaped form only.
            place.apply(name, &manifests.replace('\u{9b}', "\\u009b")).await;
            refused(&place, name).await;
        }
        // What somebody's controller says of an object.
        place.apply("said", &things.machine("engine", &json!({}), &json!({}))).await;
        place.object(&format!("{}.example.com/v1", place.namespace), "Machine", "engine", "there", |_| true).await;
        let condition = json!({"type": "Stalled", "status": "True", "reason": "Broken", "message": evil, "lastTransitionTime": "2026-01-01T00:00:00Z"});
        things.write_status("engine", json!({"conditions": [condition]})).await;
        refused(&place, "said").await;
        // What a request says.
        place.ask("said", json!({"sync": {}, "initiatedBy": {"username": evil}})).await;
        place
            .status("said", "asked for", |status| {
                status
                    .operation_state
                    .as_ref()
                    .is_some_and(|state| state.initiated_by.as_ref().is_some_and(|by| by.username.is_some()))
            })
            .await;
        for application in place.applications().list(&kube::api::ListParams::default()).await.unwrap() {
            let mut status = serde_json::to_value(application.status.unwrap()).unwrap();
            // The request itself is kept as it was asked for.
            if let Some(state) = status.get_mut("operationState").and_then(Value::as_object_mut) {
                state.remove("operation");
            }
            each_text(&status, &mut |text| assert!(!is_harmful(text), "{:?}: {text:?}", application.metadata.name));
        }
        let events = kubectl(&["get", "events", "--namespace", &place.namespace, "-o", "json"]);
        let events: Value = serde_json::from_str(&events).unwrap();
        each_text(&events, &mut |text| assert!(!is_harmful(text), "{text:?}"));
        let log = place.operator_log();
        assert!(log.lines().count() > 10);
        for line in log.lines() {
            let is_ours = if format == "json" {
                serde_json::from_str::<Value>(line).is_ok()
            } else {
                line.starts_with("20") && line.contains(" swell")
            };
            assert!(is_ours && !line.starts_with("2026-01-01T00:00:00Z  INFO swell: forged"), "{line:?}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
}

fn is_harmful(text: &str) -> bool {
    text.chars().any(|c| (c.is_control() && c != '\n' && c != '\t') || c == '\u{202e}')
}

fn each_text(value: &Value, check: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => check(text),
        Value::Array(items) => items.iter().for_each(|item| each_text(item, check)),
        Value::Object(map) => map.iter().for_each(|(key, item)| {
            check(key);
            each_text(item, check);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_a_secret_comes_into_status_events_metrics_or_logs_at_any_level() {
    let mut place = Place::without_operator("canary").await;
    place.start_operator_told(&["--log", "trace", "--listen", "127.0.0.1:0"]).await;
    let canary = "c4n4ry-v4lue";
    let encoded = "YzRuNHJ5LXY0bHVl";
    // A policy that quotes what it denies.
    let policy = format!("{}-quotes", place.namespace);
    let head = |kind: &str| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": policy}});
    let mut whole = head("ValidatingAdmissionPolicy");
    whole["spec"] = json!({
        "matchConstraints": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.namespace}},
            "resourceRules": [{"apiGroups": [""], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": ["secrets"]}]},
        "matchConditions": [{"name": "quoted", "expression": "object.metadata.name == 'quoted'"}],
        "validations": [{"expression": "false", "messageExpression": "'too weak: ' + string(object.data['password'])"}]
    });
    let mut binding = head("ValidatingAdmissionPolicyBinding");
    binding["spec"] = json!({"policyName": policy, "validationActions": ["Deny"]});
    place.put(&whole).await;
    place.put(&binding).await;
    eventually("the policy denies", || async {
        let trial = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "quoted"}, "stringData": {"password": "x"}});
        let params = kube::api::PostParams { dry_run: true, ..Default::default() };
        place.api("v1", "Secret").create(&params, &serde_json::from_value(trial).unwrap()).await.err()
    })
    .await;
    let secret = |name: &str, field: &str, value: Value| {
        document(
            &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "annotations": {"note": "x"}}, (field): {"password": value}}),
        )
    };
    let sources = [
        ("good", secret("good", "stringData", json!(canary))),
        ("number", secret("number", "data", json!({"nested": canary}))),
        ("plain", secret("plain", "data", json!(canary))),
        ("quoted", secret("quoted", "stringData", json!(canary))),
        ("typed", secret("typed", "type", json!(canary))),
        (
            "broken",
            format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: broken}}\nstringData:\n  password: {canary}: {canary}\n  other: \"{canary}\n"
            ),
        ),
        (
            "doubled",
            format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: doubled}}\nstringData:\n  password: {canary}\n  password: {canary}\n"
            ),
        ),
    ];
    for (name, manifests) in &sources {
        // The manifests come from a Secret-keeping ConfigMap, so that the Application itself does not hold the value.
        place.put(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": place.namespace}, "data": {"all": manifests}})).await;
        place.apply_spec(name, json!({"source": {"configMaps": [{"name": name}]}})).await;
    }
    for (name, _) in &sources {
        let phase = if *name == "good" { OperationPhase::Succeeded } else { OperationPhase::Failed };
        place.ended(name, phase).await;
    }
    // Drift of a Secret, and a conflict about one.
    let patch = json!({"stringData": {"password": format!("{canary}-changed")}});
    place.api("v1", "Secret").patch("good", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    place
        .status("good", "OutOfSync", |status| {
            status.sync.as_ref().is_some_and(|sync| sync.status == SyncStatus::OutOfSync)
        })
        .await;
    let applications = kubectl(&["get", "swapp", "--namespace", &place.namespace, "-o", "json"]);
    let events = kubectl(&["get", "events", "--namespace", &place.namespace, "-o", "json"]);
    let metrics = place.pages(1).await.samples().await.text;
    let log = place.operator_log();
    assert!(log.lines().count() > 100, "the log is one of the level trace");
    for (what, text) in [("Applications", &applications), ("events", &events), ("metrics", &metrics), ("log", &log)] {
        for needle in [canary, encoded, "c4n4ry"] {
            let found = text.find(needle).map(|at| text[at.saturating_sub(200)..(at + 50).min(text.len())].to_owned());
            assert_eq!(found, None, "{needle} in the {what}");
        }
    }
    assert!(!log.contains("Bearer ey"), "a token of the operator is in its log");
}

//! Reaching beyond one's own rights: other namespaces, cluster roles, other accounts.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::tenants::{Tenants, at, refused};
use crate::support::{Place, config_map, document, job, kubectl};

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

//! What one can do who has stolen the operator's token, with the rights that the chart gives: the test takes the part of the thief.

use std::path::Path;

use http::{Method, Request};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use swell::api::OperationPhase;

use crate::hands::grant_everywhere;
use crate::support::accounts::{another_operator, chart, operator_by_chart};
use crate::support::{Place, admin, config_map, deployment, document, job};

/// One who has got hold of an operator's token.
struct Thief {
    client: kube::Client,
}

impl Thief {
    async fn with(kubeconfig: &Path) -> Self {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        config.proxy_url = None;
        Self { client: kube::Client::try_from(config).unwrap() }
    }

    /// What the server says, as `headers` would have it act; `None` if it does what is asked.
    async fn refusal(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Option<String> {
        let mut request = Request::builder().method(&method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let content = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        let request = request.header("Content-Type", content).body(body).unwrap();
        match self.client.request_text(request).await {
            Ok(_) => None,
            Err(kube::Error::Api(status)) => Some(format!("{} {}", status.code, status.message)),
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// Fails unless the operator itself is refused to make the request as somebody else, whatever that one may do.
    async fn is_kept_from(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) {
        let what = format!("{method} {path} as {headers:?}");
        let refusal = self.refusal(method, path, headers, body).await;
        let refusal = refusal.unwrap_or_else(|| panic!("{what} is done"));
        assert!(refusal.starts_with("403") && refusal.contains(" cannot impersonate"), "{what}: {refusal}");
    }
}

const USER: &str = "Impersonate-User";

#[tokio::test(flavor = "multi_thread")]
async fn with_roles_in_its_namespaces_alone_the_operator_deploys_there_and_sees_no_other() {
    // An older server is played by the rule for one.
    for impersonation in ["constrained", "classic"] {
        let mut place = Place::without_operator("scoped").await;
        let namespaces = format!("namespaces={{{}}}", place.namespace);
        let impersonation = format!("rbac.impersonation={impersonation}");
        let kubeconfig = operator_by_chart(&place, &["--set", &namespaces, "--set", &impersonation]).await;
        place.start_operator_with(&kubeconfig);
        let hook = job("migrate", &[("swell.dev/hook", "PreSync")], &[]);
        place.apply("app", &[hook, config_map("settings", &[], "1"), deployment("web", &[], &[])].concat()).await;
        place.ended("app", OperationPhase::Succeeded).await;
        place.applications().delete("app", &DeleteParams::default()).await.unwrap();
        place.gone("apps/v1", "Deployment", "web").await;

        let thief = Thief::with(&kubeconfig).await;
        let elsewhere = [(USER, "system:serviceaccount:kube-system:job-controller")];
        let one = format!("/api/v1/namespaces/{}/configmaps/kube-root-ca.crt", place.namespace);
        thief.is_kept_from(Method::GET, &one, &elsewhere, &Value::Null).await;
        for path in
            ["/api/v1/secrets", "/api/v1/namespaces/kube-system/secrets", "/apis/swell.dev/v1alpha1/applications"]
        {
            let refusal = thief.refusal(Method::GET, path, &[], &Value::Null).await.unwrap_or_default();
            assert!(refusal.starts_with("403"), "{path}: {refusal:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_stolen_token_acts_through_accounts_only_as_the_operator_does() {
    let place = Place::without_operator("stolen").await;
    let (_, kubeconfig) = another_operator(&place).await;
    let thief = Thief::with(&kubeconfig).await;
    // An account that may do everything, so that nothing is refused for want of its own rights.
    place.grant("cluster-admin", &place.namespace).await;
    let everything = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
    grant_everywhere(&place, everything).await;
    let user = format!("system:serviceaccount:{}:default", place.namespace);
    let account = [(USER, user.as_str())];
    let core = format!("/api/v1/namespaces/{}", place.namespace);
    let get = || Method::GET;
    let nothing = Value::Null;

    // The operator's own way is open; where a collection is meant, it is not.
    let body = json!({"metadata": {"name": "a"}});
    assert_eq!(thief.refusal(Method::POST, &format!("{core}/configmaps"), &account, &body).await, None);
    assert_eq!(thief.refusal(get(), &format!("{core}/configmaps/a"), &account, &nothing).await, None);
    for path in ["secrets", "configmaps", "secrets?watch=true", "serviceaccounts"] {
        thief.is_kept_from(get(), &format!("{core}/{path}"), &account, &nothing).await;
    }
    thief.is_kept_from(get(), "/api/v1/secrets", &account, &nothing).await;
    thief.is_kept_from(Method::DELETE, &format!("{core}/secrets"), &account, &nothing).await;
    thief.is_kept_from(get(), "/metrics", &account, &nothing).await;

    // Nobody but service accounts, and these as they are.
    let one = format!("{core}/configmaps/a");
    for other in ["admin", "system:admin", "system:kube-controller-manager", "system:node:node-1", "system:anonymous"] {
        thief.is_kept_from(get(), &one, &[(USER, other)], &nothing).await;
    }
    for more in [("Impersonate-Group", "system:masters"), ("Impersonate-Uid", "1"), ("Impersonate-Extra-Scopes", "all")]
    {
        thief.is_kept_from(get(), &one, &[account[0], more], &nothing).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_list_of_kinds_a_stolen_token_reads_no_secret_opens_no_shell_and_mints_no_token() {
    let mut place = Place::without_operator("listed").await;
    let values = chart().join("ci/kinds-values.yaml");
    let accounts = format!("rbac.accountNamespaces={{{}}}", place.namespace);
    let kubeconfig = operator_by_chart(&place, &["--values", values.to_str().unwrap(), "--set", &accounts]).await;
    place.start_operator_with(&kubeconfig);

    // What is on the list is deployed.
    let listed = [
        job("migrate", &[("swell.dev/hook", "PreSync")], &[]),
        config_map("settings", &[], "1"),
        deployment("web", &[], &[]),
    ];
    place.apply("listed", &listed.concat()).await;
    place.ended("listed", OperationPhase::Succeeded).await;
    place
        .apply("failing", &job("broken", &[("swell.dev/hook", "PreSync")], &[("pods.swell.dev/exit-code", "3")]))
        .await;
    let message = place.ended("failing", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(message.contains("exited with code 3"), "{message}");

    // What is not is named, and stops nobody else.
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"key": "hidden"}});
    place.apply("unlisted", &document(&secret)).await;
    let status = place
        .status("unlisted", "told that Secrets cannot be watched", |status| {
            let said = serde_json::to_string(&status).unwrap();
            said.contains("secrets") && said.contains(&place.namespace)
        })
        .await;
    assert!(status.operation_state.is_none_or(|state| state.phase != OperationPhase::Succeeded));
    place
        .put(&{
            let mut secret = secret.clone();
            secret["metadata"]["namespace"] = json!(place.namespace);
            secret
        })
        .await;

    let thief = Thief::with(&kubeconfig).await;
    grant_everywhere(&place, json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]})).await;
    let user = format!("system:serviceaccount:{}:default", place.namespace);
    let account = [(USER, user.as_str())];
    let core = format!("/api/v1/namespaces/{}", place.namespace);
    let nothing = Value::Null;
    for path in ["secrets", "secrets/key", "secrets?watch=true"] {
        let path = format!("{core}/{path}");
        let refusal = thief.refusal(Method::GET, &path, &[], &nothing).await.unwrap_or_default();
        assert!(refusal.starts_with("403"), "{path}: {refusal:?}");
        thief.is_kept_from(Method::GET, &path, &account, &nothing).await;
    }
    thief
        .is_kept_from(
            Method::PATCH,
            &format!("{core}/secrets/key"),
            &account,
            &json!({"metadata": {"labels": {"a": "b"}}}),
        )
        .await;
    thief.is_kept_from(Method::DELETE, &format!("{core}/secrets/key"), &account, &nothing).await;
    let pods: Api<DynamicObject> = Api::namespaced_with(
        admin().await,
        &place.namespace,
        &ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod")),
    );
    let pod = pods.list(&ListParams::default()).await.unwrap().items.remove(0).metadata.name.unwrap();
    for method in [Method::GET, Method::POST] {
        thief.is_kept_from(method, &format!("{core}/pods/{pod}/exec?command=id&stdout=true"), &account, &nothing).await;
    }
    thief.is_kept_from(Method::PATCH, &format!("{core}/pods/{pod}/ephemeralcontainers"), &account, &json!({})).await;
    thief
        .is_kept_from(Method::POST, &format!("{core}/serviceaccounts/default/token"), &account, &json!({"spec": {}}))
        .await;
    let role = json!({"metadata": {"name": "any"}, "rules": []});
    thief.is_kept_from(Method::POST, "/apis/rbac.authorization.k8s.io/v1/clusterroles", &account, &role).await;
    // The accounts of other namespaces, those of controllers above all, are nobody that it may be.
    let controller = [(USER, "system:serviceaccount:kube-system:job-controller")];
    thief.is_kept_from(Method::GET, &format!("{core}/configmaps/settings"), &controller, &nothing).await;
}

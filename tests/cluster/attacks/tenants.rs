//! An attacker and a victim, each with a namespace of its own.

use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use swell::api::{Application, ApplicationStatus, OperationPhase};
use testbed::audit::Filter;

use crate::support::{Place, document, eventually, kubectl, namespace, testbed};

/// The attacker's place, and the namespace of a victim whose own account may edit there. One operator looks at both.
pub(super) struct Tenants {
    pub(super) attacker: Place,
    pub(super) victim: String,
}

impl Tenants {
    pub(super) async fn new(prefix: &str) -> Self {
        let mut tenants = Self::without_operator(prefix).await;
        tenants.attacker.start_operator().await;
        tenants
    }

    pub(super) async fn without_operator(prefix: &str) -> Self {
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
    pub(super) async fn theirs(&self, api_version: &str, kind: &str, name: &str) -> Option<DynamicObject> {
        self.api(&self.victim, api_version, kind).get_opt(name).await.unwrap()
    }

    pub(super) fn api(&self, namespace: &str, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.attacker.client.clone(), namespace, &resource)
    }

    pub(super) fn their_applications(&self) -> Api<Application> {
        Api::namespaced(self.attacker.client.clone(), &self.victim)
    }

    pub(super) async fn victim_applies(&self, name: &str, manifests: &str, policy: Value) {
        let application = json!({
            "apiVersion": "swell.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": name, "namespace": self.victim},
            "spec": {"source": {"inline": manifests}, "syncPolicy": policy}
        });
        self.attacker.put(&application).await;
    }

    pub(super) async fn victim_status(
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

    pub(super) async fn victim_succeeds(&self, name: &str) -> ApplicationStatus {
        self.victim_status(name, "synced", |status| {
            status.operation_state.as_ref().is_some_and(|state| state.phase == OperationPhase::Succeeded)
        })
        .await
    }

    /// Every write that was done in the victim's namespace with the rights of the attacker's account, or with the operator's own.
    pub(super) async fn harm(&self) -> Vec<String> {
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

pub(super) fn at(namespace: &str, kind: &str, name: &str) -> String {
    document(&json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}))
}

pub(super) async fn refused(place: &Place, name: &str) -> String {
    place.ended(name, OperationPhase::Failed).await.operation_state.unwrap().message.unwrap()
}

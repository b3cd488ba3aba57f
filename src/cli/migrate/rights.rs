//! What the account of an Application has to be granted, and who may read what stands in its source.

use std::collections::BTreeSet;

use super::report::Report;
use crate::api::{Application, GROUP, KIND};
use crate::engine::desired::Desired;
use crate::engine::object::{GroupKind, Owner};

/// Says which rights the account needs, and which Secrets can be read in the source.
pub(super) fn about(wanted: &Desired, owner: &Owner, application: &Application, report: &mut Report) {
    let (own, account) = (owner.namespace(), application.service_account());
    let mut namespaces = BTreeSet::new();
    let mut beyond = BTreeSet::new();
    for manifest in &wanted.manifests {
        let kind = &manifest.key.kind;
        match &manifest.key.namespace {
            Some(namespace) if edit_holds(kind) => {
                namespaces.insert(namespace.to_string());
            }
            Some(namespace) => {
                beyond.insert(format!("{kind} in {namespace}"));
            }
            None => {
                beyond.insert(format!("{kind} in the whole cluster"));
            }
        }
    }
    let policy = application.spec.sync_policy.as_ref();
    let creates = application.sync_options().iter().any(|option| option == "CreateNamespace=true");
    if creates && policy.is_some_and(|policy| policy.managed_namespace_metadata.is_some()) {
        beyond.insert("Namespace in the whole cluster".to_owned());
    }
    if !namespaces.is_empty() {
        let commands: Vec<_> = namespaces
            .iter()
            .map(|namespace| {
                format!("`kubectl create rolebinding {own}-{account}-edit --namespace {namespace} --clusterrole edit --serviceaccount {own}:{account}`")
            })
            .collect();
        report.before.push(format!(
            "Swell writes as the service account {own}/{account}, not with rights of its own: {}",
            commands.join(", ")
        ));
    }
    if !beyond.is_empty() {
        let what = beyond.into_iter().collect::<Vec<_>>().join(", ");
        report
            .before
            .push(format!("the ClusterRole edit does not hold these, which {own}/{account} writes as well: {what}"));
    }
    let secrets: Vec<_> = wanted
        .manifests
        .iter()
        .filter(|manifest| manifest.key.kind.is("", "Secret"))
        .map(|manifest| manifest.key.to_string())
        .collect();
    if !secrets.is_empty() {
        report.before.push(format!(
            "{} can be read by whoever may read Applications and ConfigMaps of {own}: in the source they stand in the clear",
            secrets.join(", ")
        ));
    }
}

/// Whether the built-in ClusterRole `edit` lets its holder write the kind.
fn edit_holds(kind: &GroupKind) -> bool {
    match (&*kind.group, &*kind.kind) {
        (GROUP, KIND) => false,
        ("", name) => !["ResourceQuota", "LimitRange", "Endpoints", "Event", "PodTemplate"].contains(&name),
        ("apps" | "batch" | "autoscaling", _) => true,
        ("networking.k8s.io", name) => ["Ingress", "NetworkPolicy"].contains(&name),
        ("policy", name) => name == "PodDisruptionBudget",
        _ => false,
    }
}

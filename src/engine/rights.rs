//! Which rights a plan needs, and how a missing one is told.

use std::collections::BTreeSet;
use std::fmt;

use super::kinds::Kinds;
use super::plan::{Options, Plan, Task, Work};

/// One right that a plan needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Namespace; `None`: cluster-wide.
    pub namespace: Option<String>,
    /// API group; empty for the core group.
    pub group: String,
    /// Plural name.
    pub resource: String,
    /// The verb.
    pub verb: &'static str,
}

/// A right that the account does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingRight {
    /// The right.
    pub right: Right,
    /// The account's namespace.
    pub account_namespace: String,
    /// The account's name.
    pub account: String,
}

/// Account, verb, resource, namespace, and the one command that grants it.
impl fmt::Display for MissingRight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { right, account_namespace, account } = self;
        let resource =
            if right.group.is_empty() { right.resource.clone() } else { format!("{}.{}", right.resource, right.group) };
        write!(f, "service account {account_namespace}/{account} may not {} {resource}", right.verb)?;
        match &right.namespace {
            Some(namespace) => write!(
                f,
                " in namespace {namespace}; to grant it: kubectl create rolebinding {account}-{} --namespace {namespace} --clusterrole {} --serviceaccount {account_namespace}:{account}",
                fitting_role(right),
                fitting_role(right),
            ),
            None => write!(
                f,
                " cluster-wide; to grant it: kubectl create clusterrole {account_namespace}-{account}-{res} --verb get,create,patch,delete --resource {resource} && kubectl create clusterrolebinding {account_namespace}-{account}-{res} --clusterrole {account_namespace}-{account}-{res} --serviceaccount {account_namespace}:{account}",
                res = right.resource,
            ),
        }
    }
}

/// The built-in role that holds the right: `edit` for workloads, `admin` for roles and bindings.
fn fitting_role(right: &Right) -> &'static str {
    const EDIT_GROUPS: &[&str] = &["", "apps", "batch", "autoscaling", "policy", "networking.k8s.io"];
    match (right.group.as_str(), right.resource.as_str()) {
        ("rbac.authorization.k8s.io", "roles" | "rolebindings") => "admin",
        ("", "resourcequotas" | "limitranges") => "cluster-admin",
        (group, _) if EDIT_GROUPS.contains(&group) => "edit",
        _ => "cluster-admin",
    }
}

/// The rights that the tasks of a plan need. Kinds that are not served yet cannot be asked about and are left out.
pub fn needed(plan: &Plan, kinds: &Kinds, options: &Options) -> Vec<Right> {
    let mut rights = BTreeSet::new();
    for task in plan.tasks() {
        let wanted = task.manifest().map(|manifest| manifest.version());
        let Some(info) = kinds.find(&task.key.kind, wanted) else { continue };
        for verb in verbs(task, options) {
            rights.insert(Right {
                namespace: task.key.namespace.as_deref().map(str::to_owned),
                group: task.key.kind.group.to_string(),
                resource: info.plural.clone(),
                verb,
            });
        }
    }
    rights.into_iter().collect()
}

fn verbs(task: &Task, options: &Options) -> &'static [&'static str] {
    match &task.work {
        Work::Apply(manifest) => match (options.replaces(manifest), options.forces(manifest)) {
            (false, false) => &["get", "create", "patch"],
            (true, false) => &["get", "create", "patch", "update"],
            (false, true) => &["get", "create", "patch", "delete"],
            (true, true) => &["get", "create", "patch", "update", "delete"],
        },
        Work::Namespace(_) => &["get", "create", "patch"],
        // A hook's leftover is deleted before it runs, whatever its policy.
        Work::Hook(_) => &["get", "create", "patch", "delete"],
        Work::Prune => &["get", "delete"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_names_account_verb_resource_namespace_and_the_command_that_grants_it() {
        let right = Right {
            namespace: Some("shop".into()),
            group: "apps".into(),
            resource: "deployments".into(),
            verb: "create",
        };
        let missing = MissingRight { right, account_namespace: "shop".into(), account: "default".into() };
        assert_eq!(
            missing.to_string(),
            "service account shop/default may not create deployments.apps in namespace shop; to grant it: kubectl create rolebinding default-edit --namespace shop --clusterrole edit --serviceaccount shop:default"
        );
    }
}

//! Which rights a plan needs, who must have them, and how it is told what is lacking.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::kinds::Kinds;
use super::object::Digest;
use super::plan::{Options, Plan, Task, Work};

/// Who acts for an Application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// A service account, by impersonation.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The operator itself, under the user name that the API server knows it by.
    Operator(String),
}

impl Account {
    /// The words of `kubectl create rolebinding` that name it.
    fn subject(&self) -> String {
        let own = |user: &str| {
            let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
            Some(format!("--serviceaccount {namespace}:{name}"))
        };
        match self {
            Self::Service { namespace, name } => format!("--serviceaccount {namespace}:{name}"),
            Self::Operator(user) => own(user).unwrap_or_else(|| format!("--user '{}'", user.replace('\'', "'\\''"))),
        }
    }

    /// How a role begins that is made for it.
    fn role_prefix(&self) -> String {
        match self {
            Self::Service { namespace, name } => format!("{namespace}-{name}"),
            Self::Operator(_) => "swell-operator".to_owned(),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { namespace, name } => write!(f, "service account {namespace}/{name}"),
            Self::Operator(user) => write!(f, "the operator itself (user {user})"),
        }
    }
}

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

/// What must be there before the first write of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The rights.
    pub rights: Vec<Right>,
    /// Namespaces that the plan writes into and brings itself: they may be missing.
    pub brings: BTreeSet<String>,
}

/// What is lacking, each with what puts it right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The service account is not there. The API server lets anybody act as one that does not exist: without any rights.
    Account {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Something in one place: its namespace, or rights there.
    Place {
        /// The namespace; `None`: cluster-wide.
        namespace: Option<String>,
        /// Whether the namespace is not there.
        absent: bool,
        /// Who lacks the rights.
        account: Account,
        /// The rights that are lacking there; none where only the namespace is.
        rights: Vec<Right>,
    },
}

/// One sentence for each place, with one command line that grants all that is lacking there, and nothing else.
impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account { namespace, name } => write!(
                f,
                "the service account {namespace}/{name} does not exist; to create it: kubectl create serviceaccount {name} --namespace {namespace}"
            ),
            Self::Place { namespace, absent, account, rights } => {
                let by_verbs = by_verbs(rights);
                let lacking: Vec<_> = by_verbs
                    .iter()
                    .map(|(verbs, resources)| format!("may not {} {}", verbs.join(", "), resources.join(", ")))
                    .collect();
                let mut commands = Vec::new();
                match namespace {
                    Some(namespace) if *absent => {
                        write!(f, "namespace {namespace} does not exist")?;
                        commands.push(format!("kubectl create namespace {namespace}"));
                        if !rights.is_empty() {
                            write!(f, ", and {account} {} there", lacking.join(" and "))?;
                        }
                    }
                    Some(namespace) => write!(f, "{account} {} in namespace {namespace}", lacking.join(" and "))?,
                    None => write!(f, "{account} {} cluster-wide", lacking.join(" and "))?,
                }
                commands.extend(
                    by_verbs.iter().map(|(verbs, resources)| grant(account, namespace.as_deref(), verbs, resources)),
                );
                let what = if *absent { "to put that right" } else { "to grant it" };
                write!(f, "; {what}: {}", commands.join(" && "))?;
                if *absent && rights.is_empty() {
                    write!(f, " (or, for the destination, CreateNamespace=true in spec.syncPolicy.syncOptions)")?;
                }
                Ok(())
            }
        }
    }
}

/// The resources for which the same verbs are lacking, in the words of kubectl.
fn by_verbs(rights: &[Right]) -> BTreeMap<Vec<&'static str>, Vec<String>> {
    let mut verbs: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    for Right { group, resource, verb, .. } in rights {
        let resource = if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") };
        verbs.entry(resource).or_default().insert(verb);
    }
    let mut resources: BTreeMap<Vec<&'static str>, Vec<String>> = BTreeMap::new();
    for (resource, verbs) in verbs {
        resources.entry(verbs.into_iter().collect()).or_default().push(resource);
    }
    resources
}

/// A role with just that, and its binding. The name holds a digest of it: what is lacking at another time is another role.
fn grant(account: &Account, namespace: Option<&str>, verbs: &[&str], resources: &[String]) -> String {
    let (verbs, resources, subject) = (verbs.join(","), resources.join(","), account.subject());
    let digest = Digest::of_parts(&[namespace.unwrap_or_default(), &verbs, &resources, &subject]).to_string();
    let mut name = account.role_prefix();
    name.truncate(LONGEST_PREFIX);
    let name = format!("{}-{}", name.trim_end_matches(['-', '.']), &digest[..8]);
    let (kind, place) = match namespace {
        Some(namespace) => ("", format!(" --namespace {namespace}")),
        None => ("cluster", String::new()),
    };
    format!(
        "kubectl create {kind}role {name}{place} --verb {verbs} --resource {resources} && kubectl create {kind}rolebinding {name}{place} --{kind}role {name} {subject}"
    )
}

/// With the digest behind it a name stays far below the 253 characters that it may have.
const LONGEST_PREFIX: usize = 120;

/// How people go on once what was lacking is there.
pub fn to_go_on(name: &str, namespace: &str) -> String {
    format!("kubectl patch swapp {name} --namespace {namespace} --type merge -p '{{\"operation\":{{\"sync\":{{}}}}}}'")
}

/// What the tasks of a plan need. Kinds that are not served yet cannot be asked about and are left out.
pub fn needed(plan: &Plan, kinds: &Kinds, options: &Options) -> Needs {
    let mut rights = BTreeSet::new();
    let mut brings = BTreeSet::new();
    for task in plan.tasks() {
        if task.key.kind.is("", "Namespace") && task.manifest().is_some() {
            brings.insert(task.key.name.to_string());
        }
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
    Needs { rights: rights.into_iter().collect(), brings }
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

    fn shop() -> Account {
        Account::Service { namespace: "shop".into(), name: "default".into() }
    }

    fn right(namespace: Option<&str>, group: &str, resource: &str, verb: &'static str) -> Right {
        Right { namespace: namespace.map(str::to_owned), group: group.into(), resource: resource.into(), verb }
    }

    fn lack(namespace: Option<&str>, absent: bool, account: Account, rights: &[(&str, &str, &'static str)]) -> String {
        let rights = rights.iter().map(|(group, resource, verb)| right(namespace, group, resource, verb)).collect();
        Lack::Place { namespace: namespace.map(str::to_owned), absent, account, rights }.to_string()
    }

    #[test]
    fn i9_one_sentence_tells_all_that_is_lacking_in_a_place_with_one_command_line_that_grants_it_and_no_more() {
        let said = lack(
            Some("web"),
            false,
            shop(),
            &[
                ("", "configmaps", "get"),
                ("", "configmaps", "create"),
                ("apps", "deployments", "create"),
                ("apps", "deployments", "get"),
                ("batch", "jobs", "delete"),
            ],
        );
        let (sentence, command) = said.split_once("; to grant it: ").unwrap();
        assert_eq!(
            sentence,
            "service account shop/default may not create, get configmaps, deployments.apps and may not delete jobs.batch in namespace web"
        );
        let commands: Vec<_> = command.split(" && ").collect();
        assert_eq!(commands.len(), 4, "{command}");
        let name = commands[0].split(' ').nth(3).unwrap();
        assert!(name.starts_with("shop-default-"), "{name}");
        assert_eq!(
            commands[..2],
            [
                format!(
                    "kubectl create role {name} --namespace web --verb create,get --resource configmaps,deployments.apps"
                ),
                format!(
                    "kubectl create rolebinding {name} --namespace web --role {name} --serviceaccount shop:default"
                ),
            ]
        );
        assert!(commands[2].ends_with("--verb delete --resource jobs.batch") && !commands[2].contains(name));
    }

    #[test]
    fn what_is_lacking_cluster_wide_is_a_cluster_role() {
        let said = lack(None, false, shop(), &[("", "namespaces", "create"), ("", "namespaces", "get")]);
        assert!(
            said.starts_with("service account shop/default may not create, get namespaces cluster-wide; "),
            "{said}"
        );
        assert!(said.contains("kubectl create clusterrole shop-default-"), "{said}");
        assert!(said.contains("--clusterrole shop-default-") && !said.contains("--namespace"), "{said}");
    }

    #[test]
    fn in_a_namespace_that_is_not_there_nothing_is_granted_before_it_is_created() {
        let said = lack(Some("not-there"), true, shop(), &[]);
        assert_eq!(
            said,
            "namespace not-there does not exist; to put that right: kubectl create namespace not-there (or, for the destination, CreateNamespace=true in spec.syncPolicy.syncOptions)"
        );
        let said = lack(Some("not-there"), true, shop(), &[("", "configmaps", "get")]);
        assert!(said.starts_with("namespace not-there does not exist, and service account shop/default may not get configmaps there; to put that right: kubectl create namespace not-there && kubectl create role "), "{said}");
    }

    #[test]
    fn the_operators_own_user_is_bound_as_what_it_is_and_no_name_breaks_out_of_the_command() {
        let rights: &[(&str, &str, &'static str)] = &[("", "configmaps", "get")];
        let own = lack(Some("a"), false, Account::Operator("system:serviceaccount:swell-system:swell".into()), rights);
        assert!(own.contains("the operator itself (user system:serviceaccount:swell-system:swell) may not"), "{own}");
        assert!(own.ends_with("--serviceaccount swell-system:swell"), "{own}");
        let odd = lack(Some("a"), false, Account::Operator("o'; rm -rf / #".into()), rights);
        assert!(odd.ends_with("--user 'o'\\''; rm -rf / #'"), "{odd}");
    }

    #[test]
    fn the_longest_names_make_a_role_that_can_be_created() {
        let account = Account::Service { namespace: "n".repeat(63), name: "a".repeat(253) };
        let said = lack(Some("web"), false, account, &[("", "configmaps", "get")]);
        let name = said.split("create role ").nth(1).unwrap().split(' ').next().unwrap();
        assert!(name.len() < 140, "{name}");
    }
}

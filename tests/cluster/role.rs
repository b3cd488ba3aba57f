//! What the operator may do under its own name: the role that the chart gives it, against what it asks for.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use kube::api::DeleteParams;
use serde_json::{Value, json};
use swell::api::OperationPhase;
use testbed::audit::{AuditLog, Entry, Filter};
use testbed::faults::{Fate, FaultProxy, When};

use crate::hands::grant_everywhere;
use crate::support::accounts::{SYSTEM, another_operator};
use crate::support::{Place, config_map, deployment, document, eventually, job, job_object, kubectl, testbed};

const ACT: &str = "impersonate:serviceaccount";
const ACT_ON: &str = "impersonate-on:serviceaccount:";

/// A verb on a resource: as a request needs it, or as a rule grants it (then `*` stands for all groups, or all resources).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    verb: String,
    group: String,
    resource: String,
}

impl Right {
    fn new(verb: &str, group: &str, resource: &str) -> Self {
        Self { verb: verb.to_owned(), group: group.to_owned(), resource: resource.to_owned() }
    }

    fn covers(&self, needed: &Self) -> bool {
        let matches = |granted: &str, needed: &str| granted == "*" || granted == needed;
        self.verb == needed.verb && matches(&self.group, &needed.group) && matches(&self.resource, &needed.resource)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}.{}", self.verb, self.resource, if self.group.is_empty() { "core" } else { &self.group })
    }
}

/// What the rules of roles and cluster roles grant.
fn granted<'a>(roles: impl IntoIterator<Item = &'a Value>) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for rule in roles.into_iter().flat_map(|role| role["rules"].as_array().unwrap()) {
        let list = |field: &str| rule[field].as_array().unwrap().iter().map(|item| item.as_str().unwrap());
        assert!(rule.get("nonResourceURLs").is_none(), "{rule}");
        for verb in list("verbs") {
            assert_ne!(verb, "*");
            for group in list("apiGroups") {
                rights.extend(list("resources").map(|resource| Right::new(verb, group, resource)));
            }
        }
    }
    rights
}

/// What a request needs of the one who authenticated. Nothing for discovery and the like, which everybody may do.
fn needed(entry: &Entry) -> Vec<Right> {
    if entry.resource.is_empty() {
        return Vec::new();
    }
    let resource = match entry.subresource.as_str() {
        "" => entry.resource.clone(),
        subresource => format!("{}/{subresource}", entry.resource),
    };
    match &entry.impersonated_user {
        None => vec![Right::new(&entry.verb, &entry.group, &resource)],
        Some(_) => vec![
            Right::new(ACT, "authentication.k8s.io", "serviceaccounts"),
            Right::new(&format!("{ACT_ON}{}", entry.verb), &entry.group, &resource),
        ],
    }
}

/// Fails where the requests of an operator and the rights that its roles grant differ.
fn compare(entries: &[Entry], granted: &BTreeSet<Right>) {
    assert!(!entries.is_empty());
    // Allowed and refused all the same is no matter of rights: a namespace that is being deleted takes nothing new.
    let refused = |entry: &&Entry| {
        entry.code == 403 && entry.impersonated_user.is_none() && !entry.reason.contains("allowed by ")
    };
    let refusals: BTreeSet<_> =
        entries.iter().filter(refused).map(|entry| format!("{} {}", entry.verb, entry.request_uri)).collect();
    assert!(refusals.is_empty(), "the role lacks what the operator asks for: {refusals:#?}");

    // Reviews of one's own rights are everybody's.
    let everybodys = |right: &Right| right.group.starts_with("auth") && right.resource.starts_with("selfsubject");
    let used: BTreeSet<_> = entries.iter().flat_map(needed).collect();
    let foreign: Vec<_> = used
        .iter()
        .filter(|right| !everybodys(right) && !granted.iter().any(|rule| rule.covers(right)))
        .map(ToString::to_string)
        .collect();
    assert!(foreign.is_empty(), "used, and granted by something else than the role: {foreign:#?}");
    let unused: Vec<_> =
        granted.iter().filter(|rule| !used.iter().any(|right| rule.covers(right))).map(ToString::to_string).collect();
    assert!(unused.is_empty(), "granted, and never used: {unused:#?}");
}

/// A workload whose pods die again and again.
fn crashing(name: &str) -> String {
    deployment(
        name,
        &[("swell.dev/timeout", "3s")],
        &[("pods.swell.dev/crash-loop", "true"), ("pods.swell.dev/log", "no database\n")],
    )
}

/// A Job whose pods nobody can create: only its Events say why.
fn without_pods(name: &str) -> String {
    let mut job = job_object(name, &[("swell.dev/hook", "PreSync"), ("swell.dev/timeout", "3s")], &[]);
    job["spec"]["template"]["spec"]["serviceAccountName"] = json!("nobody");
    document(&job)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_grants_what_the_operator_asks_for_and_no_verb_that_it_never_uses() {
    let mut place = Place::without_operator("role").await;
    let (account, kubeconfig) = another_operator(&place).await;
    let destination = format!("{}-new", place.namespace);
    place.also_look_at(&destination);
    place.with_arguments(&["--lease-namespace", SYSTEM]);
    let proxy = FaultProxy::start(&kubeconfig, &format!("{}.proxied.kubeconfig", place.namespace)).await.unwrap();
    place.start_operator_behind(&proxy);
    grant_everywhere(
        &place,
        json!([
            {"apiGroups": [""], "resources": ["namespaces", "configmaps"], "verbs": ["get", "create", "patch", "update", "delete"]}
        ]),
    )
    .await;

    // From ConfigMaps, with a hook, into a namespace that is created; then an object is replaced, and another one pruned.
    let replaced = |value: &str| config_map("replaced", &[("swell.dev/sync-options", "Replace=true")], value);
    let source = |manifests: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "source", "namespace": place.namespace},
            "data": {"all": manifests}})
    };
    place.put(&source(&[replaced("1"), config_map("pruned", &[], "1")].concat())).await;
    let spec = json!({
        "source": {"configMaps": [{"name": "source"}]}, "destination": {"namespace": destination},
        "syncPolicy": {"syncOptions": ["CreateNamespace=true"], "automated": {"prune": true}}
    });
    place.apply_spec("sourced", spec).await;
    let first = place.ended("sourced", OperationPhase::Succeeded).await.operation_state.unwrap();
    place.put(&source(&replaced("2"))).await;
    place.ended_after("sourced", &first.id, OperationPhase::Succeeded).await;

    // A hook that ends well, one that fails, one that has no pods, and a workload that does not come up.
    let hook = |name: &str, pod: &[(&str, &str)]| job(name, &[("swell.dev/hook", "PreSync")], pod);
    place.apply("well", &[hook("migrate", &[]), deployment("web", &[], &[])].concat()).await;
    let well = place.ended("well", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    place.apply("failing", &hook("broken", &[("pods.swell.dev/exit-code", "3"), ("pods.swell.dev/log", "no\n")])).await;
    let message = place.ended("failing", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(message.contains("exited with code 3") && message.contains("no"), "{message}");
    place.apply("podless", &without_pods("podless")).await;
    let message = place.ended("podless", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(message.contains("nobody"), "{message}");
    place.apply("crashing", &crashing("crashing")).await;
    let message = place.ended("crashing", OperationPhase::Failed).await.operation_state.unwrap().message.unwrap();
    assert!(message.contains("no database"), "{message}");

    // A status that somebody else has written first: the Application is read anew.
    let conflict = proxy.rule(
        When::calls(|call| call.method == "PUT" && call.resource == "applications" && call.name == "well").once(),
        Fate::Refuse(409, None),
    );
    place.ask("well", json!({"sync": {}})).await;
    conflict.hit(1).await.unwrap();
    drop(conflict);
    place.ended_after("well", &well, OperationPhase::Succeeded).await;

    // The end of an Application with its objects.
    place.applications().delete("well", &DeleteParams::default()).await.unwrap();
    eventually("the Application is gone", || async {
        place.applications().get_opt("well").await.unwrap().is_none().then_some(())
    })
    .await;
    // A stop in order gives the Lease back.
    place.stop_operator();

    let log = testbed().audit();
    log.flushed(&place.client).await.unwrap();
    let entries = log.read(&Filter::default()).unwrap().into_iter().filter(|entry| entry.user == account);
    let role =
        |args: &[&str]| -> Value { serde_json::from_str(&kubectl(&[&["get", "-o", "json"], args].concat())).unwrap() };
    let roles = [role(&["clusterrole", "swell"]), role(&["role", "swell-leases", "-n", SYSTEM])];
    compare(&entries.collect::<Vec<_>>(), &granted(&roles));
}

/// `make test` runs this after everything else, with the audit logs that all test programs have left.
#[test]
#[ignore = "reads the audit logs of a whole run: `make test` runs it after that"]
fn over_a_whole_run_the_role_grants_what_the_operator_asks_for_and_no_verb_that_it_never_uses() {
    let folder = std::env::var("SWELL_TESTBED_AUDIT").expect("SWELL_TESTBED_AUDIT names the folder of a whole run");
    let mut entries = Vec::new();
    for file in std::fs::read_dir(&folder).unwrap() {
        let log = AuditLog::new(&file.unwrap().path());
        let mut found = log.read(&Filter::user_agent("swell/")).unwrap();
        // Whose roles are gone, as after `helm uninstall`, is refused for that.
        let unbound = log.read(&Filter::default().verbs(&["delete"]).resource("rolebindings")).unwrap();
        if let Some(unbound) = unbound.iter().find(|entry| entry.name == "swell-leases" && entry.namespace == SYSTEM) {
            found.retain(|entry| entry.code != 403 || entry.received_us < unbound.received_us);
        }
        entries.extend(found);
    }
    let account = format!("system:serviceaccount:{SYSTEM}:swell");
    // What a test binds the operator to in a namespace of its own (--own-rights) is no part of the role; Leases are, wherever they are.
    let is_bound_elsewhere = |entry: &Entry| {
        let by = "allowed by RoleBinding \"";
        entry.impersonated_user.is_none()
            && entry.reason.contains(by)
            && !entry.reason.contains(&format!("{by}swell-leases/"))
    };
    entries.retain(|entry| entry.user == account && !is_bound_elsewhere(entry));
    println!("{} requests of {account} in {folder}", entries.len());

    let rights = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/operator.yaml")).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&rights).unwrap();
    let roles: Vec<_> = objects
        .into_iter()
        .filter(|object| matches!(object["metadata"]["name"].as_str(), Some("swell" | "swell-leases")))
        .filter(|object| object.get("rules").is_some())
        .collect();
    assert_eq!(roles.len(), 2, "deploy/operator.yaml has the ClusterRole swell and the Role swell-leases");
    compare(&entries, &granted(&roles));
}

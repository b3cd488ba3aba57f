//! The pods of a hook or a workload: those of its newest revision, which is the one that is waited for.

use serde_json::Value;

use crate::cluster::client::Calls;
use crate::engine::object::ObjectKey;

/// Most pods that are looked at.
const MOST: usize = 200;

/// Pods, and what makes them.
#[derive(Default)]
pub(super) struct Pods {
    /// The pods that could be read.
    pub(super) pods: Vec<Value>,
    /// uid of the object whose events tell why there are none.
    pub(super) maker: String,
}

/// The pods of an object. What cannot be read is left out.
pub(super) async fn of(calls: &Calls, key: &ObjectKey, namespace: &str, uid: &str) -> Pods {
    let owned = |items: Vec<Value>, by: &str| items.into_iter().filter(|item| is_owned(item, by)).collect::<Vec<_>>();
    let core = format!("/api/v1/namespaces/{namespace}/pods");
    let apps = format!("/apis/apps/v1/namespaces/{namespace}");
    match (&*key.kind.group, &*key.kind.kind) {
        ("", "Pod") => {
            let pod = calls.get(format!("{core}/{}", key.name)).await;
            Pods { pods: pod.into_iter().collect(), maker: uid.to_owned() }
        }
        ("batch", "Job") => {
            let pods = list(calls, &core, &format!("batch.kubernetes.io%2Fcontroller-uid%3D{uid}")).await;
            Pods { pods, maker: uid.to_owned() }
        }
        ("apps", "Deployment") => {
            let Some(selector) = selector(calls, format!("{apps}/deployments/{}", key.name)).await else {
                return Pods::default();
            };
            let sets = owned(list(calls, &format!("{apps}/replicasets"), &selector).await, uid);
            let Some(newest) = sets.iter().max_by_key(|set| revision(set)).and_then(uid_of) else {
                return Pods { pods: Vec::new(), maker: uid.to_owned() };
            };
            Pods { pods: owned(list(calls, &core, &selector).await, newest), maker: newest.to_owned() }
        }
        ("apps", kind @ ("ReplicaSet" | "StatefulSet" | "DaemonSet")) => {
            let path = format!("{apps}/{}s/{}", kind.to_lowercase(), key.name);
            let Some(selector) = selector(calls, path).await else { return Pods::default() };
            Pods { pods: owned(list(calls, &core, &selector).await, uid), maker: uid.to_owned() }
        }
        _ => Pods { pods: Vec::new(), maker: uid.to_owned() },
    }
}

async fn list(calls: &Calls, path: &str, selector: &str) -> Vec<Value> {
    let path = format!("{path}?labelSelector={selector}&limit={MOST}");
    match calls.get(path).await.ok().and_then(|mut list| list.get_mut("items").map(Value::take)) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// The labels that the pods of a workload carry, as a query says them. What `matchExpressions` add is left to the owner references.
async fn selector(calls: &Calls, path: String) -> Option<String> {
    query(&calls.get(path).await.ok()?)
}

fn query(workload: &Value) -> Option<String> {
    let labels = workload.pointer("/spec/selector/matchLabels")?.as_object()?;
    let pairs: Vec<_> = labels
        .iter()
        .filter_map(|(key, value)| Some(format!("{}%3D{}", key.replace('/', "%2F"), value.as_str()?)))
        .collect();
    (!pairs.is_empty()).then(|| pairs.join("%2C"))
}

fn uid_of(object: &Value) -> Option<&str> {
    object.pointer("/metadata/uid")?.as_str()
}

fn is_owned(object: &Value, by: &str) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().any(|owner| owner.get("uid").and_then(Value::as_str) == Some(by))
}

fn revision(set: &Value) -> u64 {
    let annotations = set.pointer("/metadata/annotations");
    let number = annotations.and_then(|all| all.get("deployment.kubernetes.io/revision")).and_then(Value::as_str);
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_labels_of_a_selector_are_said_as_a_query_takes_them() {
        let workload = json!({"spec": {"selector": {"matchLabels": {"app": "web", "example.com/part": "api"}}}});
        assert_eq!(query(&workload).as_deref(), Some("app%3Dweb%2Cexample.com%2Fpart%3Dapi"));
        assert_eq!(query(&json!({"spec": {"selector": {"matchLabels": {}}}})), None, "never all pods of a namespace");
        assert_eq!(query(&json!({})), None);
    }

    #[test]
    fn the_newest_revision_is_told_by_number_and_an_owner_by_its_uid() {
        let set =
            |revision: &str| json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": revision}}});
        assert!(revision(&set("10")) > revision(&set("9")));
        let pod = json!({"metadata": {"ownerReferences": [{"uid": "a"}, {"uid": "b"}]}});
        assert!(is_owned(&pod, "b") && !is_owned(&pod, "c") && !is_owned(&json!({}), "a"));
    }
}

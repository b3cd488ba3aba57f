//! The Leases of the processes that share the work: one for each, with what it claims in an annotation.

use std::collections::BTreeSet;

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::client::{Call, Calls};
use crate::engine::action::Fault;
use crate::engine::shards::{BadClaim, Claim, Sharing};

/// Annotation on a Lease: the claim of its process.
const CLAIM: &str = "swell.dev/claim";
/// Annotation on a Lease: how its process was told to share.
const SHARING: &str = "swell.dev/sharing";
/// Annotation on a Lease: the namespaces that its process looks at.
const NAMESPACES: &str = "swell.dev/namespaces";
/// Which Leases are ours.
pub const SELECTOR: &str = "app.kubernetes.io/name=swell,app.kubernetes.io/component=operator";

/// The pod that the process runs in, as the downward API tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What a process tells of itself in its Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// What people know it by: the name of its pod, or of its host.
    pub holder: String,
    /// The pod that it runs in.
    pub pod: Option<Pod>,
    /// How it was told to share.
    pub sharing: Sharing,
    /// The namespaces that it looks at, with commas between them; empty for all.
    pub namespaces: String,
}

/// A Lease as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub version: String,
    /// What its process claims; nothing before it has said so.
    pub claim: Option<Result<Claim, BadClaim>>,
    /// How its process was told to share; nothing where it does not say.
    pub sharing: Option<Sharing>,
    /// The namespaces that its process looks at, with commas between them; empty for all.
    pub namespaces: String,
    /// How long it holds after a renewal.
    pub seconds: u64,
    /// The uid of the pod that it belongs to.
    pub pod: Option<String>,
    created: String,
}

impl Lease {
    /// Reads one.
    pub fn read(object: &Value) -> Option<Self> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let annotation = |key: &str| object.pointer("/metadata/annotations").and_then(|a| a.get(key)?.as_str());
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let pod = owners.into_iter().flatten().find(|owner| owner.get("kind").and_then(Value::as_str) == Some("Pod"));
        Some(Self {
            name: text("/metadata/name")?.to_owned(),
            uid: text("/metadata/uid")?.to_owned(),
            version: text("/metadata/resourceVersion")?.to_owned(),
            claim: annotation(CLAIM).map(str::parse),
            sharing: annotation(SHARING).and_then(Sharing::parse),
            namespaces: annotation(NAMESPACES).unwrap_or_default().to_owned(),
            seconds: object.pointer("/spec/leaseDurationSeconds").and_then(Value::as_u64).unwrap_or(0),
            pod: pod.and_then(|pod| Some(pod.get("uid")?.as_str()?.to_owned())),
            created: text("/metadata/creationTimestamp")?.to_owned(),
        })
    }

    /// Whether its process has said that it does nothing any more.
    pub fn is_left(&self) -> bool {
        matches!(&self.claim, Some(Ok(claim)) if claim.members.is_empty())
    }

    /// The id of its process. Ids sort by age, by the server's clock.
    pub fn id(&self) -> String {
        let created = self.created.parse::<Timestamp>().map_or(0, Timestamp::as_second);
        format!("{created:012}-{}", self.name)
    }
}

/// The Leases of one namespace.
#[derive(Clone)]
pub struct Leases {
    calls: Calls,
    namespace: String,
}

impl Leases {
    /// Those in this namespace.
    pub fn new(calls: Calls, namespace: String) -> Self {
        Self { calls, namespace }
    }

    /// The path of all of them.
    pub fn path(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace)
    }

    /// Creates the Lease of a process.
    pub async fn create(&self, name: &str, process: &Process, seconds: u64) -> Result<Lease, Fault> {
        let Process { holder, pod, sharing, namespaces } = process;
        let mut body = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": name, "labels": {
                "app.kubernetes.io/name": "swell", "app.kubernetes.io/component": "operator"
            }, "annotations": {SHARING: sharing.as_str(), NAMESPACES: namespaces}},
            "spec": {
                "holderIdentity": holder, "leaseDurationSeconds": seconds, "acquireTime": micros(), "renewTime": micros()
            }
        });
        if let Some(pod) = pod {
            // The Lease of a pod that is gone goes with it.
            body["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid}]);
        }
        let answer = self.calls.post(self.path(), &body).await?;
        Lease::read(&answer).ok_or_else(|| odd(&answer))
    }

    /// Renews it, with what its process claims now.
    pub async fn renew(&self, lease: &Lease, claim: &Claim) -> Result<Lease, Fault> {
        let patch = json!({
            "metadata": {"uid": lease.uid, "resourceVersion": lease.version, "annotations": {CLAIM: claim.to_string()}},
            "spec": {"renewTime": micros()}
        });
        let body = Some((&patch, "application/merge-patch+json"));
        let path = format!("{}/{}", self.path(), lease.name);
        let answer = self.calls.send(Call { method: Method::PATCH, path, body, about_secret: false }).await?;
        Lease::read(&answer).ok_or_else(|| odd(&answer))
    }

    /// Says that its process does nothing any more: whoever sees this need not wait until it has run out.
    pub async fn leave(&self, lease: &Lease) -> Result<(), Fault> {
        let nobody = Claim { sharing: Sharing::Leader, members: BTreeSet::new() };
        let patch = json!({"metadata": {"uid": lease.uid, "annotations": {CLAIM: nobody.to_string()}}});
        let body = Some((&patch, "application/merge-patch+json"));
        let path = format!("{}/{}", self.path(), lease.name);
        self.calls.send(Call { method: Method::PATCH, path, body, about_secret: false }).await.map(|_| ())
    }

    /// All of them, from the quorum.
    pub async fn list(&self) -> Result<Vec<Lease>, Fault> {
        let selector = SELECTOR.replace('/', "%2F").replace('=', "%3D").replace(',', "%2C");
        let list = self.calls.get(format!("{}?labelSelector={selector}", self.path())).await?;
        let items = list.get("items").and_then(Value::as_array);
        Ok(items.into_iter().flatten().filter_map(Lease::read).collect())
    }

    /// Deletes one, if it is still that very one.
    pub async fn delete(&self, lease: &Lease, at_version: bool) -> Result<(), Fault> {
        let mut preconditions = json!({"uid": lease.uid});
        if at_version {
            preconditions["resourceVersion"] = Value::from(lease.version.clone());
        }
        let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions});
        let path = format!("{}/{}", self.path(), lease.name);
        let body = Some((&body, "application/json"));
        self.calls.send(Call { method: Method::DELETE, path, body, about_secret: false }).await.map(|_| ())
    }
}

fn micros() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

fn odd(answer: &Value) -> Fault {
    super::error::on_the_way("reading a Lease", &std::io::Error::other(format!("{answer} is none")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_and_its_id_sorts_by_age() {
        let lease = |name: &str, created: &str| {
            let object = json!({
                "metadata": {"name": name, "uid": "u", "resourceVersion": "7", "creationTimestamp": created,
                    "annotations": {CLAIM: "leader:a,b"},
                    "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "pod-uid"}]},
                "spec": {"leaseDurationSeconds": 10}
            });
            Lease::read(&object).unwrap()
        };
        let old = lease("swell-z", "2026-01-01T00:00:00Z");
        assert_eq!((old.seconds, old.pod.as_deref()), (10, Some("pod-uid")));
        assert_eq!(old.claim.as_ref().unwrap().as_ref().unwrap().members.len(), 2);
        assert!(old.id() < lease("swell-a", "2026-01-01T00:00:01Z").id());
    }
}

//! The few requests that recording needs, as plain JSON: what the server answers is not to pass through anybody's types.

use kube::Client;
use serde_json::{Value, json};

use crate::support::eventually;

/// How often a write of a status is tried when somebody else writes to the object: the server itself does, to definitions and API services.
const TRIES: usize = 50;

/// How a kind is reached.
#[derive(Clone)]
pub(super) struct Resource {
    /// `/api/v1`, `/apis/apps/v1`.
    pub(super) base: String,
    pub(super) plural: String,
    pub(super) namespaced: bool,
    pub(super) has_status: bool,
}

/// An API server.
pub(super) struct Server {
    client: Client,
}

impl Server {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Such as `1.37`.
    pub(super) async fn version(&self) -> String {
        let version = self.client.apiserver_version().await.unwrap();
        format!("{}.{}", version.major, version.minor.trim_end_matches('+'))
    }

    /// Sends a request; a refusal is given as the server's words. A patch is a merge patch.
    pub(super) async fn send(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        self.request(method, path, body).await.map_err(|error| match error {
            kube::Error::Api(status) => format!("{method} is refused ({}): {}", status.code, status.message),
            error => panic!("{method} {path}: {error}"),
        })
    }

    /// Replaces the status, and the annotations, in which old versions keep a part of it.
    pub(super) async fn put_status(&self, path: &str, mut live: Value, wanted: &Value) -> Result<Value, String> {
        for _ in 0..TRIES {
            live["status"] = wanted["status"].clone();
            if let Some(annotations) = wanted["metadata"].get("annotations") {
                live["metadata"]["annotations"] = annotations.clone();
            }
            match self.request("PUT", &format!("{path}/status?fieldValidation=Strict"), &live).await {
                Err(kube::Error::Api(status)) if status.is_conflict() => {
                    live = self.send("GET", path, &Value::Null).await?;
                }
                Err(kube::Error::Api(status)) => {
                    return Err(format!("the status is refused ({}): {}", status.code, status.message));
                }
                answer => return Ok(answer.unwrap()),
            }
        }
        Err(format!("{path} is written to by somebody else all the time"))
    }

    /// The kind, with a definition made for it when it is a custom one; nothing for a kind that the server does not serve any more.
    pub(super) async fn resource(&self, api_version: &str, kind: &str) -> Option<Resource> {
        if let Some(resource) = self.served(api_version, kind).await {
            return Some(resource);
        }
        let (group, version) = api_version.split_once('/')?;
        // Only Kubernetes' own groups are without a dot or under its domain.
        if !group.contains('.') || group.ends_with(".k8s.io") {
            return None;
        }
        let singular = kind.to_lowercase();
        let plural = format!("{singular}s");
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {
                "group": group, "scope": "Namespaced", "names": {"plural": plural, "singular": singular, "kind": kind},
                "versions": [{
                    "name": version, "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}
                }]
            }
        });
        self.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await.unwrap();
        Some(eventually(&format!("{kind} is served"), || self.served(api_version, kind)).await)
    }

    async fn served(&self, api_version: &str, kind: &str) -> Option<Resource> {
        let base =
            if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") };
        let list = self.request("GET", &base, &Value::Null).await.ok()?;
        let resources = list["resources"].as_array()?;
        let names =
            || resources.iter().filter(|resource| resource["kind"] == kind).filter_map(|one| one["name"].as_str());
        let plural = names().find(|name| !name.contains('/'))?.to_owned();
        let has_status = names().any(|name| name == format!("{plural}/status"));
        let namespaced = resources.iter().any(|one| one["name"] == plural.as_str() && one["namespaced"] == true);
        Some(Resource { base, plural, namespaced, has_status })
    }

    async fn request(&self, method: &str, path: &str, body: &Value) -> Result<Value, kube::Error> {
        let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = http::Request::builder().method(method).uri(path).header("content-type", content).body(body);
        self.client.request(request.expect("a path of ours")).await
    }
}

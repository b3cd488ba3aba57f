//! Kubernetes Events about Applications. Losing one never fails anything.

use jiff::Timestamp;
use serde_json::json;

use super::client::Calls;
use crate::api::{self, Application};
use crate::engine::harmless;

/// An event's type, as Kubernetes names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Something went as it should.
    Normal,
    /// Something a person should look at.
    Warning,
}

/// Tells that something happened to an Application. `reason` is one word in CamelCase; the note is cut to the server's kilobyte.
pub async fn tell(
    calls: &Calls,
    application: &Application,
    event_type: Type,
    reason: &str,
    action: &str,
    note: &str,
    now: Timestamp,
) {
    let metadata = &application.metadata;
    let (Some(name), Some(namespace)) = (&metadata.name, &metadata.namespace) else { return };
    let mut note = harmless::text(note);
    while note.len() > 1000 {
        note.pop();
    }
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": format!("{}.{:x}.{}", &name[..name.len().min(180)], now.as_nanosecond(), reason.to_lowercase()), "namespace": namespace},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
        "type": match event_type { Type::Normal => "Normal", Type::Warning => "Warning" },
        "reason": reason, "action": action, "note": note,
        "reportingController": "swell.dev/operator", "reportingInstance": "swell",
        "regarding": {
            "apiVersion": api::API_VERSION, "kind": api::KIND, "name": name, "namespace": namespace,
            "uid": metadata.uid, "resourceVersion": metadata.resource_version
        }
    });
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    if let Err(fault) = calls.post(path, &event).await {
        tracing::debug!(error = %fault.message, "an event was not written");
    }
}

//! Writes of the operator itself: the status, the finalizer and the ApplySet marks of Applications, each with the resourceVersion that
//! it was decided on.

use http::Method;
use serde_json::{Value, json};

use super::client::{Call, Calls};
use crate::api::{self, Application, ApplicationStatus, FINALIZER, annotations as keys};
use crate::engine::action::Fault;
use crate::engine::ledger::Ledger;
use crate::engine::object::Owner;

/// Reads an Application from the quorum.
pub async fn get(calls: &Calls, owner: &Owner) -> Result<Application, Fault> {
    let object = get_raw(calls, owner).await?;
    serde_json::from_value(object).map_err(|error| super::error::on_the_way("reading the Application", &error))
}

/// Reads an Application as the server has it, whatever is in it.
pub async fn get_raw(calls: &Calls, owner: &Owner) -> Result<Value, Fault> {
    calls.get(application_path(owner)).await
}

/// Applications of a namespace, or all, by namespace and name. Those that cannot be read are given as they are.
pub async fn list(calls: &Calls, namespace: Option<&str>) -> Result<Vec<Value>, Fault> {
    let mut items = Vec::new();
    let mut from = String::new();
    loop {
        let path = format!("{}?limit=500{from}", applications(namespace));
        let mut page = calls.get(path).await?;
        if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
            items.extend(more);
        }
        match page.pointer("/metadata/continue").and_then(Value::as_str).filter(|token| !token.is_empty()) {
            Some(token) => from = format!("&continue={token}"),
            None => return Ok(items),
        }
    }
}

/// The name under which the API server knows us; nothing where it does not tell.
pub async fn who_am_i(calls: &Calls) -> Option<String> {
    let question = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = calls.post("/apis/authentication.k8s.io/v1/selfsubjectreviews".to_owned(), &question).await.ok()?;
    answer.pointer("/status/userInfo/username").and_then(Value::as_str).map(str::to_owned)
}

/// Puts a request into the field `operation`, if nothing has changed since that version; gives the Application as it is then.
pub async fn ask(
    calls: &Calls,
    owner: &Owner,
    version: &str,
    operation: &api::Operation,
) -> Result<Application, Fault> {
    let patch = json!({"metadata": {"resourceVersion": version}, "operation": operation});
    let body = Some((&patch, "application/merge-patch+json"));
    let answer =
        calls.send(Call { method: Method::PATCH, path: application_path(owner), body, about_secret: false }).await?;
    serde_json::from_value(answer).map_err(|error| super::error::on_the_way("reading the Application", &error))
}

/// Replaces the status; gives the new resourceVersion, and the status as the server keeps it (a CRD of another version drops fields).
pub async fn write_status(
    calls: &Calls,
    owner: &Owner,
    version: &str,
    uid: &str,
    status: &ApplicationStatus,
) -> Result<(String, Option<ApplicationStatus>), Fault> {
    let status =
        serde_json::to_value(status).map_err(|error| super::error::on_the_way("writing the status", &error))?;
    let body = json!({
        "apiVersion": api::API_VERSION, "kind": api::KIND,
        "metadata": {"name": owner.name(), "namespace": owner.namespace(), "resourceVersion": version, "uid": uid},
        "spec": {"source": {"inline": ""}},
        "status": status
    });
    let path = format!("{}/status?fieldManager=swell", application_path(owner));
    let body = Some((&body, "application/json"));
    let answer = calls.send(Call { method: Method::PUT, path, body, about_secret: false }).await?;
    let kept = answer.get("status").and_then(|status| serde_json::from_value(status.clone()).ok());
    Ok((new_version(&answer), kept))
}

/// What of the Application's metadata and `operation` is to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The merge patch, without the precondition.
    pub patch: Value,
}

/// The marks that an Application should have and does not: finalizer, ApplySet label and annotations.
pub fn missing_marks(application: &Application, owner: &Owner, ledger: &Ledger) -> Option<Change> {
    let mut patch = json!({});
    let metadata = &application.metadata;
    let wants_finalizer = application.deletion_policy() == api::DeletionPolicy::Delete;
    let mut finalizers = metadata.finalizers.clone().unwrap_or_default();
    let has_finalizer = finalizers.iter().any(|finalizer| finalizer == FINALIZER);
    if metadata.deletion_timestamp.is_none() && wants_finalizer != has_finalizer {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        if wants_finalizer {
            finalizers.push(FINALIZER.to_owned());
        }
        patch["metadata"]["finalizers"] = json!(finalizers);
    }
    let labels = metadata.labels.clone().unwrap_or_default();
    if labels.get(keys::APPLYSET_ID) != Some(&owner.membership_id()) {
        patch["metadata"]["labels"][keys::APPLYSET_ID] = Value::from(owner.membership_id());
    }
    let annotations = metadata.annotations.clone().unwrap_or_default();
    if annotations.get(keys::APPLYSET_TOOLING).map(String::as_str) != Some(TOOLING) {
        patch["metadata"]["annotations"][keys::APPLYSET_TOOLING] = Value::from(TOOLING);
    }
    let kinds: Vec<_> = ledger.kinds().iter().map(ToString::to_string).collect();
    let kinds = kinds.join(",");
    if annotations.get(keys::APPLYSET_CONTAINS_GROUP_KINDS).map(String::as_str).unwrap_or_default() != kinds {
        patch["metadata"]["annotations"][keys::APPLYSET_CONTAINS_GROUP_KINDS] = Value::from(kinds);
    }
    let also: Vec<_> = ledger.namespaces().iter().map(String::as_str).filter(|ns| *ns != owner.namespace()).collect();
    let also = also.join(",");
    if annotations.get(keys::APPLYSET_ADDITIONAL_NAMESPACES).map(String::as_str).unwrap_or_default() != also {
        patch["metadata"]["annotations"][keys::APPLYSET_ADDITIONAL_NAMESPACES] = Value::from(also);
    }
    (patch != json!({})).then_some(Change { patch })
}

/// The change that takes the request out, once it is recorded.
pub fn clear_request() -> Change {
    Change { patch: json!({"operation": null}) }
}

/// The change that lets a deleted Application go.
pub fn release(application: &Application) -> Change {
    let mut finalizers = application.metadata.finalizers.clone().unwrap_or_default();
    finalizers.retain(|finalizer| finalizer != FINALIZER);
    Change { patch: json!({"metadata": {"finalizers": finalizers}}) }
}

/// Sends a change; gives the Application as it is then.
pub async fn change(calls: &Calls, owner: &Owner, version: &str, change: &Change) -> Result<Application, Fault> {
    let mut patch = change.patch.clone();
    patch["metadata"]["resourceVersion"] = Value::from(version);
    let path = format!("{}?fieldManager=swell", application_path(owner));
    let body = Some((&patch, "application/merge-patch+json"));
    let answer = calls.send(Call { method: Method::PATCH, path, body, about_secret: false }).await?;
    serde_json::from_value(answer).map_err(|error| super::error::on_the_way("reading the Application", &error))
}

const TOOLING: &str = concat!("swell/v", env!("CARGO_PKG_VERSION"));

fn application_path(owner: &Owner) -> String {
    format!("{}/{}", applications(Some(owner.namespace())), owner.name())
}

/// The path of the Applications of a namespace, or of all.
pub fn applications(namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("/apis/{}/namespaces/{namespace}/applications", api::API_VERSION),
        None => format!("/apis/{}/applications", api::API_VERSION),
    }
}

fn new_version(answer: &Value) -> String {
    answer.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default().to_owned()
}

//! What the user asks for in the top-level field `operation`: one sync, or the end of the operation that runs.

#![expect(unreachable_pub, reason = "kube's KubeSchema copies each struct, with its `pub`, into a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::{is_false, null_is_default};

/// One asked-for run: a sync, or the end of the operation that runs. It is cleared when it has been taken up.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.sync) != has(self.terminate)")
    .message("operation must ask for one thing: give either sync or terminate, such as sync: {}"))]
pub struct Operation {
    /// Asks for a sync; `{}` for one with the Application's own options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncOperation>,
    /// Asks for the end of the operation that runs; `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminate: Option<Terminate>,
    /// Who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiated_by: Option<InitiatedBy>,
}

/// An asked-for sync.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncOperation {
    /// Whether objects whose manifest is gone are deleted; false when not given.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_is_default")]
    pub prune: bool,
    /// Whether only to say what would be done; false when not given.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_is_default")]
    pub dry_run: bool,
    /// The only objects to sync, without hooks; everything when not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    #[schemars(length(max = 1000))]
    pub resources: Vec<SyncResource>,
    /// Options that take the place of the Application's `syncPolicy.syncOptions` for this run.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    #[schemars(length(max = 64), inner(length(max = 256)))]
    pub sync_options: Vec<String>,
}

/// One object of a selective sync.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncResource {
    /// API group; empty for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    #[schemars(length(max = 253))]
    pub group: String,
    /// Kind.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Namespace; every namespace when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Asks for the end of the operation that runs. It has no fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Terminate {}

/// Who asked for an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InitiatedBy {
    /// Name of the user, for people; nothing is decided by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub username: Option<String>,
    /// Whether it began by itself: for a new revision, a prune, or drift.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_is_default")]
    pub automated: bool,
}

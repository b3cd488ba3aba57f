//! What `swell plan -o json` and `-o yaml` print: a stable structure, fields may be added to it but are not renamed or removed.

use serde::Serialize;

use crate::api::Phase;
use crate::engine::finding::{Part, Rule, See};

/// All of it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Output {
    /// A plan for each Application among the files; without Applications one for all manifests. What has mistakes has no plan.
    pub(super) applications: Vec<ApplicationPlan>,
    /// What among the files is in no plan, and why.
    pub(super) notes: Vec<String>,
    /// Every mistake, in the order of the files.
    pub(super) mistakes: Vec<Mistake>,
}

/// The plan of one Application.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApplicationPlan {
    /// Name of the Application; absent for manifests without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Namespace of the Application.
    pub(super) namespace: String,
    /// Namespace of the objects that name none.
    pub(super) destination: String,
    /// The service account as which all is written, `namespace/name`; absent without an Application. An operator that was started with
    /// `--force-account` or `--own-rights` does not heed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
    /// The files that it was read from.
    pub(super) files: Vec<String>,
    /// Digest of the manifests, as the status of the Application will have it.
    pub(super) revision: String,
    /// Deadlines of the Application as durations, `0` for none; absent without an Application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeouts: Option<Timeouts>,
    /// How much there is of each.
    pub(super) totals: Totals,
    /// The stages of a sync in order.
    pub(super) stages: Vec<Stage>,
    /// The stages of SyncFail: only when the attempt fails after its first write or hook.
    pub(super) sync_fail: Vec<Stage>,
    /// The hooks around the deletion of the Application. Between PreDelete and PostDelete its objects go, highest wave first.
    pub(super) deletion: Vec<Stage>,
    /// Manifests that are never applied.
    pub(super) skipped: Vec<Skipped>,
    /// What is odd or will go wrong, though no manifest is wrong.
    pub(super) warnings: Vec<String>,
    /// What this plan leaves out or assumes.
    pub(super) notes: Vec<String>,
}

/// Deadlines.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Timeouts {
    /// One attempt as a whole.
    pub(super) sync: String,
    /// The plain objects of one stage.
    pub(super) stage: String,
    /// Each hook.
    pub(super) hook: String,
}

/// Numbers of tasks; a hook counts once for each of its phases.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Totals {
    /// Stages of a sync, without SyncFail.
    pub(super) stages: usize,
    /// Plain objects.
    pub(super) objects: usize,
    /// Hooks of PreSync, Sync and PostSync.
    pub(super) hooks: usize,
    /// Hooks of SyncFail.
    pub(super) sync_fail_hooks: usize,
    /// Hooks of PreDelete and PostDelete.
    pub(super) deletion_hooks: usize,
    /// Manifests that are never applied.
    pub(super) skipped: usize,
}

/// One stage.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stage {
    /// Its phase.
    pub(super) phase: Phase,
    /// Its wave.
    pub(super) wave: i64,
    /// Its place in its list, from 1.
    pub(super) index: usize,
    /// The number of stages in its list.
    pub(super) total: usize,
    /// What it does, in order.
    pub(super) tasks: Vec<Task>,
}

/// What is done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Action {
    /// Created before everything else where it is not there yet.
    CreateIfMissing,
    /// Applied, and waited for until it is healthy.
    Apply,
    /// A hook that is created anew and runs to an end.
    RunHook,
    /// A passive hook that is applied in place.
    ApplyHook,
    /// A passive hook that is deleted, where it is there, and applied anew.
    RecreateHook,
}

/// What a stage does with one object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Task {
    /// API group; empty for the core group.
    pub(super) group: String,
    /// API version.
    pub(super) version: String,
    /// Kind.
    pub(super) kind: String,
    /// Namespace; absent for a cluster-scoped object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<String>,
    /// Name; empty where it is generated.
    pub(super) name: String,
    /// What generated names begin with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) generate_name: Option<String>,
    /// What is done.
    pub(super) action: Action,
    /// Of a hook: the phase that it runs for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hook_type: Option<Phase>,
    /// Of a hook: the delete policies that count, sorted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delete_policies: Option<Vec<String>>,
    /// Of a hook: whether its manifest names no delete policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policies_defaulted: Option<bool>,
    /// The object's own deadline as a duration, `0` for none; absent where the Application's counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout: Option<String>,
    /// False: the stage does not wait for it. True: the stage waits for it whatever its kind. Absent: the kind decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gate: Option<bool>,
    /// Of a hook that does not run each time: `Once` or `OnChange`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<&'static str>,
    /// The stage that the annotations name, where something that needs the object made it come earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) moved_from: Option<Moved>,
    /// Where the manifest stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<Position>,
}

/// A stage by its names.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Moved {
    /// Phase.
    pub(super) phase: Phase,
    /// Wave.
    pub(super) wave: i64,
}

/// A manifest without a task.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Skipped {
    /// API group; empty for the core group.
    pub(super) group: String,
    /// Kind.
    pub(super) kind: String,
    /// Namespace; absent for a cluster-scoped object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<String>,
    /// Name.
    pub(super) name: String,
    /// Its wave.
    pub(super) wave: i64,
    /// Why.
    pub(super) reason: String,
}

/// Where a manifest stands.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Position {
    /// The file; behind `: ` the field or key that holds the text, where it is inside of an Application or ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) source: Option<String>,
    /// The document's number in the text, from 1.
    pub(in crate::cli) document: u32,
    /// The line of the text, from 1.
    pub(in crate::cli) line: u32,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Mistake {
    /// As in [`Position`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) source: Option<String>,
    /// The document's number in the text, from 1.
    pub(in crate::cli) document: u32,
    /// The line of the text, from 1.
    pub(in crate::cli) line: u32,
    /// The line of the file, where the text is inside of an Application or ConfigMap and the place can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) file_line: Option<u32>,
    /// The object, `Kind namespace/name`, where it has an identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) object: Option<String>,
    /// What is wrong and what would be right.
    pub(in crate::cli) message: String,
    /// By which rule of `swell lint`.
    #[serde(skip)]
    pub(in crate::cli) rule: Rule,
    /// Which part of the object, for `swell lint`.
    #[serde(skip)]
    pub(in crate::cli) part: Part,
    /// The column of the line, where only the parser knows it.
    #[serde(skip)]
    pub(in crate::cli) column: Option<u32>,
    /// Another object that it is about.
    #[serde(skip)]
    pub(in crate::cli) see: Option<See>,
}

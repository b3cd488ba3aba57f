//! What the operator writes: `status` of an Application. What a restart needs is never cut; what people read is, with exact
//! totals beside it. Times are RFC 3339. Nothing optional is ever written as null.

#![expect(unreachable_pub, reason = "kube's KubeSchema copies each struct, with its `pub`, into a function")]

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operation::{InitiatedBy, Operation};
use super::vocabulary::{
    HealthStatus, HookPhase, HookVerdict, OperationPhase, Phase, RecordState, ResultStatus, SyncStatus,
};

/// The state of an Application: all that the operator remembers.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationStatus {
    /// The `metadata.generation` that this status was decided on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Reconciling and Stalled, as kstatus reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Whether the cluster carries what the source says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncSummary>,
    /// The worst health among the objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSummary>,
    /// The latest operation, running or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_state: Option<OperationState>,
    /// The objects of the Application, worst first; cut when there are many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceStatus>,
    /// How many objects there are, also those that `resources` has no room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources_total: Option<i64>,
    /// The runs of hooks, each written down before the effect that follows; never cut.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookRecord>,
    /// The kinds in use, written down before the first object of a new one; never cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Inventory>,
    /// How the latest operation about the whole source ended; what is synced without being asked is decided by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempted: Option<Attempted>,
    /// Ended operations of every outcome, the latest first; dry runs are not among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
}

/// Whether the cluster carries what the source says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncSummary {
    /// Synced, OutOfSync or Unknown.
    pub status: SyncStatus,
    /// The revision compared with: for inline and ConfigMap sources a digest of the manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// The worst health among the objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthSummary {
    /// The health.
    pub status: HealthStatus,
    /// Which object it is, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// One operation: the execution of a plan, from its start to Succeeded, Failed or Error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationState {
    /// Id of the operation, unique for the Application.
    pub id: String,
    /// The attempt, counted from 1.
    pub attempt: i64,
    /// The `metadata.generation` at which the operation was asked for through `operation`; absent when nobody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_generation: Option<i64>,
    /// What was asked for; absent when nobody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// How it stands.
    pub phase: OperationPhase,
    /// What it does, or why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The revision that it brings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// When it started.
    #[schemars(with = "Time")]
    pub started_at: Timestamp,
    /// When the present attempt started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub attempt_started_at: Option<Timestamp>,
    /// When the present attempt first wrote to a managed object, written down before; absent while it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub first_write_at: Option<Timestamp>,
    /// When it ended; while it waits for its next attempt, when the last one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub finished_at: Option<Timestamp>,
    /// When the present attempt fails for being late; absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub deadline: Option<Timestamp>,
    /// When the next attempt starts, while it is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub retry_at: Option<Timestamp>,
    /// How many attempts were made after the first.
    pub retry_count: i64,
    /// Who asked for it, or that it began by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiated_by: Option<InitiatedBy>,
    /// Of a self-heal: what had drifted, and who did it. It repairs that and runs no hooks; absent for every other operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_heal: Option<String>,
    /// Where it is, or where it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<StageStatus>,
    /// What was done to each object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_result: Option<SyncResult>,
}

/// One (phase, wave) pair of the plan: what is applied together and waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus {
    /// The phase.
    pub phase: Phase,
    /// The wave inside the phase.
    pub wave: i64,
    /// Which stage of the plan it is, from 1.
    pub index: i64,
    /// How many stages the plan has, without those of SyncFail.
    pub total: i64,
    /// The stage as the column shows it: `Sync 1 (3/5)`.
    pub text: String,
    /// When it began.
    #[schemars(with = "Time")]
    pub since: Timestamp,
    /// When it fails for being late; absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub deadline: Option<Timestamp>,
    /// What it waits for, worst first, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_on: Vec<BlockedOn>,
    /// How many objects it waits for, also those that `blockedOn` has no room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_total: Option<i64>,
}

/// An object that a stage waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockedOn {
    /// API group; absent for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; absent for a cluster-scoped object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Its health.
    pub health: HealthStatus,
    /// Why it is not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when it has been in this health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub since: Option<Timestamp>,
    /// When it fails for being late; absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub deadline: Option<Timestamp>,
    /// What lets it go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_by: Option<String>,
}

/// What an operation did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncResult {
    /// One row for each object and phase, failures first; cut when there are many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceResult>,
    /// How many rows there are, also those that `resources` has no room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources_total: Option<i64>,
}

/// What an operation did to one object in one phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceResult {
    /// API group; absent for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; absent for a cluster-scoped object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// The phase; absent for what belongs to none, such as a Helm hook that is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_phase: Option<Phase>,
    /// The wave inside the phase.
    #[serde(default)]
    pub wave: i64,
    /// The phase that a hook was declared for; absent for plain objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook_type: Option<Phase>,
    /// What was done; absent while nothing is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ResultStatus>,
    /// How the hook, or the object that is waited for, stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook_phase: Option<HookPhase>,
    /// What happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The uid of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// When the task began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub started_at: Option<Timestamp>,
    /// When the task was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub finished_at: Option<Timestamp>,
    /// The last log lines of the container that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// What else was seen of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// One object of the Application as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// API group; absent for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; absent for a cluster-scoped object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Whether it carries what its manifest says.
    pub status: SyncStatus,
    /// Its health; absent for kinds that have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthStatus>,
    /// Its wave.
    #[serde(default)]
    pub wave: i64,
}

/// The record of one run of a hook: (operation, attempt, phase).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookRecord {
    /// API group; absent for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; absent for a cluster-scoped object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name, chosen before the object is created.
    pub name: String,
    /// The phase that it runs for.
    pub phase: Phase,
    /// Id of the operation that it runs for.
    pub operation: String,
    /// The attempt that it runs for, counted from 1.
    pub attempt: i64,
    /// How far the record has come.
    pub record: RecordState,
    /// The object's uid, once it is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Digest of the hook's manifest as sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// How it ended, with the evidence; from Ended on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<HookOutcome>,
    /// When the record came to where it is.
    #[schemars(with = "Time")]
    pub at: Timestamp,
}

/// How a hook's run ended, with the evidence that outlives its object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookOutcome {
    /// The verdict.
    pub phase: HookVerdict,
    /// Why: for a failure the container, its exit code and its message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The last log lines of the container that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// What else was seen of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// What was seen of a failure when it happened: it outlives the object and its pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The pod that tells most about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The container of that pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The exit code of the container, or of its last run before it is started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Why the container waits or has ended, or why the pod does not run: `CrashLoopBackOff`, `OOMKilled`, `Unschedulable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last warning Events of the object and its pods, the latest last: `Reason: message`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
}

/// What the Application has in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// The kinds in use, as `group/Kind` (`/Kind` for the core group), sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// The namespaces in use, written down before the first object in a new one, sorted: what carries our marks anywhere else was not
    /// put there by us.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
}

/// The latest operation about the whole source: no dry run, not of some objects only, not superseded before it was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempted {
    /// The revision that it was about.
    pub revision: String,
    /// How it ended.
    pub phase: OperationPhase,
    /// Whether it was refused before its first write because the account lacks rights, or a namespace is missing: that is looked at
    /// again from time to time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lacks_rights: bool,
}

/// An ended operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Id of the operation.
    pub id: String,
    /// The revision that it brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// When it started.
    #[schemars(with = "Time")]
    pub started_at: Timestamp,
    /// When it ended.
    #[schemars(with = "Time")]
    pub finished_at: Timestamp,
    /// How it ended.
    pub phase: OperationPhase,
    /// Why; for a failure with its evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The last log lines of the container that failed, of the failure that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// What else was seen of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// How many self-heals of the revision in a row it stands for, of which the last one is told; absent for every other operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_heals: Option<i64>,
}

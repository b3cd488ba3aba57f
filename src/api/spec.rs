//! What the user writes in `spec`, with the rules that the API server checks. Doc comments of fields are what
//! `kubectl explain` shows.

#![expect(clippy::duplicated_attributes, reason = "each printcolumn of kube's derive has the same keys")]
#![expect(unreachable_pub, reason = "kube's KubeSchema copies each struct, with its `pub`, into a function")]

use std::collections::BTreeMap;

use kube::core::Rule;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::duration::{Duration, rule as duration_rule};
use super::status::ApplicationStatus;
use super::words::words;

/// The desired application: where its manifests come from, where they go, and how they are synced.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "swell.dev",
    version = "v1alpha1",
    kind = "Application",
    root = "SpecAndStatus",
    doc = "An application that is deployed in order: phase by phase, wave by wave, hooks included.",
    plural = "applications",
    singular = "application",
    shortname = "swapp",
    category = "swell",
    namespaced,
    status = "ApplicationStatus",
    label("applyset.kubernetes.io/is-parent-type", "true"),
    printcolumn(
        name = "Sync",
        type_ = "string",
        json_path = ".status.sync.status",
        description = "Whether the cluster carries what the source says"
    ),
    printcolumn(
        name = "Health",
        type_ = "string",
        json_path = ".status.health.status",
        description = "The worst health among the objects"
    ),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.operationState.phase",
        description = "How the latest operation stands"
    ),
    printcolumn(
        name = "Stage",
        type_ = "string",
        json_path = ".status.operationState.stage.text",
        description = "Phase and wave that the operation is at, and how many there are"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "When the Application was created"
    ),
    printcolumn(
        name = "Revision",
        type_ = "string",
        json_path = ".status.sync.revision",
        priority = 1,
        description = "Digest of the manifests"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.operationState.message",
        priority = 1,
        description = "What the latest operation says"
    )
)]
pub struct ApplicationSpec {
    /// Where the manifests come from: exactly one of `inline` and `configMaps`.
    pub source: Source,
    /// Where objects without a namespace of their own go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Destination>,
    /// The service account, in the Application's namespace, as which everything is written; `default` when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = dns_name("serviceAccountName"))]
    pub service_account_name: Option<String>,
    /// When and how the application is synced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_policy: Option<SyncPolicy>,
    /// Differences that do not count as drift.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    #[schemars(length(max = 64))]
    pub ignore_differences: Vec<IgnoreDifference>,
    /// Health rules, in CEL, for kinds that Swell does not know; one for each apiVersion and kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["apiVersion".into(), "kind".into()]))]
    pub health_checks: Vec<HealthCheck>,
    /// What happens to the objects when the Application is deleted: `Delete` (the default) or `Orphan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// How many ended operations `status.history` keeps, 0 to 100; 10 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 100").message("revisionHistoryLimit must be from 0 to 100"))]
    pub revision_history_limit: Option<i64>,
}

/// Where the manifests come from; on the wire an object with exactly one of `inline` and `configMaps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "SourceFields", into = "SourceFields")]
pub enum Source {
    /// A multi-document YAML text.
    Inline(String),
    /// ConfigMaps of the Application's namespace, in this order.
    ConfigMaps(Vec<ConfigMapSource>),
}

/// The manifests' source as it stands on the wire.
#[derive(KubeSchema, Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.inline) || has(self.configMaps)").message(NO_SOURCE))]
#[x_kube(validation = Rule::new("!(has(self.inline) && has(self.configMaps))").message(TWO_SOURCES))]
#[x_kube(validation = Rule::new("!has(self.inline) || size(bytes(self.inline)) <= 524288").message(INLINE_TOO_LARGE))]
struct SourceFields {
    /// A multi-document YAML text with the manifests, at most 512 KiB. `kubectl apply` itself refuses above 256 KiB:
    /// apply larger ones with `--server-side`, or use ConfigMaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1_048_576))]
    inline: Option<String>,
    /// ConfigMaps of the Application's namespace that hold the manifests, read in this order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    config_maps: Option<Vec<ConfigMapSource>>,
}

const NO_SOURCE: &str =
    "spec.source is empty: give inline (a multi-document YAML text) or configMaps (names of ConfigMaps)";
const TWO_SOURCES: &str = "spec.source has both inline and configMaps: give exactly one of them";
const INLINE_TOO_LARGE: &str = "spec.source.inline is larger than 512 KiB: split the manifests over ConfigMaps and name those in spec.source.configMaps";

impl TryFrom<SourceFields> for Source {
    type Error = &'static str;

    fn try_from(fields: SourceFields) -> Result<Self, Self::Error> {
        match (fields.inline, fields.config_maps) {
            (Some(text), None) => Ok(Self::Inline(text)),
            (None, Some(maps)) => Ok(Self::ConfigMaps(maps)),
            (None, None) => Err(NO_SOURCE),
            (Some(_), Some(_)) => Err(TWO_SOURCES),
        }
    }
}

impl From<Source> for SourceFields {
    fn from(source: Source) -> Self {
        match source {
            Source::Inline(text) => Self { inline: Some(text), config_maps: None },
            Source::ConfigMaps(maps) => Self { inline: None, config_maps: Some(maps) },
        }
    }
}

/// One ConfigMap that holds manifests.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapSource {
    /// Name of the ConfigMap, in the Application's namespace.
    #[schemars(length(max = 253))]
    #[x_kube(validation = dns_name("source.configMaps[].name"))]
    pub name: String,
    /// The one key to read; without it all keys are read, in the order of their names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-._a-zA-Z0-9]+$')")
        .message("source.configMaps[].key must be a key of a ConfigMap: letters, digits, '-', '_' and '.'"))]
    pub key: Option<String>,
}

/// Where objects go.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// Namespace of the objects that name none; the Application's own when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("destination.namespace must be the name of a namespace: lower-case letters, digits and '-', at most 63"))]
    pub namespace: Option<String>,
}

/// When and how the application is synced.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncPolicy {
    /// Syncing without being asked; on when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automated: Option<AutomatedPolicy>,
    /// Trying a failed operation again; not tried again when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// How long things may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<TimeoutPolicy>,
    /// Options of the form `Name=value`, such as `CreateNamespace=true` or `PruneLast=true`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    #[schemars(length(max = 64), inner(length(max = 256)))]
    pub sync_options: Vec<String>,
    /// Whether the last log lines of what has failed are kept in the status; true when not given. They are read as the service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture_logs: Option<bool>,
    /// Labels and annotations of the namespace that `CreateNamespace=true` creates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_namespace_metadata: Option<ManagedNamespaceMetadata>,
}

/// Syncing without being asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutomatedPolicy {
    /// Whether a change of the source is synced at once; true when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Whether objects whose manifest is gone are deleted; false when not given.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_is_default")]
    pub prune: bool,
    /// Whether drift is undone; false when not given.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_is_default")]
    pub self_heal: bool,
    /// Whether a source without any manifest may prune everything; false when not given.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_is_default")]
    pub allow_empty: bool,
}

/// Trying a failed operation again.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryPolicy {
    /// How many more attempts a failed operation gets; -1 for no limit, 0 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= -1").message("retry.limit must be a number of attempts, or -1 for no limit"))]
    pub limit: Option<i64>,
    /// The pause before each further attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<BackoffPolicy>,
}

/// The pause before a further attempt: `duration`, multiplied by `factor` each time, at most `maxDuration`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackoffPolicy {
    /// The first pause; 5s when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration_rule("retry.backoff.duration", "no pause"))]
    pub duration: Option<Duration>,
    /// By how much each pause is longer than the one before; 2 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 1000").message("retry.backoff.factor must be from 1 to 1000"))]
    pub factor: Option<i64>,
    /// The longest pause; 3m when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration_rule("retry.backoff.maxDuration", "no pause"))]
    pub max_duration: Option<Duration>,
}

/// How long things may take. A passed deadline fails the attempt, with the names of what it waited for.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeoutPolicy {
    /// One attempt as a whole; 1h when not given, "0" for no deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration_rule("timeouts.sync", "none"))]
    pub sync: Option<Duration>,
    /// The plain objects and prunes of one stage; 10m when not given, "0" for no deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration_rule("timeouts.stage", "none"))]
    pub stage: Option<Duration>,
    /// Each hook, from its creation; 30m when not given, "0" for no deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration_rule("timeouts.hook", "none"))]
    pub hook: Option<Duration>,
}

/// Labels and annotations of the namespace that `CreateNamespace=true` creates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagedNamespaceMetadata {
    /// Labels of the namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

/// Fields of some objects whose differences do not count as drift.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.jsonPointers) || has(self.jqPathExpressions) || has(self.managedFieldsManagers)")
    .message("ignoreDifferences[] says nothing to ignore: give jsonPointers, jqPathExpressions or managedFieldsManagers"))]
pub struct IgnoreDifference {
    /// API group of the objects; empty for the core group, `*` for every group.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    #[schemars(length(max = 253))]
    pub group: String,
    /// Kind of the objects; `*` for every kind.
    #[schemars(length(min = 1, max = 253))]
    pub kind: String,
    /// Name of the one object; every object of the kind when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub name: Option<String>,
    /// Namespace of the objects; every namespace when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// The fields as JSON pointers (RFC 6901), such as `/spec/replicas`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    #[schemars(length(max = 64), inner(length(max = 1024)))]
    #[x_kube(validation = Rule::new("self.all(pointer, pointer.startsWith('/'))")
        .message("ignoreDifferences[].jsonPointers must be JSON pointers such as /spec/replicas: each begins with '/'"))]
    pub json_pointers: Vec<String>,
    /// The fields as jq path expressions, such as `.spec.template.spec.containers[] | select(.name == "proxy")`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    #[schemars(length(max = 64), inner(length(max = 1024)))]
    pub jq_path_expressions: Vec<String>,
    /// Every field that one of these field managers owns.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    #[schemars(length(max = 64), inner(length(max = 128)))]
    pub managed_fields_managers: Vec<String>,
}

/// A health rule for one kind, in CEL, over the object's fields. The names are those that Flux uses.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(self.apiVersion == 'v1' && self.kind == 'Secret')")
    .message("healthChecks[] must not look into Secrets"))]
#[x_kube(validation = expression("current"))]
#[x_kube(validation = expression("inProgress"))]
#[x_kube(validation = expression("failed"))]
pub struct HealthCheck {
    /// apiVersion of the objects, such as `example.com/v1`.
    #[schemars(length(min = 1, max = 317))]
    pub api_version: String,
    /// Kind of the objects.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// True when the object is healthy, such as `status.phase == 'Ready'`.
    #[schemars(length(max = 8192))]
    pub current: String,
    /// True while the object is on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub in_progress: Option<String>,
    /// True when the object has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub failed: Option<String>,
}

words! {
    /// What happens to the objects when the Application is deleted.
    #[derive(Default)]
    pub enum DeletionPolicy {
        /// They are deleted, in reverse wave order, before the Application goes.
        #[default]
        Delete,
        /// They stay.
        Orphan,
    }
}

/// The rule of a field that names an object: a DNS name.
fn dns_name(field: &str) -> Rule {
    Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')")
        .message(format!("{field} must be a DNS name: lower-case letters, digits, '-' and '.', at most 253").as_str())
}

/// The rule of a CEL expression of a health check. It stands at the check, not at the field: there the API server would quote
/// the whole expression in its message.
fn expression(field: &str) -> Rule {
    Rule::new(format!("!has(self.{field}) || (self.{field} != '' && size(bytes(self.{field})) <= 1024)"))
        .message(format!("healthChecks[].{field} must be a CEL expression of at most 1 KiB").as_str())
}

/// Reads an explicit `null` as absent, as the API server does: in YAML a key with nothing behind it is one.
pub(super) fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
pub(super) fn is_false(value: &bool) -> bool {
    !value
}

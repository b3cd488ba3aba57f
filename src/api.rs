//! The wire types: the custom resource `Application` as it is stored, its conditions, and the annotation keys. No decisions
//! are made here; accessors fill in defaults and nothing else.

pub mod annotations;
mod application;
pub mod conditions;
mod crd;
mod duration;
mod operation;
mod spec;
mod status;
mod vocabulary;
mod words;

pub use application::{Application, Automated, Retry, Timeouts};
pub use crd::{crd, crd_yaml};
pub use duration::{Duration, DurationError};
pub use operation::{InitiatedBy, Operation, SyncOperation, SyncResource, Terminate};
pub use spec::{
    ApplicationSpec, AutomatedPolicy, BackoffPolicy, ConfigMapSource, DeletionPolicy, Destination, HealthCheck,
    IgnoreDifference, ManagedNamespaceMetadata, RetryPolicy, Source, SyncPolicy, TimeoutPolicy,
};
pub use status::{
    ApplicationStatus, Attempted, BlockedOn, Evidence, HealthSummary, HistoryEntry, HookOutcome, HookRecord, Inventory,
    OperationState, ResourceResult, ResourceStatus, StageStatus, SyncResult, SyncSummary,
};
pub use vocabulary::{
    HealthStatus, HookPhase, HookVerdict, OperationPhase, Phase, RecordState, ResultStatus, SyncStatus,
};

/// The API group of the custom resource.
pub const GROUP: &str = "swell.dev";
/// Its only version.
pub const VERSION: &str = "v1alpha1";
/// Its apiVersion, as it stands in manifests.
pub const API_VERSION: &str = "swell.dev/v1alpha1";
/// Its kind.
pub const KIND: &str = "Application";
/// The finalizer that `deletionPolicy: Delete` sets: it goes when the Application's objects are gone.
pub const FINALIZER: &str = "swell.dev/resources";

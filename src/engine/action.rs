//! The complete list of what we can do to a cluster, and of the answers that come back.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::differences::Ignored;
use super::live::Live;
use super::object::ObjectKey;
use super::rights::{Lack, Needs};
use crate::api;

/// One task of the attempt that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskId {
    /// Whether the stage is one of SyncFail.
    pub sync_fail: bool,
    /// Index of the stage.
    pub stage: usize,
    /// Index of the task in the stage.
    pub task: usize,
}

/// One thing to do. Actions of one step are independent of each other.
#[derive(Clone, Debug)]
pub enum Action {
    /// Write the status, with the resourceVersion that it was decided on, and answer when it is durable.
    Record {
        /// Version of the ledger that is made durable.
        version: u64,
    },
    /// Ask the API server, as who acts for the Application, whether all this is allowed, and whether its namespaces are there.
    CheckRights(Needs),
    /// Server-side dry run of a write.
    Rehearse {
        /// The task.
        task: TaskId,
        /// The write.
        write: Write,
    },
    /// Send a write of a task.
    Write {
        /// The task.
        task: TaskId,
        /// The write.
        write: Write,
    },
    /// Read one object from the quorum.
    Look {
        /// The task.
        task: TaskId,
        /// The object.
        key: ObjectKey,
        /// Version of the API to ask in; `None`: the served one.
        version: Option<String>,
    },
    /// Read one object that is waited for in silence; what it shows goes into the view.
    Refresh {
        /// The object.
        key: ObjectKey,
        /// Version of the API to ask in; `None`: the served one.
        version: Option<String>,
    },
    /// Gather why a hook or workload failed: container states, exit codes, last log lines.
    Collect {
        /// The task.
        task: TaskId,
        /// The object.
        key: ObjectKey,
        /// Its uid.
        uid: Arc<str>,
    },
    /// Clean up after a hook, whose record says how it ended.
    Tidy {
        /// The hook object.
        key: ObjectKey,
        /// Which clean-up, with its write.
        write: Write,
    },
}

/// A write to a managed object, sent as the Application's account.
#[derive(Clone, Debug)]
pub enum Write {
    /// Server-side apply.
    Apply {
        /// The object.
        key: ObjectKey,
        /// The whole body, marks included.
        body: Arc<Value>,
        /// Whether fields of other managers become ours.
        force: bool,
        /// resourceVersion that the live object must have.
        version: Option<u64>,
        /// Whether fields that the schema does not know are refused.
        strict: bool,
        /// Fields that keep the value that the live object has, if there is one.
        keeps: Option<Arc<Ignored>>,
    },
    /// Replace the whole object: what the body does not have goes, whoever put it there.
    Replace {
        /// The object.
        key: ObjectKey,
        /// The whole body, marks included.
        body: Arc<Value>,
        /// resourceVersion that the live object must have.
        version: u64,
        /// Whether fields that the schema does not know are refused.
        strict: bool,
        /// Fields that keep their live value.
        keeps: Option<Arc<Ignored>>,
    },
    /// Make the fields that other managers own ours, by a patch of `managedFields`: what the next apply does not name goes.
    Migrate {
        /// The object.
        key: ObjectKey,
        /// uid that the live object must have.
        uid: Arc<str>,
        /// A manager beside those of kubectl, Helm, Flux and Argo CD.
        also: Option<String>,
    },
    /// Create under a name that we chose.
    Create {
        /// The object.
        key: ObjectKey,
        /// The whole body, marks included.
        body: Arc<Value>,
        /// Whether fields that the schema does not know are refused; else they are dropped.
        strict: bool,
    },
    /// Delete, with the uid (and the resourceVersion) as precondition.
    Delete {
        /// The object.
        key: ObjectKey,
        /// uid that the live object must have.
        uid: Arc<str>,
        /// resourceVersion that the live object must have.
        version: Option<u64>,
        /// What becomes of its dependents.
        propagation: Propagation,
    },
    /// Merge patch of one object, with the uid as precondition.
    Patch {
        /// The object.
        key: ObjectKey,
        /// uid that the live object must have.
        uid: Arc<str>,
        /// The merge patch.
        patch: Value,
    },
}

impl Write {
    /// The object that is written.
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::Apply { key, .. }
            | Self::Replace { key, .. }
            | Self::Migrate { key, .. }
            | Self::Create { key, .. }
            | Self::Delete { key, .. }
            | Self::Patch { key, .. } => key,
        }
    }
}

/// What a delete does to dependents; always named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// The object goes after its dependents.
    #[default]
    Foreground,
    /// Dependents are collected afterwards.
    Background,
    /// Dependents stay.
    Orphan,
}

impl Propagation {
    /// The meaning of the value of `PrunePropagationPolicy=`, one of those that are let through.
    pub fn of(value: &str) -> Self {
        match value {
            "background" => Self::Background,
            "orphan" => Self::Orphan,
            _ => Self::Foreground,
        }
    }

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Foreground => "Foreground",
            Self::Background => "Background",
            Self::Orphan => "Orphan",
        }
    }
}

/// The answer to an action.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The ledger is durable up to this version.
    Recorded(u64),
    /// What is lacking of what was asked for; an error when nobody could tell.
    Rights(Result<Vec<Lack>, Fault>),
    /// The dry run of a task's write.
    Rehearsed(TaskId, Result<(), Fault>),
    /// A task's write: the object as the server returned it (nothing for a delete).
    Written(TaskId, Result<Option<Arc<Live>>, Fault>),
    /// The object as the quorum has it.
    Looked(TaskId, Result<Option<Arc<Live>>, Fault>),
    /// An object as the quorum has it, which no task has asked for.
    Refreshed(ObjectKey, Result<Option<Arc<Live>>, Fault>),
    /// The evidence of a failure.
    Collected(TaskId, Evidence),
    /// The clean-up of a hook.
    Tidied(ObjectKey, Result<(), Fault>),
}

/// Why something failed, as the cluster shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// One sentence: container, exit code or waiting reason, last words. Empty when nothing could be seen.
    pub summary: String,
    /// The last log lines, at most 4 KiB a container, control characters made harmless.
    pub log: Option<String>,
    /// Pod, container, exit code, Events.
    pub detail: Option<Box<api::Evidence>>,
}

/// A refusal or failure of the API server, classified once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What follows from it.
    pub kind: FaultKind,
    /// The server's words (without contents of Secrets), or what happened on the way.
    pub message: String,
    /// How long the server asks us to wait.
    pub retry_after: Option<Duration>,
}

/// What follows from a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Another manager owns a field, or a precondition does not hold: look, then decide.
    Conflict,
    /// A create found an object of that name.
    Exists,
    /// The object (or its namespace) is not there.
    NotFound,
    /// The server does not serve the kind (yet).
    KindMissing,
    /// The account may not.
    Forbidden,
    /// The server will never accept this body.
    Invalid,
    /// Overload, time-out, a webhook that did not answer: to be tried again; whether it was done is not known.
    Transient,
}

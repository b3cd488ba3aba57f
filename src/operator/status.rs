//! Writing one Application's status: one write at a time, coalesced when it only tells progress, at once when something waits for it.

use std::pin::Pin;
use std::time::Duration;

use futures::Future;
use serde_json::Value;
use tokio::time::Instant;

use crate::api::ApplicationStatus;
use crate::engine::action::Fault;

/// Progress is written at most this often.
const PAUSE: Duration = Duration::from_millis(250);
/// The pause after a write that failed.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// A write that is under way.
pub(super) type Writing = Pin<Box<dyn Future<Output = Done> + Send>>;

/// A write that has come back.
pub(super) struct Done {
    /// The new resourceVersion and the status as the server keeps it, or why not.
    pub(super) result: Result<(String, Value), Fault>,
    /// The ledger's version in it.
    pub(super) ledger: u64,
}

/// What the writer knows.
#[derive(Default)]
pub(super) struct StatusWriter {
    /// The write under way.
    pub(super) writing: Option<Writing>,
    /// The status as it was written or read last.
    pub(super) written: Option<Value>,
    /// Ledger version that somebody waits for.
    pub(super) wanted: Option<u64>,
    /// Whether the status may have changed.
    pub(super) dirty: bool,
    /// Whether it is written without waiting for the pause.
    pub(super) urgent: bool,
    not_before: Option<Instant>,
}

impl StatusWriter {
    /// Whether a write is due now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let wants = self.wanted.is_some() || self.urgent || self.dirty;
        wants && self.writing.is_none() && self.due_at().is_none_or(|at| at <= now)
    }

    /// When the next write is due, if one is wanted.
    pub(super) fn due_at(&self) -> Option<Instant> {
        if self.writing.is_some() || !(self.dirty || self.urgent || self.wanted.is_some()) {
            return None;
        }
        self.not_before
    }

    /// A write has begun.
    pub(super) fn began(&mut self, writing: Writing) {
        self.writing = Some(writing);
        self.dirty = false;
        self.urgent = false;
    }

    /// A write has come back.
    pub(super) fn ended(&mut self, succeeded: bool, now: Instant) {
        self.writing = None;
        let pause = if succeeded { PAUSE } else { AFTER_FAILURE };
        self.not_before = Some(now + pause);
        if !succeeded {
            self.dirty = true;
        }
    }

    /// Something waits for this version: no pause.
    pub(super) fn want(&mut self, version: u64) {
        self.wanted = Some(version);
        self.not_before = None;
    }

    /// The end of an operation is written at once.
    pub(super) fn hurry(&mut self) {
        self.dirty = true;
        self.urgent = true;
        self.not_before = None;
    }
}

/// A status as it compares.
pub(super) fn value(status: &ApplicationStatus) -> Value {
    serde_json::to_value(status).unwrap_or(Value::Null)
}

//! Writing one Application's status: one write at a time, coalesced when it only tells progress, at once when something waits for it.

use std::pin::Pin;
use std::time::Duration;

use futures::Future;
use serde_json::Value;
use tokio::time::Instant;

use crate::api::ApplicationStatus;
use crate::engine::action::{Fault, FaultKind};

/// Progress is written at most this often.
const PAUSE: Duration = Duration::from_millis(250);
/// The pause after a write that failed; twice as long after each further one.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// The longest pause while the server does not answer, and while it refuses.
const LONGEST: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// Statuses of unknown fate that are remembered.
const MOST_SENT: usize = 4;

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
    /// What was sent since, and may have been written although no answer said so.
    sent: Vec<Value>,
    failures: u32,
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

    /// A write of that status has begun.
    pub(super) fn began(&mut self, writing: Writing, status: Value) {
        self.writing = Some(writing);
        self.dirty = false;
        self.urgent = false;
        self.sent.truncate(MOST_SENT - 1);
        self.sent.insert(0, status);
    }

    /// Nothing needs to be written: the status is as it was. The next change is looked at after the usual pause.
    pub(super) fn spared(&mut self, now: Instant) {
        self.dirty = false;
        self.urgent = false;
        self.not_before = Some(now + PAUSE);
    }

    /// A write has come back with the status as the server keeps it.
    pub(super) fn succeeded(&mut self, kept: Value, now: Instant) {
        self.know(Some(kept));
        self.writing = None;
        self.failures = 0;
        self.not_before = Some(now + PAUSE);
    }

    /// A write has come back without success.
    pub(super) fn failed(&mut self, fault: &Fault, now: Instant) {
        self.writing = None;
        self.dirty = true;
        let longest = match fault.kind {
            FaultKind::Transient | FaultKind::Conflict => LONGEST.0,
            _ => LONGEST.1,
        };
        self.not_before = Some(now + (AFTER_FAILURE * (1 << self.failures.min(6))).min(longest));
        self.failures = self.failures.saturating_add(1);
    }

    /// The status as it stands in the cluster now.
    pub(super) fn know(&mut self, status: Option<Value>) {
        self.written = status;
        self.sent.clear();
    }

    /// Whether a status is the last one that we wrote, or one whose write we do not know the fate of.
    pub(super) fn is_ours(&mut self, status: Option<Value>) -> bool {
        if status == self.written {
            return true;
        }
        let ours = self.sent.iter().any(|sent| Some(sent) == status.as_ref());
        if ours {
            self.know(status);
        }
        ours
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fault(kind: FaultKind) -> Fault {
        Fault { kind, message: String::new(), retry_after: None }
    }

    fn sent(writer: &mut StatusWriter, status: Value) {
        writer.began(Box::pin(std::future::pending()), status);
    }

    #[test]
    fn r10_a_status_whose_write_was_done_without_an_answer_is_known_as_our_own() {
        let mut writer = StatusWriter::default();
        writer.know(Some(json!(1)));
        let now = Instant::now();
        for status in 2..5 {
            sent(&mut writer, json!(status));
            writer.failed(&fault(FaultKind::Transient), now);
        }
        assert!(!writer.is_ours(Some(json!(9))), "somebody else's");
        assert!(writer.is_ours(Some(json!(3))));
        assert!(!writer.is_ours(Some(json!(1))), "what was before is not written over it again");
        assert!(!writer.is_ours(None));
    }

    #[test]
    fn a_refused_write_is_tried_ever_more_rarely_and_what_somebody_waits_for_without_a_pause() {
        let mut writer = StatusWriter::default();
        let now = Instant::now();
        for _ in 0..20 {
            sent(&mut writer, json!(1));
            writer.failed(&fault(FaultKind::Invalid), now);
        }
        assert_eq!(writer.due_at(), Some(now + LONGEST.1));
        writer.failed(&fault(FaultKind::Transient), now);
        assert_eq!(writer.due_at(), Some(now + LONGEST.0));
        sent(&mut writer, json!(1));
        writer.succeeded(json!(1), now);
        assert!(writer.sent.is_empty());
        writer.want(1);
        assert!(writer.is_due(now));
        sent(&mut writer, json!(2));
        assert!(!writer.is_due(now), "one at a time");
        writer.failed(&fault(FaultKind::Transient), now);
        assert!(!writer.is_due(now), "a failure is followed by a pause, whoever waits");
    }

    #[test]
    fn an_unchanged_status_is_not_made_again_for_each_event() {
        let mut writer = StatusWriter::default();
        let now = Instant::now();
        writer.dirty = true;
        assert!(writer.is_due(now));
        writer.spared(now);
        writer.dirty = true;
        assert!(!writer.is_due(now));
        assert_eq!(writer.due_at(), Some(now + PAUSE), "but it is made");
    }
}

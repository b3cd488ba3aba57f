//! Reading back what the last process wrote: the ledger, the operation that ran, and what has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::attempt::{Finish, Operation, Row, What};
use super::heal::Heal;
use super::ledger::{HookId, HookOutcome, HookRecord, Ledger, RecordStage};
use super::lifecycle;
use super::membership::HookRun;
use super::object::{Digest, GroupKind, ObjectKey, is_path_segment};
use super::plan::Options;
use crate::api;

/// What a status says.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Records and kinds.
    pub ledger: Ledger,
    /// The operation that had not ended.
    pub running: Option<Running>,
    /// The latest operation about the whole source.
    pub attempted: Option<api::Attempted>,
}

/// An operation that had not ended.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its head. The options are those of the request, or of the Application's policy: the caller fills them in.
    pub operation: Operation,
    /// What was asked for, if somebody asked.
    pub request: Option<api::SyncOperation>,
    /// Whether its SyncFail phase had begun, and for what.
    pub failing: Option<String>,
    /// Rows of what was over before its SyncFail phase began; empty if that has not begun.
    pub rows: Vec<Row>,
    /// When its next attempt is due, if it waits for one.
    pub retry_at: Option<Timestamp>,
    /// Whether somebody has asked to terminate it.
    pub terminating: bool,
}

impl Running {
    /// What of it can be true (F51): a deletion only of an Application that is being deleted, no start and no pause in times to come.
    /// `longest` is the longest pause between two attempts.
    #[must_use]
    pub fn as_far_as_possible(mut self, deleting: bool, longest: Duration, now: Timestamp) -> Option<Self> {
        if self.operation.deletion && !deleting {
            return None;
        }
        self.operation.started_at = self.operation.started_at.min(now);
        self.operation.attempt_started_at = self.operation.attempt_started_at.min(now);
        self.operation.attempt = self.operation.attempt.clamp(1, i64::from(u32::MAX));
        let latest = now.checked_add(longest).unwrap_or(now);
        self.retry_at = self.retry_at.map(|at| at.min(latest));
        Some(self)
    }
}

/// Reads a status. What cannot be read is left out: the operation starts again, it never skips a part.
pub fn recover(status: Option<&api::ApplicationStatus>) -> Recovered {
    let Some(status) = status else { return Recovered::default() };
    let hooks: BTreeMap<HookId, HookRecord> = status.hooks.iter().filter_map(record).collect();
    let kinds: BTreeSet<GroupKind> = status
        .inventory
        .iter()
        .flat_map(|inventory| &inventory.kinds)
        .filter_map(|text| text.split_once('/'))
        .map(|(group, kind)| GroupKind::new(group, kind))
        .collect();
    let namespaces = status.inventory.iter().flat_map(|inventory| &inventory.namespaces).cloned().collect();
    let state = status.operation_state.as_ref().filter(|state| !state.phase.is_ended());
    let first_write = state.and_then(|state| state.first_write_at);
    let running = state.map(|state| running(state, &hooks));
    // A status of an earlier version does not have it.
    let ended = status.operation_state.as_ref().filter(|state| state.phase.is_ended());
    let attempted = status.attempted.clone().or_else(|| ended.and_then(lifecycle::attempted));
    Recovered { ledger: Ledger::recovered(hooks, kinds, namespaces, first_write), running, attempted }
}

fn running(state: &api::OperationState, hooks: &BTreeMap<HookId, HookRecord>) -> Running {
    let of_sync_fail = |record: &HookRecord| {
        record.run.operation == state.id
            && record.run.attempt == state.attempt
            && record.run.phase == api::Phase::SyncFail
    };
    let failing = hooks.values().any(of_sync_fail).then(|| match &state.message {
        Some(message) => cause(message),
        None => "the attempt failed before the restart".to_owned(),
    });
    let rows = state.sync_result.iter().filter(|_| failing.is_some()).flat_map(|result| &result.resources);
    let rows = rows.filter_map(row).collect();
    let phase = state.stage.as_ref().map(|stage| stage.phase);
    Running {
        operation: Operation {
            id: state.id.clone(),
            deletion: phase.is_some_and(super::settings::is_deletion),
            attempt: state.attempt,
            request_generation: state.request_generation,
            initiated_by: state.initiated_by.as_ref().and_then(|by| by.username.clone()),
            heal: state.self_heal.clone().map(|cause| Arc::new(Heal { cause, ..Heal::default() })),
            revision: state.revision.clone().unwrap_or_default(),
            started_at: state.started_at,
            attempt_started_at: state.attempt_started_at.unwrap_or(state.started_at),
            options: Options::default(),
        },
        request: state.operation.as_ref().and_then(|operation| operation.sync.clone()),
        failing,
        rows,
        retry_at: state.retry_at,
        terminating: state.phase == api::OperationPhase::Terminating,
    }
}

/// The cause alone: what the message of an attempt in SyncFail, or past it, says of that is said anew.
fn cause(message: &str) -> String {
    let end = ["; SyncFail ", "; then SyncFail ", "; cleans up "].iter().filter_map(|words| message.find(words)).min();
    message[..end.unwrap_or(message.len())].to_owned()
}

/// The row of a task that was over before SyncFail began.
fn row(row: &api::ResourceResult) -> Option<Row> {
    let phase = row.sync_phase.filter(|phase| *phase != api::Phase::SyncFail)?;
    let what = match (row.hook_type, row.status) {
        (Some(_), _) => What::Hook,
        (None, Some(api::ResultStatus::Pruned | api::ResultStatus::PruneSkipped)) => What::Pruned,
        (None, _) => What::Applied,
    };
    let finish = match row.status {
        Some(api::ResultStatus::Synced | api::ResultStatus::Pruned) => Finish::Done,
        Some(api::ResultStatus::SyncFailed) => Finish::Failed {
            cause: row.message.clone().unwrap_or_default(),
            log: row.log.clone(),
            detail: row.evidence.clone().map(Box::new),
        },
        Some(api::ResultStatus::PruneSkipped | api::ResultStatus::Skipped) => {
            Finish::Skipped(row.message.clone().unwrap_or_default())
        }
        None => Finish::Dropped,
    };
    Some(Row {
        key: ObjectKey::new(&row.group, &row.kind, row.namespace.as_deref(), &row.name),
        version: row.version.clone(),
        phase,
        wave: row.wave,
        what,
        note: row.message.clone().filter(|_| finish == Finish::Done),
        finish,
        uid: row.uid.as_deref().map(Into::into),
        started: row.started_at,
        finished: row.finished_at?,
        waits: Vec::new(),
        taken_from: Vec::new(),
    })
}

fn record(record: &api::HookRecord) -> Option<(HookId, HookRecord)> {
    // Whoever may write the status may write any name into it.
    if !is_path_segment(&record.name) || !record.namespace.as_deref().is_none_or(is_path_segment) {
        return None;
    }
    let key = ObjectKey::new(&record.group, &record.kind, record.namespace.as_deref(), &record.name);
    let uid = record.uid.clone().unwrap_or_default().into();
    let outcome = || {
        let outcome = record.outcome.clone()?;
        Some(HookOutcome {
            succeeded: outcome.phase == api::HookVerdict::Succeeded,
            message: outcome.message.unwrap_or_default(),
            log: outcome.log,
            detail: outcome.evidence.map(Box::new),
        })
    };
    let stage = match record.record {
        api::RecordState::Creating => RecordStage::Creating,
        api::RecordState::Created => RecordStage::Created(uid),
        api::RecordState::Ended => RecordStage::Ended(uid, outcome()?),
        api::RecordState::Cleared => RecordStage::Cleared(uid, outcome()?),
    };
    let run = HookRun { operation: record.operation.clone(), attempt: record.attempt, phase: record.phase };
    let digest = record.digest.as_deref().and_then(Digest::parse).unwrap_or_else(|| Digest::of_bytes(b""));
    Some(((key, record.phase), HookRecord { run, stage, digest, at: record.at }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn running(state: &Value) -> Option<Running> {
        let mut status = json!({"operationState": {"id": "a", "attempt": 1, "phase": "Running", "retryCount": 0, "startedAt": "2026-01-01T00:00:00Z"}});
        for (name, value) in state.as_object().unwrap() {
            status["operationState"][name] = value.clone();
        }
        recover(Some(&serde_json::from_value(status).unwrap())).running
    }

    #[test]
    fn f51_a_status_that_speaks_of_a_deletion_deletes_nothing_of_an_application_that_is_not_deleted() {
        let stage = json!({"stage": {"phase": "Delete", "wave": 0, "index": 1, "total": 1, "text": "Delete 0 (1/1)", "since": "2026-01-01T00:00:00Z"}});
        let now = Timestamp::UNIX_EPOCH;
        let found = running(&stage).unwrap();
        assert!(found.operation.deletion);
        assert!(found.clone().as_far_as_possible(false, Duration::ZERO, now).is_none());
        assert!(found.as_far_as_possible(true, Duration::ZERO, now).is_some());
    }

    #[test]
    fn i9_a_record_of_a_hook_whose_name_would_lead_elsewhere_is_none() {
        let names = ["../../secrets/other", "..", "a?dryRun=All", "a%2f..", "migrate"];
        let hooks: Vec<_> = names
            .iter()
            .map(|name| {
                json!({"group": "batch", "kind": "Job", "namespace": "shop", "name": name, "phase": "PreSync",
                    "operation": "a", "attempt": 1, "record": "Created", "uid": "u", "at": "2026-01-01T00:00:00Z"})
            })
            .collect();
        let status = serde_json::from_value(json!({"hooks": hooks})).unwrap();
        let ledger = recover(Some(&status)).ledger;
        let known: Vec<_> = ledger.hooks().keys().map(|(key, _)| key.name.to_string()).collect();
        assert_eq!(known, ["migrate"]);
    }

    #[test]
    fn i8_the_cause_of_a_failure_outlives_a_restart_in_sync_fail_and_in_the_clean_up_after_it() {
        let told = "PostSync wave 0 failed: Job smoke exited with code 3";
        for message in [
            told.to_owned(),
            format!("{told}; SyncFail 0 (1/1) waits for Job notify: runs"),
            format!("{told}; then SyncFail wave 0 failed: Job notify; SyncFail 1 (2/2)"),
            format!("{told}; cleans up after its hooks"),
        ] {
            assert_eq!(cause(&message), told);
        }
    }

    #[test]
    fn f51_times_to_come_and_absurd_attempts_hold_nothing_up() {
        let now: Timestamp = "2026-02-01T00:00:00Z".parse().unwrap();
        let state =
            json!({"startedAt": "2999-01-01T00:00:00Z", "retryAt": "2999-01-01T00:00:00Z", "attempt": i64::MAX});
        let found = running(&state).unwrap().as_far_as_possible(false, Duration::from_mins(1), now).unwrap();
        assert_eq!((found.operation.started_at, found.operation.attempt_started_at), (now, now));
        assert_eq!(found.retry_at, now.checked_add(Duration::from_mins(1)).ok());
        assert!(found.operation.attempt.checked_add(1).is_some());
    }
}

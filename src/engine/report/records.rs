//! The records of hooks as a status has them.

use std::sync::Arc;

use crate::api;
use crate::engine::harmless;
use crate::engine::ledger::{HookId, HookOutcome, HookRecord, Ledger, RecordStage};

/// All records. The log of a failure stays with the latest operation only: five hundred of them would be more than an object may hold.
pub(super) fn hooks(ledger: &Ledger, latest: Option<&str>) -> Vec<api::HookRecord> {
    ledger.hooks().iter().map(|(id, record)| hook(id, record, latest == Some(&*record.run.operation))).collect()
}

fn hook(id: &HookId, record: &HookRecord, with_log: bool) -> api::HookRecord {
    let (state, uid, outcome) = match &record.stage {
        RecordStage::Creating => (api::RecordState::Creating, None, None),
        RecordStage::Created(uid) => (api::RecordState::Created, Some(uid), None),
        RecordStage::Ended(uid, outcome) => (api::RecordState::Ended, Some(uid), Some(outcome)),
        RecordStage::Cleared(uid, outcome) => (api::RecordState::Cleared, Some(uid), Some(outcome)),
    };
    let key = &id.0;
    api::HookRecord {
        group: key.kind.group.to_string(),
        kind: key.kind.kind.to_string(),
        namespace: key.namespace.as_deref().map(str::to_owned),
        name: key.name.to_string(),
        phase: id.1,
        operation: record.run.operation.clone(),
        attempt: record.run.attempt,
        record: state,
        uid: uid.filter(|uid: &&Arc<str>| !uid.is_empty()).map(std::string::ToString::to_string),
        digest: Some(record.digest.to_string()),
        outcome: outcome.map(|outcome| hook_outcome(outcome, with_log)),
        at: record.at,
    }
}

fn hook_outcome(outcome: &HookOutcome, with_log: bool) -> api::HookOutcome {
    api::HookOutcome {
        phase: if outcome.succeeded { api::HookVerdict::Succeeded } else { api::HookVerdict::Failed },
        message: Some(harmless::text(&outcome.message)),
        log: outcome.log.clone().filter(|_| with_log),
        evidence: outcome.detail.clone().filter(|_| with_log).map(|detail| *detail),
    }
}

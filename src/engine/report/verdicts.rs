//! The conditions Ready, Reconciling and Stalled, as kstatus reads them.

use std::collections::BTreeSet;

use super::Standing;
use crate::api::conditions::{ReadyReason, Reason, ReconcilingReason, StalledReason};
use crate::api::{self, HealthStatus, OperationPhase, OperationState, SyncStatus};
use crate::engine::{drift, lifecycle};

/// The reasons of the three conditions, with their messages.
pub(super) fn verdicts(
    standing: Standing<'_>,
    sync: &api::SyncSummary,
    health: &api::HealthSummary,
    state: Option<&OperationState>,
) -> [(Reason, String); 3] {
    // A dry run changes nothing, in what is said of the Application neither; nor does a request that cannot be.
    let state = state.filter(|state| !lifecycle::is_dry_run(state) && !lifecycle::is_refused_request(state));
    let runs = standing.attempt.is_some_and(|attempt| !attempt.operation.options.dry_run);
    let message = state.and_then(|state| state.message.clone()).unwrap_or_default();
    let phase = state.map(|state| state.phase);
    let waits_for_retry = standing.attempt.is_none() && phase == Some(OperationPhase::Running);
    let failed = matches!(phase, Some(OperationPhase::Failed | OperationPhase::Error));
    let current = state.and_then(|state| state.revision.as_deref()) == standing.revision;
    let health_text = health.message.clone().unwrap_or_default();
    let ready = if standing.deleting {
        (ReadyReason::Deleting, message.clone())
    } else if let Err(problem) = standing.desired {
        (ReadyReason::InvalidSource, problem.to_owned())
    } else if runs || waits_for_retry {
        (ReadyReason::OperationRunning, message.clone())
    } else if failed && current {
        (ReadyReason::OperationFailed, message.clone())
    } else if let Some(contested) = standing.contested {
        (ReadyReason::OutOfSync, contested.to_owned())
    } else if sync.status != SyncStatus::Synced {
        (ReadyReason::OutOfSync, out_of_sync(standing))
    } else {
        let reason = match health.status {
            HealthStatus::Healthy => ReadyReason::Healthy,
            HealthStatus::Progressing => ReadyReason::Progressing,
            HealthStatus::Suspended => ReadyReason::Suspended,
            HealthStatus::Missing => ReadyReason::Missing,
            HealthStatus::Degraded => ReadyReason::Degraded,
            HealthStatus::Unknown => ReadyReason::Unknown,
        };
        let healthy = "everything is applied and healthy".to_owned();
        (reason, if reason == ReadyReason::Healthy { healthy } else { health_text.clone() })
    };
    let reconciling = if standing.deleting {
        (ReconcilingReason::Deleting, message.clone())
    } else if waits_for_retry {
        (ReconcilingReason::WaitingForRetry, message.clone())
    } else if phase == Some(OperationPhase::Terminating) {
        (ReconcilingReason::Terminating, message.clone())
    } else if runs {
        (ReconcilingReason::OperationRunning, message.clone())
    } else if ready.0 == ReadyReason::Progressing {
        (ReconcilingReason::Progressing, health_text)
    } else {
        // A person has to see to a contested field: Stalled says so, and Reconciling beside it would hide it from kstatus.
        let idle = if standing.contested.is_some() {
            "self-heal waits before it tries again"
        } else {
            "there is nothing to do"
        };
        (ReconcilingReason::Idle, idle.to_owned())
    };
    let stalled = match ready.0 {
        ReadyReason::InvalidSource => (StalledReason::SourceUnusable, ready.1.clone()),
        ReadyReason::OperationFailed => (stalled_reason(&message), message),
        ReadyReason::OutOfSync if standing.contested.is_some() => (StalledReason::Contested, ready.1.clone()),
        _ => (StalledReason::NotStalled, "nothing stands still".to_owned()),
    };
    [
        (Reason::Ready(ready.0), ready.1),
        (Reason::Reconciling(reconciling.0), reconciling.1),
        (Reason::Stalled(stalled.0), stalled.1),
    ]
}

fn stalled_reason(message: &str) -> StalledReason {
    if message.contains(" may not ") {
        StalledReason::Forbidden
    } else if message.contains("the rehearsal was refused") {
        StalledReason::RehearsalRefused
    } else if message.contains("belongs to the Application") {
        StalledReason::OwnedByOther
    } else if message.contains(" within ") {
        StalledReason::DeadlinePassed
    } else {
        StalledReason::OperationFailed
    }
}

fn out_of_sync(standing: Standing<'_>) -> String {
    let manifests = standing.desired.map(|desired| desired.manifests.as_slice()).unwrap_or_default();
    let wanted: BTreeSet<_> = manifests.iter().map(|manifest| &manifest.key).collect();
    let extra = standing.members.iter().any(|(key, live)| {
        let counts = live.hook.is_none() && !live.ignore_extraneous && !standing.keeps(key);
        live.is_member(standing.owner) && counts && !wanted.contains(key)
    });
    if extra {
        "the cluster has objects that are no longer in the source; a sync with prune removes them".to_owned()
    } else {
        let Ok(desired) = standing.desired else { return String::new() };
        let drifts = drift::drifts(desired, standing.members, standing.ledger, standing.owner);
        format!("the cluster does not carry what the source says: {}", drift::told(drifts.iter()))
    }
}

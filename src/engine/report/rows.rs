//! The rows of a status: what an operation did to each object.

use super::stage::waiting_for;
use super::{LONGEST_LINE, shortened};
use crate::api;
use crate::engine::attempt::{Attempt, Finish, Row, Running, TaskRun, TaskState, What};
use crate::engine::object::ObjectKey;
use crate::engine::plan::{Stage, Task};

/// The rows of an attempt: what is over, what runs, and what has no task.
pub(super) fn result(attempt: &Attempt, running: Option<&Running>) -> api::SyncResult {
    let mut rows: Vec<_> = attempt.rows.iter().map(row).collect();
    if let Some(running) = running {
        let stage = running.stage(&attempt.plan);
        for (task, run) in stage.tasks.iter().zip(&running.runs).filter(|(_, run)| run.started.is_some()) {
            rows.push(running_row(stage, task, run));
        }
    }
    for without in &attempt.plan.without_task {
        let status = if without.prune_skipped { api::ResultStatus::PruneSkipped } else { api::ResultStatus::Skipped };
        rows.push(api::ResourceResult {
            wave: without.wave,
            status: Some(status),
            message: Some(without.reason.clone()),
            ..empty_row(&without.key)
        });
    }
    // Failures first; otherwise in the order of execution.
    rows.sort_by_key(|row| {
        row.status != Some(api::ResultStatus::SyncFailed) && row.hook_phase != Some(api::HookPhase::Failed)
    });
    for row in &mut rows {
        row.message = row.message.as_deref().map(|message| shortened(message, LONGEST_LINE));
    }
    let total = i64::try_from(rows.len()).ok();
    api::SyncResult { resources: rows, resources_total: total.filter(|total| *total > 0) }
}

fn empty_row(key: &ObjectKey) -> api::ResourceResult {
    api::ResourceResult {
        group: key.kind.group.to_string(),
        version: String::new(),
        kind: key.kind.kind.to_string(),
        namespace: key.namespace.as_deref().map(str::to_owned),
        name: key.name.to_string(),
        sync_phase: None,
        wave: 0,
        hook_type: None,
        status: None,
        hook_phase: None,
        message: None,
        uid: None,
        started_at: None,
        finished_at: None,
        log: None,
        evidence: None,
    }
}

fn row(row: &Row) -> api::ResourceResult {
    let Told { status, hook_phase, message, log, evidence } = told(&row.finish, row.what, row.note.as_ref());
    api::ResourceResult {
        version: row.version.clone(),
        sync_phase: Some(row.phase),
        wave: row.wave,
        hook_type: (row.what == What::Hook).then_some(row.phase),
        status,
        hook_phase: hook_phase.filter(|_| row.what == What::Hook),
        message,
        uid: row.uid.as_deref().map(str::to_owned),
        started_at: row.started,
        finished_at: Some(row.finished),
        log,
        evidence,
        ..empty_row(&row.key)
    }
}

fn running_row(stage: &Stage, task: &Task, run: &TaskRun) -> api::ResourceResult {
    let what = What::of(task);
    let Told { status, hook_phase, message, log, evidence } = match &run.state {
        TaskState::Over(finish) => told(finish, what, run.note.as_ref()),
        _ => Told {
            status: Some(done(what)).filter(|_| run.applied),
            hook_phase: Some(api::HookPhase::Running),
            message: run.blocked.as_ref().map(|blocked| blocked.reason.clone()).or_else(|| Some(waiting_for(run))),
            log: None,
            evidence: None,
        },
    };
    api::ResourceResult {
        version: task.manifest().map(|manifest| manifest.version().to_owned()).unwrap_or_default(),
        sync_phase: Some(stage.phase),
        wave: stage.wave,
        hook_type: (what == What::Hook).then_some(stage.phase),
        status,
        hook_phase: hook_phase.filter(|_| what == What::Hook),
        message,
        uid: run.written.as_ref().map(|written| written.uid.to_string()),
        started_at: run.started,
        finished_at: run.ended,
        log,
        evidence,
        ..empty_row(&run.key)
    }
}

/// What a row says of how its task stands.
struct Told {
    status: Option<api::ResultStatus>,
    hook_phase: Option<api::HookPhase>,
    message: Option<String>,
    log: Option<String>,
    evidence: Option<api::Evidence>,
}

fn told(finish: &Finish, what: What, note: Option<&String>) -> Told {
    let (status, hook_phase, message) = match finish {
        Finish::Done => (Some(done(what)), Some(api::HookPhase::Succeeded), note.cloned()),
        Finish::Failed { cause, .. } => {
            (Some(api::ResultStatus::SyncFailed), Some(api::HookPhase::Failed), Some(cause.clone()))
        }
        Finish::Skipped(reason) => (Some(skipped(what)), None, Some(reason.clone())),
        Finish::Dropped => (None, None, Some("not finished: the attempt ended before".to_owned())),
    };
    let (log, evidence) = match finish {
        Finish::Failed { log, detail, .. } => (log.clone(), detail.clone().map(|detail| *detail)),
        Finish::Done | Finish::Skipped(_) | Finish::Dropped => (None, None),
    };
    Told { status, hook_phase, message, log, evidence }
}

fn skipped(what: What) -> api::ResultStatus {
    if what == What::Pruned { api::ResultStatus::PruneSkipped } else { api::ResultStatus::Skipped }
}

fn done(what: What) -> api::ResultStatus {
    if what == What::Pruned { api::ResultStatus::Pruned } else { api::ResultStatus::Synced }
}

//! The stage of an operation as a status has it: where it is, and what it waits for.

use jiff::Timestamp;

use super::{LONGEST_LINE, shortened};
use crate::api::{self, HealthStatus};
use crate::engine::attempt::{Running, TaskRun, TaskState};
use crate::engine::plan::{Plan, Stage};

/// Most objects that `blockedOn` names.
const MOST_BLOCKED: usize = 20;

/// The stage that runs, and what it waits for.
pub(super) fn stage_status(running: &Running, plan: &Plan) -> api::StageStatus {
    let stage = running.stage(plan);
    let mut waiting: Vec<&TaskRun> = running.runs.iter().filter(|run| !run.is_over()).collect();
    let total = waiting.len();
    waiting.sort_by_key(|run| run.blocked.is_none());
    api::StageStatus {
        phase: stage.phase,
        wave: stage.wave,
        index: index(running, plan),
        total: i64::try_from(plan.stages.len()).unwrap_or(i64::MAX),
        text: stage_text(stage, running, plan),
        since: running.since,
        deadline: running.runs.iter().filter(|run| !run.is_over()).filter_map(|run| run.deadline).max(),
        blocked_on: waiting.iter().take(MOST_BLOCKED).map(|run| blocked_on(run, running.since)).collect(),
        blocked_total: i64::try_from(total).ok().filter(|total| *total > 0),
    }
}

fn blocked_on(run: &TaskRun, since: Timestamp) -> api::BlockedOn {
    let (health, reason, since) = match &run.blocked {
        Some(blocked) => (blocked.health, blocked.reason.clone(), blocked.since),
        None => {
            let there = run.applied || run.written.is_some();
            (if there { "Progressing" } else { "Missing" }, waiting_for(run), run.started.unwrap_or(since))
        }
    };
    api::BlockedOn {
        group: run.key.kind.group.to_string(),
        kind: run.key.kind.kind.to_string(),
        namespace: run.key.namespace.as_deref().map(str::to_owned),
        name: run.key.name.to_string(),
        health: HealthStatus::parse(health).unwrap_or_default(),
        reason: Some(shortened(&reason, LONGEST_LINE)),
        since: Some(since),
        deadline: run.deadline,
        released_by: Some(released_by(run)),
    }
}

/// What lets a task go on.
fn released_by(run: &TaskRun) -> String {
    let kind = &run.key.kind.kind;
    match &run.state {
        TaskState::Held => "the end of the tasks before it in the stage".to_owned(),
        TaskState::Confirming => "a person, by the command that the reason names".to_owned(),
        TaskState::Backoff { until, .. } => format!("the next try, at {until:.0}"),
        TaskState::After(_) => "the end of the other tasks of its stage, after which it is tried again".to_owned(),
        TaskState::Leaving { .. } => "the end of the old object: its finalizers have to go".to_owned(),
        TaskState::Deleting { .. } | TaskState::Draining { .. } | TaskState::Stopping { .. } => "its end".to_owned(),
        TaskState::Running { .. } => format!("the end of the {kind}"),
        TaskState::Waiting => format!("the {kind} being Healthy"),
        TaskState::Writing
        | TaskState::Replacing
        | TaskState::Migrating
        | TaskState::Rehearsing { .. }
        | TaskState::Looking(_)
        | TaskState::Recording { .. }
        | TaskState::Collecting { .. }
        | TaskState::Over(_) => "the API server's answer".to_owned(),
    }
}

pub(super) fn waiting_for(run: &TaskRun) -> String {
    match &run.state {
        TaskState::Held => "waits for its turn in the stage",
        TaskState::Confirming => "waits for a person's confirmation",
        TaskState::Writing | TaskState::Replacing | TaskState::Migrating => "is being written",
        TaskState::Rehearsing { .. } => "cannot be changed; a dry run tells whether it can be made anew",
        TaskState::Deleting { .. } => "is being deleted",
        TaskState::Looking(_) => "is being looked at",
        TaskState::Recording { .. } => "waits until its record is durable",
        TaskState::Collecting { .. } => "has failed; the evidence is gathered",
        TaskState::Stopping { .. } | TaskState::Draining { .. } => "is being stopped",
        TaskState::After(_) => "was refused; it is tried again after the others of its stage",
        TaskState::Backoff { .. } | TaskState::Leaving { .. } | TaskState::Waiting | TaskState::Running { .. } => {
            "is on its way"
        }
        TaskState::Over(_) => "is over",
    }
    .to_owned()
}

fn index(running: &Running, plan: &Plan) -> i64 {
    let before = if running.sync_fail { plan.stages.len() } else { 0 };
    i64::try_from(before + running.index + 1).unwrap_or(i64::MAX)
}

/// `Sync 1 (3/5)`; stages of SyncFail are not counted among the others.
pub(super) fn stage_text(stage: &Stage, running: &Running, plan: &Plan) -> String {
    if running.sync_fail {
        format!("{} {}", stage.phase, stage.wave)
    } else {
        format!("{} {} ({}/{})", stage.phase, stage.wave, running.index + 1, plan.stages.len())
    }
}

/// The stage where an operation ended.
pub(super) fn ended_stage(plan: &Plan, phase: api::Phase, wave: i64, since: Timestamp) -> Option<api::StageStatus> {
    let total = plan.stages.len();
    let place = plan.stages.iter().position(|stage| stage.phase == phase && stage.wave == wave);
    let (index, text) = match place {
        Some(place) => (place + 1, format!("{phase} {wave} ({}/{total})", place + 1)),
        None => {
            let place = plan.sync_fail.iter().position(|stage| stage.phase == phase && stage.wave == wave)?;
            (total + place + 1, format!("{phase} {wave}"))
        }
    };
    Some(api::StageStatus {
        phase,
        wave,
        index: i64::try_from(index).ok()?,
        total: i64::try_from(total).ok()?,
        text,
        since,
        deadline: None,
        blocked_on: Vec::new(),
        blocked_total: None,
    })
}

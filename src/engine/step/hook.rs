//! A hook: recorded, created once, watched to its end, recorded again, and only then deleted by its policy (I3).

use std::sync::Arc;

use serde_json::json;

use super::wait::{back_off, blocked, is_late, leaving, put_off, waited};
use super::{Turn, apply, peek, tidy};
use crate::engine::action::{Action, Answer, Evidence, Fault, FaultKind, Propagation, TaskId, Write};
use crate::engine::attempt::{Finish, TaskRun, TaskState, Then, Why, failed};
use crate::engine::desired::Manifest;
use crate::engine::health::{self, Completion};
use crate::engine::ledger::{HookOutcome, HookRecord, RecordStage};
use crate::engine::live::Live;
use crate::engine::membership::{HookRun, marked};
use crate::engine::object::ObjectKey;
use crate::engine::plan::{Stage, Task, recreates_passive};

/// How long the pods of a stopped hook are awaited before the next thing begins.
const DRAINING: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// Begins, or goes on where the record says.
pub(super) fn start(manifest: &Arc<Manifest>, stage: &Stage, id: TaskId, run: &mut TaskRun, turn: &mut Turn<'_>) {
    let hook = (run.key.clone(), stage.phase);
    let this = turn.operation.run(stage.phase);
    let Some(record) = turn.ledger.of_run(&hook, &this).cloned() else {
        // It was recorded when the stage began; only a full ledger drops a record.
        let record = HookRecord { run: this, stage: RecordStage::Creating, digest: manifest.content, at: turn.now() };
        let version = turn.ledger.record(hook, record);
        run.state = TaskState::Recording { version, then: Then::Create };
        return;
    };
    if let Some(outcome) = record.outcome() {
        run.note = Some("ended before the restart".to_owned());
        let outcome = outcome.clone();
        if let (RecordStage::Ended(uid, _), true) = (&record.stage, runs_to_end(manifest)) {
            tidy::owe_cleanup(manifest, &hook, uid, &outcome, 0, turn);
        }
        over(run, outcome);
        return;
    }
    if !runs_to_end(manifest) && !recreates_passive(manifest) {
        apply::start(manifest, stage, id, run, turn);
        finish_passive(manifest, stage, run, turn);
        return;
    }
    look(manifest, id, run, Why::Leftover, turn);
}

/// Takes in the answer to a write or a read of ours.
pub(super) fn answered(
    manifest: &Arc<Manifest>,
    stage: &Stage,
    id: TaskId,
    run: &mut TaskRun,
    answer: &Answer,
    turn: &mut Turn<'_>,
) {
    if let (Answer::Written(_, Err(fault)), TaskState::Writing) = (answer, &run.state)
        && fault.kind == FaultKind::Transient
    {
        turn.ledger.note_unknown_create(&run.key, turn.now());
    }
    if let Answer::Collected(_, evidence) = answer
        && peek::took(run, evidence)
    {
        judge(manifest, stage, id, run, turn);
        return;
    }
    match (answer, &run.state) {
        (Answer::Collected(_, evidence), TaskState::Collecting { .. }) => {
            collected(manifest, stage, id, run, evidence.clone(), turn);
        }
        (Answer::Written(_, result), TaskState::Stopping { uid, outcome }) => {
            let (uid, outcome) = (uid.clone(), outcome.clone());
            if let Err(fault) = result
                && matches!(fault.kind, FaultKind::Transient)
                && !is_late_by(run, turn, DRAINING)
            {
                stop(id, run, uid, outcome, turn);
                return;
            }
            let until = turn.now().checked_add(DRAINING).unwrap_or_else(|_| turn.now());
            run.state = TaskState::Draining { uid, outcome, until };
            judge(manifest, stage, id, run, turn);
        }
        (Answer::Written(_, Err(fault)), TaskState::Deleting { .. }) => refused(manifest, stage, id, run, fault, turn),
        // The leftover's delete was taken; its end is awaited.
        (Answer::Written(_, Ok(_)), TaskState::Deleting { uid }) => {
            run.state = TaskState::Leaving { uid: uid.clone() };
            judge(manifest, stage, id, run, turn);
        }
        (Answer::Written(_, result), _) if runs_to_end(manifest) => match result {
            Ok(Some(live)) => created(manifest, stage, id, run, live, turn),
            Ok(None) => judge(manifest, stage, id, run, turn),
            Err(fault) => refused(manifest, stage, id, run, fault, turn),
        },
        (Answer::Looked(_, Ok(live)), TaskState::Looking(why)) if runs_to_end(manifest) || *why == Why::Leftover => {
            let why = *why;
            looked(manifest, stage, id, run, why, live.as_ref(), turn);
        }
        (Answer::Looked(_, Err(fault)), _) => put_off(run, fault, turn),
        _ => {
            apply::answered(manifest, stage, id, run, answer, turn);
            finish_passive(manifest, stage, run, turn);
        }
    }
}

/// Judges the hook as it is seen now.
pub(super) fn judge(manifest: &Arc<Manifest>, stage: &Stage, id: TaskId, run: &mut TaskRun, turn: &mut Turn<'_>) {
    let members = turn.seen.members;
    match &run.state {
        TaskState::Recording { version, then } => {
            if turn.ledger.is_durable(*version) {
                match then.clone() {
                    Then::Create => start(manifest, stage, id, run, turn),
                    Then::End(outcome) => end(manifest, stage, run, outcome, turn),
                }
            }
        }
        TaskState::Running { uid } => {
            let uid = uid.clone();
            let live = members.get(&run.key).filter(|live| live.uid == uid).cloned();
            match live {
                Some(live) => watch(manifest, stage, id, run, &live, turn),
                None => look(manifest, id, run, Why::Vanished, turn),
            }
        }
        TaskState::Draining { uid, outcome, until } => {
            let drained = members.get(&run.key).is_none_or(|live| live.uid != *uid || live.active_pods == 0);
            if drained || turn.now() >= *until {
                let (uid, outcome) = (uid.clone(), outcome.clone());
                record_end(manifest, stage, run, &uid, outcome, turn);
            } else {
                let until = *until;
                blocked(run, "Progressing", "waits until the pods of the stopped hook are gone".to_owned(), turn.now());
                turn.wake_at(until);
            }
        }
        TaskState::Backoff { until, fault } if runs_to_end(manifest) || recreates_passive(manifest) => {
            let (until, message) = (*until, fault.message.clone());
            blocked(run, "Missing", format!("not created yet: {message}"), turn.now());
            if is_late(run, turn) {
                let cause = format!("could not be created within {}: {message}", waited(run, turn.now()));
                record_failure(manifest, stage, run, cause, turn);
            } else if turn.now() >= until {
                look(manifest, id, run, Why::Leftover, turn);
            } else {
                turn.wake_at(until);
            }
        }
        TaskState::Leaving { uid } => {
            let uid = uid.clone();
            let live = members.get(&run.key).filter(|live| live.uid == uid).cloned();
            let reason = leaving("the hook of an earlier run", live.as_deref());
            if is_late(run, turn) {
                let cause = format!("{reason}; it was not gone within {}", waited(run, turn.now()));
                record_failure(manifest, stage, run, cause, turn);
            } else if let Some(live) = live {
                blocked(run, "Missing", reason, turn.now());
                if let Some(write) = without_argo_finalizer(&run.key, &live) {
                    run.state = TaskState::Deleting { uid };
                    turn.actions.push(Action::Write { task: id, write });
                }
            } else {
                look(manifest, id, run, Why::Leftover, turn);
            }
        }
        TaskState::Waiting | TaskState::Backoff { .. } => {
            apply::judge(manifest, stage, id, run, turn);
            finish_passive(manifest, stage, run, turn);
        }
        TaskState::Held
        | TaskState::Confirming
        | TaskState::Writing
        | TaskState::Replacing
        | TaskState::Migrating
        | TaskState::Rehearsing { .. }
        | TaskState::Deleting { .. }
        | TaskState::After(_)
        | TaskState::Looking(_)
        | TaskState::Collecting { .. }
        | TaskState::Stopping { .. }
        | TaskState::Over(_) => {}
    }
}

/// Begins to gather the evidence of a hook that has failed, or that is to be stopped.
pub(super) fn collect(id: TaskId, run: &mut TaskRun, uid: Arc<str>, cause: String, stop: bool, turn: &mut Turn<'_>) {
    turn.actions.push(Action::Collect { task: id, key: run.key.clone(), uid: uid.clone() });
    run.state = TaskState::Collecting { uid, cause, stop };
}

/// Whether a task is a hook of this attempt that was begun and has not ended, as far as its record tells.
pub(super) fn may_run(task: &Task, stage: &Stage, turn: &Turn<'_>) -> bool {
    let run = turn.operation.run(stage.phase);
    let record = turn.ledger.of_run(&(tidy::named(task, &run), stage.phase), &run);
    task.is_running_hook() && record.is_some_and(|record| record.outcome().is_none())
}

/// When a hook of this attempt was created, if its record says so.
pub(super) fn created_at(key: &ObjectKey, stage: &Stage, turn: &Turn<'_>) -> Option<jiff::Timestamp> {
    let record = turn.ledger.of_run(&(key.clone(), stage.phase), &turn.operation.run(stage.phase))?;
    matches!(record.stage, RecordStage::Created(_)).then_some(record.at)
}

pub(super) fn runs_to_end(manifest: &Manifest) -> bool {
    manifest.runs_to_end
}

/// What a quorum read before (or after an unknown outcome of) the creation shows.
fn looked(
    manifest: &Arc<Manifest>,
    stage: &Stage,
    id: TaskId,
    run: &mut TaskRun,
    why: Why,
    live: Option<&Arc<Live>>,
    turn: &mut Turn<'_>,
) {
    let this = turn.operation.run(stage.phase);
    let known = turn.ledger.of_run(&(run.key.clone(), stage.phase), &this).and_then(|r| r.uid().cloned());
    match (live, why) {
        (Some(live), Why::Vanished) if known.as_ref() == Some(&live.uid) => {
            // It lives, under our uid: the label was taken away, or the view is behind. Look again until it shows.
            let until = back_off(run, None, turn.now());
            if is_late(run, turn) {
                let cause = format!("did not end within {}", waited(run, turn.now()));
                collect(id, run, live.uid.clone(), cause, true, turn);
            } else {
                watch(manifest, stage, id, run, live, turn);
                turn.wake_at(until);
            }
        }
        (None, Why::Vanished) => {
            // Really gone, without our asking: judged by its last seen state.
            match run.last_end {
                Some(true) => {
                    let outcome = HookOutcome {
                        succeeded: true,
                        message: "succeeded, and was deleted by someone else".to_owned(),
                        log: None,
                        detail: None,
                    };
                    record_end(manifest, stage, run, &known.unwrap_or_else(|| "".into()), outcome, turn);
                }
                Some(false) => {
                    record_failure(manifest, stage, run, "failed, and was deleted by someone else".to_owned(), turn);
                }
                None => {
                    record_failure(manifest, stage, run, "was deleted by someone else while it ran".to_owned(), turn);
                }
            }
        }
        (Some(live), _)
            if live.hook.as_ref() == Some(&this) && live.is_member(&turn.owner) && !runs_to_end(manifest) =>
        {
            // Applied before a restart, or by a write whose answer was lost.
            apply::start(manifest, stage, id, run, turn);
            finish_passive(manifest, stage, run, turn);
        }
        (Some(live), _) if live.hook.as_ref() == Some(&this) && live.is_member(&turn.owner) => {
            created(manifest, stage, id, run, live, turn);
        }
        (Some(_), _) if known.is_some() => {
            record_failure(
                manifest,
                stage,
                run,
                "was deleted by someone else and replaced by another object of its name".to_owned(),
                turn,
            );
        }
        (Some(live), _) => {
            if let Some(refusal) = apply::belongs_to_another(live, turn) {
                record_failure(manifest, stage, run, refusal, turn);
                return;
            }
            if turn.closing {
                run.state = TaskState::Over(Finish::Dropped);
                return;
            }
            if let Some(until) = turn.ledger.unsettled_until(&run.key, turn.now()) {
                unsettled(run, until, turn);
                is_late(run, turn);
                return;
            }
            // A leftover of another run never counts (V5): it goes, with its pods, before this one comes.
            let write = match &live.deleting {
                None => Some(Write::Delete {
                    key: run.key.clone(),
                    uid: live.uid.clone(),
                    version: None,
                    propagation: Propagation::Foreground,
                }),
                Some(_) => without_argo_finalizer(&run.key, live),
            };
            let reason = leaving("the hook of an earlier run", Some(&**live));
            blocked(run, "Missing", reason.clone(), turn.now());
            if let Some(write) = write {
                run.state = TaskState::Deleting { uid: live.uid.clone() };
                turn.actions.push(Action::Write { task: id, write });
            } else if !turn.seen.members.contains_key(&run.key) {
                // Not one of ours: no watch tells when it is gone.
                let going = Fault { kind: FaultKind::Transient, message: reason, retry_after: None };
                put_off(run, &going, turn);
            } else {
                run.state = TaskState::Leaving { uid: live.uid.clone() };
                is_late(run, turn);
            }
        }
        (None, _) if known.is_some() => {
            record_failure(manifest, stage, run, "was deleted by someone else while it ran".to_owned(), turn);
        }
        (None, _) if runs_to_end(manifest) => {
            if turn.ledger.take_inherited(&(run.key.clone(), stage.phase)) {
                turn.ledger.note_unknown_create(&run.key, turn.now());
            }
            create(manifest, id, run, &this, turn);
        }
        (None, _) => {
            apply::start(manifest, stage, id, run, turn);
            finish_passive(manifest, stage, run, turn);
        }
    }
}

/// Argo CD's finalizer on hooks; on a leftover nobody but us takes it off (V4).
const ARGO_HOOK_FINALIZER: &str = "argocd.argoproj.io/hook-finalizer";

/// Takes it off what is being deleted. The version makes a conflict of it when another finalizer has gone meanwhile.
fn without_argo_finalizer(key: &ObjectKey, live: &Live) -> Option<Write> {
    let held_by = live.deleting.as_ref().filter(|held_by| held_by.iter().any(|name| name == ARGO_HOOK_FINALIZER))?;
    let rest: Vec<_> = held_by.iter().filter(|name| *name != ARGO_HOOK_FINALIZER).collect();
    let patch = json!({"metadata": {"finalizers": rest, "resourceVersion": live.version.to_string()}});
    Some(Write::Patch { key: key.clone(), uid: live.uid.clone(), patch })
}

fn create(manifest: &Manifest, id: TaskId, run: &mut TaskRun, this: &HookRun, turn: &mut Turn<'_>) {
    if turn.closing {
        match turn.ledger.unsettled_until(&run.key, turn.now()) {
            // A create that may still be done is waited for: two migrations never run at once.
            Some(until) => unsettled(run, until, turn),
            None => run.state = TaskState::Over(Finish::Dropped),
        }
        return;
    }
    run.state = TaskState::Writing;
    let body = Arc::new(marked(&turn.owner, manifest, &run.key, Some(this)));
    let strict = manifest.settings.options.validate != Some(false);
    turn.actions.push(Action::Write { task: id, write: Write::Create { key: run.key.clone(), body, strict } });
}

/// Nothing is decided about a name while a create of unknown outcome may still be done.
fn unsettled(run: &mut TaskRun, until: jiff::Timestamp, turn: &mut Turn<'_>) {
    let message = "a create of this name was not answered and may still be done".to_owned();
    blocked(run, "Missing", message.clone(), turn.now());
    turn.wake_at(until);
    run.state = TaskState::Backoff { until, fault: Fault { kind: FaultKind::Transient, message, retry_after: None } };
}

fn created(
    manifest: &Arc<Manifest>,
    stage: &Stage,
    id: TaskId,
    run: &mut TaskRun,
    live: &Arc<Live>,
    turn: &mut Turn<'_>,
) {
    run.applied = true;
    run.tries = 0;
    run.written = Some(crate::engine::attempt::Written {
        uid: live.uid.clone(),
        version: live.version,
        moved: true,
        status: live.status,
        at: turn.now(),
    });
    let hook = (run.key.clone(), stage.phase);
    let this = turn.operation.run(stage.phase);
    if turn.ledger.of_run(&hook, &this).is_none_or(|record| record.uid().is_none()) {
        let record = HookRecord {
            run: this,
            stage: RecordStage::Created(live.uid.clone()),
            digest: manifest.content,
            at: turn.now(),
        };
        turn.ledger.record(hook, record);
    }
    watch(manifest, stage, id, run, live, turn);
}

/// Looks whether a running hook has ended.
fn watch(
    manifest: &Arc<Manifest>,
    stage: &Stage,
    id: TaskId,
    run: &mut TaskRun,
    live: &Arc<Live>,
    turn: &mut Turn<'_>,
) {
    run.state = TaskState::Running { uid: live.uid.clone() };
    match live.completion.clone() {
        Some(Completion::Succeeded) => {
            run.last_end = Some(true);
            let outcome = HookOutcome { succeeded: true, message: "succeeded".to_owned(), log: None, detail: None };
            record_end(manifest, stage, run, &live.uid, outcome, turn);
        }
        Some(Completion::Failed { reason, message }) => {
            run.last_end = Some(false);
            let said = if message.is_empty() { reason } else { message };
            collect(id, run, live.uid.clone(), format!("failed: {said}"), false, turn);
        }
        Some(Completion::Running) | None => {
            let (health, said) = match &live.verdict {
                Some(verdict) if !verdict.message.is_empty() => (word(verdict.health), verdict.message.clone()),
                _ => ("Progressing", "runs".to_owned()),
            };
            blocked(run, health, peek::with_pods(run, &said), turn.now());
            if is_late(run, turn) {
                let cause = format!("did not end within {}", waited(run, turn.now()));
                collect(id, run, live.uid.clone(), cause, true, turn);
            } else {
                peek::look(id, run, &live.uid, turn);
            }
        }
    }
}

fn word(health: health::Health) -> &'static str {
    match health {
        health::Health::Suspended => "Suspended",
        health::Health::Degraded => "Degraded",
        health::Health::Unknown => "Unknown",
        health::Health::Healthy | health::Health::Progressing | health::Health::Missing => "Progressing",
    }
}

fn refused(manifest: &Arc<Manifest>, stage: &Stage, id: TaskId, run: &mut TaskRun, fault: &Fault, turn: &mut Turn<'_>) {
    match (&run.state, fault.kind) {
        // The leftover is gone, or is another object by now.
        (TaskState::Deleting { .. }, FaultKind::NotFound | FaultKind::Conflict) => {
            look(manifest, id, run, Why::Leftover, turn);
        }
        (TaskState::Deleting { .. }, FaultKind::Transient) => put_off(run, fault, turn),
        (TaskState::Deleting { .. }, _) => {
            let cause = format!("the hook of an earlier run could not be deleted: {}", fault.message);
            record_failure(manifest, stage, run, cause, turn);
        }
        // Whose is it? It may be ours, by a create whose answer was lost.
        (_, FaultKind::Exists) => look(manifest, id, run, Why::Leftover, turn),
        (_, FaultKind::Transient) => put_off(run, fault, turn),
        (_, FaultKind::KindMissing) if manifest.kind_may_be_missing() => put_off(run, fault, turn),
        _ => record_failure(manifest, stage, run, format!("could not be created: {}", fault.message), turn),
    }
}

fn collected(
    manifest: &Arc<Manifest>,
    stage: &Stage,
    id: TaskId,
    run: &mut TaskRun,
    evidence: Evidence,
    turn: &mut Turn<'_>,
) {
    let TaskState::Collecting { uid, cause, stop: must_stop } = run.state.clone() else { return };
    let outcome = failed(&cause, evidence);
    if must_stop {
        stop(id, run, uid, outcome, turn);
    } else {
        record_end(manifest, stage, run, &uid, outcome, turn);
    }
}

/// Stops a hook that still runs: a Job by suspending it, anything else by a foreground delete.
fn stop(id: TaskId, run: &mut TaskRun, uid: Arc<str>, outcome: HookOutcome, turn: &mut Turn<'_>) {
    let write = if run.key.kind.is("batch", "Job") {
        Write::Patch { key: run.key.clone(), uid: uid.clone(), patch: json!({"spec": {"suspend": true}}) }
    } else {
        Write::Delete { key: run.key.clone(), uid: uid.clone(), version: None, propagation: Propagation::Foreground }
    };
    turn.actions.push(Action::Write { task: id, write });
    run.state = TaskState::Stopping { uid, outcome };
}

fn is_late_by(run: &TaskRun, turn: &Turn<'_>, more: jiff::SignedDuration) -> bool {
    run.deadline.and_then(|deadline| deadline.checked_add(more).ok()).is_some_and(|end| turn.now() >= end)
}

fn record_failure(manifest: &Arc<Manifest>, stage: &Stage, run: &mut TaskRun, cause: String, turn: &mut Turn<'_>) {
    let uid = run.written.as_ref().map_or_else(|| "".into(), |written| written.uid.clone());
    let outcome = HookOutcome { succeeded: false, message: cause, log: None, detail: None };
    record_end(manifest, stage, run, &uid, outcome, turn);
}

/// Records how a hook has ended; the task is over when that is durable.
fn record_end(
    manifest: &Arc<Manifest>,
    stage: &Stage,
    run: &mut TaskRun,
    uid: &Arc<str>,
    outcome: HookOutcome,
    turn: &mut Turn<'_>,
) {
    let hook = (run.key.clone(), stage.phase);
    let record = HookRecord {
        run: turn.operation.run(stage.phase),
        stage: RecordStage::Ended(uid.clone(), outcome.clone()),
        digest: manifest.content,
        at: turn.now(),
    };
    let version = turn.ledger.record(hook, record);
    run.blocked = None;
    run.state = TaskState::Recording { version, then: Then::End(outcome) };
}

/// The end is durable: the object may go now, or gets its time to live.
fn end(manifest: &Arc<Manifest>, stage: &Stage, run: &mut TaskRun, outcome: HookOutcome, turn: &mut Turn<'_>) {
    let hook = (run.key.clone(), stage.phase);
    let uid = turn.ledger.hooks().get(&hook).and_then(|record| record.uid().cloned());
    if let Some(uid) = uid.filter(|uid| !uid.is_empty() && runs_to_end(manifest)) {
        tidy::owe_cleanup(manifest, &hook, &uid, &outcome, 0, turn);
    }
    over(run, outcome);
}

fn over(run: &mut TaskRun, outcome: HookOutcome) {
    run.applied = true;
    run.state = TaskState::Over(if outcome.succeeded {
        run.note = Some(outcome.message);
        Finish::Done
    } else {
        Finish::Failed { cause: outcome.message, log: outcome.log, detail: outcome.detail }
    });
}

/// A passive hook that is over gets its record, like every other.
fn finish_passive(manifest: &Arc<Manifest>, stage: &Stage, run: &mut TaskRun, turn: &mut Turn<'_>) {
    let TaskState::Over(finish) = &run.state else { return };
    let outcome = match finish {
        Finish::Done => HookOutcome { succeeded: true, message: "applied".to_owned(), log: None, detail: None },
        Finish::Failed { cause, .. } => {
            HookOutcome { succeeded: false, message: cause.clone(), log: None, detail: None }
        }
        Finish::Skipped(_) | Finish::Dropped => return,
    };
    let uid = turn.seen.members.get(&run.key).map_or_else(|| "".into(), |live| live.uid.clone());
    record_end(manifest, stage, run, &uid, outcome, turn);
}

fn look(manifest: &Manifest, id: TaskId, run: &mut TaskRun, why: Why, turn: &mut Turn<'_>) {
    run.state = TaskState::Looking(why);
    let version = Some(manifest.version().to_owned());
    turn.actions.push(Action::Look { task: id, key: run.key.clone(), version });
}

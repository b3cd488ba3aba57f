//! A plain object: applied once, then waited for until it is healthy at the generation that we wrote (I1, I2).
//! Passive hooks go the same way.

use std::sync::Arc;

use super::verdict::{Judged, verdict};
use super::wait::{blocked, fail, is_contended, is_late, leaving, put_off, waited};
use super::{Turn, anew, hook, peek, takeover, tidy};
use crate::engine::action::{Action, Answer, Evidence, Fault, FaultKind, TaskId, Write};
use crate::engine::attempt::{Finish, TaskRun, TaskState, Then, Why, Written, failed};
use crate::engine::desired::Manifest;
use crate::engine::health;
use crate::engine::lenient::{self, Unwanted};
use crate::engine::live::Live;
use crate::engine::membership::{HookRun, Marks, marked};
use crate::engine::plan::{Stage, Work};
use crate::engine::settings::{Class, Conflicts};

/// Begins: an unchanged object is not written, one that is on its way out is waited for, every other is applied.
pub(super) fn start(manifest: &Arc<Manifest>, stage: &Stage, id: TaskId, run: &mut TaskRun, turn: &mut Turn<'_>) {
    let members = turn.seen.members;
    match members.get(&run.key) {
        Some(live) if live.deleting.is_some() => {
            run.state = TaskState::Leaving { uid: live.uid.clone() };
            judge(manifest, stage, id, run, turn);
        }
        Some(live) if is_unchanged(manifest, stage, live, turn) => {
            run.applied = true;
            run.note.get_or_insert_with(|| "unchanged".to_owned());
            run.state = TaskState::Waiting;
            judge(manifest, stage, id, run, turn);
        }
        Some(live) if live.is_member(&turn.owner) && turn.operation.options.replaces(manifest) && !run.replaced => {
            takeover::replace(manifest, stage, id, run, live.version, turn);
        }
        Some(live) if live.is_member(&turn.owner) => {
            let force = manifest.settings.conflicts == Conflicts::Force;
            apply(manifest, stage, id, run, force, None, turn);
        }
        None if tidy::ended_job(manifest, turn) => {
            run.applied = true;
            run.note = Some("ended earlier with this content".to_owned());
            run.state = TaskState::Over(Finish::Done);
        }
        _ if turn.operation.options.replaces(manifest) && !run.replaced => {
            look(manifest, id, run, Why::Replacing, turn);
        }
        // The first apply to an object that is not ours yet is not forced.
        _ => apply(manifest, stage, id, run, false, None, turn),
    }
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
    match (answer, &run.state) {
        (Answer::Written(_, Ok(Some(live))), TaskState::Replacing) => {
            run.replaced = true;
            takeover::migrate(id, run, &live.uid, turn);
        }
        (Answer::Written(_, Ok(Some(live))), TaskState::Migrating) => {
            run.migrated = true;
            apply(manifest, stage, id, run, true, Some(live.version), turn);
        }
        (Answer::Written(_, Err(fault)), TaskState::Replacing | TaskState::Migrating)
            if matches!(fault.kind, FaultKind::Conflict | FaultKind::NotFound) =>
        {
            run.replaced = false;
            if is_contended(run) {
                put_off(run, fault, turn);
            } else {
                look(manifest, id, run, Why::Replacing, turn);
            }
        }
        (Answer::Rehearsed(_, result), TaskState::Rehearsing { uid, fault }) => {
            let (uid, fault) = (uid.clone(), fault.clone());
            anew::make_anew(manifest, id, run, uid, &fault, result.as_ref().err(), turn);
        }
        (Answer::Written(_, Ok(_)), TaskState::Deleting { uid }) => {
            run.state = TaskState::Leaving { uid: uid.clone() };
            judge(manifest, stage, id, run, turn);
        }
        (Answer::Written(_, Err(fault)), TaskState::Deleting { .. }) => match fault.kind {
            FaultKind::Conflict if is_contended(run) => put_off(run, fault, turn),
            FaultKind::NotFound | FaultKind::Conflict => look(manifest, id, run, Why::Left, turn),
            _ => refused(manifest, stage, id, run, fault, turn),
        },
        (Answer::Written(_, Ok(Some(live))), _) => written(manifest, stage, id, run, live, turn),
        (Answer::Written(_, Ok(None)), _) => start(manifest, stage, id, run, turn),
        (Answer::Written(_, Err(fault)), _) => refused(manifest, stage, id, run, fault, turn),
        (Answer::Looked(_, Ok(live)), _) => looked(manifest, stage, id, run, live.as_ref(), turn),
        (Answer::Looked(_, Err(fault)), _) => {
            put_off(run, fault, turn);
        }
        (Answer::Collected(_, evidence), _) => collected(manifest, stage, id, run, evidence, turn),
        (
            Answer::Recorded(_)
            | Answer::Rights(_)
            | Answer::Rehearsed(..)
            | Answer::Refreshed(..)
            | Answer::Tidied(..),
            _,
        ) => {}
    }
}

/// Judges the object as it is seen now.
pub(super) fn judge(manifest: &Arc<Manifest>, stage: &Stage, id: TaskId, run: &mut TaskRun, turn: &mut Turn<'_>) {
    let members = turn.seen.members;
    match &run.state {
        TaskState::Backoff { until, fault } => {
            let (until, message) = (*until, fault.message.clone());
            blocked(run, "Missing", format!("not applied yet: {message}"), turn.now());
            if is_late(run, turn) {
                fail(run, format!("could not be applied within {}: {message}", waited(run, turn.now())));
            } else if turn.now() >= until {
                start(manifest, stage, id, run, turn);
            } else {
                turn.wake_at(until);
            }
        }
        TaskState::Leaving { uid } => {
            let live = members.get(&run.key).filter(|live| live.uid == *uid).cloned();
            match live {
                None => look(manifest, id, run, Why::Left, turn),
                Some(live) => {
                    let reason = leaving("the old object", Some(&*live));
                    if is_late(run, turn) {
                        fail(run, format!("{reason}; it was not gone within {}", waited(run, turn.now())));
                    } else {
                        blocked(run, "Missing", reason, turn.now());
                    }
                }
            }
        }
        TaskState::Waiting => wait(manifest, stage, id, run, turn),
        TaskState::Recording { version, then: Then::Create } if turn.ledger.is_durable(*version) => {
            start(manifest, stage, id, run, turn);
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
        | TaskState::Recording { .. }
        | TaskState::Running { .. }
        | TaskState::Collecting { .. }
        | TaskState::Stopping { .. }
        | TaskState::Draining { .. }
        | TaskState::Over(_) => {}
    }
}

fn wait(manifest: &Arc<Manifest>, stage: &Stage, id: TaskId, run: &mut TaskRun, turn: &mut Turn<'_>) {
    let members = turn.seen.members;
    let Some(live) = members.get(&run.key) else {
        look(manifest, id, run, Why::Vanished, turn);
        return;
    };
    if run.written.as_ref().is_some_and(|written| written.uid != live.uid) {
        // Made anew meanwhile, by a write whose answer was lost: what is known of the old object says nothing of this one.
        run.written = None;
    }
    run.last_end = match &live.completion {
        Some(health::Completion::Succeeded) => Some(true),
        Some(health::Completion::Failed { .. }) => Some(false),
        Some(health::Completion::Running) | None => None,
    };
    if live.deleting.is_none() && !turn.waits_for_health(stage) {
        run.blocked = None;
        run.state = TaskState::Over(Finish::Done);
        return;
    }
    match verdict(manifest, run, live, turn.now()) {
        Judged::Done(note) => {
            tidy::keep_ended_job(manifest, live, turn);
            if let Some(note) = note {
                run.note = Some(note);
            }
            run.blocked = None;
            run.state = TaskState::Over(Finish::Done);
        }
        Judged::Failed(cause) => give_up(id, run, live, cause, turn),
        Judged::Vanishing => {
            run.state = TaskState::Leaving { uid: live.uid.clone() };
            run.applied = false;
            judge(manifest, stage, id, run, turn);
        }
        Judged::Wait { health, reason, wake } => {
            blocked(run, health, peek::with_pods(run, &reason), turn.now());
            if is_late(run, turn) {
                let waited = waited(run, turn.now());
                give_up(id, run, live, format!("was not healthy within {waited}: {health}: {reason}"), turn);
                return;
            }
            if let Some(wake) = wake {
                turn.wake_at(wake);
            }
            peek::look(id, run, &live.uid, turn);
        }
    }
}

/// Fails, with what its pods and its Events say (I8).
fn give_up(id: TaskId, run: &mut TaskRun, live: &Live, cause: String, turn: &mut Turn<'_>) {
    hook::collect(id, run, live.uid.clone(), cause, false, turn);
}

fn collected(
    manifest: &Arc<Manifest>,
    stage: &Stage,
    id: TaskId,
    run: &mut TaskRun,
    evidence: &Evidence,
    turn: &mut Turn<'_>,
) {
    if peek::took(run, evidence) {
        judge(manifest, stage, id, run, turn);
    } else if let TaskState::Collecting { cause, .. } = &run.state {
        let outcome = failed(cause, evidence.clone());
        run.state =
            TaskState::Over(Finish::Failed { cause: outcome.message, log: outcome.log, detail: outcome.detail });
    }
}

fn written(
    manifest: &Arc<Manifest>,
    stage: &Stage,
    id: TaskId,
    run: &mut TaskRun,
    live: &Arc<Live>,
    turn: &mut Turn<'_>,
) {
    run.tries = 0;
    if live.deleting.is_some() {
        // The server answers 200 to an apply onto an object that is on its way out.
        run.state = TaskState::Leaving { uid: live.uid.clone() };
    } else if run.taken_from.is_some() && takeover::wants_migration(live, turn) && !run.migrated {
        // Taken over without a conflict: what the manifest does not have goes too.
        let before = run.taken_from.get_or_insert_default();
        if before.is_empty() {
            before.clone_from(&live.other_managers);
        }
        takeover::migrate(id, run, &live.uid, turn);
        return;
    } else {
        run.applied = true;
        let made_anew = std::mem::take(&mut run.recreating);
        let managers =
            run.taken_from.take().map(|before| if before.is_empty() { live.other_managers.clone() } else { before });
        let taken = managers.filter(|managers| !managers.is_empty()).map(|managers| {
            let text = format!("taken over; until now it was managed by {}", managers.join(", "));
            run.previous_managers = managers;
            text
        });
        let left_out = (!run.left_out.is_empty()).then(|| {
            let fields: Vec<_> = run.left_out.iter().map(Unwanted::text).collect();
            format!("applied without what its schema does not know (Validate=false): {}", fields.join(", "))
        });
        let notes: Vec<_> = run.note.take().filter(|_| made_anew).into_iter().chain(taken).chain(left_out).collect();
        run.note = (!notes.is_empty()).then(|| notes.join("; "));
        run.written = Some(Written {
            uid: live.uid.clone(),
            version: live.version,
            moved: true,
            status: live.status,
            at: turn.now(),
        });
        run.state = TaskState::Waiting;
    }
    judge(manifest, stage, id, run, turn);
}

fn refused(manifest: &Arc<Manifest>, stage: &Stage, id: TaskId, run: &mut TaskRun, fault: &Fault, turn: &mut Turn<'_>) {
    match fault.kind {
        FaultKind::Conflict if manifest.settings.conflicts == Conflicts::Fail => {
            fail(
                run,
                format!(
                    "another field manager owns fields of it, and {} says Fail: {}",
                    crate::api::annotations::CONFLICTS,
                    fault.message
                ),
            );
        }
        FaultKind::Conflict | FaultKind::Exists if is_contended(run) => put_off(run, fault, turn),
        FaultKind::Conflict | FaultKind::Exists => look(manifest, id, run, Why::Conflict, turn),
        FaultKind::Transient => put_off(run, fault, turn),
        FaultKind::Invalid if leave_out(manifest, run, fault) => start(manifest, stage, id, run, turn),
        // What another object of the stage still holds comes free without that (V20).
        FaultKind::Invalid
            if anew::can_be_made_anew(manifest, fault, turn)
                && run.made_anew < anew::MOST
                && (anew::is_about_the_old_one(fault) || !wait_for_the_stage(stage, run, fault)) =>
        {
            match turn.seen.members.get(&run.key).filter(|live| live.is_member(&turn.owner)) {
                Some(live) => anew::rehearse_anew(manifest, stage, id, run, live.uid.clone(), fault, turn),
                None => {
                    run.refusal = Some(fault.clone());
                    look(manifest, id, run, Why::Immutable, turn);
                }
            }
        }
        // A CRD of an earlier stage may take a moment to be served; one that a controller brings is awaited in a later stage.
        FaultKind::KindMissing if manifest.kind_may_be_missing() => put_off(run, fault, turn),
        FaultKind::NotFound | FaultKind::Forbidden | FaultKind::Invalid | FaultKind::KindMissing => {
            if matches!(run.state, TaskState::After(_)) || wait_for_the_stage(stage, run, fault) {
                return;
            }
            fail(run, format!("could not be applied: {}{}", fault.message, anew::hint(manifest, fault)));
        }
    }
}

/// Puts a refused task off for the other objects of its stage if the refusal names one, then for its prunes. False: there is nothing
/// more to wait for.
fn wait_for_the_stage(stage: &Stage, run: &mut TaskRun, fault: &Fault) -> bool {
    let others = stage.tasks.iter().any(|task| {
        !matches!(task.work, Work::Prune) && task.key != run.key && fault.message.contains(&*task.key.name)
    });
    let prunes = stage.tasks.iter().any(|task| matches!(task.work, Work::Prune));
    run.put_off = match run.put_off {
        0 if others => 1,
        0 | 1 if prunes => 2,
        _ => return false,
    };
    run.state = TaskState::After(fault.clone());
    true
}

/// Whether a refusal is about fields that may be left out, and there is one among them that was not left out before.
fn leave_out(manifest: &Manifest, run: &mut TaskRun, fault: &Fault) -> bool {
    if manifest.settings.options.validate != Some(false) {
        return false;
    }
    let known = run.left_out.len();
    for field in lenient::named(&fault.message).unwrap_or_default() {
        if !run.left_out.contains(&field) {
            run.left_out.push(field);
        }
    }
    run.left_out.len() > known
}

fn looked(
    manifest: &Arc<Manifest>,
    stage: &Stage,
    id: TaskId,
    run: &mut TaskRun,
    live: Option<&Arc<Live>>,
    turn: &mut Turn<'_>,
) {
    let TaskState::Looking(why) = run.state else { return };
    if let Some(refusal) = live.and_then(|live| belongs_to_another(live, turn)) {
        fail(run, refusal);
        return;
    }
    match (why, live) {
        (Why::Replacing, Some(live)) if live.deleting.is_none() => {
            if !live.is_member(&turn.owner) {
                run.taken_from = Some(live.other_managers.clone());
            }
            takeover::replace(manifest, stage, id, run, live.version, turn);
        }
        (Why::Immutable, Some(live)) if live.deleting.is_none() && live.is_member(&turn.owner) => {
            let fault = run.refusal.take();
            match fault {
                Some(fault) => anew::rehearse_anew(manifest, stage, id, run, live.uid.clone(), &fault, turn),
                None => apply(manifest, stage, id, run, true, Some(live.version), turn),
            }
        }
        // I6: what is not ours is not deleted, and what is not there needs not be.
        (Why::Immutable, live) if live.is_none_or(|live| live.deleting.is_none()) => {
            let refusal = run.refusal.take().map(|fault| fault.message).unwrap_or_default();
            let whose = if live.is_some() {
                "; it is no object of this Application yet, so Force=true does not delete it"
            } else {
                ""
            };
            fail(run, format!("could not be applied: {refusal}{whose}"));
        }
        (Why::Conflict, Some(live))
            if live.deleting.is_none()
                && !live.is_member(&turn.owner)
                && takeover::wants_migration(live, turn)
                && !run.migrated =>
        {
            run.taken_from = Some(live.other_managers.clone());
            if may_write(run, turn) {
                takeover::migrate(id, run, &live.uid, turn);
            }
        }
        (Why::Conflict, Some(live)) if live.deleting.is_none() => {
            run.taken_from = Some(live.other_managers.clone());
            apply(manifest, stage, id, run, true, Some(live.version), turn);
        }
        // It was there all the time: the label had gone, or the view was behind.
        (Why::Vanished, Some(live)) if live.deleting.is_none() => {
            apply(manifest, stage, id, run, true, Some(live.version), turn);
        }
        (Why::Vanished, None) if is_ended_job(manifest, run) => run.state = TaskState::Over(Finish::Done),
        (Why::Vanished, None) if run.reapplied => {
            fail(run, "was deleted by someone else, and again after it was applied anew".to_owned());
        }
        (Why::Vanished, None) => {
            run.reapplied = true;
            apply(manifest, stage, id, run, false, None, turn);
        }
        (_, Some(live)) if live.deleting.is_some() && !turn.seen.members.contains_key(&run.key) => {
            // Not one of ours: no watch tells when it is gone.
            let reason = leaving("the old object", Some(&**live));
            blocked(run, "Missing", reason.clone(), turn.now());
            put_off(run, &Fault { kind: FaultKind::Transient, message: reason, retry_after: None }, turn);
        }
        (_, Some(live)) if live.deleting.is_some() => {
            run.state = TaskState::Leaving { uid: live.uid.clone() };
            judge(manifest, stage, id, run, turn);
        }
        (_, Some(live)) => apply(manifest, stage, id, run, live.is_member(&turn.owner), None, turn),
        (_, None) => apply(manifest, stage, id, run, false, None, turn),
    }
}

/// A plain Job that was seen to end well stays done when it is gone (V19).
fn is_ended_job(manifest: &Manifest, run: &TaskRun) -> bool {
    manifest.runs_to_end && run.last_end == Some(true)
}

/// Why an object of another Application is left alone (I6, V25).
pub(super) fn belongs_to_another(live: &Live, turn: &Turn<'_>) -> Option<String> {
    let id = match &live.marks {
        Marks::Member { id, .. } | Marks::Stray(id) => id,
        Marks::None => return None,
    };
    if *id == turn.owner.membership_id() || live.adopt_by.as_deref() == Some(&*turn.owner.to_string()) {
        return None;
    }
    let said = live.adopt_by.as_ref().map(|said| format!(" (it says {said:?} now)")).unwrap_or_default();
    let other = (turn.seen.name_of)(id).unwrap_or_else(|| format!("with the membership id {id}"));
    Some(format!(
        "belongs to the Application {other}; take it out of one of the two, or hand it over by annotating the live object with {}={}{said}",
        crate::api::annotations::ADOPT_BY,
        turn.owner
    ))
}

fn is_unchanged(manifest: &Manifest, stage: &Stage, live: &Live, turn: &Turn<'_>) -> bool {
    turn.is_carried(manifest, live)
        && match hook_run(manifest, stage, turn) {
            Some(run) => live.hook.as_ref() == Some(&run),
            None => live.hook.is_none(),
        }
}

/// The run that goes onto the object, if the manifest is a hook.
pub(super) fn hook_run(manifest: &Manifest, stage: &Stage, turn: &Turn<'_>) -> Option<HookRun> {
    matches!(manifest.settings.class, Class::Hook(_)).then(|| turn.operation.run(stage.phase))
}

fn apply(
    manifest: &Manifest,
    stage: &Stage,
    id: TaskId,
    run: &mut TaskRun,
    force: bool,
    version: Option<u64>,
    turn: &mut Turn<'_>,
) {
    if !may_write(run, turn) {
        return;
    }
    let hook_run = hook_run(manifest, stage, turn);
    run.state = TaskState::Writing;
    let is_ours = turn.seen.members.get(&run.key).is_some_and(|live| live.is_member(&turn.owner));
    if is_ours && !run.migrated {
        run.taken_from = None;
    } else {
        run.taken_from.get_or_insert_default();
    }
    turn.actions.push(Action::Write {
        task: id,
        write: Write::Apply {
            key: run.key.clone(),
            body: Arc::new(lenient::without(marked(&turn.owner, manifest, &run.key, hook_run.as_ref()), &run.left_out)),
            force,
            version,
            strict: manifest.settings.options.validate != Some(false),
            // A hook is made as its manifest says.
            keeps: if hook_run.is_some() { None } else { turn.keeps(manifest) },
        },
    });
}

/// Whether a write may go out now: not when the stage winds down, unless something was deleted to be made anew, and not before it is
/// durable that the attempt has written.
pub(super) fn may_write(run: &mut TaskRun, turn: &mut Turn<'_>) -> bool {
    if turn.closing && !run.recreating {
        run.state = TaskState::Over(Finish::Dropped);
        return false;
    }
    let durable_first = turn.ledger.note_first_write(turn.now());
    if durable_first > 0 {
        // Nothing was to be written when the stage began (I4): it is noted before the write all the same.
        run.state = TaskState::Recording { version: durable_first, then: Then::Create };
        return false;
    }
    true
}

pub(super) fn look(manifest: &Manifest, id: TaskId, run: &mut TaskRun, why: Why, turn: &mut Turn<'_>) {
    run.state = TaskState::Looking(why);
    let version = Some(manifest.version().to_owned());
    turn.actions.push(Action::Look { task: id, key: run.key.clone(), version });
}

//! A prune: a member that is no longer wanted is deleted with its uid and resourceVersion, and awaited until it is gone.

use super::Turn;
use super::wait::{blocked, fail, is_contended, is_late, leaving, put_off, waited};
use crate::api::annotations as keys;
use crate::engine::action::{Action, Answer, Fault, FaultKind, Propagation, TaskId, Write};
use crate::engine::attempt::{Finish, TaskRun, TaskState, Why};
use crate::engine::live::Live;
use crate::engine::plan::Task;

/// Begins: what is gone already is done, what is not ours any more is left alone.
pub(super) fn start(task: &Task, id: TaskId, run: &mut TaskRun, turn: &mut Turn<'_>) {
    let members = turn.seen.members;
    match members.get(&run.key) {
        None => done(run, "was gone already"),
        Some(live) => delete(task, id, run, live, turn),
    }
}

/// Takes in the answer to a write or a read of ours.
pub(super) fn answered(task: &Task, id: TaskId, run: &mut TaskRun, answer: &Answer, turn: &mut Turn<'_>) {
    match answer {
        Answer::Written(_, Ok(_)) => {
            if let TaskState::Deleting { uid } = &run.state {
                run.state = TaskState::Leaving { uid: uid.clone() };
            }
            judge(task, id, run, turn);
        }
        Answer::Written(_, Err(fault)) => refused(id, run, fault, turn),
        Answer::Looked(_, Ok(None)) => done(run, "pruned"),
        Answer::Looked(_, Ok(Some(live))) => delete(task, id, run, live, turn),
        Answer::Looked(_, Err(fault)) => put_off(run, fault, turn),
        Answer::Recorded(_)
        | Answer::Rights(_)
        | Answer::Rehearsed(..)
        | Answer::Refreshed(..)
        | Answer::Collected(..)
        | Answer::Tidied(..) => {}
    }
}

/// Judges the object as it is seen now.
pub(super) fn judge(task: &Task, id: TaskId, run: &mut TaskRun, turn: &mut Turn<'_>) {
    let members = turn.seen.members;
    match &run.state {
        TaskState::Confirming => {
            if turn.seen.approved {
                start(task, id, run, turn);
            } else if is_late(run, turn) {
                fail(run, format!("was not confirmed within {}; {}", waited(run, turn.now()), how_to_confirm(turn)));
            }
        }
        TaskState::Leaving { uid } => {
            let live = members.get(&run.key).filter(|live| live.uid == *uid).cloned();
            let Some(live) = live else {
                look(id, run, turn);
                return;
            };
            if is_held_by_another_policy(&live, turn) && !run.reissued {
                run.reissued = true;
                send(id, run, &live, None, turn);
                return;
            }
            let reason = leaving("the object", Some(&*live));
            if is_late(run, turn) {
                fail(run, format!("{reason}; it was not gone within {}", waited(run, turn.now())));
            } else {
                blocked(run, "Progressing", reason, turn.now());
            }
        }
        TaskState::Backoff { until, fault } => {
            let (until, message) = (*until, fault.message.clone());
            blocked(run, "Progressing", format!("not deleted yet: {message}"), turn.now());
            if is_late(run, turn) {
                fail(run, format!("could not be deleted within {}: {message}", waited(run, turn.now())));
            } else if turn.now() >= until {
                look(id, run, turn);
            } else {
                turn.wake_at(until);
            }
        }
        TaskState::Held
        | TaskState::Writing
        | TaskState::Replacing
        | TaskState::Migrating
        | TaskState::Rehearsing { .. }
        | TaskState::Deleting { .. }
        | TaskState::After(_)
        | TaskState::Looking(_)
        | TaskState::Waiting
        | TaskState::Recording { .. }
        | TaskState::Running { .. }
        | TaskState::Collecting { .. }
        | TaskState::Stopping { .. }
        | TaskState::Draining { .. }
        | TaskState::Over(_) => {}
    }
}

fn delete(task: &Task, id: TaskId, run: &mut TaskRun, live: &Live, turn: &mut Turn<'_>) {
    if !live.is_member(&turn.owner) {
        done(run, "left alone: it is not a member of this Application any more");
        return;
    }
    if turn.closing {
        run.state = TaskState::Over(Finish::Dropped);
        return;
    }
    if live.deleting.is_some() {
        run.state = TaskState::Leaving { uid: live.uid.clone() };
        judge(task, id, run, turn);
        return;
    }
    if let Some(reason) = holds_others(run, turn) {
        run.applied = true;
        run.state = TaskState::Over(Finish::Skipped(reason));
        return;
    }
    if task.prune.confirmed_first && !turn.seen.approved {
        blocked(run, "Suspended", format!("waits for a person's confirmation; {}", how_to_confirm(turn)), turn.now());
        run.state = TaskState::Confirming;
        is_late(run, turn);
        return;
    }
    send(id, run, live, Some(live.version), turn);
}

fn send(id: TaskId, run: &mut TaskRun, live: &Live, version: Option<u64>, turn: &mut Turn<'_>) {
    let propagation = turn.operation.options.propagation;
    let write = Write::Delete { key: run.key.clone(), uid: live.uid.clone(), version, propagation };
    turn.actions.push(Action::Write { task: id, write });
    run.state = TaskState::Deleting { uid: live.uid.clone() };
    blocked(run, "Progressing", "is being deleted".to_owned(), turn.now());
}

/// V27: with a Namespace the objects of other Applications in it would go along.
fn holds_others(run: &TaskRun, turn: &Turn<'_>) -> Option<String> {
    let name = run.key.kind.is("", "Namespace").then_some(&*run.key.name)?;
    let other = turn.seen.tenants.get(name)?;
    Some(format!("kept: the Application {other} has objects in this namespace, which would go along"))
}

/// F72: a delete that waits for dependents goes on under another policy only when it is asked for again.
fn is_held_by_another_policy(live: &Live, turn: &Turn<'_>) -> bool {
    turn.operation.options.propagation != Propagation::Foreground
        && live.deleting.iter().flatten().any(|finalizer| finalizer == "foregroundDeletion")
}

fn how_to_confirm(turn: &Turn<'_>) -> String {
    format!(
        "to confirm: kubectl annotate --overwrite swapp {} --namespace {} {}=$(date -u +%Y-%m-%dT%H:%M:%SZ)",
        turn.owner.name(),
        turn.owner.namespace(),
        keys::ARGO_DELETION_APPROVED
    )
}

fn refused(id: TaskId, run: &mut TaskRun, fault: &Fault, turn: &mut Turn<'_>) {
    match fault.kind {
        FaultKind::NotFound | FaultKind::KindMissing => done(run, "pruned"),
        // It has changed since we saw it: look again, then decide.
        FaultKind::Conflict | FaultKind::Exists if is_contended(run) => put_off(run, fault, turn),
        FaultKind::Conflict | FaultKind::Exists => look(id, run, turn),
        FaultKind::Transient => put_off(run, fault, turn),
        FaultKind::Forbidden | FaultKind::Invalid => fail(run, format!("could not be deleted: {}", fault.message)),
    }
}

fn look(id: TaskId, run: &mut TaskRun, turn: &mut Turn<'_>) {
    run.state = TaskState::Looking(Why::Deleting);
    turn.actions.push(Action::Look { task: id, key: run.key.clone(), version: None });
}

fn done(run: &mut TaskRun, note: &str) {
    run.applied = true;
    run.note = Some(note.to_owned());
    run.state = TaskState::Over(Finish::Done);
}

//! The destination's Namespace, where the Application asks for it: created if it is missing, given its labels and annotations if any are
//! asked for, and never a member (O10): it is neither pruned nor deleted with the Application.

use std::sync::Arc;

use super::Turn;
use super::apply::belongs_to_another;
use super::wait::{blocked, is_late, leaving, put_off, waited};
use crate::engine::action::{Action, Answer, Fault, FaultKind, TaskId, Write};
use crate::engine::attempt::{Finish, TaskRun, TaskState, Why};
use crate::engine::desired::Manifest;
use crate::engine::live::Live;
use crate::engine::object::ObjectKey;

/// Begins: nobody watches what is no member, so it is looked at.
pub(super) fn start(manifest: &Manifest, id: TaskId, run: &mut TaskRun, turn: &mut Turn<'_>) {
    run.state = TaskState::Looking(Why::Leftover);
    let version = Some(manifest.version().to_owned());
    turn.actions.push(Action::Look { task: id, key: run.key.clone(), version });
}

/// Takes in the answer to a write or a read of ours.
pub(super) fn answered(manifest: &Arc<Manifest>, id: TaskId, run: &mut TaskRun, answer: &Answer, turn: &mut Turn<'_>) {
    match answer {
        // An apply onto an object that is on its way out is answered as if nothing were wrong.
        Answer::Looked(_, Ok(Some(live))) | Answer::Written(_, Ok(Some(live))) if live.deleting.is_some() => {
            wait_until_gone(run, live, turn);
        }
        Answer::Looked(_, Ok(Some(_))) if !has_metadata(manifest) => done(run, "was there already"),
        Answer::Looked(_, Ok(_)) if turn.closing => run.state = TaskState::Over(Finish::Dropped),
        Answer::Looked(_, Ok(live)) => {
            let note = if live.is_some() { "labels and annotations applied" } else { "created" };
            run.note = Some(note.to_owned());
            // I6: what another Application has set on its Namespace is its own.
            run.refusal = live.as_ref().and_then(|live| belongs_to_another(live, turn)).map(|message| Fault {
                kind: FaultKind::Conflict,
                message,
                retry_after: None,
            });
            run.state = TaskState::Writing;
            let write = write(manifest, &run.key, run.refusal.is_none());
            turn.actions.push(Action::Write { task: id, write });
        }
        Answer::Written(_, Ok(_)) => {
            let note = run.note.take().unwrap_or_default();
            done(run, &note);
        }
        Answer::Looked(_, Err(fault)) => put_off(run, fault, turn),
        Answer::Written(_, Err(fault)) => match fault.kind {
            FaultKind::Conflict if run.refusal.is_some() => {
                let whose = run.refusal.take().map(|refusal| refusal.message).unwrap_or_default();
                let cause =
                    format!("managedNamespaceMetadata would change what is set already: {}; {whose}", fault.message);
                run.state = TaskState::Over(Finish::Failed { cause, log: None, detail: None });
            }
            FaultKind::Conflict | FaultKind::Exists | FaultKind::Transient => put_off(run, fault, turn),
            FaultKind::NotFound | FaultKind::KindMissing | FaultKind::Forbidden | FaultKind::Invalid => {
                let cause = format!("could not be created: {}", fault.message);
                run.state = TaskState::Over(Finish::Failed { cause, log: None, detail: None });
            }
        },
        Answer::Recorded(_)
        | Answer::Rights(_)
        | Answer::Rehearsed(..)
        | Answer::Collected(..)
        | Answer::Refreshed(..)
        | Answer::Tidied(..) => {}
    }
}

/// Looks again when its time has come, until the deadline.
pub(super) fn judge(manifest: &Arc<Manifest>, id: TaskId, run: &mut TaskRun, turn: &mut Turn<'_>) {
    let TaskState::Backoff { until, fault } = &run.state else { return };
    let (until, message) = (*until, fault.message.clone());
    blocked(run, "Missing", message.clone(), turn.now());
    if is_late(run, turn) {
        let cause = format!("was not there within {}: {message}", waited(run, turn.now()));
        run.state = TaskState::Over(Finish::Failed { cause, log: None, detail: None });
    } else if turn.now() >= until {
        start(manifest, id, run, turn);
    } else {
        turn.wake_at(until);
    }
}

/// The write: what other tools have put onto the Namespace stays. `force`: values of the same labels and annotations do not.
pub(super) fn write(manifest: &Arc<Manifest>, key: &ObjectKey, force: bool) -> Write {
    Write::Apply {
        key: key.clone(),
        body: Arc::new(manifest.body.clone()),
        force,
        version: None,
        strict: true,
        keeps: None,
    }
}

/// F66: a Namespace on its way out is awaited, then made anew.
fn wait_until_gone(run: &mut TaskRun, live: &Live, turn: &mut Turn<'_>) {
    let message = leaving("the old namespace", Some(live));
    put_off(run, &Fault { kind: FaultKind::Transient, message: message.clone(), retry_after: None }, turn);
    blocked(run, "Missing", message, turn.now());
}

fn has_metadata(manifest: &Manifest) -> bool {
    ["/metadata/labels", "/metadata/annotations"].iter().any(|field| manifest.body.pointer(field).is_some())
}

fn done(run: &mut TaskRun, note: &str) {
    run.applied = true;
    run.note = Some(note.to_owned());
    run.state = TaskState::Over(Finish::Done);
}

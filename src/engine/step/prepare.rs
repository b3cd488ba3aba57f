//! Before the first write: the check of rights, and the rehearsal of what will change.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Turn, anew, apply, enter, namespace};
use crate::engine::action::{Action, Answer, Fault, FaultKind, TaskId, Write};
use crate::engine::attempt::{Attempt, Course, Ending};
use crate::engine::kinds::Known;
use crate::engine::membership::marked;
use crate::engine::object::ObjectKey;
use crate::engine::plan::{Task, Work};
use crate::engine::rights;
use crate::engine::settings::{Conflicts, Phase};

/// Moves the preparation on.
pub(super) fn advance(
    course: Course,
    attempt: &mut Attempt,
    turn: &mut Turn<'_>,
    fresh: Option<Vec<&Answer>>,
) -> (Course, bool) {
    match course {
        Course::Begin => {
            let needed = rights::needed(turn.plan, turn.seen.kinds, &attempt.operation.options);
            if needed.is_empty() {
                return (rehearse(attempt, turn), true);
            }
            turn.actions.push(Action::CheckRights(needed));
            (Course::Rights, false)
        }
        Course::Rights => {
            for answer in fresh.into_iter().flatten() {
                if let Answer::Rights(result) = answer {
                    return match result {
                        Ok(missing) if missing.is_empty() => (rehearse(attempt, turn), true),
                        Ok(missing) => {
                            attempt.denied = true;
                            let all: Vec<_> = missing.iter().map(ToString::to_string).collect();
                            (fail(attempt, format!("nothing was written: {}", all.join("; "))), true)
                        }
                        Err(fault) => (
                            fail(
                                attempt,
                                format!("nothing was written: the check of rights failed: {}", fault.message),
                            ),
                            true,
                        ),
                    };
                }
            }
            (Course::Rights, false)
        }
        Course::Rehearsal { mut open, mut refused } => {
            for answer in fresh.into_iter().flatten() {
                match answer {
                    Answer::Rehearsed(id, result) if open.contains_key(id) => {
                        let Some((phase, task)) = task(*id, turn) else { continue };
                        match result {
                            Err(fault) if fault.kind == FaultKind::Transient && may_ask_again(&mut open, *id) => {
                                if let Some(write) = rehearsal(task, phase, attempt, turn) {
                                    turn.actions.push(Action::Rehearse { task: *id, write });
                                    continue;
                                }
                            }
                            // It cannot be changed, but might be made anew: then it is that which is tried.
                            Err(fault) if anew::may_be_made_anew(task, fault, turn) && open.get(id) != Some(&ANEW) => {
                                open.insert(*id, ANEW);
                                if let Some(write) =
                                    anew::under_an_unused_name(task, &attempt.operation.run(phase), turn)
                                {
                                    turn.actions.push(Action::Rehearse { task: *id, write });
                                    continue;
                                }
                            }
                            // Somebody owns a field: nobody's objects are taken over, another Application's are not.
                            Err(fault) if fault.kind == FaultKind::Conflict && !asks_to_fail_on_conflict(task) => {
                                turn.actions.push(look(*id, task));
                                continue;
                            }
                            Err(fault) => refused.extend(refusal(task, fault, turn)),
                            Ok(()) => {}
                        }
                        open.remove(id);
                    }
                    Answer::Looked(id, live) if open.contains_key(id) => {
                        let Some((_, task)) = task(*id, turn) else { continue };
                        if live.is_err() && may_ask_again(&mut open, *id) {
                            turn.actions.push(look(*id, task));
                            continue;
                        }
                        open.remove(id);
                        // What cannot be read now is looked at again when the stage comes.
                        let live = live.as_ref().ok().and_then(Option::as_ref);
                        let refusal = live.and_then(|live| apply::belongs_to_another(live, turn));
                        refused.extend(refusal.map(|refusal| format!("{}: {refusal}", task.key)));
                    }
                    Answer::Recorded(_)
                    | Answer::Rights(_)
                    | Answer::Rehearsed(..)
                    | Answer::Written(..)
                    | Answer::Looked(..)
                    | Answer::Collected(..)
                    | Answer::Tidied(..) => {}
                }
            }
            if !open.is_empty() {
                return (Course::Rehearsal { open, refused }, false);
            }
            if refused.is_empty() {
                return (enter(0, turn), true);
            }
            refused.sort();
            (fail(attempt, format!("nothing was written: the rehearsal was refused: {}", refused.join("; "))), true)
        }
        // The others are not of the preparation.
        other @ (Course::Stage(_) | Course::SyncFail(_) | Course::Tidying { .. } | Course::Ended(_)) => (other, false),
    }
}

fn fail(attempt: &mut Attempt, cause: String) -> Course {
    attempt.failure = Some(cause.clone());
    Course::Ended(Ending::Failed(cause))
}

fn rehearse(attempt: &Attempt, turn: &mut Turn<'_>) -> Course {
    // An attempt that has written already was rehearsed before the restart.
    if !turn.plan.needs_rehearsal() || turn.ledger.first_write().is_some() {
        return enter(0, turn);
    }
    let mut open = BTreeMap::new();
    let stages = turn.plan.stages.iter().enumerate().map(|(i, s)| (false, i, s));
    let sync_fail = turn.plan.sync_fail.iter().enumerate().map(|(i, s)| (true, i, s));
    for (sync_fail, index, stage) in stages.chain(sync_fail) {
        for (place, task) in stage.tasks.iter().enumerate() {
            let id = TaskId { sync_fail, stage: index, task: place };
            if let Some(write) = rehearsal(task, stage.phase, attempt, turn) {
                open.insert(id, 0);
                turn.actions.push(Action::Rehearse { task: id, write });
            }
        }
    }
    Course::Rehearsal { open, refused: Vec::new() }
}

/// The write that is tried; none for what will not change, or for a kind that is not served yet.
fn rehearsal(task: &Task, phase: Phase, attempt: &Attempt, turn: &Turn<'_>) -> Option<Write> {
    let live = turn.seen.members.get(&task.key);
    match &task.work {
        Work::Prune => {
            let live = live?;
            Some(Write::Delete {
                key: task.key.clone(),
                uid: live.uid.clone(),
                version: None,
                propagation: turn.operation.options.propagation,
            })
        }
        Work::Namespace(manifest) => Some(namespace::write(manifest, &task.key)),
        Work::Apply(manifest) => {
            if live.is_some_and(|live| live.carries(&manifest.body, manifest.content)) {
                return None;
            }
            known(task, turn)?;
            Some(Write::Apply {
                key: task.key.clone(),
                body: Arc::new(marked(&turn.owner, manifest, &task.key, None)),
                force: manifest.settings.conflicts == Conflicts::Force && live.is_some(),
                version: None,
                strict: manifest.settings.options.validate != Some(false),
            })
        }
        Work::Hook(manifest) => {
            known(task, turn)?;
            let run = attempt.operation.run(phase);
            if task.is_running_hook() || manifest.generate_name.is_some() {
                // A leftover is no objection.
                anew::under_an_unused_name(task, &run, turn)
            } else {
                Some(Write::Apply {
                    key: task.key.clone(),
                    body: Arc::new(marked(&turn.owner, manifest, &task.key, Some(&run))),
                    force: live.is_some(),
                    version: None,
                    strict: manifest.settings.options.validate != Some(false),
                })
            }
        }
    }
}

fn known(task: &Task, turn: &Turn<'_>) -> Option<()> {
    let manifest = task.manifest()?;
    matches!(turn.seen.kinds.at_version(&task.key.kind, manifest.version()), Known::Served(_)).then_some(())
}

fn task<'a>(id: TaskId, turn: &Turn<'a>) -> Option<(Phase, &'a Task)> {
    let stages = if id.sync_fail { &turn.plan.sync_fail } else { &turn.plan.stages };
    let stage = stages.get(id.stage)?;
    Some((stage.phase, stage.tasks.get(id.task)?))
}

fn look(id: TaskId, task: &Task) -> Action {
    let version = task.manifest().map(|manifest| manifest.version().to_owned());
    Action::Look { task: id, key: task.key.clone(), version }
}

/// Stands for the number of tries of a task that is rehearsed as if it were made anew.
const ANEW: u8 = u8::MAX;

/// An answer that was lost says nothing: it is asked for again, twice; then the stage decides.
fn may_ask_again(open: &mut BTreeMap<TaskId, u8>, id: TaskId) -> bool {
    open.get_mut(&id).is_some_and(|asked| {
        *asked = asked.saturating_add(1);
        *asked <= 2
    })
}

/// The words of a *no*; nothing for *cannot say*, which is decided when the stage comes.
fn refusal(task: &Task, fault: &Fault, turn: &Turn<'_>) -> Option<String> {
    let cannot_say = match fault.kind {
        FaultKind::Transient | FaultKind::KindMissing | FaultKind::Exists => true,
        FaultKind::Conflict => false,
        FaultKind::NotFound => {
            task.key.namespace.as_ref().is_some_and(|ns| brings_namespace(turn, ns)) || matches!(task.work, Work::Prune)
        }
        FaultKind::Forbidden | FaultKind::Invalid => {
            fault.message.contains("exceeded quota")
                || fault.message.contains("is being terminated")
                || fault.message.contains("dryRun")
                || names_something_of_the_plan(turn, &task.key, &fault.message)
        }
    };
    (!cannot_say).then(|| format!("{}: {}", task.key, fault.message))
}

fn asks_to_fail_on_conflict(task: &Task) -> bool {
    task.manifest().is_some_and(|manifest| manifest.settings.conflicts == Conflicts::Fail)
}

fn brings_namespace(turn: &Turn<'_>, namespace: &str) -> bool {
    turn.plan.tasks().any(|task| task.key.kind.is("", "Namespace") && &*task.key.name == namespace)
}

/// Whether a refusal is about something that this plan creates, replaces or prunes (its service account, CRD, namespace, port).
fn names_something_of_the_plan(turn: &Turn<'_>, key: &ObjectKey, message: &str) -> bool {
    if message.contains("already allocated") || message.contains("is already in use") {
        return turn.plan.tasks().any(|task| matches!(task.work, Work::Prune));
    }
    if !(message.contains("not found") || message.contains("no matches")) {
        return false;
    }
    turn.plan
        .tasks()
        .any(|task| task.key != *key && message.contains(&*task.key.name) && !matches!(task.work, Work::Prune))
}

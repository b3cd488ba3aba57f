//! The rehearsal: a server-side dry run of what a plan will change, before its first write. It answers *yes*, *no* or *cannot say*; only
//! *no* stops. A dry run that somebody asked for ends with it, and tells what each stage would do.

use std::sync::Arc;

use super::prepare::fail;
use super::{Turn, anew, apply, enter, namespace};
use crate::engine::action::{Action, Answer, Fault, FaultKind, TaskId, Write};
use crate::engine::attempt::{Attempt, Course, Ending, Finish, Rehearsal, Row, What};
use crate::engine::kinds::Known;
use crate::engine::lenient;
use crate::engine::membership::marked;
use crate::engine::object::ObjectKey;
use crate::engine::plan::{Stage, Task, Work};
use crate::engine::settings::{Conflicts, Phase};

/// Begins; a plan that needs no rehearsal goes on with its first stage.
pub(super) fn begin(attempt: &mut Attempt, turn: &mut Turn<'_>) -> Course {
    // An attempt that has written already was rehearsed before the restart.
    let needless = !turn.plan.needs_rehearsal() || turn.ledger.first_write().is_some();
    if needless && !attempt.operation.options.dry_run {
        return enter(0, turn);
    }
    let mut rehearsal = Rehearsal::default();
    for (id, stage, task) in tasks(turn) {
        if let Some(write) = write(task, stage.phase, attempt, turn) {
            rehearsal.open.insert(id, 0);
            turn.actions.push(Action::Rehearse { task: id, write });
        } else if task.manifest().is_some() && known(task, turn).is_none() {
            rehearsal.unsure.insert(id);
        }
    }
    if rehearsal.open.is_empty() { end(&rehearsal, attempt, turn) } else { Course::Rehearsal(rehearsal) }
}

/// Moves the rehearsal on.
pub(super) fn advance(
    mut rehearsal: Rehearsal,
    attempt: &mut Attempt,
    turn: &mut Turn<'_>,
    fresh: Option<Vec<&Answer>>,
) -> (Course, bool) {
    for answer in fresh.into_iter().flatten() {
        match answer {
            Answer::Rehearsed(id, result) if rehearsal.open.contains_key(id) => {
                rehearsed(*id, result, &mut rehearsal, attempt, turn);
            }
            Answer::Looked(id, live) if rehearsal.open.contains_key(id) => {
                let Some((_, task)) = task(*id, turn) else { continue };
                if live.is_err() && may_ask_again(&mut rehearsal, *id) {
                    turn.actions.push(look(*id, task));
                    continue;
                }
                rehearsal.open.remove(id);
                // What cannot be read now is looked at again when the stage comes.
                let live = live.as_ref().ok().and_then(Option::as_ref);
                if let Some(refusal) = live.and_then(|live| apply::belongs_to_another(live, turn)) {
                    rehearsal.refused.insert(*id, refusal);
                }
            }
            Answer::Recorded(_)
            | Answer::Rights(_)
            | Answer::Rehearsed(..)
            | Answer::Written(..)
            | Answer::Looked(..)
            | Answer::Collected(..)
            | Answer::Refreshed(..)
            | Answer::Tidied(..) => {}
        }
    }
    if rehearsal.open.is_empty() {
        (end(&rehearsal, attempt, turn), true)
    } else {
        (Course::Rehearsal(rehearsal), false)
    }
}

/// Takes in the answer to a dry run.
fn rehearsed(
    id: TaskId,
    result: &Result<(), Fault>,
    rehearsal: &mut Rehearsal,
    attempt: &Attempt,
    turn: &mut Turn<'_>,
) {
    let Some((phase, task)) = task(id, turn) else { return };
    let again = match result {
        Err(fault) if fault.kind == FaultKind::Transient && may_ask_again(rehearsal, id) => {
            let anew = rehearsal.anew.contains(&id);
            let hook = attempt.operation.run(phase);
            let again =
                if anew { anew::under_an_unused_name(task, &hook, turn) } else { write(task, phase, attempt, turn) };
            again.map(|write| Action::Rehearse { task: id, write })
        }
        // It cannot be changed, but might be made anew: then it is that which is tried.
        Err(fault) if anew::may_be_made_anew(task, fault, turn) && rehearsal.anew.insert(id) => {
            let write = anew::under_an_unused_name(task, &attempt.operation.run(phase), turn);
            write.map(|write| Action::Rehearse { task: id, write })
        }
        // Somebody owns a field: nobody's objects are taken over, another Application's are not.
        Err(fault) if fault.kind == FaultKind::Conflict && !asks_to_fail_on_conflict(task) => Some(look(id, task)),
        // What may be left out is left out when the stage comes.
        Err(fault) if is_lenient(task) && lenient::named(&fault.message).is_some() => None,
        Err(fault) if cannot_say(task, fault, turn) => {
            rehearsal.unsure.insert(id);
            None
        }
        Err(fault) => {
            rehearsal.refused.insert(id, fault.message.clone());
            None
        }
        Ok(()) => None,
    };
    match again {
        Some(action) => turn.actions.push(action),
        None => {
            rehearsal.open.remove(&id);
        }
    }
}

/// Every answer is there.
fn end(rehearsal: &Rehearsal, attempt: &mut Attempt, turn: &mut Turn<'_>) -> Course {
    let mut refused: Vec<_> = rehearsal
        .refused
        .iter()
        .filter_map(|(id, cause)| Some(format!("{}: {cause}", task(*id, turn)?.1.key)))
        .collect();
    refused.sort();
    let is_dry_run = attempt.operation.options.dry_run;
    if is_dry_run {
        attempt.rows = tasks(turn).map(|(id, stage, task)| previewed(id, stage, task, rehearsal, turn)).collect();
    }
    match (refused.is_empty(), is_dry_run) {
        (true, true) => Course::Ended(Ending::Succeeded),
        (true, false) => enter(0, turn),
        (false, _) => fail(attempt, format!("nothing was written: the rehearsal was refused: {}", refused.join("; "))),
    }
}

/// The row of a dry run: what would be done with the object.
fn previewed(id: TaskId, stage: &Stage, task: &Task, rehearsal: &Rehearsal, turn: &Turn<'_>) -> Row {
    let live = turn.seen.members.get(&task.key);
    let would = match (&task.work, live) {
        (Work::Namespace(_), _) => "would be created if it is missing",
        (Work::Prune, _) if task.prune.confirmed_first => "would be deleted once a person has confirmed it",
        (Work::Prune, _) => "would be deleted",
        (Work::Hook(_), _) if task.is_running_hook() => "would run",
        (Work::Hook(_), _) => "would be applied",
        (Work::Apply(manifest), Some(live)) if turn.is_carried(manifest, live) => "unchanged",
        (Work::Apply(_), Some(_)) if rehearsal.anew.contains(&id) => "would be deleted and made anew",
        (Work::Apply(_), Some(_)) => "would be changed",
        (Work::Apply(_), None) => "would be created, or taken over if it is there",
    };
    let condition = if id.sync_fail { "if the attempt fails: " } else { "" };
    let unsure = if rehearsal.unsure.contains(&id) { "; the server cannot tell before its stage comes" } else { "" };
    let note = format!("{condition}{would}{unsure} (dry run)");
    Row {
        key: task.key.clone(),
        version: task.manifest().map(|manifest| manifest.version().to_owned()).unwrap_or_default(),
        phase: stage.phase,
        wave: stage.wave,
        what: What::of(task),
        finish: match rehearsal.refused.get(&id) {
            Some(cause) => Finish::Failed { cause: cause.clone(), log: None, detail: None },
            None => Finish::Skipped(note),
        },
        note: None,
        uid: live.map(|live| live.uid.clone()),
        started: None,
        finished: turn.now(),
        waits: Vec::new(),
        taken_from: Vec::new(),
    }
}

/// All tasks of a plan with their places.
fn tasks<'a>(turn: &Turn<'a>) -> impl Iterator<Item = (TaskId, &'a Stage, &'a Task)> + use<'a> {
    let plan = turn.plan;
    let stages = plan.stages.iter().enumerate().map(|(index, stage)| (false, index, stage));
    let sync_fail = plan.sync_fail.iter().enumerate().map(|(index, stage)| (true, index, stage));
    stages.chain(sync_fail).flat_map(|(sync_fail, stage, of)| {
        of.tasks.iter().enumerate().map(move |(task, what)| (TaskId { sync_fail, stage, task }, of, what))
    })
}

/// The write that is tried; none for what will not change, or for a kind that is not served yet.
fn write(task: &Task, phase: Phase, attempt: &Attempt, turn: &Turn<'_>) -> Option<Write> {
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
        Work::Namespace(manifest) => Some(namespace::write(manifest, &task.key, true)),
        Work::Apply(manifest) => {
            if live.is_some_and(|live| turn.is_carried(manifest, live)) {
                return None;
            }
            known(task, turn)?;
            Some(Write::Apply {
                key: task.key.clone(),
                body: Arc::new(marked(&turn.owner, manifest, &task.key, None)),
                force: manifest.settings.conflicts == Conflicts::Force && live.is_some(),
                version: None,
                strict: manifest.settings.options.validate != Some(false),
                keeps: turn.keeps(manifest),
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
                    keeps: None,
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

/// An answer that was lost says nothing: it is asked for again, twice; then the stage decides.
fn may_ask_again(rehearsal: &mut Rehearsal, id: TaskId) -> bool {
    rehearsal.open.get_mut(&id).is_some_and(|asked| {
        *asked = asked.saturating_add(1);
        *asked <= 2
    })
}

/// Whether a refusal means only that nobody can say before the stage comes.
fn cannot_say(task: &Task, fault: &Fault, turn: &Turn<'_>) -> bool {
    match fault.kind {
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
    }
}

fn is_lenient(task: &Task) -> bool {
    task.manifest().is_some_and(|manifest| manifest.settings.options.validate == Some(false))
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

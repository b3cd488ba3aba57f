//! `Force=true`: an object that the server will not change is deleted and made anew, once a dry run has shown that it can be.

use std::sync::Arc;

use super::Turn;
use super::apply::look;
use super::wait::{fail, is_contended, put_off};
use crate::engine::action::{Action, Fault, FaultKind, Propagation, TaskId, Write};
use crate::engine::attempt::{Finish, TaskRun, TaskState, Why};
use crate::engine::desired::Manifest;
use crate::engine::kinds::is_precious;
use crate::engine::membership::{HookRun, marked};
use crate::engine::plan::{Stage, Task, Work};

/// So often an object is made anew in one attempt: more often, and somebody else makes it as it was.
pub(super) const MOST: u8 = 3;

/// What a person can do about a refusal.
pub(super) fn hint(manifest: &Manifest, fault: &Fault) -> String {
    if !is_about_the_old_one(fault) || is_precious(&manifest.key.kind) {
        return String::new();
    }
    "; the sync option Force=true would have it deleted and made anew".to_owned()
}

/// Whether a refusal is about what the object was before, and not about the wanted one: there making it anew helps at once.
pub(super) fn is_about_the_old_one(fault: &Fault) -> bool {
    fault.message.contains("immutable")
}

/// Whether a refusal of the API server itself, not of a policy, can be answered by making the object anew (F68).
pub(super) fn can_be_made_anew(manifest: &Manifest, fault: &Fault, turn: &Turn<'_>) -> bool {
    fault.kind == FaultKind::Invalid && turn.operation.options.forces(manifest)
}

/// The same for a task that is rehearsed: an object that is not there yet cannot be made anew.
pub(super) fn may_be_made_anew(task: &Task, fault: &Fault, turn: &Turn<'_>) -> bool {
    match &task.work {
        Work::Apply(manifest) => {
            let is_ours = turn.seen.members.get(&task.key).is_some_and(|live| live.is_member(&turn.owner));
            is_ours && can_be_made_anew(manifest, fault, turn)
        }
        Work::Namespace(_) | Work::Hook(_) | Work::Prune => false,
    }
}

/// The create of a task's object under a name that nobody has, for a dry run.
pub(super) fn under_an_unused_name(task: &Task, hook: &HookRun, turn: &Turn<'_>) -> Option<Write> {
    let manifest = task.manifest()?;
    let prefix = if task.key.name.is_empty() {
        manifest.generate_name.clone().unwrap_or_default()
    } else {
        format!("{}-", task.key.name)
    };
    let key = task.key.with_name(&hook.generated_name(&prefix));
    let hook = matches!(task.work, Work::Hook(_)).then_some(hook);
    let body = Arc::new(marked(&turn.owner, manifest, &key, hook));
    Some(Write::Create { key, body, strict: manifest.settings.options.validate != Some(false) })
}

/// Asks whether the object could be created as it is wanted, before the old one is deleted for it.
pub(super) fn rehearse_anew(
    manifest: &Manifest,
    stage: &Stage,
    id: TaskId,
    run: &mut TaskRun,
    uid: Arc<str>,
    fault: &Fault,
    turn: &mut Turn<'_>,
) {
    let hook = turn.operation.run(stage.phase);
    let Some(write) = under_an_unused_name(&stage.tasks[id.task], &hook, turn) else { return };
    debug_assert_eq!(manifest.key.kind, run.key.kind);
    run.state = TaskState::Rehearsing { uid, fault: fault.clone() };
    turn.actions.push(Action::Rehearse { task: id, write });
}

/// The old object goes, with its dependents, and the new one comes after it.
pub(super) fn make_anew(
    manifest: &Manifest,
    id: TaskId,
    run: &mut TaskRun,
    uid: Arc<str>,
    refusal: &Fault,
    objection: Option<&Fault>,
    turn: &mut Turn<'_>,
) {
    match objection {
        Some(fault) if fault.kind == FaultKind::Transient => put_off(run, fault, turn),
        Some(fault) => fail(
            run,
            format!("could not be applied: {}; nor could it be made anew: {}", refusal.message, fault.message),
        ),
        None if turn.closing => run.state = TaskState::Over(Finish::Dropped),
        None => {
            let live = turn.seen.members.get(&run.key).filter(|live| live.uid == uid && live.is_member(&turn.owner));
            let Some(live) = live else {
                // It has changed hands, or is another one by now (I6).
                if is_contended(run) {
                    put_off(run, refusal, turn);
                } else {
                    run.refusal = Some(refusal.clone());
                    look(manifest, id, run, Why::Immutable, turn);
                }
                return;
            };
            run.recreating = true;
            run.made_anew += 1;
            run.note = Some(format!("made anew, because it could not be changed: {}", refusal.message));
            let write = Write::Delete {
                key: manifest.key.clone(),
                uid: uid.clone(),
                version: Some(live.version),
                propagation: Propagation::Foreground,
            };
            run.state = TaskState::Deleting { uid };
            turn.actions.push(Action::Write { task: id, write });
        }
    }
}

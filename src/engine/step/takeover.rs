//! An object as a whole becomes ours: replaced (`Replace=true`), or with the fields of the tool that had it before, so that what the
//! manifest does not name goes.

use std::sync::Arc;

use super::Turn;
use super::apply::{hook_run, may_write};
use crate::engine::action::{Action, TaskId, Write};
use crate::engine::attempt::{TaskRun, TaskState};
use crate::engine::desired::Manifest;
use crate::engine::live::Live;
use crate::engine::membership::marked;
use crate::engine::plan::Stage;

/// Replaces the object as a whole; applied afterwards, it is a member like every other.
pub(super) fn replace(
    manifest: &Manifest,
    stage: &Stage,
    id: TaskId,
    run: &mut TaskRun,
    version: u64,
    turn: &mut Turn<'_>,
) {
    if !may_write(run, turn) {
        return;
    }
    let hook = hook_run(manifest, stage, turn);
    run.state = TaskState::Replacing;
    turn.actions.push(Action::Write {
        task: id,
        write: Write::Replace {
            key: run.key.clone(),
            body: Arc::new(marked(&turn.owner, manifest, &run.key, hook.as_ref())),
            version,
            strict: manifest.settings.options.validate != Some(false),
            keeps: turn.keeps(manifest),
        },
    });
}

/// Whether the fields of other tools are to become ours.
pub(super) fn wants_migration(live: &Live, turn: &Turn<'_>) -> bool {
    let options = &turn.operation.options;
    let also = options.migrate_also.as_ref().is_some_and(|also| live.other_managers.contains(also));
    options.migrate && (live.has_other_tools || also)
}

pub(super) fn migrate(id: TaskId, run: &mut TaskRun, uid: &Arc<str>, turn: &mut Turn<'_>) {
    run.state = TaskState::Migrating;
    let also = turn.operation.options.migrate_also.clone();
    let write = Write::Migrate { key: run.key.clone(), uid: uid.clone(), also };
    turn.actions.push(Action::Write { task: id, write });
}

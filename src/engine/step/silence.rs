//! What is waited for is read when nothing has been heard of it for a while: an event may have been lost on its way (F22). What is not
//! waited for is never read, so a synced Application costs nothing (I10).

use jiff::{SignedDuration, Timestamp};

use super::Turn;
use crate::engine::action::Action;
use crate::engine::attempt::{TaskRun, TaskState};
use crate::engine::plan::Task;

/// How long nothing is heard of an object before it is read; with [`GRID`] below a minute, so that what was lost is noticed within one.
const SILENCE: SignedDuration = SignedDuration::from_secs(45);
/// Reads are due at whole multiples of so many seconds: a wake looks at the whole stage, so that many objects must share few of them.
const GRID: i64 = 5;

/// Something of the object was seen.
pub(super) fn broken(run: &mut TaskRun, turn: &Turn<'_>) {
    run.heard = Some(turn.now());
}

/// Reads the object if it is waited for and nothing was heard of it for long enough. What is read comes back as a change, like an event.
pub(super) fn mind(task: &Task, run: &mut TaskRun, turn: &mut Turn<'_>) {
    let waits = matches!(
        run.state,
        TaskState::Waiting | TaskState::Running { .. } | TaskState::Leaving { .. } | TaskState::Draining { .. }
    );
    if !waits {
        run.heard = None;
        return;
    }
    let now = turn.now();
    let heard = run.heard.get_or_insert(now);
    if now.duration_since(*heard) >= SILENCE {
        *heard = now;
        let version = task.manifest().map(|manifest| manifest.version().to_owned());
        turn.actions.push(Action::Refresh { key: run.key.clone(), version });
    }
    let next = heard.checked_add(SILENCE).map_or(now, on_grid);
    turn.wake_at(next);
}

/// The first point of the grid that is not before.
fn on_grid(at: Timestamp) -> Timestamp {
    let second = at.as_second() + i64::from(at.subsec_nanosecond() > 0);
    Timestamp::from_second((second + GRID - 1).div_euclid(GRID) * GRID).unwrap_or(at)
}

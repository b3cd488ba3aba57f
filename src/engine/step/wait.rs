//! What every task needs while it waits: its deadline, its pauses, and how it is told.

use jiff::Timestamp;

use super::Turn;
use crate::engine::action::Fault;
use crate::engine::attempt::{Blocked, Finish, TaskRun, TaskState};
use crate::engine::live::Live;

/// Notes what a task waits for; the time is that of the first observation of the same reason.
pub(super) fn blocked(run: &mut TaskRun, health: &'static str, reason: String, now: Timestamp) {
    let since = match &run.blocked {
        Some(blocked) if blocked.health == health => blocked.since,
        _ => now,
    };
    run.blocked = Some(Blocked { health, reason, since });
}

/// Whether the deadline of a task has passed; if not, it will be looked at then.
pub(super) fn is_late(run: &TaskRun, turn: &mut Turn<'_>) -> bool {
    match run.deadline {
        Some(deadline) if turn.now() >= deadline => true,
        Some(deadline) => {
            turn.wake_at(deadline);
            false
        }
        None => false,
    }
}

/// How long a task was waited for, for messages.
pub(super) fn waited(run: &TaskRun, now: Timestamp) -> String {
    let seconds = run.started.map_or(0, |started| now.duration_since(started).as_secs());
    match seconds {
        s if s < 120 => format!("{s}s"),
        s if s < 7200 => format!("{}m", s / 60),
        s => format!("{}h", s / 3600),
    }
}

/// Put off a little, until the deadline at the latest, for something that may pass.
pub(super) fn put_off(run: &mut TaskRun, fault: &Fault, turn: &mut Turn<'_>) {
    let until = back_off(run, fault.retry_after, turn.now());
    turn.wake_at(until);
    run.state = TaskState::Backoff { until, fault: fault.clone() };
}

/// A conflict: looked at, and tried again at once, but not for ever. Whether it is time for a pause now.
pub(super) fn is_contended(run: &mut TaskRun) -> bool {
    run.conflicts = run.conflicts.saturating_add(1);
    run.conflicts > AT_ONCE && run.conflicts.is_multiple_of(2)
}

/// So many conflicts of one task are looked at without a pause.
const AT_ONCE: u32 = 5;

/// That an object is on its way out, and what holds it.
pub(super) fn leaving(what: &str, live: Option<&Live>) -> String {
    match live.and_then(|live| live.deleting.as_ref()).filter(|held_by| !held_by.is_empty()) {
        Some(held_by) => format!("{what} is being deleted, held by finalizers: {}", held_by.join(", ")),
        None => format!("{what} is being deleted"),
    }
}

/// The next time of a write that met something transient: 0.2 s, doubled up to 5 s, or what the server asks for up to 30 s.
pub(super) fn back_off(run: &mut TaskRun, retry_after: Option<std::time::Duration>, now: Timestamp) -> Timestamp {
    run.tries = run.tries.saturating_add(1);
    let own = 200_u64.saturating_mul(1 << run.tries.saturating_sub(1).min(5)).min(5_000);
    let asked = retry_after.map_or(0, |after| u64::try_from(after.as_millis()).unwrap_or(30_000)).min(30_000);
    now.checked_add(std::time::Duration::from_millis(own.max(asked))).unwrap_or(now)
}

/// The task is over, and has failed.
pub(super) fn fail(run: &mut TaskRun, cause: String) {
    run.state = TaskState::Over(Finish::Failed { cause, log: None, detail: None });
}

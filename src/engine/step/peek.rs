//! Why a task still waits, as its pods tell it (F76, F79): looked at while it waits, ever more rarely.

use std::sync::Arc;

use jiff::SignedDuration;

use super::Turn;
use crate::engine::action::{Action, Evidence, TaskId};
use crate::engine::attempt::TaskRun;
use crate::engine::kinds::has_pods;

/// After how long a wait is worth a look, and what the pauses between looks grow to.
const FIRST: SignedDuration = SignedDuration::from_secs(3);
const LONGEST: SignedDuration = SignedDuration::from_secs(60);

/// Looks at the pods of what a task waits for, if its time has come.
pub(super) fn look(id: TaskId, run: &mut TaskRun, uid: &Arc<str>, turn: &mut Turn<'_>) {
    if run.peek.in_flight || !has_pods(&run.key.kind) {
        return;
    }
    let now = turn.now();
    let pause = run.peek.pause.unwrap_or(FIRST);
    let due = *run.peek.due.get_or_insert(now.saturating_add(pause).unwrap_or(now));
    if now < due {
        turn.wake_at(due);
        return;
    }
    run.peek.in_flight = true;
    run.peek.due = None;
    run.peek.pause = Some(pause.saturating_mul(2).min(LONGEST));
    turn.actions.push(Action::Collect { task: id, key: run.key.clone(), uid: uid.clone() });
}

/// Takes in what was found, if it was looked for; else it is the evidence of an end.
pub(super) fn took(run: &mut TaskRun, evidence: &Evidence) -> bool {
    if !run.peek.in_flight {
        return false;
    }
    run.peek.in_flight = false;
    run.peek.said.clone_from(&evidence.summary);
    true
}

/// A reason to wait, with what the pods say of it.
pub(super) fn with_pods(run: &TaskRun, reason: &str) -> String {
    if run.peek.said.is_empty() { reason.to_owned() } else { format!("{reason}; {}", run.peek.said) }
}

//! The machine: from where an attempt stands and what was seen to where it stands then, and what is to be done.
//!
//! `step` is total and deterministic; time is a field of the observation. Its actions are independent of each other. The cost of
//! one event does not grow with the number of tasks: only what has changed is judged, and timers only when the next one is due.

mod anew;
mod apply;
mod hook;
mod namespace;
mod peek;
mod prepare;
mod prune;
mod rehearse;
mod silence;
mod stage;
mod takeover;
mod tidy;
mod verdict;
mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::action::{Action, Answer};
use super::attempt::{Attempt, Course, Ending, Operation, Running, Stop, Timeouts};
use super::desired::Manifest;
use super::differences::Ignored;
use super::kinds::Kinds;
use super::ledger::Ledger;
use super::lifecycle;
use super::live::{Live, Members};
use super::object::{ObjectKey, Owner};
use super::plan::{Plan, Stage, Work};

/// All that the engine remembers of an Application while an attempt runs.
#[derive(Clone, Debug)]
pub struct State {
    /// What must be durable.
    pub ledger: Ledger,
    /// The attempt.
    pub attempt: Attempt,
}

/// What has been seen since the last step.
pub struct Observation<'a> {
    /// The time.
    pub now: Timestamp,
    /// The live objects that carry the Application's label, and those that answers showed.
    pub members: &'a Members,
    /// Which of them changed or vanished.
    pub changed: &'a BTreeSet<ObjectKey>,
    /// Answers to actions.
    pub answers: Vec<Answer>,
    /// What the cluster serves.
    pub kinds: &'a Kinds,
    /// The Application behind a membership id, if it is known.
    pub name_of: &'a dyn Fn(&str) -> Option<String>,
    /// Of the Namespaces that the plan prunes, those that hold objects of another Application, with its name.
    pub tenants: &'a BTreeMap<String, String>,
    /// Whether a person has confirmed the prunes and deletes that wait for it.
    pub approved: bool,
}

/// What follows from an observation.
#[derive(Debug)]
pub struct Step {
    /// Where everything stands now.
    pub state: State,
    /// What is to be done.
    pub actions: Vec<Action>,
    /// When to step again at the latest, though nothing is seen.
    pub wake: Option<Timestamp>,
}

/// Moves an attempt on.
pub fn step(state: State, seen: &Observation<'_>) -> Step {
    let State { mut ledger, mut attempt } = state;
    let mut answers = Vec::new();
    for answer in &seen.answers {
        match answer {
            Answer::Recorded(version) => {
                ledger.set_durable(*version);
                attempt.recording = None;
            }
            Answer::Tidied(key, result) => tidy::tidied(&mut ledger, key, result, seen.now),
            // What it showed stands in the view.
            Answer::Refreshed(..) => {}
            Answer::Rights(_)
            | Answer::Rehearsed(..)
            | Answer::Written(..)
            | Answer::Looked(..)
            | Answer::Collected(..) => answers.push(answer),
        }
    }
    let plan = attempt.plan.clone();
    let mut turn = Turn {
        seen,
        owner: attempt.owner.clone(),
        operation: attempt.operation.clone(),
        timeouts: attempt.timeouts,
        grace_until: attempt.grace_until,
        plan: &plan,
        ledger: &mut ledger,
        stopping: false,
        closing: false,
        actions: Vec::new(),
        wake: None,
    };
    let mut course = std::mem::replace(&mut attempt.course, Course::Begin);
    // Each round moves the course on by one; answers and changes are for the first only.
    let mut fresh = Some(answers);
    loop {
        let (next, moved) = advance(course, &mut attempt, &mut turn, fresh.take());
        course = next;
        if !moved {
            break;
        }
    }
    attempt.course = course;
    tidy::send(&mut turn);
    let Turn { mut actions, wake, .. } = turn;
    if actions.iter().any(|action| matches!(action, Action::Write { .. })) {
        ledger.note_sent();
    }
    if attempt.recording.is_none() && !ledger.is_durable(ledger.version()) {
        attempt.recording = Some(ledger.version());
        actions.push(Action::Record { version: ledger.version() });
    }
    Step { state: State { ledger, attempt }, actions, wake }
}

/// What the functions of one step share.
pub(super) struct Turn<'a> {
    seen: &'a Observation<'a>,
    owner: Owner,
    operation: Operation,
    timeouts: Timeouts,
    grace_until: Timestamp,
    plan: &'a Plan,
    ledger: &'a mut Ledger,
    /// Whether the attempt is asked to end.
    stopping: bool,
    /// Whether the stage winds down: nothing is begun any more.
    closing: bool,
    actions: Vec<Action>,
    wake: Option<Timestamp>,
}

impl Turn<'_> {
    fn now(&self) -> Timestamp {
        self.seen.now
    }

    /// Whether the objects of a stage are waited for until they are healthy. Only `WaitForHealth=false` leaves that out, as Argo CD
    /// does it: for the last stage, and only where that has no hook (V1, S9).
    fn waits_for_health(&self, stage: &Stage) -> bool {
        let is_last = self.plan.stages.last().is_some_and(|last| (last.phase, last.wave) == (stage.phase, stage.wave));
        let has_hook = stage.tasks.iter().any(|task| matches!(task.work, Work::Hook(_)));
        self.operation.options.wait_for_health || !is_last || has_hook
    }

    /// Whether an object needs no write. A sync writes ignored fields too, unless they are to keep their live value; a repair is about
    /// drift, which they are not.
    fn is_carried(&self, manifest: &Manifest, live: &Live) -> bool {
        if self.operation.options.respect_ignored || self.operation.heal.is_some() {
            live.carries_but_ignored(manifest)
        } else {
            live.carries(manifest)
        }
    }

    /// The fields of a plain object that keep their live value when it is applied.
    fn keeps(&self, manifest: &Manifest) -> Option<Arc<Ignored>> {
        manifest.ignored.clone().filter(|_| self.operation.options.respect_ignored)
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

fn advance(course: Course, attempt: &mut Attempt, turn: &mut Turn<'_>, fresh: Option<Vec<&Answer>>) -> (Course, bool) {
    match course {
        Course::Begin | Course::Rights | Course::Rehearsal(_) => match stopped(attempt) {
            Some(ending) => {
                let unfinished = if attempt.stop == Some(Stop::Deleted) { None } else { stage::reenter(turn) };
                match unfinished {
                    Some(running) if running.sync_fail => (Course::SyncFail(running), true),
                    Some(running) => (Course::Stage(running), true),
                    None => (Course::Ended(ending), true),
                }
            }
            // Resumed in its SyncFail phase: it does not begin again.
            None if attempt.failure.is_some() => {
                tidy::owe_again(turn);
                (enter_sync_fail(0, None, turn), true)
            }
            None => prepare::advance(course, attempt, turn, fresh),
        },
        Course::Stage(running) | Course::SyncFail(running) => advance_stage(running, attempt, turn, fresh),
        Course::Tidying { succeeded, until } => {
            if turn.ledger.is_tidy() || turn.now() >= until {
                let ending = match (&attempt.failure, stopped(attempt)) {
                    (_, Some(stopped)) if !succeeded => stopped,
                    (Some(cause), _) => Ending::Failed(cause.clone()),
                    (None, _) => Ending::Succeeded,
                };
                return (Course::Ended(ending), true);
            }
            turn.wake_at(until);
            (Course::Tidying { succeeded, until }, false)
        }
        Course::Ended(ending) => (Course::Ended(ending), false),
    }
}

/// Moves a stage on, of the plan or of SyncFail; when its tasks are all over, the next one follows.
fn advance_stage(
    mut running: Running,
    attempt: &mut Attempt,
    turn: &mut Turn<'_>,
    fresh: Option<Vec<&Answer>>,
) -> (Course, bool) {
    let stop = attempt.stop.clone();
    if stop == Some(Stop::Deleted) {
        attempt.rows.extend(stage::abandon(&mut running, turn));
        return (Course::Ended(stopped(attempt).unwrap_or(Ending::Succeeded)), true);
    }
    stage::turn(&mut running, turn, fresh, stop.as_ref());
    if running.open > 0 {
        stage::schedule(&running, turn);
        let course = if running.sync_fail { Course::SyncFail(running) } else { Course::Stage(running) };
        return (course, false);
    }
    let cause = stage::close(&mut running, attempt, turn);
    let next = match (cause, running.sync_fail) {
        // V8: a failing SyncFail hook does not stop the later ones.
        (Some(cause), true) => {
            let failure = attempt.failure.get_or_insert_default();
            failure.push_str("; then ");
            failure.push_str(&cause);
            enter_sync_fail(running.index + 1, stop.as_ref(), turn)
        }
        (None, true) => enter_sync_fail(running.index + 1, stop.as_ref(), turn),
        (_, false) if stop.is_some() => end_failed(turn),
        (Some(cause), false) => {
            attempt.failure = Some(cause);
            // I4: SyncFail is for an attempt that has written something.
            if turn.ledger.has_written() { enter_sync_fail(0, None, turn) } else { end_failed(turn) }
        }
        (None, false) => enter(running.index + 1, turn),
    };
    (next, true)
}

/// Into the stage of that index, or to the end.
pub(super) fn enter(index: usize, turn: &mut Turn<'_>) -> Course {
    if index < turn.plan.stages.len() {
        return Course::Stage(stage::enter(false, index, turn));
    }
    tidy::delete_passive(turn);
    if turn.operation.deletion {
        tidy::delete_deletion_hooks(turn);
    } else if turn.operation.heal.is_none() && turn.operation.options.only.is_empty() {
        // The plan of a repair, or of some objects, has no hooks: it cannot tell which of them are still wanted.
        tidy::collect_garbage(turn);
    }
    Course::Tidying { succeeded: true, until: tidy::until(turn) }
}

fn enter_sync_fail(index: usize, stop: Option<&Stop>, turn: &mut Turn<'_>) -> Course {
    if stop.is_none() && index < turn.plan.sync_fail.len() {
        return Course::SyncFail(stage::enter(true, index, turn));
    }
    end_failed(turn)
}

/// To the end of an attempt that did not succeed.
fn end_failed(turn: &mut Turn<'_>) -> Course {
    tidy::delete_passive(turn);
    Course::Tidying { succeeded: false, until: tidy::until(turn) }
}

fn stopped(attempt: &Attempt) -> Option<Ending> {
    let stop = attempt.stop.clone()?;
    let message = match &stop {
        Stop::Terminate => lifecycle::TERMINATED.to_owned(),
        Stop::Superseded(revision) => format!("{}{revision}", lifecycle::SUPERSEDED),
        Stop::Deleted => "ended, because the Application is being deleted".to_owned(),
    };
    Some(Ending::Stopped(stop, message))
}

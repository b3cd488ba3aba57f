//! What the tasks of an operation wait for, in classes: for counting, where `blockedOn` is for reading.

use std::collections::BTreeMap;

use crate::engine::attempt::{Attempt, Course, TaskState};

/// A class of waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wait {
    /// The operation cannot begin yet: its source cannot be read, or a kind cannot be watched.
    Begin,
    /// The check of rights.
    Rights,
    /// Dry runs.
    Rehearsal,
    /// The task's turn in its stage.
    Turn,
    /// A durable record.
    Record,
    /// The answer to a write, or to a read that one needs.
    Write,
    /// The health of an applied object.
    Health,
    /// The end of a hook.
    Hook,
    /// The end of an object that is being deleted.
    Deletion,
    /// The pause after something transient: overload, a webhook that did not answer.
    Backoff,
    /// The other objects of the stage, because one of them was missing.
    Others,
    /// A person's confirmation.
    Confirmation,
    /// The evidence of a failure.
    Evidence,
    /// The end of a hook that is being stopped.
    Stop,
    /// Clean-up after hooks.
    CleanUp,
    /// The next attempt.
    Retry,
}

impl Wait {
    /// All classes.
    pub const ALL: [Self; 16] = [
        Self::Begin,
        Self::Rights,
        Self::Rehearsal,
        Self::Turn,
        Self::Record,
        Self::Write,
        Self::Health,
        Self::Hook,
        Self::Deletion,
        Self::Backoff,
        Self::Others,
        Self::Confirmation,
        Self::Evidence,
        Self::Stop,
        Self::CleanUp,
        Self::Retry,
    ];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Rights => "rights",
            Self::Rehearsal => "rehearsal",
            Self::Turn => "turn",
            Self::Record => "record",
            Self::Write => "write",
            Self::Health => "health",
            Self::Hook => "hook",
            Self::Deletion => "deletion",
            Self::Backoff => "backoff",
            Self::Others => "others",
            Self::Confirmation => "confirmation",
            Self::Evidence => "evidence",
            Self::Stop => "stop",
            Self::CleanUp => "clean_up",
            Self::Retry => "retry",
        }
    }
}

/// How many tasks of an attempt wait for what.
pub fn waits(attempt: &Attempt) -> BTreeMap<Wait, i64> {
    let mut waits = BTreeMap::new();
    let mut add = |wait| *waits.entry(wait).or_insert(0) += 1;
    match &attempt.course {
        Course::Begin | Course::Rights => add(Wait::Rights),
        Course::Rehearsal(rehearsal) => rehearsal.open.keys().for_each(|_| add(Wait::Rehearsal)),
        Course::Stage(running) | Course::SyncFail(running) => {
            running.runs.iter().filter_map(|run| of(&run.state)).for_each(add);
        }
        Course::Tidying { .. } => add(Wait::CleanUp),
        Course::Ended(_) => {}
    }
    waits
}

fn of(state: &TaskState) -> Option<Wait> {
    Some(match state {
        TaskState::Held => Wait::Turn,
        TaskState::Confirming => Wait::Confirmation,
        TaskState::Writing
        | TaskState::Replacing
        | TaskState::Migrating
        | TaskState::Rehearsing { .. }
        | TaskState::Looking(_) => Wait::Write,
        TaskState::Backoff { .. } => Wait::Backoff,
        TaskState::After(_) => Wait::Others,
        TaskState::Deleting { .. } | TaskState::Leaving { .. } => Wait::Deletion,
        TaskState::Waiting => Wait::Health,
        TaskState::Recording { .. } => Wait::Record,
        TaskState::Running { .. } => Wait::Hook,
        TaskState::Collecting { .. } => Wait::Evidence,
        TaskState::Stopping { .. } | TaskState::Draining { .. } => Wait::Stop,
        TaskState::Over(_) => return None,
    })
}

//! One attempt of an operation: where it stands. The machine that moves it is `step`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::action::{Evidence, Fault, Propagation, TaskId};
use super::heal::Heal;
use super::ledger::HookOutcome;
use super::lenient::Unwanted;
use super::membership::HookRun;
use super::object::{Digest, ObjectKey, Owner};
use super::plan::{Options, Plan, Stage, Task, Work};
use super::settings::Phase;
use crate::api;

/// The head of an operation: what its status starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its id: unique for the Application, part of generated names.
    pub id: String,
    /// Whether it is the deletion of the Application.
    pub deletion: bool,
    /// The attempt, from 1.
    pub attempt: i64,
    /// Generation of the Application whose `operation` field asked for it.
    pub request_generation: Option<i64>,
    /// Who asked for it.
    pub initiated_by: Option<String>,
    /// Why it began by itself although its revision was synced: a repair of these objects, without hooks.
    pub heal: Option<Arc<Heal>>,
    /// Revision of the source.
    pub revision: String,
    /// When the operation started.
    pub started_at: Timestamp,
    /// When the attempt started.
    pub attempt_started_at: Timestamp,
    /// What was asked for.
    pub options: Options,
}

impl Operation {
    /// The run of a hook of this attempt in that phase.
    pub fn run(&self, phase: Phase) -> HookRun {
        HookRun { operation: self.id.clone(), attempt: self.attempt, phase }
    }
}

/// The deadlines of an Application; `None`: none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For each attempt.
    pub sync: Option<Duration>,
    /// For plain objects and prunes of a stage.
    pub stage: Option<Duration>,
    /// For each hook, from its creation.
    pub hook: Option<Duration>,
}

/// One attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The Application.
    pub owner: Owner,
    /// The operation.
    pub operation: Operation,
    /// What is done, in order.
    pub plan: Arc<Plan>,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// No deadline of a wait falls before this time: after a restart everything gets its chance to be judged anew (V2).
    pub grace_until: Timestamp,
    /// Where it stands.
    pub course: Course,
    /// Rows of the tasks that are over, by stage.
    pub rows: Vec<Row>,
    /// The first cause of its failure.
    pub failure: Option<String>,
    /// Whether it failed because the service account lacks a right.
    pub denied: bool,
    /// Why it is to end before its time.
    pub stop: Option<Stop>,
    /// Ledger version that a record in flight will make durable.
    pub recording: Option<u64>,
}

impl Attempt {
    /// Another propagation policy counts at once, for deletes under way too (F72).
    pub fn set_propagation(&mut self, propagation: Propagation, now: Timestamp) {
        if self.operation.options.propagation != propagation {
            self.operation.options.propagation = propagation;
            if let Course::Stage(running) = &mut self.course {
                running.wake = Some(now);
            }
        }
    }
}

/// Why an attempt is to end before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Somebody asked for it: running hooks are stopped.
    Terminate,
    /// A newer revision: running hooks are finished first.
    Superseded(String),
    /// The Application is being deleted: at once.
    Deleted,
}

/// Where an attempt stands.
#[derive(Clone, Debug)]
pub enum Course {
    /// Nothing was asked yet.
    Begin,
    /// The check of rights is in flight.
    Rights,
    /// Dry runs are in flight.
    Rehearsal(Rehearsal),
    /// In a stage of the plan.
    Stage(Running),
    /// In a stage of SyncFail.
    SyncFail(Running),
    /// Passive hooks are deleted by policy, clean-ups are finished.
    Tidying {
        /// Whether the attempt succeeded.
        succeeded: bool,
        /// Not longer than until then.
        until: Timestamp,
    },
    /// Over.
    Ended(Ending),
}

/// The dry runs of a plan, as far as they are.
#[derive(Clone, Debug, Default)]
pub struct Rehearsal {
    /// Tasks without an answer, and how often the server was asked.
    pub open: BTreeMap<TaskId, u8>,
    /// The refusals.
    pub refused: BTreeMap<TaskId, String>,
    /// Tasks of which the server cannot say anything before their stage comes.
    pub unsure: BTreeSet<TaskId>,
    /// Tasks whose objects cannot be changed, and are rehearsed as if they were made anew.
    pub anew: BTreeSet<TaskId>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything is applied and healthy.
    Succeeded,
    /// With the cause.
    Failed(String),
    /// Ended by request or by something newer; never retried.
    Stopped(Stop, String),
}

/// A stage that runs.
#[derive(Clone, Debug)]
pub struct Running {
    /// Whether it is one of SyncFail.
    pub sync_fail: bool,
    /// Its index.
    pub index: usize,
    /// One run for each task of the stage, in its order.
    pub runs: Vec<TaskRun>,
    /// Place of each object in `runs`.
    pub places: BTreeMap<ObjectKey, usize>,
    /// When it began.
    pub since: Timestamp,
    /// Ledger version that must be durable before the first effect of the stage.
    pub after: u64,
    /// Tasks that are not over.
    pub open: usize,
    /// Tasks that have not begun.
    pub held: usize,
    /// Whether a task has failed.
    pub failed: bool,
    /// Whether a barrier may have opened since the held tasks were last looked at.
    pub stirred: bool,
    /// When the next deadline, back-off or settling ends.
    pub wake: Option<Timestamp>,
}

impl Running {
    /// What waits for a person's confirmation, and how to give it.
    pub fn waits_for_a_person(&self) -> Option<String> {
        let waits = |run: &&TaskRun| matches!(run.state, TaskState::Confirming);
        let first = self.runs.iter().find(waits)?;
        let more = self.runs.iter().filter(waits).count() - 1;
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        Some(format!("{}{more}: {}", first.key, first.blocked.as_ref()?.reason))
    }

    /// The stage that runs.
    pub fn stage<'a>(&self, plan: &'a Plan) -> &'a Stage {
        let stages = if self.sync_fail { &plan.sync_fail } else { &plan.stages };
        &stages[self.index]
    }

    /// Whether a task has failed so that nothing more of the stage is begun. A failing SyncFail hook does not stop the others (V8).
    pub fn is_failing(&self) -> bool {
        self.failed && !self.sync_fail
    }

    /// The id of the task at that place.
    pub fn id(&self, task: usize) -> TaskId {
        TaskId { sync_fail: self.sync_fail, stage: self.index, task }
    }
}

/// One task that runs.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, none a state of one machine")]
#[derive(Clone, Debug)]
pub struct TaskRun {
    /// The object, its generated name filled in.
    pub key: ObjectKey,
    /// How far it is.
    pub state: TaskState,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When its wait ends.
    pub deadline: Option<Timestamp>,
    /// What our last write was answered with.
    pub written: Option<Written>,
    /// Whether it is applied, so that barriers open.
    pub applied: bool,
    /// How often a write was tried since it last went well.
    pub tries: u32,
    /// How many of its writes met a conflict.
    pub conflicts: u32,
    /// Whether it was applied again after somebody deleted it (V19).
    pub reapplied: bool,
    /// When the write in flight takes over an object that no Application owns: the managers that it had.
    pub taken_from: Option<Vec<String>>,
    /// Whether it was replaced since it was last looked at (`Replace=true`).
    pub replaced: bool,
    /// Fields that the server would not have, and that are left out (`Validate=false`).
    pub left_out: Vec<Unwanted>,
    /// Whether the fields of other tools were made ours.
    pub migrated: bool,
    /// The refusal of an object that cannot be changed, while it is looked at.
    pub refusal: Option<Fault>,
    /// How often it was deleted to be made anew.
    pub made_anew: u8,
    /// Whether it is deleted to be made anew: nothing stops that half-way (F27).
    pub recreating: bool,
    /// Of a prune: whether the delete was sent again under another propagation policy.
    pub reissued: bool,
    /// How often a refusal was put off: 1 for the other objects of the stage, 2 for its prunes.
    pub put_off: u8,
    /// What is known of the wait: health, reason, since when.
    pub blocked: Option<Blocked>,
    /// Since when it has been Degraded at our generation.
    pub degraded_since: Option<Timestamp>,
    /// For a hook: the last seen end of its object.
    pub last_end: Option<bool>,
    /// What there is to say in its row.
    pub note: Option<String>,
    /// While the object is waited for: when something of it was seen last, or it was read.
    pub heard: Option<Timestamp>,
    /// What its pods say while it waits.
    pub peek: Peek,
    /// When it was over.
    pub ended: Option<Timestamp>,
    /// Whose object it was until it was taken over; empty where it was not.
    pub previous_managers: Vec<String>,
    /// What it has waited for, in order; the last one may not be over.
    pub waits: Vec<Waited>,
}

/// Most waits of a task that are told apart; the last one stands for what follows.
const MOST_WAITS: usize = 16;

/// Something that a task has waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waited {
    /// The health word, or what stands for it.
    pub health: &'static str,
    /// The reason that was told last.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when, once it is over.
    pub until: Option<Timestamp>,
}

/// Looks at the pods of what is waited for.
#[derive(Clone, Debug, Default)]
pub struct Peek {
    /// When the next one is due.
    pub due: Option<Timestamp>,
    /// The pause before the next one; `None` before the first.
    pub pause: Option<SignedDuration>,
    /// Whether an answer is awaited.
    pub in_flight: bool,
    /// What the last one showed; empty for nothing wrong.
    pub said: String,
}

impl TaskRun {
    /// A task that has not begun.
    pub fn new(key: ObjectKey) -> Self {
        Self {
            key,
            state: TaskState::Held,
            started: None,
            deadline: None,
            written: None,
            applied: false,
            tries: 0,
            conflicts: 0,
            reapplied: false,
            taken_from: None,
            replaced: false,
            left_out: Vec::new(),
            migrated: false,
            refusal: None,
            made_anew: 0,
            recreating: false,
            reissued: false,
            put_off: 0,
            blocked: None,
            degraded_since: None,
            last_end: None,
            note: None,
            heard: None,
            peek: Peek::default(),
            ended: None,
            previous_managers: Vec::new(),
            waits: Vec::new(),
        }
    }

    /// Notes, after the task was looked at, what it waits for now, or that it is over.
    pub fn note_wait(&mut self, now: Timestamp) {
        let is_over = self.is_over();
        if is_over {
            self.ended.get_or_insert(now);
        }
        let blocked = self.blocked.as_ref().filter(|_| !is_over);
        if let Some(last) = self.waits.last_mut().filter(|last| last.until.is_none()) {
            if let Some(blocked) = blocked.filter(|blocked| blocked.health == last.health) {
                if blocked.reason != last.reason {
                    last.reason.clone_from(&blocked.reason);
                }
                return;
            }
            last.until = Some(now);
        }
        let Some(Blocked { health, reason, .. }) = blocked else { return };
        let next = Waited { health, reason: reason.clone(), since: now, until: None };
        if self.waits.len() < MOST_WAITS {
            self.waits.push(next);
        } else if let Some(last) = self.waits.last_mut() {
            *last = Waited { since: last.since, ..next };
        }
    }

    /// Whether nothing more will happen to it.
    pub fn is_over(&self) -> bool {
        matches!(self.state, TaskState::Over(_))
    }

    /// Whether an answer is awaited.
    pub fn is_in_flight(&self) -> bool {
        matches!(
            self.state,
            TaskState::Writing
                | TaskState::Replacing
                | TaskState::Migrating
                | TaskState::Rehearsing { .. }
                | TaskState::Deleting { .. }
                | TaskState::Looking(_)
                | TaskState::Collecting { .. }
                | TaskState::Stopping { .. }
        )
    }
}

/// What our write was answered with (I2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// uid of the object.
    pub uid: Arc<str>,
    /// resourceVersion of the answer.
    pub version: u64,
    /// Whether the write created the object or moved its generation.
    pub moved: bool,
    /// Digest of `.status` in the answer.
    pub status: Option<Digest>,
    /// When the answer came.
    pub at: Timestamp,
}

/// How far a task is.
#[derive(Clone, Debug)]
pub enum TaskState {
    /// Waits for its turn inside the stage.
    Held,
    /// A prune that waits until a person has confirmed it.
    Confirming,
    /// A write is in flight.
    Writing,
    /// The object is being replaced; it is applied afterwards, so that every field is ours.
    Replacing,
    /// The fields of other managers are being made ours; it is applied afterwards, so that what the manifest does not name goes.
    Migrating,
    /// The object cannot be changed: a dry run tells whether it could be made anew.
    Rehearsing {
        /// uid of the object that would be deleted.
        uid: Arc<str>,
        /// The refusal.
        fault: Fault,
    },
    /// Tried again at that time.
    Backoff {
        /// When.
        until: Timestamp,
        /// Why.
        fault: Fault,
    },
    /// Refused because of another object of the stage, or of one that its prunes remove; tried once more after that.
    After(Fault),
    /// A quorum read is in flight.
    Looking(Why),
    /// The delete of an object that must be gone before the task can go on is in flight.
    Deleting {
        /// Its uid.
        uid: Arc<str>,
    },
    /// An object must be gone before the task can go on.
    Leaving {
        /// Its uid.
        uid: Arc<str>,
    },
    /// Applied; its health is awaited.
    Waiting,
    /// The ledger must be durable before the task goes on.
    Recording {
        /// The version.
        version: u64,
        /// What follows.
        then: Then,
    },
    /// The hook object exists and runs.
    Running {
        /// Its uid.
        uid: Arc<str>,
    },
    /// Evidence of a failure is gathered.
    Collecting {
        /// uid of the object.
        uid: Arc<str>,
        /// The cause so far.
        cause: String,
        /// Whether the object still runs and is stopped afterwards.
        stop: bool,
    },
    /// The hook is being stopped.
    Stopping {
        /// Its uid.
        uid: Arc<str>,
        /// Its outcome.
        outcome: HookOutcome,
    },
    /// The stopped hook's pods are awaited.
    Draining {
        /// Its uid.
        uid: Arc<str>,
        /// Its outcome.
        outcome: HookOutcome,
        /// Not longer than until then.
        until: Timestamp,
    },
    /// Over.
    Over(Finish),
}

/// What follows a durable record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// Look for a leftover, then create the hook.
    Create,
    /// The hook is over.
    End(HookOutcome),
}

/// Why a quorum read is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Our unforced apply met another manager.
    Conflict,
    /// Before an object that we have not seen is replaced.
    Replacing,
    /// The object cannot be changed, and we have not seen which it is.
    Immutable,
    /// The object is not in the view any more.
    Vanished,
    /// Before a hook is created: is there a leftover, or our own object?
    Leftover,
    /// A delete met a changed object.
    Deleting,
    /// An object that had to go seems gone.
    Left,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It did what it was for.
    Done,
    /// It failed, with the cause, and the log of a hook.
    Failed {
        /// The cause.
        cause: String,
        /// The last log lines.
        log: Option<String>,
        /// What else was seen.
        detail: Option<Box<api::Evidence>>,
    },
    /// It was left alone on purpose, and why.
    Skipped(String),
    /// It was not begun or not waited for, because the attempt ended before.
    Dropped,
}

/// What a task waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The health word, or what stands for it.
    pub health: &'static str,
    /// The reason, for people.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// The row of a task that is over.
#[derive(Clone, Debug)]
pub struct Row {
    /// The object.
    pub key: ObjectKey,
    /// apiVersion's version part; empty when not known.
    pub version: String,
    /// Phase.
    pub phase: Phase,
    /// Wave.
    pub wave: i64,
    /// Whether it is a hook, or a prune.
    pub what: What,
    /// How it ended.
    pub finish: Finish,
    /// What there is to say.
    pub note: Option<String>,
    /// uid of the object, where known.
    pub uid: Option<Arc<str>>,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Timestamp,
    /// What it has waited for.
    pub waits: Vec<Waited>,
    /// Whose object it was until it was taken over; empty where it was not.
    pub taken_from: Vec<String>,
}

/// The kinds of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A plain object.
    Applied,
    /// A hook.
    Hook,
    /// A prune.
    Pruned,
}

impl What {
    /// The kind of row of a task.
    pub fn of(task: &Task) -> Self {
        match task.work {
            Work::Namespace(_) | Work::Apply(_) => Self::Applied,
            Work::Hook(_) => Self::Hook,
            Work::Prune => Self::Pruned,
        }
    }
}

/// The outcome of a hook that failed, from a cause and what was seen.
pub fn failed(cause: &str, evidence: Evidence) -> HookOutcome {
    let message = if evidence.summary.is_empty() { cause.to_owned() } else { format!("{cause}: {}", evidence.summary) };
    HookOutcome { succeeded: false, message, log: evidence.log, detail: evidence.detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn looked_at(run: &mut TaskRun, second: i64, blocked: Option<(&'static str, &str)>) {
        let since = at(second);
        run.blocked = blocked.map(|(health, reason)| Blocked { health, reason: reason.to_owned(), since });
        run.note_wait(since);
    }

    #[test]
    fn a_task_knows_what_it_has_waited_for_and_when_it_was_over() {
        let mut run = TaskRun::new(ObjectKey::new("apps", "Deployment", Some("shop"), "web"));
        looked_at(&mut run, 1, Some(("Progressing", "0 of 2")));
        looked_at(&mut run, 2, Some(("Progressing", "1 of 2")));
        looked_at(&mut run, 3, Some(("Degraded", "too late")));
        looked_at(&mut run, 4, None);
        looked_at(&mut run, 5, Some(("Progressing", "2 of 2")));
        run.state = TaskState::Over(Finish::Done);
        run.note_wait(at(6));
        run.note_wait(at(7));
        let told: Vec<_> = run.waits.iter().map(|w| (w.health, w.reason.as_str(), w.since, w.until)).collect();
        let wanted = [
            ("Progressing", "1 of 2", at(1), Some(at(3))),
            ("Degraded", "too late", at(3), Some(at(4))),
            ("Progressing", "2 of 2", at(5), Some(at(6))),
        ];
        assert_eq!(told, wanted);
        assert_eq!(run.ended, Some(at(6)));
    }

    #[test]
    fn the_last_of_many_waits_stands_for_all_that_follow() {
        let mut run = TaskRun::new(ObjectKey::new("apps", "Deployment", Some("shop"), "web"));
        for second in 0..100 {
            looked_at(&mut run, second, Some((["Progressing", "Degraded"][usize::from(second % 2 == 1)], "")));
        }
        assert_eq!(run.waits.len(), MOST_WAITS);
        let last = run.waits.last().unwrap();
        assert_eq!((last.since, last.until), (at(15), None));
    }
}

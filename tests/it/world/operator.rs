//! One life of an operator: the view, the state, and the decisions of one round, reduced to what the engine needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use swell::api::{Application, ApplicationStatus, HistoryEntry, OperationPhase, OperationState};
use swell::engine::action::{Action, Answer};
use swell::engine::attempt::{Attempt, Course, Ending, Operation, Stop, Timeouts};
use swell::engine::desired::Desired;
use swell::engine::drift::drifts;
use swell::engine::heal::{self, Heal, Memory};
use swell::engine::kinds::Kinds;
use swell::engine::ledger::Ledger;
use swell::engine::lifecycle::{self, Next, Situation};
use swell::engine::live::{Live, Members};
use swell::engine::membership::Marks;
use swell::engine::object::{GroupKind, ObjectKey, Owner};
use swell::engine::plan::{Options, Plan};
use swell::engine::recover::{self, recover};
use swell::engine::report;
use swell::engine::step::{Observation, State, Step, step};

use super::{World, owner};

/// After a restart every wait gets at least this long.
const GRACE: SignedDuration = SignedDuration::from_secs(30);

/// The Application as one round sees it.
#[derive(Clone, Copy)]
pub(crate) struct Round<'a> {
    pub(crate) now: Timestamp,
    pub(crate) application: &'a Application,
    pub(crate) desired: &'a Desired,
    pub(crate) kinds: &'a Kinds,
}

/// What a round wants done.
pub(crate) enum Wish {
    /// An action of the engine; a record comes with the status that is to be durable.
    Do(Action, Option<Box<ApplicationStatus>>),
    /// The last status of an attempt.
    Close(Box<ApplicationStatus>, Box<Ended>),
    /// A status that people wait for.
    Tell(Box<ApplicationStatus>),
    /// The request was taken up.
    ClearRequest,
}

/// An attempt that has ended, for the oracles.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) operation: String,
    pub(crate) attempt: i64,
    pub(crate) ending: Ending,
    /// The cause, if it had failed before it ended.
    pub(crate) failure: Option<String>,
    pub(crate) deletion: bool,
    pub(crate) plan: Arc<Plan>,
}

/// One life.
pub(crate) struct Operator {
    pub(crate) life: u32,
    pub(crate) view: Members,
    pub(crate) state: Option<State>,
    pub(crate) wake: Option<Timestamp>,
    /// Whether each step is made twice, and whether one has differed.
    pub(crate) twice: bool,
    pub(crate) differs: bool,
    ledger: Ledger,
    last: Option<OperationState>,
    history: Vec<HistoryEntry>,
    repairs: Memory,
    waiting: Option<(Operation, Timestamp)>,
    resumed: Option<recover::Running>,
    closing: bool,
    /// Generation of the last request that is durable, and of one on its way there.
    recorded: Option<i64>,
    telling: Option<i64>,
    changed: BTreeSet<ObjectKey>,
    answers: Vec<Answer>,
    /// Up to which version each kind was watched: an answer that is older cannot bring back what is gone.
    watched: BTreeMap<GroupKind, u64>,
    owner: Owner,
}

impl Operator {
    /// Starts from the durable status alone, and the live objects of the kinds that it names.
    pub(crate) fn start(life: u32, world: &World) -> Self {
        let recovered = recover(world.status.as_ref());
        let status = world.status.clone().unwrap_or_default();
        let mut operator = Self {
            life,
            view: Members::new(),
            state: None,
            wake: Some(world.now),
            twice: false,
            differs: false,
            ledger: recovered.ledger,
            last: status.operation_state.clone().filter(|state| state.phase.is_ended()),
            history: status.history,
            repairs: Memory::default(),
            waiting: None,
            resumed: recovered.running,
            closing: false,
            recorded: status.operation_state.as_ref().and_then(|state| state.request_generation),
            telling: None,
            changed: BTreeSet::new(),
            answers: Vec::new(),
            watched: BTreeMap::new(),
            owner: owner(),
        };
        for kind in operator.ledger.kinds().clone() {
            operator.watch(&kind, world);
        }
        operator
    }

    /// Lists a kind that is not watched yet, and watches it from then on.
    pub(crate) fn watch(&mut self, kind: &GroupKind, world: &World) {
        if self.watched.contains_key(kind) {
            return;
        }
        self.watched.insert(kind.clone(), world.history.last().map_or(0, |change| change.version));
        let id = self.owner.membership_id();
        for (key, stored) in world.objects.iter().filter(|(key, _)| key.kind == *kind) {
            if stored.label() == Some(&id)
                && let Some(live) = world.live(key, &self.owner)
            {
                self.view.insert(key.clone(), live);
                self.changed.insert(key.clone());
            }
        }
    }

    pub(crate) fn watches(&self, kind: &GroupKind) -> bool {
        self.watched.contains_key(kind)
    }

    /// A watch shows an object (nothing: it is gone, or does not carry our label any more).
    pub(crate) fn event(&mut self, key: &ObjectKey, version: u64, live: Option<Arc<Live>>) {
        let seen = self.watched.entry(key.kind.clone()).or_default();
        *seen = (*seen).max(version);
        if self.view.get(key).is_some_and(|known| known.version >= version) {
            return;
        }
        match live {
            Some(live) => self.view.insert(key.clone(), live),
            None => self.view.remove(key),
        };
        self.changed.insert(key.clone());
    }

    /// An answer has come, about an object if it is about one.
    pub(crate) fn answer(&mut self, answer: Answer, key: Option<&ObjectKey>) {
        let live = match &answer {
            Answer::Written(_, Ok(live)) | Answer::Looked(_, Ok(live)) | Answer::Refreshed(_, Ok(live)) => {
                live.as_ref()
            }
            _ => None,
        };
        if let (Some(key), Some(live)) = (key, live) {
            let labelled = match &live.marks {
                Marks::Member { id, .. } | Marks::Stray(id) => *id == self.owner.membership_id(),
                Marks::None => false,
            };
            let known = self.view.get(key).map(|known| known.version);
            let watched = self.watched.get(&key.kind).copied().unwrap_or(0);
            if labelled && known.map_or(watched < live.version, |known| known < live.version) {
                self.view.insert(key.clone(), live.clone());
                self.changed.insert(key.clone());
            }
        }
        self.answers.push(answer);
    }

    /// A status that was no record of the engine's is durable.
    pub(crate) fn told(&mut self) {
        self.closing = false;
        self.recorded = self.recorded.max(self.telling.take());
    }

    /// Whether it has nothing under way and nothing to wait for.
    pub(crate) fn rests(&self) -> bool {
        self.state.is_none() && !self.closing && self.waiting.is_none() && self.resumed.is_none()
    }

    /// One round: decide, step, and say what is to be done.
    pub(crate) fn round(&mut self, round: Round<'_>) -> Vec<Wish> {
        self.wake = None;
        if self.closing {
            return Vec::new();
        }
        let mut wishes = Vec::new();
        self.decide(round, &mut wishes);
        let Some(state) = self.state.take() else { return wishes };
        let (members, changed) = (self.view.clone(), std::mem::take(&mut self.changed));
        let seen = Observation {
            now: round.now,
            members: &members,
            changed: &changed,
            answers: std::mem::take(&mut self.answers),
            kinds: round.kinds,
            name_of: &|_| Some("shop/neighbour".to_owned()),
            tenants: &BTreeMap::new(),
            approved: false,
        };
        let again = self.twice.then(|| step(state.clone(), &seen));
        let Step { state, actions, wake } = step(state, &seen);
        if let Some(again) = again {
            let same = format!("{:?} {:?} {:?}", again.actions, again.wake, again.state)
                == format!("{actions:?} {wake:?} {state:?}");
            self.differs |= !same;
        }
        self.wake = wake;
        if let Course::Ended(ending) = &state.attempt.course {
            let ending = ending.clone();
            wishes.push(self.end(state, ending, round));
            return wishes;
        }
        self.state = Some(state);
        for action in actions {
            let status = matches!(action, Action::Record { .. }).then(|| Box::new(self.status(round)));
            wishes.push(Wish::Do(action, status));
        }
        wishes
    }

    fn decide(&mut self, round: Round<'_>, wishes: &mut Vec<Wish>) {
        if let Some(resumed) = self.resumed.take() {
            match resumed.retry_at {
                Some(at) => self.waiting = Some((resumed.operation, at)),
                None => self.resume(resumed, round),
            }
        }
        let heal = self.judge_drift(round);
        let running =
            self.state.as_ref().map(|state| &state.attempt.operation).or(self.waiting.as_ref().map(|(o, _)| o));
        let attempted = self.last.as_ref().and_then(lifecycle::attempted);
        let situation = Situation {
            now: round.now,
            application: round.application,
            revision: &round.desired.revision,
            running,
            ended: self.last.as_ref(),
            taken: None,
            attempted: attempted.as_ref(),
            would_prune: false,
            approved: false,
            heal: heal.as_ref(),
            rights_have_come: false,
        };
        match lifecycle::next(situation) {
            Next::ClearRequest => {
                let generation = round.application.metadata.generation;
                let asks_to_end =
                    round.application.operation.as_ref().is_some_and(|request| request.terminate.is_some());
                if self.recorded >= generation || (asks_to_end && running.is_none()) {
                    wishes.push(Wish::ClearRequest);
                } else if self.telling.is_none() {
                    // Which request it was is durable before the field is cleared.
                    self.telling = running.and_then(|operation| operation.request_generation);
                    wishes.push(Wish::Tell(Box::new(self.status(round))));
                }
            }
            Next::Start(operation, request) => {
                let request = request.and_then(|request| request.sync);
                let mut operation = *operation;
                operation.options =
                    lifecycle::options(round.application, request.as_ref()).expect("the options are good");
                self.begin(operation, round);
                return;
            }
            Next::Stop(stop) => {
                let Some(state) = &mut self.state else {
                    // It only waits for its next attempt: what is newer takes its place.
                    self.waiting = None;
                    self.wake = Some(round.now);
                    self.decide(round, wishes);
                    return;
                };
                // A deletion overrules everything else; otherwise the first reason counts.
                if state.attempt.stop.is_none() || stop == Stop::Deleted {
                    state.attempt.stop = Some(stop);
                }
            }
            Next::Rest => {}
        }
        if let Some((operation, at)) = &self.waiting {
            if *at <= round.now {
                let operation =
                    Operation { attempt: operation.attempt + 1, attempt_started_at: round.now, ..operation.clone() };
                self.waiting = None;
                self.begin(operation, round);
            } else {
                self.wake = Some(*at);
            }
        }
    }

    /// The drift that is to be undone now.
    fn judge_drift(&mut self, round: Round<'_>) -> Option<Heal> {
        let rests = self.state.is_none() && self.waiting.is_none();
        let last = self.last.as_ref().filter(|last| last.phase == OperationPhase::Succeeded)?;
        let synced = last.revision.as_deref() == Some(&round.desired.revision);
        if !(rests && synced && lifecycle::heals(round.application)) {
            return None;
        }
        let drifts = drifts(round.desired, &self.view, &self.ledger, &self.owner);
        let verdict = self.repairs.judge(&drifts, round.now);
        self.wake = verdict.wake;
        verdict.heal
    }

    fn begin(&mut self, operation: Operation, round: Round<'_>) {
        self.ledger.start_attempt();
        let attempt = self.attempt(operation, round);
        self.state = Some(State { ledger: self.ledger.clone(), attempt });
    }

    fn resume(&mut self, resumed: recover::Running, round: Round<'_>) {
        let mut operation = resumed.operation;
        operation.options =
            lifecycle::options(round.application, resumed.request.as_ref()).expect("the options are good");
        let mut attempt = self.attempt(operation, round);
        attempt.grace_until = round.now + GRACE;
        attempt.failure = resumed.failing;
        attempt.rows = resumed.rows;
        attempt.stop = resumed.terminating.then_some(Stop::Terminate);
        self.state = Some(State { ledger: self.ledger.clone(), attempt });
    }

    fn attempt(&self, operation: Operation, round: Round<'_>) -> Attempt {
        let plan = if operation.deletion {
            Plan::deletion(Some(round.desired), &self.view, &self.owner, super::NAMESPACE, &operation.options)
        } else {
            let plan = self.sync_plan(&operation.options, round);
            match &operation.heal {
                Some(heal) => heal::restricted(plan, &heal.objects, &self.repairs.waiting(round.now), false),
                None => plan,
            }
        };
        let timeouts = round.application.timeouts();
        Attempt {
            owner: self.owner.clone(),
            operation,
            plan: Arc::new(plan),
            timeouts: Timeouts { sync: timeouts.sync, stage: timeouts.stage, hook: timeouts.hook },
            grace_until: round.now,
            course: Course::Begin,
            rows: Vec::new(),
            failure: None,
            denied: false,
            stop: None,
            recording: None,
        }
    }

    fn sync_plan(&self, options: &Options, round: Round<'_>) -> Plan {
        Plan::sync(round.desired, &self.view, &self.owner, super::NAMESPACE, options, &|_, _| None)
    }

    fn end(&mut self, state: State, ending: Ending, round: Round<'_>) -> Wish {
        let State { ledger, attempt } = state;
        self.ledger = ledger;
        self.answers.clear();
        let operation = &attempt.operation;
        if let (Ending::Succeeded, Some(heal)) = (&ending, &operation.heal) {
            self.repairs.healed(&heal.objects, round.now);
        }
        let (mut phase, message, again) = match &ending {
            Ending::Succeeded => (OperationPhase::Succeeded, "done".to_owned(), None),
            Ending::Failed(cause) => {
                // A deletion is tried again until it is done.
                let soon = round.now + super::ms(5000);
                let again =
                    lifecycle::retry_at(round.application, operation, round.now).or(operation.deletion.then_some(soon));
                (OperationPhase::Failed, cause.clone(), again)
            }
            Ending::Stopped(_, message) => (OperationPhase::Failed, message.clone(), None),
        };
        if again.is_some() {
            phase = OperationPhase::Running;
        }
        let mut last = report::ended_state(&attempt, None, phase, &message, round.now);
        last.retry_at = again;
        let ended = Box::new(Ended {
            operation: operation.id.clone(),
            attempt: operation.attempt,
            ending,
            failure: attempt.failure.clone(),
            deletion: operation.deletion,
            plan: attempt.plan.clone(),
        });
        match again {
            Some(at) => self.waiting = Some((operation.clone(), at)),
            None => report::remember(&mut self.history, &last, 10, round.now),
        }
        self.last = Some(last);
        self.closing = true;
        self.telling = operation.request_generation;
        self.wake = None;
        let status = Box::new(self.status(round));
        if again.is_some() {
            // Of an operation that has not ended nothing may be taken for its end.
            self.last = self.last.take().filter(|last| last.phase.is_ended());
        }
        Wish::Close(status, ended)
    }

    fn status(&self, round: Round<'_>) -> ApplicationStatus {
        report::status(report::Standing {
            now: round.now,
            generation: round.application.metadata.generation.unwrap_or(0),
            deleting: round.application.metadata.deletion_timestamp.is_some(),
            owner: &self.owner,
            desired: Ok(round.desired),
            revision: Some(&round.desired.revision),
            members: &self.view,
            ledger: self.state.as_ref().map_or(&self.ledger, |state| &state.ledger),
            attempt: self.state.as_ref().map(|state| &state.attempt),
            request: None,
            last: self.last.as_ref(),
            attempted: None,
            history: &self.history,
            kept_destination: None,
            contested: None,
            conditions: &[],
        })
    }
}

//! Runs an operator against the world: requests, answers and watch events take their time, and the operator may die at any point.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use swell::api::{Application, ApplicationStatus};
use swell::engine::action::{self, Action, Answer, Evidence, FaultKind, Write};
use swell::engine::attempt::Ending;
use swell::engine::desired::{Context, Desired, desired};
use swell::engine::health::{Completion, Facts, Health, Verdict};
use swell::engine::kinds::Kinds;
use swell::engine::live::Live;
use swell::engine::object::ObjectKey;
use swell::engine::plan::Plan;
use swell::engine::yaml;

use super::faults::{Chaos, Dice, Fault, Sabotage};
use super::items::{Item, source};
use super::operator::{Ended, Operator, Round, Wish};
use super::oracles;
use super::requests::fault;
use super::scripts::{Meddling, Script, There};
use super::{NAMESPACE, User, World, ms, other_owner, owner};

/// The attempt for which a request is sent.
#[derive(Clone, Debug)]
pub(crate) struct Errand {
    pub(crate) operation: String,
    pub(crate) attempt: i64,
    pub(crate) plan: Arc<Plan>,
}

enum Due {
    Late { life: u32, write: Write },
    Request { life: u32, number: usize, wish: Wish, errand: Option<Errand> },
    Answer { life: u32, number: usize, answer: Option<Answer>, key: Option<ObjectKey> },
    Event { life: u32, change: usize },
    Start,
    Meddle(Meddling),
}

/// The operator, the world, and what is on its way between them.
pub(crate) struct Sim {
    pub(crate) world: World,
    pub(crate) ended: Vec<Ended>,
    pub(crate) violations: Vec<String>,
    /// Requests sent so far.
    pub(crate) requests: usize,
    /// How often the operator has died.
    pub(crate) crashes: usize,
    /// Attempts that have sent a write before SyncFail.
    pub(crate) wrote: BTreeSet<(String, i64)>,
    pub(crate) script: Script,
    application: Application,
    wants: Vec<Arc<Desired>>,
    at_source: usize,
    kinds: Kinds,
    operator: Option<Operator>,
    life: u32,
    agenda: BTreeMap<(Timestamp, u64), Due>,
    sequence: u64,
    events_from: BTreeMap<ObjectKey, Timestamp>,
    published: usize,
    chaos: Chaos,
    chaos_end: Timestamp,
    faults: Vec<Fault>,
    dice: Dice,
    gone: bool,
    /// The request whose status is durable: one that was sent earlier and comes later meets a conflict.
    status_of: usize,
    /// How many writes had been asked for when another sync was.
    asked_before: Option<usize>,
    sabotage: Option<Sabotage>,
    twice: bool,
}

/// A run that takes more than so many steps does not end (I7).
const MOST_STEPS: usize = 20_000;

impl Sim {
    pub(crate) fn new(script: &Script) -> Self {
        let mut kinds = Kinds::builtin().closed();
        kinds.add("example.com/v1", "Widget", "widgets", true);
        kinds.add("example.com/v1", "Gadget", "gadgets", true);
        let application = json!({
            "apiVersion": "swell.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": "web", "namespace": NAMESPACE, "generation": 1, "finalizers": [swell::api::FINALIZER]},
            "spec": {"source": {"inline": ""}, "syncPolicy": script.policy}
        });
        let world = World::new();
        let mut sim = Self {
            ended: Vec::new(),
            violations: Vec::new(),
            requests: 0,
            crashes: 0,
            wrote: BTreeSet::new(),
            wants: script.sources.iter().map(|items| Arc::new(wanted(items, &kinds))).collect(),
            script: script.clone(),
            application: serde_json::from_value(application).expect("a valid Application"),
            at_source: 0,
            kinds,
            operator: None,
            life: 0,
            agenda: BTreeMap::new(),
            sequence: 0,
            events_from: BTreeMap::new(),
            published: 0,
            chaos: Chaos::default(),
            chaos_end: world.now,
            faults: Vec::new(),
            dice: Dice(0),
            gone: false,
            status_of: 0,
            asked_before: None,
            sabotage: None,
            twice: false,
            world,
        };
        sim.world.learn(&script.sources[0]);
        for (item, there) in &script.there {
            sim.put_there(item, *there);
        }
        for (after, meddling) in script.people.clone() {
            sim.put(after, Due::Meddle(meddling));
        }
        sim.put(0, Due::Start);
        sim
    }

    /// With every step made twice, to see that it does the same.
    pub(crate) fn twice(mut self) -> Self {
        self.twice = true;
        self
    }

    /// With faults, from a seed.
    pub(crate) fn with_chaos(mut self, chaos: Chaos, seed: u64) -> Self {
        self.chaos_end = self.world.now + ms(chaos.until);
        (self.chaos, self.dice) = (chaos, Dice(seed));
        self
    }

    /// With something that goes wrong at these requests.
    pub(crate) fn with_faults(mut self, faults: &[Fault]) -> Self {
        self.faults = faults.to_vec();
        self
    }

    /// With something broken, which the judges must see.
    pub(crate) fn with_sabotage(mut self, sabotage: Sabotage) -> Self {
        self.sabotage = Some(sabotage);
        self
    }

    /// How many writes were asked for by the sync that came, by request or for a lost status, when all was done.
    pub(crate) fn asked_again(&self) -> Option<usize> {
        self.asked_before.map(|before| self.world.asked - before)
    }

    /// Runs the script to its end, and then until the cluster is at rest.
    pub(crate) fn run(mut self) -> Self {
        for _ in 0..MOST_STEPS {
            let due = self.agenda.keys().next().map(|(at, _)| *at);
            let act = self.world.next_act();
            let wake = self.operator.as_ref().and_then(|operator| operator.wake);
            let Some(next) = [due, act, wake].into_iter().flatten().min() else {
                if self.advance_script() {
                    continue;
                }
                return self.finish();
            };
            self.world.now = self.world.now.max(next);
            if act == Some(next) {
                self.world.act();
            } else if due == Some(next) {
                let (_, due) = self.agenda.pop_first().expect("it was there just now");
                self.handle(due);
            } else {
                self.round();
            }
            self.publish();
        }
        self.violations.push(format!("I7: not over after {MOST_STEPS} steps; {}", self.whereabouts()));
        self.finish()
    }

    /// Where the running attempt is, for messages.
    pub(crate) fn whereabouts(&self) -> String {
        let state = self.operator.as_ref().and_then(|operator| operator.state.as_ref());
        state.map_or_else(|| "no attempt runs".to_owned(), |state| swell::engine::report::progress(&state.attempt))
    }

    fn finish(mut self) -> Self {
        oracles::at_the_end(&mut self);
        self
    }

    fn put_there(&mut self, item: &Item, there: There) {
        let mut body = item.manifest();
        let (manager, operation) = match there {
            There::Neighbour => {
                let neighbour = other_owner();
                body["metadata"]["labels"]["applyset.kubernetes.io/part-of"] = json!(neighbour.membership_id());
                (neighbour.field_manager(), "Apply")
            }
            There::Person => ("kubectl-create".to_owned(), "Update"),
        };
        self.world.insert(&item.key(), body, &manager, operation, User::Person);
    }

    /// The next thing that the user wants, once nothing is left to do. False when there is none.
    fn advance_script(&mut self) -> bool {
        if self.gone {
            return false;
        }
        let rests = self.operator.as_ref().is_some_and(Operator::rests);
        if !rests {
            self.violations
                .push(format!("I7: nothing will happen any more, and it is not over: {}", self.whereabouts()));
            return false;
        }
        let generation = self.application.metadata.generation.unwrap_or(0) + 1;
        if self.at_source + 1 < self.wants.len() {
            self.at_source += 1;
            self.world.learn(&self.script.sources[self.at_source]);
        } else if self.script.forget && self.asked_before.is_none() {
            self.asked_before = Some(self.world.asked);
            self.world.status = None;
            self.die();
            return true;
        } else if self.script.ask_again && self.asked_before.is_none() {
            self.asked_before = Some(self.world.asked);
            self.application.operation = serde_json::from_value(json!({"sync": {}})).ok();
        } else if self.script.delete && self.application.metadata.deletion_timestamp.is_none() {
            let time = serde_json::from_value(json!(self.world.now.to_string()));
            self.application.metadata.deletion_timestamp = Some(time.expect("a time"));
        } else {
            return false;
        }
        self.application.metadata.generation = Some(generation);
        self.put(1, Due::Answer { life: self.life, number: 0, answer: None, key: None });
        true
    }

    fn handle(&mut self, due: Due) {
        match due {
            Due::Start => {
                self.life += 1;
                oracles::at_a_start(self);
                self.operator = Some(Operator::start(self.life, &self.world));
                self.round();
            }
            Due::Late { life, write } => {
                // Whatever becomes of it, nobody hears of it.
                let _ = self.world.write(&write, &owner().field_manager(), User::Operator(life));
            }
            Due::Request { life, number, wish, errand } => self.serve(life, number, wish, errand.as_ref()),
            Due::Answer { life, number, answer, key } => {
                let Some(operator) = self.operator.as_mut().filter(|operator| operator.life == life) else { return };
                match answer {
                    Some(answer) => operator.answer(answer, key.as_ref()),
                    None if number > 0 => operator.told(),
                    None => {}
                }
                self.round();
                if self.fails(Fault::Answered(number)) {
                    self.die();
                }
            }
            Due::Event { life, change } => {
                let change = &self.world.history[change];
                let Some(operator) = self.operator.as_mut().filter(|operator| operator.life == life) else { return };
                let owner = owner();
                let ours = change.verb != super::Verb::Delete && change.label.1 == Some(owner.membership_id());
                let live = ours.then(|| reduce(&change.object, &change.key, self.sabotage)).flatten();
                operator.event(&change.key, change.version, live);
                self.round();
            }
            Due::Meddle(Meddling::Edit(key)) => {
                let (field, value) = match &*key.kind.kind {
                    "Deployment" => (&["spec", "replicas"][..], json!(1 + self.dice.below(2))),
                    _ => (&["metadata", "labels", "app"][..], json!("edited")),
                };
                self.world.edit(&key, field, value);
            }
            Due::Meddle(Meddling::Crash) => self.die(),
            Due::Meddle(Meddling::TakeAway(key)) => self.world.take_away(&key),
            Due::Meddle(Meddling::Terminate) => {
                let request = json!({"terminate": {}});
                self.application.operation = serde_json::from_value(request).ok();
                self.application.metadata.generation = self.application.metadata.generation.map(|g| g + 1);
                self.round();
            }
        }
    }

    /// One round of the operator; what it wants goes on its way.
    fn round(&mut self) {
        let Some(operator) = self.operator.as_mut() else { return };
        let wanted = self.wants[self.at_source].clone();
        for manifest in &wanted.manifests {
            operator.watch(&manifest.key.kind, &self.world);
        }
        let round = Round { now: self.world.now, application: &self.application, desired: &wanted, kinds: &self.kinds };
        operator.twice = self.twice;
        let wishes = operator.round(round);
        if operator.differs {
            self.violations.push("the same step gave something else the second time".to_owned());
        }
        let errand = operator.state.as_ref().map(|state| Errand {
            operation: state.attempt.operation.id.clone(),
            attempt: state.attempt.operation.attempt,
            plan: state.attempt.plan.clone(),
        });
        let life = operator.life;
        for wish in wishes {
            if matches!(wish, Wish::ClearRequest) {
                self.application.operation = None;
                continue;
            }
            self.requests += 1;
            let number = self.requests;
            let delay = self.delay();
            self.put(delay, Due::Request { life, number, wish, errand: errand.clone() });
        }
    }

    /// A request has reached the API server.
    fn serve(&mut self, life: u32, number: usize, wish: Wish, errand: Option<&Errand>) {
        if self.fails(Fault::Before(number)) {
            self.die();
            return;
        }
        let chaotic = self.world.now < self.chaos_end && self.operator.as_ref().is_some_and(|o| o.life == life);
        if chaotic && self.dice.below(1000) < self.chaos.crash {
            if self.dice.below(2) == 0 {
                self.execute(life, number, wish, errand, false);
            }
            self.die();
            return;
        }
        let roll = if chaotic { self.dice.below(1000) } else { 1000 };
        let lost = roll < self.chaos.lost || self.fails(Fault::Lost(number));
        let late = !lost && (roll < self.chaos.lost + self.chaos.late || self.fails(Fault::Late(number)));
        let transient =
            roll < self.chaos.lost + self.chaos.late + self.chaos.transient || self.fails(Fault::Refused(number));
        let transient = !lost && (late || transient);
        if late
            && let Wish::Do(Action::Write { write, .. } | Action::Tidy { write, .. }, _) = &wish
            && matches!(write, Write::Create { .. } | Write::Delete { .. })
        {
            let (write, after) =
                (write.clone(), if chaotic { i64::try_from(self.dice.below(20_000)).unwrap_or(0) } else { 10_000 });
            self.put(after, Due::Late { life, write });
        }
        let (answer, key) = self.execute(life, number, wish, errand, transient);
        let answer = if lost { answer.map(unknown) } else { answer };
        if self.gone {
            return;
        }
        if self.fails(Fault::After(number)) {
            self.die();
            return;
        }
        let delay = self.delay();
        self.put(delay, Due::Answer { life, number, answer, key });
    }

    /// Does what a request asks for (or not, when it is `dropped`), and gives its answer.
    fn execute(
        &mut self,
        life: u32,
        number: usize,
        wish: Wish,
        errand: Option<&Errand>,
        dropped: bool,
    ) -> (Option<Answer>, Option<ObjectKey>) {
        let user = User::Operator(life);
        let manager = owner().field_manager();
        let (action, status) = match wish {
            Wish::Do(action, status) => (action, status),
            Wish::Close(status, ended) => {
                self.close(number, *status, *ended);
                return (None, None);
            }
            Wish::Tell(status) => {
                self.store(number, *status);
                return (None, None);
            }
            Wish::ClearRequest => return (None, None),
        };
        match action {
            // What a record needs is tried until it is done.
            Action::Record { version } => {
                if self.sabotage != Some(Sabotage::Forgetful) {
                    self.store(number, *status.expect("a record comes with its status"));
                }
                (Some(Answer::Recorded(version)), None)
            }
            Action::CheckRights(_) => (Some(Answer::Rights(Ok(Vec::new()))), None),
            Action::Rehearse { task, write } => {
                let result = if dropped { Err(transient()) } else { self.world.admits(&write, &manager, true) };
                (Some(Answer::Rehearsed(task, result)), None)
            }
            Action::Write { task, write } => {
                let key = write.key().clone();
                if let Some(errand) = errand {
                    oracles::before_a_write(self, task, &write, errand);
                    if !task.sync_fail {
                        self.wrote.insert((errand.operation.clone(), errand.attempt));
                    }
                }
                let result = if dropped { Err(transient()) } else { self.world.write(&write, &manager, user) };
                if let (Some(Sabotage::Doubling), Write::Create { key, body, .. }) = (self.sabotage, &write) {
                    self.world.take_away(key);
                    self.world.insert(key, (**body).clone(), &manager, "Update", user);
                }
                let result = result.map(|object| object.and_then(|object| reduce(&object, &key, self.sabotage)));
                (Some(Answer::Written(task, result)), Some(key))
            }
            Action::Look { task, key, .. } => {
                let result = if dropped { Err(transient()) } else { Ok(self.world.live(&key, &owner())) };
                (Some(Answer::Looked(task, result)), Some(key))
            }
            Action::Refresh { key, .. } => {
                let result = if dropped { Err(transient()) } else { Ok(self.world.live(&key, &owner())) };
                (Some(Answer::Refreshed(key.clone(), result)), Some(key))
            }
            Action::Collect { task, .. } => {
                let evidence = Evidence {
                    summary: "container main exited with 1".to_owned(),
                    log: Some("boom".to_owned()),
                    detail: None,
                };
                (Some(Answer::Collected(task, evidence)), None)
            }
            Action::Tidy { key, write } => {
                oracles::before_a_tidying(self, &write);
                let result = if dropped { Err(transient()) } else { self.world.write(&write, &manager, user) };
                (Some(Answer::Tidied(key, result.map(|_| ()))), None)
            }
        }
    }

    /// What the user wants at the end.
    pub(crate) fn wants(&self) -> &Desired {
        &self.wants[self.at_source]
    }

    /// Whether the Application has been deleted.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    fn fails(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    fn store(&mut self, number: usize, status: ApplicationStatus) {
        if number > self.status_of {
            self.status_of = number;
            self.world.status = Some(status);
        }
    }

    fn close(&mut self, number: usize, status: ApplicationStatus, ended: Ended) {
        // After some failed attempts the user releases what is left.
        let deleted = ended.deletion && (ended.ending == Ending::Succeeded || ended.attempt == 4);
        self.store(number, status);
        self.ended.push(ended);
        if deleted {
            self.gone = true;
            self.operator = None;
        }
    }

    /// The operator dies; another one starts two seconds later. What it sent is done by half when there is chaos, else not at all.
    fn die(&mut self) {
        self.crashes += 1;
        self.operator = None;
        let pending = std::mem::take(&mut self.agenda);
        for (at, due) in pending {
            match due {
                Due::Start | Due::Meddle(_) | Due::Late { .. } => {
                    self.agenda.insert(at, due);
                }
                Due::Request { life, number, wish: wish @ Wish::Do(..), errand } => {
                    if self.chaos.crash > 0 && self.dice.below(2) == 0 {
                        self.execute(life, number, wish, errand.as_ref(), false);
                    }
                }
                Due::Request { .. } | Due::Answer { .. } | Due::Event { .. } => {}
            }
        }
        self.put(2000, Due::Start);
    }

    /// Sends what has changed to the watches, in order for each object.
    fn publish(&mut self) {
        let Some(life) = self.operator.as_ref().map(|operator| operator.life) else {
            self.published = self.world.history.len();
            return;
        };
        let id = owner().membership_id();
        while self.published < self.world.history.len() {
            let change = &self.world.history[self.published];
            let selected = change.label.0.as_ref() == Some(&id) || change.label.1.as_ref() == Some(&id);
            let key = change.key.clone();
            if selected && self.operator.as_ref().is_some_and(|operator| operator.watches(&key.kind)) {
                let at = self.world.now + ms(self.delay() + 1);
                let at = self.events_from.get(&key).map_or(at, |last| at.max(*last));
                self.events_from.insert(key, at);
                self.sequence += 1;
                self.agenda.insert((at, self.sequence), Due::Event { life, change: self.published });
            }
            self.published += 1;
        }
    }

    fn delay(&mut self) -> i64 {
        let spread = if self.chaos.delay == 0 { 0 } else { self.dice.below(self.chaos.delay) };
        1 + i64::try_from(spread).unwrap_or(0)
    }

    fn put(&mut self, after: i64, due: Due) {
        self.sequence += 1;
        self.agenda.insert((self.world.now + ms(after), self.sequence), due);
    }
}

fn wanted(items: &[Item], kinds: &Kinds) -> Desired {
    let documents = yaml::parse(None, &source(items), &yaml::Limits::default()).expect("JSON is YAML");
    let owner = owner();
    let context = Context::new(&owner, NAMESPACE, kinds);
    desired(documents, context).expect("the manifests are good")
}

fn reduce(object: &Value, key: &ObjectKey, sabotage: Option<Sabotage>) -> Option<Arc<Live>> {
    let mut live = Live::reduce(object, key, &owner(), &Facts::default())?;
    if sabotage == Some(Sabotage::Credulous) {
        live.verdict = live.verdict.map(|verdict| Verdict { health: Health::Healthy, ..verdict });
        live.completion = live.completion.map(|_| Completion::Succeeded);
    }
    Some(Arc::new(live))
}

fn transient() -> action::Fault {
    fault(FaultKind::Transient, "the server is overloaded".to_owned())
}

/// The same answer, when nobody knows whether it was done.
fn unknown(answer: Answer) -> Answer {
    match answer {
        Answer::Rehearsed(task, _) => Answer::Rehearsed(task, Err(transient())),
        Answer::Written(task, _) => Answer::Written(task, Err(transient())),
        Answer::Looked(task, _) => Answer::Looked(task, Err(transient())),
        Answer::Refreshed(key, _) => Answer::Refreshed(key, Err(transient())),
        Answer::Tidied(key, _) => Answer::Tidied(key, Err(transient())),
        answer @ (Answer::Recorded(_) | Answer::Rights(_) | Answer::Collected(..)) => answer,
    }
}

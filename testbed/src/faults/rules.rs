//! What a test has ordered, and what has come so far.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::call::Call;
use super::watches::{Event, EventFate};
use super::wire::World;

/// How long [`Rule::hit`] and [`Stop::reached`] wait.
const PATIENCE: Duration = Duration::from_mins(1);

/// Which requests a rule is for.
pub struct When {
    matches: Box<dyn Fn(&Call) -> bool + Send + Sync>,
    watches: bool,
    first: usize,
    times: usize,
}

impl When {
    /// All calls that match. Requests for a watch are none.
    pub fn calls(matches: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Self {
        Self { matches: Box::new(matches), watches: false, first: 1, times: usize::MAX }
    }

    /// All requests for a watch that match.
    pub fn watches(matches: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Self {
        Self { watches: true, ..Self::calls(matches) }
    }

    /// The call of that number ([`Call::number`]) alone.
    pub fn number(number: usize) -> Self {
        Self::calls(move |call| call.number == number).once()
    }

    /// From the n-th match on, which is 1 for the first.
    #[must_use]
    pub fn from(self, first: usize) -> Self {
        Self { first, ..self }
    }

    /// Not more often than that.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// One time.
    #[must_use]
    pub fn once(self) -> Self {
        self.times(1)
    }
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is not sent on, and answered with this status; with `Retry-After` in seconds, if given.
    Refuse(u16, Option<u32>),
    /// It is not sent on before the rule ends.
    Hold,
    /// It is sent on and done, and its answer is dropped: the client sees its request broken off.
    Lose,
}

/// Where the world is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Before the call is sent on.
    Before,
    /// After the API server has done it, before its answer goes back.
    After,
}

#[derive(Clone, Copy)]
pub(crate) enum What {
    Fate(Fate),
    Stop(Moment),
}

/// A rule that a test has made; it holds until it is ended or this handle is dropped.
#[derive(Debug)]
pub struct Rule {
    shared: Arc<Shared>,
}

impl Rule {
    /// How many requests (or events) it has been applied to.
    pub fn hits(&self) -> usize {
        *self.shared.hits.borrow()
    }

    /// Waits until it has been applied so many times in all; fails after a minute.
    pub async fn hit(&self, times: usize) -> Result<()> {
        let mut hits = self.shared.hits.subscribe();
        tokio::time::timeout(PATIENCE, hits.wait_for(|hits| *hits >= times)).await.with_context(|| {
            format!("the rule has been applied {} times in a minute, not {times} times", self.hits())
        })??;
        Ok(())
    }

    /// Ends the rule. What it holds goes on.
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        self.shared.ended.cancel();
    }
}

/// The world, to be stopped at a call.
#[derive(Debug)]
pub struct Stop {
    world: Arc<World>,
    rule: Rule,
}

impl Stop {
    pub(crate) fn new(world: Arc<World>, rule: Rule) -> Self {
        Self { world, rule }
    }

    /// Waits until the world stands still, for a minute, and gives the call that it stopped at.
    pub async fn reached(&self) -> Result<Call> {
        let mut reached = self.rule.shared.reached.subscribe();
        let found = tokio::time::timeout(PATIENCE, reached.wait_for(Option::is_some))
            .await
            .context("no such call has come within a minute")??
            .clone();
        found.context("the call at which the world stops is known")
    }

    /// Whether the world stands still already.
    pub fn is_reached(&self) -> bool {
        self.rule.shared.reached.borrow().is_some()
    }

    /// Lets everything go on as if nothing had been.
    pub fn go_on(self) {
        self.world.open();
    }

    /// Lets everything go on, the call excepted: it is not sent on, or its answer is dropped.
    pub fn lose(self) {
        self.rule.shared.lost.cancel();
        self.world.open();
    }

    /// Resets all connections, and lets go on what comes then. The right end too when the client has been killed.
    pub fn cut(self) {
        self.world.cut();
        self.world.open();
    }

    /// Leaves the network gone, until [`super::FaultProxy::heal`].
    pub fn partition(self) {}
}

#[derive(Debug)]
pub(crate) struct Shared {
    hits: watch::Sender<usize>,
    reached: watch::Sender<Option<Call>>,
    /// The rule holds no more.
    pub(crate) ended: CancellationToken,
    /// The request at which the world stopped is not to come through.
    pub(crate) lost: CancellationToken,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            hits: watch::Sender::new(0),
            reached: watch::Sender::new(None),
            ended: CancellationToken::new(),
            lost: CancellationToken::new(),
        })
    }

    fn note(&self) {
        self.hits.send_modify(|hits| *hits += 1);
    }

    /// The world has been stopped at this call.
    pub(crate) fn reach(&self, call: Call) {
        self.reached.send_replace(Some(call));
    }
}

struct CallRule {
    when: When,
    seen: usize,
    what: What,
    shared: Arc<Shared>,
}

struct EventRule {
    matches: Box<dyn Fn(&Event) -> bool + Send + Sync>,
    fate: EventFate,
    shared: Arc<Shared>,
}

/// All rules of a proxy, and its calls.
#[derive(Default)]
pub(crate) struct Rules {
    inner: Mutex<Inner>,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Inner {
    calls: Vec<Call>,
    rules: Vec<CallRule>,
    events: Vec<EventRule>,
}

impl Rules {
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.inner().calls.clone()
    }

    pub(crate) fn add(&self, when: When, fate: Fate) -> Rule {
        self.insert(when, What::Fate(fate))
    }

    pub(crate) fn add_stop(&self, when: When, moment: Moment) -> Rule {
        self.insert(when.once(), What::Stop(moment))
    }

    pub(crate) fn add_event_rule(
        &self,
        matches: impl Fn(&Event) -> bool + Send + Sync + 'static,
        fate: EventFate,
    ) -> Rule {
        let shared = Shared::new();
        self.inner().events.push(EventRule { matches: Box::new(matches), fate, shared: shared.clone() });
        Rule { shared }
    }

    /// Counts a request in, and tells what is to become of it.
    pub(crate) fn arrived(&self, call: &mut Call) -> Option<(What, Arc<Shared>)> {
        let mut inner = self.inner();
        if !call.watch {
            call.number = inner.calls.len() + 1;
            inner.calls.push(call.clone());
        }
        inner.rules.retain(|rule| !rule.shared.ended.is_cancelled());
        let mut found = None;
        for rule in inner.rules.iter_mut().filter(|rule| rule.when.watches == call.watch && (rule.when.matches)(call)) {
            rule.seen += 1;
            let due = rule.seen >= rule.when.first && rule.seen - rule.when.first < rule.when.times;
            if due && found.is_none() {
                rule.shared.note();
                found = Some((rule.what, rule.shared.clone()));
            }
        }
        found
    }

    /// Notes the answer to a call.
    pub(crate) fn answered(&self, call: &mut Call, code: u16) {
        call.code = Some(code);
        let index = call.number.wrapping_sub(1);
        if let Some(noted) = self.inner().calls.get_mut(index) {
            noted.code = Some(code);
        }
    }

    /// What is to become of an event.
    pub(crate) fn event(&self, event: &Event) -> Option<(EventFate, Arc<Shared>)> {
        let mut inner = self.inner();
        inner.events.retain(|rule| !rule.shared.ended.is_cancelled());
        let rule = inner.events.iter().find(|rule| (rule.matches)(event))?;
        rule.shared.note();
        Some((rule.fate, rule.shared.clone()))
    }

    fn insert(&self, when: When, what: What) -> Rule {
        let shared = Shared::new();
        self.inner().rules.push(CallRule { when, seen: 0, what, shared: shared.clone() });
        Rule { shared }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

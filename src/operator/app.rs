//! The task of one Application: observe → step → perform → report, woken by what happens and by deadlines, never by a clock tick.

mod advance;
mod again;
mod checks;
mod decision;
mod operation;
mod sight;
mod telling;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use futures::{FutureExt, future::BoxFuture};
use jiff::{Timestamp, Unit};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use self::again::Again;
use self::checks::Checked;
use self::decision::Healing;
use self::sight::Sourced;
use self::telling::Telling;
use super::Shared;
use super::sources::Maps;
use super::status::{Done, StatusWriter, value};
use crate::api::{self, Application};
use crate::cluster::application;
use crate::cluster::limit;
use crate::cluster::view::AppView;
use crate::engine::action::{Answer, Fault, FaultKind};
use crate::engine::attempt::{Attempt, Course, Operation, Row};
use crate::engine::ledger::Ledger;
use crate::engine::lifecycle;
use crate::engine::object::{GroupKind, Owner};
use crate::engine::recover::recover;
use crate::engine::report::{self, Standing};
use crate::telemetry::metrics::{Held, Share};

/// One Application's task and all that it remembers; nothing of it could not be lost.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, none a state of one machine")]
pub(super) struct Actor {
    shared: Arc<Shared>,
    owner: Owner,
    updates: watch::Receiver<Arc<Application>>,
    gone: CancellationToken,
    view: Arc<AppView>,
    application: Arc<Application>,
    /// The Application as the watch told it last.
    received: Arc<Application>,
    /// resourceVersion of the Application as we know it.
    version: String,
    /// Its health checks.
    checks: Checked,
    /// The task that judges by them; it ends with this one.
    judge: Option<AbortOnDropHandle<()>>,
    source: Option<Sourced>,
    /// Whether the source may have changed since it was read.
    source_due: bool,
    /// Why the source has not been read yet.
    unread: Option<String>,
    /// Kinds whose watches have been listed.
    watched: BTreeSet<GroupKind>,
    /// Why some of the kinds cannot be seen.
    blind: Option<Fault>,
    maps: Option<watch::Receiver<Maps>>,
    maps_seen: Vec<Option<(u64, Option<String>)>>,
    /// When a change of several ConfigMaps counts, if nothing more changes until then.
    quiet_at: Option<Instant>,
    ledger: Ledger,
    attempt: Option<Attempt>,
    /// What was asked for of the operation that runs or waits.
    request: Option<api::Operation>,
    /// An operation that waits: for its next attempt, or until it can begin.
    waiting: Option<Waiting>,
    last: Option<api::OperationState>,
    /// The request that was taken up and has not been cleared yet, with the generation at which it was.
    taken: Option<(i64, api::Operation)>,
    /// The latest operation about the whole source.
    attempted: Option<api::Attempted>,
    history: Vec<api::HistoryEntry>,
    healing: Healing,
    /// When rights that are lacking are looked for again.
    rights_again: Again,
    /// When a source that may not be read is tried again.
    source_again: Again,
    /// The last Event about a self-heal, and when it was told.
    told: Option<(String, Timestamp)>,
    /// The operation and attempt of which was told that it waits for a person.
    confirming: Option<(String, i64)>,
    telling: Telling,
    answers: FuturesUnordered<BoxFuture<'static, (u64, Option<Answer>)>>,
    /// Number of the attempt whose answers count: tasks of different attempts have the same names.
    serial: u64,
    /// Cancelled when that attempt is over.
    called_off: CancellationToken,
    in_line: Arc<Semaphore>,
    arrived: Vec<Answer>,
    writer: StatusWriter,
    /// Whether the Application's namespace is being deleted.
    doomed: bool,
    /// Whether a conflict has told that our copy of the Application is old.
    stale: bool,
    /// Whether the last round could not come to its end: the next is due when `wake` says, whatever else waits.
    held: bool,
    wake: Option<Instant>,
}

/// An operation that does not run at the moment.
struct Waiting {
    operation: Operation,
    until: Instant,
    /// Whether it goes on where a status says, instead of beginning.
    resumed: Option<Resumed>,
    /// Whether it is a further attempt.
    is_retry: bool,
}

/// What a status says of an attempt that goes on.
#[derive(Default)]
struct Resumed {
    failing: Option<String>,
    /// What was over before.
    rows: Vec<Row>,
    terminating: bool,
}

/// After a restart every wait gets at least this long to be judged anew (V2).
const GRACE: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);
/// The pause before something that the cluster did not answer is asked again.
const AGAIN: Duration = Duration::from_secs(1);

impl Actor {
    /// The task of an Application that was seen for the first time.
    pub(super) fn new(
        shared: Arc<Shared>,
        owner: Owner,
        updates: watch::Receiver<Arc<Application>>,
        gone: CancellationToken,
    ) -> Self {
        let application = updates.borrow().clone();
        let checks = Checked::unread(&application);
        let view = shared.view.register(&owner, &checks.checks);
        let telling = Telling::new(Share::new(shared.telemetry.clone()));
        Self {
            shared,
            telling,
            owner,
            view,
            gone,
            version: application.metadata.resource_version.clone().unwrap_or_default(),
            received: application.clone(),
            application,
            updates,
            checks,
            judge: None,
            source: None,
            source_due: false,
            unread: None,
            watched: BTreeSet::new(),
            blind: None,
            maps: None,
            maps_seen: Vec::new(),
            quiet_at: None,
            ledger: Ledger::default(),
            attempt: None,
            request: None,
            waiting: None,
            last: None,
            taken: None,
            attempted: None,
            history: Vec::new(),
            healing: Healing::default(),
            rights_again: Again::default(),
            source_again: Again::default(),
            told: None,
            confirming: None,
            answers: FuturesUnordered::new(),
            serial: 0,
            called_off: CancellationToken::new(),
            in_line: Arc::new(Semaphore::new(limit::MOST)),
            arrived: Vec::new(),
            writer: StatusWriter::default(),
            doomed: false,
            stale: false,
            held: false,
            wake: None,
        }
    }

    /// Runs until the Application is gone or the operator stops.
    pub(super) async fn run(mut self) {
        self.span().in_scope(|| self.recover());
        loop {
            let began = Instant::now();
            let awake = Held::one(&self.shared.telemetry.metrics.awake);
            self.round().await;
            let span = self.span();
            span.in_scope(|| self.write_status_if_due());
            drop(awake);
            self.shared.telemetry.metrics.reconciled(began.elapsed());
            if self.gone.is_cancelled() || self.shared.stop.is_cancelled() {
                break;
            }
            self.wait().instrument(span).await;
        }
        if self.gone.is_cancelled() {
            self.shared.view.forget(&self.view);
        }
        // The writes in flight are finished, and what is behind them is not sent.
        self.called_off.cancel();
        while self.answers.next().await.is_some() {}
        // The status as well; what it did not say is found in the cluster by the next process.
        if let Some(writing) = self.writer.writing.take() {
            writing.await;
        }
    }

    /// Takes everything from the status: at the start, and when somebody else has written it.
    fn recover(&mut self) {
        self.call_off();
        let status = self.application.status.as_ref();
        let recovered = recover(status);
        self.ledger = recovered.ledger;
        self.attempted = recovered.attempted;
        self.attempt = None;
        self.waiting = None;
        self.request = None;
        self.answers = FuturesUnordered::new();
        self.arrived.clear();
        self.history = status.map(|status| status.history.clone()).unwrap_or_default();
        self.last = status.and_then(|status| status.operation_state.clone());
        self.writer.know(status.map(value));
        let deleting = self.application.metadata.deletion_timestamp.is_some();
        let longest = self.application.retry().max_duration;
        let running = recovered.running.and_then(|running| running.as_far_as_possible(deleting, longest, now()));
        self.telling.recover(self.last.as_ref().filter(|_| running.is_some()));
        if let Some(running) = running {
            tracing::info!(operation = %running.operation.id, "goes on with an operation");
            self.request = self.last.as_ref().and_then(|last| last.operation.clone());
            let now = now();
            let pause = running
                .retry_at
                .map_or(Duration::ZERO, |at| at.duration_since(now).try_into().unwrap_or(Duration::ZERO));
            self.waiting = Some(Waiting {
                is_retry: running.retry_at.is_some(),
                operation: running.operation,
                until: Instant::now() + pause,
                resumed: running.retry_at.is_none().then_some(Resumed {
                    failing: running.failing,
                    terminating: running.terminating,
                    rows: running.rows,
                }),
            });
        }
    }

    /// Waits until something has happened: an answer, a change, a deadline.
    async fn wait(&mut self) {
        // What cannot go on before something else has happened must not wake us again and again.
        let status = self.writer.due_at().filter(|_| self.can_tell());
        let begins = self.waiting.as_ref().filter(|waiting| self.may_begin(waiting)).map(|waiting| waiting.until);
        let (begins, quiet) = if self.held { (None, None) } else { (begins, self.quiet_at) };
        let due = [self.wake, status, begins, quiet].into_iter().flatten().min();
        let timer = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let maps = async {
            match &mut self.maps {
                Some(maps) => {
                    if maps.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                None => std::future::pending().await,
            }
        };
        // What comes meanwhile may be the very status that is being written: it is looked at when that has come back.
        let is_writing = self.writer.writing.is_some();
        let writing = async {
            match &mut self.writer.writing {
                Some(writing) => writing.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = writing => self.wrote(done),
            Some((serial, answer)) = self.answers.next(), if !self.answers.is_empty() => self.arrive(serial, answer),
            changed = self.updates.changed(), if !is_writing => {
                if changed.is_err() {
                    self.gone.cancel();
                }
            }
            () = self.view.bell.notified() => {}
            () = maps => {}
            // What has become of the time alone is told too.
            () = timer => self.writer.dirty = true,
            () = self.gone.cancelled() => {}
            () = self.shared.stop.cancelled() => {}
        }
        // Whatever else has arrived meanwhile is taken along.
        while let Some(Some((serial, answer))) = self.answers.next().now_or_never() {
            self.arrive(serial, answer);
        }
    }

    /// Takes in an answer. One to an earlier attempt counts only where it names an object, not a task: the clean-ups.
    fn arrive(&mut self, serial: u64, answer: Option<Answer>) {
        let answer = answer.filter(|answer| serial == self.serial || matches!(answer, Answer::Tidied(..)));
        self.arrived.extend(answer);
    }

    /// The attempt is over: what of it has not been sent is not sent, and what is on its way is nobody's answer any more.
    fn call_off(&mut self) {
        self.called_off.cancel();
        self.called_off = CancellationToken::new();
        self.serial += 1;
    }

    /// A deletion begins when nothing is on its way any more: what a late write makes would be left behind (I5).
    fn may_begin(&self, waiting: &Waiting) -> bool {
        !waiting.operation.deletion || self.answers.is_empty()
    }

    /// Whether there is something true to say in the status.
    fn can_tell(&self) -> bool {
        match &self.source {
            Some(_) => self.blind.is_none() || self.writer.urgent,
            None => self.unread.is_some(),
        }
    }

    /// One round: see what the Application says now, decide what it needs, move the attempt on.
    async fn round(&mut self) {
        self.wake = None;
        if std::mem::take(&mut self.stale) {
            self.reread().await;
        }
        if self.writer.writing.is_none() {
            let application = self.updates.borrow_and_update().clone();
            if !Arc::ptr_eq(&application, &self.received) {
                self.received = application.clone();
                self.update(application);
            }
        }
        let span = self.span();
        let sees = async { self.read_source().await && self.mark().await };
        self.held = !sees.instrument(span.clone()).await;
        if self.held {
            return;
        }
        async {
            self.narrow_view();
            self.watch_kinds().await;
            self.decide().await;
        }
        .instrument(span)
        .await;
        // What was decided may be another operation.
        let span = self.span();
        self.move_on().instrument(span).await;
    }

    /// Begins the operation that waits, moves the attempt on, and ends it.
    async fn move_on(&mut self) {
        self.resume_or_retry().await;
        self.advance();
        if let Some(Attempt { course: Course::Ended(_), .. }) = &self.attempt {
            let deleted = self.note_attempt();
            self.finish().await;
            self.note_outcome(deleted);
            // What comes next is decided at once.
            self.wake = Some(Instant::now());
        }
    }

    /// Looks again at that time, if nothing happens before.
    fn wake_at(&mut self, time: Timestamp) {
        let pause = Duration::try_from(time.duration_since(now())).unwrap_or(Duration::ZERO);
        let at = Instant::now() + pause;
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// The Application has changed.
    fn update(&mut self, application: Arc<Application>) {
        let number = |version: &str| version.parse::<u64>().unwrap_or(0);
        let theirs = application.metadata.resource_version.clone().unwrap_or_default();
        if number(&theirs) < number(&self.version) {
            return;
        }
        if application.metadata.uid != self.application.metadata.uid {
            // Deleted and created again under the same name: another Application.
            self.application = application;
            self.version = theirs;
            self.source = None;
            self.recover();
            return;
        }
        let ours = self.writer.is_ours(application.status.as_ref().map(value));
        if application.metadata.generation != self.application.metadata.generation {
            self.writer.dirty = true;
        }
        self.version = theirs;
        self.application = application;
        if !ours {
            tracing::warn!("somebody else has written the status; it is read anew");
            self.recover();
        }
    }

    /// Puts the finalizer and the ApplySet marks onto the Application. False: tried again later.
    async fn mark(&mut self) -> bool {
        let Some(change) = application::missing_marks(&self.application, &self.owner, &self.ledger) else {
            return true;
        };
        if self.writer.writing.is_some() {
            // The status write that is under way moves the resourceVersion: after it.
            return true;
        }
        self.change(change).await
    }

    async fn change(&mut self, change: application::Change) -> bool {
        let calls = self.shared.connections.calls();
        match application::change(&calls, &self.owner, &self.version, &change).await {
            Ok(application) => {
                self.update(Arc::new(application));
                true
            }
            Err(fault) if fault.kind == FaultKind::NotFound => {
                self.gone.cancel();
                false
            }
            Err(fault) if fault.kind == FaultKind::Conflict => {
                self.reread().await;
                self.wake = Some(Instant::now() + Duration::from_millis(100));
                false
            }
            Err(fault) => {
                tracing::warn!(error = %fault.message, "the Application cannot be changed");
                self.wake = Some(Instant::now() + AGAIN);
                false
            }
        }
    }

    /// Reads the Application from the quorum, when a conflict says that ours is old.
    async fn reread(&mut self) {
        match application::get(&self.shared.connections.calls(), &self.owner).await {
            Ok(application) => self.update(Arc::new(application)),
            Err(fault) if fault.kind == FaultKind::NotFound => self.gone.cancel(),
            Err(fault) => {
                tracing::warn!(error = %fault.message, "the Application cannot be read");
            }
        }
    }

    /// Begins to write the status if something of it has changed and nothing is being written.
    fn write_status_if_due(&mut self) {
        if !self.can_tell() || !self.writer.is_due(Instant::now()) {
            return;
        }
        let status = self.status();
        self.note_figures(&status);
        let written = value(&status);
        let ledger = self.ledger.version();
        if self.writer.written.as_ref() == Some(&written) {
            self.writer.spared(Instant::now());
            if self.writer.wanted.take().is_some() {
                self.arrived.push(Answer::Recorded(ledger));
                self.wake = Some(Instant::now());
            }
            return;
        }
        let calls = self.shared.connections.calls();
        let (owner, version) = (self.owner.clone(), self.version.clone());
        let uid = self.application.metadata.uid.clone().unwrap_or_default();
        let sent = written.clone();
        let write = async move {
            let result = application::write_status(&calls, &owner, &version, &uid, &status)
                .await
                .map(|(version, kept)| (version, kept.as_ref().map_or(written, value)));
            Done { result, ledger }
        };
        self.writer.began(write.boxed(), sent);
    }

    /// A status write has come back.
    fn wrote(&mut self, done: Done) {
        let now = Instant::now();
        match done.result {
            Ok((version, kept)) => {
                self.version = version;
                self.writer.succeeded(kept, now);
                if self.writer.wanted.is_some_and(|wanted| wanted <= done.ledger) {
                    self.writer.wanted = None;
                }
                self.arrived.push(Answer::Recorded(done.ledger));
            }
            Err(fault) => {
                self.writer.failed(&fault, now);
                // Decided on something older than the server has: read, then decide again.
                self.stale = matches!(fault.kind, FaultKind::Conflict | FaultKind::NotFound);
                if !self.stale {
                    tracing::warn!(error = %fault.message, "the status cannot be written");
                }
            }
        }
    }

    fn status(&self) -> api::ApplicationStatus {
        let source = self.source.as_ref();
        let wants = match source.map(|source| &source.wants) {
            Some(Ok(desired)) => Ok(&**desired),
            Some(Err(problem)) => Err(problem.as_str()),
            None => Err(self.unread.as_deref().unwrap_or("the source has not been read yet")),
        };
        let conditions =
            self.application.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let options = lifecycle::options(&self.application, None);
        let kept_destination = options.is_ok_and(|options| options.create_namespace.is_some());
        self.view.peek(|members| {
            report::status(Standing {
                now: now(),
                generation: self.application.metadata.generation.unwrap_or(0),
                deleting: self.application.metadata.deletion_timestamp.is_some(),
                owner: &self.owner,
                desired: wants,
                revision: source.map(|source| source.revision.as_str()),
                members,
                ledger: &self.ledger,
                attempt: self.attempt.as_ref(),
                request: self.request.as_ref(),
                last: self.last.as_ref(),
                attempted: self.attempted.as_ref(),
                history: &self.history,
                kept_destination: kept_destination.then(|| self.application.destination_namespace()),
                contested: self.healing.contested.as_deref(),
                conditions,
            })
        })
    }
}

fn now() -> Timestamp {
    // Status times are written with milliseconds, and read back the same.
    Timestamp::now().round(Unit::Millisecond).unwrap_or_else(|_| Timestamp::now())
}

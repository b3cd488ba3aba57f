//! The operations of one Application: how an attempt begins, is asked to end, ends, and what becomes of it then.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{AGAIN, Actor, GRACE, Resumed, Waiting, now};
use crate::api::{self, OperationPhase, annotations as keys};
use crate::cluster::application;
use crate::cluster::events::{self, Type};
use crate::engine::action::FaultKind;
use crate::engine::attempt::{Attempt, Course, Ending, Operation, Stop, Timeouts};
use crate::engine::desired::Manifest;
use crate::engine::heal;
use crate::engine::ledger::Ledger;
use crate::engine::lifecycle::{self, Departure};
use crate::engine::live::Live;
use crate::engine::object::ObjectKey;
use crate::engine::plan::{Options, Plan};
use crate::engine::report;
use crate::engine::settings::{Phase, RunPolicy};

/// A missing right or an unreadable source holds a deletion for at most this long.
pub(super) const DELETION_PATIENCE: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);
/// The pause before an Event about the same repair as the last one.
const TOLD_AGAIN: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);
/// Objects that an Event names.
const MOST_TOLD: usize = 10;

impl Actor {
    /// Begins the operation that waits, if its time has come: a new one, a further attempt, or one that goes on after a restart.
    pub(super) async fn resume_or_retry(&mut self) {
        let now_due = |waiting: &Waiting| waiting.until <= Instant::now() && self.may_begin(waiting);
        if !self.waiting.as_ref().is_some_and(now_due) {
            return;
        }
        let Some(mut waiting) = self.waiting.take() else { return };
        if waiting.is_retry {
            waiting.operation.attempt += 1;
            waiting.operation.attempt_started_at = now();
        }
        let request = self.request.as_ref().and_then(|request| request.sync.clone());
        let application = self.application.clone();
        match lifecycle::options(&application, request.as_ref()) {
            Ok(options) => waiting.operation.options = self.with_destination(options).await,
            Err(problem) => return self.fail_unplanned(&waiting.operation, problem).await,
        }
        let Some(source) = &self.source else {
            self.waiting = Some(waiting);
            return;
        };
        let desired = match &source.wants {
            Ok(desired) => Some(desired.clone()),
            Err(_) if waiting.operation.deletion => None,
            Err(problem) => {
                let problem = problem.clone();
                return self.fail_unplanned(&waiting.operation, problem).await;
            }
        };
        if let Some(fault) = self.blind.clone() {
            let started = waiting.operation.started_at;
            let late = application
                .timeouts()
                .sync
                .is_some_and(|timeout| started.checked_add(timeout).is_ok_and(|end| end <= now()));
            if late || fault.kind == FaultKind::Forbidden || waiting.operation.deletion {
                return self.fail_unplanned(&waiting.operation, fault.message).await;
            }
            self.tell_wait(&waiting, &fault.message);
            waiting.until = Instant::now() + AGAIN;
            self.waiting = Some(waiting);
            return;
        }
        if let Some(desired) = &desired
            && desired.manifests.is_empty()
            && !waiting.operation.deletion
            && !application.automated().allow_empty
            && self.view.peek(|members| members.values().any(|live| live.is_member(&self.owner)))
        {
            let problem = "the source holds no manifest, so that everything would be pruned; set syncPolicy.automated.allowEmpty if that is meant";
            return self.fail_unplanned(&waiting.operation, problem.to_owned()).await;
        }
        // What a former attempt has pruned is not missed by the next.
        let is_first = !waiting.operation.deletion && waiting.resumed.is_none() && !waiting.is_retry;
        if let Some(desired) = desired.as_ref().filter(|_| is_first) {
            let options = &waiting.operation.options;
            let unmatched = self.view.peek(|members| Plan::unmatched(desired, members, &self.owner, options));
            if let Some(problem) = unmatched {
                return self.fail_unplanned(&waiting.operation, problem).await;
            }
        }
        if waiting.operation.deletion && self.namespace_goes().await {
            // The account and its bindings are gone already: nobody is waited for, members here go with the namespace.
            self.tell(
                Type::Normal,
                "DeleteHooksSkipped",
                "Delete",
                "the namespace is being deleted: its objects go with it, no hook is run",
            );
            self.begin(waiting, None);
            return;
        }
        self.begin(waiting, desired.as_deref());
    }

    /// An operation that cannot begin says so from the first second (I7).
    fn tell_wait(&mut self, waiting: &Waiting, why: &str) {
        if waiting.resumed.is_some() || waiting.is_retry {
            // What its status says is what a restart needs.
            return;
        }
        let message = format!("waits to begin: {why}");
        let is_told = self
            .last
            .as_ref()
            .is_some_and(|last| last.id == waiting.operation.id && last.message.as_deref() == Some(message.as_str()));
        if !is_told {
            self.last = Some(report::waiting_state(&waiting.operation, self.request.as_ref(), &message));
            self.writer.hurry();
        }
    }

    /// Whether the destination's Namespace must be created is known before the plan is made: an account that may not create one
    /// deploys into one that is there.
    pub(super) async fn with_destination(&mut self, mut options: Options) -> Options {
        if options.create_namespace.is_some() {
            let path = format!("/api/v1/namespaces/{}", self.application.destination_namespace());
            let there = self.shared.connections.calls().get(path).await;
            options.destination_exists =
                there.is_ok_and(|namespace| namespace.pointer("/metadata/deletionTimestamp").is_none());
        }
        options
    }

    /// Whether the Application's namespace is being deleted. What cannot be told counts as no.
    async fn namespace_goes(&mut self) -> bool {
        let calls = self.shared.connections.calls();
        let namespace = calls.get(format!("/api/v1/namespaces/{}", self.owner.namespace())).await;
        self.doomed = namespace.is_ok_and(|namespace| namespace.pointer("/metadata/deletionTimestamp").is_some());
        self.doomed
    }

    fn begin(&mut self, waiting: Waiting, desired: Option<&crate::engine::desired::Desired>) {
        let Waiting { operation, resumed, .. } = waiting;
        let destination = self.application.destination_namespace();
        let options = operation.options.clone();
        let plan = self.view.peek(|members| match desired {
            Some(desired) if !operation.deletion => {
                let ran = |manifest: &Manifest, phase: Phase| ran_before(&self.ledger, manifest, phase);
                Plan::sync(desired, members, &self.owner, destination, &options, &ran)
            }
            desired if self.doomed => {
                let elsewhere = |key: &ObjectKey| key.namespace.as_deref() != Some(self.owner.namespace());
                let members = members
                    .iter()
                    .filter(|(key, _)| elsewhere(key))
                    .map(|(key, live)| (key.clone(), live.clone()))
                    .collect();
                Plan::deletion(desired, &members, &self.owner, destination, &options)
            }
            desired => Plan::deletion(desired, members, &self.owner, destination, &options),
        });
        let timeouts = self.application.timeouts();
        let now = now();
        let plan = match &operation.heal {
            Some(heal) => {
                heal::restricted(plan, &heal.objects, &self.healing.memory.waiting(now), options.destination_exists)
            }
            None => plan,
        };
        let grace_until = if resumed.is_some() { now.checked_add(GRACE).unwrap_or(now) } else { now };
        if resumed.is_none() {
            self.ledger.start_attempt();
        }
        // A repair is told once, when it has ended.
        if resumed.is_none() && operation.heal.is_none() {
            let account = match self.shared.acting.account_for(&self.application) {
                Some((namespace, name)) => format!("service account {namespace}/{name}"),
                None => "the operator itself".to_owned(),
            };
            let note = format!(
                "operation {} of revision {}, attempt {}, as {account}",
                operation.id, operation.revision, operation.attempt
            );
            self.tell(Type::Normal, "OperationStarted", "Sync", &note);
            let remarks = lifecycle::remarks(&self.application, desired);
            let mut warnings: Vec<_> = remarks.iter().map(ToString::to_string).collect();
            warnings.extend(desired.iter().flat_map(|desired| desired.warnings.iter().map(ToString::to_string)));
            if !warnings.is_empty() && !operation.deletion {
                self.tell(Type::Warning, "ManifestWarning", "Sync", &warnings.join("; "));
            }
        }
        let Resumed { failing, terminating, rows } = resumed.unwrap_or_default();
        self.attempt = Some(Attempt {
            owner: self.owner.clone(),
            operation,
            plan: Arc::new(plan),
            timeouts: Timeouts { sync: timeouts.sync, stage: timeouts.stage, hook: timeouts.hook },
            grace_until,
            course: Course::Begin,
            rows,
            failure: failing,
            denied: false,
            stop: terminating.then_some(Stop::Terminate),
            recording: None,
        });
        self.writer.dirty = true;
    }

    /// Asks the operation that runs, or waits, to end.
    pub(super) async fn stop_operation(&mut self, stop: Stop) {
        let generation = self.application.metadata.generation;
        if let Some(attempt) = &mut self.attempt {
            if stop == Stop::Terminate && self.application.operation.is_some() {
                attempt.operation.request_generation = generation;
            }
            // A superseded operation finishes its hooks; one that somebody wants to end does not.
            let overrides = stop == Stop::Terminate && matches!(attempt.stop, Some(Stop::Superseded(_)));
            if attempt.stop.is_none() || overrides || (stop == Stop::Deleted && attempt.stop != Some(Stop::Deleted)) {
                tracing::info!(operation = %attempt.operation.id, ?stop, "ends an operation early");
                attempt.stop = Some(stop);
                self.writer.dirty = true;
            }
            return;
        }
        let Some(mut waiting) = self.waiting.take() else { return };
        if waiting.resumed.is_some() && stop != Stop::Deleted {
            // It has to be picked up before it can end: its hooks may still run.
            waiting.until = Instant::now();
            self.waiting = Some(waiting);
            return;
        }
        if stop == Stop::Terminate {
            waiting.operation.request_generation = generation;
        }
        let message = match stop {
            Stop::Terminate => lifecycle::TERMINATED.to_owned(),
            Stop::Superseded(revision) => format!("{}{revision}", lifecycle::SUPERSEDED),
            Stop::Deleted => "ended, because the Application is being deleted".to_owned(),
        };
        if waiting.operation.deletion {
            // What follows is that the Application goes: nothing else tells the next round.
            self.wake = Some(Instant::now());
            return;
        }
        self.fail_unplanned(&waiting.operation, message).await;
    }

    /// Ends an operation that never had a plan.
    async fn fail_unplanned(&mut self, operation: &Operation, message: String) {
        if operation.deletion {
            return self.deletion_failed(operation.clone(), message, true).await;
        }
        let state = report::unplanned_state(operation, self.request.as_ref(), &message, now());
        self.close(state);
    }

    /// The attempt has ended: what becomes of the operation.
    pub(super) async fn finish(&mut self) {
        let Some(attempt) = self.attempt.take() else { return };
        let Course::Ended(ending) = attempt.course.clone() else {
            self.attempt = Some(attempt);
            return;
        };
        self.call_off();
        let now = now();
        let request = self.request.clone();
        let state = |phase, message: String| report::ended_state(&attempt, request.as_ref(), phase, &message, now);
        match ending {
            Ending::Succeeded if attempt.operation.deletion => {
                let late = self.has_latecomers(&attempt);
                if late || !self.release().await {
                    // The same attempt goes on: its hooks have run.
                    let resumed = Some(Resumed::default());
                    let until = Instant::now() + if late { Duration::ZERO } else { AGAIN / 4 };
                    self.waiting = Some(Waiting { operation: attempt.operation, until, resumed, is_retry: false });
                } else {
                    tracing::info!("its objects are gone");
                }
            }
            // What follows is that the Application goes.
            Ending::Stopped(..) if attempt.operation.deletion => {}
            Ending::Succeeded if attempt.operation.options.dry_run => {
                self.close(state(OperationPhase::Succeeded, report::previewed(&attempt)));
            }
            Ending::Failed(cause) if attempt.operation.options.dry_run => {
                self.close(state(OperationPhase::Failed, cause));
            }
            Ending::Succeeded => {
                let message = match &attempt.operation.heal {
                    Some(heal) => {
                        self.healing.memory.healed(&heal.objects, now);
                        format!("self-heal undid this: {}", heal.cause)
                    }
                    None => format!(
                        "{} applied and healthy, {} ended well",
                        counted(applied(&attempt), "object"),
                        counted(hooks(&attempt), "hook")
                    ),
                };
                self.narrow_inventory();
                self.close(state(OperationPhase::Succeeded, message));
            }
            Ending::Failed(cause) if attempt.operation.deletion => {
                self.deletion_failed(attempt.operation.clone(), cause, attempt.denied).await;
            }
            Ending::Failed(cause) => match lifecycle::retry_at(&self.application, &attempt.operation, now) {
                Some(at) => {
                    let pause = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO);
                    let told = format!("attempt {} failed: {cause}", attempt.operation.attempt);
                    let next = format!("{told}; the next attempt begins at {}", report::seconds(at));
                    self.tell(Type::Warning, "AttemptFailed", "Sync", &next);
                    let mut waits = state(OperationPhase::Running, next);
                    waits.retry_at = Some(at);
                    self.last = Some(waits);
                    self.waiting = Some(Waiting {
                        operation: attempt.operation.clone(),
                        until: Instant::now() + pause,
                        resumed: None,
                        is_retry: true,
                    });
                    self.writer.hurry();
                }
                None => {
                    let ended = state(OperationPhase::Failed, cause);
                    let is_whole = !lifecycle::is_partial(&ended);
                    self.close(ended);
                    if let Some(attempted) = self.attempted.as_mut().filter(|_| attempt.denied && is_whole) {
                        attempted.lacks_rights = true;
                    }
                }
            },
            Ending::Stopped(_, message) => {
                let full = match &attempt.failure {
                    Some(failure) => format!("{message}; before that: {failure}"),
                    None => message,
                };
                self.close(state(OperationPhase::Failed, full));
            }
        }
    }

    /// Whether members were seen that the plan of a deletion did not know: a write that came late, a watch that was behind (I5).
    fn has_latecomers(&self, attempt: &Attempt) -> bool {
        let plan = &attempt.plan;
        let planned: BTreeSet<_> =
            plan.tasks().map(|task| &task.key).chain(plan.without_task.iter().map(|without| &without.key)).collect();
        let goes_along = |key: &ObjectKey| self.doomed && key.namespace.as_deref() == Some(self.owner.namespace());
        self.view.peek(|members| {
            members.iter().any(|(key, live)| {
                live.is_member(&self.owner) && !live.is_deletion_hook() && !planned.contains(key) && !goes_along(key)
            })
        })
    }

    /// An operation is over: the status says so at once, an Event too.
    fn close(&mut self, state: api::OperationState) {
        let message = state.message.clone().unwrap_or_default();
        let (event, reason) = match state.phase {
            OperationPhase::Succeeded => (Type::Normal, "OperationSucceeded"),
            OperationPhase::Failed | OperationPhase::Error | OperationPhase::Running | OperationPhase::Terminating => {
                (Type::Warning, "OperationFailed")
            }
        };
        tracing::info!(operation = %state.id, phase = %state.phase, said = message, "an operation has ended");
        self.note_end(&state, false);
        if !lifecycle::is_dry_run(&state) {
            report::remember(&mut self.history, &state, self.application.revision_history_limit(), now());
        }
        if !lifecycle::is_partial(&state) {
            self.attempted = lifecycle::attempted(&state);
        }
        let is_repair = state.self_heal.is_some() && state.phase == OperationPhase::Succeeded;
        self.last = Some(state);
        self.request = None;
        self.writer.hurry();
        if !is_repair {
            self.tell(event, reason, "Sync", &message);
        } else if !self.has_told(&message) {
            self.tell(event, "SelfHealed", "Sync", &message);
        }
    }

    /// Whether the same repair was told a short time ago; if not, it counts as told now.
    fn has_told(&mut self, message: &str) -> bool {
        let now = now();
        let has_told = |(told, at): &(String, _)| told == message && now.duration_since(*at) < TOLD_AGAIN;
        if self.told.as_ref().is_some_and(has_told) {
            return true;
        }
        self.told = Some((message.to_owned(), now));
        false
    }

    /// Keeps in the inventory the kinds and namespaces that still have members or manifests.
    fn narrow_inventory(&mut self) {
        let mut in_use: BTreeSet<_> = self.view.peek(|members| members.keys().cloned().collect());
        if let Some(Ok(desired)) = self.source.as_ref().map(|source| &source.wants) {
            in_use.extend(desired.manifests.iter().map(|manifest| manifest.key.clone()));
        }
        let kinds = in_use.iter().map(|key| key.kind.clone()).collect();
        let namespaces = in_use.iter().filter_map(|key| key.namespace.as_deref().map(str::to_owned)).collect();
        self.ledger.keep_places(&kinds, &namespaces);
    }

    /// A deletion did not come to its end: tried again, until a person ends it; or until patience does, if what it lacks is a right or
    /// a source.
    async fn deletion_failed(&mut self, operation: Operation, cause: String, denied: bool) {
        let since = self.application.metadata.deletion_timestamp.as_ref().map_or_else(now, |time| time.0);
        if denied && now().duration_since(since) > DELETION_PATIENCE {
            return self.let_go(&cause).await;
        }
        let pause = Duration::from_secs(u64::try_from(operation.attempt).unwrap_or(1).saturating_mul(5).min(60));
        let at = now().checked_add(pause).unwrap_or_else(|_| now());
        let note = format!("attempt {} failed: {cause}", operation.attempt);
        self.tell(Type::Warning, "DeletionFailed", "Delete", &note);
        let state = report::waiting_state(
            &operation,
            None,
            &format!(
                "the deletion failed and is tried again at {}: {cause}; to let the Application go without it: kubectl annotate swapp {} --namespace {} {}=now",
                report::seconds(at),
                self.owner.name(),
                self.owner.namespace(),
                keys::RELEASE
            ),
        );
        self.last = Some(state);
        self.waiting = Some(Waiting { operation, until: Instant::now() + pause, resumed: None, is_retry: true });
        self.writer.hurry();
    }

    /// The Application is being deleted, and its objects are not ours to delete (any more).
    pub(super) async fn leave(&mut self, departure: Departure) {
        if self.attempt.is_some() || self.waiting.is_some() {
            self.stop_operation(Stop::Deleted).await;
        } else if departure == Departure::Release {
            self.let_go("deletionPolicy is Orphan, or swell.dev/release says now").await;
        }
    }

    /// Lets the Application go without its objects.
    async fn let_go(&mut self, cause: &str) {
        let owned = |(key, live): (&ObjectKey, &Arc<Live>)| live.is_member(&self.owner).then(|| key.to_string());
        let left: Vec<_> = self.view.peek(|members| members.iter().filter_map(owned).collect());
        if self.release().await && !left.is_empty() {
            let shown = left.iter().take(MOST_TOLD).cloned().collect::<Vec<_>>().join(", ");
            let more = left.len().saturating_sub(MOST_TOLD);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let note = format!("the Application goes, these objects stay: {shown}{more}; the cause: {cause}");
            self.tell(Type::Warning, "ObjectsLeftBehind", "Delete", &note);
        }
    }

    /// Takes our finalizer off. False: not yet.
    async fn release(&mut self) -> bool {
        if let Some(writing) = self.writer.writing.take() {
            // The write moves the resourceVersion.
            let done = writing.await;
            self.wrote(done);
        }
        let change = application::release(&self.application);
        self.change(change).await
    }

    /// Tells people by an Event; nothing waits for it.
    pub(super) fn tell(&self, event: Type, reason: &'static str, action: &'static str, note: &str) {
        let calls = self.shared.connections.calls();
        let (application, note, now) = (self.application.clone(), note.to_owned(), now());
        tokio::spawn(async move { events::tell(&calls, &application, event, reason, action, &note, now).await });
    }
}

/// Why the run policy of a hook leaves it out of a plan.
pub(super) fn ran_before(ledger: &Ledger, manifest: &Manifest, phase: Phase) -> Option<String> {
    let record = ledger.hooks().get(&(manifest.key.clone(), phase))?;
    let succeeded = record.outcome().is_some_and(|outcome| outcome.succeeded);
    match manifest.settings.run {
        RunPolicy::Once if succeeded => Some("ran once already (swell.dev/run: Once)".to_owned()),
        RunPolicy::OnChange if succeeded && record.digest == manifest.content => {
            Some("has not changed since it ran (swell.dev/run: OnChange)".to_owned())
        }
        RunPolicy::Always | RunPolicy::Once | RunPolicy::OnChange => None,
    }
}

/// `1 object`, `2 objects`.
fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn applied(attempt: &Attempt) -> usize {
    attempt.rows.iter().filter(|row| row.what == crate::engine::attempt::What::Applied).count()
}

fn hooks(attempt: &Attempt) -> usize {
    attempt.rows.iter().filter(|row| row.what == crate::engine::attempt::What::Hook).count()
}

//! What is counted and measured, for Prometheus. Every label has a closed set of values.

mod share;

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

pub use self::share::{Figures, Held, Share};
use super::process::Process;
use crate::api::{HealthStatus, OperationPhase, OperationState, Phase, SyncStatus};
use crate::engine::attempt::{Finish, Row, What};
use crate::engine::lifecycle;
use crate::engine::report::Wait;

/// Bounds for what the API server answers and one round takes, in seconds.
const QUICK: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
/// Bounds for what an operation waits for, in seconds.
const SLOW: [f64; 14] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];

/// One label.
macro_rules! label {
    ($(#[$meta:meta])* $set:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty),+ }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $set { $($(#[$field_meta])* pub $field: $type),+ }
    };
}

label! {
    /// One kind of request.
    Request {
        /// The verb, as Kubernetes names it.
        verb: &'static str,
        /// What was answered.
        code: Code
    }
}
label! {
    /// Requests of one verb.
    OfVerb {
        /// The verb, as Kubernetes names it.
        verb: &'static str
    }
}
label! {
    /// One reason.
    OfReason {
        /// The reason.
        reason: &'static str
    }
}
label! {
    /// One type of watch event.
    OfType {
        /// The type, as the API server names it.
        r#type: &'static str
    }
}
label! {
    /// One phase.
    OfPhase {
        /// The phase.
        phase: &'static str
    }
}
label! {
    /// How hooks of a phase end.
    HookEnd {
        /// The phase.
        phase: &'static str,
        /// How they end.
        result: &'static str
    }
}
label! {
    /// How operations of a kind end.
    OperationEnd {
        /// What the operation is about.
        kind: &'static str,
        /// How it ends.
        result: &'static str
    }
}
label! {
    /// One result.
    OfResult {
        /// The result.
        result: &'static str
    }
}
label! {
    /// Applications in one state.
    State {
        /// Whether the cluster carries what the source says.
        sync: &'static str,
        /// The worst health among the objects.
        health: &'static str
    }
}
label! {
    /// Objects of one health.
    OfHealth {
        /// The health; `none` for kinds without.
        health: &'static str
    }
}
label! {
    /// One build.
    Build {
        /// The version.
        version: &'static str
    }
}

/// What a request was answered with: a status, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// A status code.
    Status(u16),
    /// Nothing within the deadline.
    Late,
    /// Nothing: the connection failed.
    Failed,
}

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Status(code) => code.encode(encoder),
            Self::Late => "timeout".encode(encoder),
            Self::Failed => "error".encode(encoder),
        }
    }
}

/// The verbs of requests.
const VERBS: &[&str] = &["get", "list", "watch", "create", "update", "patch", "delete"];
/// Why a watch begins anew.
pub const RESTARTS: &[&str] = &["ended", "silent", "unanswered", "expired", "refused", "error"];
const EVENTS: &[&str] = &["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"];
const KINDS: &[&str] = &["sync", "partial", "self_heal", "dry_run", "deletion"];
const RESULTS: &[&str] = &["succeeded", "failed", "superseded", "terminated"];
const HOOK_RESULTS: &[&str] = &["succeeded", "failed"];
const TRACES: &[&str] = &["exported", "failed", "dropped"];
const HEALTHS: &[&str] = &["Healthy", "Suspended", "Progressing", "Missing", "Degraded", "Unknown", "none"];

/// One metric as `docs/metrics.md` tells it.
#[derive(Clone, Debug)]
pub struct Described {
    /// Its name, as it is exported.
    pub name: String,
    /// counter, gauge or histogram.
    pub kind: &'static str,
    /// Its labels, each with its values.
    pub labels: Vec<(&'static str, String)>,
    /// What it tells.
    pub help: &'static str,
}

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    described: Vec<Described>,
    requests: Family<Request, Counter>,
    request_seconds: Family<OfVerb, Histogram, fn() -> Histogram>,
    /// Watches that are kept up.
    pub watches: Gauge,
    restarts: Family<OfReason, Counter>,
    events: Family<OfType, Counter>,
    reconcile_seconds: Histogram,
    /// Tasks of Applications that have panicked.
    pub panics: Counter,
    /// Rounds under way.
    pub awake: Gauge,
    /// Calls that stand in line for a place in flight.
    pub calls_waiting: Gauge,
    /// Calls in flight.
    pub calls_in_flight: Gauge,
    /// The bound on calls in flight.
    pub calls_limit: Gauge,
    operations: Family<OperationEnd, Counter>,
    operation_seconds: Family<OperationEnd, Histogram, fn() -> Histogram>,
    /// Attempts that failed and are followed by another.
    pub retries: Counter,
    stage_seconds: Family<OfPhase, Histogram, fn() -> Histogram>,
    hooks: Family<HookEnd, Counter>,
    hook_seconds: Family<HookEnd, Histogram, fn() -> Histogram>,
    waits: Family<OfReason, Gauge>,
    applications: Family<State, Gauge>,
    stalled: Gauge,
    running: Gauge,
    objects: Family<OfHealth, Gauge>,
    traces: Family<OfResult, Counter>,
    /// 1 while this process may write.
    pub leading: Gauge,
    /// How many of the 256 buckets this process looks after.
    pub buckets: Gauge,
}

fn quick() -> Histogram {
    Histogram::new(QUICK)
}

fn slow() -> Histogram {
    Histogram::new(SLOW)
}

/// Registers metrics and notes how they are described.
#[derive(Default)]
struct Book {
    registry: Registry,
    described: Vec<Described>,
}

impl Book {
    fn add<M: Metric + Clone>(
        &mut self,
        (kind, name): (&'static str, &'static str),
        labels: &[(&'static str, &[&str])],
        help: &'static str,
        metric: &M,
    ) {
        self.registry.register(name, help, metric.clone());
        let total = if kind == "counter" { "_total" } else { "" };
        let labels = labels.iter().map(|(label, values)| (*label, values.join(", "))).collect();
        self.described.push(Described { name: format!("{name}{total}"), kind, labels, help });
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let phases: Vec<_> = Phase::ALL.iter().map(|phase| phase.as_str()).collect();
        let syncs: Vec<_> = SyncStatus::ALL.iter().map(|status| status.as_str()).collect();
        let waits: Vec<_> = Wait::ALL.iter().map(|wait| wait.as_str()).collect();
        let healths = &HEALTHS[..HEALTHS.len() - 1];
        let mut book = Book::default();
        let metrics = Self {
            registry: Registry::default(),
            described: Vec::new(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(quick),
            watches: Gauge::default(),
            restarts: Family::default(),
            events: Family::default(),
            reconcile_seconds: quick(),
            panics: Counter::default(),
            awake: Gauge::default(),
            calls_waiting: Gauge::default(),
            calls_in_flight: Gauge::default(),
            calls_limit: Gauge::default(),
            operations: Family::default(),
            operation_seconds: Family::new_with_constructor(slow),
            retries: Counter::default(),
            stage_seconds: Family::new_with_constructor(slow),
            hooks: Family::default(),
            hook_seconds: Family::new_with_constructor(slow),
            waits: Family::default(),
            applications: Family::default(),
            stalled: Gauge::default(),
            running: Gauge::default(),
            objects: Family::default(),
            traces: Family::default(),
            leading: Gauge::default(),
            buckets: Gauge::default(),
        };
        let codes: &[&str] = &["the status code", "timeout", "error"];
        book.add(
            ("counter", "swell_api_requests"),
            &[("verb", VERBS), ("code", codes)],
            "Requests to the API server, each try for itself; a watch counts when it is opened",
            &metrics.requests,
        );
        book.add(
            ("histogram", "swell_api_request_duration_seconds"),
            &[("verb", VERBS)],
            "Time until a request was answered whole; of a watch, until it was opened",
            &metrics.request_seconds,
        );
        book.add(("gauge", "swell_watches"), &[], "Watches that are kept up", &metrics.watches);
        book.add(
            ("counter", "swell_watch_restarts"),
            &[("reason", RESTARTS)],
            "Watches that were asked for again: ended by the server as agreed, silent (not even a bookmark), unanswered when asked \
             for, expired (a fresh list follows), refused, or failed on the way",
            &metrics.restarts,
        );
        book.add(
            ("counter", "swell_watch_events"),
            &[("type", EVENTS)],
            "Events that watches have brought",
            &metrics.events,
        );
        book.add(
            ("histogram", "swell_reconcile_duration_seconds"),
            &[],
            "One round of an Application: see what has changed, decide, send what follows, without waiting for the answers",
            &metrics.reconcile_seconds,
        );
        book.add(
            ("counter", "swell_reconcile_panics"),
            &[],
            "Tasks of Applications that have panicked, which is a defect, and began again",
            &metrics.panics,
        );
        book.add(
            ("gauge", "swell_applications_awake"),
            &[],
            "Applications in the middle of a round; the others wait for something to happen. No queue stands before them",
            &metrics.awake,
        );
        book.add(
            ("gauge", "swell_calls_waiting"),
            &[],
            "Calls about managed objects that stand in line for a place in flight: the queue that there is",
            &metrics.calls_waiting,
        );
        book.add(
            ("gauge", "swell_calls_in_flight"),
            &[],
            "Calls about managed objects in flight",
            &metrics.calls_in_flight,
        );
        book.add(
            ("gauge", "swell_calls_limit"),
            &[],
            "How many calls about managed objects may be in flight; adapts to how quickly the API server answers",
            &metrics.calls_limit,
        );
        book.add(
            ("counter", "swell_operations"),
            &[("kind", KINDS), ("result", RESULTS)],
            "Operations that have ended",
            &metrics.operations,
        );
        book.add(
            ("histogram", "swell_operation_duration_seconds"),
            &[("kind", KINDS), ("result", RESULTS)],
            "Time from the start of an operation to its end, all attempts and pauses included",
            &metrics.operation_seconds,
        );
        book.add(
            ("counter", "swell_operation_retries"),
            &[],
            "Attempts that failed and are followed by another of the same operation",
            &metrics.retries,
        );
        book.add(
            ("gauge", "swell_operations_running"),
            &[],
            "Operations that run, or wait to begin or for their next attempt",
            &metrics.running,
        );
        book.add(
            ("histogram", "swell_stage_duration_seconds"),
            &[("phase", &phases)],
            "Time from the first task of a stage (one wave of a phase) to the end of its last one",
            &metrics.stage_seconds,
        );
        book.add(
            ("counter", "swell_hooks"),
            &[("phase", &phases), ("result", HOOK_RESULTS)],
            "Runs of hooks that have ended",
            &metrics.hooks,
        );
        book.add(
            ("histogram", "swell_hook_duration_seconds"),
            &[("phase", &phases), ("result", HOOK_RESULTS)],
            "Time from the start of a hook to its outcome",
            &metrics.hook_seconds,
        );
        book.add(
            ("gauge", "swell_waits"),
            &[("reason", &waits)],
            "Tasks of operations that are not over, by what they wait for",
            &metrics.waits,
        );
        book.add(
            ("gauge", "swell_applications"),
            &[("sync", &syncs), ("health", healths)],
            "Applications, by what their status says",
            &metrics.applications,
        );
        book.add(
            ("gauge", "swell_applications_stalled"),
            &[],
            "Applications whose condition Stalled is true: a person has to look",
            &metrics.stalled,
        );
        book.add(
            ("gauge", "swell_managed_objects"),
            &[("health", HEALTHS)],
            "Objects that belong to an Application, by health; none for kinds without",
            &metrics.objects,
        );
        book.add(
            ("gauge", "swell_leading"),
            &[],
            "1 while this process may write (always, where there is no election), 0 while it stands by",
            &metrics.leading,
        );
        book.add(
            ("gauge", "swell_buckets"),
            &[],
            "How many of the 256 buckets of Applications this process looks after",
            &metrics.buckets,
        );
        book.add(
            ("counter", "swell_traces"),
            &[("result", TRACES)],
            "Pieces of traces of operations: sent, given up after several tries, or dropped because too many were waiting",
            &metrics.traces,
        );
        let build = Family::<Build, Gauge>::default();
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        book.add(
            ("gauge", "swell_build_info"),
            &[("version", &["the version"])],
            "1, with what was built as labels",
            &build,
        );
        book.registry.register_collector(Box::new(Process));
        book.described.extend(Process::described());
        metrics.begin_at_zero();
        Self { registry: book.registry, described: book.described, ..metrics }
    }
}

impl Metrics {
    /// What is counted begins at zero, so that the first time is an increase too.
    fn begin_at_zero(&self) {
        for reason in RESTARTS {
            drop(self.restarts.get_or_create(&OfReason { reason }));
        }
        for r#type in EVENTS {
            drop(self.events.get_or_create(&OfType { r#type }));
        }
        for kind in KINDS {
            for result in RESULTS {
                drop(self.operations.get_or_create(&OperationEnd { kind, result }));
            }
        }
        for phase in Phase::ALL.iter().filter(|phase| **phase != Phase::Delete) {
            for result in HOOK_RESULTS {
                drop(self.hooks.get_or_create(&HookEnd { phase: phase.as_str(), result }));
            }
        }
        for wait in Wait::ALL {
            drop(self.waits.get_or_create(&OfReason { reason: wait.as_str() }));
        }
        for sync in SyncStatus::ALL {
            for health in HealthStatus::ALL {
                drop(self.applications.get_or_create(&State { sync: sync.as_str(), health: health.as_str() }));
            }
        }
        for health in HEALTHS {
            drop(self.objects.get_or_create(&OfHealth { health }));
        }
        for result in TRACES {
            drop(self.traces.get_or_create(&OfResult { result }));
        }
    }

    /// A request was answered, or was not.
    pub fn requested(&self, verb: &'static str, code: Code, took: Duration) {
        self.requests.get_or_create(&Request { verb, code }).inc();
        self.request_seconds.get_or_create(&OfVerb { verb }).observe(took.as_secs_f64());
    }

    /// A watch is asked for again: one of [`RESTARTS`].
    pub fn restarted(&self, reason: &'static str) {
        self.restarts.get_or_create(&OfReason { reason }).inc();
    }

    /// A watch has brought an event of that type.
    pub fn heard(&self, r#type: &'static str) {
        self.events.get_or_create(&OfType { r#type }).inc();
    }

    /// A round has ended.
    pub fn reconciled(&self, took: Duration) {
        self.reconcile_seconds.observe(took.as_secs_f64());
    }

    /// An operation has ended.
    pub fn ended(&self, state: &OperationState, deletion: bool) {
        let end = OperationEnd { kind: kind(state, deletion), result: result(state) };
        self.operations.get_or_create(&end).inc();
        if let Some(finished) = state.finished_at {
            let took = finished.duration_since(state.started_at).as_secs_f64();
            self.operation_seconds.get_or_create(&end).observe(took.max(0.0));
        }
    }

    /// A stage has ended: the rows of its tasks.
    pub fn stage_ended(&self, rows: &[Row]) {
        let Some(phase) = rows.first().map(|row| row.phase) else { return };
        if let Some((from, to)) = super::trace::span_of(rows) {
            let took = to.duration_since(from).as_secs_f64();
            self.stage_seconds.get_or_create(&OfPhase { phase: phase.as_str() }).observe(took.max(0.0));
        }
        for row in rows.iter().filter(|row| row.what == What::Hook) {
            let result = match row.finish {
                Finish::Done => "succeeded",
                Finish::Failed { .. } => "failed",
                Finish::Skipped(_) | Finish::Dropped => continue,
            };
            let end = HookEnd { phase: phase.as_str(), result };
            self.hooks.get_or_create(&end).inc();
            if let Some(started) = row.started {
                let took = row.finished.duration_since(started).as_secs_f64();
                self.hook_seconds.get_or_create(&end).observe(took.max(0.0));
            }
        }
    }

    /// Pieces of traces were sent, given up or dropped.
    pub fn traced(&self, result: &'static str) {
        self.traces.get_or_create(&OfResult { result }).inc();
    }

    /// All of it as OpenMetrics, or in the older text format of Prometheus.
    pub fn exposition(&self, open_metrics: bool) -> Result<String, fmt::Error> {
        let mut page = String::new();
        if open_metrics {
            text::encode(&mut page, &self.registry)?;
        } else {
            prometheus_text::encode(&mut page, &self.registry)?;
        }
        Ok(page)
    }

    /// What there is, in the order of `docs/metrics.md`.
    pub fn described(&self) -> &[Described] {
        &self.described
    }
}

/// What an operation is about.
pub fn kind(state: &OperationState, deletion: bool) -> &'static str {
    match state {
        _ if deletion => "deletion",
        state if lifecycle::is_dry_run(state) => "dry_run",
        state if state.self_heal.is_some() => "self_heal",
        state if lifecycle::is_partial(state) => "partial",
        _ => "sync",
    }
}

/// How an operation ended: one that made room for a newer revision, or that somebody ended, has not failed.
pub fn result(state: &OperationState) -> &'static str {
    let said = state.message.as_deref().unwrap_or_default();
    match state.phase {
        OperationPhase::Succeeded => "succeeded",
        _ if said.starts_with(lifecycle::SUPERSEDED) => "superseded",
        _ if said.starts_with(lifecycle::TERMINATED) => "terminated",
        OperationPhase::Failed | OperationPhase::Error | OperationPhase::Running | OperationPhase::Terminating => {
            "failed"
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_exported_name_is_described_and_says_its_unit() {
        let metrics = Metrics::default();
        metrics.requested("get", Code::Status(200), Duration::from_millis(3));
        metrics.reconciled(Duration::from_millis(1));
        let described: BTreeSet<_> = metrics.described().iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(described.len(), metrics.described().len(), "no name twice");
        let page = metrics.exposition(true).unwrap();
        for line in page.lines().filter(|line| line.starts_with("# TYPE ")) {
            let mut words = line.split(' ').skip(2);
            let (name, kind) = (words.next().unwrap(), words.next().unwrap());
            let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            assert!(described.contains(name.as_str()), "{line}");
        }
        for metric in metrics.described() {
            assert!(metric.name.starts_with("swell_") || metric.name.starts_with("process_"), "{}", metric.name);
            assert_eq!(metric.kind == "histogram", metric.name.ends_with("_seconds") && metric.kind != "gauge");
        }
        assert!(page.ends_with("# EOF\n"));
        assert!(!metrics.exposition(false).unwrap().contains("# EOF"), "the older format has no such line");
    }

    #[test]
    fn an_operation_that_made_room_or_was_ended_by_somebody_has_not_failed() {
        let ended = |phase: &str, message: &str| {
            let state = serde_json::json!({
                "id": "a", "attempt": 1, "phase": phase, "message": message, "retryCount": 0, "startedAt": "2026-01-01T00:00:00Z"
            });
            result(&serde_json::from_value(state).unwrap())
        };
        assert_eq!(ended("Failed", "superseded by revision x"), "superseded");
        assert_eq!(ended("Failed", "the operation was terminated on request"), "terminated");
        assert_eq!(ended("Failed", "Sync wave 0 failed: no"), "failed");
        assert_eq!(ended("Succeeded", ""), "succeeded");
    }
}

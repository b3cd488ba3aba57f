//! The loop that joins the two halves: Applications are watched, each has a task of its own, and what the engine decides is carried out.

mod app;
mod fleet;
mod sources;
mod status;
mod vitals;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Application;
use crate::cluster::account::Acting;
use crate::cluster::application::applications;
use crate::cluster::client::{ConnectError, Connections};
use crate::cluster::discovery::Discovery;
use crate::cluster::lease::Pod;
use crate::cluster::limit::Limiter;
use crate::cluster::members::MemberWatches;
use crate::cluster::sandbox::Sandbox;
use crate::cluster::view::View;
use crate::cluster::watch::{Sink, Synced, Target, run as run_watch};
use crate::engine::health::Facts;
use crate::engine::object::{GroupKind, Owner};
use crate::engine::shards::{Buckets, Sharing};
use crate::telemetry::Telemetry;
use crate::telemetry::probes::Check;
use app::Actor;
use fleet::{Fleet, Work};
use sources::SourceWatches;

/// How the operator is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Namespaces whose Applications and objects it looks at; none: the whole cluster.
    pub namespaces: Vec<String>,
    /// Whose rights it has in what it does for an Application.
    pub acting: Acting,
    /// How it shares the work with others; none: it is alone.
    pub election: Option<Election>,
    /// Whether logs of what has failed are kept in the status, where the Application does not say that they are not.
    pub capture_logs: bool,
}

/// How a process shares the work with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// Where the Leases are: the processes that have theirs in one namespace share the work.
    pub namespace: String,
    /// One leads, or each has its buckets.
    pub sharing: Sharing,
    /// The pod that the process runs in.
    pub pod: Option<Pod>,
}

/// What the tasks of all Applications share.
pub(crate) struct Shared {
    /// Namespaces that are looked at; none: all.
    namespaces: Vec<String>,
    /// Whose rights what is done for an Application has.
    acting: Acting,
    connections: Arc<Connections>,
    discovery: Arc<Discovery>,
    view: Arc<View>,
    watches: Arc<MemberWatches>,
    sources: SourceWatches,
    in_flight: Arc<Limiter>,
    /// Whether logs of what has failed are kept in the status at all.
    capture_logs: bool,
    /// Where health checks are evaluated; no process runs before there is one.
    sandbox: Arc<Sandbox>,
    telemetry: Arc<Telemetry>,
    stop: CancellationToken,
}

/// How long the tasks may take to finish a write when the operator is asked to stop.
const STOPPING: Duration = Duration::from_secs(3);

/// The longest pause before a task that panics again and again is started anew.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Runs the operator until `stop` is cancelled. What happens is told to `telemetry`.
pub async fn run(
    connections: Connections,
    options: Options,
    telemetry: Arc<Telemetry>,
    stop: CancellationToken,
) -> Result<(), ConnectError> {
    let connections = connections.watched_by(telemetry.clone());
    if let Some(warning) = options.acting.warning() {
        tracing::warn!("{warning}");
    }
    let connections = Arc::new(if options.election.is_some() { connections.fenced() } else { connections });
    let discovery = Arc::new(Discovery::new(connections.calls()));
    let view = Arc::new(View::default());
    let watches = Arc::new(MemberWatches::new(
        connections.clone(),
        discovery.clone(),
        view.clone(),
        options.namespaces.clone(),
        stop.clone(),
    ));
    let shared = Arc::new(Shared {
        namespaces: options.namespaces.clone(),
        acting: options.acting.clone(),
        sources: SourceWatches::new(connections.clone(), stop.clone()),
        connections,
        discovery,
        view,
        watches,
        capture_logs: options.capture_logs,
        in_flight: Arc::new(Limiter::default()),
        sandbox: Arc::new(Sandbox::of_this_program()),
        telemetry: telemetry.clone(),
        stop: stop.clone(),
    });
    vitals::start(&shared, options.election.is_some());
    let facts = shared.follow("/apis/storage.k8s.io/v1/storageclasses", false, FactsSink::new(&shared))?;
    let definitions = shared.follow(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        true,
        DefinitionsSink { discovery: shared.discovery.clone() },
    )?;
    let lists = vec![("StorageClasses", facts.clone()), ("CRDs", definitions.clone())];
    tokio::spawn(vitals::follow_check(telemetry.clone(), Check::Facts, lists, stop.clone()));
    // Claims are judged by their StorageClass: nothing is judged before those are known.
    for mut synced in [facts, definitions] {
        tokio::select! {
            _ = synced.wait_for(|synced| *synced != Synced::Pending) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
    let tasks = TaskTracker::new();
    let registry = Registry {
        shared: shared.clone(),
        tasks: tasks.clone(),
        apps: Mutex::new(Apps::default()),
        lists: Mutex::new(None),
    };
    let registry = Arc::new(registry);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespaces = ?options.namespaces, "the operator runs");
    let ended = async {
        stop.cancelled().await;
        telemetry.probes.stopping();
        tasks.close();
        if tokio::time::timeout(STOPPING, tasks.wait()).await.is_err() {
            tracing::warn!("some writes were still under way; the next process goes on from the last record");
        }
    };
    match options.election {
        Some(election) => {
            let (fleet, held) = Fleet::join(&shared.connections, election, &options.namespaces, &stop)?;
            tokio::spawn(vitals::follow_share(shared.clone(), held));
            fleet.run(&registry, stop.clone(), ended).await;
        }
        None => {
            registry.begin(&Buckets::ALL);
            ended.await;
        }
    }
    Ok(())
}

impl Shared {
    fn follow(
        &self,
        path: &str,
        metadata_only: bool,
        sink: impl Sink,
    ) -> Result<watch::Receiver<Synced>, ConnectError> {
        self.follow_until(path, metadata_only, sink, self.stop.clone())
    }

    fn follow_until(
        &self,
        path: &str,
        metadata_only: bool,
        sink: impl Sink,
        stop: CancellationToken,
    ) -> Result<watch::Receiver<Synced>, ConnectError> {
        let client = self.connections.for_watch()?;
        let (tell, synced) = watch::channel(Synced::Pending);
        let target = Target { path: path.to_owned(), metadata_only, ..Target::default() };
        tokio::spawn(run_watch(self.connections.calls(), client, target, sink, tell, stop));
        Ok(synced)
    }
}

/// The tasks of all Applications.
struct Registry {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    apps: Mutex<Apps>,
    /// Ends the watches of Applications.
    lists: Mutex<Option<CancellationToken>>,
}

#[derive(Default)]
struct Apps {
    /// The buckets that are acted for.
    held: Buckets,
    running: BTreeMap<(String, String), Handle>,
}

struct Handle {
    application: watch::Sender<Arc<Application>>,
    gone: CancellationToken,
    task: JoinHandle<()>,
}

impl Work for Arc<Registry> {
    async fn stop(&self, buckets: &Buckets) {
        let mut ending = Vec::new();
        {
            let mut apps = self.apps();
            apps.held = apps.held.without(buckets);
            let goes = |place: &(String, String)| buckets.contains(Owner::new(&place.0, &place.1).bucket_number());
            let (gone, kept) = std::mem::take(&mut apps.running).into_iter().partition(|(place, _)| goes(place));
            apps.running = kept;
            ending.extend(BTreeMap::into_values(gone).map(|handle: Handle| {
                handle.gone.cancel();
                handle.task
            }));
        }
        let deadline = Instant::now() + STOPPING;
        for mut task in ending {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                // What it has sent may still be done: harmless, as the fence says.
                task.abort();
                let _ = task.await;
            }
        }
    }

    fn begin(&self, held: &Buckets) {
        // In this order: no task is started for what is new before its objects are listed anew, and what the watches of before still show is
        // compared with the lists of the new ones.
        self.shared.view.keep(held);
        self.shared.watches.select(held);
        self.apps().held = *held;
        self.list_applications(held);
    }
}

impl Registry {
    fn apps(&self) -> MutexGuard<'_, Apps> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lists(&self) -> MutexGuard<'_, Option<CancellationToken>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists the Applications (anew), and follows them: those that are acted for get a task.
    fn list_applications(self: &Arc<Self>, held: &Buckets) {
        let mut ended = self.lists();
        if let Some(lists) = ended.take() {
            lists.cancel();
        }
        if held.is_empty() {
            return;
        }
        let telemetry = &self.shared.telemetry;
        // From now on it has to turn.
        telemetry.probes.dispatched();
        let stop = self.shared.stop.child_token();
        let mut followed = Vec::new();
        let namespaces = &self.shared.namespaces;
        let scopes = if namespaces.is_empty() { vec![None] } else { namespaces.iter().map(Some).collect() };
        for namespace in scopes {
            let path = applications(namespace.map(String::as_str));
            let sink = ApplicationsSink { registry: self.clone(), namespace: namespace.cloned() };
            match self.shared.follow_until(&path, false, sink, stop.clone()) {
                Ok(synced) => {
                    followed.push(("Applications", synced.clone()));
                    tokio::spawn(warn_of_failure(synced));
                }
                Err(error) => tracing::error!(%error, "Applications cannot be watched"),
            }
        }
        tokio::spawn(vitals::follow_check(telemetry.clone(), Check::Applications, followed, stop.clone()));
        *ended = Some(stop);
    }

    /// Takes in an Application as it is now. One that cannot be read stops nobody else.
    fn put(&self, object: Value) {
        let place = place(&object);
        let application: Application = match serde_json::from_value(object) {
            Ok(application) => application,
            Err(error) => {
                tracing::error!(application = ?place, %error, "an Application cannot be read, and is left alone");
                return;
            }
        };
        let owner = Owner::new(&place.0, &place.1);
        self.shared.view.note(owner.clone(), namespaces_of(&application));
        let mut apps = self.apps();
        if !apps.held.contains(owner.bucket_number()) {
            return;
        }
        let application = Arc::new(application);
        // A task may have ended by itself, when it found its Application gone before the watch told so.
        if let Some(handle) = apps.running.get(&place).filter(|handle| !handle.gone.is_cancelled()) {
            handle.application.send_replace(application);
            return;
        }
        let (sender, receiver) = watch::channel(application);
        let gone = CancellationToken::new();
        let task = self.tasks.spawn(look_after(self.shared.clone(), owner, receiver, gone.clone()));
        apps.running.insert(place, Handle { application: sender, gone, task });
    }

    fn remove(&self, place: &(String, String)) {
        if let Some(handle) = self.apps().running.remove(place) {
            handle.gone.cancel();
        }
        self.shared.view.retain_noted(|owner| (owner.namespace(), owner.name()) != (&*place.0, &*place.1));
    }
}

/// The namespaces in which an Application has objects, as far as it tells.
fn namespaces_of(application: &Application) -> BTreeSet<String> {
    let rows = application.status.iter().flat_map(|status| &status.resources);
    let mut namespaces: BTreeSet<_> = rows.filter_map(|row| row.namespace.clone()).collect();
    // The rows are cut to a budget, the inventory is whole.
    if let Some(inventory) = application.status.as_ref().and_then(|status| status.inventory.as_ref()) {
        namespaces.extend(inventory.namespaces.iter().cloned());
        namespaces.insert(application.destination_namespace().to_owned());
    }
    namespaces
}

async fn warn_of_failure(mut synced: watch::Receiver<Synced>) {
    let first = synced.wait_for(|synced| *synced != Synced::Pending).await;
    if let Ok(state) = first
        && let Synced::Failed(fault) = &*state
    {
        tracing::error!(error = %fault.message, "Applications cannot be watched; is the CRD installed (swell crd | kubectl apply -f -)?");
    }
}

/// Runs the task of one Application. A panic in it is a defect that stops nobody else: it starts again from the status.
async fn look_after(
    shared: Arc<Shared>,
    owner: Owner,
    updates: watch::Receiver<Arc<Application>>,
    gone: CancellationToken,
) {
    let mut pause = Duration::from_secs(1);
    loop {
        let actor = Actor::new(shared.clone(), owner.clone(), updates.clone(), gone.clone());
        if AssertUnwindSafe(actor.run()).catch_unwind().await.is_ok() {
            return;
        }
        shared.telemetry.metrics.panics.inc();
        tracing::error!(application = %owner, "the task of this Application has panicked, which is a defect of Swell; it starts again");
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            () = gone.cancelled() => return,
            () = shared.stop.cancelled() => return,
        }
    }
}

fn place(object: &Value) -> (String, String) {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("/metadata/namespace"), text("/metadata/name"))
}

struct ApplicationsSink {
    registry: Arc<Registry>,
    namespace: Option<String>,
}

impl Sink for ApplicationsSink {
    fn list(&self, items: Vec<Value>, _version: u64) {
        let listed: BTreeSet<_> = items.iter().map(place).collect();
        let view = &self.registry.shared.view;
        let here = |namespace: &str| self.namespace.as_ref().is_none_or(|scope| scope == namespace);
        view.retain_noted(|owner| {
            !here(owner.namespace()) || listed.contains(&(owner.namespace().to_owned(), owner.name().to_owned()))
        });
        // What each has is known before the first of them acts: another's Namespace is not pruned for not knowing it (V27).
        for object in &items {
            if let Ok(application) = serde_json::from_value::<Application>(object.clone()) {
                let place = place(object);
                view.note(Owner::new(&place.0, &place.1), namespaces_of(&application));
            }
        }
        for object in items {
            self.registry.put(object);
        }
        let known: Vec<_> = self.registry.apps().running.keys().cloned().collect();
        for place in known {
            if !listed.contains(&place) && self.namespace.as_ref().is_none_or(|namespace| *namespace == place.0) {
                self.registry.remove(&place);
            }
        }
    }

    fn put(&self, object: Value) {
        self.registry.put(object);
    }

    fn remove(&self, object: Value) {
        self.registry.remove(&place(&object));
    }

    fn turned(&self) {
        self.registry.shared.telemetry.probes.dispatched();
    }
}

/// StorageClasses: how claims are bound.
struct FactsSink {
    view: Arc<View>,
    watches: Arc<MemberWatches>,
    classes: Mutex<BTreeMap<String, Value>>,
}

impl FactsSink {
    fn new(shared: &Shared) -> Self {
        Self { view: shared.view.clone(), watches: shared.watches.clone(), classes: Mutex::new(BTreeMap::new()) }
    }

    fn tell(&self, change: impl FnOnce(&mut BTreeMap<String, Value>)) {
        let mut classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut classes);
        let mut facts = Facts::default();
        for (name, class) in &*classes {
            if class.get("volumeBindingMode").and_then(Value::as_str) == Some("WaitForFirstConsumer") {
                facts.late_binding_classes.insert(name.clone());
            }
            let default = class
                .pointer("/metadata/annotations")
                .and_then(|a| a.get("storageclass.kubernetes.io/is-default-class"));
            if default.and_then(Value::as_str) == Some("true") {
                facts.default_class = Some(name.clone());
            }
        }
        if self.view.set_facts(facts) {
            self.watches.judge_anew(&GroupKind::new("", "PersistentVolumeClaim"));
        }
    }
}

impl Sink for FactsSink {
    fn list(&self, items: Vec<Value>, _version: u64) {
        self.tell(|classes| *classes = items.into_iter().map(|class| (place(&class).1, class)).collect());
    }

    fn put(&self, object: Value) {
        self.tell(|classes| {
            classes.insert(place(&object).1, object);
        });
    }

    fn remove(&self, object: Value) {
        self.tell(|classes| {
            classes.remove(&place(&object).1);
        });
    }
}

/// CRDs: when one changes, what the cluster serves is learnt anew.
struct DefinitionsSink {
    discovery: Arc<Discovery>,
}

impl Sink for DefinitionsSink {
    fn list(&self, _items: Vec<Value>, _version: u64) {
        self.discovery.mark_stale();
    }

    fn put(&self, _object: Value) {
        self.discovery.mark_stale();
    }

    fn remove(&self, _object: Value) {
        self.discovery.mark_stale();
    }
}

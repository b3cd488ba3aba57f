//! The loop that joins the two halves: Applications are watched, each has a task of its own, and what the engine decides is carried out.

mod app;
mod sources;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Application;
use crate::cluster::application::applications;
use crate::cluster::client::{ConnectError, Connections};
use crate::cluster::discovery::Discovery;
use crate::cluster::limit::Limiter;
use crate::cluster::members::MemberWatches;
use crate::cluster::sandbox::Sandbox;
use crate::cluster::view::View;
use crate::cluster::watch::{Sink, Synced, Target, run as run_watch};
use crate::engine::health::Facts;
use crate::engine::object::{GroupKind, Owner};
use app::Actor;
use sources::SourceWatches;

/// How the operator is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Namespaces whose Applications and objects it looks at; none: the whole cluster.
    pub namespaces: Vec<String>,
}

/// What the tasks of all Applications share.
pub(crate) struct Shared {
    /// Namespaces that are looked at; none: all.
    namespaces: Vec<String>,
    connections: Arc<Connections>,
    discovery: Arc<Discovery>,
    view: Arc<View>,
    watches: Arc<MemberWatches>,
    sources: SourceWatches,
    in_flight: Arc<Limiter>,
    /// Where health checks are evaluated; no process runs before there is one.
    sandbox: Arc<Sandbox>,
    stop: CancellationToken,
}

/// How long the tasks may take to finish a write when the operator is asked to stop.
const STOPPING: Duration = Duration::from_secs(4);

/// The longest pause before a task that panics again and again is started anew.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Runs the operator until `stop` is cancelled.
pub async fn run(connections: Connections, options: Options, stop: CancellationToken) -> Result<(), ConnectError> {
    let connections = Arc::new(connections);
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
        sources: SourceWatches::new(connections.clone(), stop.clone()),
        connections,
        discovery,
        view,
        watches,
        in_flight: Arc::new(Limiter::default()),
        sandbox: Arc::new(Sandbox::of_this_program()),
        stop: stop.clone(),
    });
    let facts = shared.follow("/apis/storage.k8s.io/v1/storageclasses", false, FactsSink::new(&shared))?;
    let definitions = shared.follow(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        true,
        DefinitionsSink { discovery: shared.discovery.clone() },
    )?;
    // Claims are judged by their StorageClass: nothing is judged before those are known.
    for mut synced in [facts, definitions] {
        tokio::select! {
            _ = synced.wait_for(|synced| *synced != Synced::Pending) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
    let tasks = TaskTracker::new();
    let registry =
        Arc::new(Registry { shared: shared.clone(), tasks: tasks.clone(), apps: Mutex::new(BTreeMap::new()) });
    let scopes = if options.namespaces.is_empty() { vec![None] } else { options.namespaces.iter().map(Some).collect() };
    let mut lists = Vec::new();
    for namespace in scopes {
        let path = applications(namespace.map(String::as_str));
        let sink = ApplicationsSink { registry: registry.clone(), namespace: namespace.cloned() };
        lists.push(shared.follow(&path, false, sink)?);
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespaces = ?options.namespaces, "the operator runs");
    for mut list in lists {
        tokio::select! {
            state = list.wait_for(|synced| *synced != Synced::Pending) => {
                if let Ok(state) = state && let Synced::Failed(fault) = &*state {
                    tracing::error!(message = %fault.message, "Applications cannot be watched; is the CRD installed (swell crd | kubectl apply -f -)?");
                }
            }
            () = stop.cancelled() => {}
        }
    }
    stop.cancelled().await;
    tasks.close();
    if tokio::time::timeout(STOPPING, tasks.wait()).await.is_err() {
        tracing::warn!("some writes were still under way; the next process goes on from the last record");
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
        let client = self.connections.for_watch()?;
        let (tell, synced) = watch::channel(Synced::Pending);
        let target = Target { path: path.to_owned(), selector: String::new(), metadata_only };
        tokio::spawn(run_watch(self.connections.calls(), client, target, sink, tell, self.stop.clone()));
        Ok(synced)
    }
}

/// The tasks of all Applications.
struct Registry {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    apps: Mutex<BTreeMap<(String, String), Handle>>,
}

struct Handle {
    application: watch::Sender<Arc<Application>>,
    gone: CancellationToken,
}

impl Registry {
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
        let application = Arc::new(application);
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        // A task may have ended by itself, when it found its Application gone before the watch told so.
        if let Some(handle) = apps.get(&place).filter(|handle| !handle.gone.is_cancelled()) {
            handle.application.send_replace(application);
            return;
        }
        let (sender, receiver) = watch::channel(application);
        let gone = CancellationToken::new();
        let owner = Owner::new(&place.0, &place.1);
        self.tasks.spawn(look_after(self.shared.clone(), owner, receiver, gone.clone()));
        apps.insert(place, Handle { application: sender, gone });
    }

    fn remove(&self, place: &(String, String)) {
        if let Some(handle) = self.apps.lock().unwrap_or_else(PoisonError::into_inner).remove(place) {
            handle.gone.cancel();
        }
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
        let mut listed = BTreeSet::new();
        for object in items {
            listed.insert(place(&object));
            self.registry.put(object);
        }
        let known: Vec<_> = self.registry.apps.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
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

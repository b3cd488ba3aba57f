//! The watches of managed kinds: one for each kind (and namespace, where the operator is kept to some), shared by all Applications.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::client::Connections;
use super::discovery::{Discovery, collection, name_kind};
use super::view::{Origin, View};
use super::watch::{Sink, Synced, Target, run};
use crate::api::annotations::PART_OF;
use crate::engine::action::{Fault, FaultKind};
use crate::engine::health::{self, checks::Check};
use crate::engine::kinds::{KindInfo, Known};
use crate::engine::live::key_of;
use crate::engine::object::GroupKind;
use crate::engine::shards::Buckets;

/// Namespaces that the operator looks at; none: the whole cluster.
pub type Namespaces = Vec<String>;

/// The watches that run.
pub struct MemberWatches {
    connections: Arc<Connections>,
    discovery: Arc<Discovery>,
    view: Arc<View>,
    namespaces: Namespaces,
    running: Mutex<BTreeMap<Place, Running>>,
    /// Of whose Applications the objects are seen.
    buckets: Mutex<Buckets>,
    stop: CancellationToken,
}

/// A kind, the namespace where the operator is kept to some, and a version where it is watched for health checks alone.
type Place = (GroupKind, Option<String>, Option<String>);

#[derive(Clone)]
struct Running {
    version: String,
    metadata_only: bool,
    path: String,
    synced: watch::Receiver<Synced>,
    stop: CancellationToken,
}

/// How long the first list of a kind may take before the Application that waits for it hears of it.
const PATIENCE: Duration = Duration::from_secs(20);

impl MemberWatches {
    /// No watch runs yet.
    pub fn new(
        connections: Arc<Connections>,
        discovery: Arc<Discovery>,
        view: Arc<View>,
        namespaces: Namespaces,
        stop: CancellationToken,
    ) -> Self {
        let buckets = Mutex::new(Buckets::ALL);
        Self { connections, discovery, view, namespaces, running: Mutex::new(BTreeMap::new()), buckets, stop }
    }

    /// Watches these kinds, and returns when all of them are listed. A kind that is not served is left out: it has no members.
    pub async fn ensure(&self, kinds: &BTreeSet<GroupKind>) -> Result<(), Fault> {
        let known = self.discovery.kinds().await?;
        let mut pending = Vec::new();
        for kind in kinds {
            let Some(info) = known.find(kind, health::rule_version(&kind.group, &kind.kind)) else {
                if known.is_stale(&kind.group) {
                    return Err(fault(kind, "its API group did not answer"));
                }
                continue;
            };
            for namespace in self.scopes(info) {
                pending.push((kind.clone(), self.start(kind, info, namespace, false)?));
            }
        }
        listed(pending).await
    }

    /// Watches the kind of a health check in the form that the check is for: whole, and at its version. Where the kind is watched like
    /// that anyway, nothing is added; a version that is not served is left out.
    pub async fn ensure_for_check(&self, kind: &GroupKind, check: &Check) -> Result<(), Fault> {
        let known = self.discovery.kinds().await?;
        let Known::Served(info) = known.at_version(kind, &check.version) else { return Ok(()) };
        let usual = known.find(kind, health::rule_version(&kind.group, &kind.kind));
        if usual.is_some_and(|usual| usual.version == info.version) && health::has_rule(&kind.group, &kind.kind) {
            return Ok(());
        }
        let mut pending = Vec::new();
        for namespace in self.scopes(&info) {
            pending.push((kind.clone(), self.start(kind, &info, namespace, true)?));
        }
        listed(pending).await
    }

    fn scopes(&self, info: &KindInfo) -> Vec<Option<String>> {
        if info.namespaced && !self.namespaces.is_empty() {
            self.namespaces.iter().cloned().map(Some).collect()
        } else {
            vec![None]
        }
    }

    fn start(
        &self,
        kind: &GroupKind,
        info: &KindInfo,
        namespace: Option<String>,
        for_checks: bool,
    ) -> Result<watch::Receiver<Synced>, Fault> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (kind.clone(), namespace, for_checks.then(|| info.version.clone()));
        if let Some(running) = running.get(&place) {
            let is_dead =
                matches!(&*running.synced.borrow(), Synced::Failed(fault) if fault.kind == FaultKind::KindMissing);
            if running.version == info.version && !is_dead {
                return Ok(running.synced.clone());
            }
        }
        let path = collection(&kind.group, info, place.1.as_deref());
        let metadata_only = !for_checks && !health::has_rule(&kind.group, &kind.kind);
        let follows = self.follow(place.clone(), info.version.clone(), path, metadata_only)?;
        let synced = follows.synced.clone();
        if let Some(earlier) = running.insert(place, follows) {
            // The kind is served at another version now, or again after it was not: what follows the old one is of no use.
            earlier.stop.cancel();
        }
        Ok(synced)
    }

    /// Lists a kind anew, because what its health depends on beside the object itself has changed.
    pub fn judge_anew(&self, kind: &GroupKind) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, running) in running.iter_mut().filter(|(place, _)| place.0 == *kind) {
            let again =
                self.follow(place.clone(), running.version.clone(), running.path.clone(), running.metadata_only);
            match again {
                Ok(again) => std::mem::replace(running, again).stop.cancel(),
                Err(fault) => tracing::warn!(%kind, error = %fault.message, "a kind is not judged anew"),
            }
        }
    }

    /// Sees the objects of these buckets' Applications alone from now on. Of none: nothing is watched any more.
    pub fn select(&self, buckets: &Buckets) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *self.buckets(), *buckets) == *buckets {
            return;
        }
        if buckets.is_empty() {
            for running in std::mem::take(&mut *running).into_values() {
                running.stop.cancel();
            }
        }
        for (place, running) in running.iter_mut() {
            let again =
                self.follow(place.clone(), running.version.clone(), running.path.clone(), running.metadata_only);
            match again {
                Ok(again) => std::mem::replace(running, again).stop.cancel(),
                Err(fault) => tracing::error!(kind = %place.0, error = %fault.message, "a kind is not watched anew"),
            }
        }
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(
        &self,
        (kind, namespace, for_checks): Place,
        version: String,
        path: String,
        metadata_only: bool,
    ) -> Result<Running, Fault> {
        let client = self.connections.for_watch().map_err(|error| super::error::on_the_way("watch", &error))?;
        let (tell, synced) = watch::channel(Synced::Pending);
        let buckets = *self.buckets();
        let selector = match buckets.requirement() {
            Some(requirement) => format!("{PART_OF},{requirement}"),
            None => PART_OF.to_owned(),
        };
        let target = Target { path: path.clone(), selector, metadata_only, ..Target::default() };
        let origin = Origin { version: version.clone(), whole: !metadata_only, for_checks: for_checks.is_some() };
        let sink = KindSink { view: self.view.clone(), kind, origin, namespace, buckets };
        let stop = self.stop.child_token();
        tokio::spawn(run(self.connections.calls(), client, target, sink, tell, stop.clone()));
        Ok(Running { version, metadata_only, path, synced, stop })
    }
}

/// Waits until the first lists are there.
async fn listed(pending: Vec<(GroupKind, watch::Receiver<Synced>)>) -> Result<(), Fault> {
    for (kind, mut synced) in pending {
        let waited = tokio::time::timeout(PATIENCE, synced.wait_for(|synced| *synced != Synced::Pending)).await;
        let state = match waited {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) => return Err(fault(&kind, "the operator is stopping")),
            Err(_) => return Err(fault(&kind, "the first list takes too long")),
        };
        if let Synced::Failed(reason) = state
            && reason.kind != FaultKind::KindMissing
        {
            return Err(Fault { message: format!("cannot watch {kind}: {}", reason.message), ..reason });
        }
    }
    Ok(())
}

fn fault(kind: &GroupKind, why: &str) -> Fault {
    Fault { kind: FaultKind::Transient, message: format!("cannot watch {kind}: {why}"), retry_after: None }
}

/// Brings what one watch shows into the view.
struct KindSink {
    view: Arc<View>,
    kind: GroupKind,
    origin: Origin,
    namespace: Option<String>,
    buckets: Buckets,
}

impl KindSink {
    fn named(&self, mut object: Value) -> Value {
        name_kind(&mut object, &self.kind.group, &self.origin.version, &self.kind.kind);
        object
    }
}

impl Sink for KindSink {
    fn list(&self, items: Vec<Value>, version: u64) {
        let mut keys = BTreeSet::new();
        for object in items {
            let object = self.named(object);
            if let Some(key) = key_of(&object) {
                self.view.seen(&key, object, &self.origin);
                keys.insert(key);
            }
        }
        self.view.listed(&self.kind, self.namespace.as_deref(), &self.buckets, version, &keys);
    }

    fn put(&self, object: Value) {
        let object = self.named(object);
        if let Some(key) = key_of(&object) {
            self.view.seen(&key, object, &self.origin);
        }
    }

    fn remove(&self, object: Value) {
        let object = self.named(object);
        if let Some(key) = key_of(&object) {
            self.view.gone(&key, &object);
        }
    }
}

//! The watches of source ConfigMaps: metadata only, one for each namespace that uses them. A change is told by name and version.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::annotations::REVISION;
use crate::cluster::client::{ConnectError, Connections};
use crate::cluster::view::version;
use crate::cluster::watch::{Sink, Synced, Target, run};

/// The ConfigMaps of a namespace: resourceVersion, and the value of `swell.dev/revision`.
pub(super) type Maps = BTreeMap<String, (u64, Option<String>)>;

/// The watches that run.
pub(super) struct SourceWatches {
    connections: Arc<Connections>,
    running: Mutex<BTreeMap<String, Running>>,
    stop: CancellationToken,
}

struct Running {
    maps: watch::Sender<Maps>,
    stop: CancellationToken,
}

impl SourceWatches {
    /// No watch runs yet.
    pub(super) fn new(connections: Arc<Connections>, stop: CancellationToken) -> Self {
        Self { connections, running: Mutex::new(BTreeMap::new()), stop }
    }

    /// Follows the ConfigMaps of a namespace.
    pub(super) fn follow(&self, namespace: &str) -> Result<watch::Receiver<Maps>, ConnectError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.get(namespace) {
            return Ok(running.maps.subscribe());
        }
        // Namespaces come and go: a watch that nobody follows any more ends when the next one begins.
        running.retain(|_, running| {
            let followed = running.maps.receiver_count() > 0;
            if !followed {
                running.stop.cancel();
            }
            followed
        });
        let client = self.connections.for_watch()?;
        let (maps, follower) = watch::channel(Maps::new());
        let target = Target {
            path: format!("/api/v1/namespaces/{namespace}/configmaps"),
            metadata_only: true,
            ..Target::default()
        };
        let (synced, _) = watch::channel(Synced::Pending);
        let sink = MapSink { maps: maps.clone() };
        let stop = self.stop.child_token();
        tokio::spawn(run(self.connections.calls(), client, target, sink, synced, stop.clone()));
        running.insert(namespace.to_owned(), Running { maps, stop });
        Ok(follower)
    }
}

struct MapSink {
    maps: watch::Sender<Maps>,
}

fn entry(object: &Value) -> Option<(String, (u64, Option<String>))> {
    let name = object.pointer("/metadata/name")?.as_str()?.to_owned();
    let revision = object.pointer("/metadata/annotations").and_then(|a| a.get(REVISION)).and_then(Value::as_str);
    Some((name, (version(object)?, revision.map(str::to_owned))))
}

impl Sink for MapSink {
    fn list(&self, items: Vec<Value>, _version: u64) {
        self.maps.send_replace(items.iter().filter_map(entry).collect());
    }

    fn put(&self, object: Value) {
        if let Some((name, seen)) = entry(&object) {
            self.maps.send_modify(|maps| {
                maps.insert(name, seen);
            });
        }
    }

    fn remove(&self, object: Value) {
        if let Some((name, _)) = entry(&object) {
            self.maps.send_modify(|maps| {
                maps.remove(&name);
            });
        }
    }
}

//! One Application, watched: each state that it comes to, the newest only where they come faster than they are looked at.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::cluster::{Cluster, explained};
use crate::api::Application;
use crate::cluster::application::applications;
use crate::cluster::watch::{Sink, Synced, Target, run};
use crate::engine::object::Owner;

/// An Application that is watched as long as this lives.
pub(super) struct Follow {
    owner: Owner,
    seen: watch::Receiver<Seen>,
    synced: watch::Receiver<Synced>,
    _stop: DropGuard,
}

/// What was seen last.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// Nothing yet.
    Nothing,
    /// It is there.
    There(Box<Application>),
    /// It is not there (any more).
    Gone,
}

struct Tell(watch::Sender<Seen>);

impl Sink for Tell {
    fn list(&self, items: Vec<Value>, _version: u64) {
        match items.into_iter().next() {
            Some(object) => self.put(object),
            None => {
                self.0.send_replace(Seen::Gone);
            }
        }
    }

    fn put(&self, object: Value) {
        // One that cannot be read has been edited past its schema; the operator says so.
        if let Ok(application) = serde_json::from_value(object) {
            self.0.send_replace(Seen::There(Box::new(application)));
        }
    }

    fn remove(&self, _object: Value) {
        self.0.send_replace(Seen::Gone);
    }
}

impl Follow {
    /// Begins to watch.
    pub(super) fn start(cluster: &Cluster, owner: &Owner) -> anyhow::Result<Self> {
        let (tell, seen) = watch::channel(Seen::Nothing);
        let (tell_synced, synced) = watch::channel(Synced::Pending);
        let target =
            Target { path: applications(Some(owner.namespace())), name: owner.name().to_owned(), ..Target::default() };
        let stop = CancellationToken::new();
        let client = cluster.connections.for_watch()?;
        tokio::spawn(run(cluster.calls(), client, target, Tell(tell), tell_synced, stop.clone()));
        Ok(Self { owner: owner.clone(), seen, synced, _stop: stop.drop_guard() })
    }

    /// Waits for the next state, until `end`: nothing then. What cannot be watched at all is an error.
    pub(super) async fn next(&mut self, end: Option<Instant>) -> anyhow::Result<Option<Seen>> {
        loop {
            let late = async {
                match end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.seen.changed() => {
                    changed.map_err(|_| anyhow::anyhow!("the watch has ended"))?;
                    return Ok(Some(self.seen.borrow_and_update().clone()));
                }
                changed = self.synced.changed() => {
                    let failed = match &*self.synced.borrow_and_update() {
                        Synced::Failed(fault) => Some(fault.clone()),
                        Synced::Pending | Synced::Yes => None,
                    };
                    if let Some(fault) = failed {
                        return Err(explained(&fault, &self.owner));
                    }
                    if changed.is_err() {
                        return Err(anyhow::anyhow!("the watch has ended"));
                    }
                }
                () = late => return Ok(None),
            }
        }
    }
}

/// Until when a command waits: `0` is for ever.
pub(super) fn end_of(timeout: Duration) -> Option<Instant> {
    (!timeout.is_zero()).then(|| Instant::now() + timeout)
}

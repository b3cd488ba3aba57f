//! The signs of life of the process, for its probes: what turns, what has been listed, what it acts for, whether the API server answers.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::select_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::cluster::watch::Synced;
use crate::engine::action::FaultKind;
use crate::engine::shards::{BUCKETS, Buckets};
use crate::telemetry::Telemetry;
use crate::telemetry::probes::{BEAT, Check, Role};

/// How long the API server may take to say that it is there.
const ANSWER: Duration = Duration::from_secs(5);

/// Begins to look. `elects`: it shares the work; else it acts for everything.
pub(super) fn start(shared: &Arc<Shared>, elects: bool) {
    if elects {
        shared.telemetry.probes.set_role(Role::StandsBy);
    } else {
        shared.telemetry.metrics.buckets.set(i64::try_from(BUCKETS).unwrap_or(i64::MAX));
    }
    tokio::spawn(beat(shared.clone()));
    tokio::spawn(learn(shared.clone()));
    tokio::spawn(ask(shared.clone()));
}

/// Tells what this process acts for among those that share the work.
pub(super) async fn follow_share(shared: Arc<Shared>, mut held: watch::Receiver<Buckets>) {
    loop {
        let share = held.borrow_and_update().len();
        shared.telemetry.metrics.buckets.set(i64::from(share));
        shared.telemetry.probes.set_role(if share == 0 { Role::StandsBy } else { Role::Holds(share) });
        note_leading(&shared);
        if held.changed().await.is_err() {
            return;
        }
    }
}

/// Whether it may write: it acts for something, and its Lease is renewed in time.
fn note_leading(shared: &Shared) {
    let metrics = &shared.telemetry.metrics;
    metrics.leading.set(i64::from(metrics.buckets.get() > 0 && shared.connections.fence().is_open()));
}

/// Keeps a check of readiness as these lists stand, until `stop`. What has been listed once stays so while the API server does not answer
/// (that is a check of its own), and while it is listed anew.
pub(super) async fn follow_check(
    telemetry: Arc<Telemetry>,
    check: Check,
    mut lists: Vec<(&'static str, watch::Receiver<Synced>)>,
    stop: CancellationToken,
) {
    loop {
        let stands = lists.iter_mut().try_for_each(|(what, list)| match &*list.borrow_and_update() {
            Synced::Yes => Ok(()),
            Synced::Pending => Err(format!("{what} have not been listed yet")),
            Synced::Failed(fault) if fault.kind == FaultKind::KindMissing => {
                Err(format!("{what} are not served; is the custom resource installed? {}", fault.message))
            }
            Synced::Failed(fault) => Err(format!("{what} cannot be watched: {}", fault.message)),
        });
        if stop.is_cancelled() {
            return;
        }
        let is_pending = lists.iter().any(|(_, list)| *list.borrow() == Synced::Pending);
        if !is_pending || !telemetry.probes.holds(check) {
            telemetry.probes.set(check, stands);
        }
        if lists.is_empty() {
            return;
        }
        let changed = select_all(lists.iter_mut().map(|(_, list)| list.changed().boxed()));
        tokio::select! {
            (changed, ..) = changed => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

/// Turns as long as the runtime does, and as long as what all Applications share can be had: a lock that is never given back stops it.
async fn beat(shared: Arc<Shared>) {
    loop {
        shared.view.facts();
        shared.view.name_of("");
        shared.discovery.known();
        note_leading(&shared);
        shared.telemetry.probes.beat();
        tokio::select! {
            () = tokio::time::sleep(BEAT) => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

/// Asks the API server whether it is there, when somebody wants to know and it has been quiet.
async fn ask(shared: Arc<Shared>) {
    let calls = shared.connections.calls();
    loop {
        tokio::select! {
            () = shared.telemetry.probes.doubt.notified() => {}
            () = shared.stop.cancelled() => return,
        }
        // How an answer or a failure counts is told by the call itself.
        if tokio::time::timeout(ANSWER, calls.get("/version".to_owned())).await.is_err() {
            shared.telemetry.probes.unanswered("GET /version: no answer in time");
        }
    }
}

/// Learns what the cluster serves before the first Application asks.
async fn learn(shared: Arc<Shared>) {
    let mut pause = Duration::from_secs(1);
    while !shared.stop.is_cancelled() {
        match shared.discovery.kinds().await {
            Ok(_) => return shared.telemetry.probes.set(Check::Discovery, Ok(())),
            Err(fault) => shared.telemetry.probes.set(Check::Discovery, Err(fault.message)),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(10)),
            () = shared.stop.cancelled() => {}
        }
    }
}

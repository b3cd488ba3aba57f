//! This process among those that share the work: its Lease, what it claims by it, and what it may act for ([`crate::engine::shards`]).

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::client::{ConnectError, Connections};
use crate::cluster::fence::Fence;
use crate::cluster::lease::{Lease, Leases, Pod, SELECTOR};
use crate::cluster::watch::{Sink, Synced, Target, run as run_watch};
use crate::engine::action::{Fault, FaultKind};
use crate::engine::shards::{Buckets, Claim, Sharing, free};
use crate::telemetry::Telemetry;
use crate::telemetry::probes::Check;

/// How long a Lease holds after a renewal, by the clock of whoever looks at it.
const HOLDS: Duration = Duration::from_secs(10);
/// So long before that we stop writing ourselves.
const MARGIN: Duration = Duration::from_secs(2);
/// The pause between two renewals.
const RENEWAL: Duration = Duration::from_millis(2_500);
/// The pause before a failed renewal, or a look at who still claims what is ours, is made again.
const AGAIN: Duration = Duration::from_millis(500);
/// A Lease that nobody has renewed for so long is deleted.
const ABANDONED: Duration = Duration::from_secs(30);
/// How long giving back the own Lease may take at the end.
const FAREWELL: Duration = Duration::from_millis(900);

/// Who starts and stops the work for buckets.
pub(super) trait Work: Send + Sync {
    /// Stops what is done for these; returns when nothing of it runs any more.
    fn stop(&self, buckets: &Buckets) -> impl Future<Output = ()> + Send;
    /// Does the work for these, and for no others.
    fn begin(&self, held: &Buckets);
}

/// What this process is among the others.
pub(super) struct Fleet {
    leases: Leases,
    sharing: Sharing,
    holder: String,
    pod: Option<Pod>,
    fence: Arc<Fence>,
    telemetry: Arc<Telemetry>,
    seen: Arc<Seen>,
    own: Option<Own>,
    /// A Lease of ours that ran out and is to be deleted.
    left: Option<Lease>,
    held: Buckets,
    tell: watch::Sender<Buckets>,
}

struct Own {
    lease: Lease,
    claim: Option<Claim>,
    renewed: Instant,
}

/// The Leases as they were seen last, and when each was seen to change.
#[derive(Default)]
struct Seen {
    leases: Mutex<BTreeMap<String, (Lease, Instant)>>,
    changed: Notify,
}

impl Seen {
    fn leases(&self) -> MutexGuard<'_, BTreeMap<String, (Lease, Instant)>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, lease: Lease) {
        let mut leases = self.leases();
        // Seen again without a change, it was not renewed.
        if leases.get(&lease.name).is_none_or(|(known, _)| known.version != lease.version) {
            leases.insert(lease.name.clone(), (lease, Instant::now()));
            drop(leases);
            self.changed.notify_one();
        }
    }

    fn set(&self, listed: Vec<Lease>) {
        let names: BTreeSet<_> = listed.iter().map(|lease| lease.name.clone()).collect();
        let mut leases = self.leases();
        let before = leases.len();
        leases.retain(|name, _| names.contains(name));
        if leases.len() < before {
            self.changed.notify_one();
        }
        drop(leases);
        for lease in listed {
            self.put(lease);
        }
    }
}

struct LeasesSink(Arc<Seen>);

impl Sink for LeasesSink {
    fn list(&self, items: Vec<Value>, _version: u64) {
        self.0.set(items.iter().filter_map(Lease::read).collect());
    }

    fn put(&self, object: Value) {
        if let Some(lease) = Lease::read(&object) {
            self.0.put(lease);
        }
    }

    fn remove(&self, object: Value) {
        if let Some(lease) = Lease::read(&object) {
            self.0.leases().remove(&lease.name);
            self.0.changed.notify_one();
        }
    }
}

impl Fleet {
    /// Joins the processes whose Leases are in that namespace; nothing is held yet. The number of buckets that are is told by the receiver.
    pub(super) fn join(
        connections: &Connections,
        namespace: String,
        sharing: Sharing,
        pod: Option<Pod>,
        stop: &CancellationToken,
    ) -> Result<(Self, watch::Receiver<Buckets>), ConnectError> {
        let leases = Leases::new(connections.lease_calls(), namespace);
        let seen = Arc::new(Seen::default());
        let (synced, _) = watch::channel(Synced::Pending);
        let target = Target { path: leases.path(), selector: SELECTOR.to_owned(), metadata_only: false };
        let client = connections.for_watch()?;
        let sink = LeasesSink(seen.clone());
        tokio::spawn(run_watch(connections.lease_calls(), client, target, sink, synced, stop.clone()));
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let (tell, held) = watch::channel(Buckets::default());
        let fleet = Self {
            leases,
            sharing,
            holder: pod.as_ref().map_or(host, |pod| pod.name.clone()),
            pod,
            fence: connections.fence(),
            telemetry: connections.telemetry(),
            seen,
            own: None,
            left: None,
            held: Buckets::default(),
            tell,
        };
        Ok((fleet, held))
    }

    /// Keeps the Lease and what is done by it, until `stop`; gives the Lease back once `stopped` says that nothing is done any more.
    pub(super) async fn run(
        mut self,
        work: &impl Work,
        stop: CancellationToken,
        stopped: impl Future<Output = ()> + Send,
    ) {
        while !stop.is_cancelled() {
            self.telemetry.probes.elected();
            let pause = match self.turn(work).await {
                Ok(pause) => {
                    if self.own.is_some() {
                        self.telemetry.probes.set(Check::Lease, Ok(()));
                    }
                    pause
                }
                Err(fault) => {
                    // Others do not see it any more: it neither leads nor stands by.
                    if self.own.as_ref().is_none_or(|own| own.renewed.elapsed() >= HOLDS) {
                        self.telemetry.probes.set(Check::Lease, Err(format!("it cannot be kept: {}", fault.message)));
                    }
                    tracing::warn!(error = %fault.message, "the Lease cannot be kept; it is tried again");
                    AGAIN
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.seen.changed.notified() => {}
                () = stop.cancelled() => {}
            }
        }
        stopped.await;
        if let Some(lease) = self.own.take().map(|own| own.lease).or(self.left.take()) {
            let given_back = tokio::time::timeout(FAREWELL, self.leases.delete(&lease, false)).await;
            match given_back {
                Ok(Ok(())) => tracing::info!(lease = lease.name, "the Lease is given back"),
                Ok(Err(fault)) => tracing::warn!(error = %fault.message, "the Lease is left to run out"),
                Err(_) => tracing::warn!("the Lease is left to run out: the API server did not answer"),
            }
        }
    }

    /// One look at everything; gives the pause until the next.
    async fn turn(&mut self, work: &impl Work) -> Result<Duration, Fault> {
        if !self.fence.is_open() && !self.held.is_empty() {
            // Others may have taken over meanwhile: what we know is old. We come back as the youngest, so that nobody has to give way,
            // and what we get is begun anew, from the records.
            tracing::warn!(late = ?self.fence.closed_for(), "the Lease was not renewed in time; the work stops, and there will be a new Lease");
            self.let_go(self.held, work).await;
            self.left = self.own.take().map(|own| own.lease);
        }
        let Some(own) = &self.own else { return self.appear().await };
        let me = own.lease.id();
        let want = self.claim_of_the_living(&me);
        if own.claim.as_ref() != Some(&want) {
            let losing = self.held.without(&want.of(&me));
            self.let_go(losing, work).await;
            if !losing.is_empty() {
                work.begin(&self.held);
            }
            self.renew(want.clone()).await?;
        } else if own.renewed.elapsed() >= RENEWAL {
            self.renew(want.clone()).await?;
        }
        let share = want.of(&me);
        if self.held != share {
            self.take(&want, &me, &share, work).await?;
        }
        self.bury().await;
        let due = self.own.as_ref().map_or(AGAIN, |own| RENEWAL.saturating_sub(own.renewed.elapsed()));
        let next_end = self.others().into_iter().map(|(_, since)| HOLDS.saturating_sub(since.elapsed()));
        // One that has just run out is looked at when its time is up, not again and again until then.
        let next_end = next_end.filter(|left| !left.is_zero()).min().unwrap_or(RENEWAL) + Duration::from_millis(1);
        let blocked = if self.held == share { RENEWAL } else { AGAIN };
        Ok(due.min(next_end).min(blocked))
    }

    /// Writes the own Lease for the first time. Those of before, and of earlier processes of the same pod, which cannot live any more, go.
    async fn appear(&mut self) -> Result<Duration, Fault> {
        if let Some(lease) = &self.left {
            self.forgotten(self.leases.delete(lease, false).await)?;
            self.left = None;
        }
        if let Some(pod) = &self.pod {
            for lease in self.leases.list().await?.iter().filter(|lease| lease.pod.as_ref() == Some(&pod.uid)) {
                tracing::info!(lease = lease.name, "an earlier process of this pod has left its Lease; it is deleted");
                self.forgotten(self.leases.delete(lease, false).await)?;
            }
        }
        let name = format!("swell-{:08x}", random());
        let renewed = Instant::now();
        let lease = self.leases.create(&name, &self.holder, HOLDS.as_secs(), self.pod.as_ref()).await?;
        // Who is there must be known before anything is claimed.
        self.seen.set(self.leases.list().await?);
        tracing::info!(lease = name, holder = self.holder, "has a Lease");
        self.own = Some(Own { lease, claim: None, renewed });
        Ok(Duration::ZERO)
    }

    /// Renews the Lease with this claim, and opens the fence.
    async fn renew(&mut self, claim: Claim) -> Result<(), Fault> {
        let Some(own) = &mut self.own else { return Ok(()) };
        let sent = Instant::now();
        match self.leases.renew(&own.lease, &claim).await {
            Ok(lease) => {
                *own = Own { lease, claim: Some(claim), renewed: sent };
                if !self.held.is_empty() {
                    self.fence.open_until(sent + HOLDS - MARGIN);
                }
                Ok(())
            }
            Err(fault) if fault.kind == FaultKind::Conflict => {
                // A renewal whose answer was lost, or somebody has edited it: it is read, and renewed as it is.
                let listed = self.leases.list().await?;
                let again = listed.into_iter().find(|lease| lease.uid == own.lease.uid);
                match again {
                    Some(lease) => (own.claim, own.lease) = (lease.claim.clone(), lease),
                    None => self.lose(),
                }
                Err(fault)
            }
            Err(fault) if fault.kind == FaultKind::NotFound => {
                tracing::warn!(lease = own.lease.name, error = %fault.message, "the Lease is lost");
                self.lose();
                Err(fault)
            }
            Err(fault) => Err(fault),
        }
    }

    /// The Lease is gone: nothing is written any more before there is another.
    fn lose(&mut self) {
        self.own = None;
        self.fence.open_until(Instant::now());
    }

    /// Takes what is ours by our claim and claimed by nobody else. Read after our claim was written, so that of two one sees the other.
    async fn take(&mut self, claim: &Claim, me: &str, share: &Buckets, work: &impl Work) -> Result<(), Fault> {
        self.seen.set(self.leases.list().await?);
        if self.claim_of_the_living(me) != *claim {
            // Somebody has come or gone: first the claim, then the work.
            self.seen.changed.notify_one();
            return Ok(());
        }
        let others = self.others();
        let others = others.iter().filter(|(_, since)| since.elapsed() < HOLDS);
        let claims = others.filter_map(|(lease, _)| Some((lease.id(), lease.claim.clone()?)));
        let claims: Vec<_> = claims.filter(|(id, _)| id != me).collect();
        let free = free(claim, me, claims.iter().map(|(id, claim)| (id.as_str(), claim)));
        let gains = free.without(&self.held);
        if gains.is_empty() {
            return Ok(());
        }
        let renewed = self.own.as_ref().map_or_else(Instant::now, |own| own.renewed);
        self.held = self.held.with(&gains);
        self.fence.open_until(renewed + HOLDS - MARGIN);
        let missing = share.without(&self.held).len();
        tracing::info!(buckets = self.held.len(), missing, processes = claim.members.len(), "acts for its buckets");
        work.begin(&self.held);
        self.tell.send_replace(self.held);
        Ok(())
    }

    async fn let_go(&mut self, losing: Buckets, work: &impl Work) {
        if losing.is_empty() {
            return;
        }
        work.stop(&losing).await;
        self.held = self.held.without(&losing);
        self.tell.send_replace(self.held);
        tracing::info!(buckets = self.held.len(), given_up = losing.len(), "has given buckets up");
    }

    /// The claim that names this process and every other one that lives.
    fn claim_of_the_living(&self, me: &str) -> Claim {
        let others = self.others();
        let living = others.iter().filter(|(_, since)| since.elapsed() < HOLDS).map(|(lease, _)| lease.id());
        Claim { sharing: self.sharing, members: living.chain([me.to_owned()]).collect() }
    }

    fn others(&self) -> Vec<(Lease, Instant)> {
        let own = self.own.as_ref().map(|own| own.lease.name.clone());
        self.seen.leases().values().filter(|(lease, _)| Some(&lease.name) != own.as_ref()).cloned().collect()
    }

    /// Deletes the Leases of processes that died long ago.
    async fn bury(&self) {
        if self.held.is_empty() {
            return;
        }
        for (lease, since) in self.others() {
            if since.elapsed() > ABANDONED {
                // If it was renewed meanwhile, it stays.
                if let Err(fault) = self.forgotten(self.leases.delete(&lease, true).await) {
                    tracing::debug!(error = %fault.message, lease = lease.name, "an old Lease stays");
                }
                self.seen.leases().remove(&lease.name);
            }
        }
    }

    #[expect(clippy::unused_self, reason = "reads as what becomes of the Lease")]
    fn forgotten(&self, deleted: Result<(), Fault>) -> Result<(), Fault> {
        match deleted {
            Err(fault) if fault.kind == FaultKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// Four bytes that no other process of the fleet has.
fn random() -> u32 {
    use std::hash::{BuildHasher, Hasher};
    let seed = std::collections::hash_map::RandomState::new().build_hasher().finish();
    u32::try_from(seed >> 32).unwrap_or_default()
}

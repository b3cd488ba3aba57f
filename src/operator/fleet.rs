//! This process among those that share the work: its Lease, what it claims by it, and what it may act for ([`crate::engine::shards`]).

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Election;
use crate::cluster::client::{ConnectError, Connections};
use crate::cluster::fence::Fence;
use crate::cluster::lease::{Lease, Leases, Process, SELECTOR};
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
/// Before work is stopped, which may take a while, a Lease that is older than this is renewed.
const FRESH: Duration = Duration::from_secs(1);
/// The pause before a failed renewal, or a look at who still claims what is ours, is made again.
const AGAIN: Duration = Duration::from_millis(500);
/// The longest of these pauses while there is nothing to lose.
const LONGEST: Duration = Duration::from_secs(5);
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
    namespace: String,
    /// Of the Lease, as long as this process lives.
    name: String,
    process: Process,
    fence: Arc<Fence>,
    telemetry: Arc<Telemetry>,
    seen: Arc<Seen>,
    own: Option<Own>,
    /// A Lease of ours that is to be deleted.
    left: Option<Lease>,
    held: Buckets,
    tell: watch::Sender<Buckets>,
    /// What was said last of why the Lease cannot be kept, and how often that was tried.
    refused: (String, u32),
    /// What was said last of others that were started in another way.
    odd: BTreeSet<String>,
}

struct Own {
    lease: Lease,
    /// What is published for certain: nothing while an answer is awaited, or has not come.
    claim: Option<Claim>,
    renewed: Instant,
}

/// A Lease of somebody.
#[derive(Clone)]
struct Entry {
    lease: Lease,
    /// When it was seen to change.
    since: Instant,
    /// It was deleted without its process having said that it stops: that one may live on until its Lease would have run out.
    vanished: bool,
}

impl Entry {
    fn lives(&self) -> bool {
        self.since.elapsed() < HOLDS && !self.lease.is_left()
    }
}

/// The Leases as they were seen last.
#[derive(Default)]
struct Seen {
    leases: Mutex<BTreeMap<String, Entry>>,
    changed: Notify,
}

impl Seen {
    fn leases(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, lease: Lease) {
        let mut leases = self.leases();
        // Seen again without a change, it was not renewed.
        let same = |known: &Entry| (&known.lease.uid, &known.lease.version) == (&lease.uid, &lease.version);
        if leases.get(&lease.name).is_none_or(|known| !same(known) || known.vanished) {
            leases.insert(lease.name.clone(), Entry { lease, since: Instant::now(), vanished: false });
            drop(leases);
            self.changed.notify_one();
        }
    }

    fn set(&self, listed: Vec<Lease>) {
        let there: BTreeSet<_> = listed.iter().map(|lease| lease.uid.clone()).collect();
        let gone: Vec<_> = self.leases().values().map(|entry| entry.lease.clone()).collect();
        for lease in gone.iter().filter(|lease| !there.contains(&lease.uid)) {
            self.remove(&lease.name, &lease.uid, false);
        }
        for lease in listed {
            self.put(lease);
        }
    }

    /// Takes a Lease out. One of whom nothing says that its process has left counts until it would have run out.
    fn remove(&self, name: &str, uid: &str, is_left: bool) {
        let mut leases = self.leases();
        let Some(entry) = leases.get_mut(name).filter(|entry| entry.lease.uid == uid) else { return };
        if !is_left && entry.lives() && entry.lease.claim.is_some() {
            entry.vanished = true;
        } else {
            leases.remove(name);
        }
        drop(leases);
        self.changed.notify_one();
    }

    fn has(&self, lease: &Lease) -> bool {
        self.leases().get(&lease.name).is_some_and(|entry| entry.lease.uid == lease.uid && !entry.vanished)
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
            // As it was last: it may say that its process has left, which was not seen before.
            self.0.remove(&lease.name, &lease.uid, lease.is_left());
        }
    }
}

impl Fleet {
    /// Joins the processes whose Leases are in that namespace; nothing is held yet. The buckets that are, are told by the receiver.
    pub(super) fn join(
        connections: &Connections,
        election: Election,
        namespaces: &[String],
        stop: &CancellationToken,
    ) -> Result<(Self, watch::Receiver<Buckets>), ConnectError> {
        let Election { namespace, sharing, pod } = election;
        let leases = Leases::new(connections.lease_calls(), namespace.clone());
        let seen = Arc::new(Seen::default());
        let (tell_synced, synced) = watch::channel(Synced::Pending);
        let target = Target { path: leases.path(), selector: SELECTOR.to_owned(), ..Target::default() };
        let client = connections.for_watch()?;
        let sink = LeasesSink(seen.clone());
        tokio::spawn(run_watch(connections.lease_calls(), client, target, sink, tell_synced, stop.clone()));
        tokio::spawn(warn_of_refusal(synced));
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let holder = pod.as_ref().map_or(host, |pod| pod.name.clone());
        let mut namespaces = namespaces.to_vec();
        namespaces.sort_unstable();
        let (tell, held) = watch::channel(Buckets::default());
        let fleet = Self {
            leases,
            namespace,
            name: random_name(),
            process: Process { holder, pod, sharing, namespaces: namespaces.join(",") },
            fence: connections.fence(),
            telemetry: connections.telemetry(),
            seen,
            own: None,
            left: None,
            held: Buckets::default(),
            tell,
            refused: (String::new(), 0),
            odd: BTreeSet::new(),
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
            // What a turn has begun is told by `own` and `left` at every await: it may be broken off.
            let turned = tokio::select! {
                turned = self.turn(work) => turned,
                () = stop.cancelled() => break,
            };
            let pause = match turned {
                Ok(pause) => {
                    if self.own.is_some() {
                        self.telemetry.probes.set(Check::Lease, Ok(()));
                    }
                    self.refused = (String::new(), 0);
                    pause
                }
                Err(fault) => self.not_kept(&fault),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.seen.changed.notified() => {}
                () = stop.cancelled() => {}
            }
        }
        stopped.await;
        // Whatever could not be stopped in time does not write any more when the next one begins.
        self.fence.close();
        if let Some(lease) = self.own.take().map(|own| own.lease).or(self.left.take()) {
            match tokio::time::timeout(FAREWELL, self.retire(&lease)).await {
                Ok(Ok(())) => tracing::info!(lease = lease.name, "the Lease is given back"),
                Ok(Err(fault)) => tracing::warn!(error = %fault.message, "the Lease is left to run out"),
                Err(_) => tracing::warn!("the Lease is left to run out: the API server did not answer"),
            }
        }
    }

    /// Says why the Lease cannot be kept, once; gives the pause before the next try.
    fn not_kept(&mut self, fault: &Fault) -> Duration {
        // Others do not see it any more: it neither leads nor stands by.
        if self.own.as_ref().is_none_or(|own| own.renewed.elapsed() >= HOLDS) {
            self.telemetry.probes.set(Check::Lease, Err(format!("it cannot be kept: {}", fault.message)));
        }
        let (said, tries) = &mut self.refused;
        *tries = tries.saturating_add(1);
        if *said != fault.message {
            said.clone_from(&fault.message);
            let namespace = &self.namespace;
            let what_to_do = match fault.kind {
                FaultKind::Forbidden => format!(
                    "the operator's account needs create, list, watch, patch and delete on leases.coordination.k8s.io in the namespace {namespace}: \
                     kubectl create role swell-leases -n {namespace} --verb=create,list,watch,patch,delete --resource=leases.coordination.k8s.io, and a \
                     rolebinding of it"
                ),
                FaultKind::NotFound => format!("is there a namespace {namespace}, as --lease-namespace says?"),
                _ => "it is tried again".to_owned(),
            };
            tracing::warn!(error = %fault.message, "the Lease cannot be kept; {what_to_do}");
        }
        if self.held.is_empty() { (AGAIN * 2_u32.pow((*tries - 1).min(4))).min(LONGEST) } else { AGAIN }
    }

    /// One look at everything; gives the pause until the next.
    async fn turn(&mut self, work: &impl Work) -> Result<Duration, Fault> {
        if !self.fence.is_open() && !self.held.is_empty() {
            // Others may have taken over meanwhile: what we know is old. We come back as the youngest, so that nobody has to give way,
            // and what we get is begun anew, from the records.
            tracing::warn!(late = ?self.fence.closed_for(), "the Lease was not renewed in time; the work stops, and there will be a new Lease");
            self.left = self.own.take().map(|own| own.lease);
            self.let_go(self.held, work).await;
        }
        let Some(own) = &self.own else { return self.appear().await };
        let (me, fresh) = (own.lease.id(), own.renewed.elapsed() < FRESH);
        // Somebody has deleted it: it is not waited for the next renewal to learn that.
        let missed = own.claim.is_some() && !self.seen.has(&own.lease);
        let due = own.renewed.elapsed() >= RENEWAL;
        let published = own.claim.clone();
        let want = self.claim_of_the_living(&me);
        if published.as_ref() == Some(&want) {
            if due || missed {
                self.renew(want.clone()).await?;
            }
        } else {
            let losing = self.held.without(&want.of(&me));
            if let Some(published) = published.filter(|_| !fresh && !losing.is_empty()) {
                self.renew(published).await?;
            }
            self.let_go(losing, work).await;
            self.renew(want.clone()).await?;
        }
        let share = want.of(&me);
        if self.held != share {
            self.take(&want, &me, &share, work).await?;
        }
        self.bury().await;
        let due = self.own.as_ref().map_or(AGAIN, |own| RENEWAL.saturating_sub(own.renewed.elapsed()));
        let next_end = self.others().into_iter().map(|entry| HOLDS.saturating_sub(entry.since.elapsed()));
        // One that has just run out is looked at when its time is up, not again and again until then.
        let next_end = next_end.filter(|left| !left.is_zero()).min().unwrap_or(RENEWAL) + Duration::from_millis(1);
        let blocked = if self.held == share { RENEWAL } else { AGAIN };
        Ok(due.min(next_end).min(blocked))
    }

    /// Writes the own Lease for the first time. Those of before, and of earlier processes of the same pod, which cannot live any more, go.
    async fn appear(&mut self) -> Result<Duration, Fault> {
        if let Some(lease) = self.left.clone() {
            self.retire(&lease).await?;
            self.left = None;
        }
        if let Some(pod) = &self.process.pod {
            for lease in self.leases.list().await?.iter().filter(|lease| lease.pod.as_ref() == Some(&pod.uid)) {
                tracing::info!(lease = lease.name, "an earlier process of this pod has left its Lease; it is deleted");
                self.retire(lease).await?;
            }
        }
        let renewed = Instant::now();
        let lease = match self.leases.create(&self.name, &self.process, HOLDS.as_secs()).await {
            Err(fault) if fault.kind == FaultKind::Exists => {
                self.name = random_name();
                return Err(fault);
            }
            created => created?,
        };
        // Until it is known who is there, nothing is claimed.
        self.left = Some(lease.clone());
        self.seen.set(self.leases.list().await?);
        self.left = None;
        tracing::info!(lease = lease.name, holder = self.process.holder, "has a Lease");
        self.own = Some(Own { lease, claim: None, renewed });
        Ok(Duration::ZERO)
    }

    /// Renews the Lease with this claim, which keeps the fence open.
    async fn renew(&mut self, claim: Claim) -> Result<(), Fault> {
        let Some(own) = &mut self.own else { return Ok(()) };
        let sent = Instant::now();
        // Whether it is done is not known before the answer.
        own.claim = None;
        match self.leases.renew(&own.lease, &claim).await {
            Ok(lease) => {
                *own = Own { lease, claim: Some(claim), renewed: sent };
                if !self.held.is_empty() {
                    self.fence.extend(sent + HOLDS - MARGIN);
                }
                Ok(())
            }
            Err(fault) if fault.kind == FaultKind::Conflict => {
                // A renewal whose answer was lost, or somebody has edited it: it is read, and renewed as it is.
                let listed = self.leases.list().await?;
                match listed.into_iter().find(|lease| lease.uid == own.lease.uid) {
                    Some(lease) => own.lease = lease,
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
        self.fence.close();
    }

    /// Takes what is ours by our claim and claimed by nobody else. Read after our claim was written, so that of two one sees the other.
    async fn take(&mut self, claim: &Claim, me: &str, share: &Buckets, work: &impl Work) -> Result<(), Fault> {
        self.seen.set(self.leases.list().await?);
        if self.claim_of_the_living(me) != *claim {
            // Somebody has come or gone: first the claim, then the work.
            self.seen.changed.notify_one();
            return Ok(());
        }
        let (living, dead): (Vec<_>, Vec<_>) = self.others().into_iter().partition(Entry::lives);
        // A renewal of one that counts as dead may still be on its way: after this it finds no Lease.
        for entry in dead.iter().filter(|entry| !entry.vanished) {
            match forgotten(self.leases.delete(&entry.lease, true).await) {
                Ok(()) => {
                    self.seen.leases().remove(&entry.lease.name);
                }
                Err(fault) if fault.kind == FaultKind::Conflict => {
                    self.seen.changed.notify_one();
                    return Ok(());
                }
                Err(fault) => return Err(fault),
            }
        }
        let mut claims = Vec::new();
        for entry in &living {
            match &entry.lease.claim {
                Some(Ok(claim)) => claims.push((entry.lease.id(), claim)),
                // It may mean anything.
                Some(Err(_)) => return Ok(()),
                None => {}
            }
        }
        let free = free(claim, me, claims.iter().map(|(id, claim)| (id.as_str(), *claim)));
        let gains = free.without(&self.held);
        if gains.is_empty() {
            return Ok(());
        }
        if let Some(own) = self.own.as_ref().filter(|_| self.held.is_empty()) {
            self.fence.open_until(own.renewed + HOLDS - MARGIN);
        }
        if !self.fence.is_open() {
            return Ok(());
        }
        self.held = self.held.with(&gains);
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
        work.begin(&self.held);
        self.tell.send_replace(self.held);
        tracing::info!(buckets = self.held.len(), given_up = losing.len(), "has given buckets up");
    }

    /// The claim that names this process and every other one that lives. One leads as long as one of them was told so.
    fn claim_of_the_living(&mut self, me: &str) -> Claim {
        let living: Vec<_> = self.others().into_iter().filter(Entry::lives).collect();
        self.compare(&living);
        let leads = living.iter().any(|entry| entry.lease.sharing == Some(Sharing::Leader));
        let sharing = if leads { Sharing::Leader } else { self.process.sharing };
        Claim { sharing, members: living.iter().map(|entry| entry.lease.id()).chain([me.to_owned()]).collect() }
    }

    /// Says when others were started in another way, once.
    fn compare(&mut self, living: &[Entry]) {
        let mut odd = BTreeSet::new();
        for Entry { lease, .. } in living {
            if lease.sharing.is_some_and(|sharing| sharing != self.process.sharing) {
                odd.insert(format!("the process of the Lease {} was started with another --sharding: one leads until all have the same", lease.name));
            }
            if lease.sharing.is_some() && lease.namespaces != self.process.namespaces {
                odd.insert(format!(
                    "the process of the Lease {} looks at the namespaces [{}], this one at [{}]: what falls to one that does not see it is not \
                     acted for; give all the same --namespace, or each group a --lease-namespace of its own",
                    lease.name, lease.namespaces, self.process.namespaces
                ));
            }
            if matches!(lease.claim, Some(Err(_))) {
                odd.insert(format!(
                    "the claim in the Lease {} cannot be read: nothing is taken over while that one lives",
                    lease.name
                ));
            }
        }
        for said in odd.difference(&self.odd) {
            tracing::error!("{said}");
        }
        self.odd = odd;
    }

    fn others(&self) -> Vec<Entry> {
        let own = self.own.as_ref().map(|own| own.lease.uid.clone());
        let mut leases = self.seen.leases();
        leases.retain(|_, entry| !entry.vanished || entry.lives());
        leases.values().filter(|entry| Some(&entry.lease.uid) != own.as_ref()).cloned().collect()
    }

    /// Deletes the Lease of a process that died long ago, one at a time: there are renewals to be made.
    async fn bury(&self) {
        let others = if self.held.is_empty() { Vec::new() } else { self.others() };
        let Some(Entry { lease, .. }) = others.into_iter().find(|entry| entry.since.elapsed() > ABANDONED) else {
            return;
        };
        // If it was renewed meanwhile, it stays.
        if let Err(fault) = forgotten(self.leases.delete(&lease, true).await) {
            tracing::debug!(error = %fault.message, lease = lease.name, "an old Lease stays");
        }
        self.seen.leases().remove(&lease.name);
    }

    /// Gives a Lease back: first it says that nobody acts by it, so that its end is not taken for an accident.
    async fn retire(&self, lease: &Lease) -> Result<(), Fault> {
        forgotten(self.leases.leave(lease).await)?;
        forgotten(self.leases.delete(lease, false).await)
    }
}

/// What is gone already needs not be written or deleted.
fn forgotten(written: Result<(), Fault>) -> Result<(), Fault> {
    match written {
        Err(fault) if fault.kind == FaultKind::NotFound => Ok(()),
        other => other,
    }
}

/// Says why the Leases cannot be watched: without that everybody looks dead after a while.
async fn warn_of_refusal(mut synced: watch::Receiver<Synced>) {
    let mut said = String::new();
    loop {
        let failed = match &*synced.borrow_and_update() {
            Synced::Failed(fault) => Some(fault.message.clone()),
            Synced::Pending | Synced::Yes => None,
        };
        if let Some(message) = failed.filter(|message| *message != said) {
            tracing::error!(error = %message, "the Leases of the other processes cannot be watched");
            said = message;
        }
        if synced.changed().await.is_err() {
            return;
        }
    }
}

/// A name that no other process of the fleet has.
fn random_name() -> String {
    use std::hash::{BuildHasher, Hasher};
    let seed = std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("swell-{:08x}", seed >> 32)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lease(version: u64, claim: &str) -> Value {
        json!({
            "metadata": {"name": "swell-a", "uid": "u", "resourceVersion": version.to_string(), "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"swell.dev/claim": claim}},
            "spec": {"leaseDurationSeconds": 10}
        })
    }

    fn lives(seen: &Seen) -> Option<bool> {
        seen.leases().get("swell-a").map(Entry::lives)
    }

    #[test]
    fn f53_a_lease_that_vanishes_counts_until_it_would_have_run_out_unless_its_process_said_that_it_leaves() {
        let sink = LeasesSink(Arc::default());
        sink.put(lease(1, "leader:1-swell-a"));
        sink.remove(lease(2, "leader:1-swell-a"));
        assert_eq!(lives(&sink.0), Some(true));
        sink.0.leases().clear();
        sink.put(lease(1, "leader:1-swell-a"));
        sink.remove(lease(3, "leader:"));
        assert_eq!(lives(&sink.0), None);
    }

    #[test]
    fn f53_the_news_of_a_dead_lease_that_was_deleted_do_not_bring_it_back_to_life() {
        let sink = LeasesSink(Arc::default());
        sink.put(lease(1, "leader:1-swell-a"));
        sink.0.leases().remove("swell-a");
        sink.remove(lease(2, "leader:1-swell-a"));
        assert_eq!(lives(&sink.0), None);
    }
}

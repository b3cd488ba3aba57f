//! Whether the process lives, and whether it is ready: facts that others tell, and the pages that are made of them.
//!
//! It lives as long as its runtime gets on: the tasks that have to turn, turn. It is ready once it sees what it needs to see, and as long
//! as the API server answers. One that stands by is ready too: it does not lead, and says so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::engine::shards::BUCKETS;

/// The runtime's own beat: a task that does nothing but turn.
pub const BEAT: Duration = Duration::from_secs(2);
/// Without a beat for this long the process counts as stuck.
const STUCK: Duration = Duration::from_secs(30);
/// The watch of Applications and the election turn at least this often, whatever the API server does: idle limit, deadlines and pauses
/// together are less.
const TURN: Duration = Duration::from_mins(5);
/// Unanswered for this long, the API server counts as gone; one failed call does not.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who asks for readiness when nothing was heard of the API server for this long makes the operator ask it.
const QUIET: Duration = Duration::from_secs(10);

/// All buckets there are.
#[expect(clippy::cast_possible_truncation, reason = "they are 256")]
const ALL: u32 = BUCKETS as u32;

/// What has to be seen before the operator is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// Applications have been listed; their custom resource is there.
    Applications,
    /// What the cluster serves has been read.
    Discovery,
    /// What health depends on has been listed: StorageClasses and CRDs.
    Facts,
    /// The others see this process by its Lease.
    Lease,
}

impl Check {
    const ALL: [Self; 4] = [Self::Applications, Self::Discovery, Self::Facts, Self::Lease];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Applications => "applications",
            Self::Discovery => "discovery",
            Self::Facts => "facts",
            Self::Lease => "lease",
        }
    }
}

/// The part of this process among its replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// There is no election.
    #[default]
    Alone,
    /// It acts for so many buckets; for all of them, where it leads.
    Holds(u32),
    /// Others act.
    StandsBy,
}

impl Role {
    /// Whether a check says anything about it: who stands by looks at no Applications, and who is alone has no Lease.
    fn wants(self, check: Check) -> bool {
        match check {
            Check::Applications => self != Self::StandsBy,
            Check::Lease => self != Self::Alone,
            Check::Discovery | Check::Facts => true,
        }
    }
}

/// The facts.
pub struct Probes {
    begun: Instant,
    /// Milliseconds from `begun` to the last beat, to the last turn of the watch of Applications, and to that of the election; 0 for none yet.
    beat: AtomicU64,
    dispatch: AtomicU64,
    election: AtomicU64,
    /// Milliseconds from `begun` to the first call in a row that had no answer, plus one; 0 while the API server answers.
    unanswered: AtomicU64,
    /// Milliseconds from `begun` to the last sign of life of the API server, or question for one.
    heard: AtomicU64,
    /// Rung when the API server is to be asked whether it is there.
    pub doubt: Notify,
    facts: Mutex<Facts>,
}

#[derive(Default)]
struct Facts {
    checks: BTreeMap<Check, Result<(), String>>,
    role: Role,
    /// What the last call without an answer met.
    trouble: String,
    stopping: bool,
}

/// A page: whether all is well, and the line of each check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Whether every check holds.
    pub ok: bool,
    /// The body.
    pub text: String,
}

impl Default for Probes {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        let facts = Mutex::new(Facts::default());
        Self {
            begun: Instant::now(),
            beat: zero(),
            dispatch: zero(),
            election: zero(),
            unanswered: zero(),
            heard: zero(),
            doubt: Notify::new(),
            facts,
        }
    }
}

impl Probes {
    /// The runtime has turned.
    pub fn beat(&self) {
        self.beat.store(self.elapsed(), Ordering::Relaxed);
    }

    /// The watch of Applications has turned: something was heard of it, or it was asked for again.
    pub fn dispatched(&self) {
        self.dispatch.store(self.elapsed(), Ordering::Relaxed);
    }

    /// The election has turned: the Leases were looked at.
    pub fn elected(&self) {
        self.election.store(self.elapsed(), Ordering::Relaxed);
    }

    /// The API server has answered, whatever it said.
    pub fn answered(&self) {
        self.heard.store(self.elapsed(), Ordering::Relaxed);
        if self.unanswered.load(Ordering::Relaxed) != 0 {
            self.unanswered.store(0, Ordering::Relaxed);
        }
    }

    /// A call has met nothing that answers.
    pub fn unanswered(&self, trouble: &str) {
        let _ = self.unanswered.compare_exchange(0, self.elapsed() + 1, Ordering::Relaxed, Ordering::Relaxed);
        trouble.clone_into(&mut self.facts().trouble);
    }

    /// Somebody wants to know whether the operator is ready. A quiet one, which sends nothing by itself, asks the API server then.
    pub fn asked(&self) {
        let (now, heard) = (self.elapsed(), self.heard.load(Ordering::Relaxed));
        if Duration::from_millis(now.saturating_sub(heard)) >= QUIET
            && self.heard.compare_exchange(heard, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.doubt.notify_one();
        }
    }

    /// How a check stands.
    pub fn set(&self, check: Check, stands: Result<(), String>) {
        self.facts().checks.insert(check, stands);
    }

    /// Whether a check holds.
    pub fn holds(&self, check: Check) -> bool {
        matches!(self.facts().checks.get(&check), Some(Ok(())))
    }

    /// The part of this process among its replicas. Who stands by forgets that it has seen Applications.
    pub fn set_role(&self, role: Role) {
        let mut facts = self.facts();
        facts.role = role;
        if role == Role::StandsBy {
            facts.checks.remove(&Check::Applications);
        }
    }

    /// The process was asked to stop: it is not ready any more.
    pub fn stopping(&self) {
        self.facts().stopping = true;
    }

    /// Whether the process gets on.
    pub fn livez(&self) -> Page {
        self.livez_at(self.elapsed())
    }

    /// Whether it is ready.
    pub fn readyz(&self) -> Page {
        self.readyz_at(self.elapsed())
    }

    fn livez_at(&self, now: u64) -> Page {
        let since = |at: &AtomicU64| Duration::from_millis(now.saturating_sub(at.load(Ordering::Relaxed)));
        let turned = |at: &AtomicU64, limit: Duration, what: &str| {
            let rest = since(at);
            if rest <= limit { Ok(()) } else { Err(format!("{what} has not turned for {}s", rest.as_secs())) }
        };
        let mut checks = vec![("runtime", turned(&self.beat, STUCK, "the runtime"))];
        let role = self.facts().role;
        for (name, at, what, is_wanted) in [
            ("dispatch", &self.dispatch, "the watch of Applications", role.wants(Check::Applications)),
            ("election", &self.election, "the look at the Leases", role.wants(Check::Lease)),
        ] {
            // What has not begun yet is not stuck: readiness tells of it.
            if is_wanted && at.load(Ordering::Relaxed) != 0 {
                checks.push((name, turned(at, TURN, what)));
            }
        }
        page("livez", &checks, None)
    }

    fn readyz_at(&self, now: u64) -> Page {
        let facts = self.facts();
        let mut checks = Vec::new();
        for check in Check::ALL.into_iter().filter(|check| facts.role.wants(*check)) {
            let stands = facts.checks.get(&check).cloned();
            checks.push((check.as_str(), stands.unwrap_or_else(|| Err("not read yet".to_owned()))));
        }
        let unanswered = match self.unanswered.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis((now + 1).saturating_sub(since)),
        };
        let apiserver = if unanswered < PATIENCE {
            Ok(())
        } else {
            Err(format!("no answer for {}s: {}", unanswered.as_secs(), facts.trouble))
        };
        checks.push(("apiserver", apiserver));
        if facts.stopping {
            checks.push(("running", Err("asked to stop".to_owned())));
        }
        let role = match facts.role {
            Role::Alone => "no election: it leads".to_owned(),
            Role::Holds(ALL) => "it leads".to_owned(),
            Role::Holds(share) => format!("it acts for {share} of {ALL} buckets"),
            Role::StandsBy => "it stands by".to_owned(),
        };
        page("readyz", &checks, Some(&role))
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn facts(&self) -> std::sync::MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line for each check, as the API server's own pages have them.
fn page(name: &str, checks: &[(&str, Result<(), String>)], role: Option<&str>) -> Page {
    let mut text = String::new();
    for (check, stands) in checks {
        let _ = match stands {
            Ok(()) => writeln!(text, "[+]{check} ok"),
            Err(why) => {
                let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                writeln!(text, "[-]{check} failed: {why}")
            }
        };
    }
    if let Some(role) = role {
        let _ = writeln!(text, "[ ]role: {role}");
    }
    let ok = checks.iter().all(|(_, stands)| stands.is_ok());
    let _ = writeln!(text, "{name} check {}", if ok { "passed" } else { "failed" });
    Page { ok, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Probes {
        let probes = Probes::default();
        for check in Check::ALL {
            probes.set(check, Ok(()));
        }
        probes
    }

    #[test]
    fn readiness_names_what_is_missing() {
        let probes = Probes::default();
        probes.set(Check::Discovery, Ok(()));
        probes.set(Check::Facts, Err("storageclasses:\nforbidden".to_owned()));
        let page = probes.readyz();
        assert!(!page.ok);
        let told: Vec<_> = page.text.lines().collect();
        let role = "[ ]role: no election: it leads";
        let facts = "[-]facts failed: storageclasses: forbidden";
        let applications = "[-]applications failed: not read yet";
        assert_eq!(told, [applications, "[+]discovery ok", facts, "[+]apiserver ok", role, "readyz check failed"]);
    }

    #[test]
    fn one_failed_call_does_not_take_readiness_away_but_silence_does_until_the_first_answer() {
        let probes = ready();
        assert!(probes.readyz().ok);
        probes.unanswered("connection refused");
        let now = probes.elapsed();
        assert!(probes.readyz_at(now).ok);
        probes.unanswered("connection reset");
        let page = probes.readyz_at(now + 11_000);
        assert!(!page.ok && page.text.contains("[-]apiserver failed: no answer for 1") && page.text.contains("reset"));
        assert!(probes.livez_at(now + 11_000).ok, "a restart would not bring the API server back");
        probes.answered();
        assert!(probes.readyz_at(now + 11_000).ok);
    }

    #[test]
    fn who_stands_by_is_ready_by_its_lease_and_looks_at_no_applications() {
        let probes = ready();
        probes.set_role(Role::StandsBy);
        probes.set(Check::Lease, Err("it cannot be kept: forbidden".to_owned()));
        let page = probes.readyz();
        assert!(!page.ok && page.text.contains("[-]lease failed: it cannot be kept: forbidden"), "{}", page.text);
        probes.set(Check::Lease, Ok(()));
        let page = probes.readyz();
        assert!(page.ok && page.text.contains("role: it stands by"), "{}", page.text);
        assert!(!page.text.contains("applications"), "{}", page.text);
        probes.set_role(Role::Holds(85));
        let page = probes.readyz();
        assert!(!page.ok && page.text.contains("[-]applications failed: not read yet"), "{}", page.text);
        probes.set(Check::Applications, Ok(()));
        let page = probes.readyz();
        assert!(page.ok && page.text.contains("role: it acts for 85 of 256 buckets"), "{}", page.text);
        probes.stopping();
        assert!(!probes.readyz().ok);
    }

    #[test]
    fn a_runtime_a_dispatch_or_an_election_that_does_not_turn_is_not_alive() {
        const NOW: u64 = 400_000;
        let probes = Probes::default();
        probes.beat();
        assert!(probes.livez().ok, "neither watch nor election has begun yet");
        for at in [&probes.dispatch, &probes.election] {
            at.store(1, Ordering::Relaxed);
        }
        let failing = |role: Role| {
            probes.set_role(role);
            let page = probes.livez_at(NOW);
            let failed = page.text.lines().filter_map(|line| line.strip_prefix("[-]")?.split(' ').next());
            let failed: Vec<_> = failed.map(str::to_owned).collect();
            assert_eq!(page.ok, failed.is_empty(), "{}", page.text);
            failed
        };
        assert_eq!(failing(Role::Alone), ["runtime", "dispatch"]);
        assert_eq!(failing(Role::Holds(256)), ["runtime", "dispatch", "election"]);
        probes.beat.store(NOW - 1000, Ordering::Relaxed);
        assert_eq!(failing(Role::StandsBy), ["election"], "it watches no Applications");
        probes.election.store(NOW - 1000, Ordering::Relaxed);
        assert_eq!(failing(Role::StandsBy), [""; 0]);
    }
}

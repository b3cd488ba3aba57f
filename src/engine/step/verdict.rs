//! What the verdict on an applied object means for its task: nothing older than our own write counts (I2).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::engine::attempt::{TaskRun, Written};
use crate::engine::desired::Manifest;
use crate::engine::health::{self, Gate, Health};
use crate::engine::live::Live;

/// How long a custom resource settles when nothing tells that its status is fresh.
const SETTLE: Duration = Duration::from_secs(5);
/// How long a Degraded that is not for good must last (V18).
const DEGRADED_GRACE: SignedDuration = SignedDuration::from_secs(10);

/// What the verdict means for the task.
pub(super) enum Judged {
    /// Over, with a remark.
    Done(Option<String>),
    /// Failed, by this cause.
    Failed(String),
    /// It is being deleted.
    Vanishing,
    /// Not yet; looked at again at `wake` also when nothing happens.
    Wait { health: &'static str, reason: String, wake: Option<Timestamp> },
}

/// The verdict on an applied object; nothing older than our own write counts, neither success nor failure (I2).
pub(super) fn verdict(manifest: &Manifest, run: &mut TaskRun, live: &Live, now: Timestamp) -> Judged {
    if live.deleting.is_some() {
        return Judged::Vanishing;
    }
    let wait = |health: &'static str, reason: &str, wake| Judged::Wait { health, reason: reason.to_owned(), wake };
    let gates = match (&live.verdict, manifest.settings.gate) {
        _ if manifest.settings.ignore_health => false,
        (None, _) | (_, Some(false)) => false,
        (Some(verdict), gate) => verdict.gate == Gate::Gating || gate == Some(true),
    };
    let Some(verdict) = live.verdict.as_ref().filter(|_| gates) else {
        return Judged::Done(None);
    };
    if let Some(written) = &run.written
        && live.version < written.version
    {
        return wait("Progressing", "waits to see its own write", None);
    }
    if (live.by_check || health::is_custom(&manifest.key.kind.group)) && !is_fresh(live, run.written.as_ref()) {
        let settle = manifest.settings.settle.unwrap_or(SETTLE);
        let settled = written_at(live, run).and_then(|at| at.checked_add(settle).ok());
        if let Some(settled) = settled.filter(|settled| now < *settled) {
            return wait("Progressing", "settling: no status newer than our write yet", Some(settled));
        }
    }
    let said = if verdict.message.is_empty() { &verdict.reason } else { &verdict.message };
    if verdict.health != Health::Degraded {
        run.degraded_since = None;
    }
    match verdict.health {
        Health::Healthy => Judged::Done((!verdict.judged).then(|| verdict.message.clone())),
        Health::Degraded if verdict.terminal => Judged::Failed(format!("is Degraded: {said}")),
        Health::Degraded => {
            let since = *run.degraded_since.get_or_insert(now);
            let end = since.checked_add(DEGRADED_GRACE).unwrap_or(since);
            if now >= end {
                Judged::Failed(format!("has been Degraded for {}s: {said}", DEGRADED_GRACE.as_secs()))
            } else {
                wait("Degraded", said, Some(end))
            }
        }
        Health::Suspended => wait("Suspended", said, None),
        Health::Progressing => wait("Progressing", said, None),
        Health::Missing => wait("Missing", said, None),
        Health::Unknown => wait("Unknown", said, None),
    }
}

/// Whether the status of an object that is judged by it alone tells of our write; of one before a restart only `observedGeneration` can.
fn is_fresh(live: &Live, written: Option<&Written>) -> bool {
    match (live.observed_generation, written) {
        (Some(observed), _) => observed >= live.generation,
        (None, Some(written)) => !written.moved || live.status != written.status,
        (None, None) => false,
    }
}

/// When we wrote the object last. For a write before a restart our entry in `managedFields` tells it, cut to whole seconds.
fn written_at(live: &Live, run: &TaskRun) -> Option<Timestamp> {
    match &run.written {
        Some(written) => Some(written.at),
        None => live.entry.as_ref()?.time?.checked_add(SignedDuration::from_secs(1)).ok(),
    }
}

//! Until when this process may write: as long as the others, by their own clocks, still hold it for alive.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Opened by taking up work, held open by each renewal of the Lease. No write is sent past it, and one whose answer has not come by then is
/// broken off: the margin between this and the time at which others take over is for what the API server has already.
///
/// What arrives later all the same (a suspended machine, a request that sat in a buffer) finds records at another resourceVersion, objects
/// of another uid, and hooks by the names that they have; an apply that brings something old back is drift by its content digest.
#[derive(Debug)]
pub struct Fence {
    until: watch::Sender<Option<Instant>>,
}

impl Fence {
    /// Without an election: always open.
    pub fn open() -> Self {
        Self { until: watch::Sender::new(None) }
    }

    /// Closed until there is work.
    pub fn closed() -> Self {
        Self { until: watch::Sender::new(Some(Instant::now())) }
    }

    /// Opens it until then.
    pub fn open_until(&self, until: Instant) {
        self.until.send_replace(Some(until));
    }

    /// Keeps it open until then, if it is open now: what was closed once is opened by taking up work alone.
    pub fn extend(&self, until: Instant) {
        self.until.send_if_modified(|known| match known {
            Some(known) if Instant::now() < *known => {
                *known = until;
                true
            }
            _ => false,
        });
    }

    /// Closes it now.
    pub fn close(&self) {
        self.until.send_replace(Some(Instant::now()));
    }

    /// Whether a write may be sent now.
    pub fn is_open(&self) -> bool {
        self.until.borrow().is_none_or(|until| Instant::now() < until)
    }

    /// Waits until it is closed.
    pub async fn closes(&self) {
        let mut changes = self.until.subscribe();
        loop {
            let until = *changes.borrow_and_update();
            let ends = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = ends => return,
                // The sender is ours: it does not go before we do.
                _ = changes.changed() => {}
            }
        }
    }

    /// How long it has been closed; zero while it is open.
    pub fn closed_for(&self) -> Duration {
        let until = *self.until.borrow();
        until.map_or(Duration::ZERO, |until| Instant::now().saturating_duration_since(until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f53_what_is_not_renewed_closes_and_a_late_renewal_does_not_open_it_again() {
        let later = || Instant::now() + Duration::from_hours(1);
        let fence = Fence::closed();
        assert!(!fence.is_open());
        fence.extend(later());
        assert!(!fence.is_open(), "a renewal opens nothing");
        fence.open_until(later());
        fence.extend(later());
        assert_eq!((fence.is_open(), fence.closed_for()), (true, Duration::ZERO));
        fence.open_until(Instant::now() - Duration::from_secs(1));
        fence.extend(later());
        assert!(!fence.is_open() && fence.closed_for() >= Duration::from_secs(1));
        assert!(Fence::open().is_open());
    }

    #[tokio::test]
    async fn f53_who_waits_for_the_end_learns_of_it_when_it_comes_and_not_when_it_is_put_off() {
        let fence = Fence::closed();
        fence.open_until(Instant::now() + Duration::from_hours(1));
        let ends = tokio::time::timeout(Duration::from_secs(10), fence.closes());
        let (ended, ()) = tokio::join!(ends, async {
            fence.extend(Instant::now() + Duration::from_hours(2));
            tokio::task::yield_now().await;
            fence.close();
        });
        assert!(ended.is_ok());
        let open = Fence::open();
        assert!(futures::FutureExt::now_or_never(open.closes()).is_none());
    }
}

//! Until when this process may write: as long as the others, by their own clocks, still hold it for alive.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Opened for a time by each renewal of the Lease; no write is sent past it.
///
/// What was sent before and arrives late is harmless by construction: the records of Applications are written at the resourceVersion that
/// they were decided on, deletes name uid and resourceVersion, a hook has the same name whoever creates it, and an apply that brings
/// something old back is drift by its content digest.
#[derive(Debug)]
pub struct Fence {
    until: Mutex<Option<Instant>>,
}

impl Fence {
    /// Without an election: always open.
    pub fn open() -> Self {
        Self { until: Mutex::new(None) }
    }

    /// Closed until a Lease was written.
    pub fn closed() -> Self {
        Self { until: Mutex::new(Some(Instant::now())) }
    }

    /// Opens it until then.
    pub fn open_until(&self, until: Instant) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// Whether a write may be sent now.
    pub fn is_open(&self) -> bool {
        self.until.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|until| Instant::now() < until)
    }

    /// How long it has been closed; zero while it is open.
    pub fn closed_for(&self) -> Duration {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.map_or(Duration::ZERO, |until| Instant::now().saturating_duration_since(until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f53_what_is_not_renewed_closes() {
        let fence = Fence::closed();
        assert!(!fence.is_open());
        fence.open_until(Instant::now() + Duration::from_hours(1));
        assert_eq!((fence.is_open(), fence.closed_for()), (true, Duration::ZERO));
        fence.open_until(Instant::now() - Duration::from_secs(1));
        assert!(!fence.is_open() && fence.closed_for() >= Duration::from_secs(1));
        assert!(Fence::open().is_open());
    }
}

//! Rules that had to be stopped: each time longer they are not tried again, so that one that never ends costs the others ever less.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Stops after which a rule is set aside.
pub(super) const PATIENCE: u32 = 3;
/// The longest pause.
const LONGEST: Duration = Duration::from_hours(1);
/// Rules that are remembered.
const MOST: usize = 4096;

/// The rules that had to be stopped, by a name of each.
#[derive(Default)]
pub(super) struct Strikes(Mutex<BTreeMap<String, Strike>>);

#[derive(Clone, Copy)]
struct Strike {
    count: u32,
    until: Instant,
}

impl Strikes {
    /// How often a rule was stopped, and for how long it is still not tried; `None`: it may be tried.
    pub(super) fn pause(&self, rule: &str, now: Instant) -> Option<(u32, Duration)> {
        let strike = *self.all().get(rule)?;
        strike.until.checked_duration_since(now).filter(|left| !left.is_zero()).map(|left| (strike.count, left))
    }

    /// A rule was stopped; gives how often by now, and the pause.
    pub(super) fn stopped(&self, rule: &str, now: Instant) -> (u32, Duration) {
        let mut all = self.all();
        if all.len() >= MOST {
            all.retain(|_, strike| strike.until > now);
        }
        let count = all.get(rule).map_or(1, |strike| strike.count.saturating_add(1));
        let pause = if count < PATIENCE {
            Duration::from_secs(1 << count)
        } else {
            Duration::from_secs(60 << (count - PATIENCE).min(10)).min(LONGEST)
        };
        all.insert(rule.to_owned(), Strike { count, until: now + pause });
        (count, pause)
    }

    /// A rule has come to its end: it begins anew.
    pub(super) fn ended(&self, rule: &str) {
        self.all().remove(rule);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Strike>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_is_stopped_again_and_again_waits_ever_longer_and_another_not_at_all() {
        let strikes = Strikes::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let (_, pause) = strikes.stopped("bad", now);
            assert_eq!(strikes.pause("bad", now).map(|(_, left)| left), Some(pause));
            now += pause;
            assert_eq!(strikes.pause("bad", now), None);
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [2, 4, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]);
        assert_eq!(strikes.pause("good", now), None);
        strikes.ended("bad");
        assert_eq!(strikes.stopped("bad", now), (1, Duration::from_secs(2)));
    }
}

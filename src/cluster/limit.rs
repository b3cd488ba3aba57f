//! A bound on writes in flight that adapts: it grows while answers stay as quick as they were, and is halved when the server says
//! that it is overloaded or answers in twice the time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Never fewer in flight.
const LEAST: usize = 4;
/// Never more: beyond this they only wait in the server.
pub const MOST: usize = 64;
/// Where it begins: enough for a server of two cores.
const START: usize = 16;
/// Answers that are looked at together.
const WINDOW: usize = 32;
/// One burst of refusals halves the bound once.
const REST: Duration = Duration::from_secs(1);

/// The bound.
pub struct Limiter {
    slots: Semaphore,
    pace: Mutex<Pace>,
}

struct Pace {
    bound: usize,
    /// Slots that are taken away as they come back.
    surplus: usize,
    answers: Vec<Duration>,
    /// The median answer that later ones are held against.
    usual: Option<Duration>,
    halved: Option<Instant>,
}

/// A place in flight.
pub struct Slot<'a> {
    limiter: &'a Limiter,
    permit: Option<SemaphorePermit<'a>>,
    since: Instant,
}

impl Default for Limiter {
    fn default() -> Self {
        let pace = Pace { bound: START, surplus: 0, answers: Vec::new(), usual: None, halved: None };
        Self { slots: Semaphore::new(START), pace: Mutex::new(pace) }
    }
}

impl Limiter {
    /// Waits for a place. `None` once the operator is stopping.
    pub async fn enter(&self) -> Option<Slot<'_>> {
        let permit = self.slots.acquire().await.ok()?;
        Some(Slot { limiter: self, permit: Some(permit), since: Instant::now() })
    }

    /// How many may be in flight now.
    pub fn bound(&self) -> usize {
        self.pace().bound
    }

    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot<'_> {
    /// The answer has come; `overloaded`: the server asked to be asked later.
    pub fn answered(mut self, overloaded: bool) {
        let Some(permit) = self.permit.take() else { return };
        let pressed = self.limiter.slots.available_permits() == 0;
        let mut pace = self.limiter.pace();
        let before = pace.bound;
        pace.answered(self.since.elapsed(), overloaded, pressed, Instant::now());
        if pace.bound > before {
            let more = (pace.bound - before).saturating_sub(pace.surplus);
            pace.surplus = pace.surplus.saturating_sub(pace.bound - before);
            self.limiter.slots.add_permits(more);
        } else {
            pace.surplus += before - pace.bound;
        }
        if pace.surplus > 0 {
            pace.surplus -= 1;
            permit.forget();
        }
    }
}

impl Pace {
    fn answered(&mut self, took: Duration, overloaded: bool, pressed: bool, now: Instant) {
        if overloaded {
            self.halve(now);
            return;
        }
        self.answers.push(took);
        if self.answers.len() < WINDOW {
            return;
        }
        self.answers.sort();
        let median = self.answers[WINDOW / 2];
        self.answers.clear();
        let usual = *self.usual.get_or_insert(median);
        if median > usual * 2 {
            self.halve(now);
            // What is usual may change for good: it follows slowly.
            self.usual = Some(usual + usual / 4);
        } else {
            self.usual = Some(usual.min(median));
            if pressed {
                self.bound = (self.bound + LEAST).min(MOST);
            }
        }
    }

    fn halve(&mut self, now: Instant) {
        if self.halved.is_none_or(|at| now.duration_since(at) >= REST) {
            self.halved = Some(now);
            self.bound = (self.bound / 2).max(LEAST);
            self.answers.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace { bound: START, surplus: 0, answers: Vec::new(), usual: None, halved: None }
    }

    fn window(pace: &mut Pace, millis: u64, pressed: bool, now: Instant) {
        for _ in 0..WINDOW {
            pace.answered(Duration::from_millis(millis), false, pressed, now);
        }
    }

    #[test]
    fn r09_the_bound_is_halved_once_for_a_burst_of_refusals_and_never_below_its_least() {
        let mut pace = pace();
        let start = Instant::now();
        for _ in 0..20 {
            pace.answered(Duration::ZERO, true, true, start);
        }
        assert_eq!(pace.bound, START / 2);
        for second in 1..10 {
            pace.answered(Duration::ZERO, true, true, start + REST * second);
        }
        assert_eq!(pace.bound, LEAST);
    }

    #[test]
    fn the_bound_grows_only_while_somebody_waits_and_answers_stay_quick() {
        let mut pace = pace();
        let now = Instant::now();
        window(&mut pace, 10, false, now);
        assert_eq!(pace.bound, START, "nobody waits");
        window(&mut pace, 10, true, now);
        assert_eq!(pace.bound, START + LEAST);
        window(&mut pace, 25, true, now);
        assert_eq!(pace.bound, usize::midpoint(START, LEAST), "twice as slow");
        for _ in 0..100 {
            window(&mut pace, 5, true, now);
        }
        assert_eq!(pace.bound, MOST);
    }

    #[tokio::test]
    async fn slots_follow_the_bound_down_and_up() {
        let limiter = Limiter::default();
        limiter.enter().await.unwrap().answered(true);
        assert_eq!(limiter.bound(), START / 2);
        let mut held = Vec::new();
        while let Ok(Some(slot)) = tokio::time::timeout(Duration::from_millis(20), limiter.enter()).await {
            held.push(slot);
        }
        // Seven of the eight surplus slots are still out; each comes back for the last time.
        assert_eq!(held.len(), START - 1);
        for slot in held {
            slot.answered(false);
        }
        assert_eq!(limiter.slots.available_permits(), START / 2);
    }
}

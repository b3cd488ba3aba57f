//! What was refused for a lack of rights is looked at again, slowly: nothing tells when somebody grants them (I10).

use std::time::Duration;

use tokio::time::Instant;

use super::{Actor, Sourced};
use crate::engine::action::{Action, Answer};
use crate::engine::desired::Manifest;
use crate::engine::lifecycle;
use crate::engine::plan::Plan;
use crate::engine::rights;
use crate::engine::settings::Phase;

/// The pause before the first look; each further one is twice as long.
const FIRST: Duration = Duration::from_secs(30);
/// The longest pause between two looks; `engine/step/prepare.rs` tells it to people.
const LONGEST: Duration = Duration::from_mins(10);

/// When something is looked at again.
#[derive(Default)]
pub(super) struct Again {
    next: Option<(Instant, Duration)>,
}

impl Again {
    /// Whether it is time; if not, when it is.
    fn is_due(&mut self, now: Instant) -> Result<(), Instant> {
        let (due, pause) = *self.next.get_or_insert_with(|| (now + FIRST, FIRST));
        if now < due {
            return Err(due);
        }
        let pause = (pause * 2).min(LONGEST);
        self.next = Some((now + pause, pause));
        Ok(())
    }
}

impl Actor {
    /// Whether what the last operation was refused for is there now. Only the check of rights is made, outside of any operation: as long
    /// as its answer is the same, nobody hears of it.
    pub(super) async fn rights_have_come(&mut self) -> bool {
        let rests = self.attempt.is_none() && self.waiting.is_none() && self.blind.is_none();
        let application = self.application.clone();
        let desired = match &self.source {
            Some(Sourced { wants: Ok(desired), revision, .. })
                if rests && lifecycle::lacks_rights(&application, self.attempted.as_ref(), revision) =>
            {
                desired.clone()
            }
            _ => {
                self.rights_again = Again::default();
                return false;
            }
        };
        if !self.is_time(|actor| &mut actor.rights_again) {
            return false;
        }
        let Ok(options) = lifecycle::options(&application, None) else { return false };
        let options = self.with_destination(options).await;
        let plan = self.view.peek(|members| {
            let ran = |manifest: &Manifest, phase: Phase| super::operation::ran_before(&self.ledger, manifest, phase);
            Plan::sync(&desired, members, &self.owner, application.destination_namespace(), &options, &ran)
        });
        let needs = rights::needed(&plan, &self.shared.discovery.known(), &options);
        let answer = self.performer().perform(Action::CheckRights(needs)).await;
        let come = matches!(answer, Some(Answer::Rights(Ok(lacking))) if lacking.is_empty());
        tracing::debug!(application = %self.owner, come, "has looked whether the rights that it lacks have come");
        come
    }

    /// Whether to look again now; else the round that does is woken.
    pub(super) fn is_time(&mut self, again: impl FnOnce(&mut Self) -> &mut Again) -> bool {
        match again(self).is_due(Instant::now()) {
            Ok(()) => true,
            Err(due) => {
                self.wake = Some(self.wake.map_or(due, |wake| wake.min(due)));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i10_what_lacks_rights_is_looked_at_ever_more_slowly() {
        let mut again = Again::default();
        let start = Instant::now();
        let mut now = start;
        let mut looks = Vec::new();
        while now - start < Duration::from_hours(1) {
            match again.is_due(now) {
                Ok(()) => looks.push((now - start).as_secs()),
                Err(due) => now = due,
            }
        }
        assert_eq!(looks[..6], [30, 90, 210, 450, 930, 1530]);
        assert!(looks.len() < 12, "{looks:?}");
    }
}

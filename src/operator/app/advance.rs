//! One step of the attempt that runs: what was seen goes to the engine, and what it decides is carried out.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::telling::Before;
use super::{Actor, now};
use crate::cluster::account;
use crate::cluster::events::Type;
use crate::cluster::perform::Performer;
use crate::engine::action::{Action, Answer};
use crate::engine::attempt::{Attempt, Course};
use crate::engine::lifecycle;
use crate::engine::step::{Observation, State, step};

impl Actor {
    /// Moves the attempt on by what has arrived and changed.
    pub(super) fn advance(&mut self) {
        let Some(mut attempt) = self.attempt.take() else {
            self.settle_leftovers();
            return;
        };
        let now = now();
        let answers = std::mem::take(&mut self.arrived);
        if let Ok(options) = lifecycle::options(&self.application, self.request.as_ref().and_then(|r| r.sync.as_ref()))
        {
            attempt.set_propagation(options.propagation, now);
        }
        let tenants = self.tenants(&attempt);
        let since = lifecycle::approvals_count_since(&self.application, &attempt.operation, &self.history);
        let approved = lifecycle::approved_between(&self.application, since, now);
        let kinds = self.shared.discovery.known();
        let view = self.shared.view.clone();
        let name_of = |id: &str| view.name_of(id);
        let before = Before::of(&attempt);
        let state = State { ledger: std::mem::take(&mut self.ledger), attempt };
        let (step, seen_something) = self.view.look(|members, changed| {
            let seen_something = !changed.is_empty() || !answers.is_empty();
            let observation = Observation {
                now,
                members,
                changed,
                answers,
                kinds: &kinds,
                name_of: &name_of,
                tenants: &tenants,
                approved,
            };
            (step(state, &observation), seen_something)
        });
        self.ledger = step.state.ledger;
        self.attempt = Some(step.state.attempt);
        self.note_step(&before);
        self.writer.dirty |= seen_something || !step.actions.is_empty();
        if let Some(wake) = step.wake {
            self.wake_at(wake);
        }
        self.tell_of_confirmation();
        let performer = self.performer();
        let span = self.span();
        for action in step.actions {
            if let Action::Record { version } = action {
                self.writer.want(version);
                continue;
            }
            let (performer, serial) = (performer.clone(), self.serial);
            self.answers
                .push(async move { (serial, performer.perform(action).await) }.instrument(span.clone()).boxed());
        }
    }

    /// Nobody looks at a status all day: that a person is waited for is told once for each attempt.
    fn tell_of_confirmation(&mut self) {
        let Some(attempt) = &self.attempt else { return };
        let (Course::Stage(running) | Course::SyncFail(running)) = &attempt.course else { return };
        let wait = (attempt.operation.id.clone(), attempt.operation.attempt);
        if self.confirming.as_ref() == Some(&wait) {
            return;
        }
        if let Some(waits) = running.waits_for_a_person() {
            self.confirming = Some(wait);
            self.tell(Type::Normal, "ConfirmationNeeded", "Sync", &waits);
        }
    }

    /// Without an attempt: what changed in the cluster shows in the status only.
    fn settle_leftovers(&mut self) {
        for answer in &self.arrived {
            if let Answer::Recorded(version) = answer {
                self.ledger.set_durable(*version);
            }
        }
        // How a clean-up went is told to the next attempt.
        self.arrived.retain(|answer| matches!(answer, Answer::Tidied(..)));
        // What has come since this round's decision is judged in the next one.
        let unjudged = &mut self.healing.unjudged;
        let changed = self.view.look(|_, changed| {
            unjudged.extend(changed.iter().cloned());
            !changed.is_empty()
        });
        self.writer.dirty |= changed;
        if changed && self.healing.knows() {
            self.wake = Some(Instant::now());
        }
    }

    pub(super) fn performer(&self) -> Performer {
        let account = self.shared.acting.account_for(&self.application);
        Performer {
            calls: account::calls(&self.shared.connections, account.as_ref()),
            operator: self.shared.connections.calls(),
            capture_logs: self.shared.capture_logs && self.application.captures_logs(),
            account,
            discovery: self.shared.discovery.clone(),
            watches: self.shared.watches.clone(),
            view: self.shared.view.clone(),
            app: self.view.clone(),
            in_flight: self.shared.in_flight.clone(),
            in_line: self.in_line.clone(),
            called_off: self.called_off.clone(),
        }
    }

    /// Of the Namespaces that the plan prunes, those that hold objects of another Application.
    fn tenants(&self, attempt: &Attempt) -> BTreeMap<String, String> {
        let tenant = |name: &String| Some((name.clone(), self.shared.view.tenant_of(name, &self.owner)?));
        attempt.plan.pruned_namespaces.iter().filter_map(tenant).collect()
    }
}

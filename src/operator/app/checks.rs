//! The health checks of one Application: read when they change, compiled before anything is written, and the task that judges by them.

use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use super::Actor;
use crate::api::{Application, HealthCheck};
use crate::cluster::judge;
use crate::engine::action::{Fault, FaultKind};
use crate::engine::desired::Desired;
use crate::engine::health::checks::{Checks, Mistake};
use crate::engine::kinds::Kinds;

/// The health checks as they were read last.
pub(super) struct Checked {
    of: Vec<HealthCheck>,
    pub(super) checks: Arc<Checks>,
    /// What is wrong with them; `None` while they are not compiled.
    mistakes: Option<Vec<Mistake>>,
}

impl Checked {
    /// Those of an Application, not compiled yet.
    pub(super) fn unread(application: &Application) -> Self {
        let of = application.spec.health_checks.clone();
        let (checks, mistakes) = Checks::read(&of);
        let mistakes = checks.is_empty().then_some(mistakes);
        Self { of, checks: Arc::new(checks), mistakes }
    }
}

impl Actor {
    /// Reads and compiles the health checks if they have changed. An error is one of the sandbox: it is tried again.
    pub(super) async fn read_checks(&mut self) -> Result<(), Fault> {
        if self.checks.of != self.application.spec.health_checks {
            self.checks = Checked::unread(&self.application);
        }
        if self.checks.mistakes.is_none() {
            let (_, mut mistakes) = Checks::read(&self.checks.of);
            let compiled = self.shared.sandbox.mistakes(&self.checks.checks).await;
            mistakes.extend(compiled.map_err(|message| Fault {
                kind: FaultKind::Transient,
                message: format!("the health checks cannot be compiled now: {message}"),
                retry_after: None,
            })?);
            mistakes.sort_by_key(|mistake| mistake.index);
            self.checks.mistakes = Some(mistakes);
        }
        Ok(())
    }

    /// What is wrong with the health checks, if anything is: nothing is written before that is put right.
    pub(super) fn refusal_of_checks(&self, desired: Option<&Desired>, kinds: &Kinds) -> Option<String> {
        let unserved = desired.map(|desired| self.checks.checks.unserved(desired, kinds)).unwrap_or_default();
        let all: Vec<_> = self.checks.mistakes.iter().flatten().chain(&unserved).map(ToString::to_string).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// Brings the health checks into effect: the view, the watches that give whole objects, the task that judges.
    pub(super) async fn judge_by_checks(&mut self) -> Result<(), Fault> {
        let checks = self.checks.checks.clone();
        for kind in self.view.set_checks(&checks) {
            self.shared.watches.judge_anew(&kind);
        }
        if !checks.is_empty() && self.judge.as_ref().is_none_or(AbortOnDropHandle::is_finished) {
            let Self { view, shared, .. } = &*self;
            let judging = judge::run(view.clone(), shared.view.clone(), shared.sandbox.clone(), shared.watches.clone());
            self.judge = Some(AbortOnDropHandle::new(tokio::spawn(judging)));
        }
        let wanted = self.kinds_in_sight();
        for (kind, check) in checks.iter().filter(|(kind, _)| wanted.contains(kind)) {
            self.shared.watches.ensure_for_check(kind, check).await?;
        }
        Ok(())
    }
}

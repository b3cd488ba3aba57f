//! What one Application needs next: the decision of each round, and what it knows of drift for that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::time::Instant;

use super::{Actor, Sourced, Waiting, now};
use crate::api::OperationPhase;
use crate::cluster::application;
use crate::engine::desired::Desired;
use crate::engine::drift::{Drift, drift};
use crate::engine::heal::{Heal, Memory};
use crate::engine::lifecycle::{self, Departure, Next, Situation};
use crate::engine::object::ObjectKey;
use crate::engine::report;

/// The pause before it is looked again whether a Namespace is still kept for the sake of another Application; no request is made for it.
const TENANTS_AGAIN: jiff::SignedDuration = jiff::SignedDuration::from_mins(1);

/// What self-heal knows while no operation runs.
#[derive(Default)]
pub(super) struct Healing {
    /// How the repairs went.
    pub(super) memory: Memory,
    /// Who undoes them, if somebody does.
    pub(super) contested: Option<String>,
    /// Objects that have changed since they were last judged.
    pub(super) unjudged: BTreeSet<ObjectKey>,
    /// The drift of the objects that this source wants, by their place in it; nothing before all of them were judged once.
    known: Option<(Arc<Desired>, BTreeMap<usize, Drift>)>,
}

impl Healing {
    /// Whether the objects were judged, so that what changes has to be judged too.
    pub(super) fn knows(&self) -> bool {
        self.known.is_some()
    }
}

impl Actor {
    /// Decides what the Application needs next, and begins it.
    pub(super) async fn decide(&mut self) {
        let heal = self.judge_drift();
        let rights_have_come = self.rights_have_come().await;
        let application = self.application.clone();
        if let Some(at) = lifecycle::approval_to_come(&application, now()) {
            self.wake_at(at);
        }
        let Some(source) = &self.source else { return };
        self.taken = self.taken.take().filter(|_| application.operation.is_some());
        let ended = self.last.as_ref().filter(|last| last.phase.is_ended());
        let approved = ended.is_some_and(|ended| lifecycle::approved_between(&application, ended.started_at, now()));
        let prunes = match (&source.wants, lifecycle::options(&application, None)) {
            (Ok(desired), Ok(options)) if options.prune && self.attempt.is_none() => self.view.peek(|members| {
                let destination = application.destination_namespace();
                report::prunes(desired, members, &self.owner, destination, &options, approved)
            }),
            _ => BTreeSet::new(),
        };
        // A Namespace that is kept for the sake of another Application is nothing to start an operation for (V27).
        let is_kept = |key: &ObjectKey| {
            key.kind.is("", "Namespace") && self.shared.view.tenant_of(&key.name, &self.owner).is_some()
        };
        let would_prune = prunes.iter().any(|key| !is_kept(key));
        let looks_again = !would_prune && !prunes.is_empty();
        let running = self.attempt.as_ref().map(|attempt| &attempt.operation);
        let running = running.or_else(|| self.waiting.as_ref().map(|waiting| &waiting.operation));
        if let Some(departure @ (Departure::Release | Departure::Gone)) = lifecycle::departure(&application) {
            return self.leave(departure).await;
        }
        let next = lifecycle::next(Situation {
            now: now(),
            application: &application,
            revision: &source.revision,
            taken: self.taken.as_ref().map(|(_, request)| request),
            running,
            ended,
            attempted: self.attempted.as_ref(),
            would_prune,
            approved,
            heal: heal.as_ref(),
            rights_have_come,
        });
        match next {
            Next::Rest => {}
            Next::Start(operation, request) => {
                tracing::info!(operation = %operation.id, revision = %operation.revision, "starts an operation");
                let generation = application.metadata.generation.unwrap_or(0);
                self.taken = request.clone().map(|request| (generation, request));
                self.request = request;
                let operation = *operation;
                self.waiting = Some(Waiting { operation, until: Instant::now(), resumed: None, is_retry: false });
            }
            Next::Stop(stop) => self.stop_operation(stop).await,
            Next::ClearRequest => {
                let recorded = self.writer.written.as_ref().and_then(|status| {
                    status.pointer("/operationState/requestGeneration").and_then(serde_json::Value::as_i64)
                });
                let nothing_to_record =
                    running.is_none() && application.operation.as_ref().is_some_and(|o| o.terminate.is_some());
                let taken_at =
                    self.taken.as_ref().map(|(generation, _)| *generation).or(application.metadata.generation);
                if nothing_to_record || recorded >= taken_at {
                    if self.writer.writing.is_none() && self.change(application::clear_request()).await {
                        self.taken = None;
                    }
                } else if self.writer.writing.is_none() {
                    self.writer.hurry();
                }
            }
        }
        if looks_again {
            // Nothing tells when the other one has left.
            self.wake_at(now().checked_add(TENANTS_AGAIN).unwrap_or_else(|_| now()));
        }
    }

    /// The drift that is to be undone now. All objects are judged when an operation has ended or the source has changed; after that only
    /// those that change, so that an event costs the same however many there are.
    fn judge_drift(&mut self) -> Option<Heal> {
        let desired = self.drift_counts();
        let Some(desired) = desired else {
            (self.healing.known, self.healing.contested) = (None, None);
            self.healing.unjudged.clear();
            return None;
        };
        let known = self.healing.known.take().filter(|(of, _)| Arc::ptr_eq(of, &desired));
        let mut changed = std::mem::take(&mut self.healing.unjudged);
        let (ledger, owner) = (&self.ledger, &self.owner);
        let (drifts, seen_something) = self.view.look(|members, changed_now| {
            changed.extend(changed_now.iter().cloned());
            let judge = |place: usize| {
                let manifest = desired.manifests.get(place)?;
                drift(manifest, members.get(&manifest.key).map(|live| &**live), ledger, owner)
            };
            let drifts = match known {
                Some((_, mut drifts)) => {
                    for place in changed.iter().filter_map(|key| desired.places.get(key)) {
                        match judge(*place) {
                            Some(drift) => drifts.insert(*place, drift),
                            None => drifts.remove(place),
                        };
                    }
                    drifts
                }
                None => (0..desired.manifests.len()).filter_map(|place| Some((place, judge(place)?))).collect(),
            };
            (drifts, !changed_now.is_empty())
        });
        self.writer.dirty |= seen_something;
        let now = now();
        let verdict = self.healing.memory.judge(&drifts.values().cloned().collect::<Vec<_>>(), now);
        self.healing.known = Some((desired, drifts));
        if verdict.contested != self.healing.contested {
            if let Some(contested) = &verdict.contested {
                tracing::warn!(by = contested, "somebody undoes what self-heal does");
            }
            self.healing.contested = verdict.contested;
            self.writer.dirty = true;
        }
        if let Some(wake) = verdict.wake {
            self.wake_at(wake);
        }
        verdict.heal
    }

    /// What the objects are compared with, if drift is undone by itself now: nothing runs, and the last operation brought this revision.
    fn drift_counts(&self) -> Option<Arc<Desired>> {
        let Some(Sourced { wants: Ok(desired), revision, .. }) = &self.source else { return None };
        let rests = self.attempt.is_none() && self.waiting.is_none() && self.blind.is_none();
        let attempted = self.attempted.as_ref()?;
        let synced = attempted.phase == OperationPhase::Succeeded && attempted.revision == *revision;
        (rests && synced && lifecycle::heals(&self.application)).then(|| desired.clone())
    }
}

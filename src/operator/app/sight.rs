//! What one Application looks at: its source, and the kinds of its objects.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::again::Again;
use super::operation::DELETION_PATIENCE;
use super::{AGAIN, Actor, now};
use crate::api::{Application, IgnoreDifference, Source};
use crate::cluster::source;
use crate::engine::action::{Fault, FaultKind};
use crate::engine::desired::{Context, Desired, desired};
use crate::engine::differences::Rules;
use crate::engine::health::checks::Checks;
use crate::engine::lifecycle;
use crate::engine::object::{Digest, GroupKind};
use crate::engine::settings::parse_option;

/// The pause before a kind that may not be watched is looked at again.
const REFUSED: Duration = Duration::from_secs(10);
/// How long several ConfigMaps must be quiet before a change counts.
const QUIET: Duration = Duration::from_secs(2);

/// What the source says.
pub(super) struct Sourced {
    reading: Reading,
    pub(super) wants: Result<Arc<Desired>, String>,
    pub(super) revision: String,
    /// The namespaces of its manifests.
    namespaces: BTreeSet<String>,
    /// Whether nothing but the health checks is wrong with it.
    refused: bool,
    /// Whether the account may not read it.
    denied: bool,
}

/// What of an Application its manifests are read with: where it changes, they are read anew.
#[derive(PartialEq)]
struct Reading {
    source: Source,
    destination: String,
    differences: Vec<IgnoreDifference>,
    options: Vec<String>,
    checks: Arc<Checks>,
}

impl Reading {
    fn of(application: &Application, checks: Arc<Checks>) -> Self {
        Self {
            source: application.spec.source.clone(),
            destination: application.destination_namespace().to_owned(),
            differences: application.spec.ignore_differences.clone(),
            options: application.sync_options().to_vec(),
            checks,
        }
    }
}

impl Actor {
    /// Reads the source if it may have changed. False: it cannot be read now, and will be tried again.
    pub(super) async fn read_source(&mut self) -> bool {
        let application = self.application.clone();
        let deleting = application.metadata.deletion_timestamp.is_some();
        // A deletion goes on with the hooks that it knows; between two attempts a source that was mended is read, and one that went
        // along with the Application takes nothing away.
        let leaves = deleting && self.source.is_some();
        if leaves && self.attempt.is_some() {
            return true;
        }
        if let Err(fault) = self.read_checks().await {
            return self.source_is_unreachable(&fault);
        }
        let checks = self.checks.checks.clone();
        let maps_changed = match self.maps_changed() {
            Ok(changed) => changed,
            Err(message) => {
                tracing::warn!(error = message, "cannot watch the ConfigMaps of the source");
                self.wake = Some(Instant::now() + AGAIN);
                return false;
            }
        };
        self.source_due |= maps_changed;
        if self.source.as_ref().is_some_and(|source| source.denied) {
            self.source_due |= application.operation.is_some() || self.is_time(|actor| &mut actor.source_again);
        } else {
            self.source_again = Again::default();
        }
        let reading = Reading::of(&application, self.checks.checks.clone());
        let same =
            self.source.as_ref().is_some_and(|source| source.reading == reading && !(deleting && source.refused));
        if same && !self.source_due {
            return true;
        }
        let performer = self.performer();
        let read = async {
            let loaded = source::load(&application, &performer.calls, performer.account.as_ref()).await?;
            let kinds = self.shared.discovery.kinds().await?;
            Ok((loaded, kinds))
        };
        let (loaded, kinds) = match read.await {
            Ok(read) => read,
            Err(_) if leaves => {
                self.wake = Some(Instant::now() + AGAIN);
                return true;
            }
            Err(fault) => return self.source_is_unreachable(&fault),
        };
        self.source_due = false;
        self.unread = None;
        let asks_for = |name: &str, value: &str| {
            application.sync_options().iter().any(|option| parse_option(option) == Ok((name, value)))
        };
        let allow_missing_kinds = asks_for("SkipDryRunOnMissingResource", "true");
        let validate = !asks_for("Validate", "false");
        let denied = loaded.denied;
        let wants = loaded.documents.and_then(|documents| {
            let context = Context {
                owner: &self.owner,
                destination: application.destination_namespace(),
                kinds: &kinds,
                differences: &Rules::parse(&application.spec.ignore_differences)?,
                allow_missing_kinds,
                validate,
            };
            let desired = desired(documents, context)
                .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
            self.is_in_sight(&desired)?;
            Ok(Arc::new(desired.with_checks(&checks)))
        });
        // Nor does a health check that cannot be used stand in the way of a deletion and its hooks.
        let refusal = self.refusal_of_checks(wants.as_deref().ok(), &kinds).filter(|_| !deleting);
        let refused = refusal.is_some() && wants.is_ok();
        let wants = match refusal {
            Some(refusal) if refused => Err(refusal),
            Some(refusal) => wants.map_err(|problem| format!("{problem}; {refusal}")),
            None => wants,
        };
        if leaves && wants.is_err() {
            return true;
        }
        let revision = match &wants {
            Ok(desired) => desired.revision.clone(),
            // Another one than that of the manifests, so that they are synced as soon as the health checks are put right.
            Err(problem) if refused => Digest::of_parts(&[&loaded.digest, problem]).to_string(),
            Err(_) => loaded.digest,
        };
        let namespaces = wants.as_ref().map(|desired| desired.namespaces()).unwrap_or_default();
        self.source = Some(Sourced { reading, wants, revision, namespaces, refused, denied });
        self.writer.dirty = true;
        true
    }

    /// The kinds that the Application has or wants.
    pub(super) fn kinds_in_sight(&self) -> BTreeSet<GroupKind> {
        let mut kinds = self.ledger.kinds().clone();
        if let Some(Sourced { wants: Ok(desired), .. }) = &self.source {
            kinds.extend(desired.manifests.iter().map(|manifest| manifest.key.kind.clone()));
        }
        kinds
    }

    /// Tells the view in which namespaces the Application's objects can be: where it has written or is about to. What carries its marks
    /// anywhere else was put there by somebody else.
    pub(super) fn narrow_view(&self) {
        let mut namespaces = self.ledger.namespaces().clone();
        namespaces.insert(self.owner.namespace().to_owned());
        namespaces.insert(self.application.destination_namespace().to_owned());
        namespaces.extend(self.source.iter().flat_map(|source| &source.namespaces).cloned());
        self.view.set_scope(namespaces);
    }

    /// An operator that is kept to some namespaces would wait for ever for what it does not see.
    fn is_in_sight(&self, desired: &Desired) -> Result<(), String> {
        let looked_at = &self.shared.namespaces;
        let unseen = |namespace: &str| !looked_at.is_empty() && !looked_at.iter().any(|known| known == namespace);
        match desired.manifests.iter().find(|manifest| manifest.key.namespace.as_deref().is_some_and(unseen)) {
            Some(manifest) => Err(format!(
                "{} is in a namespace that the operator does not look at: it was started with --namespace {}",
                manifest.key,
                looked_at.join(" --namespace ")
            )),
            None => Ok(()),
        }
    }

    /// Watches every kind that the Application has or wants; a verdict about objects that nobody looks at would be none.
    pub(super) async fn watch_kinds(&mut self) {
        let kinds = self.kinds_in_sight();
        let judging = self.judge_by_checks().await;
        if self.blind.is_none() && kinds.is_subset(&self.watched) && judging.is_ok() {
            return;
        }
        let watching = match judging {
            Ok(()) => self.shared.watches.ensure(&kinds).await,
            Err(fault) => Err(fault),
        };
        match watching {
            Ok(()) => {
                self.watched = kinds;
                self.view.note_listed();
                self.blind = None;
            }
            Err(fault) => {
                let pause = if fault.kind == FaultKind::Forbidden { REFUSED } else { AGAIN };
                self.wake = Some(Instant::now() + pause);
                if self.blind.as_ref().is_some_and(|known| known.message == fault.message) {
                    return;
                }
                tracing::warn!(error = %fault.message, "some objects cannot be seen");
                self.blind = Some(fault);
            }
        }
        self.writer.dirty = true;
    }

    fn source_is_unreachable(&mut self, fault: &Fault) -> bool {
        tracing::warn!(error = %fault.message, "the source cannot be read now");
        let metadata = &self.application.metadata;
        if let Some(since) = &metadata.deletion_timestamp
            && (lifecycle::is_released(&self.application) || now().duration_since(since.0) > DELETION_PATIENCE)
        {
            self.source = Some(Sourced {
                reading: Reading::of(&self.application, self.checks.checks.clone()),
                wants: Err(fault.message.clone()),
                revision: String::new(),
                namespaces: BTreeSet::new(),
                refused: false,
                denied: false,
            });
            return true;
        }
        // Half a change is followed by the other half, and that is an event.
        if metadata.deletion_timestamp.is_some() || fault.kind != FaultKind::Conflict {
            self.wake = Some(Instant::now() + AGAIN);
        }
        // What is known goes on meanwhile; a first reading is waited for.
        if self.source.is_none() && self.unread.as_ref() != Some(&fault.message) {
            self.unread = Some(fault.message.clone());
            self.writer.dirty = true;
        }
        self.source.is_some()
    }

    /// Whether the ConfigMaps of the source have changed in a way that counts.
    fn maps_changed(&mut self) -> Result<bool, String> {
        let Source::ConfigMaps(wanted) = &self.application.spec.source else {
            self.maps = None;
            return Ok(false);
        };
        if self.maps.is_none() {
            let maps = self.shared.sources.follow(self.owner.namespace()).map_err(|error| error.to_string())?;
            self.maps = Some(maps);
        }
        let Some(maps) = &mut self.maps else { return Ok(false) };
        let seen: Vec<_> = {
            let maps = maps.borrow_and_update();
            wanted.iter().map(|map| maps.get(&map.name).cloned()).collect()
        };
        let changed = seen != self.maps_seen;
        self.maps_seen = seen;
        let revisions: Vec<_> =
            self.maps_seen.iter().map(|seen| seen.as_ref().and_then(|(_, r)| r.as_deref())).collect();
        let alone = revisions.len() <= 1;
        let agreed = revisions.iter().all(|revision| revision.is_some() && *revision == revisions[0]);
        let disagreed = !agreed && revisions.iter().any(Option::is_some);
        if changed && self.source.is_some() && !alone && !agreed {
            self.quiet_at = (!disagreed).then(|| Instant::now() + QUIET);
            return Ok(false);
        }
        if self.quiet_at.is_some_and(|at| at <= Instant::now()) {
            self.quiet_at = None;
            return Ok(true);
        }
        Ok(changed)
    }
}

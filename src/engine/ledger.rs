//! The part of an operation that must be durable before the effects that follow from it: hook records, kinds in use, the first write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::action::Write;
use super::membership::HookRun;
use super::object::{Digest, GroupKind, ObjectKey};
use super::settings::Phase;
use crate::api;

/// A hook by its object and phase: one hook may run in several phases.
pub type HookId = (ObjectKey, Phase);

/// The record of one hook run; see design.md, Durable state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookRecord {
    /// The run.
    pub run: HookRun,
    /// How far it is.
    pub stage: RecordStage,
    /// Digest of the hook's manifest.
    pub digest: Digest,
    /// When the stage was reached.
    pub at: Timestamp,
}

/// The stages of a record, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordStage {
    /// The name is chosen; the object may or may not exist.
    Creating,
    /// The object exists, under this uid.
    Created(Arc<str>),
    /// It has ended, and this is how.
    Ended(Arc<str>, HookOutcome),
    /// It has ended, and its object is deleted as its policy says, or has got its time to live.
    Cleared(Arc<str>, HookOutcome),
}

/// How a hook ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookOutcome {
    /// Whether it did what it was for.
    pub succeeded: bool,
    /// The cause of a failure; for a success what there is to say.
    pub message: String,
    /// The last log lines of a failed hook.
    pub log: Option<String>,
    /// What else was seen of a failed hook.
    pub detail: Option<Box<api::Evidence>>,
}

impl HookRecord {
    /// The outcome, once it has ended.
    pub fn outcome(&self) -> Option<&HookOutcome> {
        match &self.stage {
            RecordStage::Ended(_, outcome) | RecordStage::Cleared(_, outcome) => Some(outcome),
            RecordStage::Creating | RecordStage::Created(_) => None,
        }
    }

    /// The uid of the hook object, once it is known; empty for a hook that never came to be.
    pub fn uid(&self) -> Option<&Arc<str>> {
        match &self.stage {
            RecordStage::Creating => None,
            RecordStage::Created(uid) | RecordStage::Ended(uid, _) | RecordStage::Cleared(uid, _) => Some(uid),
        }
    }
}

/// A clean-up that is owed after a hook has ended and its record says so.
#[derive(Clone, Debug)]
pub struct Owed {
    /// The write.
    pub write: Write,
    /// The record becomes Cleared when it is done.
    pub clears: Option<HookId>,
    /// Ledger version that must be durable first.
    pub after: u64,
    /// Not before.
    pub not_before: Option<Timestamp>,
    /// Whether the write is under way.
    pub in_flight: bool,
    /// How often it was tried.
    pub tries: u32,
    /// Answers still to come to the clean-up of an earlier object of that name, which this one took the place of.
    pub earlier: u32,
}

/// Hook records, kinds in use and clean-ups owed, with the version that is durable.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    hooks: BTreeMap<HookId, HookRecord>,
    kinds: BTreeSet<GroupKind>,
    namespaces: BTreeSet<String>,
    first_write: Option<Timestamp>,
    wrote: bool,
    owed: BTreeMap<ObjectKey, Owed>,
    /// Names with a create of unknown outcome, and until when it may still be done.
    unsettled: BTreeMap<ObjectKey, Timestamp>,
    /// Hooks whose names the last process had chosen: it may have sent a create just before it died.
    inherited: BTreeSet<HookId>,
    version: u64,
    durable: u64,
}

/// A request that the API server has taken up is done or given up within its time-out of 60 s.
const UNSETTLED: SignedDuration = SignedDuration::from_secs(65);

/// Ended records beyond this number are dropped, oldest first; those of hooks that still run never are.
const MOST_RECORDS: usize = 500;

impl Ledger {
    /// The ledger as a status has it.
    pub fn recovered(
        hooks: BTreeMap<HookId, HookRecord>,
        kinds: BTreeSet<GroupKind>,
        namespaces: BTreeSet<String>,
        first_write: Option<Timestamp>,
    ) -> Self {
        let begun = |record: &HookRecord| record.stage == RecordStage::Creating;
        let inherited = hooks.iter().filter(|(_, record)| begun(record)).map(|(id, _)| id.clone()).collect();
        // Whether the write that was noted was also sent, the last process has not told.
        Self { hooks, kinds, namespaces, first_write, inherited, wrote: first_write.is_some(), ..Self::default() }
    }

    /// Whether the last process may have sent the create of this hook, told once: when a quorum read has not found the object.
    pub fn take_inherited(&mut self, id: &HookId) -> bool {
        self.inherited.remove(id)
    }

    /// The records of hooks.
    pub fn hooks(&self) -> &BTreeMap<HookId, HookRecord> {
        &self.hooks
    }

    /// The record of a hook in this run.
    pub fn of_run(&self, id: &HookId, run: &HookRun) -> Option<&HookRecord> {
        self.hooks.get(id).filter(|record| record.run == *run)
    }

    /// Writes a record and gives the version that makes it durable.
    pub fn record(&mut self, id: HookId, record: HookRecord) -> u64 {
        self.hooks.insert(id, record);
        while self.hooks.len() > MOST_RECORDS {
            let oldest = self
                .hooks
                .iter()
                .filter(|(_, record)| record.outcome().is_some())
                .min_by_key(|(_, record)| record.at)
                .map(|(id, _)| id.clone());
            let Some(oldest) = oldest else { break };
            self.hooks.remove(&oldest);
        }
        self.touch()
    }

    /// Forgets the record of a hook whose object is gone and whose manifest is too.
    pub fn forget(&mut self, id: &HookId) {
        self.hooks.remove(id);
    }

    /// The group/kinds that may have members.
    pub fn kinds(&self) -> &BTreeSet<GroupKind> {
        &self.kinds
    }

    /// The namespaces that may have members, beside the Application's own and its destination.
    pub fn namespaces(&self) -> &BTreeSet<String> {
        &self.namespaces
    }

    /// Adds kinds and namespaces; gives the version that makes them durable, 0 when there is nothing new.
    pub fn add_places(&mut self, kinds: &BTreeSet<GroupKind>, namespaces: &BTreeSet<String>) -> u64 {
        let before = (self.kinds.len(), self.namespaces.len());
        self.kinds.extend(kinds.iter().cloned());
        self.namespaces.extend(namespaces.iter().cloned());
        if (self.kinds.len(), self.namespaces.len()) == before { 0 } else { self.touch() }
    }

    /// Keeps only the kinds and namespaces that are still in use. Not durable before anything: too many do no harm.
    pub fn keep_places(&mut self, kinds: &BTreeSet<GroupKind>, namespaces: &BTreeSet<String>) {
        self.kinds.retain(|kind| kinds.contains(kind));
        self.namespaces.retain(|namespace| namespaces.contains(namespace));
    }

    /// When the attempt that runs first wrote something.
    pub fn first_write(&self) -> Option<Timestamp> {
        self.first_write
    }

    /// Notes the attempt's first write; gives the version that must be durable before it, 0 when it was noted before.
    pub fn note_first_write(&mut self, now: Timestamp) -> u64 {
        if self.first_write.is_some() {
            return 0;
        }
        self.first_write = Some(now);
        self.touch()
    }

    /// Whether the attempt that runs has sent a write, or may have before a restart.
    pub fn has_written(&self) -> bool {
        self.wrote
    }

    /// The attempt that runs sends a write.
    pub fn note_sent(&mut self) {
        self.wrote = true;
    }

    /// A new attempt has written nothing.
    pub fn start_attempt(&mut self) {
        self.first_write = None;
        self.wrote = false;
    }

    /// A create of that name was sent, and nobody knows whether it was done or will be: until it is settled nothing of that name is
    /// deleted or given its time to live, for a late create would then make a hook run twice (I3).
    pub fn note_unknown_create(&mut self, key: &ObjectKey, now: Timestamp) {
        self.unsettled.retain(|_, until| *until > now);
        self.unsettled.insert(key.clone(), now.checked_add(UNSETTLED).unwrap_or(now));
    }

    /// Until when nothing of that name is deleted.
    pub fn unsettled_until(&self, key: &ObjectKey, now: Timestamp) -> Option<Timestamp> {
        self.unsettled.get(key).copied().filter(|until| *until > now)
    }

    /// The clean-ups that are owed.
    pub fn owed(&mut self) -> &mut BTreeMap<ObjectKey, Owed> {
        &mut self.owed
    }

    /// Whether nothing is left to clean up.
    pub fn is_tidy(&self) -> bool {
        self.owed.is_empty()
    }

    /// Owes a clean-up, once the version `after` is durable.
    pub fn owe(&mut self, write: Write, clears: Option<HookId>, after: u64) {
        let earlier = self.owed.get(write.key()).map_or(0, |owed| owed.earlier + u32::from(owed.in_flight));
        let owed = Owed { clears, after, not_before: None, in_flight: false, tries: 0, earlier, write };
        self.owed.insert(owed.write.key().clone(), owed);
    }

    /// The clean-up of `key` is done: its record is Cleared.
    pub fn settle(&mut self, key: &ObjectKey, now: Timestamp) {
        let Some(Owed { clears: Some(id), .. }) = self.owed.remove(key) else { return };
        if let Some(record) = self.hooks.get_mut(&id)
            && let RecordStage::Ended(uid, outcome) = &record.stage
        {
            record.stage = RecordStage::Cleared(uid.clone(), outcome.clone());
            record.at = now;
            self.touch();
        }
    }

    /// Marks a change that wants to be durable and gives its version.
    pub fn touch(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// The version of what is in memory.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether the version has been made durable.
    pub fn is_durable(&self, version: u64) -> bool {
        self.durable >= version
    }

    /// The status with this version was written.
    pub fn set_durable(&mut self, version: u64) {
        self.durable = self.durable.max(version);
    }
}

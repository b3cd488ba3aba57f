//! What is owed once something has ended and its record is durable: hooks deleted by policy, Jobs given their time to live.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::Turn;
use super::hook::runs_to_end;
use crate::engine::action::{Action, Fault, FaultKind, Write};
use crate::engine::desired::Manifest;
use crate::engine::health::Completion;
use crate::engine::kinds::is_precious;
use crate::engine::ledger::{HookId, HookOutcome, HookRecord, Ledger, RecordStage};
use crate::engine::live::Live;
use crate::engine::membership::HookRun;
use crate::engine::object::{GroupKind, ObjectKey};
use crate::engine::plan::{Task, effective_policies};
use crate::engine::settings::{Class, Consent, DeletePolicy, Phase};

/// Hook objects with a generated name that are kept of each outcome.
const KEPT_GENERATED: usize = 3;
/// How long clean-ups may hold the end of an attempt.
const TIDYING: SignedDuration = SignedDuration::from_secs(30);

/// Sends the clean-ups whose records are durable.
pub(super) fn send(turn: &mut Turn<'_>) {
    let now = turn.now();
    let durable: Vec<ObjectKey> = {
        let keys: Vec<_> = turn.ledger.owed().iter().map(|(key, owed)| (key.clone(), owed.after)).collect();
        keys.into_iter().filter(|(_, after)| turn.ledger.is_durable(*after)).map(|(key, _)| key).collect()
    };
    for key in durable {
        let unsettled = turn.ledger.unsettled_until(&key, now);
        let Some(owed) = turn.ledger.owed().get_mut(&key) else { continue };
        if owed.in_flight || owed.earlier > 0 {
            continue;
        }
        if let Some(not_before) = owed.not_before.max(unsettled).filter(|at| *at > now) {
            turn.wake_at(not_before);
            continue;
        }
        owed.in_flight = true;
        let write = owed.write.clone();
        turn.actions.push(Action::Tidy { key, write });
    }
}

/// Until when the clean-ups may hold the end of an attempt: for a while from now, or from when the last of them may be sent.
pub(super) fn until(turn: &mut Turn<'_>) -> Timestamp {
    let now = turn.now();
    let keys: Vec<_> = turn.ledger.owed().keys().cloned().collect();
    let last = keys.iter().filter_map(|key| turn.ledger.unsettled_until(key, now)).max().unwrap_or(now);
    last.checked_add(TIDYING).unwrap_or(last)
}

/// Takes in how a clean-up went. What cannot be done is given up after some tries: the record stays Ended and tells it.
pub(super) fn tidied(ledger: &mut Ledger, key: &ObjectKey, result: &Result<(), Fault>, now: Timestamp) {
    if let Some(owed) = ledger.owed().get_mut(key).filter(|owed| owed.earlier > 0) {
        owed.earlier -= 1;
        return;
    }
    match result {
        Err(fault) if matches!(fault.kind, FaultKind::Transient | FaultKind::Conflict) => {
            let Some(owed) = ledger.owed().get_mut(key) else { return };
            owed.in_flight = false;
            owed.tries += 1;
            let delay = std::time::Duration::from_millis(500 * u64::from(owed.tries.min(20)));
            owed.not_before = now.checked_add(delay).ok();
            if owed.tries > 20 {
                ledger.owed().remove(key);
            }
        }
        Err(fault) if !matches!(fault.kind, FaultKind::NotFound | FaultKind::KindMissing) => {
            ledger.owed().remove(key);
        }
        Ok(()) | Err(_) => ledger.settle(key, now),
    }
}

/// After a restart in SyncFail, whose earlier stages are not gone through again: what their hooks left to clean up.
pub(super) fn owe_again(turn: &mut Turn<'_>) {
    let mut due = Vec::new();
    for (id, record) in turn.ledger.hooks() {
        if let RecordStage::Ended(uid, outcome) = &record.stage
            && record.run == turn.operation.run(id.1)
            && !uid.is_empty()
            && let Some(manifest) = manifest_of(id, turn).filter(|manifest| is_hook(manifest) && runs_to_end(manifest))
        {
            due.push((id.clone(), uid.clone(), outcome.clone(), manifest.clone()));
        }
    }
    for (id, uid, outcome, manifest) in due {
        owe_cleanup(&manifest, &id, &uid, &outcome, 0, turn);
    }
}

/// When everything is deleted: the hooks around the deletion go too (V11), those of failed attempts included. One that names a policy
/// for its outcome keeps to that.
pub(super) fn delete_deletion_hooks(turn: &mut Turn<'_>) {
    let members = turn.seen.members;
    for (key, live) in members.iter().filter(|(_, live)| live.is_member(&turn.owner) && live.is_deletion_hook()) {
        let Some(run) = &live.hook else { continue };
        let id = (key.clone(), run.phase);
        let this = turn.operation.run(run.phase) == *run;
        let by_outcome = manifest_of(&id, turn).is_some_and(|manifest| {
            effective_policies(manifest).iter().any(|policy| *policy != DeletePolicy::BeforeHookCreation)
        });
        if (this && by_outcome) || live.deleting.is_some() || turn.ledger.owed().contains_key(key) {
            continue;
        }
        let propagation = turn.operation.options.propagation;
        let write = Write::Delete { key: key.clone(), uid: live.uid.clone(), version: None, propagation };
        turn.ledger.owe(write, this.then_some(id), 0);
    }
}

/// After a success: hook objects of earlier operations whose manifest is gone, and those with a generated name beyond the last three
/// of each outcome (V12). What hangs on a Namespace, a CRD or a volume would go along, so those stay (F33).
pub(super) fn collect_garbage(turn: &mut Turn<'_>) {
    let plan = turn.plan;
    let wanted: BTreeSet<&ObjectKey> =
        plan.tasks().map(|task| &task.key).chain(plan.without_task.iter().map(|without| &without.key)).collect();
    let generated: Vec<(&GroupKind, &str)> =
        plan.tasks().filter_map(|task| Some((&task.key.kind, task.manifest()?.generate_name.as_deref()?))).collect();
    let members = turn.seen.members;
    let mut leftovers: Vec<_> = members
        .iter()
        .filter_map(|(key, live)| Some((key, live, live.hook.as_ref()?)))
        .filter(|(key, live, _)| {
            live.is_member(&turn.owner)
                && live.deleting.is_none()
                && !live.is_deletion_hook()
                && live.options.prune != Some(Consent::No)
                && !wanted.contains(key)
                && !is_precious(&key.kind)
        })
        .collect();
    // The newest first; ids grow.
    leftovers.sort_by(|a, b| (b.2.operation.len(), &b.2.operation).cmp(&(a.2.operation.len(), &a.2.operation)));
    let mut kept: BTreeMap<(&GroupKind, &str, Phase, bool), usize> = BTreeMap::new();
    let mut due = Vec::new();
    for (key, live, run) in leftovers {
        let made_of =
            generated.iter().find(|(kind, prefix)| **kind == key.kind && *key.name == *run.generated_name(prefix));
        if let Some((kind, prefix)) = made_of {
            let succeeded = !matches!(live.completion, Some(Completion::Failed { .. }));
            let number = kept.entry((kind, prefix, run.phase, succeeded)).or_default();
            *number += 1;
            if *number <= KEPT_GENERATED {
                continue;
            }
        }
        due.push(((key.clone(), run.phase), live.uid.clone()));
    }
    for (id, uid) in due {
        if !turn.ledger.owed().contains_key(&id.0) {
            owe_delete(&id, &uid, 0, turn);
        }
    }
}

/// When an attempt ends: passive hooks of it go by their policy (V6).
pub(super) fn delete_passive(turn: &mut Turn<'_>) {
    let mut due = Vec::new();
    for (id, record) in turn.ledger.hooks() {
        if record.run.operation != turn.operation.id {
            continue;
        }
        let (RecordStage::Ended(uid, outcome), Some(manifest)) = (&record.stage, manifest_of(id, turn)) else {
            continue;
        };
        if !runs_to_end(manifest) && deletes(manifest, outcome) {
            due.push((id.clone(), uid.clone()));
        }
    }
    for (id, uid) in due {
        owe_delete(&id, &uid, 0, turn);
    }
}

/// Whether a plain Job with this content has ended before and may be gone by now (V19).
pub(super) fn ended_job(manifest: &Manifest, turn: &Turn<'_>) -> bool {
    turn.ledger
        .hooks()
        .get(&(manifest.key.clone(), Phase::Sync))
        .is_some_and(|record| record.digest == manifest.content && record.outcome().is_some_and(|o| o.succeeded))
}

/// Records the end of a plain Job that has a time to live, and gives it that time once the record is durable.
pub(super) fn keep_ended_job(manifest: &Manifest, live: &Live, turn: &mut Turn<'_>) {
    let Some(ttl) = manifest.ttl.filter(|_| !is_hook(manifest)) else { return };
    let id = (manifest.key.clone(), Phase::Sync);
    let write = ttl_patch(&manifest.key, &live.uid, ttl);
    let record = turn.ledger.hooks().get(&id).filter(|record| record.digest == manifest.content);
    match record.map(|record| &record.stage) {
        Some(RecordStage::Cleared(uid, _)) if *uid == live.uid => return,
        // A restart came between the record and the patch.
        Some(RecordStage::Ended(uid, _)) if *uid == live.uid => {
            turn.ledger.owe(write, Some(id), 0);
            return;
        }
        _ => {}
    }
    let outcome = HookOutcome { succeeded: true, message: "completed".to_owned(), log: None, detail: None };
    let record = HookRecord {
        run: turn.operation.run(Phase::Sync),
        stage: RecordStage::Ended(live.uid.clone(), outcome),
        digest: manifest.content,
        at: turn.now(),
    };
    let after = turn.ledger.record(id.clone(), record);
    turn.ledger.owe(write, Some(id), after);
}

fn is_hook(manifest: &Manifest) -> bool {
    matches!(manifest.settings.class, Class::Hook(_))
}

fn manifest_of<'a>(id: &HookId, turn: &Turn<'a>) -> Option<&'a Arc<Manifest>> {
    let plan = turn.plan;
    plan.stages
        .iter()
        .chain(&plan.sync_fail)
        .filter(|stage| stage.phase == id.1)
        .flat_map(|stage| &stage.tasks)
        .filter(|task| named(task, &turn.operation.run(id.1)) == id.0)
        .find_map(|task| task.manifest())
}

/// The object of a task in a run, its generated name filled in.
pub(super) fn named(task: &Task, run: &HookRun) -> ObjectKey {
    match task.manifest().and_then(|manifest| manifest.generate_name.as_ref()) {
        Some(prefix) => task.key.with_name(&run.generated_name(prefix)),
        None => task.key.clone(),
    }
}

fn deletes(manifest: &Manifest, outcome: &HookOutcome) -> bool {
    let policy = if outcome.succeeded { DeletePolicy::HookSucceeded } else { DeletePolicy::HookFailed };
    effective_policies(manifest).contains(&policy)
}

/// Owes what the policy, or the time to live, of a hook that has ended says, once the version `after` is durable.
pub(super) fn owe_cleanup(
    manifest: &Manifest,
    hook: &HookId,
    uid: &Arc<str>,
    outcome: &HookOutcome,
    after: u64,
    turn: &mut Turn<'_>,
) {
    if deletes(manifest, outcome) {
        owe_delete(hook, uid, after, turn);
    } else if let Some(ttl) = manifest.ttl {
        turn.ledger.owe(ttl_patch(&hook.0, uid, ttl), None, after);
    }
}

fn owe_delete(hook: &HookId, uid: &Arc<str>, after: u64, turn: &mut Turn<'_>) {
    let propagation = turn.operation.options.propagation;
    let write = Write::Delete { key: hook.0.clone(), uid: uid.clone(), version: None, propagation };
    turn.ledger.owe(write, Some(hook.clone()), after);
}

fn ttl_patch(key: &ObjectKey, uid: &Arc<str>, ttl: i64) -> Write {
    Write::Patch { key: key.clone(), uid: uid.clone(), patch: json!({"spec": {"ttlSecondsAfterFinished": ttl}}) }
}

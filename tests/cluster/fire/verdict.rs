//! Whether a sync that was hit has ended as one that was not: judged by the API server's own log, and by what is left.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::ListParams;
use swell::api::{ApplicationStatus, RecordState};
use testbed::audit::{Entry, Filter, Mark};

use super::run::Sync;
use crate::support::{Place, entry_name, tells_an_end, testbed};

/// Everything that is not as it should be.
pub(super) async fn wrong(place: &Place, sync: Sync, status: &ApplicationStatus, mark: Mark) -> Vec<String> {
    let mut wrong = Vec::new();
    in_status(sync, status, &mut wrong);
    left(place, sync, &mut wrong).await;
    let audit = testbed().audit();
    audit.flushed(&place.client).await.unwrap();
    let entries = audit.read_since(mark, &Filter::namespace(&place.namespace)).unwrap();
    in_history(place, sync, &entries, &mut wrong);
    wrong
}

/// One operation, with the right end, and each record at its last stage.
fn in_status(sync: Sync, status: &ApplicationStatus, wrong: &mut Vec<String>) {
    let state = status.operation_state.as_ref();
    if state.map(|state| state.phase) != Some(sync.end()) {
        let told = state.map(|state| (state.phase, state.message.clone()));
        wrong.push(format!("the operation should be {}: {told:?}", sync.end()));
    }
    if status.history.len() != 1 {
        wrong.push(format!("one operation was wanted, the history has {}: {:?}", status.history.len(), status.history));
    }
    if sync == Sync::Bad {
        let message = state.and_then(|state| state.message.as_deref()).unwrap_or_default();
        if !(message.contains("smoke") && message.contains("exited with code 3")) {
            wrong.push(format!("the message does not tell the cause: {message}"));
        }
        let rows = state.and_then(|state| state.sync_result.as_ref()).map(|result| result.resources.as_slice());
        let smoke = rows.unwrap_or_default().iter().find(|row| row.name == "smoke");
        if smoke.and_then(|row| row.log.as_deref()) != Some("no answer") {
            wrong.push(format!("the last words of smoke are not told: {smoke:?}"));
        }
    }
    let records: BTreeMap<_, _> = status.hooks.iter().map(|hook| (hook.name.as_str(), hook.record)).collect();
    let (ended, cleared) = (RecordState::Ended, RecordState::Cleared);
    let wanted: BTreeMap<_, _> = match sync {
        Sync::Good => BTreeMap::from([("helper", cleared), ("migrate", ended), ("load", cleared), ("smoke", ended)]),
        Sync::Bad => BTreeMap::from([
            ("helper", cleared),
            ("migrate", ended),
            ("load", cleared),
            ("smoke", cleared),
            ("notify", cleared),
        ]),
    };
    if records != wanted {
        wrong.push(format!("records: {records:?}, not {wanted:?}"));
    }
}

/// What the delete policies leave, and no finalizer of ours on anything.
async fn left(place: &Place, sync: Sync, wrong: &mut Vec<String>) {
    for (api_version, kind, wanted) in [
        ("batch/v1", "Job", if sync == Sync::Good { &["migrate", "smoke"][..] } else { &["migrate"] }),
        ("v1", "ConfigMap", &["flags", "settings"]),
    ] {
        let objects = place.api(api_version, kind).list(&ListParams::default()).await.unwrap().items;
        let there: BTreeSet<_> = objects
            .iter()
            // One in deletion has been dealt with; its pods may take a moment.
            .filter(|object| object.metadata.deletion_timestamp.is_none())
            .filter_map(|object| object.metadata.name.clone())
            .filter(|name| name != "kube-root-ca.crt")
            .collect();
        if !there.iter().eq(wanted.iter()) {
            wrong.push(format!("left of {kind}: {there:?}, not {wanted:?}"));
        }
        for object in objects {
            let finalizers = object.metadata.finalizers.unwrap_or_default();
            if finalizers.iter().any(|name| name.contains("swell.dev")) {
                wrong.push(format!("{kind} {:?} carries {finalizers:?}", object.metadata.name));
            }
        }
    }
}

/// Each hook was created once, and nothing of a stage was written before the one before it was over.
fn in_history(place: &Place, sync: Sync, entries: &[Entry], wrong: &mut Vec<String>) {
    let account = format!("system:serviceaccount:{}:default", place.namespace);
    let of_account: Vec<_> = entries
        .iter()
        .filter(|entry| entry.acting_user() == account && entry.is_write() && entry.stage == "ResponseComplete")
        .filter(|entry| entry.request_object.as_ref().is_none_or(|body| body.get("dryRun").is_none()))
        .collect();
    let created = |resource: &'static str, name: &'static str| {
        let of_object = of_account.iter().filter(move |entry| entry.resource == resource && entry_name(entry) == name);
        of_object.filter(|entry| entry.code == 201).copied().collect::<Vec<_>>()
    };
    for (resource, name) in [
        ("configmaps", "helper"),
        ("jobs", "migrate"),
        ("configmaps", "settings"),
        ("configmaps", "flags"),
        ("jobs", "load"),
        ("jobs", "smoke"),
        ("jobs", "notify"),
    ] {
        let wanted = usize::from(name != "notify" || sync == Sync::Bad);
        let times = created(resource, name).len();
        if times != wanted {
            wrong.push(format!("{name} was created {times} times, not {wanted} times"));
        }
    }
    // When a Job was seen to be over by the one who says so.
    let over = |name: &str| {
        let ends = entries.iter().filter(|entry| entry.name == name && tells_an_end(entry));
        ends.map(|entry| entry.received_us).min()
    };
    let begun = |resource, name| created(resource, name).iter().map(|entry| entry.received_us).min();
    let answered = |resource, name| created(resource, name).iter().map(|entry| entry.stage_us).max();
    let mut before = |what: &str, first: Option<i64>, then: &'static str, second: Option<i64>| match (first, second) {
        (Some(first), Some(second)) if first <= second => {}
        (None, Some(_)) => wrong.push(format!("{then} was written, though not: {what}")),
        (Some(first), Some(second)) => wrong.push(format!("{then} was written {} µs before: {what}", first - second)),
        (_, None) => {}
    };
    before("helper was applied", answered("configmaps", "helper"), "migrate", begun("jobs", "migrate"));
    for (resource, name) in [("configmaps", "settings"), ("configmaps", "flags"), ("jobs", "load")] {
        before("migrate was over", over("migrate"), name, begun(resource, name));
        before("the objects of Sync were applied", answered(resource, name), "smoke", begun("jobs", "smoke"));
    }
    before("load was over", over("load"), "smoke", begun("jobs", "smoke"));
    before("smoke was over", over("smoke"), "notify", begun("jobs", "notify"));
}

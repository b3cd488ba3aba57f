//! What an Application needs next: an operation to start, a request to take up, or nothing. One decision for each round, pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::action::Propagation;
use super::attempt::{Operation, Stop};
use super::desired::Desired;
use super::finding::{Part, Remark, Rule};
use super::heal::Heal;
use super::object::GroupKind;
use super::plan::{Options, RESOURCES_OF_REQUEST};
use super::settings::{self, Consent, parse_option};
use crate::api::{self, Application, OperationPhase, OperationState};

/// What is known when the decision is made.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The time.
    pub now: Timestamp,
    /// The Application.
    pub application: &'a Application,
    /// Revision of the source as it is now, readable or not.
    pub revision: &'a str,
    /// The request that was taken up and has not been cleared yet.
    pub taken: Option<&'a api::Operation>,
    /// The operation that runs, or waits for its next attempt.
    pub running: Option<&'a Operation>,
    /// The latest operation that has ended.
    pub ended: Option<&'a OperationState>,
    /// The latest of those that were about the whole source.
    pub attempted: Option<&'a api::Attempted>,
    /// Whether a plan made now would prune something.
    pub would_prune: bool,
    /// Whether prunes were confirmed since the latest operation began.
    pub approved: bool,
    /// The drift that self-heal undoes now, if the Application asks for that.
    pub heal: Option<&'a Heal>,
    /// Whether the rights are there now that the latest operation was refused for.
    pub rights_have_come: bool,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Rest,
    /// Start an operation; the request it takes up, if there is one.
    Start(Box<Operation>, Option<api::Operation>),
    /// End the running operation before its time.
    Stop(Stop),
    /// The request was taken up before: only clear the field.
    ClearRequest,
}

/// What becomes of an Application that is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// Its objects are deleted first.
    Delete,
    /// Its objects stay; only our finalizer is taken off.
    Release,
    /// Our finalizer is off: nothing is ours to do, also while the finalizer of somebody else still holds it.
    Gone,
}

/// How an Application goes; `None` while it is not being deleted.
pub fn departure(application: &Application) -> Option<Departure> {
    let metadata = &application.metadata;
    metadata.deletion_timestamp.as_ref()?;
    Some(if !metadata.finalizers.iter().flatten().any(|finalizer| finalizer == api::FINALIZER) {
        Departure::Gone
    } else if application.deletion_policy() == api::DeletionPolicy::Orphan || is_released(application) {
        Departure::Release
    } else {
        Departure::Delete
    })
}

/// Decides.
pub fn next(situation: Situation<'_>) -> Next {
    let Situation { application, running, ended, revision, .. } = situation;
    if application.metadata.deletion_timestamp.is_some() {
        return match running {
            Some(operation) if operation.deletion => Next::Rest,
            Some(_) => Next::Stop(Stop::Deleted),
            None => Next::Start(Box::new(operation(situation, None, true)), None),
        };
    }
    let generation = application.metadata.generation.unwrap_or(0);
    if let Some(request) = &application.operation {
        let taken = running.and_then(|o| o.request_generation).max(ended.and_then(|o| o.request_generation));
        // A later generation than there is was never taken up: it is from the status of another time (a restored backup).
        // While it is still there the spec may be edited, and the generation moves on with that.
        if taken == Some(generation) || (taken.is_some() && situation.taken == Some(request)) {
            return Next::ClearRequest;
        }
        match (&request.terminate, running) {
            (Some(_), Some(_)) => return Next::Stop(Stop::Terminate),
            (Some(_), None) => return Next::ClearRequest,
            (None, None) => {
                return Next::Start(Box::new(operation(situation, Some(request), false)), Some(request.clone()));
            }
            // Taken up when the running one has ended.
            (None, Some(_)) => {}
        }
    }
    let automated = application.automated();
    match running {
        Some(operation) if automated.enabled && !is_paused(application) && operation.revision != revision => {
            Next::Stop(Stop::Superseded(revision.to_owned()))
        }
        Some(_) => Next::Rest,
        None => {
            let attempted = situation.attempted.filter(|attempted| attempted.revision == revision);
            let succeeded = attempted.is_some_and(|attempted| attempted.phase == OperationPhase::Succeeded);
            let prune = (succeeded || situation.approved) && automated.prune && situation.would_prune;
            if !automated.enabled || is_paused(application) {
                return Next::Rest;
            }
            // F24: what a new revision brings is a whole operation, also when there is drift at the same time.
            if attempted.is_none() || prune || situation.rights_have_come {
                return Next::Start(Box::new(operation(situation, None, false)), None);
            }
            match situation.heal {
                Some(heal) if succeeded && heals(application) => {
                    let operation =
                        Operation { heal: Some(Arc::new(heal.clone())), ..operation(situation, None, false) };
                    Next::Start(Box::new(operation), None)
                }
                _ => Next::Rest,
            }
        }
    }
}

/// What an ended operation says of the revision that it was about: nothing if it was superseded (it has not been tried, and somebody may
/// come back to it), a dry run, or about some objects only.
pub fn attempted(ended: &OperationState) -> Option<api::Attempted> {
    let superseded = ended.message.as_deref().unwrap_or_default().starts_with(SUPERSEDED);
    let revision = ended.revision.clone().filter(|_| !superseded && !is_partial(ended))?;
    Some(api::Attempted { revision, phase: ended.phase, lacks_rights: false })
}

/// Whether an operation is a dry run, or about some objects only.
pub fn is_partial(state: &OperationState) -> bool {
    let request = state.operation.as_ref().and_then(|operation| operation.sync.as_ref());
    is_refused_request(state) || request.is_some_and(|request| request.dry_run || !request.resources.is_empty())
}

/// Whether an operation ended because what was asked for cannot be: nothing was done, and nothing is said about the Application.
pub fn is_refused_request(state: &OperationState) -> bool {
    let refused = |message: &String| message.starts_with(OF_REQUEST) || message.starts_with(RESOURCES_OF_REQUEST);
    state.phase == OperationPhase::Failed
        && state.operation.is_some()
        && state.sync_result.is_none()
        && state.message.as_ref().is_some_and(refused)
}

const OF_REQUEST: &str = "operation.sync.syncOptions";

/// Whether an operation writes nothing.
pub fn is_dry_run(state: &OperationState) -> bool {
    state.operation.as_ref().and_then(|operation| operation.sync.as_ref()).is_some_and(|request| request.dry_run)
}

/// Whether nothing is to be started without being asked: `argocd.argoproj.io/skip-reconcile: "true"` (A4).
fn is_paused(application: &Application) -> bool {
    let annotations = application.metadata.annotations.as_ref();
    annotations.and_then(|a| a.get(api::annotations::ARGO_SKIP_RECONCILE)).is_some_and(|value| value == "true")
}

/// Whether drift is undone by itself.
pub fn heals(application: &Application) -> bool {
    let automated = application.automated();
    automated.enabled
        && automated.self_heal
        && application.metadata.deletion_timestamp.is_none()
        && !is_paused(application)
}

/// Whether this revision was refused for a lack of rights, and would be synced by itself as soon as they are there.
pub fn lacks_rights(application: &Application, attempted: Option<&api::Attempted>, revision: &str) -> bool {
    let refused = attempted.is_some_and(|attempted| attempted.lacks_rights && attempted.revision == revision);
    refused
        && application.automated().enabled
        && application.metadata.deletion_timestamp.is_none()
        && application.operation.is_none()
        && !is_paused(application)
}

/// The message of an operation that somebody has ended.
pub const TERMINATED: &str = "the operation was terminated on request";

/// How the message of an operation begins that a newer revision has ended.
pub const SUPERSEDED: &str = "superseded by revision ";

/// Whether somebody has said that the Application shall go without its objects: `swell.dev/release: now`.
pub fn is_released(application: &Application) -> bool {
    let annotations = application.metadata.annotations.as_ref();
    annotations.and_then(|a| a.get(api::annotations::RELEASE)).is_some_and(|value| value == "now")
}

/// Whether a person has confirmed the prunes and deletes that wait for it, at that time or later:
/// `argocd.argoproj.io/deletion-approved` with a time in RFC 3339 (P3, X6).
fn approved_since(application: &Application, since: Timestamp) -> bool {
    // The annotation has whole seconds.
    let since = since.as_second();
    approved_at(application).is_some_and(|at| at.as_second() >= since)
}

fn approved_at(application: &Application) -> Option<Timestamp> {
    let annotations = application.metadata.annotations.as_ref()?;
    annotations.get(api::annotations::ARGO_DELETION_APPROVED)?.trim().parse().ok()
}

/// When a confirmation begins to count that bears a time to come.
pub fn approval_to_come(application: &Application, now: Timestamp) -> Option<Timestamp> {
    approved_at(application).filter(|at| *at > now)
}

/// Whether a person has done so between that time and now. What is approved in times to come counts then: before, it would for everything
/// that comes until that time.
pub fn approved_between(application: &Application, since: Timestamp, now: Timestamp) -> bool {
    let later = now.checked_add(SignedDuration::from_secs(1)).unwrap_or(now);
    approved_since(application, since) && !approved_since(application, later)
}

/// Since when an approval counts for an operation: since it began, since the Application was deleted, or since the operation before it
/// began, if that was about the same revision and failed, and so may not have made use of it.
pub fn approvals_count_since(
    application: &Application,
    operation: &Operation,
    history: &[api::HistoryEntry],
) -> Timestamp {
    if let Some(deleted) = &application.metadata.deletion_timestamp {
        return deleted.0;
    }
    let before = history.iter().find(|entry| entry.id != operation.id);
    let same = |entry: &&api::HistoryEntry| entry.revision.as_ref() == Some(&operation.revision);
    let before = before.filter(same).filter(|entry| entry.phase != OperationPhase::Succeeded);
    before.map_or(operation.started_at, |entry| entry.started_at.min(operation.started_at))
}

/// When the next attempt of a failed one is due; `None` when there is none.
pub fn retry_at(application: &Application, operation: &Operation, now: Timestamp) -> Option<Timestamp> {
    let retry = application.retry();
    let made = u64::try_from(operation.attempt).unwrap_or(u64::MAX);
    if retry.limit.is_some_and(|limit| made > limit) {
        return None;
    }
    // V10: the first pause is `duration`, each further one is `factor` times as long.
    let mut pause = retry.duration;
    for _ in 1..made.min(64) {
        pause = pause.saturating_mul(retry.factor).min(retry.max_duration);
    }
    now.checked_add(pause.min(retry.max_duration)).ok()
}

/// What there is to say of the options and annotations of an Application that do nothing, and of what it names and its source has not.
pub fn remarks(application: &Application, desired: Option<&Desired>) -> Vec<Remark> {
    let remark = |(index, item): (usize, &String)| {
        let (name, value) = parse_option(item).ok()?;
        let message = format!("spec.syncPolicy.syncOptions: {}", settings::remark(name, value)?);
        let part = Part::value(&["spec", "syncPolicy", "syncOptions", &index.to_string()]);
        Some(Remark { rule: Rule::UselessOption, part, message })
    };
    let mut remarks: Vec<_> = application.sync_options().iter().enumerate().filter_map(remark).collect();
    remarks.extend(settings::misspelt::on_application(application.metadata.annotations.iter().flatten()));
    remarks.extend(desired.into_iter().flat_map(|desired| nearly_in_source(application, desired)));
    remarks
}

/// Checks and differences about a kind that the source has not, but nearly: they would be for nothing, and nobody would know.
fn nearly_in_source(application: &Application, desired: &Desired) -> Vec<Remark> {
    let kinds: BTreeSet<_> = desired.manifests.iter().map(|manifest| &manifest.key.kind).collect();
    let remark = |list: &str, index: usize, group: &str, kind: &str| {
        let is_there = kinds.iter().any(|there| there.is(group, kind));
        let wildcard = group.contains('*') || kind.contains('*');
        let close = |there: &&&GroupKind| {
            let slips =
                strsim::damerau_levenshtein(&there.kind, kind) + strsim::damerau_levenshtein(&there.group, group);
            slips <= 2 || *there.kind == *kind
        };
        let near = kinds.iter().find(close).filter(|_| !is_there && !wildcard)?;
        let group_of = if group.is_empty() { String::new() } else { format!(".{group}") };
        let message = format!("spec.{list}[{index}]: the source has no {kind}{group_of}; did you mean {near}?");
        let part = Part::value(&["spec", list, &index.to_string(), "kind"]);
        Some(Remark { rule: Rule::NearlyInSource, part, message })
    };
    let checks = application.spec.health_checks.iter().enumerate().filter_map(|(index, check)| {
        let group = check.api_version.split_once('/').map_or("", |(group, _)| group);
        remark("healthChecks", index, group, &check.kind)
    });
    let differences = application.spec.ignore_differences.iter().enumerate().filter_map(|(index, difference)| {
        remark("ignoreDifferences", index, difference.group.as_str(), &difference.kind)
    });
    checks.chain(differences).collect()
}

/// The options of a plan: those of the request where it names any, else the Application's. An error names the option that cannot be understood.
pub fn options(application: &Application, request: Option<&api::SyncOperation>) -> Result<Options, String> {
    let automated = application.automated();
    let (listed, place) = match request {
        Some(request) if !request.sync_options.is_empty() => (&request.sync_options[..], OF_REQUEST),
        _ => (application.sync_options(), "spec.syncPolicy.syncOptions"),
    };
    let annotations = application.metadata.annotations.as_ref();
    let mut options = Options {
        prune: request.map_or(automated.prune, |request| request.prune),
        dry_run: request.is_some_and(|request| request.dry_run),
        only: request.map(|request| request.resources.clone()).unwrap_or_default(),
        migrate_also: annotations.and_then(|a| a.get(api::annotations::ARGO_MIGRATION_MANAGER)).cloned(),
        ..Options::default()
    };
    for item in listed {
        let (name, value) = parse_option(item).map_err(|message| format!("{place}: {message}"))?;
        let on = value == "true";
        let consent = Consent::of(value);
        match name {
            "PruneLast" => options.prune_last = on,
            "PruneFirst" => options.prune_first = on,
            "Prune" => options.prune_consent = consent,
            "Delete" => options.delete_consent = consent,
            "CreateNamespace" if on => {
                let policy = application.spec.sync_policy.as_ref();
                let metadata = policy.and_then(|policy| policy.managed_namespace_metadata.clone());
                options.create_namespace = Some(metadata.unwrap_or_default());
            }
            "Replace" => options.replace = on,
            "Force" => options.force = on,
            "ClientSideApplyMigration" => options.migrate = on,
            "PrunePropagationPolicy" => options.propagation = Propagation::of(value),
            "RespectIgnoreDifferences" => options.respect_ignored = on,
            "WaitForHealth" => options.wait_for_health = on,
            _ => {}
        }
    }
    Ok(options)
}

fn operation(situation: Situation<'_>, request: Option<&api::Operation>, deletion: bool) -> Operation {
    let Situation { now, application, revision, ended, running, .. } = situation;
    let last = running.map(|o| o.id.as_str()).max(ended.map(|o| o.id.as_str()));
    Operation {
        id: id(now, last),
        deletion,
        attempt: 1,
        request_generation: request
            .and(application.metadata.generation)
            .or_else(|| ended.and_then(|o| o.request_generation)),
        initiated_by: request.and_then(|request| request.initiated_by.as_ref()?.username.clone()),
        heal: None,
        revision: revision.to_owned(),
        started_at: now,
        attempt_started_at: now,
        options: Options::default(),
    }
}

/// An id that is later than every one before: the time in milliseconds, in base 36, so that ids sort as they were made. One that we
/// did not make cannot be outdone.
fn id(now: Timestamp, last: Option<&str>) -> String {
    let last = last.filter(|last| last.len() <= LONGEST_ID && u64::from_str_radix(last, 36).is_ok());
    let mut number = u64::try_from(now.as_millisecond()).unwrap_or(0);
    loop {
        let id = base36(number);
        if last.is_none_or(|last| last.len() < id.len() || (last.len() == id.len() && *last < *id)) {
            return id;
        }
        number = last.and_then(|last| u64::from_str_radix(last, 36).ok()).map_or(number, |last| last.max(number)) + 1;
    }
}

/// Any number of so many digits in base 36 fits, and so does the next one.
const LONGEST_ID: usize = 12;

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(number % 36).unwrap_or(0);
        digits.push(char::from_digit(digit, 36).unwrap_or('0'));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn application(change: Value) -> Application {
        let mut object = json!({
            "apiVersion": "swell.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": "app", "namespace": "shop", "generation": 3}, "spec": {"source": {"inline": ""}}
        });
        json_patch(&mut object, change);
        serde_json::from_value(object).unwrap()
    }

    fn json_patch(object: &mut Value, change: Value) {
        match (object, change) {
            (Value::Object(object), Value::Object(change)) => {
                for (name, value) in change {
                    json_patch(object.entry(name).or_insert(Value::Null), value);
                }
            }
            (object, change) => *object = change,
        }
    }

    fn deleted(change: Value) -> Application {
        let mut whole =
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["swell.dev/resources"]}});
        json_patch(&mut whole, change);
        application(whole)
    }

    fn situation(application: &Application) -> Situation<'_> {
        Situation {
            now: Timestamp::UNIX_EPOCH,
            application,
            revision: "r2",
            taken: None,
            running: None,
            ended: None,
            attempted: None,
            would_prune: false,
            approved: false,
            heal: None,
            rights_have_come: false,
        }
    }

    fn ended(revision: &str, message: &str) -> OperationState {
        serde_json::from_value(json!({
            "id": "a", "attempt": 1, "phase": "Failed", "message": message, "revision": revision,
            "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z", "retryCount": 0
        }))
        .unwrap()
    }

    #[test]
    fn a_deletion_without_our_finalizer_deletes_nothing() {
        assert_eq!(departure(&application(json!({}))), None);
        assert_eq!(departure(&deleted(json!({}))), Some(Departure::Delete));
        let others = deleted(json!({"metadata": {"finalizers": ["foregroundDeletion"]}}));
        assert_eq!(departure(&others), Some(Departure::Gone));
    }

    #[test]
    fn a_deletion_with_policy_orphan_or_with_the_release_annotation_only_takes_the_finalizer_off() {
        let orphan = deleted(json!({"spec": {"deletionPolicy": "Orphan"}}));
        assert_eq!(departure(&orphan), Some(Departure::Release));
        let released = deleted(json!({"metadata": {"annotations": {"swell.dev/release": "now"}}}));
        assert_eq!(departure(&released), Some(Departure::Release));
    }

    #[test]
    fn i7_a_revision_that_was_superseded_is_synced_when_somebody_comes_back_to_it() {
        let app = application(json!({}));
        let after = |state: &OperationState| {
            let attempted = attempted(state);
            next(Situation { ended: Some(state), attempted: attempted.as_ref(), ..situation(&app) })
        };
        assert!(matches!(after(&ended("r2", &format!("{SUPERSEDED}r3"))), Next::Start(..)));
        assert_eq!(after(&ended("r2", "ConfigMap shop/a: refused")), Next::Rest);
    }

    #[test]
    fn a_revision_that_was_refused_for_a_lack_of_rights_is_synced_when_they_have_come_and_only_if_that_is_automatic() {
        let refused = api::Attempted { lacks_rights: true, ..attempted(&ended("r2", "nothing was written")).unwrap() };
        let app = application(json!({}));
        assert!(lacks_rights(&app, Some(&refused), "r2"));
        assert!(!lacks_rights(&app, Some(&refused), "r3"), "another revision is tried at once");
        let failed = api::Attempted { lacks_rights: false, ..refused.clone() };
        assert!(!lacks_rights(&app, Some(&failed), "r2"), "it failed for another reason");
        let manual = application(json!({"spec": {"syncPolicy": {"automated": {"enabled": false}}}}));
        assert!(!lacks_rights(&manual, Some(&refused), "r2"));
        assert!(!lacks_rights(&deleted(json!({})), Some(&refused), "r2"));
        let now = Situation { attempted: Some(&refused), ..situation(&app) };
        assert_eq!(next(now), Next::Rest);
        assert!(matches!(next(Situation { rights_have_come: true, ..now }), Next::Start(..)));
    }

    #[test]
    fn a_request_that_is_still_there_while_the_spec_is_edited_is_not_taken_up_twice() {
        let app = application(json!({"metadata": {"generation": 4}, "operation": {"sync": {}}}));
        let mut state = ended("r2", "done");
        state.request_generation = Some(3);
        let once = Situation { ended: Some(&state), ..situation(&app) };
        assert!(matches!(next(once), Next::Start(..)), "asked for again");
        assert_eq!(next(Situation { taken: app.operation.as_ref(), ..once }), Next::ClearRequest);
    }

    #[test]
    fn a_dry_run_and_a_sync_of_some_objects_say_nothing_of_the_revision_as_a_whole() {
        for request in [json!({"dryRun": true}), json!({"resources": [{"kind": "ConfigMap", "name": "a"}]})] {
            let mut state = ended("r2", "done");
            state.operation = serde_json::from_value(json!({"sync": request})).unwrap();
            assert_eq!(attempted(&state), None, "{request}");
        }
        let mut state = ended("r2", "done");
        state.operation = serde_json::from_value(json!({"sync": {"prune": true}})).unwrap();
        assert!(attempted(&state).is_some());
    }

    #[test]
    fn v15_an_option_that_does_nothing_is_remarked_upon() {
        let app =
            application(json!({"spec": {"syncPolicy": {"syncOptions": ["ServerSideApply=false", "PruneLast=true"]}}}));
        let said = "spec.syncPolicy.syncOptions: ServerSideApply=false has no effect: everything is applied on the server's side";
        assert_eq!(remarks(&app, None).iter().map(ToString::to_string).collect::<Vec<_>>(), [said]);
    }

    #[test]
    fn a4_an_application_that_skips_reconciliation_starts_nothing_by_itself_and_does_what_it_is_asked() {
        let skip = json!({"metadata": {"annotations": {"argocd.argoproj.io/skip-reconcile": "true"}}});
        assert_eq!(next(situation(&application(skip.clone()))), Next::Rest);
        let mut asked = skip;
        asked["operation"] = json!({"sync": {}});
        assert!(matches!(next(situation(&application(asked))), Next::Start(..)));
    }

    #[test]
    fn p3_an_approval_counts_from_the_start_of_the_operation_or_of_the_failed_one_before_it() {
        let at = |time: &str| {
            application(json!({"metadata": {"annotations": {"argocd.argoproj.io/deletion-approved": time}}}))
        };
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let started = time("2026-01-01T10:00:00.9Z");
        assert!(approved_since(&at("2026-01-01T10:00:00Z"), started), "the annotation has whole seconds");
        assert!(approved_since(&at("2026-01-01T12:00:00+01:00"), started));
        assert!(!approved_since(&at("2026-01-01T09:59:59Z"), started));
        assert!(!approved_since(&at("yes"), started));
        let operation = Operation {
            started_at: started,
            revision: "r2".to_owned(),
            ..super::operation(situation(&at("")), None, false)
        };
        let before = |phase: &str| -> Vec<api::HistoryEntry> {
            let entry = json!([{"id": "a", "revision": "r2", "startedAt": "2026-01-01T09:00:00Z", "finishedAt": "2026-01-01T09:30:00Z", "phase": phase}]);
            serde_json::from_value(entry).unwrap()
        };
        let app = application(json!({}));
        assert_eq!(approvals_count_since(&app, &operation, &before("Succeeded")), started);
        assert_eq!(approvals_count_since(&app, &operation, &before("Failed")), time("2026-01-01T09:00:00Z"));
        let gone = time("2026-01-01T00:00:00Z");
        assert_eq!(approvals_count_since(&deleted(json!({})), &operation, &before("Failed")), gone);
    }

    #[test]
    fn f17_drift_starts_an_operation_by_itself_only_where_the_last_one_brought_the_revision() {
        let healing = |change: Value| {
            let mut whole = json!({"spec": {"syncPolicy": {"automated": {"selfHeal": true}}}});
            json_patch(&mut whole, change);
            application(whole)
        };
        let heal = Heal { cause: "ConfigMap shop/a: is gone".to_owned(), ..Heal::default() };
        let ended_as = |phase: &str| {
            let mut state = ended("r2", "m");
            state.phase = OperationPhase::parse(phase).unwrap();
            state
        };
        let (succeeded, failed) = (ended_as("Succeeded"), ended_as("Failed"));
        let app = healing(json!({}));
        let (well, badly) = (attempted(&succeeded), attempted(&failed));
        let drifted =
            Situation { ended: Some(&succeeded), attempted: well.as_ref(), heal: Some(&heal), ..situation(&app) };
        let Next::Start(operation, None) = next(drifted) else { panic!("{:?}", next(drifted)) };
        assert_eq!(operation.heal.as_deref(), Some(&heal));
        assert_eq!(next(Situation { heal: None, ..drifted }), Next::Rest);
        // A2: what failed is not tried again by itself.
        assert_eq!(next(Situation { ended: Some(&failed), attempted: badly.as_ref(), ..drifted }), Next::Rest);
        assert_eq!(next(Situation { running: Some(&operation), ..drifted }), Next::Rest);
        // F24: a new revision brings a whole operation, with its hooks.
        let Next::Start(whole, None) = next(Situation { revision: "r3", ..drifted }) else { panic!("nothing starts") };
        assert_eq!(whole.heal, None);
        // A request goes first, and a repair that runs gives way to a new revision.
        let asked = healing(json!({"operation": {"sync": {}}}));
        let Next::Start(asked, Some(_)) = next(Situation { application: &asked, ..drifted }) else {
            panic!("not asked")
        };
        assert_eq!(asked.heal, None);
        let newer = Situation { revision: "r3", running: Some(&operation), ..drifted };
        assert_eq!(next(newer), Next::Stop(Stop::Superseded("r3".to_owned())));

        for paused in [
            healing(json!({"spec": {"syncPolicy": {"automated": {"enabled": false}}}})),
            healing(json!({"spec": {"syncPolicy": {"automated": {"selfHeal": false}}}})),
        ] {
            assert_eq!(next(Situation { application: &paused, ..drifted }), Next::Rest);
        }
        let deleted = deleted(json!({"spec": {"syncPolicy": {"automated": {"selfHeal": true}}}}));
        let Next::Start(farewell, None) = next(Situation { application: &deleted, ..drifted }) else {
            panic!("it stays")
        };
        assert!(farewell.deletion && farewell.heal.is_none());
        let running = Situation { application: &deleted, running: Some(&operation), ..drifted };
        assert_eq!(next(running), Next::Stop(Stop::Deleted));
    }

    #[test]
    fn ids_grow_also_when_the_clock_does_not() {
        let now = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
        let first = id(now, None);
        let second = id(now, Some(&first));
        let third = id(Timestamp::from_millisecond(1_600_000_000_000).unwrap(), Some(&second));
        assert!(first < second && second < third, "{first} {second} {third}");
    }

    #[test]
    fn f51_an_id_that_we_did_not_make_is_no_obstacle() {
        let now = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
        for last in ["9f0c1e5a-7d43-4b53-8f5e-3f2b8c1e0a11", "zzzzzzzzzzzzzzzzzzzzzzzz", "", "-1", "ÄÖ"] {
            assert_eq!(id(now, Some(last)), id(now, None), "{last}");
        }
        assert_eq!(id(now, Some("zzzzzzzzzzzz")).len(), 13);
    }

    #[test]
    fn f51_a_request_generation_that_never_was_does_not_swallow_requests() {
        let app = application(json!({"operation": {"sync": {}}}));
        let mut state = ended("r2", "failed");
        state.request_generation = Some(57);
        assert!(matches!(next(Situation { ended: Some(&state), ..situation(&app) }), Next::Start(_, Some(_))));
        state.request_generation = Some(3);
        assert_eq!(next(Situation { ended: Some(&state), ..situation(&app) }), Next::ClearRequest);
    }
}

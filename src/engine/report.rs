//! From where everything stands to the status that people and the next process read: a pure function, equal input gives equal bytes.

mod records;
mod rows;
mod stage;
mod verdicts;
mod waits;

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::attempt::{Attempt, Course, Finish, Operation};
use super::desired::Desired;
use super::drift;
use super::harmless;
use super::health::Health;
use super::ledger::Ledger;
use super::live::Members;
use super::object::{ObjectKey, Owner};
use super::plan::{Options, Plan};
use super::settings::Class;
use crate::api::conditions;
pub use waits::{Wait, waits};

use crate::api::{self, ApplicationStatus, HealthStatus, OperationPhase, OperationState, SyncStatus};

/// Everything that a status is made of.
#[derive(Clone, Copy)]
pub struct Standing<'a> {
    /// The time.
    pub now: Timestamp,
    /// `metadata.generation` that was decided on.
    pub generation: i64,
    /// Whether the Application is being deleted.
    pub deleting: bool,
    /// The Application.
    pub owner: &'a Owner,
    /// The source: what it wants, or why it cannot be used.
    pub desired: Result<&'a Desired, &'a str>,
    /// Revision of the source.
    pub revision: Option<&'a str>,
    /// Live objects.
    pub members: &'a Members,
    /// Records and kinds.
    pub ledger: &'a Ledger,
    /// The attempt that runs.
    pub attempt: Option<&'a Attempt>,
    /// The operation that was asked for, while it runs.
    pub request: Option<&'a api::Operation>,
    /// The latest operation that is over or waits for its next attempt.
    pub last: Option<&'a OperationState>,
    /// The latest operation about the whole source.
    pub attempted: Option<&'a api::Attempted>,
    /// Ended operations, the latest first.
    pub history: &'a [api::HistoryEntry],
    /// The Namespace that is asked for with CreateNamespace=true: a member or not, it stays (O10).
    pub kept_destination: Option<&'a str>,
    /// Who undoes what self-heal does, if somebody does.
    pub contested: Option<&'a str>,
    /// Conditions of the last status.
    pub conditions: &'a [Condition],
}

impl Standing<'_> {
    /// Whether an object stays that is not in the source any more.
    fn keeps(&self, key: &ObjectKey) -> bool {
        key.kind.is("", "Namespace") && self.kept_destination == Some(&*key.name)
    }
}

/// What people read is cut to this many bytes; what recovery needs is not.
const READING_BUDGET: usize = 256 * 1024;
/// What an operation says is at most this long: its message, its line of the history, a row of it.
const LONGEST_MESSAGE: usize = 16 * 1024;
const LONGEST_LINE: usize = 1024;

/// The status.
pub fn status(standing: Standing<'_>) -> ApplicationStatus {
    let resources = resources(standing);
    let sync = sync_summary(standing, &resources);
    let health = health_summary(standing, &resources);
    let state = standing.attempt.map(|attempt| running_state(standing, attempt)).or_else(|| standing.last.cloned());
    let mut conditions = standing.conditions.to_vec();
    for (reason, message) in verdicts::verdicts(standing, &sync, &health, state.as_ref()) {
        conditions::set(&mut conditions, reason, &first_line(&message), Some(standing.generation), standing.now);
    }
    let total = i64::try_from(resources.len()).ok();
    let latest_id = state.as_ref().map(|state| state.id.clone());
    let mut status = ApplicationStatus {
        observed_generation: Some(standing.generation),
        conditions,
        sync: Some(sync),
        health: Some(health),
        operation_state: state,
        resources_total: total.filter(|total| *total > 0),
        resources: resources.into_iter().map(|resource| resource.row).collect(),
        hooks: records::hooks(standing.ledger, latest_id.as_deref()),
        inventory: inventory(standing.ledger),
        attempted: standing.attempted.cloned(),
        history: standing.history.to_vec(),
    };
    cut(&mut status);
    status
}

/// The final state of an operation that has ended.
pub fn ended_state(
    attempt: &Attempt,
    request: Option<&api::Operation>,
    phase: OperationPhase,
    message: &str,
    now: Timestamp,
) -> OperationState {
    let mut state = head(&attempt.operation, request, phase);
    let last = attempt.rows.last().map(|row| (row.phase, row.wave));
    state.message = Some(shortened(message, LONGEST_MESSAGE));
    state.finished_at = Some(now);
    state.stage = last
        .and_then(|(phase, wave)| stage::ended_stage(&attempt.plan, phase, wave, attempt.operation.attempt_started_at));
    state.sync_result = Some(rows::result(attempt, None));
    state
}

/// The state of an operation that failed before there was a plan.
pub fn unplanned_state(
    operation: &Operation,
    request: Option<&api::Operation>,
    message: &str,
    now: Timestamp,
) -> OperationState {
    let mut state = head(operation, request, OperationPhase::Failed);
    state.message = Some(shortened(message, LONGEST_MESSAGE));
    state.finished_at = Some(now);
    state
}

/// The state of an operation that waits to begin, or to begin again.
pub fn waiting_state(operation: &Operation, request: Option<&api::Operation>, message: &str) -> OperationState {
    let mut state = head(operation, request, OperationPhase::Running);
    state.message = Some(shortened(message, LONGEST_MESSAGE));
    state
}

/// The history row of an ended operation.
pub fn history_entry(state: &OperationState, now: Timestamp) -> api::HistoryEntry {
    // The failure that the message tells of is the first that has something to show.
    let rows = state.sync_result.iter().flat_map(|result| &result.resources);
    let failed = rows.filter(|row| row.status == Some(api::ResultStatus::SyncFailed));
    let shows = failed
        .filter(|_| state.phase != OperationPhase::Succeeded)
        .find(|row| row.log.is_some() || row.evidence.is_some());
    api::HistoryEntry {
        id: state.id.clone(),
        revision: state.revision.clone(),
        started_at: state.started_at,
        finished_at: state.finished_at.unwrap_or(now),
        phase: state.phase,
        message: state.message.as_deref().map(|message| shortened(message, LONGEST_LINE)),
        log: shows.and_then(|row| row.log.clone()),
        evidence: shows.and_then(|row| row.evidence.clone()),
        self_heals: state.self_heal.is_some().then_some(1),
    }
}

/// What a dry run has found, in one line; the rows tell it object by object.
pub fn previewed(attempt: &Attempt) -> String {
    let would = |word: &str| {
        let said = |row: &&super::attempt::Row| matches!(&row.finish, Finish::Skipped(note) if note.starts_with(word));
        attempt.rows.iter().filter(said).count()
    };
    format!(
        "dry run: {} would be created, {} changed, {} deleted, {} unchanged, {} {} would run; nothing was written",
        would("would be created"),
        would("would be changed") + would("would be deleted and made anew"),
        would("would be deleted") - would("would be deleted and made anew"),
        would("unchanged"),
        would("would run"),
        if would("would run") == 1 { "hook" } else { "hooks" },
    )
}

/// Adds an ended operation to the history, the latest first. A repair takes the place of the one before it, so that a fight about a field
/// does not push out the deployments.
pub fn remember(history: &mut Vec<api::HistoryEntry>, state: &OperationState, most: usize, now: Timestamp) {
    let mut entry = history_entry(state, now);
    let same = |before: &&api::HistoryEntry| (before.phase, &before.revision) == (entry.phase, &entry.revision);
    let repairs = history.first().filter(same).and_then(|before| Some(before.self_heals? + entry.self_heals?));
    if let Some(repairs) = repairs {
        entry.self_heals = Some(repairs);
        history.remove(0);
    }
    history.insert(0, entry);
    history.truncate(most);
}

/// The line that says where an attempt is and what it waits for (F76).
///
/// The cause of a failure stands before it while there is something left to do: a restart reads it there.
pub fn progress(attempt: &Attempt) -> String {
    let prefix = attempt.failure.as_ref().map(|failure| format!("{failure}; ")).unwrap_or_default();
    match &attempt.course {
        Course::Begin | Course::Rights => "checks the rights of the service account".to_owned(),
        Course::Rehearsal(rehearsal) => {
            format!("rehearses what will change: {} dry runs to go", rehearsal.open.len())
        }
        Course::Stage(running) | Course::SyncFail(running) => {
            let text = stage::stage_text(running.stage(&attempt.plan), running, &attempt.plan);
            let waiting: Vec<_> = running.runs.iter().filter(|run| !run.is_over()).collect();
            match waiting.iter().find_map(|run| Some((run, run.blocked.as_ref()?))) {
                Some((run, blocked)) => {
                    let more = waiting.len() - 1;
                    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
                    let until = run.deadline.map(|d| format!(", until {}", seconds(d))).unwrap_or_default();
                    format!(
                        "{prefix}{text} waits for {}: {} (since {}{until}){more}",
                        run.key,
                        blocked.reason,
                        seconds(blocked.since)
                    )
                }
                None => format!("{prefix}{text}"),
            }
        }
        Course::Tidying { .. } => format!("{prefix}cleans up after its hooks"),
        Course::Ended(_) => "has ended".to_owned(),
    }
}

/// What a plan made now would prune; what waits for a person's confirmation counts only if that is `approved`.
pub fn prunes(
    desired: &Desired,
    members: &Members,
    owner: &Owner,
    destination: &str,
    options: &Options,
    approved: bool,
) -> BTreeSet<ObjectKey> {
    let wanted: BTreeSet<_> = desired.manifests.iter().map(|manifest| &manifest.key).collect();
    let extra = members.iter().any(|(key, live)| live.is_member(owner) && live.hook.is_none() && !wanted.contains(key));
    if !extra {
        return BTreeSet::new();
    }
    Plan::sync(desired, members, owner, destination, options, &|_, _| None)
        .tasks()
        .filter(|task| matches!(task.work, super::plan::Work::Prune) && (approved || !task.prune.confirmed_first))
        .map(|task| task.key.clone())
        .collect()
}

struct Resource {
    row: api::ResourceStatus,
    message: String,
    counts: bool,
}

/// One row for each wanted plain object and each member that is not wanted any more, worst first.
fn resources(standing: Standing<'_>) -> Vec<Resource> {
    let mut rows = Vec::new();
    let mut wanted = BTreeSet::new();
    let manifests = standing.desired.map(|desired| desired.manifests.as_slice()).unwrap_or_default();
    for manifest in manifests.iter().filter(|manifest| manifest.settings.class == Class::Plain) {
        wanted.insert(&manifest.key);
        let live = standing.members.get(&manifest.key).filter(|live| live.is_member(standing.owner));
        let ended = live.is_none() && drift::has_ended(standing.ledger, manifest);
        let drifted = drift::drift(manifest, live.map(|live| &**live), standing.ledger, standing.owner).is_some();
        let verdict = live.and_then(|live| live.verdict.as_ref());
        let health = match (live, verdict) {
            _ if ended => Some(Health::Healthy),
            (None, _) => Some(Health::Missing),
            (Some(_), verdict) => verdict.map(|verdict| verdict.health),
        };
        let counts = !manifest.settings.ignore_health;
        let message = verdict.map(|verdict| verdict.message.clone()).unwrap_or_default();
        let synced = if drifted { SyncStatus::OutOfSync } else { SyncStatus::Synced };
        rows.push(Resource { row: resource(&manifest.key, synced, health, manifest.settings.wave), message, counts });
    }
    for manifest in manifests {
        wanted.insert(&manifest.key);
    }
    for (key, live) in standing.members {
        if !live.is_member(standing.owner) || live.hook.is_some() || wanted.contains(key) {
            continue;
        }
        let synced = match standing.desired {
            Ok(_) if live.ignore_extraneous || standing.keeps(key) => SyncStatus::Synced,
            Ok(_) => SyncStatus::OutOfSync,
            Err(_) => SyncStatus::Unknown,
        };
        let health = live.verdict.as_ref().map(|verdict| verdict.health);
        let message = live.verdict.as_ref().map(|verdict| verdict.message.clone()).unwrap_or_default();
        rows.push(Resource { row: resource(key, synced, health, live.wave), message, counts: !live.ignore_health });
    }
    rows.sort_by(|a, b| {
        let rank = |r: &Resource| (r.row.health.unwrap_or(HealthStatus::Healthy), r.row.status != SyncStatus::Synced);
        rank(b).cmp(&rank(a)).then_with(|| a.row.wave.cmp(&b.row.wave))
    });
    rows
}

fn resource(key: &ObjectKey, status: SyncStatus, health: Option<Health>, wave: i64) -> api::ResourceStatus {
    api::ResourceStatus {
        group: key.kind.group.to_string(),
        kind: key.kind.kind.to_string(),
        namespace: key.namespace.as_deref().map(str::to_owned),
        name: key.name.to_string(),
        status,
        health: health.map(health_word),
        wave,
    }
}

fn sync_summary(standing: Standing<'_>, resources: &[Resource]) -> api::SyncSummary {
    let status = match standing.desired {
        Err(_) => SyncStatus::Unknown,
        Ok(_) if resources.iter().all(|resource| resource.row.status == SyncStatus::Synced) => SyncStatus::Synced,
        Ok(_) => SyncStatus::OutOfSync,
    };
    api::SyncSummary { status, revision: standing.revision.map(str::to_owned) }
}

fn health_summary(standing: Standing<'_>, resources: &[Resource]) -> api::HealthSummary {
    let worst = resources.iter().filter(|r| r.counts).filter_map(|r| Some((r.row.health?, r))).max_by_key(|(h, _)| *h);
    let unknown = standing.desired.is_err() && resources.is_empty();
    match worst {
        None if unknown => api::HealthSummary { status: HealthStatus::Unknown, message: None },
        None | Some((HealthStatus::Healthy, _)) => api::HealthSummary { status: HealthStatus::Healthy, message: None },
        Some((status, resource)) => {
            let row = &resource.row;
            let key = ObjectKey::new(&row.group, &row.kind, row.namespace.as_deref(), &row.name);
            let said = match (&*resource.message, status) {
                ("", HealthStatus::Missing) => "is not there",
                ("", _) => status.as_str(),
                (message, _) => message,
            };
            api::HealthSummary { status, message: Some(shortened(&format!("{key}: {said}"), LONGEST_LINE)) }
        }
    }
}

fn running_state(standing: Standing<'_>, attempt: &Attempt) -> OperationState {
    let phase = if attempt.stop == Some(super::attempt::Stop::Terminate) {
        OperationPhase::Terminating
    } else {
        OperationPhase::Running
    };
    let mut state = head(&attempt.operation, standing.request, phase);
    state.message = Some(shortened(&progress(attempt), LONGEST_MESSAGE));
    state.first_write_at = standing.ledger.first_write();
    state.deadline = attempt
        .timeouts
        .sync
        .and_then(|timeout| attempt.operation.attempt_started_at.checked_add(timeout).ok())
        .map(|deadline| deadline.max(attempt.grace_until));
    let running = match &attempt.course {
        Course::Stage(running) | Course::SyncFail(running) => Some(running),
        Course::Begin | Course::Rights | Course::Rehearsal(_) | Course::Tidying { .. } | Course::Ended(_) => None,
    };
    state.stage = match running {
        Some(running) => Some(stage::stage_status(running, &attempt.plan)),
        // Between the stages (clean-up at the end) the last one stays shown.
        None => attempt.rows.last().and_then(|row| {
            stage::ended_stage(&attempt.plan, row.phase, row.wave, attempt.operation.attempt_started_at)
        }),
    };
    state.sync_result = Some(rows::result(attempt, running));
    state
}

fn head(operation: &Operation, request: Option<&api::Operation>, phase: OperationPhase) -> OperationState {
    OperationState {
        id: operation.id.clone(),
        attempt: operation.attempt,
        request_generation: operation.request_generation,
        operation: request.cloned(),
        phase,
        message: None,
        revision: Some(operation.revision.clone()),
        started_at: operation.started_at,
        attempt_started_at: Some(operation.attempt_started_at),
        first_write_at: None,
        finished_at: None,
        deadline: None,
        retry_at: None,
        retry_count: operation.attempt.saturating_sub(1),
        initiated_by: initiated_by(operation, request),
        self_heal: operation.heal.as_ref().map(|heal| heal.cause.clone()),
        stage: None,
        sync_result: None,
    }
}

fn initiated_by(operation: &Operation, request: Option<&api::Operation>) -> Option<api::InitiatedBy> {
    let username = operation.initiated_by.as_deref().map(harmless::line);
    let automated = username.is_none() && request.is_none() && !operation.deletion;
    (automated || username.is_some()).then_some(api::InitiatedBy { username, automated })
}

fn inventory(ledger: &Ledger) -> Option<api::Inventory> {
    let kinds: Vec<_> = ledger.kinds().iter().map(|kind| format!("{}/{}", kind.group, kind.kind)).collect();
    let namespaces: Vec<_> = ledger.namespaces().iter().cloned().collect();
    (!kinds.is_empty()).then_some(api::Inventory { kinds, namespaces })
}

/// Cuts what people read to its budget; totals stay exact.
fn cut(status: &mut ApplicationStatus) {
    let size = |status: &ApplicationStatus| {
        let rows = status.operation_state.as_ref().and_then(|state| state.sync_result.as_ref());
        serde_json::to_vec(&(&status.resources, rows, &status.history)).map_or(0, |bytes| bytes.len())
    };
    // A row has 200 bytes, and 5 KiB with all that it may say: below this nothing needs to be measured.
    let rows = status.operation_state.as_ref().and_then(|s| s.sync_result.as_ref()).map_or(0, |r| r.resources.len());
    if rows + status.resources.len() < 40 {
        return;
    }
    while size(status) > READING_BUDGET {
        let keep = status.resources.len() / 2;
        status.resources.truncate(keep);
        if let Some(result) = status.operation_state.as_mut().and_then(|state| state.sync_result.as_mut()) {
            result.resources.truncate(result.resources.len() / 2);
        }
        if keep == 0 {
            status.history.truncate(status.history.len() / 2);
        }
        if keep == 0 && status.history.is_empty() {
            break;
        }
    }
}

/// The word of a health on the wire.
pub fn health_word(health: Health) -> HealthStatus {
    match health {
        Health::Healthy => HealthStatus::Healthy,
        Health::Suspended => HealthStatus::Suspended,
        Health::Progressing => HealthStatus::Progressing,
        Health::Missing => HealthStatus::Missing,
        Health::Degraded => HealthStatus::Degraded,
        Health::Unknown => HealthStatus::Unknown,
    }
}

/// A time of the day, for messages.
pub fn seconds(time: Timestamp) -> String {
    time.strftime("%H:%M:%SZ").to_string()
}

/// Condition messages are one line of at most 1 KiB.
fn first_line(message: &str) -> String {
    shortened(&message.replace(['\n', '\t'], " "), LONGEST_LINE)
}

/// A text of at most `limit` bytes, harmless to who reads it.
fn shortened(text: &str, limit: usize) -> String {
    let mut text = harmless::text(text);
    if text.len() > limit {
        let mut end = limit - 3;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::lifecycle;
    use serde_json::json;

    fn ended(id: &str, heal: Option<&str>, phase: &str) -> OperationState {
        serde_json::from_value(json!({
            "id": id, "attempt": 1, "phase": phase, "message": id, "revision": "r", "retryCount": 0, "selfHeal": heal,
            "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z"
        }))
        .unwrap()
    }

    #[test]
    fn repairs_in_a_row_are_one_line_of_the_history() {
        let mut history = Vec::new();
        let runs = [
            ("a", None, "Succeeded"),
            ("b", Some("x"), "Succeeded"),
            ("c", Some("y"), "Succeeded"),
            ("d", Some("x"), "Failed"),
            ("e", None, "Succeeded"),
            ("f", None, "Succeeded"),
            ("g", Some("x"), "Succeeded"),
        ];
        for (id, heal, phase) in runs {
            remember(&mut history, &ended(id, heal, phase), 5, Timestamp::UNIX_EPOCH);
        }
        let told: Vec<_> = history.iter().map(|entry| (entry.id.as_str(), entry.self_heals)).collect();
        assert_eq!(told, [("g", Some(1)), ("f", None), ("e", None), ("d", Some(1)), ("c", Some(2))]);
    }

    #[test]
    fn h7_a_request_that_cannot_be_says_nothing_of_the_application() {
        let refused = |message: &str| {
            let mut state = ended("b", None, "Failed");
            state.message = Some(message.to_owned());
            state.operation = serde_json::from_value(json!({"sync": {"syncOptions": ["Prun=false"]}})).unwrap();
            lifecycle::is_refused_request(&state) && lifecycle::attempted(&state).is_none()
        };
        assert!(refused("operation.sync.syncOptions: \"Prun=false\" is not a sync option"));
        assert!(refused("operation.sync.resources[0]: the Application has no ConfigMap x"));
        assert!(!refused("the source holds no manifest"));
    }

    #[test]
    fn v32_who_undoes_self_heal_is_told_by_ready_and_stalled_and_kstatus_reads_it_as_failed() {
        let owner = Owner::new("shop", "app");
        let desired = Desired {
            revision: "r".to_owned(),
            manifests: Vec::new(),
            places: std::collections::BTreeMap::new(),
            warnings: Vec::new(),
        };
        let last = ended("a", Some("x"), "Succeeded");
        let standing = Standing {
            now: Timestamp::UNIX_EPOCH,
            generation: 1,
            deleting: false,
            owner: &owner,
            desired: Ok(&desired),
            revision: Some("r"),
            members: &Members::new(),
            ledger: &Ledger::default(),
            attempt: None,
            request: None,
            last: Some(&last),
            attempted: None,
            history: &[],
            kept_destination: None,
            contested: Some("Deployment shop/web was undone by hpa"),
            conditions: &[],
        };
        let told = |standing: Standing<'_>| -> Vec<String> {
            let conditions = status(standing).conditions;
            conditions.iter().map(|c| format!("{} {} {}: {}", c.type_, c.status, c.reason, c.message)).collect()
        };
        let contested = "Deployment shop/web was undone by hpa";
        assert_eq!(
            told(standing),
            [
                format!("Ready False OutOfSync: {contested}"),
                "Reconciling False Idle: self-heal waits before it tries again".to_owned(),
                format!("Stalled True Contested: {contested}"),
            ]
        );
        assert!(told(Standing { contested: None, ..standing })[0].starts_with("Ready True"));
    }
}

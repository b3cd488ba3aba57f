//! An Application as a tree: what it waits for or why it failed on top, then phases, stages and their objects.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;

use crate::api::{
    Application, ApplicationStatus, HealthStatus, HookPhase, OperationState, Phase, ResourceResult, ResourceStatus,
    ResultStatus,
};
use crate::cli::plan::text::name as shown;
use crate::cli::progress;
use crate::cli::show::{self, Look, Paint};

/// Log lines that are shown of the cause; `swell why` and `swell logs` show more.
const LOG_LINES: usize = 5;

/// The whole text, with a newline at its end.
pub(super) fn render(application: &Application, now: Timestamp, paint: Paint) -> String {
    let mut text = String::new();
    let metadata = &application.metadata;
    let title = format!("{}/{}", application.namespace(), metadata.name.as_deref().unwrap_or_default());
    let Some(status) = &application.status else {
        line(&mut text, &format!("{}  no operator has looked at it yet", paint.text(Look::Strong, &title)));
        return text;
    };
    let state = status.operation_state.as_ref();
    let word = state.map(|state| paint.word(&state.phase.to_string())).unwrap_or_default();
    line(&mut text, &format!("{}  {word}", paint.text(Look::Strong, &title)));
    let mut facts = Facts::default();
    top(application, status, &mut facts, now, paint);
    if let Some(state) = state {
        operation(state, &mut facts, now);
    }
    summary(status, &mut facts, paint);
    facts.write(&mut text);
    if let Some(state) = state {
        waits(state, &mut text, now, paint);
    }
    stages(status, &mut text, now, paint);
    text
}

/// What stands on top, word and text.
#[derive(Default)]
struct Facts(Vec<(&'static str, String)>);

impl Facts {
    fn add(&mut self, word: &'static str, text: impl Into<String>) {
        let text = text.into();
        if !text.is_empty() {
            self.0.push((word, text));
        }
    }

    fn write(&self, text: &mut String) {
        for (word, said) in &self.0 {
            for (number, part) in said.lines().enumerate() {
                line(text, &format!("  {:<10} {part}", if number == 0 { word } else { "" }));
            }
        }
    }
}

/// The cause first, when something has failed or stands still.
fn top(application: &Application, status: &ApplicationStatus, facts: &mut Facts, now: Timestamp, paint: Paint) {
    if let Some(at) = &application.metadata.deletion_timestamp {
        facts.add("Deleting", format!("since {}", show::age(at.0, now)));
    }
    let state = status.operation_state.as_ref();
    if let Some(state) =
        state.filter(|state| state.phase.is_ended() && state.phase != crate::api::OperationPhase::Succeeded)
    {
        facts.add("Cause", paint.text(Look::Bad, state.message.as_deref().unwrap_or_default()));
        if let Some(log) = rows(state).iter().find(|row| is_failed(row)).and_then(|row| row.log.as_deref()) {
            let lines: Vec<_> = log.lines().collect();
            facts.add("Log", paint.text(Look::Faint, &lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")));
        }
    } else if let Some(state) = state.filter(|state| !state.phase.is_ended()) {
        facts.add("Doing", state.message.as_deref().unwrap_or_default());
    }
    let stalled = status.conditions.iter().find(|c| c.type_ == "Stalled" && c.status == "True");
    if let Some(condition) = stalled.filter(|c| state.is_none_or(|state| state.message.as_ref() != Some(&c.message))) {
        facts.add("Stalled", paint.text(Look::Bad, &format!("{}: {}", condition.reason, condition.message)));
    }
    if status.observed_generation != application.metadata.generation {
        facts.add("Pending", "the operator has not looked at the newest generation yet");
    }
    if let Some(asked) = &application.operation {
        let what = if asked.terminate.is_some() { "its end" } else { "a sync" };
        facts.add("Request", format!("{what}, not taken up yet"));
    }
}

fn operation(state: &OperationState, facts: &mut Facts, now: Timestamp) {
    let mut parts = vec![state.id.clone()];
    if state.attempt > 1 || state.retry_at.is_some() {
        parts.push(format!("attempt {}", state.attempt));
    }
    match state.initiated_by.as_ref() {
        Some(by) if by.automated => parts.push("by itself".to_owned()),
        Some(by) => parts.extend(by.username.as_ref().map(|name| format!("by {name}"))),
        None => {}
    }
    parts.push(format!("started {} ago", show::age(state.started_at, now)));
    match (state.finished_at, state.retry_at) {
        (_, Some(at)) => parts.push(format!("next attempt in {}", show::age(now, at))),
        (Some(end), None) => parts.push(format!("took {}", show::age(state.started_at, end))),
        (None, None) => parts.extend(state.deadline.map(|deadline| format!("fails in {}", show::age(now, deadline)))),
    }
    facts.add("Operation", parts.join(", "));
    facts.add("Self-heal", state.self_heal.clone().unwrap_or_default());
}

fn summary(status: &ApplicationStatus, facts: &mut Facts, paint: Paint) {
    if let Some(sync) = &status.sync {
        let revision = sync.revision.as_deref().map(|revision| format!("  revision {revision}")).unwrap_or_default();
        facts.add("Sync", format!("{}{revision}", paint.word(&sync.status.to_string())));
    }
    if let Some(health) = &status.health {
        let why =
            health.message.as_deref().filter(|why| !why.is_empty()).map(|why| format!(": {why}")).unwrap_or_default();
        facts.add("Health", format!("{}{why}", paint.word(&health.status.to_string())));
    }
}

fn waits(state: &OperationState, text: &mut String, now: Timestamp, paint: Paint) {
    let Some(stage) = state.stage.as_ref().filter(|stage| !state.phase.is_ended() && !stage.blocked_on.is_empty())
    else {
        return;
    };
    let limit = stage.deadline.map(|end| format!(", at most {} more", show::age(now, end))).unwrap_or_default();
    let total = stage.blocked_total.unwrap_or_default();
    let more = usize::try_from(total).unwrap_or(0).saturating_sub(stage.blocked_on.len());
    line(text, &format!("\n{} for {}{limit}", paint.text(Look::Strong, "Waits"), show::age(stage.since, now)));
    for blocked in &stage.blocked_on {
        let (kind, name) = shown(&blocked.group, &blocked.kind, blocked.namespace.as_deref(), &blocked.name);
        let since = blocked.since.map(|since| format!(" for {}", show::age(since, now))).unwrap_or_default();
        let why = blocked.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        line(text, &format!("  {kind} {name}  {}{since}{why}", paint.word(&blocked.health.to_string())));
    }
    if more > 0 {
        line(text, &format!("  and {more} more"));
    }
}

fn rows(state: &OperationState) -> &[ResourceResult] {
    state.sync_result.as_ref().map(|result| result.resources.as_slice()).unwrap_or_default()
}

/// Whether a row tells of a failure.
pub(super) fn is_failed(row: &ResourceResult) -> bool {
    row.status == Some(ResultStatus::SyncFailed) || matches!(row.hook_phase, Some(HookPhase::Failed | HookPhase::Error))
}

/// What an object is known by in rows and in the list of objects.
type Name<'a> = (&'a str, &'a str, Option<&'a str>, &'a str);

fn stages(status: &ApplicationStatus, text: &mut String, now: Timestamp, paint: Paint) {
    let health: BTreeMap<Name<'_>, &ResourceStatus> =
        status.resources.iter().map(|r| ((&*r.group, &*r.kind, r.namespace.as_deref(), &*r.name), r)).collect();
    let name = |row: &ResourceResult| -> (String, String, Option<String>, String) {
        (row.group.clone(), row.kind.clone(), row.namespace.clone(), row.name.clone())
    };
    let mut stages: BTreeMap<(Option<Phase>, i64), Vec<&ResourceResult>> = BTreeMap::new();
    let mut told = std::collections::BTreeSet::new();
    let state = status.operation_state.as_ref();
    for row in state.map(rows).unwrap_or_default() {
        // What has no phase comes last.
        stages.entry((row.sync_phase, row.wave)).or_default().push(row);
        told.insert(name(row));
    }
    let mut table = Vec::new();
    let mut headings = Vec::new();
    let order = |key: &(Option<Phase>, i64)| (key.0.is_none(), key.0, key.1);
    let mut keys: Vec<_> = stages.keys().copied().collect();
    keys.sort_by_key(order);
    for key in keys {
        let rows = &stages[&key];
        headings.push((heading(key, rows, state, now), rows.len()));
        for row in rows {
            let live = health.get(&(&*row.group, &*row.kind, row.namespace.as_deref(), &*row.name)).copied();
            table.push(object(row, live, now));
        }
    }
    let others: Vec<_> = status
        .resources
        .iter()
        .filter(|r| !told.contains(&(r.group.clone(), r.kind.clone(), r.namespace.clone(), r.name.clone())))
        .collect();
    if !others.is_empty() {
        headings.push((if told.is_empty() { "Objects".to_owned() } else { "Other objects".to_owned() }, others.len()));
        for other in others {
            let (kind, name) = shown(&other.group, &other.kind, other.namespace.as_deref(), &other.name);
            table.push([
                mark(other.health),
                kind,
                name,
                other.status.to_string(),
                word(other.health),
                String::new(),
                String::new(),
            ]);
        }
    }
    let lines = show::columns(&table, paint, |column, cell| match column {
        0 | 3 | 4 => Look::of(cell),
        6 => Look::Faint,
        _ => Look::Plain,
    });
    let mut lines = lines.into_iter();
    for (heading, count) in headings {
        line(text, &format!("\n{}", paint.text(Look::Strong, &heading)));
        for row in lines.by_ref().take(count) {
            line(text, &format!("  {row}"));
        }
    }
    let total =
        |total: Option<i64>, shown: usize| usize::try_from(total.unwrap_or(0)).unwrap_or(0).saturating_sub(shown);
    let result = state.and_then(|state| state.sync_result.as_ref());
    let cut = result.map_or(0, |result| total(result.resources_total, result.resources.len()));
    if cut > 0 {
        line(text, &format!("  and {cut} more, for which the status has no room"));
    }
    let cut = total(status.resources_total, status.resources.len());
    if cut > 0 && result.is_none() {
        line(text, &format!("  and {cut} more, for which the status has no room"));
    }
}

fn heading(
    (phase, wave): (Option<Phase>, i64),
    rows: &[&ResourceResult],
    state: Option<&OperationState>,
    now: Timestamp,
) -> String {
    let Some(phase) = phase else { return "Without a stage".to_owned() };
    let began = rows.iter().filter_map(|row| row.started_at).min();
    let running = rows.iter().any(|row| row.started_at.is_some() && row.finished_at.is_none());
    let ended = rows.iter().filter_map(|row| row.finished_at).max();
    let ends = if running && state.is_some_and(|state| !state.phase.is_ended()) { Some(now) } else { ended };
    let took = began.zip(ends).map(|(began, end)| format!("  {}", show::age(began, end))).unwrap_or_default();
    let done = rows.iter().filter(|row| row.finished_at.is_some()).count();
    let progress = if running { format!("  {done}/{}", rows.len()) } else { String::new() };
    format!("{phase} wave {wave}{progress}{took}")
}

fn object(row: &ResourceResult, live: Option<&ResourceStatus>, now: Timestamp) -> [String; 7] {
    let (kind, name) = shown(&row.group, &row.kind, row.namespace.as_deref(), &row.name);
    let hook = if row.hook_type.is_some() { format!("{kind} (hook)") } else { kind };
    let state = match (row.hook_type, row.hook_phase, row.status) {
        (Some(_), Some(phase), _) | (None, Some(phase), None) => phase.to_string(),
        (_, _, Some(status)) => status.to_string(),
        (_, None, None) => String::new(),
    };
    let health = live.and_then(|live| live.health);
    let sign = match (is_failed(row), row.finished_at, row.started_at) {
        (true, ..) => "✗",
        (false, Some(_), _) => "✓",
        (false, None, Some(_)) => "●",
        (false, None, None) => "·",
    };
    let took = row.started_at.map(|began| show::age(began, row.finished_at.unwrap_or(now))).unwrap_or_default();
    let message = row.message.as_deref().and_then(|message| message.lines().next()).unwrap_or_default();
    [sign.to_owned(), hook, name, state, word(health), took, message.to_owned()]
}

fn mark(health: Option<HealthStatus>) -> String {
    match health {
        Some(HealthStatus::Healthy) | None => "✓",
        Some(HealthStatus::Degraded) => "✗",
        Some(HealthStatus::Progressing) => "●",
        Some(HealthStatus::Suspended | HealthStatus::Missing | HealthStatus::Unknown) => "·",
    }
    .to_owned()
}

fn word(health: Option<HealthStatus>) -> String {
    health.map(|health| health.to_string()).unwrap_or_default()
}

/// What is different from one state to the next, a line each: for those who follow in a pipe.
pub(super) fn changes(before: Option<&Application>, now: &Application) -> Vec<String> {
    let mut lines = Vec::new();
    let line = progress::place(now);
    if before.map(progress::place).as_ref() != Some(&line) {
        lines.push(line);
    }
    let of = |application: &Application| -> Vec<ResourceResult> {
        let state = application.status.as_ref().and_then(|status| status.operation_state.as_ref());
        state.map(rows).unwrap_or_default().to_vec()
    };
    let known: Vec<_> = before.map(of).unwrap_or_default();
    for row in of(now) {
        let same = |other: &&ResourceResult| {
            (&other.group, &other.kind, &other.namespace, &other.name, other.sync_phase)
                == (&row.group, &row.kind, &row.namespace, &row.name, row.sync_phase)
        };
        let was = known.iter().find(same);
        if was
            .is_some_and(|was| (was.status, was.hook_phase, &was.message) == (row.status, row.hook_phase, &row.message))
        {
            continue;
        }
        let [sign, kind, name, state, _, _, message] = object(&row, None, Timestamp::UNIX_EPOCH);
        let place = row.sync_phase.map(|phase| format!("{phase} wave {}  ", row.wave)).unwrap_or_default();
        let mut text = format!("{sign} {place}{kind} {name}");
        for part in [state, message].iter().filter(|part| !part.is_empty()) {
            let _ = write!(text, "  {part}");
        }
        lines.push(text);
    }
    lines
}

fn line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn application() -> Application {
        serde_json::from_value(json!({
            "apiVersion": "swell.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": "shop", "namespace": "shop", "generation": 2}, "spec": {"source": {"inline": ""}},
            "status": {
                "observedGeneration": 2,
                "sync": {"status": "OutOfSync", "revision": "7f00a88a"},
                "health": {"status": "Progressing", "message": "Deployment shop/web: 1 of 3 replicas"},
                "operationState": {
                    "id": "mwux", "attempt": 1, "retryCount": 0, "phase": "Running", "startedAt": "2026-01-01T00:00:00Z",
                    "deadline": "2026-01-01T00:30:00Z", "initiatedBy": {"username": "ann"}, "message": "Sync 1 (2/3)",
                    "stage": {"phase": "Sync", "wave": 1, "index": 2, "total": 3, "text": "Sync 1 (2/3)", "since": "2026-01-01T00:00:05Z",
                        "deadline": "2026-01-01T00:05:05Z", "blockedTotal": 2, "blockedOn": [
                            {"group": "apps", "kind": "Deployment", "namespace": "shop", "name": "web", "health": "Progressing",
                             "reason": "1 of 3 replicas are ready", "since": "2026-01-01T00:00:06Z"}]},
                    "syncResult": {"resourcesTotal": 3, "resources": [
                        {"group": "apps", "version": "v1", "kind": "Deployment", "namespace": "shop", "name": "web", "syncPhase": "Sync", "wave": 1,
                         "status": "Synced", "hookPhase": "Running", "startedAt": "2026-01-01T00:00:05Z"},
                        {"group": "batch", "version": "v1", "kind": "Job", "namespace": "shop", "name": "migrate", "syncPhase": "PreSync", "wave": 0,
                         "hookType": "PreSync", "status": "Synced", "hookPhase": "Succeeded", "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:04Z"}
                    ]}
                },
                "resources": [{"group": "apps", "kind": "Deployment", "namespace": "shop", "name": "web", "status": "Synced", "health": "Progressing"},
                    {"kind": "Service", "namespace": "shop", "name": "web", "status": "OutOfSync", "health": "Healthy"}]
            }
        }))
        .unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_running_operation_shows_what_it_waits_for_before_its_stages_in_the_order_of_execution() {
        let text = render(&application(), at("2026-01-01T00:00:20Z"), Paint::none());
        let expected = "\
shop/shop  Running
  Doing      Sync 1 (2/3)
  Operation  mwux, by ann, started 20s ago, fails in 29m
  Sync       OutOfSync  revision 7f00a88a
  Health     Progressing: Deployment shop/web: 1 of 3 replicas

Waits for 15s, at most 4m45s more
  Deployment shop/web  Progressing for 14s: 1 of 3 replicas are ready
  and 1 more

PreSync wave 0  4s
  ✓  Job (hook)  shop/migrate  Succeeded               4s

Sync wave 1  0/1  15s
  ●  Deployment  shop/web      Synced     Progressing  15s

Other objects
  ✓  Service     shop/web      OutOfSync  Healthy
  and 1 more, for which the status has no room
";
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn a_failed_operation_begins_with_its_cause_and_the_last_words() {
        let mut application = application();
        let state = application.status.as_mut().unwrap().operation_state.as_mut().unwrap();
        state.phase = crate::api::OperationPhase::Failed;
        state.message = Some("PreSync wave 0 failed: Job shop/migrate: exit code 3".to_owned());
        state.finished_at = Some(at("2026-01-01T00:00:09Z"));
        let row = &mut state.sync_result.as_mut().unwrap().resources[1];
        row.hook_phase = Some(HookPhase::Failed);
        row.log = Some((1..=9).map(|n| format!("line {n}")).collect::<Vec<_>>().join("\n"));
        let text = render(&application, at("2026-01-01T00:01:00Z"), Paint::none());
        let top: Vec<_> = text.lines().take(7).collect();
        assert_eq!(top[1], "  Cause      PreSync wave 0 failed: Job shop/migrate: exit code 3");
        assert_eq!((top[2], top[6]), ("  Log        line 5", "             line 9"));
        assert!(text.contains("took 9s"), "{text}");
        assert!(!text.contains("Waits"), "{text}");
    }

    #[test]
    fn in_a_pipe_each_change_is_a_line_and_what_stays_is_none() {
        let before = application();
        assert_eq!(changes(Some(&before), &before), Vec::<String>::new());
        let mut after = before.clone();
        let state = after.status.as_mut().unwrap().operation_state.as_mut().unwrap();
        let row = &mut state.sync_result.as_mut().unwrap().resources[0];
        row.hook_phase = Some(HookPhase::Succeeded);
        row.finished_at = Some(at("2026-01-01T00:00:30Z"));
        assert_eq!(changes(Some(&before), &after), ["✓ Sync wave 1  Deployment shop/web  Synced"]);
        assert_eq!(changes(None, &before)[0], "Running Sync 1 (2/3)");
    }
}

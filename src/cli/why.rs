//! `swell why`: the cause, what shows it, and what to do next, in ten lines.

mod advice;

use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;

use super::cluster::{ClusterArgs, block_on};
use super::format::Format;
use super::show::{self, Look, Paint};
use crate::api::{Application, BlockedOn, Evidence, OperationPhase, OperationState, ResourceResult, ResultStatus};
use crate::cli::plan::text::name as shown;

/// Tell why an Application has failed, or what it waits for: the cause, the evidence, and what to do next.
///
/// Ends as `swell status` does: 0 when it is Ready, 3 while something is on its way, 4 when it has failed, 5 when nothing can be told.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The Application.
    #[arg(value_name = "APPLICATION")]
    name: String,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How it is told.
    #[arg(long, short = 'o', value_enum, default_value = "text")]
    output: Format,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let application = block_on(async {
        let cluster = args.cluster.connect().await?;
        cluster.application(&cluster.owner(&args.name)).await
    })?;
    let told = told(&application, Timestamp::now());
    args.output.print(&told, |told| text(told, Paint::stdout()))?;
    Ok(super::status::standing(&application).into())
}

/// What there is to tell.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    /// The Application, `namespace/name`.
    application: String,
    /// How it stands, in a word or two: `failed`, `waits`, `is well`.
    standing: &'static str,
    /// The cause, in one line.
    cause: String,
    /// What shows it: the pod, its last words, Events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<String>,
    /// What to do next.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    next: Vec<String>,
}

/// Lines of log, and Events, that are told: the whole answer has ten lines.
const LOG_LINES: usize = 3;
const EVENTS: usize = 2;

fn told(application: &Application, now: Timestamp) -> Told {
    let name = application.metadata.name.as_deref().unwrap_or_default();
    let title = format!("{}/{name}", application.namespace());
    let mut told =
        Told { application: title, standing: "", cause: String::new(), evidence: Vec::new(), next: Vec::new() };
    let Some(status) = &application.status else {
        told.standing = "waits";
        "no operator has looked at it yet".clone_into(&mut told.cause);
        told.next.push("See whether the operator runs: kubectl get pods -n swell-system".to_owned());
        return told;
    };
    let stalled = status.conditions.iter().find(|c| c.type_ == "Stalled" && c.status == "True");
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
    let state = status.operation_state.as_ref();
    let running = state.filter(|state| !state.phase.is_ended());
    if let Some(blocked) = running.and_then(|state| state.stage.as_ref()?.blocked_on.first()) {
        waits(application, &mut told, running, blocked, now);
        return told;
    }
    let failed = state.filter(|state| state.phase.is_ended() && state.phase != OperationPhase::Succeeded);
    let unusable = stalled.filter(|c| c.reason == "SourceUnusable" || c.reason == "InvalidManifest");
    match (unusable, running, failed) {
        (Some(condition), ..) => {
            told.standing = "failed";
            first_line(&mut told, &condition.message);
        }
        (None, Some(state), _) => {
            told.standing = if state.retry_at.is_some() { "failed" } else { "is at work" };
            first_line(&mut told, state.message.as_deref().unwrap_or_default());
            evidence_of(&mut told, state);
            if let Some(at) = state.retry_at {
                told.next.push(format!(
                    "It is tried again in {} by itself; `swell retry {name}` does it now.",
                    show::age(now, at)
                ));
            }
        }
        (None, None, Some(state)) => {
            told.standing = "failed";
            first_line(&mut told, state.message.as_deref().unwrap_or_default());
            evidence_of(&mut told, state);
        }
        (None, None, None) => {
            let is_ready = ready.is_some_and(|c| c.status == "True");
            told.standing = if is_ready { "is well" } else { "is not ready" };
            let message = stalled.or(ready).map(|c| c.message.clone()).unwrap_or_default();
            first_line(&mut told, &message);
            if is_ready {
                return told;
            }
        }
    }
    let row = failed.or(running).and_then(failed_row);
    advice::add(
        application,
        &mut told,
        row.and_then(|row| row.evidence.as_ref()),
        row.map(|row| (&*row.kind, &*row.name)),
    );
    told
}

fn waits(
    application: &Application,
    told: &mut Told,
    running: Option<&OperationState>,
    blocked: &BlockedOn,
    now: Timestamp,
) {
    let (kind, name) = shown(&blocked.group, &blocked.kind, blocked.namespace.as_deref(), &blocked.name);
    told.standing = "waits";
    let reason = blocked.reason.clone().unwrap_or_else(|| blocked.health.to_string());
    first_line(told, &format!("for {kind} {name}: {reason}"));
    let stage = running.and_then(|state| state.stage.as_ref());
    let since = blocked.since.map(|since| format!("for {}", show::age(since, now)));
    let until = blocked
        .deadline
        .or(stage.and_then(|stage| stage.deadline))
        .map(|end| format!("fails in {}", show::age(now, end)));
    let goes_on = blocked.released_by.as_ref().map(|by| format!("goes on with {by}"));
    let parts: Vec<_> = [stage.map(|stage| stage.text.clone()), since, until, goes_on].into_iter().flatten().collect();
    told.evidence.push(parts.join(", "));
    let more = stage.and_then(|stage| stage.blocked_total).unwrap_or(1) - 1;
    if more > 0 {
        told.evidence.push(format!(
            "{more} more objects are waited for: swell status {}",
            application.metadata.name.as_deref().unwrap_or_default()
        ));
    }
    advice::add(application, told, None, Some((&*blocked.kind, &*blocked.name)));
}

/// The first line is the cause, the others are evidence.
fn first_line(told: &mut Told, message: &str) {
    let mut lines = message.lines();
    lines.next().unwrap_or_default().clone_into(&mut told.cause);
    told.evidence.extend(lines.take(LOG_LINES).map(str::to_owned));
}

fn failed_row(state: &OperationState) -> Option<&ResourceResult> {
    let rows = || state.sync_result.iter().flat_map(|result| &result.resources);
    let failed = |row: &&ResourceResult| row.status == Some(ResultStatus::SyncFailed);
    rows().filter(failed).find(|row| row.log.is_some() || row.evidence.is_some()).or_else(|| rows().find(failed))
}

fn evidence_of(told: &mut Told, state: &OperationState) {
    let Some(row) = failed_row(state) else { return };
    if let Some(Evidence { pod: Some(pod), container, exit_code, reason, .. }) = &row.evidence {
        let container = container.as_ref().map(|container| format!(", container {container}")).unwrap_or_default();
        let code = exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
        let reason = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        told.evidence.push(format!("pod {pod}{container}{code}{reason}"));
    }
    if let Some(log) = &row.log {
        let lines: Vec<_> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        told.evidence.extend(lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|line| format!("log: {line}")));
    }
    let events = row.evidence.as_ref().map(|evidence| evidence.events.as_slice()).unwrap_or_default();
    told.evidence.extend(events[events.len().saturating_sub(EVENTS)..].iter().map(|event| format!("event: {event}")));
}

fn text(told: &Told, paint: Paint) -> String {
    let look = match told.standing {
        "failed" | "is not ready" => Look::Bad,
        "is well" => Look::Good,
        _ => Look::Pending,
    };
    let mut lines = vec![format!("{} {}: {}", told.application, paint.text(look, told.standing), told.cause)];
    lines.extend(told.evidence.iter().map(|line| format!("  {line}")));
    lines.extend(told.next.iter().map(|line| paint.text(Look::Strong, &format!("→ {line}"))));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn application(status: &Value) -> Application {
        serde_json::from_value(json!({
            "apiVersion": "swell.dev/v1alpha1", "kind": "Application", "metadata": {"name": "shop", "namespace": "shop"},
            "spec": {"source": {"inline": ""}}, "status": status
        }))
        .unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_failed_hook_is_told_with_its_pod_its_last_words_and_what_to_do() {
        let log = (1..=20).map(|n| format!("line {n}")).collect::<Vec<_>>().join("\n");
        let status = json!({"operationState": {
            "id": "a", "attempt": 1, "retryCount": 0, "phase": "Failed", "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:09Z",
            "message": "PreSync wave 0 failed: Job shop/migrate: container migrate exited with code 3 (Error): column is null",
            "syncResult": {"resources": [{"group": "batch", "version": "v1", "kind": "Job", "namespace": "shop", "name": "migrate", "status": "SyncFailed",
                "log": log, "evidence": {"pod": "migrate-x", "container": "migrate", "exitCode": 3, "reason": "Error", "events": ["BackoffLimitExceeded: reached"]}}]}
        }});
        let text = text(&told(&application(&status), at("2026-01-01T00:01:00Z")), Paint::none());
        let expected = "\
shop/shop failed: PreSync wave 0 failed: Job shop/migrate: container migrate exited with code 3 (Error): column is null
  pod migrate-x, container migrate, exit code 3 (Error)
  log: line 18
  log: line 19
  log: line 20
  event: BackoffLimitExceeded: reached
→ Correct what the log tells (all of it: swell logs shop -n shop), and apply the manifest; or try the same again: swell retry shop -n shop
";
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn a_wait_is_told_with_its_limit_and_what_lets_it_go_on() {
        let status = json!({"operationState": {
            "id": "a", "attempt": 1, "retryCount": 0, "phase": "Running", "startedAt": "2026-01-01T00:00:00Z",
            "stage": {"phase": "Sync", "wave": 0, "index": 1, "total": 2, "text": "Sync 0 (1/2)", "since": "2026-01-01T00:00:00Z", "blockedTotal": 3,
                "blockedOn": [{"group": "apps", "kind": "Deployment", "namespace": "shop", "name": "web", "health": "Progressing", "since": "2026-01-01T00:00:10Z",
                    "reason": "0 of 1 replicas available; container web waits: ImagePullBackOff: not found", "deadline": "2026-01-01T00:10:00Z",
                    "releasedBy": "the Deployment being Healthy"}]}
        }});
        let text = text(&told(&application(&status), at("2026-01-01T00:01:00Z")), Paint::none());
        let expected = "\
shop/shop waits: for Deployment shop/web: 0 of 1 replicas available; container web waits: ImagePullBackOff: not found
  Sync 0 (1/2), for 50s, fails in 9m, goes on with the Deployment being Healthy
  2 more objects are waited for: swell status shop
→ Correct the image's name or tag in the manifest, or let the cluster pull it (imagePullSecrets of the pod or of its service account).
";
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn one_that_is_well_is_told_in_one_line() {
        let status = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "Healthy", "message": "synced and healthy",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        assert_eq!(
            text(&told(&application(&status), at("2026-01-01T00:01:00Z")), Paint::none()),
            "shop/shop is well: synced and healthy\n"
        );
    }
}

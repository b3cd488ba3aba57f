//! Why a hook or workload failed, as its pods show it: container, exit code or waiting reason, last words. Read as the
//! Application's account, so nothing is shown that the account may not read.

mod pods;

use serde_json::Value;

use super::client::Calls;
use crate::api;
use crate::engine::action::Evidence;
use crate::engine::object::ObjectKey;

/// Log lines that are kept.
const LINES: usize = 20;
/// Bytes of log that are kept of one container.
const LOG_BYTES: usize = 4 * 1024;

/// Containers of one pod whose logs are kept.
const MOST_LOGS: usize = 3;
/// Warning Events that are kept.
const MOST_EVENTS: usize = 5;
/// Bytes of one Event that are kept.
const EVENT_BYTES: usize = 512;

/// Gathers the evidence about an object. What cannot be read is left out: a failure is told without it rather than not at all.
/// Without `logs`, nothing that a container has said is read or passed on.
pub async fn collect(calls: &Calls, key: &ObjectKey, uid: &str, logs: bool) -> Evidence {
    let Some(namespace) = key.namespace.as_deref() else { return Evidence::default() };
    let pods::Pods { pods, maker } = pods::of(calls, key, namespace, uid).await;
    let trouble = pods.iter().filter_map(Trouble::of).max_by(|a, b| a.rank.cmp(&b.rank).then_with(|| a.at.cmp(&b.at)));
    let mut about = vec![uid, &*maker];
    about.extend(trouble.as_ref().map(|trouble| &*trouble.uid));
    let events = warnings(calls, namespace, &about).await;
    match trouble {
        Some(trouble) => tell(calls, namespace, trouble, events, logs).await,
        None => Evidence {
            summary: events.last().cloned().unwrap_or_default(),
            log: None,
            detail: (!events.is_empty()).then(|| Box::new(api::Evidence { events, ..api::Evidence::default() })),
        },
    }
}

/// The logs of all containers of an object's pods, as they are now: the place (`pod, container`) and the text. What a container has not
/// begun to say is left out.
pub async fn live_logs(calls: &Calls, key: &ObjectKey, uid: &str, lines: u32) -> Result<Vec<(String, String)>, String> {
    let Some(namespace) = key.namespace.as_deref() else { return Ok(Vec::new()) };
    let pods::Pods { pods, .. } = pods::of(calls, key, namespace, uid).await;
    let mut logs = Vec::new();
    for pod in &pods {
        let name = pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"].into_iter();
        let statuses = statuses.filter_map(|pointer| pod.pointer(pointer)?.as_array()).flatten();
        for status in statuses.filter(|status| status.pointer("/state/waiting").is_none()) {
            let container = status.get("name").and_then(Value::as_str).unwrap_or_default();
            let path =
                format!("/api/v1/namespaces/{namespace}/pods/{name}/log?container={container}&tailLines={lines}");
            let text = calls.text(path, usize::MAX).await.map_err(|fault| fault.message)?;
            let text: Vec<_> = text.lines().map(harmless).collect();
            if !text.is_empty() {
                logs.push((format!("pod {name}, container {container}"), text.join("\n")));
            }
        }
    }
    Ok(logs)
}

/// What is wrong with one pod, by its worst container.
struct Trouble {
    pod: String,
    uid: String,
    container: Option<String>,
    exit_code: Option<i64>,
    reason: Option<String>,
    said: String,
    last_words: Option<String>,
    /// The containers that have something to say about it.
    logs: Vec<String>,
    rank: u8,
    at: String,
}

impl Trouble {
    /// The worst container of a pod; nothing where all is well.
    fn of(pod: &Value) -> Option<Self> {
        let name = pod.pointer("/metadata/name")?.as_str()?;
        let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"]
            .into_iter()
            .filter_map(|pointer| pod.pointer(pointer)?.as_array())
            .flatten();
        let mut found: Vec<_> = statuses.filter_map(|status| Self::of_container(name, status)).collect();
        // The first of the worst: one that has failed for another's failure comes later.
        found.sort_by_key(|trouble| std::cmp::Reverse(trouble.rank));
        let failed: Vec<_> = found.iter().flat_map(|trouble| trouble.logs.clone()).take(MOST_LOGS).collect();
        let worst = found.into_iter().next().map(|worst| Self { logs: failed, ..worst });
        let uid = pod.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
        worst.or_else(|| Self::unscheduled(name, pod)).map(|trouble| Self { uid: uid.to_owned(), ..trouble })
    }

    fn of_container(pod: &str, status: &Value) -> Option<Self> {
        let container = status.get("name")?.as_str()?.to_owned();
        let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
        let trouble = |said: String, reason: Option<String>, rank: u8| Self {
            pod: pod.to_owned(),
            uid: String::new(),
            container: Some(container.clone()),
            exit_code: None,
            reason: reason.filter(|reason| !reason.is_empty()),
            said,
            last_words: None,
            logs: Vec::new(),
            rank,
            at: String::new(),
        };
        let ended = |state: &Value, rank: u8, prefix: Option<&str>| {
            let code = state.get("exitCode").and_then(Value::as_i64)?;
            let reason = text(state, "reason").unwrap_or_default();
            let told = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
            let before = prefix.map(|prefix| format!("{prefix}: ")).unwrap_or_default();
            let said = format!("{before}container {container} exited with code {code}{told}");
            (code != 0 || rank > 2).then(|| Self {
                exit_code: Some(code),
                last_words: text(state, "message").filter(|message| !message.trim().is_empty()),
                logs: vec![container.clone()],
                at: text(state, "finishedAt").unwrap_or_default(),
                ..trouble(said, prefix.map(str::to_owned).or(Some(reason)), rank)
            })
        };
        if let Some(state) = status.pointer("/state/terminated") {
            return ended(state, 3, None).filter(|ended| ended.exit_code != Some(0));
        }
        let Some(waiting) = status.pointer("/state/waiting") else {
            let unready =
                status.pointer("/state/running").is_some() && status.get("ready") == Some(&Value::Bool(false));
            return unready.then(|| trouble(format!("container {container} runs, but is not ready"), None, 1));
        };
        let reason = text(waiting, "reason")?;
        if let Some(last) = status.pointer("/lastState/terminated") {
            return ended(last, 4, Some(&reason));
        }
        let message = text(waiting, "message").map(|message| format!(": {message}")).unwrap_or_default();
        (reason != "ContainerCreating" && reason != "PodInitializing")
            .then(|| trouble(format!("container {container} waits: {reason}{message}"), Some(reason.clone()), 2))
    }

    fn unscheduled(name: &str, pod: &Value) -> Option<Self> {
        let conditions = pod.pointer("/status/conditions")?.as_array()?;
        let condition = conditions.iter().find(|c| {
            c.get("type").and_then(Value::as_str) == Some("PodScheduled")
                && c.get("status").and_then(Value::as_str) == Some("False")
        })?;
        let message = condition.get("message").and_then(Value::as_str).unwrap_or("it cannot be scheduled");
        Some(Self {
            pod: name.to_owned(),
            uid: String::new(),
            container: None,
            exit_code: None,
            reason: Some("Unschedulable".to_owned()),
            said: format!("pod {name} is not scheduled: {message}"),
            last_words: None,
            logs: Vec::new(),
            rank: 0,
            at: String::new(),
        })
    }
}

async fn tell(calls: &Calls, namespace: &str, trouble: Trouble, events: Vec<String>, logs: bool) -> Evidence {
    let mut said = Vec::new();
    let mut unread = String::new();
    for container in trouble.logs.iter().filter(|_| logs) {
        match last_words_of(calls, namespace, &trouble.pod, container).await {
            Ok(text) if text.is_empty() => {}
            Ok(text) => said.push((container, text)),
            // Silence would look like a container that has said nothing.
            Err(message) => unread = format!("; its log could not be read: {}", harmless(&message)),
        }
    }
    let of_worst = said.iter().find(|(container, _)| Some(*container) == trouble.container.as_ref());
    let last_line = of_worst.and_then(|(_, log)| log.lines().rev().find(|line| !line.trim().is_empty()));
    let last_words =
        trouble.last_words.as_deref().filter(|_| logs).map(harmless).or_else(|| last_line.map(str::to_owned));
    // What a container that only waits does not say itself, the last Event may.
    let last_words = last_words
        .or_else(|| events.last().filter(|_| trouble.exit_code.is_none() && trouble.reason.is_none()).cloned());
    let summary = match last_words {
        Some(words) => format!("{}: {}{unread}", harmless(&trouble.said), words.trim()),
        None => format!("{}{unread}", harmless(&trouble.said)),
    };
    let log = match said.as_slice() {
        [] => None,
        [(_, only)] => Some(only.clone()),
        several => Some(
            several.iter().map(|(name, log)| format!("--- container {name}\n{log}")).collect::<Vec<_>>().join("\n"),
        ),
    };
    let detail = api::Evidence {
        pod: Some(trouble.pod),
        container: trouble.container,
        exit_code: trouble.exit_code,
        reason: trouble.reason,
        events,
    };
    Evidence { summary, log, detail: Some(Box::new(detail)) }
}

/// The last log lines of a container.
async fn last_words_of(calls: &Calls, namespace: &str, pod: &str, container: &str) -> Result<String, String> {
    let path = format!(
        "/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&tailLines={LINES}&limitBytes={}",
        LOG_BYTES * 4
    );
    let mut text = calls.text(path.clone(), LOG_BYTES * 4).await;
    if text.as_ref().is_ok_and(String::is_empty) {
        // An HTTP/2 stream that is cut off before its data looks like an empty answer: asked twice, a silent container is silent twice.
        text = calls.text(path, LOG_BYTES * 4).await;
    }
    text.map(|text| last_lines(&text)).map_err(|fault| fault.message)
}

/// The last lines, within the budget, with control characters made harmless.
fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(harmless).collect();
    let mut kept = Vec::new();
    let mut size = 0;
    for line in lines.iter().rev().take(LINES) {
        size += line.len() + 1;
        if size > LOG_BYTES {
            break;
        }
        kept.push(line.as_str());
    }
    kept.reverse();
    kept.join("\n")
}

fn harmless(text: &str) -> String {
    crate::engine::harmless::line(text.trim_end())
}

/// The last warning Events about these objects, the latest last; one that has come again and again is told once.
async fn warnings(calls: &Calls, namespace: &str, about: &[&str]) -> Vec<String> {
    let about: std::collections::BTreeSet<_> = about.iter().filter(|uid| !uid.is_empty()).collect();
    let mut found = Vec::new();
    for uid in about {
        let path = format!(
            "/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.uid%3D{uid}%2Ctype%3DWarning&limit=50"
        );
        if let Some(Value::Array(items)) =
            calls.get(path).await.ok().and_then(|mut list| list.get_mut("items").map(Value::take))
        {
            found.extend(items);
        }
    }
    told(&found)
}

fn told(events: &[Value]) -> Vec<String> {
    let text =
        |event: &Value, pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let time = |event: &Value| {
        ["/lastTimestamp", "/series/lastObservedTime", "/eventTime"]
            .map(|pointer| text(event, pointer))
            .into_iter()
            .max()
    };
    let mut events: Vec<_> = events.iter().map(|event| (time(event), event)).collect();
    events.sort_by(|a, b| a.0.cmp(&b.0));
    let mut lines: Vec<String> = Vec::new();
    for (_, event) in events {
        let line = format!("{}: {}", text(event, "/reason"), text(event, "/message"));
        let mut line = harmless(&line.lines().collect::<Vec<_>>().join(" "));
        let end = (0..=EVENT_BYTES.min(line.len())).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
        line.truncate(end);
        lines.retain(|told| *told != line);
        lines.push(line);
    }
    lines.split_off(lines.len().saturating_sub(MOST_EVENTS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_failed_container_is_told_with_exit_code_and_reason() {
        let pod = json!({"metadata": {"name": "migrate-x"}, "status": {"containerStatuses": [
            {"name": "proxy", "state": {"terminated": {"exitCode": 0}}},
            {"name": "migrate", "state": {"terminated": {"exitCode": 3, "reason": "Error", "message": "column is null"}}}
        ]}});
        let trouble = Trouble::of(&pod).unwrap();
        assert_eq!(trouble.said, "container migrate exited with code 3 (Error)");
        assert_eq!(trouble.last_words.as_deref(), Some("column is null"));
    }

    #[test]
    fn a_crash_loop_is_told_with_the_last_exit_code() {
        let pod = json!({"metadata": {"name": "x"}, "status": {"containerStatuses": [
            {"name": "app", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1}}}
        ]}});
        assert_eq!(Trouble::of(&pod).unwrap().said, "CrashLoopBackOff: container app exited with code 1");
    }

    #[test]
    fn the_first_of_several_failed_containers_is_the_cause_and_the_logs_of_all_are_kept() {
        let ended = |name: &str, code: i64| json!({"name": name, "state": {"terminated": {"exitCode": code}}});
        let pod = json!({"metadata": {"name": "x", "uid": "u"},
            "status": {"containerStatuses": [ended("fine", 0), ended("app", 137), ended("sidecar", 1)]}});
        let trouble = Trouble::of(&pod).unwrap();
        assert_eq!((trouble.container.as_deref(), trouble.exit_code, &*trouble.uid), (Some("app"), Some(137), "u"));
        assert_eq!(trouble.logs, ["app", "sidecar"]);
    }

    #[test]
    fn a_container_that_runs_and_is_not_ready_is_told_where_nothing_worse_is() {
        let pod = json!({"metadata": {"name": "x"}, "status": {"containerStatuses": [
            {"name": "web", "ready": false, "state": {"running": {}}}, {"name": "proxy", "ready": true, "state": {"running": {}}}
        ]}});
        assert_eq!(Trouble::of(&pod).unwrap().said, "container web runs, but is not ready");
        let pod = json!({"metadata": {"name": "x"}, "status": {"containerStatuses": [{"name": "web", "ready": true, "state": {"running": {}}}]}});
        assert!(Trouble::of(&pod).is_none());
    }

    #[test]
    fn events_are_told_in_their_order_once_each_and_harmless() {
        let event = |reason: &str, message: &str, time: &str| json!({"reason": reason, "message": message, "lastTimestamp": time});
        let events = [
            event("Unhealthy", "probe failed", "2026-01-01T00:00:02Z"),
            event("FailedMount", "no\nvolume\u{1b}", "2026-01-01T00:00:01Z"),
            event("Unhealthy", "probe failed", "2026-01-01T00:00:00Z"),
        ];
        assert_eq!(told(&events), ["FailedMount: no volume\u{fffd}", "Unhealthy: probe failed"]);
        let many: Vec<_> = (0..9).map(|n| event("R", &n.to_string(), &format!("2026-01-01T00:00:0{n}Z"))).collect();
        assert_eq!(told(&many), ["R: 4", "R: 5", "R: 6", "R: 7", "R: 8"]);
    }

    #[test]
    fn log_lines_are_bounded_and_harmless() {
        let long = (0..100).map(|n| format!("line {n} \u{1b}[31mred")).collect::<Vec<_>>().join("\n");
        let kept = last_lines(&long);
        assert_eq!(kept.lines().count(), LINES);
        assert!(kept.ends_with("line 99 \u{fffd}[31mred"), "{kept:?}");
        assert!(last_lines(&"x".repeat(10_000)).len() <= LOG_BYTES);
    }
}

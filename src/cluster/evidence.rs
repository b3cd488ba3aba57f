//! Why a hook or workload failed, as its pods show it: container, exit code or waiting reason, last words. Read as the
//! Application's account, so nothing is shown that the account may not read.

mod pods;

use serde_json::Value;

use super::client::Calls;
use crate::engine::action::Evidence;
use crate::engine::object::ObjectKey;

/// Log lines that are kept.
const LINES: usize = 20;
/// Bytes of log that are kept of one container.
const LOG_BYTES: usize = 4 * 1024;

/// Gathers the evidence about an object. What cannot be read is left out: a failure is told without it rather than not at all.
pub async fn collect(calls: &Calls, key: &ObjectKey, uid: &str) -> Evidence {
    let Some(namespace) = key.namespace.as_deref() else { return Evidence::default() };
    let pods::Pods { pods, maker } = pods::of(calls, key, namespace, uid).await;
    match pods.iter().filter_map(Trouble::of).max_by(|a, b| a.rank.cmp(&b.rank).then_with(|| a.at.cmp(&b.at))) {
        Some(trouble) => tell(calls, namespace, trouble).await,
        None => Evidence { summary: last_warning(calls, namespace, &maker).await, log: None },
    }
}

/// What is wrong with one container of one pod.
struct Trouble {
    pod: String,
    container: String,
    said: String,
    last_words: Option<String>,
    has_log: bool,
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
        statuses
            .filter_map(|status| Self::of_container(name, status))
            .max_by_key(|trouble| trouble.rank)
            .or_else(|| Self::unscheduled(name, pod))
    }

    fn of_container(pod: &str, status: &Value) -> Option<Self> {
        let container = status.get("name")?.as_str()?.to_owned();
        let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
        let ended = |state: &Value, rank: u8, prefix: &str| {
            let code = state.get("exitCode").and_then(Value::as_i64)?;
            let reason = text(state, "reason").unwrap_or_default();
            let reason = if reason.is_empty() { reason } else { format!(" ({reason})") };
            (code != 0 || rank > 2).then(|| Self {
                pod: pod.to_owned(),
                container: container.clone(),
                said: format!("{prefix}container {container} exited with code {code}{reason}"),
                last_words: text(state, "message").filter(|message| !message.trim().is_empty()),
                has_log: true,
                rank,
                at: text(state, "finishedAt").unwrap_or_default(),
            })
        };
        if let Some(state) = status.pointer("/state/terminated") {
            return ended(state, 2, "");
        }
        let waiting = status.pointer("/state/waiting")?;
        let reason = text(waiting, "reason")?;
        if let Some(last) = status.pointer("/lastState/terminated") {
            return ended(last, 3, &format!("{reason}: "));
        }
        let message = text(waiting, "message").map(|message| format!(": {message}")).unwrap_or_default();
        (reason != "ContainerCreating" && reason != "PodInitializing").then(|| Self {
            pod: pod.to_owned(),
            said: format!("container {container} waits: {reason}{message}"),
            container,
            last_words: None,
            has_log: false,
            rank: 1,
            at: String::new(),
        })
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
            container: String::new(),
            said: format!("pod {name} is not scheduled: {message}"),
            last_words: None,
            has_log: false,
            rank: 0,
            at: String::new(),
        })
    }
}

async fn tell(calls: &Calls, namespace: &str, trouble: Trouble) -> Evidence {
    let mut log = None;
    let mut unread = String::new();
    if trouble.has_log {
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods/{}/log?container={}&tailLines={LINES}&limitBytes={}",
            trouble.pod,
            trouble.container,
            LOG_BYTES * 4
        );
        let mut text = calls.text(path.clone(), LOG_BYTES * 4).await;
        if text.as_ref().is_ok_and(String::is_empty) {
            // An HTTP/2 stream that is cut off before its data looks like an empty answer: asked twice, a silent container is silent twice.
            text = calls.text(path, LOG_BYTES * 4).await;
        }
        match text {
            Ok(text) => log = Some(last_lines(&text)).filter(|text| !text.is_empty()),
            // Silence would look like a container that has said nothing.
            Err(fault) => unread = format!("; its log could not be read: {}", harmless(&fault.message)),
        }
    }
    let last_line = log.as_deref().and_then(|log| log.lines().rev().find(|line| !line.trim().is_empty()));
    let last_words = trouble.last_words.as_deref().map(harmless).or_else(|| last_line.map(str::to_owned));
    let summary = match last_words {
        Some(words) => format!("{}: {}{unread}", harmless(&trouble.said), words.trim()),
        None => format!("{}{unread}", harmless(&trouble.said)),
    };
    Evidence { summary, log }
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

/// The last warning event about an object: why a Job has no pods.
async fn last_warning(calls: &Calls, namespace: &str, uid: &str) -> String {
    let path = format!(
        "/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.uid%3D{uid}%2Ctype%3DWarning&limit=50"
    );
    let Ok(list) = calls.get(path).await else { return String::new() };
    let events = list.get("items").and_then(Value::as_array);
    let newest = events.into_iter().flatten().max_by_key(|event| {
        let time = |field: &str| event.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        time("lastTimestamp").max(time("eventTime"))
    });
    newest
        .and_then(|event| {
            let reason = event.get("reason").and_then(Value::as_str).unwrap_or_default();
            Some(format!("{reason}: {}", harmless(event.get("message")?.as_str()?)))
        })
        .unwrap_or_default()
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
    fn log_lines_are_bounded_and_harmless() {
        let long = (0..100).map(|n| format!("line {n} \u{1b}[31mred")).collect::<Vec<_>>().join("\n");
        let kept = last_lines(&long);
        assert_eq!(kept.lines().count(), LINES);
        assert!(kept.ends_with("line 99 \u{fffd}[31mred"), "{kept:?}");
        assert!(last_lines(&"x".repeat(10_000)).len() <= LOG_BYTES);
    }
}

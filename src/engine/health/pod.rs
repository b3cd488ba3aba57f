//! Pod.

use serde_json::Value;

use super::read::{at, condition, count, list, text};
use super::{Completion, Verdict};

/// Annotations that make an object a hook, in every family that is understood.
const HOOK: [&str; 3] = ["swell.dev/hook", "argocd.argoproj.io/hook", "helm.sh/hook"];

pub(super) fn pod(object: &Value) -> Verdict {
    let policy = text(object, &["spec", "restartPolicy"]).unwrap_or("Always");
    if policy == "Always" || ignores_restart_policy(object) {
        let stuck: Vec<Waiting<'_>> = waiting(object, "containerStatuses").filter(Waiting::is_stuck).collect();
        if let [first, ..] = stuck.as_slice() {
            let messages: Vec<String> = stuck.iter().map(Waiting::sentence).collect();
            return Verdict::degraded(first.reason, messages.join("; "));
        }
    }
    match text(object, &["status", "phase"]) {
        Some("Pending") => pending(object),
        Some("Succeeded") => Verdict::healthy(),
        Some("Failed") => {
            let (reason, message) = failure(object);
            Verdict::failed(reason, message)
        }
        Some("Running") => match policy {
            "Always" => serving(object),
            "OnFailure" | "Never" => Verdict::progressing("Running", "running, has not ended yet".to_owned()),
            odd => Verdict::unknown("CannotJudge", format!("cannot judge: spec.restartPolicy is {odd}")),
        },
        Some(odd) => Verdict::unknown("UnknownPhase", format!("cannot judge: status.phase is {odd}")),
        None => Verdict::unknown("UnknownPhase", "cannot judge: there is no status.phase".to_owned()),
    }
}

/// By phase. A pod that restarts always never ends: as in Argo CD, a hook of it has done its work once it is ready.
pub(super) fn completion(object: &Value) -> Completion {
    match text(object, &["status", "phase"]) {
        Some("Succeeded") => Completion::Succeeded,
        Some("Failed") => {
            let (reason, message) = failure(object);
            Completion::failed(reason, message)
        }
        Some("Running") if text(object, &["spec", "restartPolicy"]) == Some("Always") && is_ready(object) => {
            Completion::Succeeded
        }
        _ => Completion::Running,
    }
}

/// A container that has not started.
struct Waiting<'a> {
    container: &'a str,
    reason: &'a str,
    message: &'a str,
}

impl Waiting<'_> {
    /// Whether it waits because starting failed.
    fn is_stuck(&self) -> bool {
        self.reason.starts_with("Err") || self.reason.ends_with("Error") || self.reason.ends_with("BackOff")
    }

    fn sentence(&self) -> String {
        let Self { container, reason, message } = self;
        if message.is_empty() {
            format!("container {container:?} is waiting: {reason}")
        } else {
            format!("container {container:?} is waiting: {reason}: {message}")
        }
    }
}

fn waiting<'a>(object: &'a Value, statuses: &str) -> impl Iterator<Item = Waiting<'a>> {
    list(object, &["status", statuses]).iter().filter_map(|status| {
        let waiting = at(status, &["state", "waiting"])?;
        Some(Waiting {
            container: text(status, &["name"]).unwrap_or_default(),
            reason: text(waiting, &["reason"])?,
            message: text(waiting, &["message"]).unwrap_or_default(),
        })
    })
}

fn pending(object: &Value) -> Verdict {
    if let Some(scheduled) = condition(object, "PodScheduled").filter(|scheduled| scheduled.is_false()) {
        return Verdict::progressing(scheduled.reason_or("Unschedulable"), scheduled.message().to_owned());
    }
    let mut all = waiting(object, "initContainerStatuses").chain(waiting(object, "containerStatuses"));
    // An init container that fails keeps the others in PodInitializing: the one that is stuck is the one to name.
    let first =
        all.next().map(|first| if first.is_stuck() { first } else { all.find(Waiting::is_stuck).unwrap_or(first) });
    match first {
        Some(waiting) => Verdict::progressing(waiting.reason, waiting.sentence()),
        None => Verdict::progressing("Pending", "the pod has not started yet".to_owned()),
    }
}

fn serving(object: &Value) -> Verdict {
    if is_ready(object) {
        return Verdict::healthy();
    }
    let restarted = list(object, &["status", "containerStatuses"])
        .iter()
        .find(|status| at(status, &["lastState", "terminated"]).is_some_and(Value::is_object));
    if let Some(status) = restarted {
        let terminated = &status["lastState"]["terminated"];
        return Verdict::degraded(text(terminated, &["reason"]).unwrap_or("Restarted"), ending(status, terminated));
    }
    match condition(object, "Ready") {
        Some(ready) => Verdict::progressing(ready.reason_or("NotReady"), ready.sentence()),
        None => Verdict::progressing("NotReady", "the pod is not ready yet".to_owned()),
    }
}

fn is_ready(object: &Value) -> bool {
    condition(object, "Ready").is_some_and(super::read::Condition::is_true)
}

/// Why a pod in phase Failed failed: what the pod says (evicted, deadline), else its first container that ended badly.
fn failure(object: &Value) -> (&str, String) {
    let own_reason = text(object, &["status", "reason"]);
    let container = list(object, &["status", "initContainerStatuses"])
        .iter()
        .chain(list(object, &["status", "containerStatuses"]))
        .filter_map(|status| Some((status, at(status, &["state", "terminated"])?)))
        .find(|(_, terminated)| {
            count(terminated, &["exitCode"]) != 0 || text(terminated, &["reason"]) == Some("OOMKilled")
        });
    let container_reason = container.and_then(|(_, terminated)| text(terminated, &["reason"]));
    let message = match (text(object, &["status", "message"]), container) {
        (Some(message), _) => message.to_owned(),
        (None, Some((status, terminated))) => ending(status, terminated),
        (None, None) => String::new(),
    };
    (own_reason.or(container_reason).unwrap_or("Failed"), message)
}

/// How a container ended: name, reason, exit code, and what it left as its termination message.
fn ending(status: &Value, terminated: &Value) -> String {
    let container = text(status, &["name"]).unwrap_or_default();
    let code = count(terminated, &["exitCode"]);
    let reason = match text(terminated, &["reason"]) {
        Some(reason) if reason != "Error" => format!(" ({reason})"),
        _ => String::new(),
    };
    let left = text(terminated, &["message"]).map(|left| format!(": {}", left.trim_end())).unwrap_or_default();
    format!("container {container:?} ended with exit code {code}{reason}{left}")
}

/// Argo CD's annotation by which a pod that does not restart is judged like one that does. Hooks are left out: they are to end.
fn ignores_restart_policy(object: &Value) -> bool {
    let annotation = |name| text(object, &["metadata", "annotations", name]);
    annotation("argocd.argoproj.io/ignore-restart-policy") == Some("true")
        && HOOK.iter().all(|hook| annotation(hook).is_none())
}

//! Job and CronJob.

use jiff::Timestamp;
use serde_json::Value;

use super::read::{Condition, conditions, count, flag, list, text, whole};
use super::{Completion, Verdict};

/// Only conditions that are True count (V13). `FailureTarget` and `SuccessCriteriaMet` announce an end while pods still run.
pub(super) fn job(object: &Value) -> Verdict {
    if let Some(failed) = standing(object, "Failed") {
        return Verdict::failed(failed.reason_or("Failed"), failed.message().to_owned());
    }
    if standing(object, "Complete").is_some() {
        return Verdict::healthy();
    }
    if let Some(suspended) = standing(object, "Suspended") {
        return Verdict::suspended(suspended.reason_or("Suspended"), "the Job is suspended".to_owned());
    }
    if let Some(failing) = standing(object, "FailureTarget") {
        let message = format!("failing, its pods are still to end: {}", failing.message());
        return Verdict::progressing("FailureTarget", message);
    }
    if standing(object, "SuccessCriteriaMet").is_some() {
        return Verdict::progressing("SuccessCriteriaMet", "succeeding, its pods are still to end".to_owned());
    }
    Verdict::progressing("Running", pods(object))
}

pub(super) fn completion(object: &Value) -> Completion {
    if let Some(failed) = standing(object, "Failed") {
        Completion::failed(failed.reason_or("Failed"), failed.message().to_owned())
    } else if standing(object, "Complete").is_some() {
        Completion::Succeeded
    } else {
        Completion::Running
    }
}

/// Suspended on purpose, never scheduled, never succeeded yet and running are all Healthy; Degraded is one whose last run did not succeed.
pub(super) fn cron_job(object: &Value) -> Verdict {
    if flag(object, &["spec", "suspend"]) {
        return Verdict::healthy_because("Suspended", "the CronJob is suspended".to_owned());
    }
    if !object.get("status").is_some_and(Value::is_object) {
        return Verdict::progressing("NoStatus", "the CronJob has no status yet".to_owned());
    }
    let (Some(scheduled), Some(succeeded)) = (time(object, "lastScheduleTime"), time(object, "lastSuccessfulTime"))
    else {
        return Verdict::healthy();
    };
    if list(object, &["status", "active"]).is_empty() && succeeded < scheduled {
        let message = format!("the run of {scheduled} did not succeed, the last success was at {succeeded}");
        return Verdict::degraded("LastRunFailed", message);
    }
    Verdict::healthy()
}

fn standing<'a>(object: &'a Value, kind: &str) -> Option<Condition<'a>> {
    conditions(object).find(|condition| condition.kind() == kind && condition.is_true())
}

fn pods(object: &Value) -> String {
    let active = count(object, &["status", "active"]);
    let succeeded = count(object, &["status", "succeeded"]);
    let failed = count(object, &["status", "failed"]);
    let wanted = whole(object, &["spec", "completions"]).map_or_else(String::new, |wanted| format!(" of {wanted}"));
    format!("{succeeded}{wanted} pods succeeded, {active} active, {failed} failed")
}

fn time(object: &Value, field: &str) -> Option<Timestamp> {
    text(object, &["status", field])?.parse().ok()
}

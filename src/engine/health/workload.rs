//! Deployment, StatefulSet, DaemonSet and ReplicaSet.

use serde_json::Value;

use super::Verdict;
use super::read::{at, behind_or_unseen, condition, conditions, count, flag, stated, text, whole};

pub(super) fn deployment(object: &Value) -> Verdict {
    if flag(object, &["spec", "paused"]) {
        return Verdict::suspended("Paused", "the rollout is paused (spec.paused)".to_owned());
    }
    if let Some(verdict) = behind_or_unseen(object) {
        return verdict;
    }
    let late =
        condition(object, "Progressing").filter(|progressing| progressing.reason() == "ProgressDeadlineExceeded");
    if let Some(late) = late {
        return Verdict::failed(late.reason(), late.message().to_owned());
    }
    let wanted = whole(object, &["spec", "replicas"]);
    let existing = count(object, &["status", "replicas"]);
    let updated = count(object, &["status", "updatedReplicas"]);
    let available = count(object, &["status", "availableReplicas"]);
    let message = if let Some(wanted) = wanted.filter(|wanted| updated < *wanted) {
        format!("{updated} of {wanted} replicas updated")
    } else if existing > updated {
        format!("old replicas still to end: {}", existing.saturating_sub(updated))
    } else if available < updated {
        format!("{available} of {updated} replicas available")
    } else {
        return Verdict::healthy();
    };
    rolling_out(object, message)
}

pub(super) fn stateful_set(object: &Value) -> Verdict {
    if let Some(verdict) = behind_or_unseen(object) {
        return verdict;
    }
    if stated(at(object, &["status", "observedGeneration"])).number().unwrap_or(0) == 0 {
        return Verdict::progressing("GenerationNotObserved", "no generation is observed yet".to_owned());
    }
    let wanted = whole(object, &["spec", "replicas"]);
    let ready = count(object, &["status", "readyReplicas"]);
    if let Some(wanted) = wanted.filter(|wanted| ready < *wanted) {
        return Verdict::progressing("RollingOut", format!("{ready} of {wanted} replicas ready"));
    }
    let strategy = text(object, &["spec", "updateStrategy", "type"]);
    let rolling = at(object, &["spec", "updateStrategy", "rollingUpdate"]).filter(|rolling| rolling.is_object());
    match (strategy, rolling) {
        (Some("OnDelete"), _) => Verdict::healthy(),
        (Some("RollingUpdate"), Some(rolling)) => {
            let to_update = match (wanted, whole(rolling, &["partition"])) {
                (Some(wanted), Some(partition)) => wanted.saturating_sub(partition),
                _ => 0,
            };
            let updated = count(object, &["status", "updatedReplicas"]);
            if updated < to_update {
                Verdict::progressing("RollingOut", format!("{updated} of {to_update} replicas updated"))
            } else {
                Verdict::healthy()
            }
        }
        _ => {
            let update = text(object, &["status", "updateRevision"]);
            let current = text(object, &["status", "currentRevision"]);
            if update == current {
                Verdict::healthy()
            } else {
                let updated = count(object, &["status", "updatedReplicas"]);
                let message = format!("replicas at the new revision {}: {updated}", update.unwrap_or("(none)"));
                Verdict::progressing("RollingOut", message)
            }
        }
    }
}

pub(super) fn daemon_set(object: &Value) -> Verdict {
    if let Some(verdict) = behind_or_unseen(object) {
        return verdict;
    }
    if text(object, &["spec", "updateStrategy", "type"]) == Some("OnDelete") {
        return Verdict::healthy();
    }
    let desired = count(object, &["status", "desiredNumberScheduled"]);
    let updated = count(object, &["status", "updatedNumberScheduled"]);
    let available = count(object, &["status", "numberAvailable"]);
    if updated < desired {
        Verdict::progressing("RollingOut", format!("{updated} of {desired} pods updated"))
    } else if available < desired {
        Verdict::progressing("RollingOut", format!("{available} of {desired} pods available"))
    } else {
        Verdict::healthy()
    }
}

pub(super) fn replica_set(object: &Value) -> Verdict {
    if let Some(verdict) = behind_or_unseen(object) {
        return verdict;
    }
    let failure = conditions(object).find(|condition| condition.kind() == "ReplicaFailure" && condition.is_true());
    if let Some(failure) = failure {
        return Verdict::degraded(failure.reason_or("ReplicaFailure"), failure.message().to_owned());
    }
    let available = count(object, &["status", "availableReplicas"]);
    match whole(object, &["spec", "replicas"]).filter(|wanted| available < *wanted) {
        Some(wanted) => Verdict::progressing("RollingOut", format!("{available} of {wanted} replicas available")),
        None => Verdict::healthy(),
    }
}

/// A Deployment's progress. What keeps its pods from being created (a quota, an admission policy) is told with it: no pod exists that
/// could tell it.
fn rolling_out(object: &Value, message: String) -> Verdict {
    match conditions(object).find(|condition| condition.kind() == "ReplicaFailure" && condition.is_true()) {
        Some(failure) => {
            Verdict::progressing(failure.reason_or("ReplicaFailure"), format!("{message}: {}", failure.message()))
        }
        None => Verdict::progressing("RollingOut", message),
    }
}

//! HorizontalPodAutoscaler and PodDisruptionBudget.

use serde_json::Value;

use super::Verdict;
use super::read::{Condition, behind, conditions, list, text};

/// Where version v1, which has no conditions, keeps them.
const V1_CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

/// Reads v2 and v1.
pub(super) fn autoscaler(object: &Value) -> Verdict {
    if let Some(verdict) = behind(object) {
        return verdict;
    }
    if text(object, &["apiVersion"]) != Some("autoscaling/v1") {
        return scaled(list(object, &["status", "conditions"]));
    }
    let Some(written) = text(object, &["metadata", "annotations", V1_CONDITIONS]) else {
        return scaled(&[]);
    };
    match serde_json::from_str::<Vec<Value>>(written) {
        Ok(entries) => scaled(&entries),
        Err(error) => {
            let message = format!("cannot judge: the annotation {V1_CONDITIONS} is not a list of conditions ({error})");
            Verdict::unknown("CannotJudge", message)
        }
    }
}

/// Healthy with its first condition, Degraded if one is False for another reason than that pods are missing just now.
pub(super) fn disruption_budget(object: &Value) -> Verdict {
    if let Some(verdict) = behind(object) {
        return verdict;
    }
    if let Some(bad) =
        conditions(object).find(|condition| condition.is_false() && condition.reason() != "InsufficientPods")
    {
        return Verdict::degraded(bad.reason_or("NotAllowed"), bad.sentence());
    }
    if conditions(object).next().is_none() {
        return Verdict::progressing("NoStatus", "the PodDisruptionBudget has no conditions yet".to_owned());
    }
    Verdict::healthy()
}

fn scaled(entries: &[Value]) -> Verdict {
    let conditions = || entries.iter().map(Condition::of);
    if let Some(broken) = conditions().find(|condition| is_broken(*condition)) {
        return Verdict::degraded(broken.reason(), broken.message().to_owned());
    }
    let able = |condition: Condition<'_>| matches!(condition.kind(), "AbleToScale" | "ScalingLimited");
    if conditions().any(|condition| able(condition) && condition.is_true()) {
        return Verdict::healthy();
    }
    match conditions().find(|condition| !condition.is_true()) {
        Some(waiting) => Verdict::progressing(waiting.reason_or("NotScaling"), waiting.sentence()),
        None => Verdict::progressing("NotScaling", "the HorizontalPodAutoscaler does not scale yet".to_owned()),
    }
}

/// By reason alone, as in Argo CD.
fn is_broken(condition: Condition<'_>) -> bool {
    match condition.kind() {
        "AbleToScale" => matches!(condition.reason(), "FailedGetScale" | "FailedUpdateScale"),
        "ScalingActive" => matches!(
            condition.reason(),
            "FailedGetResourceMetric"
                | "FailedGetObjectMetric"
                | "FailedGetPodsMetric"
                | "FailedGetExternalMetric"
                | "FailedComputeMetricsReplicas"
                | "InvalidSelector"
        ),
        _ => false,
    }
}

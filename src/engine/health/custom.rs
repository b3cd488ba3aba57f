//! Custom resources without a rule of their own, by the standard conditions (V16).

use serde_json::Value;

use super::Verdict;
use super::read::{Condition, behind, condition, older};

/// Read from top to bottom: a status for an older generation, `Reconciling`, `Stalled`, then the condition that says ready. Only
/// `Stalled` is a failure: a `Ready` that is False may become True at any time.
pub(super) fn custom(object: &Value) -> Verdict {
    if let Some(verdict) = behind(object) {
        return verdict;
    }
    let reconciling = condition(object, "Reconciling");
    if let Some(reconciling) = reconciling.filter(|reconciling| reconciling.is_true()) {
        return Verdict::progressing(reconciling.reason_or("Reconciling"), reconciling.sentence());
    }
    let stalled = condition(object, "Stalled");
    if let Some(stalled) = stalled.filter(|stalled| stalled.is_true()) {
        return outdated(object, stalled)
            .unwrap_or_else(|| Verdict::failed(stalled.reason_or("Stalled"), stalled.sentence()));
    }
    match readiness(object) {
        Some(ready) => outdated(object, ready).unwrap_or_else(|| {
            if ready.is_true() {
                Verdict::healthy()
            } else {
                Verdict::progressing(ready.reason_or("NotReady"), ready.sentence())
            }
        }),
        // Who writes these two conditions keeps to the convention: it is at rest when it says so.
        None => match (reconciling, stalled) {
            (Some(reconciling), _) if reconciling.is_false() => {
                outdated(object, reconciling).unwrap_or_else(Verdict::healthy)
            }
            (None, None) => Verdict::not_judged(),
            _ => Verdict::progressing("NotReady", "there is no condition Ready or Available yet".to_owned()),
        },
    }
}

/// The condition that says whether the object is ready.
pub(super) fn readiness(object: &Value) -> Option<Condition<'_>> {
    condition(object, "Ready").or_else(|| condition(object, "Available"))
}

/// The verdict if the condition itself is for an older generation.
fn outdated(object: &Value, condition: Condition<'_>) -> Option<Verdict> {
    older(object, condition.generation(), &format!("observedGeneration of the condition {}", condition.kind()))
}

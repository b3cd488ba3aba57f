//! APIService and CustomResourceDefinition.

use serde_json::Value;

use super::Verdict;
use super::read::{behind, condition, conditions};

pub(super) fn api_service(object: &Value) -> Verdict {
    match condition(object, "Available") {
        Some(available) if available.is_true() => Verdict::healthy(),
        Some(available) => Verdict::progressing(available.reason_or("NotAvailable"), available.sentence()),
        None => Verdict::progressing("NoStatus", "the APIService has no condition Available yet".to_owned()),
    }
}

pub(super) fn definition(object: &Value) -> Verdict {
    if let Some(verdict) = behind(object) {
        return verdict;
    }
    if conditions(object).next().is_none() {
        return Verdict::progressing("NoStatus", "the CustomResourceDefinition has no conditions yet".to_owned());
    }
    let stands = |kind, status| condition(object, kind).filter(|condition| condition.status() == status);
    if let Some(terminating) = stands("Terminating", "True") {
        return Verdict::progressing(terminating.reason_or("Terminating"), terminating.sentence());
    }
    if let Some(bad) = stands("NamesAccepted", "False").or_else(|| stands("NonStructuralSchema", "True")) {
        return Verdict::degraded(bad.reason_or(bad.kind()), bad.sentence());
    }
    match condition(object, "Established") {
        Some(established) if established.is_true() => Verdict::healthy(),
        Some(established) if established.is_false() && established.reason() == "Installing" => {
            Verdict::progressing("Installing", established.sentence())
        }
        Some(established) => Verdict::degraded(established.reason_or("NotEstablished"), established.sentence()),
        None => Verdict::degraded("NotEstablished", "there is no condition Established".to_owned()),
    }
}

//! Custom kinds that run to an end: Argo Workflow, by its phase, and Tekton's runs, by their condition Succeeded.

use serde_json::Value;

use super::read::{condition, text};
use super::{Completion, Verdict};

pub(super) fn workflow(object: &Value) -> Verdict {
    let message = || text(object, &["status", "message"]).unwrap_or_default().to_owned();
    match text(object, &["status", "phase"]) {
        None => Verdict::progressing("Pending", "the Workflow has not started yet".to_owned()),
        Some(phase @ ("Pending" | "Running")) => Verdict::progressing(phase, message()),
        Some("Succeeded") => Verdict::healthy(),
        Some(phase @ ("Failed" | "Error")) => Verdict::failed(phase, message()),
        Some(odd) => Verdict::unknown("UnknownPhase", format!("cannot judge: status.phase is {odd}")),
    }
}

pub(super) fn workflow_completion(object: &Value) -> Completion {
    match text(object, &["status", "phase"]) {
        Some("Succeeded") => Completion::Succeeded,
        Some(phase @ ("Failed" | "Error")) => {
            Completion::failed(phase, text(object, &["status", "message"]).unwrap_or_default().to_owned())
        }
        _ => Completion::Running,
    }
}

pub(super) fn tekton(object: &Value) -> Verdict {
    match condition(object, "Succeeded") {
        Some(succeeded) if succeeded.is_true() => Verdict::healthy(),
        Some(succeeded) if succeeded.is_false() => {
            Verdict::failed(succeeded.reason_or("Failed"), succeeded.message().to_owned())
        }
        Some(succeeded) => Verdict::progressing(succeeded.reason_or("Running"), succeeded.message().to_owned()),
        None => Verdict::progressing("Pending", "the run has not started yet".to_owned()),
    }
}

pub(super) fn tekton_completion(object: &Value) -> Completion {
    match condition(object, "Succeeded") {
        Some(succeeded) if succeeded.is_true() => Completion::Succeeded,
        Some(succeeded) if succeeded.is_false() => {
            Completion::failed(succeeded.reason_or("Failed"), succeeded.message().to_owned())
        }
        _ => Completion::Running,
    }
}

//! How an Application stands, in one line: for tables, and for those who follow it in a pipe.

use crate::api::Application;

/// Phase, stage, and what is waited for or why it failed.
pub(super) fn line(application: &Application) -> String {
    let state = application.status.as_ref().and_then(|status| status.operation_state.as_ref());
    let Some(state) = state else { return cause(application) };
    let stage = state.stage.as_ref().filter(|_| !state.phase.is_ended()).map(|stage| format!(" {}", stage.text));
    let cause = cause(application);
    let cause = if cause.is_empty() { cause } else { format!(": {cause}") };
    format!("{}{}{cause}", state.phase, stage.unwrap_or_default())
}

/// The same without what is waited for: it changes from stage to stage only.
pub(super) fn place(application: &Application) -> String {
    let state = application.status.as_ref().and_then(|status| status.operation_state.as_ref());
    match state.filter(|state| !state.phase.is_ended()) {
        Some(state) => {
            let stage = state.stage.as_ref().map(|stage| format!(" {}", stage.text)).unwrap_or_default();
            format!("{}{stage}", state.phase)
        }
        None => line(application),
    }
}

/// What a running operation waits for, why a failed one failed, why nothing is done: one line.
pub(super) fn cause(application: &Application) -> String {
    let Some(status) = &application.status else { return "no operator has looked at it yet".to_owned() };
    let stalled = status.conditions.iter().find(|condition| condition.type_ == "Stalled" && condition.status == "True");
    let state = status.operation_state.as_ref();
    let waits =
        state.filter(|state| !state.phase.is_ended()).and_then(|state| state.stage.as_ref()?.blocked_on.first());
    let said = match (waits, state) {
        (Some(waits), _) => {
            let reason = waits.reason.clone().unwrap_or_else(|| waits.health.to_string());
            Some(format!("waits for {} {}: {reason}", waits.kind, waits.name))
        }
        (None, Some(state)) => state.message.clone(),
        (None, None) => None,
    };
    let said = said.or_else(|| stalled.map(|condition| condition.message.clone())).unwrap_or_default();
    said.lines().next().unwrap_or_default().to_owned()
}

//! What an Application needs next: an operation to start, a request to take up, or nothing. One decision for each round, pure.

use jiff::Timestamp;

use super::attempt::{Operation, Stop};
use super::plan::Options;
use super::settings::{Consent, parse_option};
use crate::api::{self, Application, OperationPhase, OperationState};

/// What is known when the decision is made.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The time.
    pub now: Timestamp,
    /// The Application.
    pub application: &'a Application,
    /// Revision of the source as it is now, readable or not.
    pub revision: &'a str,
    /// The operation that runs, or waits for its next attempt.
    pub running: Option<&'a Operation>,
    /// The latest operation that has ended.
    pub ended: Option<&'a OperationState>,
    /// Whether a plan made now would prune something.
    pub would_prune: bool,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Rest,
    /// Start an operation; the request it takes up, if there is one.
    Start(Operation, Option<api::Operation>),
    /// End the running operation before its time.
    Stop(Stop),
    /// The request was taken up before: only clear the field.
    ClearRequest,
}

/// Decides.
pub fn next(situation: Situation<'_>) -> Next {
    let Situation { application, running, ended, revision, .. } = situation;
    if application.metadata.deletion_timestamp.is_some() {
        return match running {
            Some(operation) if operation.deletion => Next::Rest,
            Some(_) => Next::Stop(Stop::Deleted),
            None => Next::Start(operation(situation, None, true), None),
        };
    }
    let generation = application.metadata.generation.unwrap_or(0);
    if let Some(request) = &application.operation {
        let taken = running.and_then(|o| o.request_generation).max(ended.and_then(|o| o.request_generation));
        if taken.is_some_and(|taken| generation <= taken) {
            return Next::ClearRequest;
        }
        match (&request.terminate, running) {
            (Some(_), Some(_)) => return Next::Stop(Stop::Terminate),
            (Some(_), None) => return Next::ClearRequest,
            (None, None) => return Next::Start(operation(situation, Some(request), false), Some(request.clone())),
            // Taken up when the running one has ended.
            (None, Some(_)) => {}
        }
    }
    let automated = application.automated();
    match running {
        Some(operation) if automated.enabled && operation.revision != revision => {
            Next::Stop(Stop::Superseded(revision.to_owned()))
        }
        Some(_) => Next::Rest,
        None => {
            let attempted = ended.is_some_and(|ended| ended.revision.as_deref() == Some(revision));
            let succeeded = ended.is_some_and(|ended| ended.phase == OperationPhase::Succeeded);
            let prune = attempted && succeeded && automated.prune && situation.would_prune;
            if automated.enabled && (!attempted || prune) {
                Next::Start(operation(situation, None, false), None)
            } else {
                Next::Rest
            }
        }
    }
}

/// When the next attempt of a failed one is due; `None` when there is none.
pub fn retry_at(application: &Application, operation: &Operation, now: Timestamp) -> Option<Timestamp> {
    let retry = application.retry();
    let made = u64::try_from(operation.attempt).unwrap_or(u64::MAX);
    if retry.limit.is_some_and(|limit| made > limit) {
        return None;
    }
    // V10: the first pause is `duration`, each further one is `factor` times as long.
    let mut pause = retry.duration;
    for _ in 1..made.min(64) {
        pause = pause.saturating_mul(retry.factor).min(retry.max_duration);
    }
    now.checked_add(pause.min(retry.max_duration)).ok()
}

/// The options of a plan: those of the request where it names any, else the Application's. An error names the option that cannot be understood.
pub fn options(application: &Application, request: Option<&api::SyncOperation>) -> Result<Options, String> {
    let automated = application.automated();
    let listed = match request {
        Some(request) if !request.sync_options.is_empty() => &request.sync_options,
        _ => application.sync_options(),
    };
    let mut options = Options { prune: request.map_or(automated.prune, |request| request.prune), ..Options::default() };
    for item in listed {
        let (name, value) = parse_option(item).map_err(|message| format!("spec.syncPolicy.syncOptions: {message}"))?;
        let on = value == "true";
        let consent = match value {
            "confirm" => Consent::Confirm,
            "false" => Consent::No,
            _ => Consent::Yes,
        };
        match name {
            "PruneLast" => options.prune_last = on,
            "PruneFirst" => options.prune_first = on,
            "Prune" => options.prune_consent = consent,
            "Delete" => options.delete_consent = consent,
            "WaitForHealth" => options.wait_for_health = on,
            _ => {}
        }
    }
    Ok(options)
}

fn operation(situation: Situation<'_>, request: Option<&api::Operation>, deletion: bool) -> Operation {
    let Situation { now, application, revision, ended, running, .. } = situation;
    let last = running.map(|o| o.id.as_str()).max(ended.map(|o| o.id.as_str()));
    Operation {
        id: id(now, last),
        deletion,
        attempt: 1,
        request_generation: request
            .and(application.metadata.generation)
            .or_else(|| ended.and_then(|o| o.request_generation)),
        initiated_by: request.and_then(|request| request.initiated_by.as_ref()?.username.clone()),
        revision: revision.to_owned(),
        started_at: now,
        attempt_started_at: now,
        options: Options::default(),
    }
}

/// An id that is later than every one before: the time in milliseconds, in base 36, so that ids sort as they were made.
fn id(now: Timestamp, last: Option<&str>) -> String {
    let mut number = u64::try_from(now.as_millisecond()).unwrap_or(0);
    loop {
        let id = base36(number);
        if last.is_none_or(|last| last.len() < id.len() || (last.len() == id.len() && *last < *id)) {
            return id;
        }
        number = last.and_then(|last| u64::from_str_radix(last, 36).ok()).map_or(number, |last| last.max(number)) + 1;
    }
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(number % 36).unwrap_or(0);
        digits.push(char::from_digit(digit, 36).unwrap_or('0'));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_also_when_the_clock_does_not() {
        let now = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
        let first = id(now, None);
        let second = id(now, Some(&first));
        let third = id(Timestamp::from_millisecond(1_600_000_000_000).unwrap(), Some(&second));
        assert!(first < second && second < third, "{first} {second} {third}");
    }
}

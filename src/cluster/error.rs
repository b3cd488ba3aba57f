//! Refusals of the API server, classified once: what may be tried again, what needs a look, what is final.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use crate::engine::action::{Fault, FaultKind};
use crate::engine::harmless;
use crate::engine::lenient::{self, Unwanted};

/// The fault that a response with an error status tells. `path`: what was asked for. `about_secret`: the words of the server may quote
/// a Secret's values, so only the reason and the names of the fields are kept.
pub fn classify(
    status: StatusCode,
    retry_after: Option<Duration>,
    body: &[u8],
    path: &str,
    about_secret: bool,
) -> Fault {
    let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (reason, message) = (text("/reason"), text("/message"));
    let kind = match kind(status, reason, message, !text("/details/name").is_empty()) {
        // Two requests met at the counter of a quota: nothing is said about the object that was to be written.
        FaultKind::Conflict if is_about_another(text("/details/kind"), path) => FaultKind::Transient,
        kind => kind,
    };
    // What a webhook or a proxy says ends on people's terminals.
    let message = harmless::text(message);
    let message = if about_secret && may_quote(kind, status, &message) {
        let fields: Vec<_> = body
            .pointer("/details/causes")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|cause| cause.get("field")?.as_str())
            .collect();
        let reason = if reason.is_empty() { status.as_str() } else { reason };
        let advice = if message.contains("illegal base64 data") {
            "; a value of its data is not base64: plain text belongs into stringData"
        } else {
            ""
        };
        let of = if fields.is_empty() { String::new() } else { format!(" of {}", fields.join(", ")) };
        // The paths of fields that the schema does not know, or of items that stand there twice, quote no values.
        if let Some(unknown) = lenient::named(&message).filter(|fields| !fields.iter().any(Unwanted::quotes_values)) {
            return Fault { kind, message: lenient::refusal_of(&unknown), retry_after };
        }
        format!(
            "the API server refused the Secret ({reason}){of}; its words are not shown, because they may quote the values{advice}"
        )
    } else if message.is_empty() {
        format!("the API server answered {status}")
    } else {
        without_dumps(&message)
    };
    Fault { kind, message, retry_after }
}

/// The message without the objects that the server prints whole into it: a pod template in the middle would push the reason out of what
/// people get to see.
fn without_dumps(message: &str) -> String {
    const START: &str = "value: {";
    let mut told = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find(START) {
        let (before, dump) = rest.split_at(at + START.len() - 1);
        told.push_str(before);
        let end = end_of_dump(dump);
        told.push_str(if end > LONGEST_DUMP { "{…}" } else { &dump[..end] });
        rest = &dump[end..];
    }
    told + rest
}

/// Objects up to this many bytes are shown as the server prints them.
const LONGEST_DUMP: usize = 200;

/// Where the object ends with which `dump` begins. Braces in its strings count as its own: they come in pairs nearly always, and the
/// server itself cuts long dumps with dots.
fn end_of_dump(dump: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in dump.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    // Cut by the server: its words follow behind the dots.
    dump.rfind("...").map_or(dump.len(), |dots| dots + 3)
}

/// Whether the words about a Secret may quote its values: validation does, and so may any webhook, whatever status it gives.
fn may_quote(kind: FaultKind, status: StatusCode, message: &str) -> bool {
    match kind {
        FaultKind::NotFound | FaultKind::KindMissing | FaultKind::Exists => false,
        FaultKind::Forbidden => {
            !message.contains("is forbidden: User ") && !message.contains("is forbidden: exceeded quota")
        }
        FaultKind::Transient => {
            status == StatusCode::INTERNAL_SERVER_ERROR && !message.contains("failed calling webhook")
        }
        FaultKind::Invalid | FaultKind::Conflict => true,
    }
}

/// A fault on the way: nobody knows whether the request was done.
pub fn on_the_way(what: &str, error: &dyn std::error::Error) -> Fault {
    let mut message = format!("{what}: {error}");
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = error.source();
    }
    Fault { kind: FaultKind::Transient, message, retry_after: None }
}

/// Whether a conflict is about an object of another kind than the one that was asked for.
fn is_about_another(resource: &str, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    !resource.is_empty() && !path.split('/').any(|segment| segment == resource)
}

/// Whether the words are those of an admission webhook or policy that says no, whatever status it says that with.
fn is_denied(message: &str) -> bool {
    message.contains("denied the request")
        || (message.contains("ValidatingAdmissionPolicy") && message.contains("denied request"))
}

fn kind(status: StatusCode, reason: &str, message: &str, names_object: bool) -> FaultKind {
    match status.as_u16() {
        404 if names_object => FaultKind::NotFound,
        404 => FaultKind::KindMissing,
        // A policy's no is final, and no answer to the question what the server itself would do with the object (F68).
        400 | 403..=407 | 409..=424 if is_denied(message) => FaultKind::Forbidden,
        409 if reason == "AlreadyExists" => FaultKind::Exists,
        409 => FaultKind::Conflict,
        // A namespace on its way out answers 403 until it is gone (F66); a service account that was made just now may be unknown for a moment.
        403 if message.contains("is being terminated") => FaultKind::Transient,
        403 => FaultKind::Forbidden,
        401 | 408 | 425 | 429 => FaultKind::Transient,
        // What an apply cannot be typed as (a field outside the schema, a key twice in a list) is answered as an internal error.
        500 if message.starts_with("failed to create typed patch object") => FaultKind::Invalid,
        // So is what cannot be decoded: a value of a Secret that is not base64, say.
        500 if message.starts_with("failed to convert new object") => FaultKind::Invalid,
        code if code >= 500 => FaultKind::Transient,
        _ => FaultKind::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fault(code: u16, body: &Value, about_secret: bool) -> Fault {
        let path = "/api/v1/namespaces/shop/configmaps/a?fieldManager=swell";
        classify(StatusCode::from_u16(code).unwrap(), None, body.to_string().as_bytes(), path, about_secret)
    }

    #[test]
    fn f68_a_policy_that_says_no_is_told_apart_from_a_server_that_cannot_change_an_object_for_secrets_too() {
        for message in [
            "admission webhook \"x.example\" denied the request: no",
            "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no",
        ] {
            for (code, about_secret) in [(422, true), (422, false), (409, false), (400, true), (403, true)] {
                let body = json!({"reason": "Invalid", "message": message});
                assert_eq!(fault(code, &body, about_secret).kind, FaultKind::Forbidden, "{code} {message}");
            }
        }
        let late = json!({"reason": "Timeout", "message": "admission webhook \"x\" denied the request: later"});
        assert_eq!(fault(429, &late, false).kind, FaultKind::Transient, "it asks for another try");
    }

    #[test]
    fn f67_a_conflict_at_the_counter_of_a_quota_is_tried_again() {
        let message = "Operation cannot be fulfilled on resourcequotas \"q\": the object has been modified; please apply your changes";
        let body =
            json!({"reason": "Conflict", "message": message, "details": {"name": "q", "kind": "resourcequotas"}});
        assert_eq!(fault(409, &body, false).kind, FaultKind::Transient);
        let own = json!({"reason": "Conflict", "message": "x", "details": {"name": "a", "kind": "configmaps"}});
        assert_eq!(fault(409, &own, false).kind, FaultKind::Conflict);
        let fields = json!({"reason": "Conflict", "message": "x", "details": {"causes": []}});
        assert_eq!(fault(409, &fields, false).kind, FaultKind::Conflict);
    }

    #[test]
    fn v15_the_fields_that_a_secret_has_too_much_are_named_but_no_key_with_a_value() {
        let said = |words: &str| {
            let message = format!("failed to create typed patch object (shop/x; /v1, Kind=Secret): {words}");
            fault(500, &json!({"message": message}), true).message
        };
        let unknown = said(".dataa: field not declared in schema");
        assert!(lenient::named(&unknown).is_some_and(|fields| fields[0].text() == ".dataa"), "{unknown}");
        let quoting = said(".list[name=\"hunter2\"].a: field not declared in schema");
        assert!(!quoting.contains("hunter2"), "{quoting}");
    }

    #[test]
    fn f76_an_object_that_the_server_prints_into_its_message_does_not_hide_the_reason() {
        let dump = format!("{{\"Containers\":[{{\"Image\":\"{}\"}}]}}", "x".repeat(300));
        let said = |dump: &str| {
            let message = format!("Job \"a\" is invalid: spec.template: Invalid value: {dump}: field is immutable");
            fault(422, &json!({"reason": "Invalid", "message": message}), false).message
        };
        let short = "Job \"a\" is invalid: spec.template: Invalid value: {…}: field is immutable";
        assert_eq!(said(&dump), short);
        assert_eq!(said(&format!("{}...", &dump[..250])), short, "cut by the server itself");
        assert!(said("{\"a\":1}").contains("{\"a\":1}"), "what is short stays");
    }

    #[test]
    fn a_missing_object_is_told_apart_from_a_missing_kind() {
        let object = json!({"reason": "NotFound", "message": "configmaps \"a\" not found", "details": {"name": "a", "kind": "configmaps"}});
        assert_eq!(fault(404, &object, false).kind, FaultKind::NotFound);
        let kind =
            json!({"reason": "NotFound", "message": "the server could not find the requested resource", "details": {}});
        assert_eq!(fault(404, &kind, false).kind, FaultKind::KindMissing);
    }

    #[test]
    fn f47_a_body_that_does_not_fit_the_schema_is_not_tried_again_for_ever() {
        let message = "failed to create typed patch object (shop/a; /v1, Kind=ConfigMap): .data.value: expected string, got &value.valueUnstructured{Value:1}";
        assert_eq!(fault(500, &json!({"message": message}), false).kind, FaultKind::Invalid);
        assert_eq!(fault(500, &json!({"message": "etcdserver: request timed out"}), false).kind, FaultKind::Transient);
    }

    #[test]
    fn a_field_that_the_schema_does_not_know_is_no_matter_of_time() {
        let body = json!({"message": "failed to create typed patch object (shop/x; /v1, Kind=ConfigMap): .dataa: field not declared in schema"});
        assert_eq!(fault(500, &body, false).kind, FaultKind::Invalid);
        let secret = json!({"message": "failed to create typed patch object (shop/x; /v1, Kind=Secret): .data.a: expected string, got &value.valueUnstructured{Value:42}"});
        assert!(!fault(500, &secret, true).message.contains("42"), "its words may quote a value");
    }

    #[test]
    fn f67_a_webhook_that_does_not_answer_is_transient() {
        let body =
            json!({"reason": "InternalError", "message": "failed calling webhook \"x.example\": connection refused"});
        let fault = fault(500, &body, false);
        assert_eq!(fault.kind, FaultKind::Transient);
        assert!(fault.message.contains("x.example"), "the message names the webhook");
    }

    #[test]
    fn the_words_about_a_secret_are_not_passed_on() {
        let body = json!({"reason": "Invalid", "message": "data[x]: Invalid value: \"hunter2\"", "details": {"causes": [{"field": "data[x]"}]}});
        let message = fault(422, &body, true).message;
        assert!(!message.contains("hunter2") && message.contains("data[x]"), "{message}");
    }

    #[test]
    fn a_secret_that_is_not_base64_is_no_matter_of_time_and_is_told_how_to_write_it() {
        let message = "failed to convert new object (shop/a; /v1, Kind=Secret) to proper version: unable to convert unstructured object to /v1, Kind=Secret: error decoding from json: illegal base64 data at input byte 6";
        let fault = fault(500, &json!({"message": message, "code": 500}), true);
        assert_eq!(fault.kind, FaultKind::Invalid);
        assert!(
            fault.message.contains("refused the Secret (500)") && fault.message.contains("stringData"),
            "{fault:?}"
        );
        assert!(!fault.message.contains("input byte"));
    }

    #[test]
    fn a_webhook_that_denies_a_secret_is_not_quoted_but_a_missing_right_is_told() {
        let denied = json!({"reason": "Forbidden", "message": "admission webhook \"x.example\" denied the request: hunter2 is too weak"});
        let told = fault(403, &denied, true);
        assert!(!told.message.contains("hunter2"), "{}", told.message);
        assert!(fault(403, &denied, false).message.contains("hunter2"));
        let refused = json!({"reason": "Forbidden", "message": "secrets \"a\" is forbidden: User \"system:serviceaccount:shop:default\" cannot patch resource \"secrets\""});
        assert!(fault(403, &refused, true).message.contains("cannot patch"));
    }

    #[test]
    fn the_words_of_a_webhook_cannot_move_the_cursor_of_a_terminal() {
        let body = json!({"reason": "BadRequest", "message": "no \u{1b}[2J\u{7}good"});
        assert_eq!(fault(400, &body, false).message, "no \u{fffd}[2J\u{fffd}good");
    }
}

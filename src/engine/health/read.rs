//! Reading of live objects: every accessor is total, and what has the wrong type counts as absent.

use serde_json::Value;

use super::Verdict;

/// One entry of `status.conditions` (or of another list of that form).
#[derive(Clone, Copy)]
pub(super) struct Condition<'a>(&'a Value);

impl<'a> Condition<'a> {
    pub(super) fn of(entry: &'a Value) -> Self {
        Self(entry)
    }

    pub(super) fn kind(self) -> &'a str {
        text(self.0, &["type"]).unwrap_or_default()
    }

    pub(super) fn is_true(self) -> bool {
        self.status() == "True"
    }

    pub(super) fn is_false(self) -> bool {
        self.status() == "False"
    }

    /// The status as written; `Unknown` if there is none.
    pub(super) fn status(self) -> &'a str {
        text(self.0, &["status"]).unwrap_or("Unknown")
    }

    /// The reason, or an empty text.
    pub(super) fn reason(self) -> &'a str {
        text(self.0, &["reason"]).unwrap_or_default()
    }

    /// The reason, or `otherwise` if there is none.
    pub(super) fn reason_or(self, otherwise: &'a str) -> &'a str {
        text(self.0, &["reason"]).unwrap_or(otherwise)
    }

    /// The message, or an empty text.
    pub(super) fn message(self) -> &'a str {
        text(self.0, &["message"]).unwrap_or_default()
    }

    /// `Ready is False: the message`, without the colon if there is no message.
    pub(super) fn sentence(self) -> String {
        let (kind, status, message) = (self.kind(), self.status(), self.message());
        if message.is_empty() { format!("{kind} is {status}") } else { format!("{kind} is {status}: {message}") }
    }

    /// The generation that this condition says it describes.
    pub(super) fn generation(self) -> Stated {
        stated(at(self.0, &["observedGeneration"]))
    }
}

/// What stands where a generation is expected.
pub(super) enum Stated {
    /// Nothing, or null.
    Nothing,
    /// A generation.
    Is(i64),
    /// Something else, as JSON.
    Odd(String),
}

impl Stated {
    /// The generation, if one stands there.
    pub(super) fn number(self) -> Option<i64> {
        match self {
            Self::Is(generation) => Some(generation),
            Self::Nothing | Self::Odd(_) => None,
        }
    }
}

/// The value under a path of field names.
pub(super) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, field| value.get(field))
}

/// The text under a path; an empty one counts as absent, as Go's serialisation leaves it out.
pub(super) fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(value, path).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The whole number under a path.
pub(super) fn whole(value: &Value, path: &[&str]) -> Option<i64> {
    at(value, path).and_then(Value::as_i64)
}

/// The whole number under a path, 0 if there is none: the API server leaves out counters that are 0.
pub(super) fn count(value: &Value, path: &[&str]) -> i64 {
    whole(value, path).unwrap_or(0)
}

/// Whether `true` stands under a path.
pub(super) fn flag(value: &Value, path: &[&str]) -> bool {
    at(value, path).and_then(Value::as_bool).unwrap_or(false)
}

/// The list under a path, empty if there is none.
pub(super) fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The entries of `status.conditions`.
pub(super) fn conditions(object: &Value) -> impl Iterator<Item = Condition<'_>> {
    list(object, &["status", "conditions"]).iter().map(Condition::of)
}

/// The first entry of `status.conditions` of a type.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<Condition<'a>> {
    conditions(object).find(|condition| condition.kind() == kind)
}

/// Reads a generation. Digits in a string count: Argo Rollouts and Istio write them so.
pub(super) fn stated(value: Option<&Value>) -> Stated {
    match value {
        None | Some(Value::Null) => Stated::Nothing,
        Some(value) => match value.as_i64().or_else(|| value.as_str()?.parse().ok()) {
            Some(generation) => Stated::Is(generation),
            None => Stated::Odd(value.to_string()),
        },
    }
}

/// The verdict on an object whose status is for an older generation, or does not say so legibly: neither success nor failure. `None` if
/// the status is up to date. A kind whose controller always writes `observedGeneration` is read by [`behind_or_unseen`].
pub(super) fn behind(object: &Value) -> Option<Verdict> {
    older(object, stated(at(object, &["status", "observedGeneration"])), "status.observedGeneration")
}

/// As [`behind`], where a status without `observedGeneration` is one that no controller has written yet.
pub(super) fn behind_or_unseen(object: &Value) -> Option<Verdict> {
    let seen = match stated(at(object, &["status", "observedGeneration"])) {
        Stated::Nothing => Stated::Is(0),
        said => said,
    };
    older(object, seen, "status.observedGeneration")
}

/// As [`behind`], for a generation that was read from `place`.
pub(super) fn older(object: &Value, seen: Stated, place: &str) -> Option<Verdict> {
    let current = count(object, &["metadata", "generation"]);
    match seen {
        Stated::Is(seen) if seen < current => Some(Verdict::progressing(
            "GenerationNotObserved",
            format!("generation {current} is not observed yet, {place} is {seen}"),
        )),
        Stated::Nothing | Stated::Is(_) => None,
        Stated::Odd(written) => Some(Verdict::unknown(
            "CannotJudge",
            format!("cannot judge: {place} is {written}, a whole number like {current} would be right"),
        )),
    }
}

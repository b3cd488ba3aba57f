//! What `swell health` prints: for machines a stable structure, fields may be added to it but are not renamed or removed; for people a
//! paragraph for each object.

use serde::Serialize;

use crate::cli::plan::output::{Mistake, Position};
use crate::cli::plan::text;
use crate::engine::harmless;
use crate::engine::health::Health;

/// All of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Output {
    /// The objects in the order of the files. None is judged where there are mistakes.
    pub(super) objects: Vec<ObjectHealth>,
    /// Every mistake, in the order of the files.
    pub(super) mistakes: Vec<Mistake>,
}

/// The health of one object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectHealth {
    /// API group; empty for the core group.
    pub(super) group: String,
    /// API version.
    pub(super) version: String,
    /// Kind.
    pub(super) kind: String,
    /// Namespace; absent for a cluster-scoped object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<String>,
    /// Name.
    pub(super) name: String,
    /// The verdict; absent for kinds without health, which are done once they are applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) health: Option<Health>,
    /// One word that says why, or empty.
    pub(super) reason: String,
    /// A sentence that says why, or empty.
    pub(super) message: String,
    /// Whether it is Degraded for good, so that its stage fails at once.
    pub(super) terminal: bool,
    /// Whether its stage waits for it, unless an annotation says otherwise.
    pub(super) gating: bool,
    /// How far it has come, where its kind runs to an end: `Running`, `Succeeded` or `Failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<&'static str>,
    /// What says so.
    pub(super) rule: Rule,
    /// Where the object stands.
    pub(super) position: Position,
}

/// The rule that gives a verdict.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    /// Whose it is.
    pub(super) by: By,
    /// The rule in words; empty where there is none.
    pub(super) name: String,
}

/// Who brings a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum By {
    /// An Application, in CEL.
    HealthCheck,
    /// Swell, for this kind.
    BuiltIn,
    /// The conditions that custom resources agree upon.
    StandardConditions,
    /// Nobody.
    None,
}

/// The text for people, with a newline at its end.
pub(super) fn render(output: &Output) -> String {
    let mut text = String::new();
    for object in &output.objects {
        let (kind, name) = text::name(&object.group, &object.kind, object.namespace.as_deref(), &object.name);
        let verdict = match object.health {
            Some(health) if object.terminal => format!("{health} for good"),
            Some(health) => health.to_string(),
            None => "no health: done once it is applied".to_owned(),
        };
        line(&mut text, &format!("{kind} {name}: {verdict}"));
        if !object.rule.name.is_empty() {
            line(&mut text, &format!("    by {}", object.rule.name));
        }
        if let Some(said) = [&object.message, &object.reason].into_iter().find(|said| !said.is_empty()) {
            line(&mut text, &format!("    {said}"));
        }
        if let Some(end) = object.end {
            line(&mut text, &format!("    runs to an end: {end}"));
        }
        if object.health.is_some() && !object.gating {
            line(&mut text, "    shown only: no stage waits for it unless swell.dev/gate is \"true\"");
        }
    }
    for mistake in &output.mistakes {
        line(&mut text, &text::mistake(mistake));
    }
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(&harmless::line(line));
    text.push('\n');
}

//! What became of an operation, as a tree of spans: operation → stage → task → wait.
//!
//! The tree is made of the rows that the status has too, when an attempt has ended, not while it runs: so it costs nothing before, and is
//! right over a restart. The ids are digests of what the spans stand for: whichever process tells a part of the tree, it fits.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::api::OperationState;
use crate::engine::attempt::{Finish, Row, Waited, What};
use crate::engine::object::Owner;

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// One span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Id of the trace: that of the operation.
    pub trace: [u8; 16],
    /// Its id.
    pub id: [u8; 8],
    /// The span that it is a part of; nothing for the operation itself.
    pub parent: Option<[u8; 8]>,
    /// What it is, in few words that are the same for many.
    pub name: String,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// What else there is to say.
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// Texts of spans are at most this long.
const LONGEST: usize = 1024;

/// The whole operation, when it has ended.
pub fn operation(owner: &Owner, state: &OperationState, kind: &str, result: &str, end: Timestamp) -> Span {
    let message = state.message.as_deref().unwrap_or_default();
    let mut attributes = vec![
        ("swell.application", owner.to_string().as_str().into()),
        ("swell.operation.id", state.id.as_str().into()),
        ("swell.operation.kind", kind.into()),
        ("swell.operation.result", result.into()),
        ("swell.operation.attempts", state.attempt.into()),
        ("k8s.namespace.name", owner.namespace().into()),
    ];
    if let Some(revision) = &state.revision {
        attributes.push(("swell.revision", revision.as_str().into()));
    }
    if !message.is_empty() {
        attributes.push(("swell.message", shortened(message).as_str().into()));
    }
    Span {
        trace: trace_id(owner, &state.id),
        id: root(owner, &state.id),
        parent: None,
        name: format!("operation {kind}"),
        start: state.started_at,
        end: end.max(state.started_at),
        attributes,
        error: (result == "failed").then(|| shortened(message)),
    }
}

/// The stages of an attempt, with their tasks and what those waited for.
pub fn stages(owner: &Owner, operation: &str, attempt: i64, rows: &[Row]) -> Vec<Span> {
    let trace = trace_id(owner, operation);
    let attempt_text = attempt.to_string();
    let mut spans = Vec::new();
    for rows in rows.chunk_by(|a, b| (a.phase, a.wave) == (b.phase, b.wave)) {
        let (Some((start, end)), Some(first)) = (span_of(rows), rows.first()) else { continue };
        let stage_name = format!("{} wave {}", first.phase, first.wave);
        let stage = span_id(&trace, &["stage", &attempt_text, &stage_name]);
        let failed = rows.iter().filter(|row| matches!(row.finish, Finish::Failed { .. })).count();
        spans.push(Span {
            trace,
            id: stage,
            parent: Some(root(owner, operation)),
            name: stage_name.clone(),
            start,
            end,
            attributes: vec![
                ("swell.phase", first.phase.as_str().into()),
                ("swell.wave", first.wave.into()),
                ("swell.attempt", attempt.into()),
                ("swell.tasks", i64::try_from(rows.len()).unwrap_or(i64::MAX).into()),
            ],
            error: (failed > 0).then(|| format!("{failed} tasks failed")),
        });
        for row in rows {
            let Some(start) = row.started else { continue };
            let key = row.key.to_string();
            let id = span_id(&trace, &["task", &attempt_text, &stage_name, &key]);
            spans.push(task(trace, stage, id, row, start));
            let waits = row.waits.iter().enumerate();
            spans.extend(waits.map(|(number, waited)| wait(trace, id, number, waited, row.finished)));
        }
    }
    spans
}

fn task(trace: [u8; 16], stage: [u8; 8], id: [u8; 8], row: &Row, start: Timestamp) -> Span {
    let verb = match row.what {
        What::Applied => "apply",
        What::Hook => "hook",
        What::Pruned => "prune",
    };
    let (result, error) = match &row.finish {
        Finish::Done => ("done", None),
        Finish::Failed { cause, .. } => ("failed", Some(shortened(cause))),
        Finish::Skipped(_) => ("skipped", None),
        Finish::Dropped => ("dropped", None),
    };
    let mut attributes = vec![
        ("swell.task", verb.into()),
        ("swell.result", result.into()),
        ("k8s.object.group", (&*row.key.kind.group).into()),
        ("k8s.object.kind", (&*row.key.kind.kind).into()),
        ("k8s.object.name", (&*row.key.name).into()),
    ];
    if let Some(namespace) = &row.key.namespace {
        attributes.push(("k8s.namespace.name", (&**namespace).into()));
    }
    if let Some(uid) = &row.uid {
        attributes.push(("k8s.object.uid", (&**uid).into()));
    }
    let name = format!("{verb} {}", row.key.kind.kind);
    Span { trace, id, parent: Some(stage), name, start, end: row.finished.max(start), attributes, error }
}

fn wait(trace: [u8; 16], task: [u8; 8], number: usize, waited: &Waited, finished: Timestamp) -> Span {
    let id = Sha256::new().chain_update(task).chain_update(number.to_le_bytes()).finalize();
    let end = waited.until.unwrap_or(finished);
    Span {
        trace,
        id: short(&id),
        parent: Some(task),
        name: format!("wait {}", waited.health),
        start: waited.since,
        end: end.max(waited.since),
        attributes: vec![
            ("swell.health", waited.health.into()),
            ("swell.reason", shortened(&waited.reason).as_str().into()),
        ],
        error: None,
    }
}

/// From the start of the first task to the end of the last one; nothing where no task has begun.
pub fn span_of(rows: &[Row]) -> Option<(Timestamp, Timestamp)> {
    let start = rows.iter().filter_map(|row| row.started).min()?;
    let end = rows.iter().filter(|row| row.started.is_some()).map(|row| row.finished).max()?;
    Some((start, end.max(start)))
}

fn trace_id(owner: &Owner, operation: &str) -> [u8; 16] {
    let digest = Sha256::new().chain_update(owner.to_string()).chain_update([0]).chain_update(operation).finalize();
    std::array::from_fn(|place| digest[place])
}

fn root(owner: &Owner, operation: &str) -> [u8; 8] {
    span_id(&trace_id(owner, operation), &["operation"])
}

fn span_id(trace: &[u8; 16], parts: &[&str]) -> [u8; 8] {
    let mut digest = Sha256::new().chain_update(trace);
    for part in parts {
        digest.update(part);
        digest.update([0]);
    }
    short(&digest.finalize())
}

fn short(digest: &[u8]) -> [u8; 8] {
    std::array::from_fn(|place| digest[place])
}

fn shortened(text: &str) -> String {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::object::ObjectKey;
    use crate::engine::settings::Phase;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn row(name: &str, wave: i64, started: Option<i64>, finished: i64) -> Row {
        let waited =
            Waited { health: "Progressing", reason: "0 of 1".to_owned(), since: at(finished - 1), until: None };
        Row {
            key: ObjectKey::new("apps", "Deployment", Some("shop"), name),
            version: "v1".to_owned(),
            phase: Phase::Sync,
            wave,
            what: What::Applied,
            finish: Finish::Done,
            note: None,
            uid: None,
            started: started.map(at),
            finished: at(finished),
            waits: vec![waited],
            taken_from: Vec::new(),
        }
    }

    #[test]
    fn a_tree_has_its_times_from_the_rows_and_the_same_ids_whoever_makes_it() {
        let owner = Owner::new("shop", "web");
        let rows =
            [row("a", 0, Some(10), 15), row("b", 0, Some(11), 13), row("c", 1, Some(15), 20), row("d", 1, None, 20)];
        let spans = stages(&owner, "op", 1, &rows);
        let told: Vec<_> = spans.iter().map(|s| (s.name.as_str(), s.start.as_second(), s.end.as_second())).collect();
        let (task, wait) = ("apply Deployment", "wait Progressing");
        let wanted = [
            ("Sync wave 0", 10, 15),
            (task, 10, 15),
            (wait, 14, 15),
            (task, 11, 13),
            (wait, 12, 13),
            ("Sync wave 1", 15, 20),
            (task, 15, 20),
            (wait, 19, 20),
        ];
        assert_eq!(told, wanted);
        assert_eq!(spans[1].parent, Some(spans[0].id));
        assert_eq!(spans[2].parent, Some(spans[1].id));
        assert_eq!(spans[5].parent, Some(root(&owner, "op")));
        assert_eq!(spans, stages(&owner, "op", 1, &rows));
        let ids: std::collections::BTreeSet<_> = spans.iter().map(|span| span.id).collect();
        assert_eq!(ids.len(), spans.len());
        assert_ne!(stages(&owner, "op", 2, &rows)[0].id, spans[0].id, "another attempt");
    }
}

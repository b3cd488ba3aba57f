//! Turns the text of a source into documents: multi-document YAML or JSON as Kubernetes people write it, read as Go's
//! `sigs.k8s.io/yaml` reads it; `yaml/corpus.txt` compares the two. On purpose we refuse duplicate keys and text behind the
//! object; take uint64 keys, JSON's escapes, `%YAML 1.2` and tabs that YAML 1.2 allows; read on behind `...`, where Go stops
//! without a word. From the parser, of YAML 1.2: `"x"#y` and a `|` at the first column are refused, U+0085 ends no line.
//! No message quotes the source, except for keys: values may be secrets.

mod budget;
mod frame;
mod lines;
mod load;
mod message;
mod scalar;
mod split;
mod unpack;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use budget::Budget;
use lines::{Lines, PathHash};
use load::Mistake;

/// What a text may cost. Passing a limit is an error that names the limit; the text behind it is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the text.
    pub bytes: usize,
    /// Objects, items of lists included; documents that hold nothing are not counted.
    pub documents: usize,
    /// Values and keys of all documents, those that aliases copy included.
    pub nodes: usize,
    /// Mappings and lists inside of each other.
    pub depth: usize,
    /// Values and keys that anchors and aliases copy.
    pub alias_nodes: usize,
    /// Bytes of the texts and keys that anchors and aliases copy.
    pub alias_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 8 << 20,
            documents: 10_000,
            nodes: 1_000_000,
            depth: 128,
            alias_nodes: 200_000,
            alias_bytes: 8 << 20,
        }
    }
}

/// Where something stands in a source. Displayed as `document 2, line 7`, behind `name/key: ` when the source has a
/// name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The source: a ConfigMap's `name/key` or the path of a file; `None` when there is only one.
    pub source: Option<String>,
    /// From 1, as a person counts between `---` lines, empty documents included. Comments in front of the first `---`
    /// are no document.
    pub document: u32,
    /// From 1, counted from the start of the source.
    pub line: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source}: ")?;
        }
        write!(f, "document {}, line {}", self.document, self.line)
    }
}

/// The place of a value in its source, its quotes included; of a block (`|`, `>`) the first line of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// From 1, counted from the start of the source.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// In characters; of a value over several lines, those of its first line.
    pub length: u32,
}

/// A mistake in a source. Displayed as `document 2, line 7: message`; never holds a value of the source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {message}")]
pub struct SourceError {
    /// Where the mistake is.
    pub position: Position,
    /// In characters, from 1, where it is known.
    pub column: Option<u32>,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// One object of a source: a document, or an item of a list in one.
///
/// Its `Debug` form leaves the value out, which may be a Secret.
#[derive(Clone)]
pub struct Document {
    /// Always a JSON object; whether it has `apiVersion`, `kind` and a name is not known yet.
    pub value: Value,
    /// Where the object begins.
    pub position: Position,
    /// The line of each key of `metadata.annotations`. For keys that an alias or a merge brings in: the line of that.
    pub annotations: BTreeMap<String, u32>,
    /// The places of the values of `metadata.annotations` that are written there as scalars or aliases.
    pub annotation_spans: BTreeMap<String, Span>,
    lines: Arc<Lines>,
    /// The object's own path in its document.
    base: PathHash,
}

impl Document {
    fn new(value: Value, position: Position, lines: Arc<Lines>, base: PathHash) -> Self {
        let mut document =
            Self { value, position, annotations: BTreeMap::new(), annotation_spans: BTreeMap::new(), lines, base };
        let Some(Value::Object(annotations)) = document.value.pointer("/metadata/annotations") else {
            return document;
        };
        let path = base.child("metadata").child("annotations");
        let whole = document.position_of(&["metadata", "annotations"]).line;
        for key in annotations.keys() {
            let path = path.child(key);
            document.annotations.insert(key.clone(), document.lines.get(path).unwrap_or(whole));
            if let Some(span) = document.lines.annotations.get(&path) {
                document.annotation_spans.insert(key.clone(), *span);
            }
        }
        document
    }

    /// The line of the key or list item (`"0"`) at `path` in the object; `None` when there is none.
    ///
    /// For what an alias or a merge brings in, the line of that.
    pub fn line_of(&self, path: &[&str]) -> Option<u32> {
        let mut value = &self.value;
        let mut hash = self.base;
        let mut line = self.position.line;
        for key in path {
            value = match value {
                Value::Object(map) => map.get(*key)?,
                Value::Array(items) => items.get(key.parse::<usize>().ok()?)?,
                _ => return None,
            };
            hash = hash.child(key);
            line = self.lines.get(hash).unwrap_or(line);
        }
        Some(line)
    }

    /// The place of the scalar or alias at `path`; `None` when there is none, when it comes by a merge or an alias, and for a document
    /// that was read without spans.
    pub fn span_of(&self, path: &[&str]) -> Option<Span> {
        self.lines.places.as_ref()?.values.get(&self.hash(path)).copied()
    }

    /// The place of the key at the end of `path`, under the same conditions.
    pub fn span_of_key(&self, path: &[&str]) -> Option<Span> {
        self.lines.places.as_ref()?.keys.get(&self.hash(path)).copied()
    }

    fn hash(&self, path: &[&str]) -> PathHash {
        path.iter().fold(self.base, |hash, key| hash.child(key))
    }

    /// The position for a complaint about the field at `path`: of the field when it is there, else of the object.
    pub fn position_of(&self, path: &[&str]) -> Position {
        Position { line: self.line_of(path).unwrap_or(self.position.line), ..self.position.clone() }
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("apiVersion", &self.value.get("apiVersion"))
            .field("kind", &self.value.get("kind"))
            .field("name", &self.value.pointer("/metadata/name"))
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// After so many mistakes the rest of a text is not read.
const MISTAKES: usize = 100;

/// Reads the objects of a text in the order of the text, or all mistakes of all its documents.
///
/// `source` names the text in positions. Documents that hold nothing, comments only or null give no object; the items of
/// lists (`List`, `ConfigMapList`) are objects of their own, in place of the list. Anchors hold within one document.
pub fn parse(source: Option<&str>, text: &str, limits: &Limits) -> Result<Vec<Document>, Vec<SourceError>> {
    parse_all(&[(source, text)], limits, false)
}

/// As [`parse`], with the places of all keys and scalars, for [`Document::span_of`] and [`Document::span_of_key`].
pub fn parse_with_spans(source: Option<&str>, text: &str, limits: &Limits) -> Result<Vec<Document>, Vec<SourceError>> {
    parse_all(&[(source, text)], limits, true)
}

/// As [`parse`], of several texts. The limits are of all of them together, that of bytes excepted, which each text has for itself: who
/// brings many texts may have no more of the rest than who brings one.
pub fn parse_together(texts: &[(Option<&str>, &str)], limits: &Limits) -> Result<Vec<Document>, Vec<SourceError>> {
    parse_all(texts, limits, false)
}

fn parse_all(texts: &[(Option<&str>, &str)], limits: &Limits, spans: bool) -> Result<Vec<Document>, Vec<SourceError>> {
    let mut budget = Budget::new(limits);
    let mut documents = Vec::new();
    let mut errors = Vec::new();
    for (source, text) in texts {
        if !read((*source, text), limits, spans, &mut budget, &mut documents, &mut errors) {
            break;
        }
    }
    if errors.is_empty() { Ok(documents) } else { Err(errors) }
}

/// Reads one text. False: nothing more is to be read.
fn read(
    (source, text): (Option<&str>, &str),
    limits: &Limits,
    spans: bool,
    budget: &mut Budget<'_>,
    documents: &mut Vec<Document>,
    errors: &mut Vec<SourceError>,
) -> bool {
    let position = |document, line| Position { source: source.map(str::to_owned), document, line };
    if text.len() > limits.bytes {
        let message = format!("the source has {} bytes, more than the limit of {}", text.len(), limits.bytes);
        errors.push(SourceError { position: position(1, 1), column: None, message });
        return true;
    }
    for chunk in split::chunks(text).filter(|chunk| chunk.filled) {
        let mistakes = match load::load(&chunk, budget, spans) {
            Ok(None) => Vec::new(),
            Ok(Some(loaded)) => {
                let (objects, mistakes) = unpack::unpack(loaded, &position(chunk.number, chunk.line), budget);
                if errors.is_empty() {
                    documents.extend(objects);
                }
                mistakes
            }
            Err(mistakes) => mistakes,
        };
        errors.extend(mistakes.into_iter().map(|Mistake { line, column, message }| SourceError {
            position: position(chunk.number, line),
            column,
            message,
        }));
        if budget.exhausted() {
            return false;
        }
        if errors.len() >= MISTAKES {
            errors.truncate(MISTAKES);
            let message = format!("{MISTAKES} mistakes so far: what follows this document is not read");
            errors.push(SourceError { position: position(chunk.number, chunk.line), column: None, message });
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests;

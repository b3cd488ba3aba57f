//! From a part of an object to its place in a file: line, column and length.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::cli::plan::documents::Embedded;
use crate::cli::plan::input::Text;
use crate::engine::finding::Part;
use crate::engine::yaml::{Document, Position, Span};

/// Everything that was read.
pub(super) struct Sources<'a> {
    pub(super) texts: &'a [Text],
    pub(super) embedded: &'a BTreeMap<String, Embedded>,
    pub(super) documents: &'a [Document],
}

/// A place in a file.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spot<'a> {
    /// The file as it was given.
    pub(super) file: String,
    /// From 1.
    pub(super) line: u32,
    /// In characters, from 1.
    pub(super) column: u32,
    /// The column behind the last character.
    pub(super) end_column: u32,
    /// The place in the text inside of the file, `FIELD: line N`, where that text does not stand in the file line by line: line and
    /// column are then those of the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inside: Option<String>,
    #[serde(skip)]
    pub(super) shown: Shown<'a>,
}

/// The text around a place, for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shown<'a> {
    /// The file itself.
    File(&'a str),
    /// A text inside of the file, with the line and the column of the place in it.
    Inside { text: &'a str, line: u32, column: u32, end_column: u32 },
    /// Better none.
    Nothing,
}

impl<'a> Sources<'a> {
    /// The place of a part of the object at a position. `column`: where only the parser knows it.
    pub(super) fn spot(&self, position: &Position, part: &Part, column: Option<u32>) -> Spot<'a> {
        let label = position.source.as_deref().unwrap_or_default();
        let embedded = self.embedded.get(label);
        let file = embedded.map_or(label, |embedded| embedded.file.as_str());
        let of_file = self.texts.iter().find(|text| text.label == file).map_or("", |text| text.text.as_str());
        let text = embedded.map_or(of_file, |embedded| embedded.text.as_str());
        let span = match column {
            Some(column) => from_column(text, position.line, column),
            None => self.span(position, part, text),
        };
        let spot = |span: Span, shown: Shown<'a>| Spot {
            file: file.to_owned(),
            line: span.line,
            column: span.column,
            end_column: span.column + span.length.max(1),
            inside: None,
            shown,
        };
        match embedded {
            None => spot(span, Shown::File(of_file)),
            Some(embedded) if embedded.line_by_line => {
                let line = embedded.key_line.saturating_add(span.line);
                let indent = indent(nth(of_file, line)).saturating_sub(indent(nth(text, span.line)));
                spot(Span { line, column: span.column + indent, ..span }, Shown::File(of_file))
            }
            Some(embedded) => {
                let field = label.strip_prefix(&format!("{file}: ")).unwrap_or(label);
                let inside = spot(span, Shown::Nothing);
                let shown =
                    Shown::Inside { text, line: inside.line, column: inside.column, end_column: inside.end_column };
                Spot {
                    inside: Some(format!("{field}: line {}", span.line)),
                    ..spot(whole(of_file, embedded.key_line), shown)
                }
            }
        }
    }

    /// Whether the document at a position looks as if it held a Secret, whose values are not to be shown.
    pub(super) fn may_be_secret(&self, position: &Position) -> bool {
        let label = position.source.as_deref().unwrap_or_default();
        let text = self.embedded.get(label).map(|embedded| &embedded.text);
        let text = text.or_else(|| self.texts.iter().find(|text| text.label == label).map(|text| &text.text));
        let lines: Vec<&str> = text.map(|text| text.lines().collect()).unwrap_or_default();
        let at = usize::try_from(position.line).unwrap_or(usize::MAX).min(lines.len());
        let (before, after) = lines.split_at(at);
        let is_start = |line: &&str| line.starts_with("---");
        let start = before.iter().rposition(is_start).unwrap_or(0);
        let end = after.iter().position(is_start).unwrap_or(after.len());
        before[start..].iter().chain(&after[..end]).any(|line| line.contains("Secret"))
    }

    fn span(&self, position: &Position, part: &Part, text: &str) -> Span {
        // Several objects of one document are those of a list, each behind the other.
        let documents = self.documents.iter().filter(|document| {
            let at = &document.position;
            at.source == position.source && at.document == position.document && at.line <= position.line
        });
        let Some(document) = documents.max_by_key(|document| document.position.line) else {
            return whole(text, position.line);
        };
        let found = match part {
            Part::Object => NAMES.iter().find_map(|path| document.span_of(path)),
            Part::Key(path) => nearest(document, path, |path| document.span_of_key(path)),
            Part::Value(path) => {
                nearest(document, path, |path| document.span_of(path).or_else(|| document.span_of_key(path)))
            }
            Part::Word(path, word) => document.span_of(&borrowed(path)).map(|span| {
                let key_line = document.line_of(&borrowed(path)).unwrap_or(span.line);
                of_word(text, span, key_line, word).unwrap_or(span)
            }),
        };
        found.unwrap_or_else(|| whole(text, position.line))
    }
}

/// What an object is known by, the best first.
const NAMES: [&[&str]; 3] = [&["metadata", "name"], &["metadata", "generateName"], &["kind"]];

fn borrowed(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

/// The place of the path or, where it has none, of the closest one around it.
fn nearest(document: &Document, path: &[String], place: impl Fn(&[&str]) -> Option<Span>) -> Option<Span> {
    let path = borrowed(path);
    place(&path)
        .or_else(|| {
            // An item of a list that is no scalar: its first key.
            let line = document.line_of(&path)?;
            let keys = value(document, &path)?.as_object()?.keys();
            let spans = keys.filter_map(|key| document.span_of_key(&[&path[..], &[key.as_str()]].concat()));
            spans.filter(|span| span.line == line).min_by_key(|span| span.column)
        })
        .or_else(|| {
            // What an alias or a merge brings in stands where that stands; what is missing, where it should be.
            (1..path.len())
                .rev()
                .find_map(|length| document.span_of(&path[..length]).or_else(|| document.span_of_key(&path[..length])))
        })
}

fn value<'a>(document: &'a Document, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(&document.value, |value, key| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        value => value.get(key),
    })
}

/// The first place of a word in a value that begins at `span`. A value of several lines is indented deeper than its key.
fn of_word(text: &str, span: Span, key_line: u32, word: &str) -> Option<Span> {
    let least = indent(nth(text, key_line)) + u32::from(key_line < span.line);
    let first = usize::try_from(span.line).ok()?.saturating_sub(1);
    let lines = text.lines().enumerate().skip(first);
    let of_value = |(index, line): &(usize, &str)| *index == first || line.trim().is_empty() || indent(line) >= least;
    lines.take_while(of_value).find_map(|(index, content)| {
        let skip = if index == first { usize::try_from(span.column).ok()? - 1 } else { 0 };
        let start = content.char_indices().nth(skip)?.0;
        let at = content[start..].find(word)? + start;
        let line = u32::try_from(index + 1).ok()?;
        Some(Span { line, column: count(&content[..at]) + 1, length: count(word) })
    })
}

/// The line without what surrounds its text.
fn whole(text: &str, line: u32) -> Span {
    let content = nth(text, line);
    Span { line, column: indent(content) + 1, length: count(content.trim()) }
}

fn from_column(text: &str, line: u32, column: u32) -> Span {
    let content = nth(text, line);
    let skip = usize::try_from(column.saturating_sub(1)).unwrap_or(usize::MAX);
    let rest: String = content.chars().skip(skip).collect();
    Span { line, column, length: count(rest.trim_end()) }
}

fn nth(text: &str, line: u32) -> &str {
    let index = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
    text.lines().nth(index).unwrap_or_default()
}

fn indent(line: &str) -> u32 {
    count(line) - count(line.trim_start())
}

fn count(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

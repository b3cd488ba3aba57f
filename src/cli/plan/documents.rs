//! From texts to documents: every mistake of every document, also of those behind one that does not parse; and on which line
//! of its file a text inside of another stands.

use std::collections::BTreeMap;

use super::input::Text;
use super::output::Mistake;
use crate::engine::desired::Problem;
use crate::engine::finding::{Part, Remark, Rule};
use crate::engine::yaml::{Document, Limits, Position, SourceError, parse, parse_with_spans};

/// Mistakes, and what is needed to tell where they are.
#[derive(Debug, Default)]
pub(in crate::cli) struct Mistakes {
    /// In the order found.
    pub(in crate::cli) found: Vec<Mistake>,
    /// By label of an embedded text: how many lines of the file stand before it.
    lines_before: BTreeMap<String, Option<u32>>,
    /// By label, every text inside of another, for whoever looks at more than lines.
    pub(in crate::cli) embedded: BTreeMap<String, Embedded>,
    /// Whether documents are read with the places of all their keys and values.
    spans: bool,
}

/// A text inside of another one.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Embedded {
    /// The label of the file around it.
    pub(in crate::cli) file: String,
    /// The text itself.
    pub(in crate::cli) text: String,
    /// The line of its key in the file.
    pub(in crate::cli) key_line: u32,
    /// Whether it stands in the file line by line, right behind the line of its key.
    pub(in crate::cli) line_by_line: bool,
}

impl Mistakes {
    /// Such that documents are read with the places of all their keys and values.
    pub(in crate::cli) fn with_spans() -> Self {
        Self { spans: true, ..Self::default() }
    }

    /// Notes what is wrong at a position.
    pub(in crate::cli) fn add(&mut self, position: Position, object: Option<String>, remark: Remark) {
        let Remark { rule, part, message } = remark;
        let mistake =
            self.located(position, object, Problem { rule, position: None, key: None, part, see: None, message });
        self.found.push(mistake);
    }

    /// A problem as it is told, at a position, with the line of the file.
    fn located(&self, position: Position, object: Option<String>, problem: Problem) -> Mistake {
        let before = position.source.as_ref().and_then(|source| *self.lines_before.get(source)?);
        Mistake {
            file_line: before.map(|before| before.saturating_add(position.line)),
            source: position.source,
            document: position.document,
            line: position.line,
            object,
            message: problem.message,
            rule: problem.rule,
            part: problem.part,
            column: None,
            see: problem.see,
        }
    }

    /// Notes problems of manifests; `fallback` is the place of one without a position.
    pub(in crate::cli) fn add_problems(&mut self, problems: Vec<Problem>, fallback: &Position) {
        for problem in problems {
            let position = problem.position.clone().unwrap_or_else(|| fallback.clone());
            let object = problem.key.as_ref().map(ToString::to_string);
            let mistake = self.located(position, object, problem);
            self.found.push(mistake);
        }
    }

    /// Remembers where an embedded text stands in its file, if it stands there line by line, as in a block behind `|`.
    /// `key_line` is the line of its key.
    pub(in crate::cli) fn locate(&mut self, label: &str, text: &str, file: &Text, key_line: u32) {
        let skip = usize::try_from(key_line).unwrap_or(usize::MAX);
        let mut lines = file.text.lines().skip(skip).map(str::trim);
        let embedded = Embedded { file: file.label.clone(), text: text.to_owned(), key_line, line_by_line: false };
        self.embedded.insert(label.to_owned(), embedded);
        if text.lines().all(|line| lines.next() == Some(line.trim())) {
            let other = self.lines_before.insert(label.to_owned(), Some(key_line)).is_some_and(|o| o != Some(key_line));
            if other {
                // Two texts of one label: better no line than a wrong one.
                self.lines_before.insert(label.to_owned(), None);
            }
            if let Some(embedded) = self.embedded.get_mut(label) {
                embedded.line_by_line = !other;
            }
        }
    }

    /// Reads the documents of a text. Those that do not parse are noted and left out.
    pub(in crate::cli) fn read(&mut self, label: &str, text: &str) -> Vec<Document> {
        let parse = if self.spans { parse_with_spans } else { parse };
        let errors = match parse(Some(label), text, &Limits::default()) {
            Ok(documents) => return documents,
            Err(errors) => errors,
        };
        // What is around the broken documents may have mistakes of another sort, which are to be told as well.
        let rest = without(text, &errors).and_then(|rest| parse(Some(label), &rest, &Limits::default()).ok());
        for SourceError { position, column, message } in errors {
            self.add(position, None, Remark { rule: Rule::Yaml, part: Part::Object, message });
            if let Some(mistake) = self.found.last_mut() {
                mistake.column = column;
            }
        }
        rest.unwrap_or_default()
    }

    /// Reads the documents of every file.
    pub(in crate::cli) fn read_all(&mut self, texts: &[Text]) -> Vec<Document> {
        texts.iter().flat_map(|text| self.read(&text.label, &text.text)).collect()
    }
}

/// The text with `null` in place of each document that has an error, every other line where it was. `None` where documents
/// are not told apart by `---` alone.
fn without(text: &str, errors: &[SourceError]) -> Option<String> {
    let lines: Vec<&str> = text.split('\n').collect();
    let is_start = |line: &str| {
        line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r']))
    };
    if lines.iter().any(|line| line.trim_end() == "...") {
        return None;
    }
    let mut out: Vec<&str> = lines.clone();
    for error in errors {
        let line = usize::try_from(error.position.line).ok()?.checked_sub(1).filter(|line| *line < lines.len())?;
        let start = (0..=line).rev().find(|at| is_start(lines[*at]));
        let end = (line + 1..lines.len()).find(|at| is_start(lines[*at])).unwrap_or(lines.len());
        out[start.unwrap_or(0)..end].fill("");
        out[start.unwrap_or(0)] = if start.is_some() { "--- null" } else { "null" };
    }
    Some(out.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Places = Vec<(u32, u32)>;

    fn read(text: &str) -> (Places, Places) {
        let mut mistakes = Mistakes::default();
        let documents = mistakes.read("x", text);
        let wrong = mistakes.found.iter().map(|mistake| (mistake.document, mistake.line)).collect();
        (documents.iter().map(|d| (d.position.document, d.position.line)).collect(), wrong)
    }

    #[test]
    fn a_document_that_does_not_parse_hides_none_of_the_others_and_moves_none() {
        let text = "a: 1\n---\nb: 1\nb: 2\n---\n# nothing\n---\nc: 1\n";
        assert_eq!(read(text), (vec![(1, 1), (4, 8)], vec![(2, 4)]));
        assert_eq!(read("a: 1\na: 2\n---\nb: 1\n"), (vec![(2, 4)], vec![(1, 2)]));
        assert_eq!(read("# hello\n--- # one\na: 'x\n--- \nb: 1\n").0, [(2, 5)]);
    }

    #[test]
    fn an_embedded_text_is_found_in_its_file_only_where_it_stands_line_by_line() {
        let line = |file: &str, text: &str| {
            let mut mistakes = Mistakes::default();
            mistakes.locate("x", text, &Text { label: String::new(), text: file.to_owned() }, 2);
            let remark = Remark { rule: Rule::Yaml, part: Part::Object, message: String::new() };
            mistakes.add(Position { source: Some("x".to_owned()), document: 1, line: 2 }, None, remark);
            mistakes.found[0].file_line
        };
        assert_eq!(line("spec:\n  inline: |\n    a: 1\n\n    b: 2\n", "a: 1\n\nb: 2\n"), Some(4));
        assert_eq!(line("spec:\n  inline: \"a: 1\\n\\nb: 2\"\n", "a: 1\n\nb: 2\n"), None);
    }
}

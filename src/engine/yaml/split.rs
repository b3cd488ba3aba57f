//! Cuts a source into its documents before YAML is parsed, at the lines that YAML forbids inside of any value: `---` and
//! `...`.
//!
//! A document that does not parse then hides none of the others.

/// One document's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    /// Without the `---` line when that line holds nothing else.
    pub(super) text: &'a str,
    /// The line of the source on which `text` begins, from 1.
    pub(super) line: u32,
    /// The document's number, from 1. Each `---` begins a document, also one that holds nothing; what stands in front of
    /// the first `---` is a document when it is more than comments.
    pub(super) number: u32,
    /// Whether there is anything but comments.
    pub(super) filled: bool,
}

/// The documents of `text` in order.
pub(super) fn chunks(text: &str) -> impl Iterator<Item = Chunk<'_>> {
    Chunks { text, at: Place { offset: 0, line: 1 }, number: 0 }
}

const BYTE_ORDER_MARK: char = '\u{feff}';

#[derive(Clone, Copy)]
struct Place {
    offset: usize,
    line: u32,
}

struct Chunks<'a> {
    text: &'a str,
    at: Place,
    number: u32,
}

/// What a line means for the cutting.
enum Line {
    Start { filled: bool },
    End,
    Blank,
    Directive,
    Content,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        let mut start = self.at;
        // `explicit`: a `---` was seen. `directives`: lines such as `%YAML 1.1`, which belong to the next `---`.
        let (mut explicit, mut filled, mut directives) = (false, false, false);
        while self.at.offset < self.text.len() {
            let (line, after) = self.line();
            match classify(line) {
                Line::Start { .. } if explicit || filled => break,
                Line::Start { filled: content } => {
                    explicit = true;
                    filled = content || directives;
                    if !directives {
                        start = if content { self.at } else { after };
                    }
                }
                Line::End if explicit || filled || directives => {
                    self.at = after;
                    let text = &self.text[start.offset.min(after.offset)..after.offset];
                    return Some(self.chunk(text, start.line, filled || directives));
                }
                Line::End => start = after,
                Line::Blank => {}
                Line::Directive if !explicit && !filled => directives = true,
                Line::Directive | Line::Content => filled = true,
            }
            self.at = after;
        }
        if !(explicit || filled || directives) {
            return None;
        }
        let text = &self.text[start.offset..self.at.offset];
        Some(self.chunk(text, start.line, filled || directives))
    }
}

impl<'a> Chunks<'a> {
    fn chunk(&mut self, text: &'a str, line: u32, filled: bool) -> Chunk<'a> {
        self.number = self.number.saturating_add(1);
        // Files that were written with a mark and then put one behind the other have it inside of the stream.
        Chunk { text: text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text), line, number: self.number, filled }
    }

    /// The line at `at` without its end, and where the next one begins. YAML ends lines by LF, CR LF or CR.
    fn line(&self) -> (&'a str, Place) {
        let rest = &self.text[self.at.offset..];
        let bytes = rest.as_bytes();
        let length = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(bytes.len());
        let end = match bytes[length..] {
            [] => 0,
            [b'\r', b'\n', ..] => 2,
            _ => 1,
        };
        let after = Place { offset: self.at.offset + length + end, line: self.at.line.saturating_add(1) };
        (&rest[..length], after)
    }
}

fn classify(line: &str) -> Line {
    let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
    let ends_marker = |rest: &str| rest.is_empty() || rest.starts_with([' ', '\t']);
    if let Some(rest) = line.strip_prefix("---").filter(|rest| ends_marker(rest)) {
        return Line::Start { filled: !blank(rest) };
    }
    if line.strip_prefix("...").is_some_and(ends_marker) {
        return Line::End;
    }
    if line.starts_with('%') {
        return Line::Directive;
    }
    if blank(line) { Line::Blank } else { Line::Content }
}

fn blank(line: &str) -> bool {
    let text = line.trim_start_matches([' ', '\t']);
    text.is_empty() || text.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number, line and text of the documents that hold something.
    fn filled(text: &str) -> Vec<(u32, u32, &str)> {
        chunks(text).filter(|chunk| chunk.filled).map(|chunk| (chunk.number, chunk.line, chunk.text)).collect()
    }

    #[test]
    fn documents_are_numbered_by_their_separators() {
        assert_eq!(filled("a: 1\n---\nb: 2\n"), [(1, 1, "a: 1\n"), (2, 3, "b: 2\n")]);
        assert_eq!(filled("---\na: 1\n---\nb: 2\n"), [(1, 2, "a: 1\n"), (2, 4, "b: 2\n")]);
        assert_eq!(filled("# only a comment\n\n---\na: 1\n"), [(1, 4, "a: 1\n")]);
        assert_eq!(filled("---\n---\n# nothing\n---\na: 1\n---\n"), [(3, 5, "a: 1\n")]);
    }

    #[test]
    fn a_separator_may_have_a_comment_or_content_behind_it() {
        assert_eq!(filled("--- # one\na: 1\n--- {b: 2}\n"), [(1, 2, "a: 1\n"), (2, 3, "--- {b: 2}\n")]);
    }

    #[test]
    fn only_a_separator_at_the_first_column_separates() {
        let text = "a: |\n  ---\n  b\n-----BEGIN: x\n----\n";
        assert_eq!(filled(text), [(1, 1, text)]);
    }

    #[test]
    fn three_dots_end_a_document() {
        assert_eq!(filled("a: 1\n...\nb: 2\n"), [(1, 1, "a: 1\n...\n"), (2, 3, "b: 2\n")]);
        assert_eq!(filled("a: 1\n...\n---\nb: 2\n"), [(1, 1, "a: 1\n...\n"), (2, 4, "b: 2\n")]);
        assert_eq!(filled("...\n...\na: 1\n"), [(1, 3, "a: 1\n")]);
        assert_eq!(filled("---\n...\na: 1\n"), [(2, 3, "a: 1\n")]);
    }

    #[test]
    fn directives_stay_with_the_document_that_follows() {
        assert_eq!(filled("%YAML 1.1\n---\na: 1\n---\nb: 2\n"), [(1, 1, "%YAML 1.1\n---\na: 1\n"), (2, 5, "b: 2\n")]);
    }

    #[test]
    fn all_line_ends_of_yaml_are_counted() {
        assert_eq!(filled("a: 1\r\n---\r\nb: 2\r---\rc: 3"), [(1, 1, "a: 1\r\n"), (2, 3, "b: 2\r"), (3, 5, "c: 3")]);
    }

    #[test]
    fn byte_order_marks_in_front_of_a_document_are_dropped() {
        assert_eq!(filled("\u{feff}a: 1\n\u{feff}---\n\u{feff}b: 2\n"), [(1, 1, "a: 1\n"), (2, 3, "b: 2\n")]);
    }
}

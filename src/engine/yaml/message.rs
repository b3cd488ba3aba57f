//! The words of complaints about YAML. They quote nothing of the source but keys: a value may be a secret.

use serde_json::Value;
use serde_saphyr::granit_parser::ErrorKind;

/// A mapping or list was used as a key.
pub(super) const KEY: &str =
    "a mapping or a list cannot be a key: quote the value if it begins with `{` or `[`, as templates do";

/// What the parser did not understand. The parser's own words quote one character at most.
pub(super) fn syntax(kind: &ErrorKind, depth_limit: usize) -> String {
    let message = match kind {
        ErrorKind::UnknownAnchor => {
            "an alias `*name` of an anchor that is not defined above it in this document: quote the value if the `*` is \
             text, and mind that anchors do not reach across `---`"
        }
        ErrorKind::MissingAnchorOrAliasName => {
            "a value that begins with `*` or `&` is read as an alias or an anchor: quote it if it is text"
        }
        ErrorKind::UnexpectedCharacter { character } => {
            return format!("a value cannot begin with `{}`: quote it", character.escape_default());
        }
        ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation => {
            "a tab in the indentation: YAML indents by spaces only"
        }
        ErrorKind::MappingValueNotAllowed => {
            "a second `: ` on the line, or a wrong indentation: quote the value if the colon belongs to it"
        }
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            "a line without `key: value` in a mapping: the colon or the space behind it is missing, or the line is not indented far enough"
        }
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::InvalidIndentation => {
            "the indentation does not fit the lines above"
        }
        ErrorKind::UnclosedQuotedScalar => "a quote that is not closed",
        ErrorKind::DocumentIndicatorInQuotedScalar => "a quote that is not closed before the end of the document",
        ErrorKind::UnclosedFlowCollection { open } => return format!("a bracket `{open}` that is not closed"),
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            return format!("a bracket `{open}` that is closed by `{close}`");
        }
        ErrorKind::UnknownQuotedScalarEscape => {
            "an unknown escape behind `\\` in double quotes: write `\\\\` for a backslash, or use single quotes"
        }
        ErrorKind::BomInsideDocument => "a byte order mark (U+FEFF) in the middle of a document: delete it",
        ErrorKind::RecursionLimitExceeded => return too_deep(depth_limit),
        ErrorKind::ExpectedDocumentStart => {
            "the object ends above, but more follows: the indentation is wrong, or `---` is missing"
        }
        ErrorKind::CommentInterceptedScalar => {
            "a text over several lines with a comment inside: quote the text if the `#` belongs to it"
        }
        ErrorKind::CommentNotSeparated => "a comment without a space in front of its `#`",
        ErrorKind::InvalidTrailingSingleQuotedScalar | ErrorKind::InvalidTrailingDoubleQuotedScalar => {
            "text behind a closing quote: a quote inside of the value, or one that was not closed further up"
        }
        ErrorKind::ExpectedFlowMappingSeparator => "a `,` or the closing `}` is missing",
        ErrorKind::ExpectedFlowSequenceSeparator => "a `,` or the closing `]` is missing",
        other => return format!("not valid YAML: {other}"),
    };
    message.to_owned()
}

/// More mappings and lists inside of each other than allowed.
pub(super) fn too_deep(limit: usize) -> String {
    format!("nested deeper than the limit of {limit} levels")
}

/// The key in backquotes with a space in front, or nothing when it does not look like a key and may be part of a broken
/// value.
pub(super) fn quoted_key(key: &str) -> String {
    let plausible = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    if !key.is_empty() && key.len() <= 128 && key.bytes().all(plausible) { format!(" `{key}`") } else { String::new() }
}

/// A document or list item that is no object.
pub(super) fn not_an_object(what: &str, value: &Value) -> String {
    let (kind, advice) = match value {
        Value::Array(_) => ("a list", ": write `---` between objects instead of `-`, or a `List` with `items`"),
        Value::String(_) => ("a text", ""),
        Value::Number(_) => ("a number", ""),
        Value::Bool(_) => ("a boolean", ""),
        Value::Null => ("null", ""),
        Value::Object(_) => ("a mapping", ""),
    };
    format!("{what} is {kind}, not an object with `apiVersion` and `kind`{advice}")
}

//! What a scalar means: the table of Go's `sigs.k8s.io/yaml`, which is YAML 1.1 with Go's own number syntax.
//!
//! Kubernetes people know this reading from kubectl, and a manifest must not mean something else here: `yes` is true,
//! `0755` is 493, `1_000` is 1000, `1e3` is the integer 1000, and a date stays a string.

use std::borrow::Cow;

use base64::Engine as _;
use serde_json::{Number, Value};

/// The meaning of a scalar without quotes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Plain {
    Null,
    Bool(bool),
    Int(i64),
    /// Above the range of `Int`.
    Uint(u64),
    Float(f64),
    /// The text itself.
    Text,
}

/// Why a scalar cannot be taken. The texts never hold the value: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScalarError {
    #[error("infinity and not-a-number have no form in JSON: quote the value if it is meant as text")]
    NotFinite,
    #[error("the value does not fit its tag `!!{0}`")]
    Tag(&'static str),
    #[error("the value of the tag `!!binary` is not base64 of a UTF-8 text")]
    Binary,
    #[error("a key may not be null: quote it if it is meant as text")]
    NullKey,
}

/// A tag, as far as it changes what a scalar means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Str,
    Int,
    Float,
    Bool,
    Null,
    Binary,
    Merge,
    /// Any other tag, also of an application: the scalar is text.
    Other,
}

impl Tag {
    /// The tag of that name in YAML's own namespace (`str` of `!!str`), `Other` for `None` and for a name that has no
    /// meaning here.
    pub(super) fn named(name: Option<&str>) -> Self {
        match name {
            Some("str") => Self::Str,
            Some("int") => Self::Int,
            Some("float") => Self::Float,
            Some("bool") => Self::Bool,
            Some("null") => Self::Null,
            Some("binary") => Self::Binary,
            Some("merge") => Self::Merge,
            _ => Self::Other,
        }
    }
}

/// The value of a scalar; `plain` when it is written without quotes and not as a block.
pub(super) fn value(text: Cow<'_, str>, plain: bool, tag: Option<Tag>) -> Result<Value, ScalarError> {
    Ok(match meaning(&text, plain, tag)? {
        Plain::Null => Value::Null,
        Plain::Bool(value) => Value::Bool(value),
        Plain::Int(value) => Value::Number(value.into()),
        Plain::Uint(value) => Value::Number(value.into()),
        Plain::Float(value) => Value::Number(number(value).ok_or(ScalarError::NotFinite)?),
        Plain::Text if tag == Some(Tag::Binary) => Value::String(binary(&text)?),
        Plain::Text => Value::String(text.into_owned()),
    })
}

/// The key that a scalar is: JSON has string keys only, so `1` is `"1"` and `on` is `"true"`, as Go converts them.
pub(super) fn key(text: Cow<'_, str>, plain: bool, tag: Option<Tag>) -> Result<String, ScalarError> {
    Ok(match meaning(&text, plain, tag)? {
        Plain::Null => return Err(ScalarError::NullKey),
        Plain::Bool(value) => value.to_string(),
        Plain::Int(value) => value.to_string(),
        Plain::Uint(value) => value.to_string(),
        Plain::Float(value) => float_key(value),
        Plain::Text if tag == Some(Tag::Binary) => binary(&text)?,
        Plain::Text => text.into_owned(),
    })
}

/// The key that an aliased scalar is; `None` for a null, a list or a mapping.
pub(super) fn key_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) if number.is_f64() => number.as_f64().map(float_key),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn meaning(text: &str, plain: bool, tag: Option<Tag>) -> Result<Plain, ScalarError> {
    match (tag, resolve(text)) {
        (None, resolved) if plain => Ok(resolved),
        (None | Some(Tag::Str | Tag::Binary | Tag::Merge | Tag::Other), _) => Ok(Plain::Text),
        (Some(Tag::Int), resolved @ (Plain::Int(_) | Plain::Uint(_)))
        | (Some(Tag::Float), resolved @ (Plain::Float(_) | Plain::Int(_) | Plain::Uint(_)))
        | (Some(Tag::Bool), resolved @ Plain::Bool(_))
        | (Some(Tag::Null), resolved @ Plain::Null) => Ok(resolved),
        (Some(Tag::Int), _) => Err(ScalarError::Tag("int")),
        (Some(Tag::Float), _) => Err(ScalarError::Tag("float")),
        (Some(Tag::Bool), _) => Err(ScalarError::Tag("bool")),
        (Some(Tag::Null), _) => Err(ScalarError::Tag("null")),
    }
}

fn resolve(text: &str) -> Plain {
    let Some(first) = text.bytes().next() else {
        return Plain::Null;
    };
    match first {
        b'0'..=b'9' | b'+' | b'-' => signed(text),
        b'.' => pointed(text),
        b'~' | b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' => word(text),
        _ => Plain::Text,
    }
}

fn word(text: &str) -> Plain {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Plain::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Plain::Bool(false),
        "~" | "null" | "Null" | "NULL" => Plain::Null,
        _ => Plain::Text,
    }
}

/// A number that begins with a digit or a sign, or text. Underscores anywhere are ignored, as Go does.
fn signed(text: &str) -> Plain {
    if let Some(value) = not_finite(text) {
        return Plain::Float(value);
    }
    let digits: Cow<'_, str> = if text.contains('_') { text.replace('_', "").into() } else { text.into() };
    integer(&digits).or_else(|| float(&digits).map(Plain::Float)).unwrap_or(Plain::Text)
}

/// A number that begins with its point, or text. Here Go wants underscores between digits.
fn pointed(text: &str) -> Plain {
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = text.as_bytes();
    let separates =
        |(index, byte): (usize, &u8)| *byte != b'_' || digit(bytes.get(index - 1)) && digit(bytes.get(index + 1));
    let value = not_finite(text).or_else(|| {
        // The first byte is the point.
        bytes.iter().enumerate().all(separates).then(|| float(&text.replace('_', ""))).flatten()
    });
    value.map_or(Plain::Text, Plain::Float)
}

fn not_finite(text: &str) -> Option<f64> {
    Some(match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => f64::INFINITY,
        "-.inf" | "-.Inf" | "-.INF" => f64::NEG_INFINITY,
        ".nan" | ".NaN" | ".NAN" => f64::NAN,
        _ => return None,
    })
}

/// Go's integer syntax: `0x`, `0o` and `0b` prefixes, and a leading zero for octal.
fn integer(text: &str) -> Option<Plain> {
    let (sign, magnitude) = match text.as_bytes().first()? {
        sign @ (b'+' | b'-') => (Some(*sign), &text[1..]),
        _ => (None, text),
    };
    let (digits, radix) = match magnitude.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => (&magnitude[2..], 16),
        [b'0', b'o' | b'O', _, ..] => (&magnitude[2..], 8),
        [b'0', b'b' | b'B', _, ..] => (&magnitude[2..], 2),
        [b'0', _, ..] => (&magnitude[1..], 8),
        _ => (magnitude, 10),
    };
    // The parser of the standard library would take a second sign.
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    match sign {
        Some(b'-') => i64::try_from(-i128::from(magnitude)).ok().map(Plain::Int),
        Some(_) => i64::try_from(magnitude).ok().map(Plain::Int),
        None => Some(i64::try_from(magnitude).map_or(Plain::Uint(magnitude), Plain::Int)),
    }
}

/// A decimal float; `None` also when it is beyond what a float holds: Go reads that as text.
fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let decimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let well_formed = decimal(whole)
        && decimal(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| !exponent.is_empty() && decimal(exponent));
    text.parse::<f64>().ok().filter(|value| well_formed && value.is_finite())
}

/// The JSON number of a float: an integer when it has no fraction, with the digits that Go prints. The API server
/// refuses `1.0` for an integer field.
fn number(value: f64) -> Option<Number> {
    if value.is_finite() && value.fract() == 0.0 {
        // The shortest digits that name the float, filled with zeros: what Go prints, and what `as i64` would not give.
        let digits = (value + 0.0).to_string();
        if let Ok(value) = digits.parse::<i64>() {
            return Some(value.into());
        }
        if let Ok(value) = digits.parse::<u64>() {
            return Some(value.into());
        }
    }
    Number::from_f64(value)
}

/// Go converts a float key by way of 32 bits, with an exponent from six digits on.
fn float_key(value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "Go loses the same digits")]
    let value = value as f32;
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

fn binary(text: &str) -> Result<String, ScalarError> {
    let base64: String = text.chars().filter(|character| !matches!(character, '\n' | '\r')).collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64).map_err(|_| ScalarError::Binary)?;
    String::from_utf8(bytes).map_err(|_| ScalarError::Binary)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plain(text: &str) -> Value {
        value(text.into(), true, None).unwrap()
    }

    #[test]
    fn the_largest_and_smallest_integers_stay_integers() {
        assert_eq!(plain("9223372036854775807"), json!(i64::MAX));
        assert_eq!(plain("-9223372036854775808"), json!(i64::MIN));
        assert_eq!(plain("18446744073709551615"), json!(u64::MAX));
        assert_eq!(plain("18446744073709551616"), json!(18_446_744_073_709_551_616.0));
        assert_eq!(plain("-9223372036854775809"), json!(-9_223_372_036_854_775_809.0));
    }

    #[test]
    fn a_float_that_overflows_is_text() {
        assert_eq!(plain("1e999"), json!("1e999"));
    }

    #[test]
    fn a_quoted_scalar_is_text_whatever_it_looks_like() {
        for text in ["yes", "1", "1e3", "~", "", ".inf"] {
            assert_eq!(value(text.into(), false, None).unwrap(), json!(text));
            assert_eq!(key(text.into(), false, None).unwrap(), text);
        }
    }

    #[test]
    fn no_message_holds_the_value() {
        for tag in [Tag::Int, Tag::Float, Tag::Bool, Tag::Null, Tag::Binary] {
            let error = value("hunter2!".into(), true, Some(tag)).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}

//! Durations as people write them: `90s`, `10m`, `1h30m`, `0`; a number without unit is seconds, as in Argo CD.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration as StdDuration;

use kube::core::Rule;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The grammar of [`Duration`] as a regular expression: for the CEL rules of the schema, which must agree with the parser.
const PATTERN: &str = "^([0-9]{1,9}|([0-9]{1,5}([.][0-9]{1,9})?h)?([0-9]{1,7}([.][0-9]{1,9})?m)?([0-9]{1,9}([.][0-9]{1,9})?s)?([0-9]{1,9}([.][0-9]{1,9})?ms)?)$";

/// The units from the largest to the smallest: name, nanoseconds, digits allowed before the point.
const UNITS: [(&str, u128, usize); 4] =
    [("h", 3_600_000_000_000, 5), ("m", 60_000_000_000, 7), ("s", 1_000_000_000, 9), ("ms", 1_000_000, 9)];

/// No duration is longer than this (99999 hours, eleven years): deadlines stay inside what a timestamp can hold.
const LONGEST: StdDuration = StdDuration::from_hours(99_999);

/// A duration on the wire: hours, minutes, seconds and milliseconds in this order, each at most once, decimals allowed
/// (`1h30m`, `1.5h`, `500ms`), or a bare number of seconds. What is longer than 99999 hours counts as 99999 hours.
///
/// What zero means is said by the field: for a deadline, none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(StdDuration);

/// A text that is no [`Duration`]; the message quotes it and says what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration; it takes one such as \"90s\", \"10m\" or \"1h30m\"")]
pub struct DurationError(String);

impl Duration {
    /// The duration as the standard library's.
    pub const fn get(self) -> StdDuration {
        self.0
    }

    /// Whether it is zero.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<StdDuration> for Duration {
    fn from(duration: StdDuration) -> Self {
        Self(duration.min(LONGEST))
    }
}

impl From<Duration> for StdDuration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        nanoseconds(text).map(from_nanoseconds).ok_or_else(|| DurationError(text.to_owned()))
    }
}

/// The shortest usual form, which parses to the same value: `1h30m`, `500ms`, `0` for zero.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0");
        }
        let seconds = self.0.as_secs();
        for (number, unit) in [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")] {
            if number > 0 {
                write!(f, "{number}{unit}")?;
            }
        }
        let nanos = self.0.subsec_nanos();
        if nanos > 0 {
            write!(f, "{}", nanos / 1_000_000)?;
            if !nanos.is_multiple_of(1_000_000) {
                write!(f, ".{}", format!("{:06}", nanos % 1_000_000).trim_end_matches('0'))?;
            }
            f.write_str("ms")?;
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 64})
    }
}

/// The CEL rule that a field of type [`Duration`] carries; `field` is its path in the messages, `zero` what "0" means there.
pub(super) fn rule(field: &str, zero: &str) -> Rule {
    Rule::new(format!("self != '' && self.matches('{PATTERN}')")).message(
        format!("{field} must be a duration such as \"90s\", \"10m\" or \"1h30m\", or \"0\" for {zero}").as_str(),
    )
}

/// The nanoseconds that a text of the grammar stands for.
fn nanoseconds(text: &str) -> Option<u128> {
    if (1..=9).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse::<u128>().ok().map(|seconds| seconds * 1_000_000_000);
    }
    let mut total = 0;
    let mut rest = text;
    let mut units = UNITS.iter();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| c.is_ascii_alphabetic())?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len()));
        // Advancing the one iterator is what keeps the units in order and each of them single.
        let (_, size, digits) = units.by_ref().find(|(name, ..)| *name == unit)?;
        total += decimal(number, *digits)? * size / NANO;
        rest = tail;
    }
    Some(total)
}

/// The scale of [`decimal`].
const NANO: u128 = 1_000_000_000;

/// A decimal number in units of 10^-9, with at most `digits` digits before the point and nine behind it.
fn decimal(text: &str, digits: usize) -> Option<u128> {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let number = |part: &str, most: usize| {
        let fits = (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        if fits { part.parse::<u128>().ok() } else { None }
    };
    let whole = number(whole, digits)? * NANO;
    match fraction {
        None => Some(whole),
        Some(fraction) => {
            number(&format!("{fraction:0<9}"), 9).filter(|_| !fraction.is_empty()).map(|part| whole + part)
        }
    }
}

fn from_nanoseconds(total: u128) -> Duration {
    let seconds = u64::try_from(total / NANO).unwrap_or(u64::MAX);
    let nanos = u32::try_from(total % NANO).unwrap_or(0);
    Duration::from(StdDuration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Duration, DurationError> {
        text.parse()
    }

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, milliseconds) in [
            ("0", 0),
            ("0s", 0),
            ("5", 5_000),
            ("600", 600_000),
            ("5s", 5_000),
            ("90s", 90_000),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("1h30m5s", 5_405_000),
            ("1.5h", 5_400_000),
            ("500ms", 500),
            ("1s500ms", 1_500),
            ("0.25s", 250),
            ("1m1ms", 60_001),
        ] {
            assert_eq!(parse(text).unwrap().get(), StdDuration::from_millis(milliseconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_value_and_what_is_right() {
        for text in [
            "",
            " ",
            "10x",
            "10 m",
            " 10m",
            "-5s",
            "+5s",
            "1.5",
            ".5s",
            "5.s",
            "1e3s",
            "m",
            "1d",
            "30m1h",
            "1m1m",
            "1m30",
            "10mm",
            "١s",
            "1µs",
            "1234567890",
            "123456h",
            "1.1234567890s",
            "1h.",
            "1..5s",
            "soon",
            "0x5s",
            "99999999999999999999999999s",
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(
                error.to_string(),
                format!("{text:?} is not a duration; it takes one such as \"90s\", \"10m\" or \"1h30m\"")
            );
        }
    }

    #[test]
    fn the_printed_form_parses_to_the_same_value() {
        for (text, printed) in [
            ("0", "0"),
            ("0ms", "0"),
            ("90", "1m30s"),
            ("1.5h", "1h30m"),
            ("1500ms", "1s500ms"),
            ("0.0015s", "1.5ms"),
            ("60m", "1h"),
            ("0.000001ms", "0.000001ms"),
            ("99999h", "99999h"),
        ] {
            let duration = parse(text).unwrap();
            assert_eq!(duration.to_string(), printed, "{text}");
            assert_eq!(parse(printed).unwrap(), duration, "{text}");
        }
    }

    #[test]
    fn the_longest_duration_still_fits_a_deadline_and_its_own_grammar() {
        let longest = parse("99999.9h9999999m999999999s999999999ms").unwrap();
        assert_eq!(longest.get(), LONGEST);
        assert_eq!(parse(&longest.to_string()).unwrap(), longest);
        assert_eq!(Duration::from(StdDuration::MAX), longest);
        let now: jiff::Timestamp = "2026-11-24T07:45:24Z".parse().unwrap();
        assert!(now.checked_add(longest.get()).is_ok());
    }

    #[test]
    fn on_the_wire_a_duration_is_a_string() {
        assert_eq!(serde_json::from_str::<Duration>("\"1h30m\"").unwrap(), parse("90m").unwrap());
        assert_eq!(serde_json::to_string(&parse("90m").unwrap()).unwrap(), "\"1h30m\"");
        assert!(serde_json::from_str::<Duration>("5").is_err(), "a bare number is refused, as the schema does");
        let error = serde_json::from_str::<Duration>("\"10x\"").unwrap_err().to_string();
        assert!(error.starts_with("\"10x\" is not a duration"), "{error}");
    }
}

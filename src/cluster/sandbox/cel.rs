//! CEL, the language of health checks: the standard library with optional values, strings, lists, math and base64. The fields of an
//! object are variables, as in Flux. It has neither a limit of cost nor of depth: only the sandbox's process calls this.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use cel::{Context, Env, ExecutionError, Program, extensions};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;

use super::protocol::Truth;
use crate::engine::settings::nearest;

/// Programs that are kept.
const MOST_PROGRAMS: usize = 256;
/// A message is shown in a status: no longer than this.
const LONGEST_MESSAGE: usize = 240;

/// Every function that an expression may call, without its namespace. Macros are not among them: they are gone when an expression is
/// compiled.
const FUNCTIONS: &str = "abs bitAnd bitNot bitOr bitShiftLeft bitShiftRight bitXor bool bytes ceil charAt contains decode distinct \
    double duration dyn encode endsWith flatten floor format getDate getDayOfMonth getDayOfWeek getDayOfYear getFullYear getHours \
    getMilliseconds getMinutes getMonth getSeconds hasValue indexOf int isFinite isInf isNaN join lastIndexOf lowerAscii matches \
    none of ofNonZeroValue or orValue quote range replace reverse round sign size slice sort split sqrt startsWith string substring \
    timestamp trim trunc type uint upperAscii value";

/// Compiles and evaluates expressions.
pub(super) struct Cel {
    env: Arc<Env>,
    programs: BTreeMap<String, Arc<Program>>,
}

impl Cel {
    /// With the standard library and the extensions.
    pub(super) fn new() -> Result<Self, String> {
        let mut env = Env::stdlib();
        for extension in [extensions::strings, extensions::lists, extensions::math, extensions::encoders] {
            env.add_extension(extension).map_err(|error| error.to_string())?;
        }
        Ok(Self { env: Arc::new(env), programs: BTreeMap::new() })
    }

    /// For each expression what is wrong with it.
    pub(super) fn compile(&mut self, expressions: &[Cow<'_, str>]) -> Vec<Option<String>> {
        expressions.iter().map(|expression| self.program(expression).err()).collect()
    }

    /// Which of the expressions is the first that is true of an object. One that looks for a field which is not there is not true.
    pub(super) fn first_true(&mut self, expressions: &[Cow<'_, str>], object: &Value) -> Truth {
        let mut context = Context::with_env(self.env.clone());
        for (name, value) in object.as_object().into_iter().flatten() {
            if let Err(error) = context.add_variable(name.as_str(), Signed(value)) {
                let message = format!("the object's field {name} cannot be read: {error}");
                return Truth::Failed { nth: 0, message: clipped(message) };
            }
        }
        let mut missing = None;
        for (nth, expression) in expressions.iter().enumerate() {
            let failed = |message: String| Truth::Failed { nth, message: clipped(message) };
            let program = match self.program(expression) {
                Ok(program) => program,
                Err(message) => return failed(message),
            };
            missing = None;
            match program.execute(&context) {
                Ok(cel::Value::Bool(true)) => return Truth::Nth(nth),
                Ok(cel::Value::Bool(false)) => {}
                Ok(other) => return failed(format!("gives {}, not true or false", in_words(&other))),
                Err(error) => match absent(&error, &program) {
                    Some(what) => missing = Some(clipped(what)),
                    None => return failed(error.to_string()),
                },
            }
        }
        Truth::None { missing }
    }

    fn program(&mut self, expression: &str) -> Result<Arc<Program>, String> {
        if let Some(program) = self.programs.get(expression) {
            return Ok(program.clone());
        }
        let program = Arc::new(compiled(&self.env, expression)?);
        if self.programs.len() >= MOST_PROGRAMS {
            self.programs.clear();
        }
        self.programs.insert(expression.to_owned(), program.clone());
        Ok(program)
    }
}

fn compiled(env: &Env, expression: &str) -> Result<Program, String> {
    let program = env.compile(expression).map_err(|errors| {
        // What the parser could not make of the rest comes first, what was wrong in the text after it.
        let by_syntax = errors.errors.iter().find(|error| error.msg.starts_with(SYNTAX));
        match by_syntax.or(errors.errors.first()) {
            Some(error) => {
                let (line, column) = error.pos;
                let line = if expression.trim_end().contains('\n') { format!("line {line}, ") } else { String::new() };
                let message = error.msg.strip_prefix(SYNTAX).unwrap_or(&error.msg);
                clipped(format!("is not CEL: {line}column {column}: {message}{}", hint(message)))
            }
            None => "is not CEL".to_owned(),
        }
    })?;
    if program.references().has_variable("self") {
        return Err("there is no self: name a field from the object's root, such as status.phase".to_owned());
    }
    // Operators, and what macros leave behind, are named by signs.
    let is_word = |name: &&str| name.starts_with(|first: char| first.is_ascii_alphabetic());
    let references = program.references();
    let mut called =
        references.functions().into_iter().map(|name| name.rsplit('.').next().unwrap_or(name)).filter(is_word);
    if let Some(name) = called.find(|name| FUNCTIONS.split(' ').all(|known| known != *name)) {
        let close = Some(nearest(name, FUNCTIONS.split(' '))).filter(|close| close.contains("did you mean"));
        return Err(format!("there is no function {name}{}", close.unwrap_or_default()));
    }
    Ok(program)
}

const SYNTAX: &str = "Syntax error: ";

fn hint(message: &str) -> &'static str {
    if message.contains("token recognition error at: '=") {
        "; equality is =="
    } else if message.contains("token recognition error at: ''") || message.contains("token recognition error at: '\"")
    {
        "; a text ends with the quote that it begins with"
    } else if message.contains("token recognition error at: '&") {
        "; both is &&"
    } else if message.contains("token recognition error at: '|") {
        "; either is ||"
    } else {
        ""
    }
}

/// What the object lacks, if that is why an expression could not be evaluated.
fn absent(error: &ExecutionError, program: &Program) -> Option<String> {
    match error {
        ExecutionError::NoSuchKey(name) => Some(format!("field {name:?}")),
        ExecutionError::UndeclaredReference(name) if program.references().has_variable(name.as_str()) => {
            Some(format!("field {name:?}"))
        }
        ExecutionError::IndexOutOfBounds(index) => Some(format!("entry {} in a list", in_words(index))),
        _ => None,
    }
}

fn in_words(value: &cel::Value) -> String {
    match value {
        cel::Value::Int(number) => number.to_string(),
        cel::Value::UInt(number) => number.to_string(),
        cel::Value::String(_) => "a string".to_owned(),
        cel::Value::List(_) => "a list".to_owned(),
        cel::Value::Map(_) => "a map".to_owned(),
        cel::Value::Null => "null".to_owned(),
        other => format!("a value of type {}", other.type_of()),
    }
}

fn clipped(mut text: String) -> String {
    if text.len() > LONGEST_MESSAGE {
        text.truncate(text.floor_char_boundary(LONGEST_MESSAGE));
        text.push('…');
    }
    text
}

/// JSON whose whole numbers are signed wherever they fit, as they are in Kubernetes: CEL adds no signed number to an unsigned one.
struct Signed<'a>(&'a Value);

impl Serialize for Signed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Number(number) => match number.as_i64() {
                Some(whole) => serializer.serialize_i64(whole),
                None => number.serialize(serializer),
            },
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Signed(item))?;
                }
                list.end()
            }
            Value::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, &Signed(value))?;
                }
                map.end()
            }
            other => other.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object() -> Value {
        json!({
            "apiVersion": "a.b/v1", "kind": "A", "metadata": {"name": "x", "generation": 3},
            "spec": {"big": u64::MAX, "none": null},
            "status": {
                "phase": "Ready", "n": 2, "part": 0.5, "at": "2026-01-01T00:00:00Z",
                "conditions": [{"type": "Ready", "status": "True"}]
            }
        })
    }

    fn found(expressions: &[&str]) -> Truth {
        let expressions: Vec<_> = expressions.iter().map(|text| Cow::Borrowed(*text)).collect();
        Cel::new().unwrap().first_true(&expressions, &object())
    }

    fn wrong(expression: &str) -> String {
        Cel::new().unwrap().compile(&[expression.into()]).remove(0).unwrap_or_default()
    }

    #[test]
    fn the_expressions_that_people_write_for_flux_are_understood() {
        for expression in [
            "status.phase == 'Ready'",
            "has(status.phase) && status.phase in ['Ready', 'Done']",
            "status.conditions.filter(e, e.type == 'Ready').all(e, e.status == 'True')",
            "status.conditions.exists(e, e.type == 'Ready' && e.status == 'True')",
            "status.?conditions.orValue([]).exists(e, e.type == 'Ready')",
            "status[?'phase'].orValue('') == 'Ready'",
            "has(metadata.generation) && metadata.generation == status.n + 1",
            "status.n > 1 && status.n == 2.0 && status.part < 1",
            "timestamp(status.at) < timestamp('2027-01-01T00:00:00Z') && duration('1h') > duration('1m')",
            "status.phase.lowerAscii() == 'ready' && status.phase.matches('^R') && status.phase.startsWith('R')",
            "size(status.conditions) == 1 && 'Ready' in status.conditions.map(c, c.type)",
            "math.greatest(status.n, 1) == 2 && math.abs(-1) == 1",
            "base64.decode('eA==') == b'x' && spec.big > 1u && spec.none == null",
            "optional.of(status.phase).optMap(p, p == 'Ready').orValue(false)",
        ] {
            assert_eq!(wrong(expression), "", "{expression}");
            assert_eq!(found(&[expression]), Truth::Nth(0), "{expression}");
        }
    }

    #[test]
    fn the_first_that_is_true_decides() {
        assert_eq!(found(&["false", "true", "true"]), Truth::Nth(1));
        assert_eq!(found(&["false", "status.phase == 'x'"]), Truth::None { missing: None });
    }

    #[test]
    fn what_looks_for_a_field_that_is_not_there_is_not_true() {
        let missing = |what: &str| Truth::None { missing: Some(what.to_owned()) };
        assert_eq!(found(&["status.other == 'x'"]), missing("field \"other\""));
        assert_eq!(found(&["other.phase == 'x'"]), missing("field \"other\""));
        assert_eq!(found(&["has(other.phase)"]), missing("field \"other\""));
        assert_eq!(found(&["status.conditions[3].status == 'x'"]), missing("entry 3 in a list"));
        assert_eq!(found(&["status.other == 'x'", "status.phase == 'Ready'"]), Truth::Nth(1));
        assert_eq!(found(&["status.other == 'x'", "false"]), Truth::None { missing: None });
    }

    #[test]
    fn what_is_neither_true_nor_false_is_told() {
        let failed = |nth: usize, message: &str| Truth::Failed { nth, message: message.to_owned() };
        assert_eq!(found(&["false", "status.phase"]), failed(1, "gives a string, not true or false"));
        assert_eq!(found(&["status.n"]), failed(0, "gives 2, not true or false"));
        assert!(matches!(found(&["status.phase > 1"]), Truth::Failed { nth: 0, .. }));
        assert!(matches!(found(&["status.phase.matches('(')"]), Truth::Failed { nth: 0, .. }));
        assert!(matches!(found(&["1 / (status.n - 2) == 1"]), Truth::Failed { nth: 0, .. }));
    }

    #[test]
    fn a_mistake_is_told_with_its_place_and_what_would_be_right() {
        assert_eq!(
            wrong("status.phase = 'x'"),
            "is not CEL: column 14: token recognition error at: '= '; equality is =="
        );
        assert!(
            wrong("status.phase ==\n 'x' &&\n").starts_with("is not CEL: line "),
            "{}",
            wrong("status.phase ==\n 'x' &&\n")
        );
        assert!(wrong("status..phase").starts_with("is not CEL: column 8: "), "{}", wrong("status..phase"));
        assert!(
            wrong("status?.phase == 'x'").starts_with("is not CEL: column 21: "),
            "{}",
            wrong("status?.phase == 'x'")
        );
        assert!(wrong("status.phase == 'x").contains("ends with the quote"), "{}", wrong("status.phase == 'x"));
        assert!(wrong("self.status.phase == 'x'").starts_with("there is no self"));
        assert!(wrong("has(status)").contains("has() macro"), "{}", wrong("has(status)"));
        assert_eq!(
            wrong("status.phase.startWith('x')"),
            "there is no function startWith; did you mean \"startsWith\"?"
        );
        assert_eq!(wrong("sets.intersects([1], [2])"), "there is no function intersects");
        assert!(wrong(&"é == ".repeat(200)).len() < LONGEST_MESSAGE + 16);
    }

    #[test]
    fn every_function_that_is_taken_for_known_is_there() {
        let env = Arc::new(Cel::new().unwrap().env);
        let is_there = |name: &str| {
            let receivers = ["", "'x'.", "[1].", "math.", "base64.", "optional.", "lists.", "strings."];
            let more = ["optional.none().", "duration('1h').", "timestamp('2026-01-01T00:00:00Z')."];
            receivers.iter().chain(&more).any(|receiver| {
                ["", "1", "'x'", "[1]", "1, 2"].iter().any(|arguments| {
                    let program = env.compile(&format!("{receiver}{name}({arguments})")).unwrap();
                    let undeclared = |error: &ExecutionError| matches!(error, ExecutionError::UndeclaredReference(_));
                    !program.execute(&Context::with_env((*env).clone())).is_err_and(|error| undeclared(&error))
                })
            })
        };
        let absent: Vec<_> = FUNCTIONS.split(' ').filter(|name| !is_there(name)).collect();
        assert_eq!(absent, [""; 0]);
        assert!(!is_there("startWith"));
    }

    #[test]
    fn the_programs_that_are_kept_are_bounded() {
        let mut cel = Cel::new().unwrap();
        for number in 0..3 * MOST_PROGRAMS {
            cel.compile(&[format!("status.n == {number}").into()]);
            assert!(cel.programs.len() <= MOST_PROGRAMS);
        }
    }
}

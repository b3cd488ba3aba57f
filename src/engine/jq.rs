//! Path expressions of jq, as `ignoreDifferences` names them: parsed as jq, and only those that come to an end whatever they are given
//! are let through. Fields, indexes, iteration, `select`: what walks a manifest once.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Term};
use jaq_core::ops::Cmp;
use jaq_core::path::Part;
use serde_json::Value;

use super::path::{Path, Step};

/// A path expression that can be walked.
#[derive(Clone, Debug)]
pub struct Expression(Node);

/// What may be written, for messages.
pub const ALLOWED: &str = "path expressions of fields (.spec.replicas, .data[\"a.b\"]), indexes, .[], |, commas and select(...) with ==, !=, \
                           and, or, not, has, startswith, endswith and contains";

const LONGEST: usize = 1024;
/// Brackets inside each other, and operators: more is no path, and the parser calls itself for each.
const DEEPEST: usize = 16;
const MOST_OPERATORS: usize = 64;
/// Values that are looked at for one manifest.
const MOST_STEPS: usize = 10_000;

impl Expression {
    /// Reads an expression; the error says what may be written.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("it has {} bytes, and at most {LONGEST} are taken", text.len()));
        }
        is_simple(text)?;
        let term = jaq_core::load::parse(text, |parser| parser.term())
            .ok_or_else(|| "it is not an expression of jq".to_owned())?;
        Ok(Self(path(&term)?))
    }

    /// The fields of `value` that it names.
    pub fn paths(&self, value: &Value) -> Result<Vec<Path>, String> {
        let mut walk = Walk { left: MOST_STEPS };
        let places = walk.places(&self.0, &Place { path: Vec::new(), value: Some(value) })?;
        // What is not there cannot differ; the whole object is no field.
        let there = places.into_iter().filter(|place| place.value.is_some() && !place.path.is_empty());
        Ok(there.map(|place| place.path).collect())
    }
}

#[derive(Clone, Debug)]
enum Node {
    Here,
    /// From what the first gives, this step.
    Step(Box<Node>, At),
    Pipe(Box<Node>, Box<Node>),
    Both(Box<Node>, Box<Node>),
    Select(Box<Test>),
}

#[derive(Clone, Debug)]
enum At {
    Name(String),
    Index(i64),
    Each,
}

/// A question about a value; one that has several answers is true if one of them is.
#[derive(Clone, Debug)]
enum Test {
    Path(Node),
    Constant(Value),
    /// What the first gives is asked the second.
    Of(Node, Box<Test>),
    Equals(Box<Test>, Box<Test>, bool),
    And(Box<Test>, Box<Test>),
    Or(Box<Test>, Box<Test>),
    Not(Box<Test>),
    Call(Function, String),
}

#[derive(Clone, Copy, Debug)]
enum Function {
    Has,
    StartsWith,
    EndsWith,
    Contains,
}

/// What is too deep or too much for a path, before the parser sees it.
fn is_simple(text: &str) -> Result<(), String> {
    let (mut depth, mut operators) = (0_usize, 0_usize);
    let mut inside = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if inside && characters.next() == Some('(') => return Err(refused("an interpolated string")),
            '"' => inside = !inside,
            _ if inside => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '|' | ',' | '=' | '?' | ' ' | '\t' | '\n' => operators += 1,
            '-' if !characters.peek().is_some_and(char::is_ascii_digit) => return Err(refused("-")),
            '#' | '$' | '@' | ';' | ':' | '*' | '/' | '%' | '+' | '<' | '>' => {
                return Err(refused(&character.to_string()));
            }
            _ => {}
        }
        if depth > DEEPEST || operators > MOST_OPERATORS {
            return Err("it is too long or too deep for a path".to_owned());
        }
    }
    Ok(())
}

fn refused(what: &str) -> String {
    format!("{what} is not taken, only {ALLOWED}")
}

fn path(term: &Term<&str>) -> Result<Node, String> {
    Ok(match term {
        Term::Id => Node::Here,
        Term::Path(head, parts) => {
            let mut node = path(head)?;
            for (part, _) in &parts.0 {
                let at = match part {
                    Part::Range(None, None) => At::Each,
                    Part::Range(..) => return Err(refused("a slice")),
                    Part::Index(Term::Num(number)) => {
                        At::Index(number.parse().map_err(|_| refused(&format!("the index {number}")))?)
                    }
                    Part::Index(Term::Neg(number)) => match &**number {
                        Term::Num(number) => At::Index(
                            format!("-{number}").parse().map_err(|_| refused(&format!("the index -{number}")))?,
                        ),
                        _ => return Err(refused("a computed index")),
                    },
                    Part::Index(index) => At::Name(text(index).map_err(|_| refused("a computed index"))?),
                };
                node = Node::Step(Box::new(node), at);
            }
            node
        }
        Term::BinOp(left, BinaryOp::Pipe(None), right) => Node::Pipe(Box::new(path(left)?), Box::new(path(right)?)),
        Term::BinOp(left, BinaryOp::Comma, right) => Node::Both(Box::new(path(left)?), Box::new(path(right)?)),
        Term::Call("select", arguments) => match arguments.as_slice() {
            [condition] => Node::Select(Box::new(test(condition)?)),
            _ => return Err("select takes one condition, such as select(.name == \"a\")".to_owned()),
        },
        // `?`: what cannot be walked gives nothing anyway.
        Term::TryCatch(inner, None) => path(inner)?,
        other => return Err(refused(&name(other))),
    })
}

fn test(term: &Term<&str>) -> Result<Test, String> {
    let both = |left: &Term<&str>, right: &Term<&str>| Ok::<_, String>((Box::new(test(left)?), Box::new(test(right)?)));
    Ok(match term {
        Term::Num(number) => Test::Constant(serde_json::from_str(number).map_err(|_| refused(number))?),
        Term::Str(..) => Test::Constant(Value::from(text(term)?)),
        Term::Neg(inner) => match &**inner {
            Term::Num(number) => {
                Test::Constant(serde_json::from_str(&format!("-{number}")).map_err(|_| refused(&format!("-{number}")))?)
            }
            _ => return Err(refused("-")),
        },
        Term::BinOp(left, BinaryOp::Cmp(Cmp::Eq), right) => {
            let (left, right) = both(left, right)?;
            Test::Equals(left, right, true)
        }
        Term::BinOp(left, BinaryOp::Cmp(Cmp::Ne), right) => {
            let (left, right) = both(left, right)?;
            Test::Equals(left, right, false)
        }
        Term::BinOp(left, BinaryOp::And, right) => {
            let (left, right) = both(left, right)?;
            Test::And(left, right)
        }
        Term::BinOp(left, BinaryOp::Or, right) => {
            let (left, right) = both(left, right)?;
            Test::Or(left, right)
        }
        Term::BinOp(left, BinaryOp::Pipe(None), right) => match &**right {
            // `not` turns round what stands before it.
            Term::Call("not", arguments) if arguments.is_empty() => Test::Not(Box::new(test(left)?)),
            _ => match path(left) {
                Ok(left) => Test::Of(left, Box::new(test(right)?)),
                Err(message) => return Err(message),
            },
        },
        Term::Call("true", arguments) if arguments.is_empty() => Test::Constant(Value::Bool(true)),
        Term::Call("false", arguments) if arguments.is_empty() => Test::Constant(Value::Bool(false)),
        Term::Call("null", arguments) if arguments.is_empty() => Test::Constant(Value::Null),
        Term::Call("not", arguments) if arguments.is_empty() => Test::Not(Box::new(Test::Path(Node::Here))),
        Term::Call(function, arguments) if *function != "select" => {
            let known = match *function {
                "has" => Function::Has,
                "startswith" => Function::StartsWith,
                "endswith" => Function::EndsWith,
                "contains" => Function::Contains,
                other => return Err(refused(other)),
            };
            match arguments.as_slice() {
                [argument] => Test::Call(
                    known,
                    text(argument).map_err(|_| format!("{function} takes a string here, such as {function}(\"a\")"))?,
                ),
                _ => return Err(format!("{function} takes one string, such as {function}(\"a\")")),
            }
        }
        other => Test::Path(path(other)?),
    })
}

fn text(term: &Term<&str>) -> Result<String, String> {
    let Term::Str(None, parts) = term else { return Err(refused("something else than a string")) };
    parts
        .iter()
        .map(|part| match part {
            StrPart::Str(text) => Ok((*text).to_owned()),
            StrPart::Char(character) => Ok(character.to_string()),
            StrPart::Term(_) => Err(refused("an interpolated string")),
        })
        .collect()
}

fn name(term: &Term<&str>) -> String {
    match term {
        Term::Recurse => "..".to_owned(),
        Term::Call(function, _) => (*function).to_owned(),
        Term::Var(variable) => (*variable).to_owned(),
        Term::Def(..) => "def".to_owned(),
        Term::Fold(word, ..) => (*word).to_owned(),
        Term::Label(..) | Term::Break(_) => "label".to_owned(),
        Term::IfThenElse(..) => "if".to_owned(),
        Term::TryCatch(..) => "catch".to_owned(),
        Term::Arr(_) | Term::Obj(_) => "a new list or object".to_owned(),
        Term::Num(_) | Term::Str(..) | Term::Neg(_) => "a constant".to_owned(),
        Term::BinOp(..) => "an operator that makes a value".to_owned(),
        Term::Id | Term::Path(..) => "this".to_owned(),
    }
}

/// A place in the manifest; without a value it is not there.
#[derive(Clone)]
struct Place<'a> {
    path: Path,
    value: Option<&'a Value>,
}

struct Walk {
    left: usize,
}

impl Walk {
    fn pay(&mut self) -> Result<(), String> {
        self.left = self.left.checked_sub(1).ok_or_else(|| format!("it looks at more than {MOST_STEPS} values"))?;
        Ok(())
    }

    fn places<'a>(&mut self, node: &Node, from: &Place<'a>) -> Result<Vec<Place<'a>>, String> {
        self.pay()?;
        let mut found = Vec::new();
        match node {
            Node::Here => found.push(from.clone()),
            Node::Both(first, second) => {
                found.extend(self.places(first, from)?);
                found.extend(self.places(second, from)?);
            }
            Node::Pipe(first, second) => {
                for place in self.places(first, from)? {
                    found.extend(self.places(second, &place)?);
                }
            }
            Node::Select(condition) => {
                if self.answers(condition, from)?.iter().any(is_true) {
                    found.push(from.clone());
                }
            }
            Node::Step(before, at) => {
                for place in self.places(before, from)? {
                    self.step(&place, at, &mut found)?;
                }
            }
        }
        Ok(found)
    }

    fn step<'a>(&mut self, place: &Place<'a>, at: &At, found: &mut Vec<Place<'a>>) -> Result<(), String> {
        let mut push = |step: Step, value: Option<&'a Value>| {
            let mut path = place.path.clone();
            path.push(step);
            found.push(Place { path, value });
        };
        match (at, place.value) {
            (At::Name(name), Some(Value::Object(map))) => push(Step::Name(name.clone()), map.get(name)),
            (At::Name(name), None | Some(Value::Null)) => push(Step::Name(name.clone()), None),
            (At::Index(index), Some(Value::Array(items))) => {
                let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let index = if *index < 0 { index + length } else { *index };
                if let Ok(index) = usize::try_from(index) {
                    push(Step::Index(index), items.get(index));
                }
            }
            (At::Each, Some(Value::Array(items))) => {
                for (index, item) in items.iter().enumerate() {
                    self.pay()?;
                    push(Step::Index(index), Some(item));
                }
            }
            (At::Each, Some(Value::Object(map))) => {
                for (name, value) in map {
                    self.pay()?;
                    push(Step::Name(name.clone()), Some(value));
                }
            }
            // jq would end with an error: what is of another form than the expression is not meant by it.
            _ => {}
        }
        Ok(())
    }

    fn answers(&mut self, test: &Test, from: &Place<'_>) -> Result<Vec<Value>, String> {
        self.pay()?;
        Ok(match test {
            Test::Constant(value) => vec![value.clone()],
            Test::Path(node) => {
                self.places(node, from)?.into_iter().map(|place| place.value.cloned().unwrap_or_default()).collect()
            }
            Test::Of(node, test) => {
                let mut answers = Vec::new();
                for place in self.places(node, from)? {
                    answers.extend(self.answers(test, &place)?);
                }
                answers
            }
            Test::Equals(left, right, equal) => {
                let (left, right) = (self.answers(left, from)?, self.answers(right, from)?);
                let mut answers = Vec::new();
                for right in &right {
                    for left in &left {
                        self.pay()?;
                        answers.push(Value::Bool((left == right) == *equal));
                    }
                }
                answers
            }
            Test::And(left, right) => {
                let both =
                    self.answers(left, from)?.iter().any(is_true) && self.answers(right, from)?.iter().any(is_true);
                vec![Value::Bool(both)]
            }
            Test::Or(left, right) => {
                let one =
                    self.answers(left, from)?.iter().any(is_true) || self.answers(right, from)?.iter().any(is_true);
                vec![Value::Bool(one)]
            }
            Test::Not(inner) => self.answers(inner, from)?.iter().map(|answer| Value::Bool(!is_true(answer))).collect(),
            Test::Call(function, argument) => {
                let answer = match (function, from.value) {
                    (Function::Has, Some(Value::Object(map))) => map.contains_key(argument),
                    (Function::StartsWith, Some(Value::String(text))) => text.starts_with(argument.as_str()),
                    (Function::EndsWith, Some(Value::String(text))) => text.ends_with(argument.as_str()),
                    (Function::Contains, Some(Value::String(text))) => text.contains(argument.as_str()),
                    _ => false,
                };
                vec![Value::Bool(answer)]
            }
        })
    }
}

/// What jq takes for true.
fn is_true(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest() -> Value {
        json!({
            "kind": "Deployment",
            "metadata": {"annotations": {"example.com/a": "1", "plain": "2"}},
            "spec": {
                "replicas": 2,
                "template": {"spec": {"containers": [
                    {"name": "web", "image": "web:1", "env": [{"name": "A", "value": "1"}, {"name": "B"}]},
                    {"name": "web-proxy", "image": "proxy:1", "resources": {}}
                ]}}
            }
        })
    }

    fn paths(expression: &str) -> Vec<String> {
        let paths = Expression::parse(expression).unwrap_or_else(|message| panic!("{expression}: {message}"));
        let paths = paths.paths(&manifest()).unwrap();
        paths.iter().map(|path| path.iter().map(ToString::to_string).collect::<Vec<_>>().join("/")).collect()
    }

    #[test]
    fn the_expressions_that_people_write_for_argo_cd_name_the_fields_that_they_mean() {
        let containers = "spec/template/spec/containers";
        for (expression, expected) in [
            (".spec.replicas", vec!["spec/replicas".to_owned()]),
            (".metadata.annotations[\"example.com/a\"]", vec!["metadata/annotations/example.com/a".to_owned()]),
            (".metadata.annotations.\"example.com/a\"", vec!["metadata/annotations/example.com/a".to_owned()]),
            (
                ".spec.template.spec.containers[].image",
                vec![format!("{containers}/0/image"), format!("{containers}/1/image")],
            ),
            (".spec.template.spec.containers[-1].image", vec![format!("{containers}/1/image")]),
            (".spec.template.spec.containers[] | select(.name == \"web-proxy\")", vec![format!("{containers}/1")]),
            (
                ".spec.template.spec.containers[]|select(.name|endswith(\"-proxy\"))|.resources",
                vec![format!("{containers}/1/resources")],
            ),
            (
                ".spec.template.spec.containers[] | select(.name | endswith(\"-proxy\") | not).image",
                vec![format!("{containers}/0/image")],
            ),
            (
                ".spec.template.spec.containers[]?.env[]? | select(.name == \"A\" or .name == \"C\")",
                vec![format!("{containers}/0/env/0")],
            ),
            (
                ".spec.template.spec.containers[] | select(has(\"env\") and .image != \"x\") | .env[1]",
                vec![format!("{containers}/0/env/1")],
            ),
            (
                ".spec.template.spec.containers[] | select(.env[].value == \"1\") | .name",
                vec![format!("{containers}/0/name")],
            ),
            (".spec.replicas, .spec.paused", vec!["spec/replicas".to_owned()]),
            (".status.x.y", vec![]),
            (".spec.replicas.deeper", vec![]),
            (".", vec![]),
        ] {
            assert_eq!(paths(expression), expected, "{expression}");
        }
    }

    #[test]
    fn what_may_not_come_to_an_end_or_is_no_path_is_refused_with_what_is_taken() {
        for expression in [
            "..",
            "..|.image?",
            "def f: f; f",
            "recurse",
            "repeat(.)",
            "range(1; 9)",
            "until(.; .)",
            "while(.; .)",
            "input",
            "inputs",
            "reduce .[] as $x (0; .)",
            "foreach .[] as $x (0; .)",
            "label $f | .a",
            ".[1:2]",
            "$ENV",
            ".a = 1",
            ".a |= 1",
            ".a // .b",
            "1",
            "\"a\"",
            "[.a]",
            "{a}",
            "if . then .a else .b end",
            ".a + .b",
            "-1",
            "env",
            "paths",
            "del(.a)",
            ".[.a]",
            "to_entries[]",
            "select(.a; .b)",
            "select(recurse)",
            ".[\"\\(.a)\"]",
            "select(.a | test(\"x\"))",
            "try error catch .a",
            "limit(1; .a)",
            "@text",
        ] {
            let refused = Expression::parse(expression).map(|_| ()).unwrap_err();
            assert!(!refused.is_empty(), "{expression}");
        }
        assert!(Expression::parse("..").unwrap_err().contains("select(...)"));
        assert_eq!(Expression::parse(".a |").unwrap_err(), "it is not an expression of jq");
    }

    #[test]
    fn an_expression_can_neither_exhaust_the_stack_nor_the_time() {
        for expression in [
            "(".repeat(1024),
            "[".repeat(1024),
            ".a".repeat(512),
            "-".repeat(1024),
            ".|".repeat(512),
            "if ".repeat(341),
            "not ".repeat(256),
            "\"".repeat(1023),
            "try ".repeat(256),
            ".a?".repeat(341),
            ".".repeat(1025),
            "select(".repeat(146),
            "def a:".repeat(170),
        ] {
            // Refused or not: it comes back.
            let _ = Expression::parse(&expression);
        }
        let many = format!(".{}", "|(.,.)".repeat(14));
        let expression = Expression::parse(&many).unwrap();
        assert!(expression.paths(&manifest()).unwrap_err().contains("more than"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_or_the_walk_panic(text in r#"[.a|,()\[\]{}"\\ =!?0-9a-z@$;:-]{0,80}"#) {
            if let Ok(expression) = Expression::parse(&text) {
                let _ = expression.paths(&manifest());
            }
        }
    }
}

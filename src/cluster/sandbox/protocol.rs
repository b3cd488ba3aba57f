//! What the operator and the sandbox's process say to each other: one line of JSON each way, one question at a time. A further language
//! is a further kind of request.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The line with which the process says that it is confined and listens.
pub(super) const READY: &str = "ready";

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request<'a> {
    /// Whether these CEL expressions can be understood.
    CompileCel {
        /// The expressions.
        expressions: Vec<Cow<'a, str>>,
    },
    /// Which of these CEL expressions is the first that is true of an object.
    FirstTrue {
        /// The expressions, in the order in which they are evaluated.
        expressions: Vec<Cow<'a, str>>,
        /// The object, whose fields are the variables.
        object: Cow<'a, Value>,
    },
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Response {
    /// For each expression what is wrong with it, `None` for nothing.
    Compiled(Vec<Option<String>>),
    /// Which is the first.
    FirstTrue(Truth),
    /// The request could not be read.
    Unreadable(String),
}

/// How an evaluation has ended.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Truth {
    /// This one is true.
    Nth(usize),
    /// None is true.
    None {
        /// What the last one looked for in vain, in words.
        missing: Option<String>,
    },
    /// This one could not be evaluated.
    Failed {
        /// Its place.
        nth: usize,
        /// Why.
        message: String,
    },
}

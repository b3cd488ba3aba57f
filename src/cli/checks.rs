//! Health checks at the command line: compiled and evaluated in the same sandbox as the operator's.

use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Runtime;

use crate::api::HealthCheck;
use crate::cluster::sandbox::Sandbox;
use crate::engine::health::checks::{Check, Checks, Finding, Mistake};

/// How long an expression may take here, where nobody else waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything that is wrong with health checks. Nothing is started where there are none.
pub(super) fn mistakes(specified: &[HealthCheck]) -> Vec<Mistake> {
    let (checks, mut mistakes) = Checks::read(specified);
    if !checks.is_empty() {
        let compiled = Evaluator::start().and_then(|evaluator| evaluator.mistakes(&checks));
        mistakes.extend(compiled.unwrap_or_else(|message| {
            let message = format!("cannot be compiled here: {message}");
            vec![Mistake { index: 0, field: None, message }]
        }));
        mistakes.sort_by_key(|mistake| mistake.index);
    }
    mistakes
}

/// The sandbox, for a caller that waits.
pub(super) struct Evaluator {
    runtime: Runtime,
    sandbox: Sandbox,
}

impl Evaluator {
    pub(super) fn start() -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self {
            runtime: runtime.map_err(|error| error.to_string())?,
            sandbox: Sandbox::of_this_program().with_time(PATIENCE),
        })
    }

    /// What a check finds about an object.
    pub(super) fn find(&self, check: &Check, object: &Value) -> Finding {
        self.runtime.block_on(self.sandbox.find("", check, object)).finding
    }

    fn mistakes(&self, checks: &Checks) -> Result<Vec<Mistake>, String> {
        self.runtime.block_on(self.sandbox.mistakes(checks))
    }
}

//! Swell deploys an application in order: phase by phase, wave by wave, hooks included, by server-side apply.
//!
//! - [`api`]: the wire types, the custom resource `Application`
//! - [`engine`]: DECIDES, pure: what is wanted, the plan, the machine, the status
//! - [`cluster`]: ACTS: watches, calls, writes
//! - [`telemetry`]: WATCHES: metrics, probes, traces
//! - [`operator`]: the loop that joins them
//! - [`cli`]: the edge
//!
//! Dependencies go one way: cli → operator → cluster → telemetry → engine → api.

pub mod api;
pub mod cli;
pub mod cluster;
pub mod engine;
pub mod operator;
pub mod telemetry;

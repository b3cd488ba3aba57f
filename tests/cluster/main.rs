//! Tests on a real control plane: one for the whole run, a namespace and an operator process for each test.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod changes;
mod crash;
mod crd;
mod departure;
mod endurance;
mod fire;
mod gates;
mod hands;
mod heal;
mod hooks;
mod options;
mod ownership;
mod prunes;
mod refusals;
mod support;
mod verdicts;
mod waves;

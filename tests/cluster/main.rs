//! Tests on a real control plane: one for the whole run, a namespace and an operator process for each test.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod attacks;
mod availability;
mod broken;
mod changes;
mod checks;
mod commands;
mod crash;
mod crd;
mod departure;
mod differences;
mod ends;
mod endurance;
mod farewells;
mod faults;
mod fire;
mod gates;
mod hands;
mod heal;
mod hooks;
mod hooks_kept;
mod install;
mod migrate;
mod observe;
mod options;
mod ownership;
mod prunes;
mod recorded;
mod refusals;
mod rights;
mod role;
mod stolen;
mod support;
mod verdicts;
mod waves;

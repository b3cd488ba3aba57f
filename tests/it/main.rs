//! Tests that need no cluster.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod architecture;
mod combinations;
mod crd;
mod docs;
mod handover;
mod health;
mod laws;
mod lint;
mod metrics;
mod migrate;
mod plan;
mod rules;
mod sandbox;
mod silence;
mod simulation;
mod verdicts;
mod world;

//! DECIDES. Everything here is pure: no I/O, no clock, no randomness; time is a field of the observation. Equal input gives equal output.
//!
//! documents ([`yaml`]) → what is wanted ([`desired`]) → [`plan`] → [`step`](mod@step) → actions ([`action`]); what is live ([`live`])
//! and the answers come back as an observation; [`report`] makes the status of it, [`recover`] reads a status back.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod action;
pub mod advice;
pub mod attempt;
pub mod desired;
pub mod differences;
pub mod drift;
pub mod fields;
pub mod finding;
pub mod harmless;
pub mod heal;
pub mod health;
pub mod jq;
pub mod kinds;
pub mod ledger;
pub mod lenient;
pub mod lifecycle;
pub mod live;
pub mod membership;
pub mod object;
pub mod path;
pub mod plan;
pub mod recover;
pub mod report;
pub mod rights;
pub mod settings;
pub mod shards;
pub mod step;
pub mod yaml;

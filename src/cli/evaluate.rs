//! `swell evaluate`: the process in which expressions are evaluated. The operator starts it; it is no command for people.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::cluster::sandbox::worker;

/// Evaluate expressions from standard input; the operator and `swell health` start this by themselves.
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> anyhow::Result<ExitCode> {
    worker::run().context("evaluating expressions")?;
    Ok(ExitCode::SUCCESS)
}

//! `swell plan`: what a sync of these manifests would do, in order, without a cluster.

use std::process::ExitCode;

/// Print the plan of manifests: phases, waves, order, hooks with their policies, and every mistake.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}

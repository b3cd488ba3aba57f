//! `swell crd`: the custom resource definition, ready for `kubectl apply`.

use std::io::Write;
use std::process::ExitCode;

/// Print the CustomResourceDefinition of Application, ready for `kubectl apply --server-side -f -`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(crate::api::crd_yaml().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

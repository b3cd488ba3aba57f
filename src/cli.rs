//! The edge: what was typed becomes a call, errors become exit codes.

mod checks;
mod crd;
mod evaluate;
mod format;
mod health;
mod logging;
mod operator;
mod plan;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Deploys applications to Kubernetes in order: phases, waves and hooks, by server-side apply.
#[derive(Debug, Parser)]
#[command(name = "swell", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Operator(operator::Args),
    Plan(plan::Args),
    Health(health::Args),
    Crd(crd::Args),
    Evaluate(evaluate::Args),
}

/// Runs a command line; gives the exit code.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command {
        Command::Operator(args) => operator::run(args),
        Command::Plan(args) => plan::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Crd(args) => crd::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("swell: {error:#}");
            ExitCode::FAILURE
        }
    }
}

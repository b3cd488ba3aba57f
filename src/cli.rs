//! The edge: what was typed becomes a call, errors become exit codes.

mod ask;
mod checks;
mod cluster;
mod crd;
mod evaluate;
mod exit;
mod follow;
mod format;
mod get;
mod health;
mod history;
mod lint;
mod logging;
mod logs;
mod migrate;
mod operator;
mod plan;
mod progress;
mod show;
mod status;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Deploys applications to Kubernetes in order: phases, waves and hooks, by server-side apply.
#[derive(Debug, Parser)]
#[command(name = "swell", version, propagate_version = true, after_help = exit::help())]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Get(get::Args),
    Status(status::Args),
    Why(why::Args),
    Logs(logs::Args),
    History(history::Args),
    Sync(ask::SyncArgs),
    Wait(ask::WaitArgs),
    Retry(ask::RetryArgs),
    Terminate(ask::TerminateArgs),
    Operator(operator::Args),
    Plan(plan::Args),
    Lint(lint::Args),
    Migrate(migrate::Args),
    Health(health::Args),
    Crd(crd::Args),
    Evaluate(evaluate::Args),
}

/// Runs a command line; gives the exit code.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command {
        Command::Get(args) => get::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Why(args) => why::run(&args),
        Command::Logs(args) => logs::run(&args),
        Command::History(args) => history::run(&args),
        Command::Sync(args) => ask::sync(&args),
        Command::Wait(args) => ask::wait(&args),
        Command::Retry(args) => ask::retry(&args),
        Command::Terminate(args) => ask::terminate(&args),
        Command::Operator(args) => operator::run(args),
        Command::Plan(args) => plan::run(&args),
        Command::Lint(args) => lint::run(&args),
        Command::Migrate(args) => migrate::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Crd(args) => crd::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("swell: {error:#}");
            exit::Exit::Error.into()
        }
    }
}

//! The program `testbed`: runs a cluster in the foreground or in the background, and writes kubeconfigs.

mod detached;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "testbed",
    about = "A Kubernetes control plane on loopback, with pods that annotations script",
    version
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a cluster until Ctrl-C
    Serve(serve::ServeArgs),
    /// Have a cluster running in the background, and print its kubeconfig's path; one that runs already is reused
    Up(UpArgs),
    /// Stop a cluster that `up` started
    Down(NameArgs),
    /// Print a kubeconfig for a service account
    Kubeconfig(KubeconfigArgs),
}

#[derive(Args)]
struct NameArgs {
    /// Which one: several can run side by side
    #[arg(long, default_value = "demo")]
    name: String,
}

#[derive(Args)]
struct UpArgs {
    #[command(flatten)]
    name: NameArgs,
    #[command(flatten)]
    cluster: serve::ClusterArgs,
    /// Print the JSON that describes the cluster instead
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct KubeconfigArgs {
    /// The kubeconfig to ask with: it needs the right to create tokens
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// The service account, as NAMESPACE/NAME
    #[arg(long, value_name = "NS/NAME")]
    service_account: String,
    /// How many seconds the token is valid
    #[arg(long, default_value_t = 24 * 3600)]
    seconds: i64,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("testbed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Serve(args) => runtime()?.block_on(serve::serve(args)),
        Command::Up(args) => {
            let connection = detached::up(&args.name.name, args.cluster)?;
            if args.json {
                println!("{}", serde_json::to_string(&connection)?);
            } else {
                println!("{}", connection.kubeconfig.display());
            }
            Ok(())
        }
        Command::Down(args) => detached::down(&args.name),
        Command::Kubeconfig(args) => {
            let (namespace, name) = args
                .service_account
                .split_once('/')
                .with_context(|| format!("--service-account {:?} is not NAMESPACE/NAME", args.service_account))?;
            let text = testbed::for_service_account(&args.kubeconfig, namespace, name, args.seconds);
            println!("{}", runtime()?.block_on(text)?);
            Ok(())
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

//! `swell operator`: runs the operator until it is asked to stop.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::cluster::client::Connections;
use crate::cluster::lease::Pod;
use crate::engine::shards::Sharing;
use crate::operator::{self, Election, Options};

/// Run the operator, with the cluster of the kubeconfig or, in a pod, of its service account.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Look only at this namespace's Applications and objects; may be given more than once. Without it: the whole cluster.
    #[arg(long = "namespace", short = 'n', value_name = "NAMESPACE", env = "SWELL_NAMESPACES", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// Share the work with the other operators whose Leases are in this namespace: one leads, the others stand by.
    #[arg(long, value_name = "NAMESPACE", env = "SWELL_LEASE_NAMESPACE")]
    lease_namespace: Option<String>,
    /// With a Lease namespace: everyone takes a share of the Applications, instead of one that leads.
    #[arg(long, env = "SWELL_SHARDING", requires = "lease_namespace")]
    sharding: bool,
    /// The pod that this process runs in, as the downward API tells it: its Lease goes with the pod.
    #[arg(long, env = "POD_NAME", hide = true, requires = "pod_uid")]
    pod_name: Option<String>,
    #[arg(long, env = "POD_UID", hide = true, requires = "pod_name")]
    pod_uid: Option<String>,
    /// Log lines: for people, or as JSON for machines.
    #[arg(long, value_enum, default_value = "text", env = "SWELL_LOG_FORMAT")]
    log_format: LogFormat,
    /// What is logged, such as `info` or `swell=debug`.
    #[arg(long, default_value = "info", env = "SWELL_LOG", value_name = "FILTER")]
    log: String,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    start_logging(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let stopping = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("asked to stop: the writes under way are finished");
            stopping.cancel();
        });
        let connections = Connections::infer().await?;
        let pod = args.pod_name.zip(args.pod_uid).map(|(name, uid)| Pod { name, uid });
        let sharing = if args.sharding { Sharing::Buckets } else { Sharing::Leader };
        let election = args.lease_namespace.map(|namespace| Election { namespace, sharing, pod });
        if election.is_none() {
            tracing::info!("no --lease-namespace: this process takes itself to be the only one for its namespaces");
        }
        operator::run(connections, Options { namespaces: args.namespaces, election }, stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

fn start_logging(args: &Args) -> anyhow::Result<()> {
    // kube logs bodies that it cannot read, and those may hold a Secret.
    let filter = EnvFilter::try_new(format!("{},kube_client=error", args.log)).context("--log is not a filter")?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    match args.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

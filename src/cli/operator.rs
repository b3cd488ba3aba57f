//! `swell operator`: runs the operator until it is asked to stop.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::logging::{self, LogFormat};
use crate::cluster::account::{Acting, Forced};
use crate::cluster::client::Connections;
use crate::cluster::lease::Pod;
use crate::engine::shards::Sharing;
use crate::operator::{self, Election, Options};
use crate::telemetry::{Telemetry, otlp, server};

/// Run the operator, with the cluster of the kubeconfig or, in a pod, of its service account.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Look only at this namespace's Applications and objects; may be given more than once. Without it: the whole cluster.
    #[arg(long = "namespace", short = 'n', value_name = "NAMESPACE", env = "SWELL_NAMESPACES", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// Write everything as this service account, whatever Applications say: NAME is looked for in the namespace of each Application,
    /// NAMESPACE/NAME is one for all, with which tenants are not kept apart any more.
    #[arg(long, value_name = "NAME|NAMESPACE/NAME", env = "SWELL_FORCE_ACCOUNT")]
    force_account: Option<Forced>,
    /// Write everything with the operator's own rights, for a cluster whose Applications are all of one team: whoever may write an
    /// Application may then do all that the operator may.
    #[arg(long, env = "SWELL_OWN_RIGHTS")]
    own_rights: bool,
    /// Share the work with the other operators whose Leases are in this namespace: one leads, the others stand by.
    #[arg(long, value_name = "NAMESPACE", env = "SWELL_LEASE_NAMESPACE")]
    lease_namespace: Option<String>,
    /// With a Lease namespace: everyone takes a share of the Applications, instead of one that leads.
    #[arg(long, env = "SWELL_SHARDING")]
    sharding: bool,
    /// The pod that this process runs in, as the downward API tells it: its Lease goes with the pod.
    #[arg(long, env = "POD_NAME", hide = true)]
    pod_name: Option<String>,
    #[arg(long, env = "POD_UID", hide = true)]
    pod_uid: Option<String>,
    /// Keep no logs of failed pods in the status of Applications, whatever they say.
    #[arg(long, env = "SWELL_NO_LOG_CAPTURE")]
    no_log_capture: bool,
    /// Log lines: for people, or as JSON for machines.
    #[arg(long, value_enum, default_value = "text", env = "SWELL_LOG_FORMAT")]
    log_format: LogFormat,
    /// What is logged, such as `info` or `swell=debug`.
    #[arg(long, default_value = "info", env = "SWELL_LOG", value_name = "FILTER")]
    log: String,
    /// Serve /livez, /readyz and /metrics over plain HTTP on this address, such as `0.0.0.0:8080`. Without it: nowhere.
    #[arg(long, value_name = "ADDRESS", env = "SWELL_LISTEN")]
    listen: Option<SocketAddr>,
    /// Send a trace of each operation to this collector, by OTLP over HTTP, such as `http://collector:4318`. Without it: none.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
    /// Headers that the collector wants, as `name=value,name=value`.
    #[arg(
        long,
        value_name = "HEADERS",
        env = "OTEL_EXPORTER_OTLP_HEADERS",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    otlp_headers: String,
}

/// How long the traces that still wait at the end may take.
const FLUSH: Duration = Duration::from_millis(500);

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let acting = acting(&args)?;
    logging::start(args.log_format, &args.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let ended = runtime.block_on(async {
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
        let endpoint = args.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty());
        let (traces, worker) =
            endpoint.map(|endpoint| otlp::exporter(endpoint, &args.otlp_headers)).transpose()?.unzip();
        let telemetry = Arc::new(Telemetry { traces, ..Telemetry::default() });
        let (finish, tracing) = (CancellationToken::new(), TaskTracker::new());
        if let Some(worker) = worker {
            tracing.spawn(worker.run(telemetry.clone(), finish.clone()));
        }
        if let Some(address) = args.listen {
            let (listener, address) =
                server::listen(address).await.with_context(|| format!("cannot listen on {address}"))?;
            tracing::info!(%address, "serves /livez, /readyz and /metrics");
            tokio::spawn(server::serve(listener, telemetry.clone(), finish.clone()));
        }
        let connections = Connections::infer().await?;
        let pod = args.pod_name.zip(args.pod_uid).map(|(name, uid)| Pod { name, uid });
        let sharing = if args.sharding { Sharing::Buckets } else { Sharing::Leader };
        anyhow::ensure!(
            !args.sharding || args.lease_namespace.is_some(),
            "--sharding needs --lease-namespace: the processes find each other by the Leases there"
        );
        let election = args.lease_namespace.map(|namespace| Election { namespace, sharing, pod });
        if election.is_none() {
            tracing::info!("no --lease-namespace: this process takes itself to be the only one for its namespaces");
        }
        let options = Options { namespaces: args.namespaces, acting, election, capture_logs: !args.no_log_capture };
        let ended = operator::run(connections, options, telemetry, stop).await;
        finish.cancel();
        tracing.close();
        // What is lost of a trace holds no restart up.
        let _ = tokio::time::timeout(FLUSH, tracing.wait()).await;
        ended?;
        Ok(ExitCode::SUCCESS)
    });
    // A name that is still being looked up, say, holds the end up no longer.
    runtime.shutdown_background();
    ended
}

/// Whose rights the operator has in what it does for Applications. Both ways are settings of the whole operator; together they
/// contradict each other.
fn acting(args: &Args) -> anyhow::Result<Acting> {
    match (&args.force_account, args.own_rights) {
        (Some(forced), true) => anyhow::bail!(
            "--force-account {forced} and --own-rights contradict each other: give one of them (SWELL_FORCE_ACCOUNT and SWELL_OWN_RIGHTS count too)"
        ),
        (Some(forced), false) => Ok(Acting::AsForced(forced.clone())),
        (None, true) => Ok(Acting::AsOperator),
        (None, false) => Ok(Acting::AsNamed),
    }
}

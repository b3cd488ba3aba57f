//! `testbed serve`: a cluster in the foreground.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use testbed::{Connection, Options, Testbed};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::detached;

/// How often it is checked that all components still run.
const CHECK_EVERY: Duration = Duration::from_millis(500);

#[derive(Args, Clone, Copy)]
pub(crate) struct ClusterArgs {
    /// How many nodes
    #[arg(long, default_value_t = 3)]
    pub(crate) nodes: u32,
    /// Let etcd wait for the disk: for timings that are published
    #[arg(long)]
    pub(crate) fsync: bool,
    /// Keep the folder with state and logs at the end
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Print one line of JSON that describes the cluster, and nothing else
    #[arg(long)]
    json: bool,
    /// Stop when standard input ends: a parent that holds the other end cannot leave the cluster behind
    #[arg(long)]
    stop_on_stdin_eof: bool,
    /// Be the cluster that `up` and `down` know by this name
    #[arg(long, value_name = "NAME", hide = true)]
    detached: Option<String>,
}

/// Runs a cluster until a signal, the end of standard input (if asked), or the end of one of its components.
pub(crate) async fn serve(args: ServeArgs) -> Result<()> {
    let _registration = args.detached.as_deref().map(detached::Registration::new).transpose()?;
    let mut stop = Stop::new(args.stop_on_stdin_eof)?;
    let ClusterArgs { nodes, fsync, keep } = args.cluster;
    let testbed = tokio::select! {
        started = Testbed::start(Options { nodes, fsync, keep, bare: false }) => started?,
        () = stop.asked() => return Ok(()),
    };
    let connection = testbed.connection();
    if let Some(name) = &args.detached {
        detached::write_state(name, connection)?;
    }
    if args.json {
        print(&serde_json::to_string(connection)?);
    } else {
        print(&for_people(connection, testbed.started_in(), keep));
    }
    loop {
        tokio::select! {
            () = stop.asked() => return Ok(()),
            () = tokio::time::sleep(CHECK_EVERY) => testbed.check()?,
        }
    }
}

fn for_people(connection: &Connection, started_in: Duration, keep: bool) -> String {
    let kubeconfig = connection.kubeconfig.display();
    let bin = connection.bin.display();
    format!(
        "The cluster runs (started in {:.1} s). Its kubeconfig:\n\n  {kubeconfig}\n\nIn another terminal:\n\n  \
         export KUBECONFIG={kubeconfig}\n  export PATH={bin}:$PATH\n  kubectl get nodes\n\n\
         Logs of its components: {}/logs; audit log: {}\nCtrl-C stops it{}.",
        started_in.as_secs_f64(),
        connection.dir.display(),
        connection.audit_log.display(),
        if keep { " and keeps this folder" } else { " and removes all of it" },
    )
}

/// Whoever reads may have gone, which is no reason to stop.
fn print(text: &str) {
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// The ways in which this program is asked to stop.
struct Stop {
    signals: [tokio::signal::unix::Signal; 3],
    stdin_ended: Option<oneshot::Receiver<()>>,
}

impl Stop {
    fn new(on_stdin_eof: bool) -> Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(|kind| signal(kind).context("cannot listen for signals"));
        let stdin_ended = on_stdin_eof.then(|| {
            let (ended, receiver) = oneshot::channel();
            // A thread of its own: a read of standard input cannot be given up, and the runtime would wait for it at the end.
            std::thread::spawn(move || {
                let mut stdin = std::io::stdin();
                let mut buffer = [0; 256];
                while matches!(stdin.read(&mut buffer), Ok(length) if length > 0) {}
                let _ = ended.send(());
            });
            receiver
        });
        Ok(Self { signals: [interrupt?, terminate?, hangup?], stdin_ended })
    }

    async fn asked(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        let stdin_ended = async {
            match &mut self.stdin_ended {
                Some(ended) => drop(ended.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            () = stdin_ended => {}
        }
    }
}

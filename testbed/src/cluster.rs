//! Starts a cluster and waits until it is usable.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use kube::Client;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::binaries::Binaries;
use crate::certificates::Certificates;
use crate::components::Layout;
use crate::connection::Connection;
use crate::keeper::Keeper;
use crate::state_dir::StateDir;
use crate::{cache_dir, kubeconfig, kubelet, objects};

/// How long a cluster may take to become usable, building its binaries not counted.
const DEADLINE: Duration = Duration::from_secs(90);
const ATTEMPTS: u32 = 3;
/// The administrator's token; a cluster that is kept running for longer needs a new one.
const TOKEN_SECONDS: i64 = 30 * 24 * 3600;

/// How a cluster is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many nodes there are, `node-1` onwards.
    pub nodes: u32,
    /// Lets etcd wait for the disk, as a real one does: for timings that are published. Off by default.
    pub fsync: bool,
    /// Keeps the state's folder after the end.
    pub keep: bool,
    /// Only etcd and kube-apiserver, for tests of what the server itself does: nobody else changes an object, and there are
    /// no nodes, StorageClasses and service accounts but those that a test creates.
    pub bare: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { nodes: 3, fsync: false, keep: false, bare: false }
    }
}

/// A running cluster. Dropping it, or the end of this process for whatever reason, ends all of it.
#[derive(Debug)]
pub struct Testbed {
    connection: Connection,
    started_in: Duration,
    kubelet: JoinHandle<()>,
    keeper: Keeper,
    // After the keeper: fields are dropped in this order, and the components must be gone before their files.
    _dir: StateDir,
}

impl Testbed {
    /// Starts a cluster and waits until its nodes are Ready and pods can be created in the namespace `default` (of a bare one,
    /// until it serves). Builds the control plane first where it is missing. The log server is a task of the runtime that calls this.
    ///
    /// Fails with the last lines of a component's log when that ends or the cluster is not usable within 90 seconds.
    pub async fn start(options: Options) -> Result<Self> {
        let binaries = tokio::task::spawn_blocking(Binaries::locate).await??;
        let mut attempt = 1;
        loop {
            match Self::start_once(&binaries, options).await {
                // Ports are free when they are chosen, and somebody else's a moment later.
                Err(error) if attempt < ATTEMPTS && format!("{error:#}").contains("address already in use") => {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// Where to find it.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// How long the start took, from the first process to the last node, without building binaries.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Fails, with the last lines of its log, when a component has ended.
    pub fn check(&self) -> Result<()> {
        check(&self.keeper, &self.connection.dir)
    }

    async fn start_once(binaries: &Binaries, options: Options) -> Result<Self> {
        let begun = Instant::now();
        let dir = StateDir::create(&cache_dir()?.join("testbed").join("run"), options.keep)?;
        let [etcd_port, etcd_peer_port, server_port] = free_ports()?;
        let layout = Layout {
            dir: dir.path().to_owned(),
            binaries: binaries.clone(),
            certificates: Certificates::create(&dir.path().join("pki"))?,
            etcd_port,
            etcd_peer_port,
            server_port,
            fsync: options.fsync,
        };
        let (listener, kubelet_port) = kubelet::listen().await?;
        layout.write_files(kubelet_port)?;

        let keeper = Keeper::new()?;
        let deadline = begun + DEADLINE;
        keeper.start("etcd", layout.etcd(), &layout.log("etcd"))?;
        let etcd = SocketAddr::from((Ipv4Addr::LOCALHOST, etcd_port));
        wait(deadline, &keeper, dir.path(), async || {
            match TcpStream::connect_timeout(&etcd, Duration::from_millis(100)) {
                Ok(_) => Ok(None),
                Err(error) => Ok(Some(format!("etcd does not listen: {error}"))),
            }
        })
        .await?;
        keeper.start("kube-apiserver", layout.kube_apiserver(), &layout.log("kube-apiserver"))?;
        let client = kubeconfig::client(&layout.kubeconfig("root")).await?;
        wait(deadline, &keeper, dir.path(), async || Ok(not_serving(&client).await)).await?;

        let kubelet = tokio::spawn(kubelet::serve(listener, kubelet::tls(&layout.certificates)?, client.clone()));
        objects::create_admin(&client).await?;
        if !options.bare {
            keeper.start("kwok", layout.kwok(), &layout.log("kwok"))?;
            let log = layout.log("kube-controller-manager");
            keeper.start("kube-controller-manager", layout.kube_controller_manager(), &log)?;
            keeper.start("kube-scheduler", layout.kube_scheduler(), &layout.log("kube-scheduler"))?;
            objects::create_equipment(&client, options.nodes).await?;
        }

        let (namespace, name) = objects::ADMIN;
        let token = kubeconfig::request_token(&client, namespace, name, TOKEN_SECONDS).await?;
        let user = format!("{namespace}/{name}");
        let service_account_kubeconfig = layout.kubeconfig("admin");
        let ca = &layout.certificates.ca;
        kubeconfig::write_for_token(&service_account_kubeconfig, &layout.server(), ca, &user, &token)?;
        if !options.bare {
            wait(deadline, &keeper, dir.path(), async || objects::missing(&client, options.nodes).await).await?;
        }

        let connection = Connection {
            kubeconfig: layout.kubeconfig("root"),
            service_account_kubeconfig,
            audit_log: layout.audit_log(),
            dir: layout.dir.clone(),
            bin: binaries.dir.clone(),
            server: layout.server(),
            pid: std::process::id(),
        };
        Ok(Self { connection, started_in: begun.elapsed(), kubelet, keeper, _dir: dir })
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        self.kubelet.abort();
    }
}

/// Asks again until `missing` says nothing. Its errors are as good as an answer: the server may still be starting.
async fn wait(
    deadline: Instant,
    keeper: &Keeper,
    dir: &Path,
    missing: impl AsyncFn() -> Result<Option<String>>,
) -> Result<()> {
    loop {
        let what = match missing().await {
            Ok(None) => return Ok(()),
            Ok(Some(what)) => what,
            Err(error) => format!("{error:#}"),
        };
        check(keeper, dir)?;
        if Instant::now() > deadline {
            bail!("the cluster is not usable after {} s: {what}\n{}", DEADLINE.as_secs(), tail(dir, "kube-apiserver"));
        }
        // Servers that are starting can only be asked: the pause between two questions, up to the deadline.
        sleep(Duration::from_millis(50)).await;
    }
}

async fn not_serving(client: &Client) -> Option<String> {
    let request = http::Request::get("/readyz").body(Vec::new()).ok()?;
    client.request_text(request).await.err().map(|error| format!("kube-apiserver is not ready: {error}"))
}

fn check(keeper: &Keeper, dir: &Path) -> Result<()> {
    match keeper.exited()? {
        None => Ok(()),
        Some(exited) => Err(anyhow!("{} ended ({})\n{}", exited.name, exited.status, tail(dir, exited.name))),
    }
}

/// The last lines of a component's log.
fn tail(dir: &Path, component: &str) -> String {
    let path = dir.join("logs").join(format!("{component}.log"));
    let bytes = std::fs::read(&path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    format!("last lines of {}:\n{}", path.display(), lines[lines.len().saturating_sub(15)..].join("\n"))
}

/// Ports below the range that the kernel gives to outgoing connections, which would otherwise take one in between.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let (first, count) = (20_000_u32, 10_000_u32);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    let mut candidates = (0..count).map(|step| first + (clock / 1000 + std::process::id() * 31 + step) % count);
    let mut ports = [0; N];
    for port in &mut ports {
        *port = candidates
            .by_ref()
            .filter_map(|candidate| u16::try_from(candidate).ok())
            .find(|&candidate| TcpListener::bind((Ipv4Addr::LOCALHOST, candidate)).is_ok())
            .context("no free port between 20000 and 30000 on 127.0.0.1")?;
    }
    Ok(ports)
}

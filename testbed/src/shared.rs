//! One cluster for all tests of a process.

use std::io::{BufRead as _, BufReader};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::connection::Connection;

/// The cluster that the tests of a process share; [`Connection`] by dereference.
#[derive(Debug)]
pub struct SharedTestbed {
    connection: Connection,
    /// Its standard input is a pipe from this process: when this process ends, in whatever way, the cluster ends.
    _holder: Option<Child>,
}

impl Deref for SharedTestbed {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl SharedTestbed {
    /// A new namespace named `<prefix>-<number>`, in which pods can be created: its service account exists.
    pub async fn namespace(&self, client: &kube::Client, prefix: &str) -> Result<String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // A cluster that outlives this process may have seen this number.
        let name = format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .with_context(|| format!("cannot create namespace {name}"))?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while accounts.get_opt("default").await?.is_none() {
            ensure!(std::time::Instant::now() < deadline, "namespace {name} has no service account after 30 s");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(name)
    }
}

/// The cluster of this process: the one that the JSON file named by `SWELL_TESTBED` describes, else one that is started at
/// the first call by the program `testbed` and ends with this process. Blocks while it starts.
///
/// The program is the one beside the test executable (`target/debug/testbed`), or what `SWELL_TESTBED_BIN` names.
pub fn shared() -> Result<&'static SharedTestbed> {
    static SHARED: OnceLock<Result<SharedTestbed, String>> = OnceLock::new();
    SHARED.get_or_init(|| connect().map_err(|error| format!("{error:#}"))).as_ref().map_err(|error| anyhow!("{error}"))
}

fn connect() -> Result<SharedTestbed> {
    if let Some(path) = std::env::var_os("SWELL_TESTBED").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read SWELL_TESTBED={}", path.display()))?;
        let connection =
            Connection::from_json(&text).with_context(|| format!("SWELL_TESTBED={} is", path.display()))?;
        return Ok(SharedTestbed { connection, _holder: None });
    }
    let program = program()?;
    let mut holder = Command::new(&program)
        .args(["serve", "--json", "--stop-on-stdin-eof"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let mut line = String::new();
    let stdout = holder.stdout.take().context("the testbed's standard output is not a pipe")?;
    BufReader::new(stdout).read_line(&mut line)?;
    if line.is_empty() {
        let status = holder.wait()?;
        bail!("{} serve ended before the cluster was usable ({status}); what it said is above", program.display());
    }
    Ok(SharedTestbed { connection: Connection::from_json(&line)?, _holder: Some(holder) })
}

fn program() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("SWELL_TESTBED_BIN") {
        return Ok(PathBuf::from(program));
    }
    let test = std::env::current_exe().context("cannot find this executable")?;
    let beside = test.ancestors().skip(1).take(2).map(|folder| folder.join("testbed"));
    beside
        .into_iter()
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("no program testbed beside {}; `cargo build -p testbed` makes it", test.display()))
}

//! `testbed up` and `testbed down`: a cluster in the background, known by a name.
//!
//! For the name `demo` there are, in the cache directory's `testbed/`: `demo.lock`, held by the process of the cluster as
//! long as it lives; `demo.json`, its description, from when it is usable; `demo.log`, what that process says.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use testbed::{Binaries, Connection};

use crate::serve::ClusterArgs;

/// A cluster gives up its own start after a minute; its process ends then.
const START_DEADLINE: Duration = Duration::from_mins(2);
const STOP_DEADLINE: Duration = Duration::from_secs(15);
const CLAIM_DEADLINE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(50);

/// The claim of a running process to a name; ends with the process, or when it is dropped.
pub(crate) struct Registration {
    name: String,
    _lock: File,
}

impl Registration {
    /// Fails when a cluster of that name runs.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let lock = open_lock(name)?;
        let deadline = Instant::now() + CLAIM_DEADLINE;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                // Perhaps only somebody who looks whether it is held: tried again a few times, up to the deadline.
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(POLL / 5),
                Err(TryLockError::WouldBlock) => bail!("a cluster named {name} runs already"),
                Err(TryLockError::Error(error)) => return Err(error).context("cannot lock"),
            }
        }
        let _ = fs::remove_file(file(name, "json")?);
        Ok(Self { name: name.to_owned(), _lock: lock })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Ok(state) = file(&self.name, "json") {
            let _ = fs::remove_file(state);
        }
    }
}

/// Makes the description visible, whole or not at all.
pub(crate) fn write_state(name: &str, connection: &Connection) -> Result<()> {
    let (path, temporary) = (file(name, "json")?, file(name, "json.new")?);
    fs::write(&temporary, serde_json::to_string(connection)?)
        .and_then(|()| fs::rename(&temporary, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The cluster of that name: the running one, or a new one. Two calls at once get the same.
pub(crate) fn up(name: &str, args: ClusterArgs) -> Result<Connection> {
    ensure!(
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-'),
        "--name {name:?} may have letters, digits and hyphens"
    );
    // Here and not in the background, where nobody would see the progress of a build.
    Binaries::locate()?;
    let log_path = file(name, "log")?;
    let mut child = None;
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        if is_running(name)? {
            if let Some(connection) = read_state(name)? {
                return Ok(connection);
            }
        } else if child.is_none() {
            // Left by a cluster that was killed.
            let _ = fs::remove_file(file(name, "json")?);
            let log = File::options().create(true).write(true).truncate(true).mode(0o600).open(&log_path)?;
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["serve", "--json", "--detached", name, "--nodes", &args.nodes.to_string()]);
            command.args(args.fsync.then_some("--fsync")).args(args.keep.then_some("--keep"));
            // A process group of its own: Ctrl-C in the terminal is not for it.
            command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            child = Some(command.spawn().context("cannot start the cluster's process")?);
        }
        if let Some(status) = child.as_mut().map(Child::try_wait).transpose()?.flatten() {
            // Another `up` may have been first; then its cluster is the one.
            if is_running(name)? {
                child = None;
                continue;
            }
            let said = fs::read_to_string(&log_path).unwrap_or_default();
            bail!("the cluster did not start ({status}):\n{}", said.trim_end());
        }
        ensure!(
            Instant::now() < deadline,
            "the cluster named {name} neither started nor failed; see {}",
            log_path.display()
        );
        // Another process's file and lock can only be looked at: the pause between two looks, up to the deadline.
        std::thread::sleep(POLL);
    }
}

/// Stops the cluster of that name, if it runs, and waits until it is gone.
pub(crate) fn down(name: &str) -> Result<()> {
    if !is_running(name)? {
        let _ = writeln!(std::io::stderr(), "testbed: no cluster named {name} runs");
        return Ok(());
    }
    let Some(connection) = read_state(name)? else {
        bail!("the cluster named {name} is still starting; try again when it runs");
    };
    let pid = i32::try_from(connection.pid).ok().and_then(Pid::from_raw);
    let pid = pid.with_context(|| format!("{} is not a process id", connection.pid))?;
    kill_process(pid, Signal::TERM).with_context(|| format!("cannot stop process {}", connection.pid))?;
    let deadline = Instant::now() + STOP_DEADLINE;
    while is_running(name)? {
        ensure!(Instant::now() < deadline, "process {} still runs after 15 s", connection.pid);
        // A process that is not our child cannot be waited for: the pause between two looks, up to the deadline.
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Whether somebody holds the name's lock.
fn is_running(name: &str) -> Result<bool> {
    match open_lock(name)?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error).context("cannot look at the lock"),
    }
}

fn read_state(name: &str) -> Result<Option<Connection>> {
    let path = file(name, "json")?;
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(serde_json::from_str(&text).with_context(|| format!("{} is malformed", path.display()))?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn open_lock(name: &str) -> Result<File> {
    let path = file(name, "lock")?;
    File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))
}

fn file(name: &str, extension: &str) -> Result<PathBuf> {
    let dir = testbed::cache_dir()?.join("testbed");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir.join(format!("{name}.{extension}")))
}

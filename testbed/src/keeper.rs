//! Holds the components as children that cannot outlive this process.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// A thread that starts and owns all children, and kills them when it is dropped.
///
/// The kernel ties the parent-death signal to the *thread* that forked, so a child started from a worker of an async
/// runtime would die with that worker. This thread lives exactly as long as the children are wanted.
#[derive(Debug)]
pub(crate) struct Keeper {
    requests: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

/// A child that has ended although nobody asked it to.
#[derive(Debug)]
pub(crate) struct Exited {
    pub(crate) name: &'static str,
    pub(crate) status: ExitStatus,
}

enum Request {
    Start(&'static str, Box<Command>, Sender<io::Result<()>>),
    Exited(Sender<Option<Exited>>),
}

impl Keeper {
    pub(crate) fn new() -> Result<Self> {
        let (requests, inbox) = channel();
        let thread = std::thread::Builder::new()
            .name("testbed-keeper".to_owned())
            .spawn(move || keep(&inbox))
            .context("cannot start the thread that holds the components")?;
        Ok(Self { requests: Some(requests), thread: Some(thread) })
    }

    /// Starts `command` with both outputs appended to `log`. It is killed with this keeper, or by the kernel when this
    /// process ends in whatever way.
    pub(crate) fn start(&self, name: &'static str, mut command: Command, log: &Path) -> Result<()> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let (reply, answer) = channel();
        self.send(Request::Start(name, Box::new(command), reply))?;
        answer.recv()?.with_context(|| format!("cannot start {name}"))
    }

    /// The first child that has ended by itself, if any.
    pub(crate) fn exited(&self) -> Result<Option<Exited>> {
        let (reply, answer) = channel();
        self.send(Request::Exited(reply))?;
        Ok(answer.recv()?)
    }

    fn send(&self, request: Request) -> Result<()> {
        self.requests
            .as_ref()
            .and_then(|requests| requests.send(request).ok())
            .ok_or_else(|| anyhow!("the thread that holds the components has ended"))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // It cannot panic: it only kills and waits. If it did, the children died with it.
            let _ = thread.join();
        }
    }
}

fn keep(inbox: &Receiver<Request>) {
    let mut children: Vec<(&'static str, Child)> = Vec::new();
    while let Ok(request) = inbox.recv() {
        match request {
            Request::Start(name, mut command, reply) => {
                let started = die_with_this_process(&mut command).spawn().map(|child| children.push((name, child)));
                let _ = reply.send(started);
            }
            Request::Exited(reply) => {
                let exited = children
                    .iter_mut()
                    .find_map(|(name, child)| child.try_wait().ok().flatten().map(|status| Exited { name, status }));
                let _ = reply.send(exited);
            }
        }
    }
    // Killed, not asked: their state goes with them, and an orderly end of kube-apiserver takes many seconds. The last one
    // started goes first, so that nobody sees a server vanish and logs about it.
    for (_, child) in children.iter_mut().rev() {
        let _ = child.kill();
    }
    for (_, mut child) in children {
        let _ = child.wait();
    }
}

fn die_with_this_process(command: &mut Command) -> &mut Command {
    let parent = getpid();
    let in_child = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the line above.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::NotConnected.into()) }
    };
    #[expect(unsafe_code, reason = "the only way to run a system call between fork and exec")]
    // SAFETY: the closure makes two system calls, allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(in_child)
    }
}

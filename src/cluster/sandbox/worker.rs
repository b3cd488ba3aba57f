//! The process of the sandbox: this program once more, as `swell evaluate`. It bounds its own memory, stack and time, reads questions from
//! standard input until that ends, and does nothing else: no file, no connection.

use std::io::{self, BufRead as _, Write as _};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::cel::Cel;
use super::protocol::{READY, Request, Response};

/// Address space of the whole process. What needs more ends it.
const MEMORY: u64 = 512 << 20;
/// Stack of the thread that evaluates: an expression of 1 KiB cannot exhaust it by nesting alone.
const STACK: usize = 64 << 20;
/// Seconds of processor time for one question. The asker is less patient; this is for one that is gone.
pub(super) const SECONDS: u64 = 3;

/// Answers questions until standard input ends.
pub fn run() -> io::Result<()> {
    confine()?;
    let serving = std::thread::Builder::new().stack_size(STACK).spawn(serve)?;
    serving.join().map_err(|_| io::Error::other("the evaluation has panicked"))?
}

fn serve() -> io::Result<()> {
    let mut cel = Cel::new().map_err(io::Error::other)?;
    say(READY)?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        grant_time()?;
        let response = match serde_json::from_str::<Request<'_>>(&line) {
            Ok(Request::CompileCel { expressions }) => Response::Compiled(cel.compile(&expressions)),
            Ok(Request::FirstTrue { expressions, object }) => {
                Response::FirstTrue(cel.first_true(&expressions, &object))
            }
            Err(error) => Response::Unreadable(error.to_string()),
        };
        say(&serde_json::to_string(&response)?)?;
    }
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn confine() -> io::Result<()> {
    let exactly = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    // What is evaluated may be anything: it leaves no image of itself on the disk.
    setrlimit(Resource::Core, exactly(0))?;
    match setrlimit(Resource::As, exactly(MEMORY)) {
        // macOS takes no such limit.
        Err(_) if cfg!(not(target_os = "linux")) => Ok(()),
        limited => Ok(limited?),
    }
}

fn grant_time() -> io::Result<()> {
    let used = u64::try_from(clock_gettime(ClockId::ProcessCPUTime).tv_sec).unwrap_or(0);
    let maximum = getrlimit(Resource::Cpu).maximum;
    let until = used + SECONDS;
    let current = Some(maximum.map_or(until, |maximum| maximum.min(until)));
    Ok(setrlimit(Resource::Cpu, Rlimit { current, maximum })?)
}

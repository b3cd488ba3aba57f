//! Where expressions of other people are evaluated: in a process of its own, which may be killed. None can stop, slow or blow up the
//! operator. Processes are started when there is something to evaluate, two at most; who waits is served in the order of coming.

mod cel;
mod protocol;
mod strikes;
pub mod worker;

use std::borrow::Cow;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::protocol::{READY, Request, Response, Truth};
use self::strikes::{PATIENCE, Strikes};
use crate::engine::health::checks::{Check, Checks, Finding, Mistake};
use crate::engine::object::Digest;

/// Name of the hidden command that is the sandbox's process.
pub const COMMAND: &str = "evaluate";

/// Processes at most: one that is busy with a bad rule leaves the other to everybody else.
const WORKERS: usize = 2;
/// How long one question may take, unless somebody grants more.
const TIME: Duration = Duration::from_secs(1);
/// How long a process may take to begin.
const START: Duration = Duration::from_secs(30);
/// The largest question, in bytes.
const LARGEST: usize = 1 << 20;
/// The pause after a process could not be started.
const UNAVAILABLE: Duration = Duration::from_secs(5);

/// The sandbox.
pub struct Sandbox {
    program: PathBuf,
    time: Duration,
    slots: Semaphore,
    idle: Mutex<Vec<Worker>>,
    strikes: Strikes,
}

/// What an evaluation has found, and when it is worth trying again although nothing has changed.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// What it has found.
    pub finding: Finding,
    /// The pause before it is tried again, if it could not be evaluated now.
    pub again: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug)]
enum Refusal {
    /// It took too long, and was killed.
    TooLong,
    /// It needed more processor time than a process of the sandbox gives itself.
    TooMuchWork,
    /// Its process has died of it.
    Died,
    /// The question is too large.
    TooLarge(usize),
    /// There is no process to ask.
    Unavailable(String),
}

impl Sandbox {
    /// A sandbox whose processes are this program, with the command [`COMMAND`]. None is started yet.
    pub fn new(program: PathBuf) -> Self {
        let idle = Mutex::new(Vec::new());
        Self { program, time: TIME, slots: Semaphore::new(WORKERS), idle, strikes: Strikes::default() }
    }

    /// The same, with this much time for each question: for who would rather wait than be told that a busy machine took too long.
    #[must_use]
    pub fn with_time(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// A sandbox of the program that runs.
    pub fn of_this_program() -> Self {
        // The path of a program that was replaced while it runs leads elsewhere; this one does not.
        let own = PathBuf::from("/proc/self/exe");
        Self::new(if own.exists() { own } else { std::env::current_exe().unwrap_or_else(|_| "swell".into()) })
    }

    /// How many processes wait for questions.
    pub fn idle(&self) -> usize {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Which expressions of these checks cannot be understood. An error says why that cannot be told now.
    pub async fn mistakes(&self, checks: &Checks) -> Result<Vec<Mistake>, String> {
        let mut mistakes = Vec::new();
        for (_, check) in checks.iter() {
            let expressions: Vec<_> = check.expressions.iter().map(|(_, text)| Cow::Borrowed(text.as_str())).collect();
            let mut wrong = |field: Option<String>, message: String| {
                mistakes.push(Mistake { index: check.index, field, message });
            };
            // On a machine that is busy elsewhere even this may take too long once.
            let mut answer = Err(Refusal::TooLong);
            for _ in 0..PATIENCE {
                answer = self.ask(&Request::CompileCel { expressions: expressions.clone() }).await;
                if !matches!(answer, Err(Refusal::TooLong)) {
                    break;
                }
            }
            match answer {
                Ok(Response::Compiled(answers)) => {
                    for ((field, _), message) in check.expressions.iter().zip(answers) {
                        if let Some(message) = message {
                            wrong(Some(field.to_string()), message);
                        }
                    }
                }
                Ok(_) => return Err("the sandbox has not answered what it was asked".to_owned()),
                Err(Refusal::Unavailable(message)) => return Err(message),
                Err(refusal) => wrong(None, format!("cannot be compiled: {}", self.said(&refusal))),
            }
        }
        mistakes.sort_by_key(|mistake| mistake.index);
        Ok(mistakes)
    }

    /// Which expression of a check is the first that is true of an object. `whose` names the Application: one whose rule had to be
    /// stopped costs another with the same rule nothing.
    pub async fn find(&self, whose: &str, check: &Check, object: &Value) -> Found {
        let expressions: Vec<_> = check.expressions.iter().map(|(_, text)| Cow::Borrowed(text.as_str())).collect();
        let rule = format!("{whose} {}", Digest::of_bytes(expressions.join("\0").as_bytes()));
        let unknown = |message: String, again: Option<Duration>| Found {
            finding: Finding::Unknown { field: None, message },
            again,
        };
        if let Some((count, left)) = self.strikes.pause(&rule, Instant::now()) {
            return unknown(set_aside(count, left), Some(left));
        }
        let mut object = object.clone();
        // Nobody's rule is about who owns which field, and it is often half of the object.
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        match self.ask(&Request::FirstTrue { expressions, object: Cow::Owned(object) }).await {
            Ok(Response::FirstTrue(truth)) => {
                self.strikes.ended(&rule);
                let field = |nth: usize| check.expressions.get(nth).map(|(field, _)| *field);
                let finding = match truth {
                    Truth::Nth(nth) => match field(nth) {
                        Some(field) => Finding::True(field),
                        None => Finding::None { missing: None },
                    },
                    Truth::None { missing } => Finding::None { missing },
                    Truth::Failed { nth, message } => Finding::Unknown { field: field(nth), message },
                };
                Found { finding, again: None }
            }
            Ok(_) => unknown("the sandbox has not answered what it was asked".to_owned(), Some(UNAVAILABLE)),
            Err(refusal @ (Refusal::TooLong | Refusal::TooMuchWork | Refusal::Died)) => {
                let (count, pause) = self.strikes.stopped(&rule, Instant::now());
                tracing::warn!(
                    application = whose,
                    check = check.index,
                    count,
                    ?pause,
                    "a health check had to be stopped: it {}",
                    self.said(&refusal)
                );
                let message = format!("it {}; {}", self.said(&refusal), set_aside(count, pause));
                unknown(message, Some(pause))
            }
            Err(refusal @ Refusal::TooLarge(_)) => unknown(self.said(&refusal), None),
            Err(refusal @ Refusal::Unavailable(_)) => unknown(self.said(&refusal), Some(UNAVAILABLE)),
        }
    }

    async fn ask(&self, request: &Request<'_>) -> Result<Response, Refusal> {
        let mut line = serde_json::to_string(request).map_err(|error| Refusal::Unavailable(error.to_string()))?;
        if line.len() > LARGEST {
            return Err(Refusal::TooLarge(line.len()));
        }
        line.push('\n');
        let unavailable = |error: &dyn std::fmt::Display| {
            Refusal::Unavailable(format!("the sandbox's process does not run: {error}"))
        };
        let _slot = self.slots.acquire().await.map_err(|error| unavailable(&error))?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut worker = match idle.and_then(Worker::alive) {
            Some(worker) => worker,
            None => Worker::start(&self.program).await.map_err(|error| unavailable(&error))?,
        };
        match tokio::time::timeout(self.time, worker.exchange(&line)).await {
            Ok(Ok(response)) => {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
                Ok(response)
            }
            Ok(Err(_)) => Err(worker.cause().await),
            Err(_) => {
                worker.kill().await;
                Err(Refusal::TooLong)
            }
        }
    }

    fn said(&self, refusal: &Refusal) -> String {
        match refusal {
            Refusal::TooLong => format!("took longer than {}s", self.time.as_secs()),
            Refusal::TooMuchWork => format!("needed more than {}s of processor time", worker::SECONDS),
            Refusal::Died => "needed more memory than it may have".to_owned(),
            Refusal::TooLarge(bytes) => format!("the object has {bytes} bytes; at most {LARGEST} are judged"),
            Refusal::Unavailable(message) => message.clone(),
        }
    }
}

fn set_aside(count: u32, left: Duration) -> String {
    let left = left.as_secs().max(1);
    if count < PATIENCE {
        format!("tried again in {left}s")
    } else {
        format!("set aside after it had to be stopped {count} times, tried again in {left}s")
    }
}

/// One process.
struct Worker {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    async fn start(program: &PathBuf) -> std::io::Result<Self> {
        let mut child = Command::new(program)
            .arg0("swell")
            .arg(COMMAND)
            // It gets nothing that could be worth stealing, and holds no directory.
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(std::io::Error::other("it has no standard input and output"));
        };
        let mut worker = Self { child, input, output: BufReader::new(output).lines() };
        match tokio::time::timeout(START, worker.output.next_line()).await {
            Ok(Ok(Some(line))) if line == READY => Ok(worker),
            Ok(Ok(_)) => Err(std::io::Error::other("it does not say that it is ready")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(std::io::Error::other(format!("it was not ready within {}s", START.as_secs()))),
        }
    }

    /// The same, unless it has ended while it waited.
    fn alive(mut self) -> Option<Self> {
        matches!(self.child.try_wait(), Ok(None)).then_some(self)
    }

    async fn exchange(&mut self, line: &str) -> std::io::Result<Response> {
        self.input.write_all(line.as_bytes()).await?;
        self.input.flush().await?;
        match self.output.next_line().await? {
            Some(line) => Ok(serde_json::from_str(&line)?),
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Why a process that does not answer any more has ended.
    async fn cause(mut self) -> Refusal {
        let ended = tokio::time::timeout(TIME, self.child.wait()).await;
        let signal = ended.ok().and_then(Result::ok).and_then(|status| status.signal());
        if signal == Some(Signal::XCPU.as_raw()) { Refusal::TooMuchWork } else { Refusal::Died }
    }

    async fn kill(mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::debug!(%error, "a process of the sandbox was gone already");
        }
    }
}

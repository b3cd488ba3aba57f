//! `swell status`: one Application, whole.

mod tree;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use crossterm::terminal::{Clear, ClearType};
use crossterm::{cursor, queue, terminal};
use jiff::Timestamp;
use tokio::time::Instant;

use super::cluster::{Cluster, ClusterArgs, block_on};
use super::exit::Exit;
use super::follow::{Follow, Seen};
use super::show::{self, Form, Paint};
use crate::api::Application;
use crate::engine::object::Owner;

/// How often a picture on a terminal is drawn anew when nothing has changed but the time.
const TICK: Duration = Duration::from_secs(1);

/// Show an Application: why it failed or what it waits for, then its phases, stages and objects.
///
/// Ends with 0 when it is Ready, 3 while something is on its way, 4 when it has failed, 5 when nothing can be told.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The Application.
    #[arg(value_name = "APPLICATION")]
    name: String,
    /// Follow it until interrupted: redrawn in place on a terminal, one line for each change in a pipe.
    #[arg(long, short = 'w')]
    watch: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How it is shown.
    #[arg(long, short = 'o', value_enum, default_value_t, conflicts_with = "watch")]
    output: Form,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    block_on(async {
        let cluster = args.cluster.connect().await?;
        let owner = cluster.owner(&args.name);
        if args.watch {
            return watch(&cluster, &owner).await;
        }
        let application = cluster.application(&owner).await?;
        let text = match args.output {
            Form::Table | Form::Wide => tree::render(&application, Timestamp::now(), Paint::stdout()),
            Form::Name => format!("application.swell.dev/{}\n", owner.name()),
            Form::Json | Form::Yaml => show::objects(
                args.output,
                &[serde_json::to_value(&application).context("writing the Application")?],
                true,
            )?,
        };
        show::print(&text)?;
        Ok(standing(&application).into())
    })
}

/// How an Application stands, as an exit code.
pub(super) fn standing(application: &Application) -> Exit {
    let Some(status) = &application.status else { return Exit::Unknown };
    let holds = |kind: &str| status.conditions.iter().any(|c| c.type_ == kind && c.status == "True");
    let failed = status
        .operation_state
        .as_ref()
        .is_some_and(|state| state.phase.is_ended() && state.phase != crate::api::OperationPhase::Succeeded);
    let degraded = status.health.as_ref().is_some_and(|health| health.status == crate::api::HealthStatus::Degraded);
    if status.observed_generation != application.metadata.generation || holds("Reconciling") {
        Exit::OnTheWay
    } else if holds("Ready") {
        Exit::Done
    } else if failed || degraded || holds("Stalled") {
        Exit::Failed
    } else if status.conditions.is_empty() {
        Exit::Unknown
    } else {
        Exit::OnTheWay
    }
}

async fn watch(cluster: &Cluster, owner: &Owner) -> anyhow::Result<ExitCode> {
    let mut follow = Follow::start(cluster, owner)?;
    let on_terminal = std::io::stdout().is_terminal();
    let mut shown: Option<Box<Application>> = None;
    let mut picture = Picture::default();
    loop {
        // On a terminal the times go on also when nothing else does.
        let tick = on_terminal.then(|| Instant::now() + TICK);
        let next = tokio::select! {
            next = follow.next(tick) => next?,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("listening for the interrupt")?;
                return Ok(shown.as_deref().map_or(Exit::Unknown, standing).into());
            }
        };
        match next {
            Some(Seen::Nothing) => {}
            Some(Seen::Gone) if shown.is_none() => return Err(super::cluster::missing(owner)),
            Some(Seen::Gone) => {
                show::print(&format!("{owner} is gone\n"))?;
                return Ok(Exit::Done.into());
            }
            Some(Seen::There(application)) => {
                if on_terminal {
                    picture.draw(&tree::render(&application, Timestamp::now(), Paint::stdout()))?;
                } else {
                    let now = show::clock(Timestamp::now());
                    let lines = tree::changes(shown.as_deref(), &application);
                    let text: Vec<_> = lines.into_iter().map(|line| format!("{now} {line}\n")).collect();
                    show::print(&text.concat())?;
                }
                shown = Some(application);
            }
            None => {
                if let Some(application) = &shown {
                    picture.draw(&tree::render(application, Timestamp::now(), Paint::stdout()))?;
                }
            }
        }
    }
}

/// What was drawn last, so that the next picture takes its place.
#[derive(Default)]
struct Picture {
    lines: u16,
}

impl Picture {
    /// Draws it over the last one: what does not fit on the terminal is cut, so that it never scrolls.
    fn draw(&mut self, text: &str) -> anyhow::Result<()> {
        let (columns, height) = terminal::size().unwrap_or((80, 24));
        let mut out = std::io::stdout().lock();
        if self.lines > 0 {
            queue!(out, cursor::MoveToPreviousLine(self.lines)).context("drawing")?;
        }
        let fits = usize::from(height.saturating_sub(1)).max(1);
        let lines: Vec<_> = text.lines().collect();
        let cut = lines.len() > fits;
        let shown = if cut { &lines[..fits - 1] } else { &lines[..] };
        for line in shown {
            queue!(out, Clear(ClearType::UntilNewLine)).context("drawing")?;
            writeln!(out, "{}", show::cut(line, usize::from(columns))).context("drawing")?;
        }
        if cut {
            queue!(out, Clear(ClearType::UntilNewLine)).context("drawing")?;
            writeln!(out, "… {} more lines", lines.len() - shown.len()).context("drawing")?;
        }
        queue!(out, Clear(ClearType::FromCursorDown)).context("drawing")?;
        out.flush().context("drawing")?;
        self.lines = u16::try_from(shown.len() + usize::from(cut)).unwrap_or(u16::MAX);
        Ok(())
    }
}

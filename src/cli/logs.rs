//! `swell logs`: what the hooks and failed workloads of an Application have said.

use std::process::ExitCode;

use anyhow::Context as _;

use super::cluster::{Cluster, ClusterArgs, block_on};
use super::exit::Exit;
use super::show::{self, Look, Paint};
use crate::api::{Application, ResourceResult};
use crate::cli::plan::text::name as shown;
use crate::cluster::evidence;
use crate::engine::object::ObjectKey;

/// Show logs: of hooks that run, the live ones; of what has failed, those that were kept when it did.
///
/// Without --hook: of everything in the latest operation that has logs. Ends with 0 when there were any, and with 1 when there were none.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The Application.
    #[arg(value_name = "APPLICATION")]
    name: String,
    /// Only this hook or workload, by its name.
    #[arg(long, value_name = "NAME")]
    hook: Option<String>,
    /// Lines of each live container, from the end.
    #[arg(long, value_name = "LINES", default_value_t = 200)]
    tail: u32,
    #[command(flatten)]
    cluster: ClusterArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let text = block_on(async {
        let cluster = args.cluster.connect().await?;
        let application = cluster.application(&cluster.owner(&args.name)).await?;
        read(args, &cluster, &application).await
    })?;
    show::print(&text)?;
    Ok(Exit::Done.into())
}

async fn read(args: &Args, cluster: &Cluster, application: &Application) -> anyhow::Result<String> {
    let state = application.status.as_ref().and_then(|status| status.operation_state.as_ref());
    let state = state.with_context(|| format!("{} has had no operation yet", args.name))?;
    let wanted = |row: &&ResourceResult| args.hook.as_ref().is_none_or(|hook| row.name == *hook);
    let rows: Vec<_> = state.sync_result.iter().flat_map(|result| &result.resources).filter(wanted).collect();
    if let Some(hook) = args.hook.as_ref().filter(|_| rows.is_empty()) {
        let names = state.sync_result.iter().flat_map(|result| &result.resources).filter(|row| row.hook_type.is_some());
        let names: Vec<_> = names.map(|row| row.name.clone()).collect();
        anyhow::bail!("the latest operation has no object {hook:?}; its hooks are: {}", names.join(", "));
    }
    let paint = Paint::stdout();
    let mut text = String::new();
    let mut unread = Vec::new();
    for row in rows {
        let (kind, name) = shown(&row.group, &row.kind, row.namespace.as_deref(), &row.name);
        if let Some(log) = &row.log {
            heading(&mut text, paint, &format!("{kind} {name}, kept when it failed"));
            text.push_str(log);
            text.push('\n');
            continue;
        }
        // What is over and well has pods too, as long as they are kept.
        let key = ObjectKey::new(&row.group, &row.kind, row.namespace.as_deref(), &row.name);
        if row.hook_type.is_none() && args.hook.is_none() {
            continue;
        }
        match evidence::live_logs(&cluster.calls(), &key, row.uid.as_deref().unwrap_or_default(), args.tail).await {
            Ok(logs) => {
                for (place, log) in logs {
                    heading(&mut text, paint, &format!("{kind} {name}, {place}"));
                    text.push_str(&log);
                    if !log.ends_with('\n') {
                        text.push('\n');
                    }
                }
            }
            Err(message) => unread.push(format!("{kind} {name}: {message}")),
        }
    }
    for line in unread {
        eprintln!("swell: {line}");
    }
    if text.is_empty() {
        anyhow::bail!("there are no logs: nothing has failed with one, and no pod of a hook is there any more");
    }
    Ok(text)
}

fn heading(text: &mut String, paint: Paint, what: &str) {
    text.push_str(&paint.text(Look::Strong, &format!("==> {what} <==")));
    text.push('\n');
}

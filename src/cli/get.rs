//! `swell get`: the Applications and how they stand.

use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::Value;

use super::cluster::{Cluster, ClusterArgs, block_on, explained};
use super::exit::Exit;
use super::progress;
use super::show::{self, Form, Look, Paint};
use crate::api::Application;
use crate::cluster::application;

/// List Applications: sync, health, the latest operation, and what it waits for or why it failed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Applications; none: all of the namespace.
    #[arg(value_name = "APPLICATION")]
    names: Vec<String>,
    /// Of all namespaces.
    #[arg(long, short = 'A', conflicts_with_all = ["namespace", "names"])]
    all_namespaces: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How they are shown.
    #[arg(long, short = 'o', value_enum, default_value_t)]
    output: Form,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let objects = block_on(async { read(args, &args.cluster.connect().await?).await })?;
    let text = match args.output {
        Form::Json | Form::Yaml => show::objects(args.output, &objects, args.names.len() == 1)?,
        Form::Name => {
            let names: Vec<_> =
                objects.iter().map(|object| format!("application.swell.dev/{}\n", name(object))).collect();
            names.concat()
        }
        Form::Table | Form::Wide => {
            if objects.is_empty() {
                eprintln!(
                    "there are no Applications{}",
                    if args.all_namespaces { "" } else { " in this namespace; -A lists all" }
                );
                return Ok(Exit::Done.into());
            }
            rows(&objects, args.output == Form::Wide, args.all_namespaces, Timestamp::now())
        }
    };
    show::print(&text)?;
    Ok(Exit::Done.into())
}

async fn read(args: &Args, cluster: &Cluster) -> anyhow::Result<Vec<Value>> {
    let calls = cluster.calls();
    if args.names.is_empty() {
        let namespace = (!args.all_namespaces).then_some(&*cluster.namespace);
        let owner = cluster.owner("");
        return application::list(&calls, namespace).await.map_err(|fault| explained(&fault, &owner));
    }
    let mut objects = Vec::new();
    for name in &args.names {
        let owner = cluster.owner(name);
        objects.push(application::get_raw(&calls, &owner).await.map_err(|fault| explained(&fault, &owner))?);
    }
    Ok(objects)
}

fn name(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

fn rows(objects: &[Value], wide: bool, namespaces: bool, now: Timestamp) -> String {
    let rows = objects.iter().map(|object| {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let created = text("/metadata/creationTimestamp").parse::<Timestamp>();
        let stage = text("/status/operationState/stage/text");
        let running = object.pointer("/status/operationState/finishedAt").is_none();
        let line = match serde_json::from_value::<Application>(object.clone()) {
            Ok(application) => progress::cause(&application),
            Err(error) => format!("cannot be read: {error}"),
        };
        [
            if namespaces { text("/metadata/namespace") } else { String::new() },
            name(object).to_owned(),
            text("/status/sync/status"),
            text("/status/health/status"),
            text("/status/operationState/phase"),
            if running { stage } else { String::new() },
            created.map_or_else(|_| String::new(), |created| show::age(created, now)),
            if wide { text("/status/sync/revision") } else { String::new() },
            if wide { line } else { show::shortened(&line) },
        ]
    });
    let head = ["NAMESPACE", "NAME", "SYNC", "HEALTH", "PHASE", "STAGE", "AGE", "REVISION", "MESSAGE"];
    let mut table = vec![head.map(str::to_owned)];
    table[0][0].truncate(if namespaces { usize::MAX } else { 0 });
    table[0][7].truncate(if wide { usize::MAX } else { 0 });
    table.extend(rows);
    let lines =
        show::columns(
            &table,
            Paint::stdout(),
            |column, cell| if (2..5).contains(&column) { Look::of(cell) } else { Look::Plain },
        );
    lines.join("\n") + "\n"
}

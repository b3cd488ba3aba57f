//! `swell history`: the operations that have ended.

use std::process::ExitCode;

use jiff::Timestamp;

use super::cluster::{ClusterArgs, block_on};
use super::exit::Exit;
use super::show::{self, Form, Look, Paint};
use crate::api::{Application, HistoryEntry};

/// List the operations of an Application that have ended, the latest first. Dry runs are not among them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The Application.
    #[arg(value_name = "APPLICATION")]
    name: String,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How they are shown; `name` gives the ids.
    #[arg(long, short = 'o', value_enum, default_value_t)]
    output: Form,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let application = block_on(async {
        let cluster = args.cluster.connect().await?;
        cluster.application(&cluster.owner(&args.name)).await
    })?;
    let entries = entries(&application);
    if entries.is_empty() && matches!(args.output, Form::Table | Form::Wide) {
        eprintln!("no operation of {} has ended yet", args.name);
        return Ok(Exit::Done.into());
    }
    let text = match args.output {
        Form::Json => serde_json::to_string_pretty(entries)? + "\n",
        Form::Yaml => serde_saphyr::to_string(&entries)?,
        Form::Name => entries.iter().map(|entry| entry.id.clone() + "\n").collect(),
        Form::Table | Form::Wide => table(entries, args.output == Form::Wide, Timestamp::now(), Paint::stdout()),
    };
    show::print(&text)?;
    Ok(Exit::Done.into())
}

fn entries(application: &Application) -> &[HistoryEntry] {
    application.status.as_ref().map(|status| status.history.as_slice()).unwrap_or_default()
}

fn table(entries: &[HistoryEntry], wide: bool, now: Timestamp, paint: Paint) -> String {
    let head = ["ID", "PHASE", "ENDED", "TOOK", "REVISION", "MESSAGE"].map(str::to_owned);
    let rows = entries.iter().map(|entry| {
        let times = entry.self_heals.map(|times| format!(" ({times} self-heals in a row)")).unwrap_or_default();
        let message = entry.message.as_deref().unwrap_or_default();
        let line = message.lines().next().unwrap_or_default();
        [
            entry.id.clone(),
            entry.phase.to_string(),
            format!("{} ago", show::age(entry.finished_at, now)),
            show::age(entry.started_at, entry.finished_at),
            entry.revision.clone().unwrap_or_default(),
            if wide { format!("{line}{times}") } else { show::shortened(&format!("{line}{times}")) },
        ]
    });
    let table: Vec<_> = std::iter::once(head).chain(rows).collect();
    show::columns(&table, paint, |column, cell| if column == 1 { Look::of(cell) } else { Look::Plain }).join("\n")
        + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_a_line_with_its_duration_and_its_first_words() {
        let entries: Vec<HistoryEntry> = serde_json::from_value(serde_json::json!([
            {"id": "b", "phase": "Failed", "startedAt": "2026-01-01T00:01:00Z", "finishedAt": "2026-01-01T00:01:30Z", "message": "exit code 3\nlog"},
            {"id": "a", "phase": "Succeeded", "revision": "7f00", "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z", "selfHeals": 4}
        ]))
        .unwrap();
        let text = table(&entries, false, "2026-01-01T00:02:00Z".parse().unwrap(), Paint::none());
        let expected = "\
ID  PHASE      ENDED    TOOK  REVISION  MESSAGE
b   Failed     30s ago  30s             exit code 3
a   Succeeded  119s ago  1s    7f00       (4 self-heals in a row)
";
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&text), squeezed(expected), "\n{text}");
    }
}

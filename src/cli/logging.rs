//! Log lines: one event a line, whatever people or the cluster have put into it, with the application and the operation that it is about.

use std::fmt::Debug;
use std::io::IsTerminal as _;

use anyhow::Context;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::engine::harmless;

/// The form of log lines.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Starts logging to standard error.
pub(super) fn start(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing::subscriber::set_global_default(subscriber(format, filter, colour, std::io::stderr)?)
        .context("logging was started twice")
}

fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    colour: bool,
    to: W,
) -> anyhow::Result<Box<dyn tracing::Subscriber + Send + Sync>>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // kube logs bodies that it cannot read, and those may hold a Secret.
    let filter = EnvFilter::try_new(format!("{filter},kube_client=error")).context("--log is not a filter")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(to).with_ansi(colour);
    Ok(match format {
        LogFormat::Text => Box::new(builder.fmt_fields(debug_fn(field).delimited(" ")).finish()),
        LogFormat::Json => {
            Box::new(builder.json().flatten_event(true).with_current_span(true).with_span_list(false).finish())
        }
    })
}

/// Writes one field. What people, webhooks and containers say may hold anything: a line feed would begin a line that nobody has logged, and
/// an escape would move the cursor of a terminal.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> std::fmt::Result {
    let name = field.name();
    if name != "message" {
        write!(writer, "{name}=")?;
    }
    for c in format!("{value:?}").chars() {
        if harmless::is_harmful(c) { write!(writer, "{}", c.escape_default())? } else { writer.write_char(c)? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat) -> String {
        let lines = Lines::default();
        let to = lines.clone();
        let subscriber = subscriber(format, "info", false, move || to.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::error_span!("application", application = %"shop/web", operation = "op-1");
            let _in = span.enter();
            let said = "no\n2026 INFO forged \u{1b}[2J";
            tracing::warn!(error = %said, count = 2, "webhook said: {said}");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_others_say_neither_begins_a_line_nor_moves_a_cursor_in_the_text_form() {
        let text = logged(LogFormat::Text);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end().chars().any(char::is_control), "{text}");
        let said = "webhook said: no\\n2026 INFO forged \\u{1b}[2J error=no\\n2026 INFO forged \\u{1b}[2J count=2";
        assert!(text.contains(said), "{text}");
        assert!(text.contains("application{application=shop/web operation=\"op-1\"}"), "{text}");
    }

    #[test]
    fn a_machine_reads_application_operation_and_fields_from_one_json_object_a_line() {
        let text = logged(LogFormat::Json);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["span"]["application"], "shop/web");
        assert_eq!(line["span"]["operation"], "op-1");
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["error"], "no\n2026 INFO forged \u{1b}[2J");
        assert_eq!(line["count"], 2);
    }
}

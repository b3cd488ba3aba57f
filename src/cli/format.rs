//! How results are written: for people or for machines.

use std::io::{ErrorKind, Write as _};

use anyhow::Context as _;
use serde::Serialize;

/// The forms that `-o` takes.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
    Yaml,
}

impl Format {
    /// Writes a result to standard output; `text` makes the form for people.
    pub(super) fn print<T: Serialize>(self, output: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        let text = match self {
            Self::Text => text(output),
            Self::Json => serde_json::to_string_pretty(output).context("writing JSON")? + "\n",
            Self::Yaml => serde_saphyr::to_string(output).context("writing YAML")?,
        };
        match std::io::stdout().write_all(text.as_bytes()) {
            // `swell plan … | head` has read enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written.context("writing the result"),
        }
    }
}

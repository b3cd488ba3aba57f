//! How what a cluster has is shown: tables as kubectl prints them, or the objects for machines.

use std::io::{ErrorKind, IsTerminal as _, Write as _};

use anyhow::Context as _;
use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The forms that `-o` takes for objects of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Form {
    /// Columns for people.
    #[default]
    Table,
    /// The same with more columns.
    Wide,
    /// The objects as JSON.
    Json,
    /// The objects as YAML.
    Yaml,
    /// `application.swell.dev/NAME`, a line each.
    Name,
}

/// Writes to standard output. Whoever has read enough (`swell get | head`) is no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing the result"),
    }
}

/// Objects for machines: one as itself, several as a List.
pub(super) fn objects(form: Form, objects: &[Value], one: bool) -> anyhow::Result<String> {
    let whole = match objects {
        [object] if one => object.clone(),
        objects => json!({"apiVersion": "v1", "kind": "List", "items": objects}),
    };
    Ok(match form {
        Form::Yaml => serde_saphyr::to_string(&whole).context("writing YAML")?,
        _ => serde_json::to_string_pretty(&whole).context("writing JSON")? + "\n",
    })
}

/// Rows in columns that are as wide as they must be, without those in which nothing stands; `style` says how a cell looks on a terminal.
pub(super) fn columns<const N: usize>(
    rows: &[[String; N]],
    paint: Paint,
    style: impl Fn(usize, &str) -> Look,
) -> Vec<String> {
    let used: Vec<_> = (0..N).filter(|column| rows.iter().any(|row| !row[*column].is_empty())).collect();
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if paint.on {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    for row in rows {
        table.add_row(used.iter().map(|&column| style(column, &row[column]).cell(&row[column])));
    }
    // The first column begins at the margin, as kubectl's does.
    table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect()
}

/// Characters of a message that a table shows without `-o wide`.
const COLUMNS: usize = 90;

/// A message as a table shows it without `-o wide`.
pub(super) fn shortened(line: &str) -> String {
    if line.chars().count() <= COLUMNS {
        return line.to_owned();
    }
    line.chars().take(COLUMNS - 1).chain(['…']).collect()
}

/// The beginning of a line that takes so many columns, styles not counted.
pub(super) fn cut(line: &str, columns: usize) -> String {
    let mut kept = String::new();
    let mut used = 0;
    let mut style = false;
    for c in line.chars() {
        style |= c == '\u{1b}';
        if !style {
            used += unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
            if used > columns {
                // Styles end what they began, also behind the cut.
                continue;
            }
        }
        kept.push(c);
        style &= c != 'm';
    }
    kept
}

/// The time of the day here.
pub(super) fn clock(at: Timestamp) -> String {
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string()
}

/// How long ago, as kubectl writes ages: `45s`, `3m20s`, `5h`, `12d`.
pub(super) fn age(then: Timestamp, now: Timestamp) -> String {
    elapsed(now.as_second() - then.as_second())
}

/// So many seconds, as kubectl writes ages.
pub(super) fn elapsed(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let two = |big: i64, unit: &str, small: i64, rest: &str| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{rest}"),
    };
    match (seconds, seconds / 60, seconds / 3_600, seconds / 86_400) {
        (0..120, ..) => format!("{seconds}s"),
        (_, minutes @ 0..10, ..) => two(minutes, "m", seconds % 60, "s"),
        (_, minutes @ 0..180, ..) => format!("{minutes}m"),
        (_, minutes, hours @ 0..8, _) => two(hours, "h", minutes % 60, "m"),
        (_, _, hours @ 0..48, _) => format!("{hours}h"),
        (_, _, hours, days @ 0..8) => two(days, "d", hours % 24, "h"),
        (_, _, _, days) => format!("{days}d"),
    }
}

/// Styles that are there on a terminal alone, and not when NO_COLOR says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paint {
    on: bool,
}

impl Paint {
    /// For standard output.
    pub(super) fn stdout() -> Self {
        let asked_not = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            on: std::io::stdout().is_terminal()
                && !asked_not
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
        }
    }

    /// Without any.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { on: false }
    }

    /// Whether there are any.
    pub(super) fn is_on(self) -> bool {
        self.on
    }

    /// A text with that look.
    pub(super) fn text(self, look: Look, text: &str) -> String {
        let style = look.style();
        if self.on && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// A word that stands for how something is, in its colour.
    pub(super) fn word(self, word: &str) -> String {
        self.text(Look::of(word), word)
    }
}

/// How a piece of text looks on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// As it is.
    Plain,
    /// Something that is well.
    Good,
    /// Something on its way.
    Pending,
    /// Something that has failed.
    Bad,
    /// What is less important.
    Faint,
    /// A heading.
    Strong,
}

impl Look {
    /// Of the word of a health, an operation's phase, a row's status, or of its sign.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "Healthy" | "Succeeded" | "Synced" | "✓" => Self::Good,
            "Degraded" | "Failed" | "Error" | "SyncFailed" | "✗" => Self::Bad,
            "Progressing" | "Running" | "Terminating" | "OutOfSync" | "Suspended" | "Missing" | "●" => Self::Pending,
            "·" => Self::Faint,
            _ => Self::Plain,
        }
    }

    fn style(self) -> anstyle::Style {
        use anstyle::{AnsiColor, Style};
        match self {
            Self::Plain => Style::new(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Pending => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Strong => Style::new().bold(),
        }
    }

    fn cell(self, text: &str) -> Cell {
        let cell = Cell::new(text);
        match self {
            Self::Plain => cell,
            Self::Good => cell.fg(Color::DarkGreen),
            Self::Pending => cell.fg(Color::DarkYellow),
            Self::Bad => cell.fg(Color::DarkRed).add_attribute(Attribute::Bold),
            Self::Faint => cell.add_attribute(Attribute::Dim),
            Self::Strong => cell.add_attribute(Attribute::Bold),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_kubectls() {
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (3_600, "60m"),
            (10_800, "3h"),
            (12_000, "3h20m"),
            (86_400, "24h"),
            (200_000, "2d7h"),
            (864_000, "10d"),
        ];
        for (seconds, text) in cases {
            assert_eq!(elapsed(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn a_table_begins_at_the_margin_and_has_no_spaces_at_the_ends() {
        let rows =
            [["NAME", "", "PHASE"], ["shop", "", "Running"], ["a-long-one", "", ""]].map(|row| row.map(str::to_owned));
        let lines = columns(&rows, Paint::none(), |_, _| Look::Plain);
        assert_eq!(lines, ["NAME        PHASE", "shop        Running", "a-long-one"]);
    }

    #[test]
    fn a_cut_line_keeps_its_styles_whole() {
        assert_eq!(cut("\u{1b}[31mred text\u{1b}[0m", 3), "\u{1b}[31mred\u{1b}[0m");
        assert_eq!(cut("short", 10), "short");
    }

    #[test]
    fn without_a_terminal_there_is_no_colour() {
        assert_eq!(Paint::none().word("Failed"), "Failed");
        assert_eq!(Paint { on: true }.word("Healthy"), "\u{1b}[32mHealthy\u{1b}[0m");
    }
}

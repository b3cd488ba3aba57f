//! What is told on standard error: of each Application what became of its fields, what behaves otherwise, object by object, and
//! what is to be done before it is applied.

use std::fmt::Write as _;

use crate::engine::object::ObjectKey;

/// A difference in behaviour: its row in `docs/rules.md`, and what it means here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// `V1` to `V33`.
    pub(super) id: &'static str,
    /// What it means here, in one line.
    pub(super) text: String,
}

impl Row {
    /// The row of that id.
    pub(super) fn new(id: &'static str, text: impl Into<String>) -> Self {
        Self { id, text: text.into() }
    }
}

/// The differences of one object.
#[derive(Clone, Debug)]
pub(super) struct ObjectRows {
    /// `Kind namespace/name`.
    pub(super) object: String,
    /// Where its manifest stands.
    pub(super) place: String,
    /// At least one.
    pub(super) rows: Vec<Row>,
}

/// What there is to say of one object of Argo CD's.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    /// Kind, namespace and name in Argo CD.
    pub(super) from: String,
    /// File and line.
    pub(super) place: String,
    /// What was written, in words; `None` when nothing was.
    pub(super) to: Option<String>,
    /// Why nothing was written.
    pub(super) problems: Vec<String>,
    /// Fields that are not carried over as they stand.
    pub(super) fields: Vec<String>,
    /// Differences of the Application as a whole.
    pub(super) rows: Vec<Row>,
    /// Differences of its objects.
    pub(super) objects: Vec<ObjectRows>,
    /// What a person has to do or to know before it is applied.
    pub(super) before: Vec<String>,
    /// Commands that make what cannot be made here.
    pub(super) commands: Vec<String>,
    /// The values of --rendered that it took.
    pub(super) rendered: Vec<String>,
    /// The objects that it has.
    pub(super) keys: Vec<ObjectKey>,
}

impl Report {
    /// Notes that other Applications have an object of this one as well.
    pub(super) fn share(&mut self, object: &str, others: &str) {
        let row = Row::new(
            "V25",
            format!("{others} has it as well: the first one keeps it, the other is refused; take it out of one"),
        );
        match self.objects.iter_mut().find(|known| known.object == object) {
            Some(known) => known.rows.push(row),
            None => self.objects.push(ObjectRows {
                object: object.to_owned(),
                place: "in its source".to_owned(),
                rows: vec![row],
            }),
        }
    }
}

/// All of it, with a newline at its end.
pub(super) fn render(reports: &[Report], notes: &[String]) -> String {
    let mut text = String::new();
    for report in reports {
        one(report, &mut text);
    }
    for note in notes {
        let _ = writeln!(text, "{note}");
    }
    let commands: Vec<_> = reports.iter().flat_map(|report| &report.commands).collect();
    if !commands.is_empty() {
        text.push_str("\nTo render what cannot be rendered here, run this, then call `swell migrate` again with these flags as well:\n\n");
        for command in commands {
            let _ = writeln!(text, "{command}\n");
        }
    }
    text
}

fn one(report: &Report, text: &mut String) {
    let Report { from, place, to, problems, fields, rows, objects, before, commands: _, keys: _, rendered: _ } = report;
    match to {
        Some(to) => {
            let _ = writeln!(text, "{from} ({place}): {to}");
        }
        None => {
            let _ = writeln!(text, "{from} ({place}): not migrated");
        }
    }
    for problem in problems {
        let _ = writeln!(text, "  {problem}");
    }
    if to.is_none() {
        // Of what was not written nothing behaves otherwise yet.
        return text.push('\n');
    }
    list("fields", fields, text);
    if !rows.is_empty() {
        text.push_str("  behaves otherwise\n");
        self::rows(rows, "    ", text);
    }
    if !objects.is_empty() {
        text.push_str("  object by object\n");
        for ObjectRows { object, place, rows } in objects {
            let _ = writeln!(text, "    {object} ({place})");
            self::rows(rows, "      ", text);
        }
    }
    list("before it is applied", before, text);
    text.push('\n');
}

fn rows(rows: &[Row], indent: &str, text: &mut String) {
    for Row { id, text: row } in rows {
        let _ = writeln!(text, "{indent}{id:<3} {row}");
    }
}

fn list(heading: &str, entries: &[String], text: &mut String) {
    if !entries.is_empty() {
        let _ = writeln!(text, "  {heading}");
        for entry in entries {
            let _ = writeln!(text, "    {entry}");
        }
    }
}

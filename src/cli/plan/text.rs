//! The plan as people read it: a heading for each stage, a line for each object.

use std::fmt::Write as _;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};

use super::output::{Action, ApplicationPlan, Mistake, Output, Stage, Task};
use crate::api::Phase;
use crate::engine::harmless;
use crate::engine::health::is_custom;
use crate::engine::settings::is_deletion;

/// The whole text, with a newline at its end.
pub(super) fn render(output: &Output) -> String {
    let mut text = String::new();
    for plan in &output.applications {
        if !text.is_empty() {
            text.push('\n');
        }
        application(plan, &mut text);
    }
    list("Notes on the files", &output.notes, &mut text);
    if !output.mistakes.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        let count = number(output.mistakes.len(), "mistake");
        line(&mut text, &format!("{count}: nothing of what has one would be written"));
        text.push('\n');
        for mistake in &output.mistakes {
            line(&mut text, &self::mistake(mistake));
        }
    }
    text
}

fn application(plan: &ApplicationPlan, text: &mut String) {
    let from = match plan.files.as_slice() {
        [one] => one.clone(),
        [one, more @ ..] => format!("{one} and {}", number(more.len(), "more file")),
        [] => String::new(),
    };
    match &plan.name {
        Some(name) => line(text, &format!("Application {}/{name} ({from})", plan.namespace)),
        None => line(text, &format!("Manifests of {from}")),
    }
    let mut facts = vec![format!("revision {}", plan.revision), format!("namespace {}", plan.destination)];
    facts.extend(plan.account.iter().map(|account| format!("service account {account}")));
    if let Some(timeouts) = &plan.timeouts {
        let limit = |name: &str, value: &str| match value {
            "0" => format!("{name} without end"),
            value => format!("{name} {value}"),
        };
        facts.push(format!(
            "time-outs: {}, {}, {}",
            limit("attempt", &timeouts.sync),
            limit("stage", &timeouts.stage),
            limit("hook", &timeouts.hook)
        ));
    }
    line(text, &facts.join(", "));

    let mut rows = Rows::of(plan);
    for stage in &plan.stages {
        let heading = format!("{} wave {} ({}/{})", stage.phase, stage.wave, stage.index, stage.total);
        rows.stage(&heading, stage, text);
    }
    for stage in &plan.sync_fail {
        rows.stage(&format!("{} wave {}, only if the attempt fails", stage.phase, stage.wave), stage, text);
    }
    for stage in &plan.deletion {
        let when = if stage.phase == Phase::PreDelete { "before" } else { "after" };
        let heading =
            format!("{} wave {}, {when} the objects are deleted with the Application", stage.phase, stage.wave);
        rows.stage(&heading, stage, text);
    }
    if !plan.skipped.is_empty() {
        text.push_str("\nSkipped\n");
        for object in &plan.skipped {
            let (kind, name) = name(&object.group, &object.kind, object.namespace.as_deref(), &object.name);
            line(text, &format!("  {kind} {name}: {}", object.reason));
        }
    }
    list("Warnings", &plan.warnings, text);
    list("Notes", &plan.notes, text);
    text.push('\n');
    line(text, &totals(plan));
}

fn totals(plan: &ApplicationPlan) -> String {
    let totals = &plan.totals;
    let mut parts =
        vec![number(totals.stages, "stage"), number(totals.objects, "object"), number(totals.hooks, "hook")];
    if totals.sync_fail_hooks > 0 {
        parts.push(format!("{} of SyncFail", number(totals.sync_fail_hooks, "hook")));
    }
    if totals.deletion_hooks > 0 {
        parts.push(format!("{} of the deletion", number(totals.deletion_hooks, "hook")));
    }
    if totals.skipped > 0 {
        parts.push(format!("{} skipped", totals.skipped));
    }
    if !plan.warnings.is_empty() {
        parts.push(number(plan.warnings.len(), "warning"));
    }
    format!("Total: {}", parts.join(", "))
}

fn list(heading: &str, entries: &[String], text: &mut String) {
    if !entries.is_empty() {
        let _ = write!(text, "\n{heading}\n");
        for entry in entries {
            line(text, &format!("  {entry}"));
        }
    }
}

/// The lines of all tasks of a plan, laid out together so that columns are in one place from stage to stage.
struct Rows {
    lines: std::vec::IntoIter<String>,
}

impl Rows {
    fn of(plan: &ApplicationPlan) -> Self {
        let mut table = Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        for stage in plan.stages.iter().chain(&plan.sync_fail).chain(&plan.deletion) {
            for task in &stage.tasks {
                let (kind, name) = name(&task.group, &task.kind, task.namespace.as_deref(), &shown_name(task));
                table.add_row(
                    [kind, name, what(task).to_owned(), details(task, stage)].map(|cell| harmless::line(&cell)),
                );
            }
        }
        let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        Self { lines: lines.into_iter() }
    }

    /// A heading with the lines of the stage, which is the next one in the order of [`Rows::of`].
    fn stage(&mut self, heading: &str, stage: &Stage, text: &mut String) {
        let _ = write!(text, "\n{heading}\n");
        for row in self.lines.by_ref().take(stage.tasks.len()) {
            line(text, &format!(" {row}"));
        }
    }
}

fn what(task: &Task) -> &'static str {
    match task.action {
        Action::CreateIfMissing => "create if missing",
        Action::Apply => "apply",
        Action::RunHook => "hook, runs to an end",
        Action::ApplyHook => "hook, applied in place",
        Action::RecreateHook => "hook, deleted and applied anew",
    }
}

fn details(task: &Task, stage: &Stage) -> String {
    let mut details = Vec::new();
    if let Some(policies) = &task.delete_policies {
        details.push(match (policies.as_slice(), task.policies_defaulted) {
            ([], _) if is_deletion(stage.phase) => "deleted when the deletion has succeeded (default)".to_owned(),
            ([], _) => "no delete policy, stays".to_owned(),
            (policies, Some(true)) => format!("delete policy {} (default)", policies.join(", ")),
            (policies, _) => format!("delete policy {}", policies.join(", ")),
        });
    }
    match task.timeout.as_deref() {
        Some("0") => details.push("no time-out".to_owned()),
        Some(timeout) => details.push(format!("time-out {timeout}")),
        None => {}
    }
    match task.gate {
        Some(false) => details.push("not waited for".to_owned()),
        Some(true) => details.push("waited for".to_owned()),
        None => {}
    }
    match task.run {
        Some("Once") => details.push("runs only once ever".to_owned()),
        Some(_) => details.push("runs only when it has changed".to_owned()),
        None => {}
    }
    if let Some(moved) = &task.moved_from {
        details.push(format!("moved here from {} wave {}, because this stage needs it", moved.phase, moved.wave));
    }
    details.join("; ")
}

fn shown_name(task: &Task) -> String {
    match &task.generate_name {
        Some(prefix) => format!("{prefix}<generated>"),
        None => task.name.clone(),
    }
}

/// Kind and `namespace/name`; custom kinds with their group.
pub(in crate::cli) fn name(group: &str, kind: &str, namespace: Option<&str>, name: &str) -> (String, String) {
    let kind = if is_custom(group) { format!("{kind}.{group}") } else { kind.to_owned() };
    (kind, namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}")))
}

/// One mistake with its place.
pub(in crate::cli) fn mistake(mistake: &Mistake) -> String {
    let mut text = String::new();
    if let Some(source) = &mistake.source {
        let _ = write!(text, "{source}: ");
    }
    let _ = write!(text, "document {}, line {}", mistake.document, mistake.line);
    if let Some(line) = mistake.file_line {
        let _ = write!(text, " (line {line} of the file)");
    }
    if let Some(object) = &mistake.object {
        let _ = write!(text, ": {object}");
    }
    format!("{text}: {}", mistake.message)
}

fn line(text: &mut String, line: &str) {
    text.push_str(&harmless::line(line));
    text.push('\n');
}

fn number(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

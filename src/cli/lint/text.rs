//! Findings as people read them: what is wrong, the line with a mark under the place, and what would be right.

use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level as Title, Origin, Renderer, Snippet};

use super::output::{Finding, Output};
use super::places::{Shown, Spot};
use super::rules::Level;
use crate::cli::show::Paint;

/// The whole text, with a newline at its end.
pub(super) fn render(output: &Output<'_>, paint: Paint) -> String {
    let renderer = if paint.is_on() { Renderer::styled() } else { Renderer::plain() };
    let mut text = String::new();
    for finding in &output.findings {
        text.push_str(&renderer.render(&[group(finding)]));
        text.push_str("\n\n");
    }
    text + &totals(output) + "\n"
}

fn totals(output: &Output<'_>) -> String {
    let of = |level: Level| output.findings.iter().filter(|finding| finding.level == level).count();
    let parts = [(of(Level::Error), "error"), (of(Level::Warning), "warning"), (of(Level::Note), "note")];
    let parts: Vec<_> =
        parts.into_iter().filter(|(count, _)| *count > 0).map(|(count, noun)| number(count, noun)).collect();
    let found = if parts.is_empty() { "No mistakes".to_owned() } else { parts.join(", ") };
    format!("{found} in {} of {}", number(output.objects, "object"), number(output.files, "file"))
}

fn number(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn group<'a>(finding: &'a Finding<'_>) -> Group<'a> {
    let level = match finding.level {
        Level::Error => Title::ERROR,
        Level::Warning => Title::WARNING,
        Level::Note => Title::NOTE,
    };
    let mut group = Group::with_title(level.primary_title(&finding.message).id(finding.rule));
    let own = &finding.location;
    match &finding.related {
        Some(related) if same_text(own, &related.location) => {
            group = group.elements(snippet(&[(own, None), (&related.location, Some(&related.message))]));
        }
        related => {
            group = match snippet(&[(own, None)]) {
                Some(snippet) => group.element(snippet),
                None => group.element(origin(own)),
            };
            let related = related.iter().filter_map(|related| snippet(&[(&related.location, Some(&related.message))]));
            group = group.elements(related);
        }
    }
    group.element(Title::HELP.message(&finding.proposal))
}

/// Whether two places are shown in one text.
fn same_text(one: &Spot<'_>, other: &Spot<'_>) -> bool {
    match (one.shown, other.shown) {
        (Shown::File(_), Shown::File(_)) => one.file == other.file,
        (Shown::Inside { text: one, .. }, Shown::Inside { text: other, .. }) => std::ptr::eq(one, other),
        _ => false,
    }
}

fn origin<'a>(spot: &'a Spot<'_>) -> Origin<'a> {
    Origin::path(&spot.file).line(size(spot.line)).char_column(size(spot.column))
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The lines of places of one text, the first of them the one that it is about, each with its label. `None` where it is not to be shown.
fn snippet<'a>(spots: &[(&'a Spot<'_>, Option<&'a String>)]) -> Option<Snippet<'a, Annotation<'a>>> {
    let (first, _) = spots.first()?;
    let (text, path) = match first.shown {
        Shown::File(text) => (text, first.file.clone()),
        Shown::Inside { text, .. } => {
            let field = first.inside.as_deref().unwrap_or_default();
            (text, format!("{}:{}: {}", first.file, first.line, field.split(": line ").next().unwrap_or_default()))
        }
        Shown::Nothing => return None,
    };
    let at = |spot: &Spot<'_>| match spot.shown {
        Shown::Inside { line, column, end_column, .. } => (size(line), size(column), size(end_column)),
        Shown::File(_) | Shown::Nothing => (size(spot.line), size(spot.column), size(spot.end_column)),
    };
    // Only the lines that matter: a file may be large.
    let lines = || spots.iter().map(|(spot, _)| at(spot).0);
    let (start, end) = (lines().min()?, lines().max()?);
    let mut shown = String::new();
    let mut annotations = Vec::new();
    for (index, line) in text.lines().enumerate().take(end).skip(start.saturating_sub(1)) {
        for (place, (spot, label)) in spots.iter().enumerate().filter(|(_, (spot, _))| at(spot).0 == index + 1) {
            let (_, column, end_column) = at(spot);
            let byte =
                |column: usize| line.char_indices().nth(column.saturating_sub(1)).map_or(line.len(), |(at, _)| at);
            let range: Range<usize> = shown.len() + byte(column)..shown.len() + byte(end_column);
            let kind = if place == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            annotations.push(kind.span(range).label(label.map(String::as_str)));
        }
        shown.push_str(line);
        shown.push('\n');
    }
    Some(Snippet::source(shown).line_start(start).path(path).annotations(annotations))
}

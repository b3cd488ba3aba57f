//! What `swell lint -o json` prints: a stable structure, fields may be added to it but are not renamed or removed.

use serde::Serialize;

use super::places::{Shown, Sources, Spot};
use super::rules::{Level, about};
use crate::cli::plan::output::Mistake;
use crate::engine::finding::Rule;
use crate::engine::harmless;
use crate::engine::yaml::Position;

/// All of it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Output<'a> {
    /// In the order of the files.
    pub(super) findings: Vec<Finding<'a>>,
    /// Files that were read.
    pub(super) files: usize,
    /// Objects in them, those inside of Applications and their ConfigMaps included.
    pub(super) objects: usize,
}

/// One finding.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Finding<'a> {
    /// The id of its rule.
    pub(super) rule: &'static str,
    /// How bad it is.
    pub(super) level: Level,
    /// What is wrong, with the object where it is known.
    pub(super) message: String,
    /// What would be right.
    pub(super) proposal: String,
    /// Where.
    pub(super) location: Spot<'a>,
    /// Another place that belongs to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) related: Option<Related<'a>>,
}

/// Another place that belongs to a finding.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Related<'a> {
    /// What it has to do with it.
    pub(super) message: String,
    /// Where.
    pub(super) location: Spot<'a>,
}

impl<'a> Finding<'a> {
    pub(super) fn of(mistake: Mistake, sources: &Sources<'a>) -> Self {
        let Mistake { source, document, line, object, mut message, rule, part, column, see, .. } = mistake;
        let about = about(rule);
        let place = Position { source, document, line };
        let mut location = sources.spot(&place, &part, column);
        if rule == Rule::Yaml && sources.may_be_secret(&place) {
            location.shown = Shown::Nothing;
        }
        let related = see.map(|see| {
            // The place is shown, so it need not be told.
            for position in
                [see.position.to_string(), format!("document {}, line {}", see.position.document, see.position.line)]
            {
                message =
                    message.replacen(&format!(" ({position})"), "", 1).replacen(&format!(" at {position}"), "", 1);
            }
            Related { location: sources.spot(&see.position, &see.part, None), message: see.label }
        });
        // Messages say what is wrong, and behind a semicolon what would be right.
        let (wrong, right) = match message.split_once("; ").filter(|_| !about.tells_the_effect) {
            Some((wrong, right)) => (wrong, right.to_owned()),
            None => (message.as_str(), about.proposal.to_owned()),
        };
        // A file may come from anybody, and this goes to a terminal.
        let right = harmless::line(&right);
        let message = match &object {
            Some(object) => format!("{object}: {wrong}"),
            None => wrong.to_owned(),
        };
        let message = harmless::line(&message);
        Self { rule: about.id, level: about.level, message, proposal: right, location, related }
    }
}

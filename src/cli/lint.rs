//! `swell lint`: mistakes in manifests, with the place of each in its file and what would be right, without a cluster.

mod output;
mod places;
mod rules;
mod sarif;
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use self::output::{Finding, Output};
use self::places::Sources;
use self::rules::Level;
use super::exit::Exit;
use super::plan::documents::{Embedded, Mistakes};
use super::plan::input::{self, Text};
use super::plan::output::Mistake;
use super::plan::place;
use super::plan::planning::{examine, with_crds};
use super::plan::targets::{Found, Target, name_of, targets};
use super::show::{Paint, print};
use crate::engine::advice::notes;
use crate::engine::desired::{Context, Problem, readable};
use crate::engine::finding::{Part, Remark, Rule, See};
use crate::engine::kinds::Kinds;
use crate::engine::object::Owner;
use crate::engine::yaml::{Document, Position};

/// Find mistakes in manifests and Applications: in annotations, in the order of things, in health checks.
///
/// No cluster is asked. Everything that `swell plan` calls a mistake or warns of is told, and more, with file, line and column, a mark
/// under the place, and what would be right. Errors are what Swell refuses; warnings what it takes but what goes wrong or is not meant;
/// notes what is good to know. `--rules` explains each rule.
///
/// Ends with 0 when there is nothing or only notes, 1 when there are errors or warnings, 2 for a wrong call.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File or directory with manifests, `-` for standard input; may be given more than once. Of a directory: all *.yaml, *.yml and
    /// *.json in it and below it, without hidden ones.
    #[arg(long = "filename", short = 'f', value_name = "FILE|DIR", required_unless_present = "rules")]
    files: Vec<PathBuf>,
    /// Namespace of Applications and objects that name none.
    #[arg(long, short = 'n', default_value = "default")]
    namespace: String,
    /// Say nothing by this rule; may be given more than once.
    #[arg(long, value_name = "RULE", value_parser = rules::parser())]
    ignore: Vec<Rule>,
    /// Explain the rules instead.
    #[arg(long, conflicts_with_all = ["files", "ignore"])]
    rules: bool,
    /// How findings are written: for people, for machines, or as SARIF 2.1.0 for code scanning.
    #[arg(long, short = 'o', value_enum, default_value = "text")]
    output: Form,
}

/// The forms that `-o` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    Text,
    Json,
    Sarif,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.rules {
        let text = match args.output {
            Form::Text => rules::text(),
            Form::Json => json(&rules::all())?,
            Form::Sarif => json(&sarif::log(&Output::default()))?,
        };
        print(&text)?;
        return Ok(Exit::Done.into());
    }
    let texts = input::read(&args.files)?;
    let read = read(&texts, args);
    let output = read.output(&texts);
    print(&match args.output {
        Form::Text => text::render(&output, Paint::stdout()),
        Form::Json => json(&output)?,
        Form::Sarif => json(&sarif::log(&output))?,
    })?;
    let clean = output.findings.iter().all(|finding| finding.level == Level::Note);
    Ok(if clean { Exit::Done } else { Exit::Error }.into())
}

fn json(value: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value).context("writing JSON")? + "\n")
}

/// What was read of the files, and everything that there is to say.
struct Read {
    found: Vec<Mistake>,
    embedded: BTreeMap<String, Embedded>,
    documents: Vec<Document>,
}

impl Read {
    fn output<'a>(&'a self, texts: &'a [Text]) -> Output<'a> {
        let sources = Sources { texts, embedded: &self.embedded, documents: &self.documents };
        let mut findings: Vec<_> = self.found.iter().map(|mistake| Finding::of(mistake.clone(), &sources)).collect();
        // The manifests of a ConfigMap that two Applications use are read twice.
        findings.dedup();
        Output { findings, files: texts.len(), objects: self.documents.len() }
    }
}

fn read(texts: &[Text], args: &Args) -> Read {
    let mut mistakes = Mistakes::with_spans();
    let mut documents = mistakes.read_all(texts);
    let kinds = with_crds(Kinds::builtin(), &documents);
    let Found { targets, left, .. } = targets(texts, documents.clone(), &args.namespace, &mut mistakes);
    twice(&targets, &mut mistakes);
    for target in targets {
        documents.extend(target.documents.iter().filter(|_| target.application.is_some()).cloned());
        of_target(target, &kinds, &mut mistakes);
    }
    by_themselves(left, &args.namespace, &kinds, &mut mistakes);
    let Mistakes { mut found, embedded, .. } = mistakes;
    found.retain(|mistake| !args.ignore.contains(&mistake.rule));
    found.sort_by_cached_key(|mistake| (place(mistake, texts), mistake.rule));
    Read { found, embedded, documents }
}

/// Everything about the manifests of an Application, or about all manifests where there is none.
fn of_target(target: Target, kinds: &Kinds, mistakes: &mut Mistakes) {
    let Target { application, namespace, position, documents, .. } = target;
    let name = application.as_ref().map(name_of);
    let Some(examined) = examine(application, &namespace, &position, documents, kinds, mistakes) else { return };
    let mut told = examined.warnings;
    if !examined.has_mistakes {
        told.extend(notes(&examined.sync, &examined.deletion));
    }
    for problem in told {
        match (&problem.position, examined.has_mistakes) {
            // What is said of the order would be about another order.
            (Some(_), true) if is_about_order(problem.rule) => {}
            (Some(_), _) => mistakes.add_problems(vec![problem], &position),
            (None, _) => {
                let Problem { rule, part, message, .. } = problem;
                mistakes.add(position.clone(), name.clone(), Remark { rule, part, message });
            }
        }
    }
}

fn is_about_order(rule: Rule) -> bool {
    matches!(rule, Rule::LateReference | Rule::LateRights | Rule::LateService)
}

/// What is in no source of an Application here: each object is looked at by itself, for nobody knows what is deployed together.
fn by_themselves(mut documents: Vec<Document>, namespace: &str, kinds: &Kinds, mistakes: &mut Mistakes) {
    // Files that are no manifests may be among the others.
    documents.retain(|document| document.value.get("apiVersion").is_some() && document.value.get("kind").is_some());
    let owner = Owner::new(namespace, "");
    let (desired, problems) = readable(documents, Context::new(&owner, namespace, kinds));
    let odd = desired.warnings.into_iter().filter(|warning| warning.rule != Rule::DuplicateObject);
    let nowhere = Position { source: None, document: 1, line: 1 };
    mistakes.add_problems(problems.into_iter().chain(odd).collect(), &nowhere);
}

/// Applications of one name in one file. Those of two files may be versions of one, or for two clusters.
fn twice(targets: &[Target], mistakes: &mut Mistakes) {
    let mut first: BTreeMap<(String, Option<&str>), &Position> = BTreeMap::new();
    for Target { application, position, .. } in targets {
        let Some(name) = application.as_ref().map(name_of) else { continue };
        let file = position.source.as_deref();
        let Some(before) = first.get(&(name.clone(), file)) else {
            first.insert((name, file), position);
            continue;
        };
        let remark = Remark {
            rule: Rule::DuplicateApplication,
            part: Part::Object,
            message: format!("{name} is there already; of these, `kubectl apply` leaves the last"),
        };
        let see = See { position: (*before).clone(), part: Part::Object, label: "it is there already".to_owned() };
        mistakes.add_problems(vec![Problem { see: Some(see), ..remark.at(position, None) }], position);
    }
}

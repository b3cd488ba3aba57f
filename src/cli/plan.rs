//! `swell plan`: what a sync of these manifests would do, in order, without a cluster.

pub(super) mod application;
pub(super) mod documents;
pub(super) mod input;
pub(super) mod output;
pub(super) mod planning;
pub(super) mod targets;
pub(super) mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use self::documents::Mistakes;
use self::input::Text;
use self::output::{Mistake, Output};
use self::targets::Found;
use super::format::Format;
use crate::engine::kinds::Kinds;

/// Print the plan of manifests: phases, waves, order, hooks with their policies, and every mistake.
///
/// No cluster is asked. Where Applications are among the files, each gets a plan of the manifests in its source; without one, all
/// manifests are planned together. Ends with 0 when the manifests can be used, 1 when they have mistakes, 2 for a wrong call.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File or directory with manifests, `-` for standard input; may be given more than once. Of a directory: all *.yaml, *.yml and
    /// *.json in it and below it, without hidden ones.
    #[arg(long = "filename", short = 'f', value_name = "FILE|DIR", required = true)]
    files: Vec<PathBuf>,
    /// Namespace of Applications and objects that name none.
    #[arg(long, short = 'n', default_value = "default")]
    namespace: String,
    /// How the plan is written: for people, or for machines.
    #[arg(long, short = 'o', value_enum, default_value = "text")]
    output: Format,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let output = plan(args)?;
    args.output.print(&output, text::render)?;
    Ok(if output.mistakes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn plan(args: &Args) -> anyhow::Result<Output> {
    let texts = input::read(&args.files)?;
    let mut mistakes = Mistakes::default();
    let documents = mistakes.read_all(&texts);
    // Also a CRD that is not part of an Application's plan tells the scope of its kind.
    let kinds = planning::with_crds(Kinds::builtin(), &documents);
    let unreadable = !mistakes.found.is_empty();
    let Found { targets, notes, .. } = targets::targets(&texts, documents, &args.namespace, &mut mistakes);
    let mut applications = Vec::new();
    for target in targets {
        // What could not be read may be an object of a plan of all manifests, which then would not be the plan.
        let incomplete = unreadable && target.application.is_none();
        applications.extend(planning::plan(target, &kinds, &mut mistakes).filter(|_| !incomplete));
    }
    let mut output = Output { applications, notes, mistakes: mistakes.found };
    output.mistakes.sort_by_cached_key(|mistake| place(mistake, &texts));
    // The manifests of a ConfigMap that two Applications use are read twice.
    output.mistakes.dedup();
    Ok(output)
}

/// Mistakes are found in several passes and told in the order of the files and of their lines: the file's place, the line of the
/// file as far as it is known, and the place in the embedded text.
pub(super) fn place(mistake: &Mistake, texts: &[Text]) -> (Option<usize>, u32, Option<String>, u32) {
    let source = mistake.source.as_deref().unwrap_or_default();
    // The label of an embedded text begins with that of its file.
    let rest = |label: &str| source.strip_prefix(label).filter(|rest| rest.is_empty() || rest.starts_with(": "));
    let file = texts.iter().position(|text| rest(&text.label).is_some());
    let is_file = file.is_some_and(|file| texts[file].label == source);
    let line = mistake.file_line.or(is_file.then_some(mistake.line)).unwrap_or(u32::MAX);
    (file, line, mistake.source.clone(), mistake.line)
}

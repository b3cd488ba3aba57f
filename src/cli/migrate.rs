//! `swell migrate`: Applications of Argo CD's become Swell's.

mod convert;
mod differences;
mod fields;
mod folders;
mod pack;
mod policy;
mod render;
mod report;
mod rights;
mod source;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use self::convert::{Converted, World, cluster_of, convert, identity, kind_of, place, why_not};
use self::folders::{Rendered, Repo};
use self::pack::yaml;
use self::report::Report;
use super::exit::Exit;
use super::plan::documents::Mistakes;
use super::plan::{input, text};
use super::show;
use crate::engine::yaml::Document;

/// Turn Applications of Argo CD's into Swell's, on standard output, ready for `kubectl apply`.
///
/// No cluster is asked. Each Application is written into the namespace of its destination, with its manifests from the local folder
/// that stands for its repository; Applications among the manifests of another one (app of apps) are turned into Swell's in their
/// place. Helm charts, kustomizations, Jsonnet and plugins are not rendered here: the command that renders one is told, and --rendered
/// takes its result. Standard error tells, Application by Application, which fields are not carried over, what will behave
/// otherwise, object by object (the ids are those of docs/rules.md), and what to do before it is applied. Ends with 0 when
/// all Applications were written, 1 when one could not be, 2 for a wrong call.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File or directory with Applications of Argo CD's, `-` for standard input, such as `kubectl get applications.argoproj.io -A
    /// -o yaml` gives; may be given more than once. AppProjects among them tell of sync windows.
    #[arg(long = "filename", short = 'f', value_name = "FILE|DIR", required = true)]
    files: Vec<PathBuf>,
    /// Folder that stands for the repository of that URL, or for every one that has no folder of its own; may be given more than once.
    #[arg(long = "repo", value_name = "[URL=]DIR")]
    repos: Vec<Repo>,
    /// What a tool has rendered for an Application, `NAME` or `NAMESPACE/NAME`, or for one of its sources, counted from 1; may be
    /// given more than once.
    #[arg(long, value_name = "APP[:N]=FILE|DIR")]
    rendered: Vec<Rendered>,
    /// Namespace of Applications whose destination names none.
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Only Applications for this cluster: server or name of the destination, `in-cluster` for Argo CD's own. Needed when the files have
    /// Applications for several.
    #[arg(long, value_name = "SERVER|NAME")]
    destination: Option<String>,
    /// Manifests go into ConfigMaps also where they are small enough to be inline.
    #[arg(long)]
    config_maps: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let texts = input::read(&args.files)?;
    let mut mistakes = Mistakes::default();
    let documents = mistakes.read_all(&texts);
    if !mistakes.found.is_empty() {
        for mistake in &mistakes.found {
            eprintln!("{}", text::mistake(mistake));
        }
        anyhow::bail!("nothing is migrated, since what cannot be read may be an Application");
    }
    let of_kind = |kind: &str| documents.iter().filter(|document| kind_of(document) == Some(kind)).collect::<Vec<_>>();
    let applications = of_kind("Application");
    if applications.is_empty() {
        anyhow::bail!("there is no Application of Argo CD's (argoproj.io/v1alpha1) among the files");
    }
    let cluster = cluster(&applications, args.destination.as_deref())?;
    let world = World {
        repos: &args.repos,
        rendered: &args.rendered,
        namespace: args.namespace.as_deref(),
        cluster,
        config_maps: args.config_maps,
        projects: of_kind("AppProject").iter().map(|document| &document.value).collect(),
    };
    let mut others = others(&documents);
    let mut all = Vec::new();
    for document in &applications {
        if cluster_of(&document.value) == cluster {
            all.push((place(document), convert(document, &[], None, &world)?));
        } else {
            let (namespace, name) = identity(document, None);
            let problem = format!("it goes to the cluster {}, not to {cluster}", cluster_of(&document.value));
            others.push(Report {
                from: format!("Application {namespace}/{name}"),
                place: place(document),
                problems: vec![problem],
                ..Report::default()
            });
        }
    }
    let mut kept = Vec::new();
    let inside: Vec<_> = (0..all.len()).map(|number| container(number, &all)).collect();
    for ((place, converted), inside) in all.into_iter().zip(inside) {
        match inside {
            None => kept.push(converted),
            Some(other) => others.push(Report {
                from: format!("Application {}/{}", converted.identity.0, converted.identity.1),
                place,
                to: Some(format!("written inside of Application {other}, whose manifests hold it")),
                ..Report::default()
            }),
        }
    }
    twice(&mut kept);
    show::print(&output(&kept))?;
    let mut reports: Vec<_> = kept.iter_mut().flat_map(|converted| std::mem::take(&mut converted.reports)).collect();
    convert::shared(&mut reports);
    let unused: Vec<_> = args
        .rendered
        .iter()
        .filter(|given| !reports.iter().any(|report| report.rendered.contains(&given.name)))
        .collect();
    let complete = unused.is_empty() && reports.iter().all(|report| report.to.is_some());
    let written = kept.iter().filter(|converted| !converted.objects.is_empty()).count();
    reports.extend(others);
    eprint!("{}", report::render(&reports, &hand_over(written)));
    for given in unused {
        eprintln!("--rendered {}: no Application or source of that name was migrated", given.name);
    }
    Ok(if complete { Exit::Done } else { Exit::Error }.into())
}

/// The cluster that is meant: the one that was named, or the only one there is.
fn cluster<'a>(applications: &[&'a Document], named: Option<&'a str>) -> anyhow::Result<&'a str> {
    let found: BTreeSet<_> = applications.iter().map(|document| cluster_of(&document.value)).collect();
    let list = found.iter().copied().collect::<Vec<_>>().join(", ");
    match named {
        Some(named) => {
            let named = named.trim_end_matches('/');
            let named = if named == "https://kubernetes.default.svc" { convert::IN_CLUSTER } else { named };
            anyhow::ensure!(found.contains(named), "no Application goes to {named}; they go to {list}");
            Ok(named)
        }
        None if found.len() > 1 => anyhow::bail!(
            "the Applications go to several clusters ({list}), and Swell deploys into the one that it runs in: --destination names the one that is meant"
        ),
        None => Ok(found.first().copied().unwrap_or(convert::IN_CLUSTER)),
    }
}

/// The Application among whose manifests this one is written, unless that one is inside of it as well and comes later.
fn container(number: usize, all: &[(String, Converted)]) -> Option<String> {
    let own = &all[number].1;
    let other = all.iter().enumerate().find(|(other, (_, converted))| {
        let circle = own.nested.contains(&converted.identity);
        let holds = !converted.objects.is_empty() && converted.nested.contains(&own.identity);
        *other != number && holds && (!circle || *other < number)
    })?;
    let (namespace, name) = &other.1.1.identity;
    Some(format!("{namespace}/{name}"))
}

/// Two Applications of one name that would go into one namespace: only the first is written.
fn twice(kept: &mut [Converted]) {
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    for converted in kept {
        let Some(application) = converted.objects.last() else { continue };
        let metadata = &application["metadata"];
        let (namespace, name) = (metadata["namespace"].to_string(), metadata["name"].to_string());
        if !seen.insert((namespace.clone(), name.clone())) {
            converted.refuse(format!(
                "another Application {name} goes into the namespace {namespace} already; rename one of them"
            ));
        }
    }
}

/// What is neither an Application of Argo CD's nor one of its helpers, in one line each.
fn others(documents: &[Document]) -> Vec<Report> {
    let report = |document: &Document| {
        let (namespace, name) = identity(document, None);
        let (from, why) = match kind_of(document) {
            Some("Application") => return None,
            Some(kind) => (format!("{kind} {namespace}/{name}"), why_not(kind).to_owned()),
            None => {
                let kind = document.value.get("kind").and_then(Value::as_str).unwrap_or("object");
                (format!("{kind} {name}"), "it is no Application of Argo CD's".to_owned())
            }
        };
        Some(Report { from, place: place(document), problems: vec![why], ..Report::default() })
    };
    documents.iter().filter_map(report).collect()
}

/// The objects as a stream: Namespaces first, each Application behind its ConfigMaps.
fn output(kept: &[Converted]) -> String {
    let mut parts = Vec::new();
    let mut namespaces: Vec<&Value> = Vec::new();
    for namespace in kept.iter().filter(|converted| !converted.objects.is_empty()).flat_map(|c| &c.namespaces) {
        // Of one name that with labels counts: the other says nothing.
        match namespaces.iter_mut().find(|known| known["metadata"]["name"] == namespace["metadata"]["name"]) {
            Some(known) if known["metadata"].as_object().map_or(0, serde_json::Map::len) == 1 => *known = namespace,
            Some(_) => {}
            None => namespaces.push(namespace),
        }
    }
    parts.extend(namespaces.into_iter().map(yaml));
    for converted in kept.iter().filter(|converted| !converted.objects.is_empty()) {
        let (namespace, name) = &converted.identity;
        let from = format!("# From Application {namespace}/{name} of Argo CD's.\n");
        parts.extend(
            converted
                .objects
                .iter()
                .enumerate()
                .map(|(number, object)| format!("{}{}", if number == 0 { from.as_str() } else { "" }, yaml(object))),
        );
    }
    parts.join("---\n")
}

/// How Argo CD lets go, once for all of them.
fn hand_over(written: usize) -> Vec<String> {
    if written == 0 {
        return Vec::new();
    }
    [
        "Two controllers must not have one object. For each Application of Argo CD's, those that make others first:",
        "  1. stop it: kubectl patch applications.argoproj.io APP -n NS --type merge -p '{\"spec\":{\"syncPolicy\":{\"automated\":null}}}'",
        "  2. apply the output; Swell takes the objects over and leaves alone what is as it should be; hooks run at its first sync",
        "  3. let it go without its objects: kubectl patch applications.argoproj.io APP -n NS --type merge -p '{\"metadata\":{\"finalizers\":null}}' && kubectl delete applications.argoproj.io APP -n NS",
    ]
    .map(str::to_owned)
    .to_vec()
}

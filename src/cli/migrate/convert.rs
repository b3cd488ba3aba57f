//! One Application of Argo CD's becomes one of Swell's, and those among its manifests become theirs, in their place.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::differences::Written;
use super::fields::Fields;
use super::folders::{Rendered, Repo};
use super::pack::{Piece, joined, pack, yaml};
use super::policy::{self, end};
use super::report::Report;
use super::rights;
use super::source::{self, Whose, glob};
use crate::api::{Application, ApplicationSpec, SyncPolicy};
use crate::cli::plan::documents::Mistakes;
use crate::cli::plan::{application, planning, text};
use crate::engine::advice::advice;
use crate::engine::desired::{Context, Desired, desired};
use crate::engine::differences::Rules;
use crate::engine::finding::Rule;
use crate::engine::kinds::Kinds;
use crate::engine::lifecycle;
use crate::engine::live::Members;
use crate::engine::object::{Owner, group_of};
use crate::engine::plan::Plan;
use crate::engine::yaml::Document;

/// The group of Argo CD's own kinds.
const ARGO: &str = "argoproj.io";
/// The version of them that there is.
const ARGO_VERSION: &str = "argoproj.io/v1alpha1";
/// The name of the cluster in which Argo CD runs, as its own destinations have it.
pub(super) const IN_CLUSTER: &str = "in-cluster";
const IN_CLUSTER_SERVER: &str = "https://kubernetes.default.svc";
/// Where an Application of Argo CD's is that names no namespace.
const ARGO_NAMESPACE: &str = "argocd";

/// Everything beside the Application itself.
pub(super) struct World<'a> {
    pub(super) repos: &'a [Repo],
    pub(super) rendered: &'a [Rendered],
    /// Where those go whose destination names no namespace.
    pub(super) namespace: Option<&'a str>,
    /// The cluster for which Applications are written.
    pub(super) cluster: &'a str,
    pub(super) config_maps: bool,
    /// The AppProjects among the files.
    pub(super) projects: Vec<&'a Value>,
}

/// An Application of Argo CD's by namespace and name.
pub(super) type Identity = (String, String);

/// What became of one.
pub(super) struct Converted {
    pub(super) identity: Identity,
    /// Its ConfigMaps, and behind them the Application; nothing when something stands against it.
    pub(super) objects: Vec<Value>,
    /// Namespaces that must be there before the objects.
    pub(super) namespaces: Vec<Value>,
    /// The Applications of Argo CD's among its manifests, and among theirs.
    pub(super) nested: Vec<Identity>,
    /// Its own report, and behind it theirs.
    pub(super) reports: Vec<Report>,
}

/// What kind of Argo CD's own a document is: `Application`, `ApplicationSet` or `AppProject`.
pub(super) fn kind_of(document: &Document) -> Option<&str> {
    let text = |key: &str| document.value.get(key).and_then(Value::as_str);
    let kind = text("kind").filter(|kind| ["Application", "ApplicationSet", "AppProject"].contains(kind))?;
    text("apiVersion").is_some_and(|version| group_of(version) == ARGO).then_some(kind)
}

/// Namespace and name; `namespace` where none is given.
pub(super) fn identity(document: &Document, namespace: Option<&str>) -> Identity {
    let text = |pointer: &str| document.value.pointer(pointer).and_then(Value::as_str);
    let namespace = text("/metadata/namespace").or(namespace).unwrap_or(ARGO_NAMESPACE);
    (namespace.to_owned(), text("/metadata/name").unwrap_or_default().to_owned())
}

/// File and line.
pub(super) fn place(document: &Document) -> String {
    format!("{}, line {}", document.position.source.as_deref().unwrap_or_default(), document.position.line)
}

/// The cluster of a destination, by its name or its server.
pub(super) fn cluster_of(application: &Value) -> &str {
    let text = |pointer: &str| application.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (text("/spec/destination/server").map(|server| server.trim_end_matches('/')), text("/spec/destination/name"))
    {
        (Some(IN_CLUSTER_SERVER), _) | (None, None) => IN_CLUSTER,
        (Some(other), _) | (None, Some(other)) => other,
    }
}

/// Why one of the other kinds is not migrated.
pub(super) fn why_not(kind: &str) -> &'static str {
    match kind {
        "ApplicationSet" => {
            "Swell has no generators; migrate the Applications that it has made: `kubectl get applications.argoproj.io -A -o yaml | swell migrate -f - …`"
        }
        _ => {
            "Swell has no projects: what an Application may do is what its service account may, by RBAC; sync windows do not hold"
        }
    }
}

/// Converts one. `parents`: those that it is inside of, and the namespace that it is in when it names none.
pub(super) fn convert(
    document: &Document,
    parents: &[Identity],
    default: Option<&str>,
    world: &World<'_>,
) -> anyhow::Result<Converted> {
    let identity = identity(document, default);
    let (argo, name) = (identity.0.clone(), identity.1.clone());
    let mut report = Report { from: format!("Application {argo}/{name}"), place: place(document), ..Report::default() };
    let mut converted = Converted {
        identity: identity.clone(),
        objects: Vec::new(),
        namespaces: Vec::new(),
        nested: Vec::new(),
        reports: Vec::new(),
    };
    let read = read(document, &argo, !parents.is_empty(), world, &mut report)?;
    if let Some(read) = read {
        let ancestors: Vec<_> = parents.iter().cloned().chain([identity]).collect();
        let contents = contents(&read, &ancestors, world, &mut converted, &mut report)?;
        write(&read, contents, world, &mut converted, &mut report);
    }
    converted.reports.insert(0, report);
    if converted.objects.is_empty() {
        converted.drop_nested();
    }
    Ok(converted)
}

impl Converted {
    /// Takes it out of the output.
    pub(super) fn refuse(&mut self, problem: String) {
        self.objects.clear();
        if let Some(report) = self.reports.first_mut() {
            report.to = None;
            report.problems.push(problem);
        }
        self.drop_nested();
    }

    /// What is among the manifests of an Application that is not written is not written either, and its report says so.
    fn drop_nested(&mut self) {
        let (namespace, name) = &self.identity;
        for report in self.reports.iter_mut().skip(1).filter(|report| report.to.is_some()) {
            report.to = None;
            report.problems.push(format!(
                "it would be written inside of Application {namespace}/{name}, whose manifests hold it and which is not migrated"
            ));
        }
    }
}

/// An Application as far as its own fields say.
struct Read {
    namespace: String,
    application: Application,
    texts: Vec<crate::cli::plan::input::Text>,
}

/// Reads the fields. `None` when something stands against it, which is in the report.
fn read(
    document: &Document,
    argo: &str,
    nested: bool,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<Option<Read>> {
    let mut root = Fields::of(Some(&document.value), "");
    let version = root.text("apiVersion").unwrap_or_default();
    if version != ARGO_VERSION {
        report.problems.push(format!("apiVersion {version:?} is not known; it is {ARGO_VERSION:?}"));
    }
    for key in ["kind", "status"] {
        root.value(key);
    }
    if root.value("operation").is_some() {
        report.fields.push(
            "operation: not carried over; `swell sync` asks for a run, also while another one goes on (V29)".to_owned(),
        );
    }
    let mut spec = Fields::of(root.value("spec"), "spec");
    let mut destination = spec.fields("destination");
    let cluster = cluster_of(&document.value);
    if cluster != IN_CLUSTER {
        report
            .fields
            .push(format!("spec.destination: Swell deploys into the cluster that it runs in: apply this in {cluster}"));
    }
    for key in ["server", "name"] {
        destination.text(key);
    }
    let namespace = destination.text("namespace").or(world.namespace).map(str::to_owned);
    end(destination, report);
    if namespace.is_none() {
        report.problems.push(
            "spec.destination.namespace is missing, and an Application of Swell's is in a namespace; --namespace NS names it".to_owned(),
        );
    }
    let namespace = namespace.unwrap_or_default();
    let mut metadata = Fields::of(root.value("metadata"), "metadata");
    let (object, deletion_policy) = policy::metadata(&mut metadata, &namespace, nested, report);
    end(metadata, report);
    let name = object.name.clone().unwrap_or_default();
    if name.is_empty() {
        report.problems.push("metadata.name is missing".to_owned());
    }
    let project = spec.text("project").unwrap_or("default");
    about_project(project, &name, &namespace, cluster, world, report);
    if spec.value("info").is_some() {
        report.fields.push("spec.info: not carried over; annotations can hold it".to_owned());
    }
    let sources = source::sources(&mut spec, report);
    let sync_policy = policy::sync_policy(spec.fields("syncPolicy"), &name, &namespace, report);
    let ignore_differences = policy::ignore_differences(&mut spec, report);
    let revision_history_limit = policy::history(&mut spec, report);
    end(spec, report);
    // The root's own path is empty.
    let (wrong, left) = root.end();
    report.problems.extend(wrong);
    report.fields.extend(left.iter().map(|path| format!("{}: not carried over", path.trim_start_matches('.'))));
    let whose = Whose { argo, name: &name, destination: &namespace };
    let texts = source::manifests(&sources, whose, world.repos, world.rendered, report)?;
    if !report.problems.is_empty() {
        return Ok(None);
    }
    let spec = ApplicationSpec {
        source: crate::api::Source::Inline(String::new()),
        destination: None,
        service_account_name: None,
        sync_policy: Some(sync_policy).filter(|policy| *policy != SyncPolicy::default()),
        ignore_differences,
        health_checks: Vec::new(),
        deletion_policy: Some(deletion_policy),
        revision_history_limit,
    };
    let application = Application { metadata: object, ..Application::new(&name, spec) };
    Ok(Some(Read { namespace, application, texts }))
}

/// What the project of an Application said about it, as far as it is among the files.
fn about_project(project: &str, name: &str, namespace: &str, cluster: &str, world: &World<'_>, report: &mut Report) {
    let text = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let found = world.projects.iter().find(|known| text(known, "/metadata/name").as_deref() == Some(project));
    let Some(found) = found else {
        if project != "default" {
            report.fields.push(format!(
                "spec.project: not carried over; what project {project:?} allows, and its sync windows, do not hold here (it is not among the files)"
            ));
        }
        return;
    };
    report.fields.push(format!("spec.project: not carried over; {}", why_not("AppProject")));
    for window in found.pointer("/spec/syncWindows").and_then(Value::as_array).into_iter().flatten() {
        let matches = |key: &str, value: &str| {
            let patterns = window.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            patterns.filter_map(glob).any(|pattern| pattern.is_match(value))
        };
        if matches("applications", name) || matches("namespaces", namespace) || matches("clusters", cluster) {
            let of = |key: &str| text(window, &format!("/{key}")).unwrap_or_default();
            report.fields.push(format!(
                "spec.project: its sync window ({} at {:?} for {}) does not hold: syncs happen at any time; argocd.argoproj.io/skip-reconcile: \"true\" on the Application stops them",
                of("kind"),
                of("schedule"),
                of("duration")
            ));
        }
    }
}

/// The manifests of an Application, those of Argo CD's own kinds already converted.
struct Contents {
    pieces: Vec<Piece>,
    documents: Vec<Document>,
}

fn contents(
    read: &Read,
    ancestors: &[Identity],
    world: &World<'_>,
    converted: &mut Converted,
    report: &mut Report,
) -> anyhow::Result<Contents> {
    let mut contents = Contents { pieces: Vec::new(), documents: Vec::new() };
    let mut mistakes = Mistakes::default();
    for file in &read.texts {
        let text = file.text.replace("\r\n", "\n");
        let documents = mistakes.read(&file.label, &text);
        if documents.iter().all(|document| kind_of(document).is_none()) {
            let values = documents.iter().map(|document| document.value.clone()).collect();
            contents.pieces.push(Piece { text, documents: values });
            contents.documents.extend(documents);
            continue;
        }
        let mut kept = Vec::new();
        for document in documents {
            match kind_of(&document) {
                None => kept.push(document),
                Some("Application") => {
                    let objects = contained(&document, read, ancestors, world, converted, report)?;
                    kept.extend(objects.into_iter().map(|object| {
                        let mut own = document.clone();
                        own.value = object;
                        own
                    }));
                }
                Some(kind) => {
                    let name = self::identity(&document, None).1;
                    report.fields.push(format!("{}: {kind} {name} is left out: {}", place(&document), why_not(kind)));
                }
            }
        }
        contents.pieces.push(Piece::of(kept.iter().map(|document| document.value.clone()).collect()));
        contents.documents.extend(kept);
    }
    report.problems.extend(mistakes.found.iter().map(text::mistake));
    Ok(contents)
}

/// An Application of Argo CD's among the manifests of another one.
fn contained(
    document: &Document,
    read: &Read,
    ancestors: &[Identity],
    world: &World<'_>,
    converted: &mut Converted,
    report: &mut Report,
) -> anyhow::Result<Vec<Value>> {
    let own = self::identity(document, Some(&read.namespace));
    let named = format!("{}: Application {}/{}", place(document), own.0, own.1);
    if ancestors.contains(&own) {
        report.fields.push(format!("{named} is left out: it would contain itself"));
        return Ok(Vec::new());
    }
    let cluster = cluster_of(&document.value);
    if cluster != world.cluster {
        report.fields.push(format!(
            "{named} is left out: it goes to the cluster {cluster}; migrate it by itself with --destination {cluster}"
        ));
        return Ok(Vec::new());
    }
    let child = convert(document, ancestors, Some(&read.namespace), world)?;
    if child.objects.is_empty() {
        report.problems.push(format!("{named}, which it contains, could not be migrated"));
    }
    converted.nested.push(child.identity);
    converted.nested.extend(child.nested);
    converted.namespaces.extend(child.namespaces);
    converted.reports.extend(child.reports);
    Ok(child.objects)
}

/// Makes the objects, and tells of all that will behave otherwise.
fn write(read: &Read, contents: Contents, world: &World<'_>, converted: &mut Converted, report: &mut Report) {
    let Read { namespace, application, .. } = read;
    let Contents { pieces, documents } = contents;
    let name = application.metadata.name.as_deref().unwrap_or_default();
    let owner = Owner::new(namespace, name);
    let kinds = planning::with_crds(Kinds::builtin(), &documents);
    let rules = match Rules::parse(&application.spec.ignore_differences) {
        Ok(rules) => rules,
        Err(message) => return report.problems.push(message),
    };
    let options = match lifecycle::options(application, None) {
        Ok(options) => options,
        Err(message) => return report.problems.push(message),
    };
    if !report.problems.is_empty() {
        return;
    }
    let validate = !application.sync_options().iter().any(|option| option == "Validate=false");
    let context = Context { differences: &rules, validate, ..Context::new(&owner, namespace, &kinds) };
    let wanted = match desired(documents.clone(), context) {
        Ok(wanted) => wanted,
        Err(problems) => {
            return report.problems.extend(problems.iter().map(|problem| {
                let id = if problem.message.starts_with("annotation ") { "V3: " } else { "" };
                format!("{id}{problem}")
            }));
        }
    };
    let plan = Plan::sync(&wanted, &Members::new(), &owner, namespace, &options, &|_, _| None);
    let written = Written { application, desired: &wanted, plan: &plan, options: &options };
    (report.rows, report.objects) = (written.rows(), written.objects());
    report.keys = wanted.manifests.iter().map(|manifest| manifest.key.clone()).collect();

    let object = |source| {
        let mut whole = application.clone();
        whole.spec.source = source;
        serde_json::to_value(whole).unwrap_or_default()
    };
    // The files as they are, comments included; where that does not give the same manifests, their objects written anew.
    let anew = [Piece::of(documents.iter().map(|document| document.value.clone()).collect())];
    let same = |pieces: &[Piece]| {
        let whole = joined(pieces.iter().map(|piece| piece.text.clone()));
        let read = Mistakes::default().read("", &whole);
        desired(read, context).is_ok_and(|again: Desired| again.revision == wanted.revision)
    };
    let pieces = if same(&pieces) { &pieces[..] } else { &anew[..] };
    let packed = pack(pieces, name, namespace, &wanted.revision, world.config_maps, &object, report);
    let Some((maps, object)) = packed else { return };
    let mut mistakes = Mistakes::default();
    for document in mistakes.read("output", &yaml(&object)) {
        application::read(&document, namespace, &mut mistakes);
    }
    report.problems.extend(mistakes.found.into_iter().map(|mistake| mistake.message));
    if !report.problems.is_empty() {
        return;
    }

    converted.namespaces.extend(own_namespace(application, &wanted, namespace));
    rights::about(&wanted, &owner, application, report);
    report.before.extend(lifecycle::remarks(application, Some(&wanted)).iter().map(ToString::to_string));
    // An option without effect has its row at the object.
    let warnings = wanted.warnings.iter().filter(|warning| warning.rule != Rule::UselessOption);
    report.before.extend(warnings.map(ToString::to_string));
    report.before.extend(advice(&plan).iter().map(ToString::to_string));
    let form = match maps.len() {
        0 => "its manifests inline".to_owned(),
        1 => "its manifests in a ConfigMap".to_owned(),
        number => format!("its manifests in {number} ConfigMaps"),
    };
    report.to = Some(format!("written as Application {owner}, {form}"));
    converted.objects = maps.into_iter().chain([object]).collect();
}

/// The Namespace of an Application that is to make it itself, or has it among its manifests: before that the Application could not
/// be stored.
fn own_namespace(application: &Application, wanted: &Desired, namespace: &str) -> Option<Value> {
    let asked = application.sync_options().iter().any(|option| option == "CreateNamespace=true");
    let is_own = |key: &crate::engine::object::ObjectKey| key.kind.is("", "Namespace") && &*key.name == namespace;
    if !asked && !wanted.manifests.iter().any(|manifest| is_own(&manifest.key)) {
        return None;
    }
    let mut object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    let policy = application.spec.sync_policy.as_ref();
    if let Some(metadata) = policy.and_then(|policy| policy.managed_namespace_metadata.as_ref()).filter(|_| asked) {
        for (field, map) in [("labels", &metadata.labels), ("annotations", &metadata.annotations)] {
            if !map.is_empty() {
                object["metadata"][field] = json!(map);
            }
        }
    }
    Some(object)
}

/// Objects that several Applications have: nobody shares one here (V25).
pub(super) fn shared(reports: &mut [Report]) {
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for report in reports.iter().filter(|report| report.to.is_some()) {
        for key in report.keys.iter().collect::<BTreeSet<_>>() {
            if !key.name.is_empty() && !seen.insert(key.clone()) {
                twice.insert(key.clone());
            }
        }
    }
    let names: Vec<_> = reports.iter().map(|report| report.from.clone()).collect();
    let holders = |key| {
        let has = |report: &&Report| report.keys.contains(key);
        reports.iter().filter(has).map(|report| report.from.clone()).collect::<Vec<_>>()
    };
    let all: Vec<_> = twice.iter().map(|key| (key.clone(), holders(key))).collect();
    for (number, report) in reports.iter_mut().enumerate() {
        for (key, holders) in &all {
            if report.keys.contains(key) {
                let others: Vec<_> = holders.iter().filter(|name| **name != names[number]).cloned().collect();
                report.share(&key.to_string(), &others.join(", "));
            }
        }
    }
}

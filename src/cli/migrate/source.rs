//! The sources of an Application of Argo CD's, and their manifests as far as plain files hold them.

use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use serde_json::Value;

use super::fields::Fields;
use super::folders::{Rendered, Repo, folder};
use super::policy::end;
use super::render;
use super::report::Report;
use crate::cli::plan::input::{self, Text};
use crate::engine::yaml::{Document, Limits, parse};

/// One source.
#[derive(Clone, Debug)]
pub(super) struct Source<'a> {
    /// Its path in the Application, such as `spec.sources[1]`.
    pub(super) field: String,
    /// From 1; `None` where there is only one, in `spec.source`.
    pub(super) number: Option<usize>,
    pub(super) repo: String,
    /// The folder in the repository.
    pub(super) path: Option<String>,
    /// A chart of a Helm repository.
    pub(super) chart: Option<String>,
    pub(super) revision: Option<String>,
    /// The name by which other sources take its files.
    pub(super) reference: Option<String>,
    pub(super) helm: Option<&'a Value>,
    pub(super) kustomize: Option<&'a Value>,
    pub(super) jsonnet: Option<&'a Value>,
    pub(super) plugin: Option<&'a Value>,
    /// Whether `directory` is given at all.
    directory: bool,
    recurse: bool,
    include: Option<String>,
    exclude: Option<String>,
}

/// What makes manifests of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// Nothing: they are there.
    Files,
    Helm,
    Kustomize,
    Jsonnet,
    Plugin,
}

/// The sources of a spec, in order.
pub(super) fn sources<'a>(spec: &mut Fields<'a>, report: &mut Report) -> Vec<Source<'a>> {
    let list = spec.list("sources");
    let one = spec.value("source");
    let hydrator = spec.fields("sourceHydrator");
    let mut found = Vec::new();
    if hydrator.is_there() {
        found.push(hydrated(hydrator, report));
    } else if list.is_empty() {
        end(hydrator, report);
        if let Some(value) = one {
            found.push(source(Fields::of(Some(value), "spec.source"), "spec.source", None, report));
        }
    } else {
        end(hydrator, report);
        for (number, (path, value)) in list.into_iter().enumerate() {
            found.push(source(Fields::of(Some(value), &path), &path, Some(number + 1), report));
        }
    }
    if found.is_empty() {
        report.problems.push("spec.source is missing: there is nothing to migrate".to_owned());
    }
    found
}

fn source<'a>(mut fields: Fields<'a>, path: &str, number: Option<usize>, report: &mut Report) -> Source<'a> {
    let mut directory = fields.fields("directory");
    let text = |key: &'static str, fields: &mut Fields<'_>| fields.text(key).map(str::to_owned);
    fields.text("name");
    let source = Source {
        field: path.to_owned(),
        number,
        repo: text("repoURL", &mut fields).unwrap_or_default(),
        path: text("path", &mut fields),
        chart: text("chart", &mut fields),
        revision: text("targetRevision", &mut fields),
        reference: text("ref", &mut fields),
        helm: fields.value("helm"),
        kustomize: fields.value("kustomize"),
        plugin: fields.value("plugin"),
        directory: directory.is_there(),
        recurse: directory.flag("recurse").unwrap_or_default(),
        include: text("include", &mut directory),
        exclude: text("exclude", &mut directory),
        jsonnet: directory.value("jsonnet").filter(|value| value.as_object().is_some_and(|map| !map.is_empty())),
    };
    end(directory, report);
    end(fields, report);
    source
}

/// What a hydrator has written to its branch is plain manifests.
fn hydrated<'a>(mut fields: Fields<'a>, report: &mut Report) -> Source<'a> {
    let mut dry = fields.fields("drySource");
    let mut synced = fields.fields("syncSource");
    let text = |key: &'static str, fields: &mut Fields<'_>| fields.text(key).map(str::to_owned);
    let source = Source {
        field: "spec.sourceHydrator".to_owned(),
        number: None,
        repo: text("repoURL", &mut dry).unwrap_or_default(),
        path: text("path", &mut synced),
        chart: None,
        revision: text("targetBranch", &mut synced),
        reference: None,
        helm: None,
        kustomize: None,
        plugin: None,
        directory: true,
        recurse: true,
        include: None,
        exclude: None,
        jsonnet: None,
    };
    for key in ["targetRevision", "path", "helm", "kustomize", "directory", "plugin"] {
        dry.value(key);
    }
    fields.value("hydrateTo");
    end(dry, report);
    end(synced, report);
    end(fields, report);
    report.fields.push(
        "spec.sourceHydrator: the hydrated branch is the source here; nothing hydrates it any more once Argo CD is gone".to_owned(),
    );
    source
}

impl Source<'_> {
    /// Whether it gives manifests; one that only lends its files to others does not.
    fn has_manifests(&self) -> bool {
        self.path.is_some() || self.chart.is_some() || self.reference.is_none()
    }

    /// What Argo CD would render it with. `folder`: its path on this machine, if there is one.
    pub(super) fn tool(&self, folder: Option<&Path>) -> Tool {
        if self.plugin.is_some() {
            return Tool::Plugin;
        }
        if self.chart.is_some() || self.helm.is_some() {
            return Tool::Helm;
        }
        if self.kustomize.is_some() {
            return Tool::Kustomize;
        }
        if self.jsonnet.is_some() {
            return Tool::Jsonnet;
        }
        let has = |name: &str| folder.is_some_and(|folder| folder.join(name).is_file());
        match () {
            () if self.directory => Tool::Files,
            () if has("Chart.yaml") => Tool::Helm,
            () if ["kustomization.yaml", "kustomization.yml", "Kustomization"].into_iter().any(has) => Tool::Kustomize,
            () => Tool::Files,
        }
    }
}

/// Whose sources they are.
#[derive(Clone, Copy)]
pub(super) struct Whose<'a> {
    /// Namespace of Argo CD's Application.
    pub(super) argo: &'a str,
    pub(super) name: &'a str,
    /// Namespace of the destination.
    pub(super) destination: &'a str,
}

/// The manifests of all sources. What cannot be had is a problem of the report, with the command that renders it.
pub(super) fn manifests(
    sources: &[Source<'_>],
    whose: Whose<'_>,
    repos: &[Repo],
    rendered: &[Rendered],
    report: &mut Report,
) -> anyhow::Result<Vec<Text>> {
    let find = |number: Option<usize>| rendered.iter().find(|given| given.is_for(whose.argo, whose.name, number));
    if let Some(given) = find(None) {
        followed(sources, &given.path.display().to_string(), report);
        return Ok(from_rendered(given, report));
    }
    let mut texts = Vec::new();
    for source in sources {
        if let Some(given) = find(Some(source.number.unwrap_or(1))) {
            texts.extend(from_rendered(given, report));
        } else if source.has_manifests() {
            texts.extend(from_repository(source, sources, whose, repos, report)?);
        }
    }
    if report.problems.is_empty() {
        followed(sources, "the folder as it stands now", report);
    }
    Ok(texts)
}

/// Swell follows no repository: said once for each Application.
fn followed(sources: &[Source<'_>], what: &str, report: &mut Report) {
    for source in sources.iter().filter(|source| source.has_manifests()) {
        let revision = source.revision.as_deref().unwrap_or("HEAD");
        let chart = source.chart.as_deref().map(|chart| format!(", chart {chart}")).unwrap_or_default();
        report.fields.push(format!(
            "{}: {}{chart} at {revision} is not followed; what was taken is {what}, and a later change comes with a later `kubectl apply`",
            source.field, source.repo
        ));
    }
}

fn from_rendered(given: &Rendered, report: &mut Report) -> Vec<Text> {
    report.rendered.push(given.name.clone());
    input::read(std::slice::from_ref(&given.path)).unwrap_or_else(|error| {
        report.problems.push(format!("--rendered {}: {error:#}", given.name));
        Vec::new()
    })
}

fn from_repository(
    source: &Source<'_>,
    sources: &[Source<'_>],
    whose: Whose<'_>,
    repos: &[Repo],
    report: &mut Report,
) -> anyhow::Result<Vec<Text>> {
    let field = &source.field;
    let repository = folder(repos, &source.repo);
    let local = match (repository, &source.path) {
        (Some(repository), Some(path)) => Some(inside(repository, path)),
        (Some(repository), None) => Some(Ok(repository.to_owned())),
        (None, _) => None,
    };
    let local = match local.transpose() {
        Ok(local) => local,
        Err(message) => {
            report.problems.push(format!("{field}.path: {message}"));
            return Ok(Vec::new());
        }
    };
    let tool = source.tool(local.as_deref());
    let files = match (&local, tool) {
        (None, Tool::Files) => {
            report.problems.push(format!(
                "{field}: no folder is given for {}; --repo {}=DIR names the one that holds a clone of it",
                source.repo, source.repo
            ));
            return Ok(Vec::new());
        }
        (Some(local), Tool::Files) if !local.is_dir() => {
            report.problems.push(format!("{field}.path: {} is no folder", local.display()));
            return Ok(Vec::new());
        }
        (Some(local), Tool::Files) => Some(files(local, source, report)?),
        (_, Tool::Helm | Tool::Kustomize | Tool::Jsonnet | Tool::Plugin) => None,
    };
    let tool = match &files {
        Some(files) if files.iter().any(|file| file.extension().is_some_and(|extension| extension == "jsonnet")) => {
            Tool::Jsonnet
        }
        _ => tool,
    };
    if tool != Tool::Files {
        let job = render::Job { source, sources, whose, repos, folder: local.as_deref() };
        let (what, command) = job.command(tool);
        report.problems.push(format!("{field}: {what} is not rendered here; the command for it is below"));
        report.commands.push(command);
        return Ok(Vec::new());
    }
    if let Some(local) = &local {
        for name in [".argocd-source.yaml".to_owned(), format!(".argocd-source-{}.yaml", whose.name)] {
            if local.join(&name).is_file() {
                report.fields.push(format!(
                    "{field}: {} overrides fields of the source; it was not read",
                    local.join(&name).display()
                ));
            }
        }
    }
    let mut texts = Vec::new();
    for file in files.into_iter().flatten() {
        let read = input::read(std::slice::from_ref(&file))?;
        texts.extend(read.into_iter().filter(|text| is_manifest(text, report)));
    }
    if texts.is_empty() {
        report.fields.push(format!("{field}: no file of it holds manifests, so the Application has no objects"));
    }
    Ok(texts)
}

/// As Argo CD tells: a file that says so is left out, and one that is no manifest in any way.
fn is_manifest(text: &Text, report: &mut Report) -> bool {
    if text.text.contains("# +argocd:skip-file-rendering") {
        return false;
    }
    let named = |document: &Document| ["apiVersion", "kind"].iter().all(|key| document.value.get(*key).is_some());
    let read = parse(None, &text.text, &Limits::default());
    if read.as_ref().is_ok_and(|documents| documents.iter().all(named)) {
        return read.is_ok_and(|documents| !documents.is_empty());
    }
    // What is nearly one is read all the same, and its mistakes are told.
    let is_nearly = ["apiVersion:", "kind:", "metadata:"].iter().all(|word| text.text.contains(word));
    if !is_nearly {
        report.fields.push(format!("{}: left out, as Argo CD does: it holds no manifest", text.label));
    }
    is_nearly
}

/// The path below the repository; one that leads out of it is refused, as there.
fn inside(repository: &Path, path: &str) -> Result<PathBuf, String> {
    let relative = Path::new(path.trim_start_matches('/'));
    if relative.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("{path:?} leads out of the repository"));
    }
    let normal: PathBuf = relative.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    Ok(if normal.as_os_str().is_empty() { repository.to_owned() } else { repository.join(normal) })
}

/// The files of a directory source, in Argo CD's order: by name, folder by folder.
fn files(folder: &Path, source: &Source<'_>, report: &mut Report) -> anyhow::Result<Vec<PathBuf>> {
    let mut pattern = |key: &str, text: &Option<String>| {
        let text = text.as_deref()?;
        let matcher = glob(text);
        if matcher.is_none() {
            report.fields.push(format!(
                "{}.directory.{key}: {text:?} is no pattern; Argo CD takes it for one that nothing matches",
                source.field
            ));
        }
        Some(matcher)
    };
    let (include, exclude) = (pattern("include", &source.include), pattern("exclude", &source.exclude));
    let matches = |pattern: &Option<GlobMatcher>, path: &Path| pattern.as_ref().is_some_and(|p| p.is_match(path));
    let mut found = Vec::new();
    walk(folder, source.recurse, &mut found)?;
    found.retain(|file| {
        let relative = file.strip_prefix(folder).unwrap_or(file);
        exclude.as_ref().is_none_or(|pattern| !matches(pattern, relative))
            && include.as_ref().is_none_or(|pattern| matches(pattern, relative))
    });
    Ok(found)
}

/// A pattern as Argo CD reads it: `*` also matches `/`.
pub(super) fn glob(pattern: &str) -> Option<GlobMatcher> {
    GlobBuilder::new(pattern).literal_separator(false).build().ok().map(|glob| glob.compile_matcher())
}

const EXTENSIONS: [&str; 4] = ["yaml", "yml", "json", "jsonnet"];

fn walk(folder: &Path, recurse: bool, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let reading = || format!("cannot read the folder {}", folder.display());
    let mut entries =
        std::fs::read_dir(folder).with_context(reading)?.collect::<Result<Vec<_>, _>>().with_context(reading)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type().with_context(reading)?.is_dir() {
            if recurse && entry.file_name() != ".git" {
                walk(&path, recurse, found)?;
            }
        } else if path.is_file() && path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e == *known)) {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_as_argo_cd_reads_them() {
        for (pattern, path, matches) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "below/a.yaml", true),
            ("some/*", "some/a/b.yaml", true),
            ("{*.yml,*.yaml}", "a.yml", true),
            ("{config.json,env-usw2/*}", "env-usw2/configmap.yaml", true),
            ("config.yaml", "below/config.yaml", false),
        ] {
            assert_eq!(glob(pattern).unwrap().is_match(path), matches, "{pattern} {path}");
        }
        assert!(glob("[a").is_none());
    }

    #[test]
    fn a_path_does_not_lead_out_of_its_repository() {
        assert_eq!(inside(Path::new("repo"), "./apps/shop/").unwrap(), Path::new("repo/apps/shop"));
        assert_eq!(inside(Path::new("repo"), ".").unwrap(), Path::new("repo"));
        assert!(inside(Path::new("repo"), "../other").is_err());
    }
}

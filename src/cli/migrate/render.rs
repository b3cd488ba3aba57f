//! The command that renders a source which is no plain files, as Argo CD would: Helm, Kustomize, Jsonnet, plugins.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::folders::{Repo, folder};
use super::source::{Source, Tool, Whose};

/// A source to be rendered.
pub(super) struct Job<'a> {
    pub(super) source: &'a Source<'a>,
    /// All sources of the Application: value files may be in others.
    pub(super) sources: &'a [Source<'a>],
    pub(super) whose: Whose<'a>,
    pub(super) repos: &'a [Repo],
    /// The source's folder on this machine.
    pub(super) folder: Option<&'a Path>,
}

impl Job<'_> {
    /// What the source is, and the command that renders it, with the flag that gives the result.
    pub(super) fn command(&self, tool: Tool) -> (String, String) {
        let (what, command) = match tool {
            Tool::Helm => (self.chart(), self.helm()),
            Tool::Kustomize => (format!("the kustomization {}", self.place()), self.kustomize()),
            Tool::Jsonnet => (format!("the Jsonnet of {}", self.place()), self.jsonnet()),
            Tool::Plugin | Tool::Files => (format!("what a plugin makes of {}", self.place()), self.plugin()),
        };
        let Whose { argo, name, .. } = self.whose;
        let number = self.source.number.map(|number| format!(":{number}")).unwrap_or_default();
        let flag = format!("--rendered {}", quoted(&format!("{argo}/{name}{number}={}", self.result())));
        (what, format!("# {argo}/{name}, {}: then {flag}\n{command}", self.source.field))
    }

    /// What the names of files begin with that are for this source alone: no name of Kubernetes' has an underscore.
    fn stem(&self) -> String {
        let Whose { argo, name, .. } = self.whose;
        let number = self.source.number.map(|number| format!("_{number}")).unwrap_or_default();
        format!("{argo}_{name}{number}")
    }

    /// The file that the command writes.
    fn result(&self) -> String {
        format!("{}.rendered.yaml", self.stem())
    }

    /// The folder into which its chart is pulled: helm refuses one in which there is a chart of that name.
    fn charts(&self) -> String {
        format!("{}.charts", self.stem())
    }

    /// The folder that `helm pull --untar` makes of a chart.
    fn chart_folder(&self, chart: &str) -> String {
        format!("{}/{}", self.charts(), chart.rsplit('/').next().unwrap_or(chart))
    }

    /// The folder in words of a shell: where it is, or where a clone would have it.
    fn place(&self) -> String {
        match self.folder {
            Some(folder) => folder.display().to_string(),
            None => in_repository(self.repos, &self.source.repo, self.source.path.as_deref().unwrap_or(".")),
        }
    }

    fn chart(&self) -> String {
        match &self.source.chart {
            Some(chart) => format!("the Helm chart {chart} of {}", self.source.repo),
            None => format!("the Helm chart {}", self.place()),
        }
    }

    fn helm(&self) -> String {
        let none = Value::Null;
        let helm = self.source.helm.unwrap_or(&none);
        let text = |key: &str| helm.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let flag = |key: &str| helm.get(key).and_then(Value::as_bool).unwrap_or_default();
        let list = |key: &str| helm.get(key).and_then(Value::as_array).into_iter().flatten();
        let mut words =
            vec!["helm".to_owned(), "template".to_owned(), text("releaseName").unwrap_or(self.whose.name).to_owned()];
        let mut before = String::new();
        let repo = &self.source.repo;
        let version = self.source.revision.iter().flat_map(|version| ["--version".to_owned(), version.clone()]);
        if let Some(chart) = &self.source.chart {
            let mut from = if repo.starts_with("http://") || repo.starts_with("https://") {
                vec![chart.clone(), "--repo".to_owned(), repo.clone()]
            } else {
                let repo = repo.trim_start_matches("oci://").trim_end_matches('/');
                vec![format!("oci://{repo}/{chart}")]
            };
            from.extend(version);
            let mut files = list("valueFiles").filter_map(Value::as_str);
            if files.any(|file| !file.starts_with('$') && !file.contains("://")) {
                // Its own value files can be named once it is here.
                before = format!("helm pull {} --untar --untardir {} &&\n", line(&from), quoted(&self.charts()));
                words.push(self.chart_folder(chart));
            } else {
                words.extend(from);
            }
        } else {
            let place = self.place();
            let chart = self.folder.and_then(|folder| std::fs::read_to_string(folder.join("Chart.yaml")).ok());
            if chart.is_none_or(|chart| chart.contains("dependencies:")) {
                before = format!("helm dependency build {} &&\n", quoted(&place));
            }
            words.push(place);
        }
        let namespace = text("namespace").unwrap_or(self.whose.destination);
        words.extend(["--namespace".to_owned(), namespace.to_owned()]);
        for (on, word) in [
            (!flag("skipCrds"), "--include-crds"),
            (flag("skipTests"), "--skip-tests"),
            (flag("skipSchemaValidation"), "--skip-schema-validation"),
            (flag("passCredentials"), "--pass-credentials"),
        ] {
            words.extend(on.then(|| word.to_owned()));
        }
        if let Some(version) = text("kubeVersion") {
            words.extend(["--kube-version".to_owned(), version.to_owned()]);
        }
        for version in list("apiVersions").filter_map(Value::as_str) {
            words.extend(["--api-versions".to_owned(), version.to_owned()]);
        }
        for file in list("valueFiles").filter_map(Value::as_str) {
            words.extend(["--values".to_owned(), self.value_file(file)]);
        }
        // valuesObject wins over values.
        let object = helm.get("valuesObject").filter(|object| !object.is_null());
        let values = match object {
            Some(object) => serde_saphyr::to_string(object).ok(),
            None => text("values").map(str::to_owned),
        };
        if values.is_some() {
            words.extend(["--values".to_owned(), "-".to_owned()]);
        }
        for parameter in list("parameters") {
            let field = |key: &str| parameter.get(key).and_then(Value::as_str).unwrap_or_default();
            let is_string = parameter.get("forceString").and_then(Value::as_bool).unwrap_or_default();
            let word = if is_string { "--set-string" } else { "--set" };
            words.extend([word.to_owned(), format!("{}={}", field("name"), with_commas(field("value")))]);
        }
        for parameter in list("fileParameters") {
            let field = |key: &str| parameter.get(key).and_then(Value::as_str).unwrap_or_default();
            words.extend(["--set-file".to_owned(), format!("{}={}", field("name"), self.value_file(field("path")))]);
        }
        let mut command = format!("{before}{} > {}", line(&words), quoted(&self.result()));
        if let Some(values) = values {
            let _ = write!(command, " {}", heredoc(&values));
        }
        command
    }

    /// Where a file of values is: in the chart, at the repository's root, in another source (`$ref/…`), or behind a URL.
    fn value_file(&self, file: &str) -> String {
        if file.contains("://") {
            return file.to_owned();
        }
        if let Some((reference, path)) = file.strip_prefix('$').and_then(|rest| rest.split_once('/')) {
            let other = self.sources.iter().find(|source| source.reference.as_deref() == Some(reference));
            return other.map_or_else(|| file.to_owned(), |other| in_repository(self.repos, &other.repo, path));
        }
        match (file.strip_prefix('/'), &self.source.chart) {
            (Some(path), None) => in_repository(self.repos, &self.source.repo, path),
            (_, Some(chart)) => format!("{}/{}", self.chart_folder(chart), file.trim_start_matches('/')),
            (None, None) => format!("{}/{file}", self.place()),
        }
    }

    /// Argo CD sets its options in a copy of the kustomization; so does this.
    fn kustomize(&self) -> String {
        let none = Value::Null;
        let options = self.source.kustomize.unwrap_or(&none);
        let edits = edits(options);
        let path = self.source.path.as_deref().unwrap_or(".");
        let repository = folder(self.repos, &self.source.repo).map(|folder| folder.display().to_string());
        if edits.is_empty() {
            return format!("kubectl kustomize {} > {}", quoted(&self.place()), quoted(&self.result()));
        }
        let repository = repository.unwrap_or_else(|| in_repository(self.repos, &self.source.repo, ""));
        let edits: String = edits.iter().fold(String::new(), |mut text, edit| {
            let _ = writeln!(text, "    kustomize edit {} &&", line(edit));
            text
        });
        format!(
            "copy=$(mktemp -d) && cp -R {}/. \"$copy\" &&\n(cd \"$copy\"/{} &&\n{edits}    kustomize build .) > {} && rm -rf \"$copy\"",
            quoted(&repository),
            quoted(path),
            quoted(&self.result())
        )
    }

    fn jsonnet(&self) -> String {
        let none = Value::Null;
        let options = self.source.jsonnet.unwrap_or(&none);
        let mut words = vec!["jsonnet".to_owned(), "--jpath".to_owned(), self.place()];
        for lib in options.get("libs").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            words.extend(["--jpath".to_owned(), in_repository(self.repos, &self.source.repo, lib)]);
        }
        for (key, text, code) in [("extVars", "--ext-str", "--ext-code"), ("tlas", "--tla-str", "--tla-code")] {
            for variable in options.get(key).and_then(Value::as_array).into_iter().flatten() {
                let field = |key: &str| variable.get(key).and_then(Value::as_str).unwrap_or_default();
                let is_code = variable.get("code").and_then(Value::as_bool).unwrap_or_default();
                let word = if is_code { code } else { text };
                words.extend([word.to_owned(), format!("{}={}", field("name"), field("value"))]);
            }
        }
        // An array is a list of objects, as Argo CD reads it.
        let wrap = "{apiVersion: 'v1', kind: 'List', items: if std.isArray(x) then x else [x]}";
        format!(
            "for file in {}/*.jsonnet; do\n    echo ---\n    {} --exec \"local x = import '$(basename \"$file\")'; {wrap}\"\ndone > {}",
            quoted(&self.place()),
            line(&words),
            quoted(&self.result())
        )
    }

    fn plugin(&self) -> String {
        let plugin = self.source.plugin.cloned().unwrap_or_default();
        let name = plugin.get("name").and_then(Value::as_str).unwrap_or("that Argo CD finds for this folder");
        let mut lines = format!("# The `generate` command of the plugin {name}, in the folder {}", self.place());
        let mut words = vec!["env".to_owned(), format!("ARGOCD_APP_NAME={}", self.whose.name)];
        words.push(format!("ARGOCD_APP_NAMESPACE={}", self.whose.destination));
        for variable in plugin.get("env").and_then(Value::as_array).into_iter().flatten() {
            let field = |key: &str| variable.get(key).and_then(Value::as_str).unwrap_or_default();
            words.push(format!("ARGOCD_ENV_{}={}", field("name"), field("value")));
        }
        if let Some(parameters) = plugin.get("parameters").filter(|parameters| !parameters.is_null()) {
            words.push(format!("ARGOCD_APP_PARAMETERS={parameters}"));
        }
        let _ = write!(lines, ":\n# {} GENERATE > {}", line(&words), self.result());
        lines
    }
}

/// The options of a kustomization as edits, each in words.
fn edits(options: &Value) -> Vec<Vec<String>> {
    let text = |key: &str| options.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let flag = |key: &str| options.get(key).and_then(Value::as_bool).unwrap_or_default();
    let list = |key: &str| options.get(key).and_then(Value::as_array).into_iter().flatten();
    let pairs = |key: &str| {
        let map = options.get(key).and_then(Value::as_object).into_iter().flatten();
        map.filter_map(|(key, value)| Some(format!("{key}:{}", value.as_str()?))).collect::<Vec<_>>().join(",")
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut edits = Vec::new();
    for (key, what) in [("namePrefix", "nameprefix"), ("nameSuffix", "namesuffix"), ("namespace", "namespace")] {
        edits.extend(text(key).map(|value| words(&["set", what, "--", value])));
    }
    for image in list("images").filter_map(Value::as_str) {
        edits.push(words(&["set", "image", image]));
    }
    for replica in list("replicas") {
        let name = replica.get("name").and_then(Value::as_str).unwrap_or_default();
        let count = replica.get("count").map(|count| count.as_str().map_or_else(|| count.to_string(), str::to_owned));
        edits.push(words(&["set", "replicas", &format!("{name}={}", count.unwrap_or_default())]));
    }
    let labels = pairs("commonLabels");
    if !labels.is_empty() {
        let mut edit = words(&["add", "label", &labels]);
        edit.extend(flag("forceCommonLabels").then(|| "--force".to_owned()));
        edit.extend(flag("labelWithoutSelector").then(|| "--without-selector".to_owned()));
        edit.extend(flag("labelIncludeTemplates").then(|| "--include-templates".to_owned()));
        edits.push(edit);
    }
    let annotations = pairs("commonAnnotations");
    if !annotations.is_empty() {
        let mut edit = words(&["add", "annotation", &annotations]);
        edit.extend(flag("forceCommonAnnotations").then(|| "--force".to_owned()));
        edits.push(edit);
    }
    for component in list("components").filter_map(Value::as_str) {
        edits.push(words(&["add", "component", component]));
    }
    for patch in list("patches") {
        let mut edit = words(&["add", "patch"]);
        for (pointer, word) in [
            ("/path", "--path"),
            ("/patch", "--patch"),
            ("/target/group", "--group"),
            ("/target/version", "--version"),
            ("/target/kind", "--kind"),
            ("/target/name", "--name"),
            ("/target/namespace", "--namespace"),
            ("/target/labelSelector", "--label-selector"),
            ("/target/annotationSelector", "--annotation-selector"),
        ] {
            if let Some(value) = patch.pointer(pointer).and_then(Value::as_str) {
                edit.extend([word.to_owned(), value.to_owned()]);
            }
        }
        edits.push(edit);
    }
    edits
}

/// A path of a repository: in the folder that stands for it, or in the clone that would have to be made.
fn in_repository(repos: &[Repo], url: &str, path: &str) -> String {
    let root = folder(repos, url).map_or_else(
        || {
            url.trim_end_matches('/')
                .trim_end_matches(".git")
                .rsplit(['/', ':'])
                .next()
                .unwrap_or("repository")
                .to_owned()
        },
        |folder| folder.display().to_string(),
    );
    let path = path.trim_start_matches("./").trim_matches('/');
    if path.is_empty() || path == "." { root } else { format!("{root}/{path}") }
}

/// Helm splits values at commas that have no backslash before them; Argo CD puts one there.
fn with_commas(value: &str) -> String {
    let mut out = String::new();
    let mut last = ' ';
    for character in value.chars() {
        if character == ',' && last != '\\' {
            out.push('\\');
        }
        out.push(character);
        last = character;
    }
    out
}

fn quoted(word: &str) -> Cow<'_, str> {
    // Only a NUL cannot be quoted, and no text of a manifest has one.
    shlex::try_quote(word).unwrap_or(Cow::Borrowed(word))
}

fn line(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

fn heredoc(text: &str) -> String {
    let mut end = "EOF".to_owned();
    while text.lines().any(|line| line == end) {
        end.push('_');
    }
    format!("<<'{end}'\n{}\n{end}", text.trim_end_matches('\n'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_comma_in_a_value_does_not_split_it() {
        assert_eq!(with_commas("a,b\\,c"), "a\\,b\\,c");
    }

    #[test]
    fn a_text_does_not_end_its_own_here_document() {
        assert_eq!(heredoc("a: 1\nEOF\n"), "<<'EOF_'\na: 1\nEOF\nEOF_");
    }

    #[test]
    fn every_option_of_kustomize_is_an_edit() {
        let options = json!({
            "namePrefix": "a-", "images": ["web=registry.example/web:2"], "replicas": [{"name": "web", "count": 3}],
            "commonLabels": {"team": "shop"}, "labelWithoutSelector": true,
            "patches": [{"target": {"kind": "Deployment"}, "patch": "- op: remove\n  path: /spec/replicas"}]
        });
        let edits: Vec<_> = edits(&options).iter().map(|edit| line(edit)).collect();
        assert_eq!(
            edits,
            [
                "set nameprefix -- a-",
                "set image 'web=registry.example/web:2'",
                "set replicas 'web=3'",
                "add label team:shop --without-selector",
                "add patch --patch '- op: remove\n  path: /spec/replicas' --kind Deployment"
            ]
        );
    }
}

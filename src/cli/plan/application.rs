//! Reads an Application as strictly as `kubectl apply` and the API server do, as far as its schema says: fields, types and words.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

use super::documents::Mistakes;
use crate::api::{API_VERSION, Application, GROUP, KIND, crd};
use crate::cli::checks;
use crate::engine::finding::{Part, Remark, Rule};
use crate::engine::object::group_of;
use crate::engine::settings::{nearest, parse_option};
use crate::engine::yaml::Document;

const ROOT: [&str; 6] = ["apiVersion", "kind", "metadata", "spec", "operation", "status"];

/// Whether the document is an Application, of whatever version.
pub(in crate::cli) fn is_application(document: &Document) -> bool {
    let field = |name: &str| document.value.get(name).and_then(Value::as_str);
    field("apiVersion").is_some_and(|api_version| group_of(api_version) == GROUP) && field("kind") == Some(KIND)
}

/// The Application in the document, in `namespace` if it names none. `None` when it has mistakes, which are noted.
pub(in crate::cli) fn read(document: &Document, namespace: &str, mistakes: &mut Mistakes) -> Option<Application> {
    let mut reader = Reader { document, object: object(document), wrong: Vec::new() };
    reader.root();
    if reader.wrong.is_empty() {
        match serde_json::from_value::<Application>(document.value.clone()) {
            Ok(mut application) => {
                application.metadata.namespace.get_or_insert_with(|| namespace.to_owned());
                reader.options(&application);
                reader.checks(&application);
                if reader.wrong.is_empty() {
                    return Some(application);
                }
            }
            Err(error) => reader.refuse(&["spec"], error.to_string()),
        }
    }
    let Reader { object, wrong, .. } = reader;
    for (line, remark) in wrong {
        let position = crate::engine::yaml::Position { line, ..document.position.clone() };
        mistakes.add(position, Some(object.clone()), remark);
    }
    None
}

fn object(document: &Document) -> String {
    let field = |name: &str| document.value.pointer(&format!("/metadata/{name}")).and_then(Value::as_str);
    match (field("namespace"), field("name")) {
        (Some(namespace), Some(name)) => format!("{KIND} {namespace}/{name}"),
        (_, name) => format!("{KIND} {}", name.unwrap_or("without a name")),
    }
}

struct Reader<'a> {
    document: &'a Document,
    object: String,
    wrong: Vec<(u32, Remark)>,
}

impl Reader<'_> {
    fn refuse(&mut self, path: &[&str], message: String) {
        self.refuse_by(Rule::ApplicationField, Part::value(path), path, message);
    }

    fn refuse_by(&mut self, rule: Rule, part: Part, path: &[&str], message: String) {
        self.wrong.push((self.document.position_of(path).line, Remark { rule, part, message }));
    }

    fn root(&mut self) {
        let value = &self.document.value;
        let api_version = value.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        if api_version != API_VERSION {
            let message = format!("apiVersion {api_version:?} is not known; {KIND} is served in {API_VERSION:?}");
            self.refuse(&["apiVersion"], message);
        }
        if value.pointer("/metadata/name").and_then(Value::as_str).is_none_or(str::is_empty) {
            self.refuse(&["metadata"], "metadata.name is missing; every object needs one".to_owned());
        }
        for key in value.as_object().into_iter().flat_map(|root| root.keys()) {
            if !ROOT.contains(&key.as_str()) {
                let message = format!("{key} is not a field of {KIND}{}", nearest(key, ROOT.into_iter()));
                self.refuse_by(Rule::ApplicationField, Part::key(&[key]), &[key], message);
            }
        }
        let versions = crd().spec.versions;
        let schema = versions.iter().find_map(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
        for part in ["spec", "operation"] {
            let Some(schema) = schema.and_then(|schema| schema.properties.as_ref()?.get(part)) else { continue };
            match value.get(part) {
                None | Some(Value::Null) if part == "spec" => {
                    self.refuse(&[], "spec is missing; it says where the manifests come from".to_owned());
                }
                None | Some(Value::Null) => {}
                Some(value) => self.field(value, schema, &mut vec![part]),
            }
        }
    }

    /// Compares a value with its schema. The path is that of the value; null counts as absent, as it does for the API server.
    fn field<'v>(&mut self, value: &'v Value, schema: &JSONSchemaProps, path: &mut Vec<&'v str>) {
        let wanted = schema.type_.as_deref().unwrap_or_default();
        let (fits, article) = match wanted {
            "object" => (value.is_object(), "a map"),
            "array" => (value.is_array(), "a list"),
            "string" => (value.is_string(), "a string"),
            "boolean" => (value.is_boolean(), "true or false"),
            "integer" => (value.is_i64() || value.is_u64(), "a whole number"),
            _ => (true, ""),
        };
        if value.is_null() {
            return;
        }
        if !fits {
            // A string in a place of its own is not quoted back: it may be anything.
            self.refuse(path, format!("{} must be {article}", path.join(".")));
            return;
        }
        if let (Some(words), Value::String(word)) = (&schema.enum_, value) {
            let words: Vec<&str> = words.iter().filter_map(|word| word.0.as_str()).collect();
            if !words.contains(&word.as_str()) {
                let message = format!("{} {word:?} is not valid{}", path.join("."), nearest(word, words.into_iter()));
                self.refuse(path, message);
            }
        }
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    path.push(key);
                    match (schema.properties.as_ref().and_then(|known| known.get(key)), &schema.additional_properties) {
                        (Some(schema), _) => self.field(value, schema, path),
                        (None, Some(JSONSchemaPropsOrBool::Schema(schema))) => self.field(value, schema, path),
                        (None, Some(JSONSchemaPropsOrBool::Bool(true))) => {}
                        (None, None | Some(JSONSchemaPropsOrBool::Bool(false))) => self.unknown(key, schema, path),
                    }
                    path.pop();
                }
                for field in schema.required.iter().flatten().filter(|field| !map.contains_key(*field)) {
                    self.refuse(path, format!("{}.{field} is missing", path.join(".")));
                }
            }
            Value::Array(items) => {
                let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items else { return };
                let places: Vec<String> = (0..items.len()).map(|index| index.to_string()).collect();
                for (place, item) in places.iter().zip(items) {
                    let mut below: Vec<&str> = path.clone();
                    below.push(place);
                    self.field(item, schema, &mut below);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn unknown(&mut self, key: &str, schema: &JSONSchemaProps, path: &[&str]) {
        let known = schema.properties.iter().flat_map(|known| known.keys()).map(String::as_str);
        let message = format!("{} is not a field of {KIND}{}", path.join("."), nearest(key, known));
        self.refuse_by(Rule::ApplicationField, Part::key(path), path, message);
    }

    /// Each health check that cannot be used.
    fn checks(&mut self, application: &Application) {
        for mistake in checks::mistakes(&application.spec.health_checks) {
            let index = mistake.index.to_string();
            let place = ["spec", "healthChecks", &index, mistake.field.as_deref().unwrap_or_default()];
            let path = if mistake.field.is_some() { &place[..] } else { &place[..3] };
            self.refuse_by(Rule::HealthCheck, Part::value(path), path, mistake.to_string());
        }
    }

    /// Each sync option that cannot be understood.
    fn options(&mut self, application: &Application) {
        for (index, option) in application.sync_options().iter().enumerate() {
            if let Err(message) = parse_option(option) {
                let message = format!("spec.syncPolicy.syncOptions: {message}");
                let path = ["spec", "syncPolicy", "syncOptions", &index.to_string()];
                self.refuse_by(Rule::SyncOption, Part::value(&path), &path, message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(spec: &str) -> Vec<String> {
        let text = format!("apiVersion: swell.dev/v1alpha1\nkind: Application\nmetadata: {{name: a}}\n{spec}");
        let mut mistakes = Mistakes::default();
        let documents = mistakes.read("x", &text);
        assert!(is_application(&documents[0]));
        let read = read(&documents[0], "team", &mut mistakes);
        assert_eq!(read.is_some(), mistakes.found.is_empty());
        mistakes.found.iter().map(|mistake| format!("{}: {}", mistake.line, mistake.message)).collect()
    }

    #[test]
    fn every_field_type_word_and_option_that_the_api_server_would_refuse_is_told_with_its_line() {
        let spec = "spec:\n  source: {inline: ''}\n  syncPolciy: {}\n  deletionPolicy: Orphn\n  revisionHistoryLimit: many\n  syncPolicy:\n    timeouts: {stages: 1m}\n";
        assert_eq!(
            told(spec),
            [
                "7: spec.deletionPolicy \"Orphn\" is not valid; did you mean \"Orphan\"?",
                "8: spec.revisionHistoryLimit must be a whole number",
                "6: spec.syncPolciy is not a field of Application; did you mean \"syncPolicy\"?",
                "10: spec.syncPolicy.timeouts.stages is not a field of Application; did you mean \"stage\"?",
            ]
        );
        assert_eq!(
            told(
                "spec:\n  source: {inline: ''}\n  syncPolicy:\n    syncOptions:\n      - PruneLast=true\n      - Purne=false\n"
            ),
            ["9: spec.syncPolicy.syncOptions: \"Purne=false\" is not a sync option; did you mean \"Prune\"?"]
        );
        assert_eq!(told("spec: {source: {inline: ''}, deletionPolicy: null}\n"), [""; 0]);
        assert!(told("spec: {source: {}}\n")[0].contains("spec.source is empty"));
        assert_eq!(told("operation: {sync: {}}\n"), ["1: spec is missing; it says where the manifests come from"]);
    }
}

//! `swell health`: the verdict on objects and the rule that gives it, without a cluster.

mod output;

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use self::output::{By, ObjectHealth, Output, Rule};
use super::checks::Evaluator;
use super::format::Format;
use super::plan::application::{is_application, read};
use super::plan::documents::Mistakes;
use super::plan::input;
use super::plan::output::Position;
use crate::api::HealthCheck;
use crate::engine::finding::{self, Part, Remark};
use crate::engine::health::checks::{Check, Checks, Finding, judge};
use crate::engine::health::{self, Completion, Facts, Gate, Health};
use crate::engine::object::{GroupKind, group_of, version_of};
use crate::engine::settings::nearest;
use crate::engine::yaml::Document;

/// Tell the health of objects, such as `kubectl get -o yaml` prints them, and the rule that says so.
///
/// No cluster is asked. Health checks are those of the Applications among the files, or of --checks; they win over Swell's own rules.
/// Ends with 0 when all is Healthy or has no health, 3 when something is on its way (Progressing, Suspended), 4 when something is
/// Degraded, 5 when something cannot be judged; with 1 when files or health checks have mistakes, and with 2 for a wrong call.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File or directory with objects, `-` for standard input; may be given more than once. Applications among them are not judged but
    /// give their health checks, unless there is nothing else.
    #[arg(long = "filename", short = 'f', value_name = "FILE|DIR", required = true)]
    files: Vec<PathBuf>,
    /// File with an Application, or with a list `healthChecks` as an Application's spec has it.
    #[arg(long, value_name = "FILE")]
    checks: Option<PathBuf>,
    /// How the verdicts are written: for people, or for machines.
    #[arg(long, short = 'o', value_enum, default_value = "text")]
    output: Format,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let output = assess(args)?;
    args.output.print(&output, output::render)?;
    if !output.mistakes.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    Ok(match health::worst(output.objects.iter().filter_map(|object| object.health)) {
        Health::Healthy => ExitCode::SUCCESS,
        Health::Suspended | Health::Progressing | Health::Missing => ExitCode::from(3),
        Health::Degraded => ExitCode::from(4),
        Health::Unknown => ExitCode::from(5),
    })
}

/// Health checks, and whose they are.
struct Source {
    name: String,
    checks: Checks,
}

fn assess(args: &Args) -> anyhow::Result<Output> {
    let mut mistakes = Mistakes::default();
    let documents = mistakes.read_all(&input::read(&args.files)?);
    let (applications, mut objects): (Vec<_>, Vec<_>) = documents.into_iter().partition(is_application);
    let mut sources = Vec::new();
    if objects.is_empty() {
        objects = applications;
    } else {
        sources.extend(applications.iter().filter_map(|document| from_application(document, &mut mistakes)));
    }
    if let Some(file) = &args.checks {
        for document in mistakes.read_all(&input::read(std::slice::from_ref(file))?) {
            sources.extend(if is_application(&document) {
                from_application(&document, &mut mistakes)
            } else {
                from_list(&document, &mut mistakes)
            });
        }
    }
    let mut verdicts = Vec::new();
    let mut evaluator = None;
    if !mistakes.found.is_empty() {
        objects.clear();
    }
    for document in &objects {
        match of_object(document, &sources, &mut evaluator)? {
            Ok(verdict) => verdicts.push(verdict),
            Err(message) => {
                mistakes.add(document.position.clone(), None, unusable(finding::Rule::Identity, &[], message));
            }
        }
    }
    Ok(Output { objects: verdicts, mistakes: mistakes.found })
}

fn from_application(document: &Document, mistakes: &mut Mistakes) -> Option<Source> {
    let application = read(document, "default", mistakes)?;
    let name = application.metadata.name.as_deref().unwrap_or_default();
    Some(Source {
        name: format!("Application {}/{name}", application.namespace()),
        checks: Checks::read(&application.spec.health_checks).0,
    })
}

fn unusable(rule: finding::Rule, path: &[&str], message: String) -> Remark {
    Remark { rule, part: Part::value(path), message }
}

/// The fields of a health check.
const FIELDS: [&str; 5] = ["apiVersion", "kind", "current", "inProgress", "failed"];

fn from_list(document: &Document, mistakes: &mut Mistakes) -> Option<Source> {
    let mut refuse = |path: &[&str], message: String| {
        mistakes.add(document.position_of(path), None, unusable(finding::Rule::HealthCheck, path, message));
    };
    let Some(list) = document.value.get("healthChecks") else {
        refuse(&[], "holds no health checks: an Application or a list `healthChecks` would be right".to_owned());
        return None;
    };
    let specified = match serde_json::from_value::<Vec<HealthCheck>>(list.clone()) {
        Ok(specified) => specified,
        Err(error) => {
            refuse(&["healthChecks"], format!("healthChecks cannot be read: {error}"));
            return None;
        }
    };
    for (index, check) in list.as_array().into_iter().flatten().enumerate() {
        for field in check
            .as_object()
            .into_iter()
            .flat_map(|check| check.keys())
            .filter(|field| !FIELDS.contains(&field.as_str()))
        {
            let message = format!("healthChecks[{index}] has no field {field}{}", nearest(field, FIELDS.into_iter()));
            refuse(&["healthChecks", &index.to_string(), field], message);
        }
    }
    for mistake in super::checks::mistakes(&specified) {
        let index = mistake.index.to_string();
        let path = ["healthChecks", &index, mistake.field.as_deref().unwrap_or_default()];
        let path = if mistake.field.is_some() { &path[..] } else { &path[..2] };
        refuse(path, mistake.to_string());
    }
    Some(Source { name: document.position.source.clone().unwrap_or_default(), checks: Checks::read(&specified).0 })
}

/// The verdict on one object. The inner error is a mistake of the files.
fn of_object(
    document: &Document,
    sources: &[Source],
    evaluator: &mut Option<Evaluator>,
) -> anyhow::Result<Result<ObjectHealth, String>> {
    let object = &document.value;
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("/apiVersion"), text("/kind"));
    if api_version.is_empty() || kind.is_empty() {
        return Ok(Err("is no object: it has no apiVersion and kind".to_owned()));
    }
    let group_kind = GroupKind::new(group_of(api_version), kind);
    let mut found = sources.iter().filter_map(|source| Some((source, source.checks.get(&group_kind)?)));
    let (verdict, completion, rule) = match (found.next(), found.next()) {
        (Some((one, _)), Some((other, _))) => {
            let message = format!(
                "both {} and {} have a health check for {group_kind}; which one counts depends on whose object it is: give one of them",
                one.name, other.name
            );
            return Ok(Err(message));
        }
        (Some((source, check)), None) => {
            let finding = finding(object, &group_kind, check, evaluator)?;
            let (verdict, completion) = judge(object, check, &finding);
            let name = format!("healthChecks[{}] of {}", check.index, source.name);
            (Some(verdict), completion.or_else(|| health::completion(object)), Rule { by: By::HealthCheck, name })
        }
        (None, _) => {
            let (by, name) = match health::rule_name(&group_kind.group, kind) {
                Some(name) if health::is_custom(&group_kind.group) && health::completion(object).is_none() => {
                    (By::StandardConditions, name)
                }
                Some(name) => (By::BuiltIn, name),
                None => (By::None, String::new()),
            };
            (health::assess(object, &Facts::default()), health::completion(object), Rule { by, name })
        }
    };
    let namespace = text("/metadata/namespace");
    Ok(Ok(ObjectHealth {
        group: group_kind.group.to_string(),
        version: version_of(api_version).to_owned(),
        kind: kind.to_owned(),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        name: text("/metadata/name").to_owned(),
        health: verdict.as_ref().map(|verdict| verdict.health),
        reason: verdict.as_ref().map(|verdict| verdict.reason.clone()).unwrap_or_default(),
        message: verdict.as_ref().map(|verdict| verdict.message.clone()).unwrap_or_default(),
        terminal: verdict.as_ref().is_some_and(|verdict| verdict.terminal),
        gating: verdict.as_ref().is_some_and(|verdict| verdict.gate == Gate::Gating),
        end: completion.map(|completion| match completion {
            Completion::Running => "Running",
            Completion::Succeeded => "Succeeded",
            Completion::Failed { .. } => "Failed",
        }),
        rule,
        position: Position {
            source: document.position.source.clone(),
            document: document.position.document,
            line: document.position.line,
        },
    }))
}

fn finding(
    object: &Value,
    kind: &GroupKind,
    check: &Check,
    evaluator: &mut Option<Evaluator>,
) -> anyhow::Result<Finding> {
    let version = object.get("apiVersion").and_then(Value::as_str).map(version_of).unwrap_or_default();
    if version != check.version {
        let message = format!(
            "is for version {}, and this is version {version}; the operator asks for the version of the check, as does kubectl get {}.{}.{}",
            check.version,
            kind.kind.to_lowercase(),
            check.version,
            kind.group
        );
        return Ok(Finding::Unknown { field: None, message });
    }
    if evaluator.is_none() {
        *evaluator = Some(Evaluator::start().map_err(anyhow::Error::msg)?);
    }
    Ok(evaluator.as_ref().map_or(Finding::None { missing: None }, |evaluator| evaluator.find(check, object)))
}

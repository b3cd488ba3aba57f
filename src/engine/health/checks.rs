//! The health checks that an Application brings for its kinds, in CEL: what they say about an object, once the sandbox has found which of
//! their expressions is true. Nothing is evaluated here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::read::{behind, text};
use super::{Completion, Verdict, being_deleted, clipped, custom};
use crate::api::HealthCheck;
use crate::engine::desired::Desired;
use crate::engine::kinds::{Kinds, Known};
use crate::engine::object::{GroupKind, group_of, version_of};

/// The longest expression, in bytes.
pub const LONGEST_EXPRESSION: usize = 1024;

/// One expression of a check. The order is the one in which they are evaluated: the first that is true decides. It is Flux's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// `inProgress`.
    InProgress,
    /// `failed`.
    Failed,
    /// `current`.
    Current,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InProgress => "inProgress",
            Self::Failed => "failed",
            Self::Current => "current",
        })
    }
}

/// The health check of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its place in `spec.healthChecks`, from 0.
    pub index: usize,
    /// The version part of its `apiVersion`, at which objects are given to it.
    pub version: String,
    /// Its expressions, in the order in which they are evaluated.
    pub expressions: Vec<(Field, String)>,
}

impl Check {
    /// Whether objects of the kind run to an end: `failed` tells a bad end, and then `current` a good one (V5).
    pub fn tells_the_end(&self) -> bool {
        self.expressions.iter().any(|(field, _)| *field == Field::Failed)
    }

    /// `healthChecks[2].current`.
    pub fn name_of(&self, field: Field) -> String {
        format!("healthChecks[{}].{field}", self.index)
    }

    /// The finding on an object that has not been judged yet. One that was not seen in the form that the check is for cannot be judged.
    pub fn pending(&self, can_be_judged: bool) -> Finding {
        let name = format!("healthChecks[{}]", self.index);
        Finding::Pending(if can_be_judged {
            format!("waits to be judged by {name}")
        } else {
            format!("waits to be seen in version {}, which {name} is for", self.version)
        })
    }

    fn expression(&self, field: Field) -> &str {
        self.expressions.iter().find(|(name, _)| *name == field).map_or("", |(_, text)| text)
    }
}

/// What is wrong with a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The check's place in `spec.healthChecks`, from 0.
    pub index: usize,
    /// Which of its fields; `None` for the check as a whole.
    pub field: Option<String>,
    /// What is wrong and what would be right.
    pub message: String,
}

/// `spec.healthChecks[2].current: message`.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spec.healthChecks[{}]", self.index)?;
        if let Some(field) = &self.field {
            write!(f, ".{field}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// The health checks of an Application, by kind. A check wins over Swell's own rule for its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checks(BTreeMap<GroupKind, Arc<Check>>);

impl Checks {
    /// No checks.
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Reads the checks of a spec, and what is wrong with them as far as it can be told without compiling. What is wrong is left out.
    pub fn read(specified: &[HealthCheck]) -> (Self, Vec<Mistake>) {
        let mut checks: BTreeMap<GroupKind, Arc<Check>> = BTreeMap::new();
        let mut mistakes = Vec::new();
        for (index, check) in specified.iter().enumerate() {
            let kind = GroupKind::new(group_of(&check.api_version), &check.kind);
            match read_one(index, check, &kind, checks.get(&kind)) {
                Ok(check) => {
                    checks.insert(kind, Arc::new(check));
                }
                Err(found) => mistakes.extend(found),
            }
        }
        (Self(checks), mistakes)
    }

    /// The check of a kind.
    pub fn get(&self, kind: &GroupKind) -> Option<&Arc<Check>> {
        self.0.get(kind)
    }

    /// The kinds that have a check, with it.
    pub fn iter(&self) -> impl Iterator<Item = (&GroupKind, &Arc<Check>)> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether objects of a kind come to an end by themselves: by its check, else by Swell's own rule.
    pub fn runs_to_end(&self, kind: &GroupKind) -> bool {
        super::runs_to_end(&kind.group, &kind.kind) || self.get(kind).is_some_and(|check| check.tells_the_end())
    }

    /// Checks for kinds that are wanted, but in versions that the cluster does not serve and that no CRD among the manifests brings.
    pub fn unserved(&self, desired: &Desired, kinds: &Kinds) -> Vec<Mistake> {
        let wanted: BTreeSet<_> = desired.manifests.iter().map(|manifest| &manifest.key.kind).collect();
        let is_brought = |kind: &GroupKind| {
            let crds =
                desired.manifests.iter().filter(|manifest| &*manifest.key.kind.kind == "CustomResourceDefinition");
            crds.map(|crd| &crd.body).any(|body| text(body, &["spec", "group"]) == Some(&*kind.group))
        };
        let mut mistakes = Vec::new();
        for (kind, check) in self.iter().filter(|(kind, _)| wanted.contains(kind) && !is_brought(kind)) {
            if let Known::OtherVersions(versions) = kinds.at_version(kind, &check.version) {
                let message = format!(
                    "the cluster does not serve {kind} in version {}; it does in {}",
                    check.version,
                    versions.join(", ")
                );
                mistakes.push(Mistake { index: check.index, field: Some("apiVersion".to_owned()), message });
            }
        }
        mistakes
    }

    /// The kinds whose check differs between the two, those with one in only one of them included.
    pub fn changed(&self, other: &Self) -> Vec<GroupKind> {
        let kinds = self.0.keys().chain(other.0.keys().filter(|kind| !self.0.contains_key(*kind)));
        kinds.filter(|kind| self.get(kind) != other.get(kind)).cloned().collect()
    }
}

fn read_one(
    index: usize,
    check: &HealthCheck,
    kind: &GroupKind,
    earlier: Option<&Arc<Check>>,
) -> Result<Check, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut wrong = |field: Option<&str>, message: String| {
        mistakes.push(Mistake { index, field: field.map(str::to_owned), message });
    };
    if kind.is("", "Secret") {
        wrong(None, "a health check must not look into Secrets; take it out".to_owned());
    }
    if let Some(earlier) = earlier {
        wrong(
            None,
            format!(
                "{kind} has a health check already, healthChecks[{}]: a kind has one for all its versions",
                earlier.index
            ),
        );
    }
    let fields = [
        (Field::InProgress, check.in_progress.as_ref()),
        (Field::Failed, check.failed.as_ref()),
        (Field::Current, Some(&check.current)),
    ];
    let mut expressions = Vec::new();
    for (field, text) in fields.into_iter().filter_map(|(field, text)| Some((field, text?))) {
        if text.trim().is_empty() {
            wrong(Some(&field.to_string()), "is empty; it is an expression such as status.phase == 'Ready'".to_owned());
        } else if text.len() > LONGEST_EXPRESSION {
            let message = format!("has {} bytes; an expression has at most {LONGEST_EXPRESSION}", text.len());
            wrong(Some(&field.to_string()), message);
        } else {
            expressions.push((field, text.clone()));
        }
    }
    if mistakes.is_empty() {
        Ok(Check { index, version: version_of(&check.api_version).to_owned(), expressions })
    } else {
        Err(mistakes)
    }
}

/// What the evaluation of a check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It has not come to an end yet; what it waits for.
    Pending(String),
    /// The first expression that is true.
    True(Field),
    /// None is true.
    None {
        /// A field that the last expression, `current`, looked for in vain.
        missing: Option<String>,
    },
    /// It cannot be told.
    Unknown {
        /// The expression that could not be evaluated, if it was one.
        field: Option<Field>,
        /// Why.
        message: String,
    },
}

/// The verdict of a check on an object, and how far the object has come where the check tells the end. A status that says it is for an
/// older generation is on its way whatever the check says.
pub fn judge(object: &Value, check: &Check, finding: &Finding) -> (Verdict, Option<Completion>) {
    let verdict = behind(object).unwrap_or_else(|| verdict(object, check, finding));
    let completion = check.tells_the_end().then(|| match (&verdict, finding) {
        (verdict, Finding::True(Field::Failed)) if verdict.terminal => {
            Completion::failed(&verdict.reason, verdict.message.clone())
        }
        (Verdict { health: super::Health::Healthy, .. }, Finding::True(Field::Current)) => Completion::Succeeded,
        _ => Completion::Running,
    });
    let deleted = text(object, &["metadata", "deletionTimestamp"]);
    (deleted.map_or(verdict, |since| being_deleted(object, since)), completion)
}

/// The verdict on an object whose check has come, changed or gone, until the new rule has judged it.
pub fn to_be_judged(check: Option<&Check>) -> Verdict {
    let rule = check.map_or_else(|| "its kind's own rule".to_owned(), |check| format!("healthChecks[{}]", check.index));
    Verdict::progressing("BeingJudged", format!("waits to be judged by {rule}"))
}

fn verdict(object: &Value, check: &Check, finding: &Finding) -> Verdict {
    match finding {
        Finding::Pending(what) => Verdict::progressing("BeingJudged", what.clone()),
        Finding::True(Field::Current) => Verdict::healthy(),
        Finding::True(field @ Field::InProgress) => {
            Verdict::progressing("CheckInProgress", is_true(object, check, *field))
        }
        Finding::True(field @ Field::Failed) => Verdict::failed("CheckFailed", is_true(object, check, *field)),
        Finding::None { missing } => {
            let name = check.name_of(Field::Current);
            Verdict::progressing(
                "CheckNotTrue",
                match missing {
                    Some(missing) => format!("{name} is not true: the object has no {missing} yet"),
                    None => format!("{name} is not true: {}", shown(check, Field::Current)) + &said(object),
                },
            )
        }
        Finding::Unknown { field, message } => {
            let name = field.map_or_else(|| format!("healthChecks[{}]", check.index), |field| check.name_of(field));
            Verdict::unknown("CheckNotEvaluated", format!("cannot judge: {name}: {message}"))
        }
    }
}

fn is_true(object: &Value, check: &Check, field: Field) -> String {
    format!("{} is true: {}", check.name_of(field), shown(check, field)) + &said(object)
}

/// The expression on one line, as far as it fits into a message.
fn shown(check: &Check, field: Field) -> String {
    const SHOWN: usize = 160;
    clipped(check.expression(field).split_whitespace().collect::<Vec<_>>().join(" "), SHOWN)
}

/// What the object says of itself in the condition that people look at first.
fn said(object: &Value) -> String {
    match custom::readiness(object) {
        Some(condition) if !condition.message().is_empty() => format!("; {}", condition.sentence()),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::health::Health;
    use serde_json::json;

    fn check(api_version: &str, kind: &str, current: &str) -> HealthCheck {
        HealthCheck {
            api_version: api_version.into(),
            kind: kind.into(),
            current: current.into(),
            ..HealthCheck::default()
        }
    }

    fn told(checks: &[HealthCheck]) -> Vec<String> {
        Checks::read(checks).1.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn no_check_looks_into_secrets_in_whatever_version() {
        for version in ["v1", "v2"] {
            let (checks, mistakes) = Checks::read(&[check(version, "Secret", "true")]);
            assert!(checks.is_empty());
            assert!(
                mistakes[0].to_string().starts_with("spec.healthChecks[0]: a health check must not look into Secrets")
            );
        }
        assert_eq!(
            told(&[check("example.com/v1", "Secret", "true")]),
            [""; 0],
            "another group's Secret is another kind"
        );
    }

    #[test]
    fn an_expression_that_is_too_long_or_empty_is_named_with_what_would_be_right() {
        let long = HealthCheck { failed: Some("a".repeat(1025)), ..check("a.b/v1", "A", " ") };
        assert_eq!(
            told(&[check("a.b/v1", "B", &"ü".repeat(512)), long]),
            [
                "spec.healthChecks[1].failed: has 1025 bytes; an expression has at most 1024",
                "spec.healthChecks[1].current: is empty; it is an expression such as status.phase == 'Ready'"
            ]
        );
    }

    #[test]
    fn a_kind_has_one_check_for_all_its_versions() {
        assert_eq!(
            told(&[check("a.b/v1", "A", "true"), check("a.b/v2", "A", "true")]),
            [
                "spec.healthChecks[1]: A.a.b has a health check already, healthChecks[0]: a kind has one for all its versions"
            ]
        );
    }

    #[test]
    fn v5_a_check_with_failed_makes_its_kind_run_to_an_end() {
        let ends = HealthCheck { failed: Some("false".into()), ..check("a.b/v1", "A", "true") };
        let (checks, _) = Checks::read(&[ends, check("a.b/v1", "B", "true"), check("batch/v1", "Job", "true")]);
        assert!(checks.runs_to_end(&GroupKind::new("a.b", "A")));
        assert!(!checks.runs_to_end(&GroupKind::new("a.b", "B")));
        assert!(checks.runs_to_end(&GroupKind::new("batch", "Job")), "a Job stays one");
        assert!(!Checks::none().runs_to_end(&GroupKind::new("a.b", "A")));
    }

    #[test]
    fn expressions_are_evaluated_in_flux_order_whatever_the_order_of_the_fields() {
        let all = HealthCheck { in_progress: Some("b".into()), failed: Some("c".into()), ..check("a.b/v1", "A", "a") };
        let (checks, _) = Checks::read(&[all]);
        let order: Vec<_> = checks.get(&GroupKind::new("a.b", "A")).unwrap().expressions.clone();
        assert_eq!(order.iter().map(|(_, text)| text.as_str()).collect::<String>(), "bca");
    }

    #[test]
    fn a_change_names_the_kinds_that_have_to_be_judged_anew() {
        let (one, _) = Checks::read(&[check("a.b/v1", "A", "1"), check("a.b/v1", "B", "1"), check("a.b/v1", "C", "1")]);
        let (other, _) = Checks::read(&[check("a.b/v1", "A", "1"), check("a.b/v1", "B", "2")]);
        let names = |kinds: Vec<GroupKind>| kinds.iter().map(|kind| kind.kind.to_string()).collect::<Vec<_>>();
        assert_eq!(names(one.changed(&other)), ["B", "C"]);
        assert_eq!(names(other.changed(&one)), ["B", "C"]);
        assert!(one.changed(&one.clone()).is_empty());
    }

    #[test]
    fn i2_f01_f07_a_status_of_an_older_generation_is_neither_success_nor_failure() {
        let ends = HealthCheck { failed: Some("x".into()), ..check("a.b/v1", "A", "true") };
        let (checks, _) = Checks::read(&[ends]);
        let check = checks.get(&GroupKind::new("a.b", "A")).unwrap();
        let mut object = json!({"apiVersion": "a.b/v1", "kind": "A", "metadata": {"generation": 2}, "status": {"observedGeneration": 1}});
        for finding in [Finding::True(Field::Failed), Finding::True(Field::Current)] {
            let (verdict, completion) = judge(&object, check, &finding);
            assert_eq!((verdict.health, completion), (Health::Progressing, Some(Completion::Running)));
        }
        object["status"]["observedGeneration"] = json!(2);
        let (verdict, completion) = judge(&object, check, &Finding::True(Field::Failed));
        assert!(verdict.terminal && matches!(completion, Some(Completion::Failed { .. })));
        let (verdict, completion) = judge(&object, check, &Finding::True(Field::Current));
        assert_eq!((verdict.health, completion), (Health::Healthy, Some(Completion::Succeeded)));
    }

    #[test]
    fn an_object_on_its_way_out_is_progressing_and_keeps_its_end() {
        let ends = HealthCheck { failed: Some("x".into()), ..check("a.b/v1", "A", "true") };
        let (checks, _) = Checks::read(&[ends]);
        let check = checks.get(&GroupKind::new("a.b", "A")).unwrap();
        let object = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let (verdict, completion) = judge(&object, check, &Finding::True(Field::Current));
        assert_eq!((verdict.reason.as_str(), completion), ("BeingDeleted", Some(Completion::Succeeded)));
    }
}

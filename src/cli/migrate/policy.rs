//! Metadata and spec of an Application of Argo CD's, field by field, beside its sources.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::fields::Fields;
use super::report::Report;
use crate::api::annotations as keys;
use crate::api::{
    AutomatedPolicy, BackoffPolicy, DeletionPolicy, Duration, IgnoreDifference, ManagedNamespaceMetadata, RetryPolicy,
    SyncPolicy,
};
use crate::engine::differences::Rules;
use crate::engine::settings::parse_option;

/// How often Argo CD tries an automated sync again that says nothing of it.
const ARGO_RETRIES: i64 = 5;
/// As many as the schema takes.
const MOST_HISTORY: i64 = 100;
const RESOURCES_FINALIZER: &str = "resources-finalizer.argocd.argoproj.io";
/// Finalizers that Argo CD itself adds and takes off, according to the hooks that there are.
const HOOK_FINALIZERS: [&str; 2] =
    ["pre-delete-finalizer.argocd.argoproj.io", "post-delete-finalizer.argocd.argoproj.io"];
/// Annotations of an Application that mean the same here.
const KEPT: [&str; 3] = [keys::ARGO_SKIP_RECONCILE, keys::ARGO_MIGRATION_MANAGER, keys::ARGO_DELETION_APPROVED];
/// Annotations that say something only where the Application is itself a manifest of another one.
const OF_MANIFESTS: [&str; 5] = [
    keys::ARGO_SYNC_WAVE,
    keys::ARGO_HOOK,
    keys::ARGO_HOOK_DELETE_POLICY,
    keys::ARGO_SYNC_OPTIONS,
    keys::ARGO_IGNORE_HEALTHCHECK,
];
/// Annotations that whoever applied or tracks the object has put there.
const OF_TOOLS: [&str; 4] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "argocd.argoproj.io/tracking-id",
    "argocd.argoproj.io/installation-id",
    keys::ARGO_REFRESH,
];

/// Labels and annotations, and what becomes of the objects at a deletion. `nested`: it is a manifest of another Application.
pub(super) fn metadata(
    fields: &mut Fields<'_>,
    namespace: &str,
    nested: bool,
    report: &mut Report,
) -> (ObjectMeta, DeletionPolicy) {
    let name = fields.text("name").unwrap_or_default().to_owned();
    for key in ["namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"] {
        fields.value(key);
    }
    let owners = fields.list("ownerReferences");
    for owner in owners.iter().filter_map(|(_, owner)| owner.get("name")?.as_str()) {
        report.before.push(format!(
            "ApplicationSet {owner} makes this Application and would make it again: delete that first, with `kubectl delete applicationsets.argoproj.io {owner} --cascade=orphan`"
        ));
    }
    let labels: BTreeMap<_, _> = fields
        .pairs("labels")
        .into_iter()
        .filter(|(key, _)| {
            !["app.kubernetes.io/instance", "argocd.argoproj.io/instance", keys::PART_OF].contains(&&**key)
        })
        .collect();
    let mut annotations = BTreeMap::new();
    for (key, value) in fields.pairs("annotations") {
        let path = format!("metadata.annotations[{key}]");
        let of_argo = key.split_once('/').is_some_and(|(domain, _)| domain.ends_with("argoproj.io"));
        let updater = key.starts_with("argocd-image-updater.");
        if OF_TOOLS.contains(&&*key) {
            continue;
        }
        if KEPT.contains(&&*key) || (nested && OF_MANIFESTS.contains(&&*key)) || !(of_argo || updater) {
            annotations.insert(key, value);
        } else if OF_MANIFESTS.contains(&&*key) {
            report
                .fields
                .push(format!("{path}: left out; it has no effect on an Application that no other one contains"));
        } else if key.starts_with("notifications.argoproj.io/") {
            report.fields.push(format!(
                "{path}: not carried over; a hook of SyncFail or PostSync, or whoever watches Events and conditions, tells people here"
            ));
        } else {
            report.fields.push(format!("{path}: not carried over; nothing reads it here"));
        }
    }
    let deletion = deletion(fields, report);
    let metadata = ObjectMeta {
        name: Some(name),
        namespace: Some(namespace.to_owned()),
        labels: (!labels.is_empty()).then_some(labels),
        annotations: (!annotations.is_empty()).then_some(annotations),
        ..ObjectMeta::default()
    };
    (metadata, deletion)
}

/// V26: what the finalizer says there, the policy says here.
fn deletion(fields: &mut Fields<'_>, report: &mut Report) -> DeletionPolicy {
    let mut policy = DeletionPolicy::Orphan;
    for finalizer in fields.texts("finalizers") {
        if let Some(way) = finalizer.strip_prefix(RESOURCES_FINALIZER) {
            policy = DeletionPolicy::Delete;
            if way == "/background" {
                report.fields.push(
                    "metadata.finalizers: written as deletionPolicy Delete (V26), in the foreground; the sync option PrunePropagationPolicy=background gives the other way, for prunes too".to_owned(),
                );
            }
        } else if !HOOK_FINALIZERS.iter().any(|known| finalizer.starts_with(known)) {
            report.fields.push(format!("metadata.finalizers: {finalizer:?} is somebody else's and not carried over"));
        }
    }
    if policy == DeletionPolicy::Orphan {
        report.fields.push(
            "metadata.finalizers has no resources-finalizer.argocd.argoproj.io: written as deletionPolicy Orphan, the objects stay when the Application goes (V26)".to_owned(),
        );
    }
    policy
}

/// `spec.syncPolicy`. `name` is how `swell` names the Application.
pub(super) fn sync_policy(mut fields: Fields<'_>, name: &str, namespace: &str, report: &mut Report) -> SyncPolicy {
    let mut automated = fields.fields("automated");
    let written = if automated.is_there() {
        AutomatedPolicy {
            enabled: automated.flag("enabled").filter(|enabled| !enabled),
            prune: automated.flag("prune").unwrap_or_default(),
            self_heal: automated.flag("selfHeal").unwrap_or_default(),
            allow_empty: automated.flag("allowEmpty").unwrap_or_default(),
        }
    } else {
        report.fields.push(format!(
            "spec.syncPolicy.automated is absent: written as enabled: false, since Swell syncs by itself otherwise (V28); ask with `swell sync {name} -n {namespace}`"
        ));
        AutomatedPolicy { enabled: Some(false), ..AutomatedPolicy::default() }
    };
    end(automated, report);
    let is_automated = written.enabled != Some(false);
    let retry = retry(fields.fields("retry"), is_automated, report);
    let sync_options = options(&mut fields, report);
    let mut metadata = fields.fields("managedNamespaceMetadata");
    let managed_namespace_metadata = metadata.is_there().then(|| ManagedNamespaceMetadata {
        labels: metadata.pairs("labels").into_iter().collect(),
        annotations: metadata.pairs("annotations").into_iter().collect(),
    });
    end(metadata, report);
    end(fields, report);
    SyncPolicy { automated: Some(written), retry, sync_options, managed_namespace_metadata, ..SyncPolicy::default() }
}

fn retry(mut fields: Fields<'_>, is_automated: bool, report: &mut Report) -> Option<RetryPolicy> {
    if !fields.is_there() {
        end(fields, report);
        if !is_automated {
            return None;
        }
        report.fields.push(format!(
            "spec.syncPolicy.retry is absent: written as limit: {ARGO_RETRIES}, which Argo CD gives automated syncs; Swell gives none by itself (V30)"
        ));
        return Some(RetryPolicy { limit: Some(ARGO_RETRIES), backoff: None });
    }
    let limit = fields.number("limit").map(|limit| limit.max(-1));
    if fields.flag("refresh").is_some() {
        report.fields.push(
            "spec.syncPolicy.retry.refresh: not carried over; a newer revision supersedes a retry at once (V21)"
                .to_owned(),
        );
    }
    let mut pause = fields.fields("backoff");
    let mut duration = |key: &'static str, pause: &mut Fields<'_>| {
        let text = pause.text(key)?;
        let path = pause.at(key);
        match text.parse::<Duration>() {
            Ok(duration) => Some(duration),
            Err(error) => {
                report.fields.push(format!("{path}: not carried over: {error}"));
                None
            }
        }
    };
    let first = duration("duration", &mut pause);
    let max_duration = duration("maxDuration", &mut pause);
    let factor = pause.number("factor").filter(|factor| {
        let fits = (1..=1000).contains(factor);
        if !fits {
            report.fields.push(format!(
                "{}: not carried over: {factor} is not from 1 to 1000",
                "spec.syncPolicy.retry.backoff.factor"
            ));
        }
        fits
    });
    let backoff = pause.is_there().then_some(BackoffPolicy { duration: first, factor, max_duration });
    end(pause, report);
    end(fields, report);
    Some(RetryPolicy { limit, backoff })
}

fn options(fields: &mut Fields<'_>, report: &mut Report) -> Vec<String> {
    let mut options = Vec::new();
    for option in fields.texts("syncOptions") {
        match parse_option(&option) {
            Ok(("Force", _)) => report.fields.push(format!(
                "spec.syncPolicy.syncOptions: {option} left out; Argo CD reads it on objects only, here it would hold for all of them"
            )),
            Ok(_) => options.push(option),
            Err(message) => report
                .fields
                .push(format!("spec.syncPolicy.syncOptions: left out, Argo CD passed over it as well (V3): {message}")),
        }
    }
    options
}

/// `spec.ignoreDifferences`: what of a rule cannot be understood is left out and told.
pub(super) fn ignore_differences(fields: &mut Fields<'_>, report: &mut Report) -> Vec<IgnoreDifference> {
    let mut rules = Vec::new();
    for (path, item) in fields.list("ignoreDifferences") {
        let mut fields = Fields::of(Some(item), &path);
        let mut rule = IgnoreDifference {
            group: fields.text("group").unwrap_or_default().to_owned(),
            kind: fields.text("kind").unwrap_or_default().to_owned(),
            name: fields.text("name").map(str::to_owned),
            namespace: fields.text("namespace").map(str::to_owned),
            managed_fields_managers: fields.texts("managedFieldsManagers"),
            ..IgnoreDifference::default()
        };
        let mut usable = |texts: Vec<String>, with: &dyn Fn(&mut IgnoreDifference, Vec<String>)| -> Vec<String> {
            let is_usable = |text: &String| {
                let mut alone = IgnoreDifference { kind: rule.kind.clone(), ..IgnoreDifference::default() };
                with(&mut alone, vec![text.clone()]);
                // Swell names the place in a list of one: the rule's own place is told instead.
                let message = Rules::parse(std::slice::from_ref(&alone)).err()?;
                Some(message.split_once("]: ").map_or(message.clone(), |(_, rest)| rest.to_owned()))
            };
            let (good, bad): (Vec<_>, Vec<_>) = texts.into_iter().partition(|text| is_usable(text).is_none());
            report.fields.extend(bad.iter().filter_map(|text| {
                Some(format!("{path}: not carried over, these differences count as drift: {}", is_usable(text)?))
            }));
            good
        };
        let pointers = usable(fields.texts("jsonPointers"), &|rule, texts| rule.json_pointers = texts);
        let expressions = usable(fields.texts("jqPathExpressions"), &|rule, texts| rule.jq_path_expressions = texts);
        (rule.json_pointers, rule.jq_path_expressions) = (pointers, expressions);
        end(fields, report);
        let says_nothing = rule.json_pointers.is_empty()
            && rule.jq_path_expressions.is_empty()
            && rule.managed_fields_managers.is_empty();
        if rule.kind.is_empty() {
            report.fields.push(format!("{path}: not carried over: it names no kind"));
        } else if !says_nothing {
            rules.push(rule);
        }
    }
    rules
}

/// `spec.revisionHistoryLimit`.
pub(super) fn history(fields: &mut Fields<'_>, report: &mut Report) -> Option<i64> {
    let limit = fields.number("revisionHistoryLimit")?;
    if !(0..=MOST_HISTORY).contains(&limit) {
        let written = limit.clamp(0, MOST_HISTORY);
        report.fields.push(format!(
            "spec.revisionHistoryLimit: {limit} is written as {written}; it goes from 0 to {MOST_HISTORY}"
        ));
    }
    Some(limit.clamp(0, MOST_HISTORY))
}

/// Tells of what a mapping has left over, and of what is of the wrong type.
pub(super) fn end(fields: Fields<'_>, report: &mut Report) {
    let (wrong, left) = fields.end();
    report.problems.extend(wrong);
    report.fields.extend(left.into_iter().map(|path| format!("{path}: not carried over; Swell has no such field")));
}

//! A live object reduced to what decisions need. Bodies are not kept: memory grows with the number of members, not with their size.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use serde_json::Value;

use super::desired::Manifest;
use super::fields;
use super::health::checks::{self, Check, Finding};
use super::health::{self, Completion, Facts, Verdict};
use super::membership::{HookRun, Marks, hook_run, marks};
use super::object::{Digest, ObjectKey, Owner, group_of};
use super::settings::{ObjectOptions, csv, is_deletion, live_options, live_wave};
use crate::api::annotations as keys;

/// One live object, as of one resourceVersion.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the object")]
#[derive(Clone, Debug)]
pub struct Live {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.resourceVersion`; those of one object are ordered as numbers.
    pub version: u64,
    /// `metadata.generation`; 0 for kinds without.
    pub generation: i64,
    /// Finalizers, when the object has a deletionTimestamp.
    pub deleting: Option<Vec<String>>,
    /// Label, identity and field manager together.
    pub marks: Marks,
    /// Our Apply entry: its digest, and its fields for the walk after a restart.
    pub entry: Option<Entry>,
    /// The run that a hook names.
    pub hook: Option<HookRun>,
    /// The wave that the live annotations name (O4).
    pub wave: i64,
    /// The sync options that the live annotations name (P2, X5).
    pub options: ObjectOptions,
    /// `compare-options: IgnoreExtraneous` on the live object: that it is to be pruned makes nothing OutOfSync.
    pub ignore_extraneous: bool,
    /// `ignore-healthcheck` on the live object.
    pub ignore_health: bool,
    /// Verdict of the kind's rule; `None` for kinds without health.
    pub verdict: Option<Verdict>,
    /// Whether the verdict is that of a health check which the Application brings.
    pub by_check: bool,
    /// For kinds that run to an end.
    pub completion: Option<Completion>,
    /// `observedGeneration`, where the object has it.
    pub observed_generation: Option<i64>,
    /// Digest of `.status`; `None` without a status or for kinds watched as metadata.
    pub status: Option<Digest>,
    /// Pods that a Job still has, terminating ones included; 0 for other kinds.
    pub active_pods: i64,
    /// `swell.dev/adopt-by`.
    pub adopt_by: Option<Arc<str>>,
    /// Managers beside ours that own fields of it, at most five.
    pub other_managers: Vec<String>,
    /// Whether a deploying tool (kubectl, Helm, Flux, Argo CD, or we by a replace) owns fields of it beside our apply.
    pub has_other_tools: bool,
    /// Those of them that own more than its status, with their fields (a `FieldsV1` as JSON text), at most five: who has what we lost.
    pub other_fields: Vec<(String, Box<str>)>,
    /// Whether our entry covers the manifest, once somebody has asked: the content says which manifest that is.
    covered: OnceLock<bool>,
    /// The same without what is ignored, for the rules that this was asked for first.
    covered_but_ignored: OnceLock<(Digest, bool)>,
}

/// Our Apply entry in `managedFields`.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Digest of the entry.
    pub digest: Digest,
    /// When we last applied something that changed the object, in whole seconds of the API server's clock.
    pub time: Option<Timestamp>,
    /// The entry's `fieldsV1`, to be walked beside the manifest where the digest says nothing (after a restart, after a change).
    pub fields: Arc<Value>,
}

impl Live {
    /// Reduces an object, full or as metadata only, with `apiVersion` and `kind` as its own (the items of a list come without).
    /// `None` where it has no uid or resourceVersion.
    pub fn reduce(object: &Value, key: &ObjectKey, owner: &Owner, facts: &Facts) -> Option<Self> {
        let metadata = object.get("metadata")?;
        let annotations = annotations(metadata);
        let entry = fields::applied(object, &owner.field_manager()).map(|(fields, time)| Entry {
            digest: Digest::of(fields),
            time: time.and_then(|time| time.parse().ok()),
            fields: Arc::new(fields.clone()),
        });
        let has_entry = entry.is_some() || fields::has_entry(object, &owner.field_manager());
        let mut other_managers = fields::other_managers(object, &owner.field_manager());
        other_managers.truncate(5);
        Some(Self {
            uid: metadata.get("uid")?.as_str()?.into(),
            version: metadata.get("resourceVersion")?.as_str()?.parse().ok()?,
            generation: metadata.get("generation").and_then(Value::as_i64).unwrap_or(0),
            deleting: metadata.get("deletionTimestamp").is_some_and(|t| !t.is_null()).then(|| finalizers(metadata)),
            marks: marks(object, key, Some(owner), has_entry),
            entry,
            hook: hook_run(object),
            wave: live_wave(&annotations),
            options: live_options(&annotations),
            ignore_extraneous: annotations
                .get(keys::ARGO_COMPARE_OPTIONS)
                .is_some_and(|value| csv(value).contains(&"IgnoreExtraneous")),
            ignore_health: annotations.get(keys::ARGO_IGNORE_HEALTHCHECK).is_some_and(|value| value == "true"),
            verdict: health::assess(object, facts),
            by_check: false,
            completion: health::completion(object),
            observed_generation: health::observed_generation(object),
            status: object.get("status").map(Digest::of),
            active_pods: if key.kind.is("batch", "Job") { active_pods(object) } else { 0 },
            adopt_by: annotations.get(keys::ADOPT_BY).map(|value| value.as_str().into()),
            other_managers,
            has_other_tools: fields::has_other_tools(object, &owner.field_manager(), None),
            other_fields: fields::others(object, &owner.field_manager(), 5),
            covered: OnceLock::new(),
            covered_but_ignored: OnceLock::new(),
        })
    }

    /// The same object as a health check of its Application judges it.
    #[must_use]
    pub fn judged_by(mut self, object: &Value, check: &Check, finding: &Finding) -> Self {
        let (verdict, completion) = checks::judge(object, check, finding);
        self.verdict = Some(verdict);
        self.by_check = true;
        if completion.is_some() {
            self.completion = completion;
        }
        // Conditions that Swell's own rule looks at are not what this verdict is made of.
        self.observed_generation = health::stated_generation(object);
        self
    }

    /// The same object until its kind's rule, which is another one now, has judged it: the verdict of the old one does not count.
    #[must_use]
    pub fn to_be_judged(&self, check: Option<&Check>) -> Self {
        let verdict = if self.deleting.is_some() { self.verdict.clone() } else { Some(checks::to_be_judged(check)) };
        let completion = match check {
            Some(check) if check.tells_the_end() => Some(Completion::Running),
            _ => self.completion.clone(),
        };
        Self { verdict, by_check: check.is_some(), completion, ..self.clone() }
    }

    /// Whether it is a member of the Application that it was reduced for.
    pub fn is_member(&self, owner: &Owner) -> bool {
        matches!(&self.marks, Marks::Member { id, .. } if *id == owner.membership_id())
    }

    /// Whether it is a hook of a phase around the deletion of its Application.
    pub fn is_deletion_hook(&self) -> bool {
        self.hook.as_ref().is_some_and(|run| is_deletion(run.phase))
    }

    /// Digest of the content that was applied, if it is a member.
    pub fn content(&self) -> Option<Digest> {
        match &self.marks {
            Marks::Member { content, .. } => Some(*content),
            Marks::None | Marks::Stray(_) => None,
        }
    }

    /// Whether the live object still carries the manifest: the content equals, and our entry covers every field that we set. The walk
    /// is made once.
    pub fn carries(&self, manifest: &Manifest) -> bool {
        self.content() == Some(manifest.content) && *self.covered.get_or_init(|| self.covers(&manifest.body, manifest))
    }

    /// The same, but for the fields whose differences are ignored: whether the live object has not drifted.
    pub fn carries_but_ignored(&self, manifest: &Manifest) -> bool {
        let Some(ignored) = &manifest.ignored else { return self.carries(manifest) };
        let covers = || {
            let rest = ignored.rest(&self.other_fields);
            self.covers(&rest, manifest)
        };
        let (rules, covered) = *self.covered_but_ignored.get_or_init(|| (ignored.id(), covers()));
        self.content() == Some(manifest.content) && if rules == ignored.id() { covered } else { covers() }
    }

    /// Whether what we applied covers the body. With `Validate=false` fields may have been left out, so that only what somebody else has
    /// counts as lost.
    fn covers(&self, body: &Value, manifest: &Manifest) -> bool {
        self.entry.as_ref().is_some_and(|entry| {
            if manifest.settings.options.validate == Some(false) {
                let takes = |(_, theirs): &(String, Box<str>)| {
                    serde_json::from_str(theirs)
                        .is_ok_and(|theirs| fields::gained(body, &entry.fields, &theirs).is_some())
                };
                !self.other_fields.iter().any(takes)
            } else {
                fields::covers(body, &entry.fields)
            }
        })
    }
}

/// The identity of an object as the API server returned it.
pub fn key_of(object: &Value) -> Option<ObjectKey> {
    let metadata = object.get("metadata")?;
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
    Some(ObjectKey::new(
        group_of(&text(object, "apiVersion")?),
        &text(object, "kind")?,
        text(metadata, "namespace").as_deref(),
        &text(metadata, "name")?,
    ))
}

/// The live objects that carry an Application's label, by identity.
pub type Members = BTreeMap<ObjectKey, Arc<Live>>;

fn annotations(metadata: &Value) -> BTreeMap<String, String> {
    metadata
        .get("annotations")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn active_pods(job: &Value) -> i64 {
    ["/status/active", "/status/terminating"].iter().filter_map(|pointer| job.pointer(pointer)?.as_i64()).sum()
}

fn finalizers(metadata: &Value) -> Vec<String> {
    metadata
        .get("finalizers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|finalizer| finalizer.as_str().map(str::to_owned))
        .collect()
}

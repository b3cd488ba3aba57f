//! The annotations of one manifest, parsed once: hook phases, wave, delete policies, options. A value that cannot be
//! understood is an error that names the nearest valid one (V3), never a default.

pub(super) mod misspelt;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::finding::{Part, Remark, Rule};
use crate::api::annotations as keys;

pub use crate::api::Phase;

/// Whether a phase belongs to the deletion of the Application, not to a sync.
pub fn is_deletion(phase: Phase) -> bool {
    matches!(phase, Phase::PreDelete | Phase::Delete | Phase::PostDelete)
}

/// The phase that a hook annotation names.
fn hook_phase(word: &str) -> Option<Phase> {
    Phase::parse(word).filter(|phase| *phase != Phase::Delete)
}

/// When a hook object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeletePolicy {
    /// Before the hook is created anew.
    BeforeHookCreation,
    /// As soon as its success is recorded.
    HookSucceeded,
    /// As soon as its failure is recorded.
    HookFailed,
}

impl fmt::Display for DeletePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeHookCreation => "BeforeHookCreation",
            Self::HookSucceeded => "HookSucceeded",
            Self::HookFailed => "HookFailed",
        })
    }
}

/// How often a hook runs over the life of the Application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunPolicy {
    /// Once per operation attempt and phase.
    #[default]
    Always,
    /// Once ever.
    Once,
    /// When the hook's own content changed since its last success.
    OnChange,
}

/// What happens when another field manager owns a field of the manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conflicts {
    /// The field becomes ours.
    #[default]
    Force,
    /// The apply fails and names the manager.
    Fail,
}

/// A yes, a no, or a no until somebody confirms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consent {
    /// Allowed.
    #[default]
    Yes,
    /// Refused.
    No,
    /// Waits for a person's confirmation.
    Confirm,
}

impl Consent {
    /// The meaning of the value of `Prune=` or `Delete=`, one of those that [`parse_option`] lets through.
    pub fn of(value: &str) -> Self {
        match value {
            "confirm" => Self::Confirm,
            "false" => Self::No,
            _ => Self::Yes,
        }
    }
}

/// The sync options of one object, from `sync-options`. `None`: not said on the object, so the Application's list decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectOptions {
    /// `Prune=`.
    pub prune: Option<Consent>,
    /// `Delete=`, and `helm.sh/resource-policy: keep` as `No`.
    pub delete: Option<Consent>,
    /// `PruneLast=`.
    pub prune_last: Option<bool>,
    /// `PruneFirst=`.
    pub prune_first: Option<bool>,
    /// `Replace=`.
    pub replace: Option<bool>,
    /// `Force=`.
    pub force: Option<bool>,
    /// `Validate=`.
    pub validate: Option<bool>,
    /// `SkipDryRunOnMissingResource=`.
    pub skip_dry_run_on_missing: Option<bool>,
}

/// Whether a manifest is a plain object, a hook, or left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// A plain object of the Sync phase.
    Plain,
    /// A hook of these phases, in the order of the annotation.
    Hook(Vec<Phase>),
    /// Never applied, with the reason for the status row.
    Skipped(String),
}

/// Everything that a manifest's annotations say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Plain, hook or skipped.
    pub class: Class,
    /// The wave; 0 when not given.
    pub wave: i64,
    /// Delete policies of a hook as written; empty when none is given.
    pub delete_policies: BTreeSet<DeletePolicy>,
    /// Sync options.
    pub options: ObjectOptions,
    /// `swell.dev/timeout`: replaces the stage's or the hook's deadline; `Some(None)` is "0", no deadline.
    pub timeout: Option<Option<Duration>>,
    /// `swell.dev/gate`: whether the object holds its stage; `None` when the kind decides.
    pub gate: Option<bool>,
    /// `argocd.argoproj.io/ignore-healthcheck`: left out of the Application's health and of the waiting.
    pub ignore_health: bool,
    /// `swell.dev/run`.
    pub run: RunPolicy,
    /// `swell.dev/settle`: how long a custom resource without a fresh status settles; `None`: the default.
    pub settle: Option<Duration>,
    /// `swell.dev/conflicts`.
    pub conflicts: Conflicts,
    /// Contradictions that are reported, not refused.
    pub warnings: Vec<Remark>,
}

/// An annotation whose value cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAnnotation {
    /// The annotation's key.
    pub key: Cow<'static, str>,
    /// By which rule it is refused.
    pub rule: Rule,
    /// Its key, its value or a word of that.
    pub part: Part,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Settings {
    /// Parses the annotations of one manifest. All bad values are returned, not the first.
    pub fn parse(annotations: &BTreeMap<String, String>) -> Result<Self, Vec<BadAnnotation>> {
        let mut reader = Reader { annotations, bad: Vec::new(), warnings: Vec::new() };
        let class = reader.class();
        let wave = reader.wave();
        let delete_policies = reader.delete_policies();
        let options = reader.options();
        let timeout = reader.duration(keys::TIMEOUT).map(|d| (!d.is_zero()).then_some(d));
        let gate = reader.boolean(keys::GATE);
        let ignore_health = reader.boolean(keys::ARGO_IGNORE_HEALTHCHECK).unwrap_or(false);
        let run = reader.word(
            keys::RUN,
            &[("Always", RunPolicy::Always), ("Once", RunPolicy::Once), ("OnChange", RunPolicy::OnChange)],
        );
        let settle = reader.duration(keys::SETTLE);
        let conflicts = reader.word(keys::CONFLICTS, &[("Force", Conflicts::Force), ("Fail", Conflicts::Fail)]);
        reader.bad.extend(misspelt::refused(annotations));
        reader.warnings.extend(misspelt::told(annotations));
        if class == Class::Plain && !delete_policies.is_empty() {
            let message = "a hook delete policy has no effect on an object that is no hook".to_owned();
            let key = [keys::HOOK_DELETE_POLICY, keys::ARGO_HOOK_DELETE_POLICY, keys::HELM_HOOK_DELETE_POLICY];
            let key = key.into_iter().find(|key| annotations.contains_key(*key)).unwrap_or_default();
            let part = Part::annotation_key(key);
            reader.warnings.push(Remark { rule: Rule::PolicyWithoutHook, part, message });
        }
        if class == Class::Plain && run.is_some_and(|run| run != RunPolicy::Always) {
            let message = format!("{} has no effect on an object that is no hook", keys::RUN);
            let part = Part::annotation_key(keys::RUN);
            reader.warnings.push(Remark { rule: Rule::RunWithoutHook, part, message });
        }
        if !reader.bad.is_empty() {
            return Err(reader.bad);
        }
        Ok(Self {
            class,
            wave,
            delete_policies,
            options,
            timeout,
            gate,
            ignore_health,
            run: run.unwrap_or_default(),
            settle,
            conflicts: conflicts.unwrap_or_default(),
            warnings: reader.warnings,
        })
    }

    /// The settings of a plain object without annotations.
    pub fn plain() -> Self {
        Self {
            class: Class::Plain,
            wave: 0,
            delete_policies: BTreeSet::new(),
            options: ObjectOptions::default(),
            timeout: None,
            gate: None,
            ignore_health: false,
            run: RunPolicy::Always,
            settle: None,
            conflicts: Conflicts::Force,
            warnings: Vec::new(),
        }
    }

    /// The phases in which the manifest has a task.
    pub fn phases(&self) -> &[Phase] {
        match &self.class {
            Class::Plain => &[Phase::Sync],
            Class::Hook(phases) => phases,
            Class::Skipped(_) => &[],
        }
    }
}

/// The wave that the annotations name, with what cannot be understood as 0: for live objects, whose annotations nobody checks.
pub fn live_wave(annotations: &BTreeMap<String, String>) -> i64 {
    [keys::WAVE, keys::ARGO_SYNC_WAVE, keys::HELM_HOOK_WEIGHT]
        .iter()
        .find_map(|key| annotations.get(*key).and_then(|value| atoi(value)))
        .unwrap_or(0)
}

/// The options that a live object's annotations name, without what cannot be understood.
pub fn live_options(annotations: &BTreeMap<String, String>) -> ObjectOptions {
    let mut reader = Reader { annotations, bad: Vec::new(), warnings: Vec::new() };
    reader.options()
}

/// Splits a comma-separated list: trimmed, without empty items, each once at its first place (C1).
pub fn csv(value: &str) -> Vec<&str> {
    let mut items = Vec::new();
    for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        if !items.contains(&item) {
            items.push(item);
        }
    }
    items
}

/// The sync options that an Application, an operation or an object may name, with the values that they take.
pub const SYNC_OPTIONS: &[(&str, &[&str])] = &[
    ("ApplyOutOfSyncOnly", &["true", "false"]),
    ("ClientSideApplyMigration", &["true", "false"]),
    ("CreateNamespace", &["true", "false"]),
    ("Delete", &["true", "false", "confirm"]),
    ("FailOnSharedResource", &["true", "false"]),
    ("Force", &["true", "false"]),
    ("Prune", &["true", "false", "confirm"]),
    ("PruneFirst", &["true", "false"]),
    ("PruneLast", &["true", "false"]),
    ("PrunePropagationPolicy", &["foreground", "background", "orphan"]),
    ("Replace", &["true", "false"]),
    ("RespectIgnoreDifferences", &["true", "false"]),
    ("ServerSideApply", &["true", "false"]),
    ("SkipDryRunOnMissingResource", &["true", "false"]),
    ("Validate", &["true", "false"]),
    ("WaitForHealth", &["true", "false"]),
];

/// Parses one `Name=value` option; the error says what would be right.
pub fn parse_option(option: &str) -> Result<(&'static str, &'static str), String> {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    let (name, value) = (name.trim(), value.trim());
    let Some((known, values)) = SYNC_OPTIONS.iter().find(|(known, _)| *known == name) else {
        let names = SYNC_OPTIONS.iter().map(|(known, _)| *known);
        return Err(format!("{option:?} is not a sync option{}", nearest(name, names)));
    };
    match values.iter().find(|known| **known == value) {
        Some(value) => Ok((known, value)),
        None => Err(format!("{option:?} has no valid value; {known} takes {}", one_of(values))),
    }
}

/// What there is to say of an option that is understood and does nothing.
pub fn remark(name: &str, value: &str) -> Option<String> {
    let useless = (name, value) == ("ServerSideApply", "false");
    useless.then(|| "ServerSideApply=false has no effect: everything is applied on the server's side".to_owned())
}

const HELM_PHASES: &[(&str, Phase)] = &[
    ("pre-install", Phase::PreSync),
    ("pre-upgrade", Phase::PreSync),
    ("post-install", Phase::PostSync),
    ("post-upgrade", Phase::PostSync),
    ("pre-delete", Phase::PreDelete),
    ("post-delete", Phase::PostDelete),
];
const HELM_WITHOUT_PHASE: &[&str] = &["pre-rollback", "post-rollback", "test", "test-success", "test-failure"];
const HOOK_WORDS: &[&str] = &["PreSync", "Sync", "PostSync", "SyncFail", "PreDelete", "PostDelete", "Skip"];
const POLICIES: &[(&str, DeletePolicy)] = &[
    ("BeforeHookCreation", DeletePolicy::BeforeHookCreation),
    ("HookSucceeded", DeletePolicy::HookSucceeded),
    ("HookFailed", DeletePolicy::HookFailed),
];
const HELM_POLICIES: &[(&str, DeletePolicy)] = &[
    ("before-hook-creation", DeletePolicy::BeforeHookCreation),
    ("hook-succeeded", DeletePolicy::HookSucceeded),
    ("hook-failed", DeletePolicy::HookFailed),
];

struct Reader<'a> {
    annotations: &'a BTreeMap<String, String>,
    bad: Vec<BadAnnotation>,
    warnings: Vec<Remark>,
}

impl Reader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    fn refuse(&mut self, key: &'static str, message: String) {
        let part = Part::annotation(key);
        self.bad.push(BadAnnotation { key: key.into(), rule: Rule::AnnotationValue, part, message });
    }

    /// Refuses a word of the value.
    fn refuse_word(&mut self, key: &'static str, word: &str, message: String) {
        let part = Part::annotation_word(key, word);
        self.bad.push(BadAnnotation { key: key.into(), rule: Rule::AnnotationValue, part, message });
    }

    /// C2 to C7, C10, V3: the native annotation wins over Argo CD's, which wins over Helm's.
    fn class(&mut self) -> Class {
        let native = self.hook_words(keys::HOOK);
        let argo = self.hook_words(keys::ARGO_HOOK);
        let helm = self.helm_hooks();
        if let (Some(native), Some(argo)) = (&native, &argo) {
            self.contradiction(native == argo, keys::HOOK, keys::ARGO_HOOK, "hooks");
        }
        let named = native.as_ref().map(|words| (keys::HOOK, words)).or(argo.as_ref().map(|w| (keys::ARGO_HOOK, w)));
        if let (Some((key, words)), Some(helm)) = (named.filter(|(_, words)| !words.is_empty()), &helm) {
            let phases = words.iter().filter_map(|word| hook_phase(word)).collect::<BTreeSet<_>>();
            let same = matches!(helm, Class::Hook(theirs) if theirs.iter().copied().collect::<BTreeSet<_>>() == phases);
            self.contradiction(same, key, keys::HELM_HOOK, "hooks");
        }
        match native.or(argo) {
            Some(words) => {
                let mut phases: Vec<_> = words.iter().filter_map(|word| hook_phase(word)).collect();
                // C11: a delete hook of Helm's stays one beside whatever the other annotation says.
                if let (Some(Class::Hook(helm)), false) = (&helm, words.is_empty()) {
                    let more = helm.iter().filter(|phase| is_deletion(**phase) && !phases.contains(phase));
                    let more: Vec<_> = more.copied().collect();
                    phases.extend(more);
                }
                if !phases.is_empty() {
                    Class::Hook(phases)
                } else if words.is_empty() {
                    // C4: an annotation that names nothing leaves the word to Helm's.
                    helm.unwrap_or(Class::Plain)
                } else {
                    Class::Skipped("its hook annotation says Skip".to_owned())
                }
            }
            None => helm.unwrap_or(Class::Plain),
        }
    }

    fn hook_words(&mut self, key: &'static str) -> Option<Vec<String>> {
        let words: Vec<_> = csv(self.get(key)?).into_iter().map(str::to_owned).collect();
        if words.is_empty() && self.get(keys::HELM_HOOK).is_none() {
            self.refuse(key, format!("the value is empty; it takes {}", one_of(HOOK_WORDS)));
        }
        for word in &words {
            if !HOOK_WORDS.contains(&word.as_str()) {
                let message = format!("{word:?} is not a hook type{}", nearest(word, HOOK_WORDS.iter().copied()));
                self.refuse_word(key, word, message);
            }
        }
        Some(words)
    }

    fn helm_hooks(&mut self) -> Option<Class> {
        let words = csv(self.get(keys::HELM_HOOK)?).into_iter().map(str::to_owned).collect::<Vec<_>>();
        if words == ["crd-install"] {
            return None;
        }
        let mut phases = Vec::new();
        let mut without_phase = Vec::new();
        for word in &words {
            if let Some((_, phase)) = HELM_PHASES.iter().find(|(known, _)| known == word) {
                if !phases.contains(phase) {
                    phases.push(*phase);
                }
            } else if HELM_WITHOUT_PHASE.contains(&word.as_str()) {
                without_phase.push(word.clone());
            } else if word != "crd-install" {
                let known = HELM_PHASES.iter().map(|(known, _)| *known).chain(HELM_WITHOUT_PHASE.iter().copied());
                let message = format!("{word:?} is not a Helm hook type{}", nearest(word, known));
                self.refuse_word(keys::HELM_HOOK, word, message);
            }
        }
        if words.is_empty() {
            self.refuse(keys::HELM_HOOK, "the value is empty; it takes a hook type such as \"pre-install\"".to_owned());
        }
        Some(if phases.is_empty() {
            Class::Skipped(format!("Helm hook {} has no phase here", without_phase.join(", ")))
        } else {
            Class::Hook(phases)
        })
    }

    /// O3 with V3: the first family that names a wave counts.
    fn wave(&mut self) -> i64 {
        let mut wave = None;
        for key in [keys::WAVE, keys::ARGO_SYNC_WAVE, keys::HELM_HOOK_WEIGHT] {
            let Some(value) = self.get(key) else { continue };
            match atoi(value) {
                Some(number) => match wave {
                    None => wave = Some((key, number)),
                    Some((first, counts)) => self.contradiction(counts == number, first, key, "waves"),
                },
                None => {
                    let message = format!("{value:?} is not a whole number such as \"-1\", \"0\" or \"5\"");
                    self.refuse(key, message);
                }
            }
        }
        wave.map_or(0, |(_, number)| number)
    }

    /// D1: Argo CD's and Helm's policies are added together; the native annotation replaces both.
    fn delete_policies(&mut self) -> BTreeSet<DeletePolicy> {
        let native = self.policies(keys::HOOK_DELETE_POLICY, POLICIES);
        let mut accepted = self.policies(keys::ARGO_HOOK_DELETE_POLICY, POLICIES);
        accepted.extend(self.policies(keys::HELM_HOOK_DELETE_POLICY, HELM_POLICIES));
        if native.is_empty() {
            return accepted;
        }
        for (key, known) in [(keys::ARGO_HOOK_DELETE_POLICY, POLICIES), (keys::HELM_HOOK_DELETE_POLICY, HELM_POLICIES)]
        {
            let theirs: BTreeSet<_> = csv(self.get(key).unwrap_or(""))
                .into_iter()
                .filter_map(|word| known.iter().find(|(name, _)| *name == word).map(|(_, policy)| *policy))
                .collect();
            self.contradiction(theirs.is_empty() || theirs == native, keys::HOOK_DELETE_POLICY, key, "delete policies");
        }
        native
    }

    /// Two families of annotations on one object that do not say the same: told, because only one of them counts.
    fn contradiction(&mut self, same: bool, counts: &str, other: &str, what: &str) {
        if !same {
            let message = format!("{counts} and {other} name different {what}; {counts} counts");
            self.warnings.push(Remark { rule: Rule::Contradiction, part: Part::annotation(other), message });
        }
    }

    fn policies(&mut self, key: &'static str, known: &[(&str, DeletePolicy)]) -> BTreeSet<DeletePolicy> {
        let words: Vec<_> = csv(self.get(key).unwrap_or("")).into_iter().map(str::to_owned).collect();
        let mut policies = BTreeSet::new();
        for word in words {
            match known.iter().find(|(name, _)| *name == word) {
                Some((_, policy)) => {
                    policies.insert(*policy);
                }
                None => {
                    let names = known.iter().map(|(name, _)| *name);
                    let message = format!("{word:?} is not a delete policy{}", nearest(&word, names));
                    self.refuse_word(key, &word, message);
                }
            }
        }
        policies
    }

    fn options(&mut self) -> ObjectOptions {
        let key = if self.get(keys::SYNC_OPTIONS).is_some() { keys::SYNC_OPTIONS } else { keys::ARGO_SYNC_OPTIONS };
        if let (Some(native), Some(argo)) = (self.get(keys::SYNC_OPTIONS), self.get(keys::ARGO_SYNC_OPTIONS)) {
            let set = |list| csv(list).into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
            let same = set(native) == set(argo);
            self.contradiction(same, keys::SYNC_OPTIONS, keys::ARGO_SYNC_OPTIONS, "options");
        }
        let mut options = ObjectOptions::default();
        if self.get(keys::HELM_RESOURCE_POLICY) == Some("keep") {
            options.delete = Some(Consent::No);
        }
        let items: Vec<_> = csv(self.get(key).unwrap_or("")).into_iter().map(str::to_owned).collect();
        for item in items {
            match parse_option(&item) {
                Ok((name, value)) => {
                    self.warnings.extend(remark(name, value).map(|remark| Remark {
                        rule: Rule::UselessOption,
                        part: Part::annotation_word(key, &item),
                        message: format!("{key}: {remark}"),
                    }));
                    set_option(&mut options, name, value);
                }
                Err(message) => self.refuse_word(key, &item, message),
            }
        }
        options
    }

    fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let value = self.get(key)?.to_owned();
        match value.parse::<crate::api::Duration>() {
            Ok(duration) => Some(duration.into()),
            Err(error) => {
                self.refuse(key, error.to_string());
                None
            }
        }
    }

    fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.word(key, &[("true", true), ("false", false)])
    }

    fn word<T: Copy>(&mut self, key: &'static str, known: &[(&str, T)]) -> Option<T> {
        let value = self.get(key)?.trim().to_owned();
        let found = known.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let words: Vec<_> = known.iter().map(|(word, _)| *word).collect();
            self.refuse(key, format!("{value:?} is not valid; it takes {}", one_of(&words)));
        }
        found
    }
}

fn set_option(options: &mut ObjectOptions, name: &str, value: &str) {
    let consent = Consent::of(value);
    let flag = Some(value == "true");
    match name {
        "Prune" => options.prune = Some(consent),
        "Delete" => options.delete = Some(consent),
        "PruneLast" => options.prune_last = flag,
        "PruneFirst" => options.prune_first = flag,
        "Replace" => options.replace = flag,
        "Force" => options.force = flag,
        "Validate" => options.validate = flag,
        "SkipDryRunOnMissingResource" => options.skip_dry_run_on_missing = flag,
        // The others mean something on the Application only; Argo CD accepts them here without effect, so do we.
        _ => {}
    }
}

/// Go's `strconv.Atoi`: an optional sign and decimal digits that fit 64 bits.
fn atoi(value: &str) -> Option<i64> {
    let digits = value.strip_prefix(['+', '-']).unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    value.parse().ok()
}

/// `; did you mean "X"?`, or the list of what there is.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect();
    let close = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= candidate.len() / 2);
    match close {
        Some((_, candidate)) => format!("; did you mean {candidate:?}?"),
        None => format!("; it takes {}", one_of(&known)),
    }
}

fn one_of(words: &[&str]) -> String {
    words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Settings, Vec<BadAnnotation>> {
        Settings::parse(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    fn class(pairs: &[(&str, &str)]) -> Class {
        parse(pairs).unwrap().class
    }

    fn message(pairs: &[(&str, &str)]) -> String {
        parse(pairs).unwrap_err()[0].message.clone()
    }

    #[test]
    fn d1_a_delete_policy_on_an_object_that_is_no_hook_is_told() {
        let parsed = parse(&[("argocd.argoproj.io/hook-delete-policy", "HookSucceeded")]).unwrap();
        assert_eq!(parsed.warnings[0].to_string(), "a hook delete policy has no effect on an object that is no hook");
    }

    #[test]
    fn c3_to_c7_classification_follows_argo_cd() {
        let argo = "argocd.argoproj.io/hook";
        assert_eq!(class(&[]), Class::Plain);
        assert_eq!(class(&[(argo, "PreSync, PostSync,PreSync")]), Class::Hook(vec![Phase::PreSync, Phase::PostSync]));
        assert!(matches!(class(&[(argo, "Skip")]), Class::Skipped(_)));
        assert_eq!(class(&[(argo, "Skip,Sync")]), Class::Hook(vec![Phase::Sync]));
        assert_eq!(class(&[(argo, "PreSync"), ("helm.sh/hook", "post-install")]), Class::Hook(vec![Phase::PreSync]));
        assert_eq!(class(&[(argo, ""), ("helm.sh/hook", "post-install")]), Class::Hook(vec![Phase::PostSync]));
    }

    #[test]
    fn c10_helm_hooks_map_to_phases_once_and_crd_install_alone_is_plain() {
        let helm = "helm.sh/hook";
        assert_eq!(class(&[(helm, "pre-install,pre-upgrade")]), Class::Hook(vec![Phase::PreSync]));
        assert_eq!(class(&[(helm, "crd-install")]), Class::Plain);
        assert_eq!(class(&[(helm, "pre-install,crd-install")]), Class::Hook(vec![Phase::PreSync]));
        assert_eq!(class(&[(helm, "pre-delete")]), Class::Hook(vec![Phase::PreDelete]));
    }

    #[test]
    fn v3_a_helm_hook_without_a_phase_is_skipped_with_a_reason() {
        assert_eq!(class(&[("helm.sh/hook", "test")]), Class::Skipped("Helm hook test has no phase here".to_owned()));
    }

    #[test]
    fn f41_a_misspelt_hook_is_refused_with_the_nearest_word() {
        assert_eq!(
            message(&[("argocd.argoproj.io/hook", "PostSnyc")]),
            "\"PostSnyc\" is not a hook type; did you mean \"PostSync\"?"
        );
        assert_eq!(
            message(&[("helm.sh/hook", "pre-instal")]),
            "\"pre-instal\" is not a Helm hook type; did you mean \"pre-install\"?"
        );
        assert_eq!(
            message(&[("argocd.argoproj.io/hook-delete-policy", "HookSuceeded")]),
            "\"HookSuceeded\" is not a delete policy; did you mean \"HookSucceeded\"?"
        );
    }

    #[test]
    fn f41_a_wave_that_is_not_a_whole_number_is_refused_and_not_zero() {
        for value in ["one", "1.0", " 1", "", "0x1", "9223372036854775808"] {
            assert!(message(&[("argocd.argoproj.io/sync-wave", value)]).contains("is not a whole number"), "{value:?}");
        }
        for (value, wave) in [("+5", 5), ("-3", -3), ("007", 7)] {
            assert_eq!(parse(&[("argocd.argoproj.io/sync-wave", value)]).unwrap().wave, wave);
        }
    }

    #[test]
    fn o3_a_helm_weight_is_the_wave_also_of_an_object_that_is_no_hook() {
        assert_eq!(parse(&[("helm.sh/hook-weight", "4")]).unwrap().wave, 4);
        let both = parse(&[("argocd.argoproj.io/sync-wave", "2"), ("helm.sh/hook-weight", "4")]).unwrap();
        assert_eq!(both.wave, 2);
        assert_eq!(both.warnings.len(), 1, "the contradiction is reported");
    }

    #[test]
    fn d1_delete_policies_of_argo_and_helm_are_added_and_the_native_one_replaces_them() {
        let accepted =
            [("argocd.argoproj.io/hook-delete-policy", "HookSucceeded"), ("helm.sh/hook-delete-policy", "hook-failed")];
        assert_eq!(parse(&accepted).unwrap().delete_policies.len(), 2);
        let native = [accepted[0], accepted[1], ("swell.dev/hook-delete-policy", "BeforeHookCreation")];
        assert_eq!(parse(&native).unwrap().delete_policies, BTreeSet::from([DeletePolicy::BeforeHookCreation]));
    }

    #[test]
    fn every_bad_annotation_of_an_object_is_told_at_once() {
        let bad =
            parse(&[("swell.dev/wave", "x"), ("swell.dev/timeout", "soon"), ("swell.dev/gate", "maybe")]).unwrap_err();
        assert_eq!(
            bad.iter().map(|b| &*b.key).collect::<Vec<_>>(),
            ["swell.dev/wave", "swell.dev/timeout", "swell.dev/gate"]
        );
    }

    #[test]
    fn v3_a_misspelt_sync_option_is_refused() {
        assert_eq!(
            message(&[("argocd.argoproj.io/sync-options", "Purne=false")]),
            "\"Purne=false\" is not a sync option; did you mean \"Prune\"?"
        );
        assert!(
            message(&[("argocd.argoproj.io/sync-options", "Prune=no")])
                .contains("Prune takes \"true\", \"false\", \"confirm\"")
        );
    }

    #[test]
    fn a_contradiction_between_two_families_is_reported_and_agreement_is_not() {
        let warnings = |annotations: &[(&str, &str)]| {
            let map = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let warnings = Settings::parse(&map).unwrap().warnings;
            warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let said = |counts: &str, other: &str, what: &str| {
            vec![format!("{counts} and {other} name different {what}; {counts} counts")]
        };
        for (one, other, agrees, contradicts, what) in [
            ((keys::HOOK, "PreSync"), keys::ARGO_HOOK, "PreSync", "PostSync", "hooks"),
            ((keys::ARGO_HOOK, "PreSync"), keys::HELM_HOOK, "pre-install,pre-upgrade", "post-install", "hooks"),
            ((keys::HOOK, "Skip"), keys::ARGO_HOOK, "Skip", "PreSync", "hooks"),
            ((keys::WAVE, "2"), keys::ARGO_SYNC_WAVE, "+2", "3", "waves"),
            ((keys::ARGO_SYNC_WAVE, "2"), keys::HELM_HOOK_WEIGHT, "2", "3", "waves"),
            (
                (keys::SYNC_OPTIONS, "Prune=false, Force=true"),
                keys::ARGO_SYNC_OPTIONS,
                "Force=true,Prune=false",
                "Force=true",
                "options",
            ),
        ] {
            assert_eq!(warnings(&[one, (other, agrees)]), Vec::<String>::new());
            assert_eq!(warnings(&[one, (other, contradicts)]), said(one.0, other, what));
        }
        let (hook, native) = ((keys::HOOK, "PreSync"), (keys::HOOK_DELETE_POLICY, "HookSucceeded"));
        let agrees = warnings(&[hook, native, (keys::HELM_HOOK_DELETE_POLICY, "hook-succeeded")]);
        assert_eq!(agrees, Vec::<String>::new());
        let differs = warnings(&[hook, native, (keys::ARGO_HOOK_DELETE_POLICY, "HookFailed")]);
        assert_eq!(differs, said(keys::HOOK_DELETE_POLICY, keys::ARGO_HOOK_DELETE_POLICY, "delete policies"));
    }

    #[test]
    fn a_timeout_of_zero_means_no_deadline() {
        assert_eq!(parse(&[("swell.dev/timeout", "0")]).unwrap().timeout, Some(None));
        assert_eq!(parse(&[("swell.dev/timeout", "5m")]).unwrap().timeout, Some(Some(Duration::from_mins(5))));
    }
}

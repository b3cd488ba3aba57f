//! Annotations that nobody knows: what would be passed over in silence is refused or told (I8).

use std::collections::BTreeMap;

use super::super::finding::{Part, Remark, Rule};
use super::{BadAnnotation, nearest};
use crate::api::annotations as keys;

/// The domain of our own annotations.
const NATIVE: &str = "swell.dev";
/// Annotations of Argo CD that have no effect here and are near one that has.
const OTHERS_OF_ARGO: &[&str] = &["argocd.argoproj.io/sync-wave-delay", "argocd.argoproj.io/application-set-refresh"];

/// The accepted annotation that one of another domain or name is a slip of, if it is one.
fn nearly_accepted(domain: &str, name: &str) -> Option<&'static str> {
    let key = format!("{domain}/{name}");
    if keys::ACCEPTED.contains(&&*key) || OTHERS_OF_ARGO.contains(&&*key) {
        return None;
    }
    let distance = strsim::damerau_levenshtein;
    keys::ACCEPTED.iter().copied().find(|accepted| {
        let (right, known) = accepted.split_once('/').unwrap_or_default();
        let same_domain = domain == right || distance(domain, right) <= 2 || right.ends_with(&format!(".{domain}"));
        same_domain && distance(name, known) <= if domain == right { 2 } else { 0 }
    })
}

/// Keys under our own name that a manifest has and nobody knows.
pub(super) fn refused(annotations: &BTreeMap<String, String>) -> Vec<BadAnnotation> {
    let known = || keys::ON_OBJECTS.iter().chain(keys::ON_APPLICATIONS).copied();
    let bad = |key: &String| {
        let is_unknown = key.split_once('/').is_some_and(|(domain, _)| domain == NATIVE) && known().all(|k| k != key);
        let message = || format!("is no annotation of Swell's{}", nearest(key, known()));
        is_unknown.then(|| BadAnnotation {
            key: key.clone().into(),
            rule: Rule::UnknownAnnotation,
            part: Part::annotation_key(key),
            message: message(),
        })
    };
    annotations.keys().filter_map(bad).collect()
}

/// What there is to say of keys of others that are nearly one that has an effect.
pub(super) fn told(annotations: &BTreeMap<String, String>) -> Vec<Remark> {
    let warning = |key: &String| {
        let (domain, name) = key.split_once('/')?;
        let close = nearly_accepted(domain, name)?;
        let message = format!("{key} has no effect; did you mean {close:?}?");
        Some(Remark { rule: Rule::MisspeltAnnotation, part: Part::annotation_key(key), message })
    };
    annotations.keys().filter_map(warning).collect()
}

/// What there is to say of annotations of an Application under our name that nobody knows, or whose value says nothing.
pub(crate) fn on_application<'a>(annotations: impl Iterator<Item = (&'a String, &'a String)>) -> Vec<Remark> {
    let say = |part, message| Some(Remark { rule: Rule::ApplicationAnnotation, part, message });
    let remark = |(key, value): (&String, &String)| {
        let known = keys::ON_APPLICATIONS.iter().chain(keys::ON_OBJECTS).copied();
        let is_ours = key.strip_prefix(NATIVE).is_some_and(|rest| rest.starts_with('/'));
        if key == keys::RELEASE && value != "now" {
            let message = format!("{key}: {value:?} has no effect; it takes \"now\"");
            return say(Part::annotation(key), message);
        }
        if !is_ours || known.clone().any(|known| known == key) {
            return None;
        }
        say(Part::annotation_key(key), format!("{key} has no effect{}", nearest(key, known)))
    };
    annotations.filter_map(remark).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Settings, Vec<BadAnnotation>> {
        Settings::parse(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn i8_an_annotation_that_nobody_knows_is_refused_under_our_name_and_told_under_that_of_others() {
        let bad = |key: &str| parse(&[(key, "1")]).unwrap_err().remove(0).message;
        assert_eq!(bad("swell.dev/timout"), "is no annotation of Swell's; did you mean \"swell.dev/timeout\"?");
        assert_eq!(bad("swell.dev/gates"), "is no annotation of Swell's; did you mean \"swell.dev/gate\"?");
        let told =
            |key: &str| parse(&[(key, "1")]).unwrap().warnings.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (key, meant) in [
            ("argocd.argoproj.io/syncwave", keys::ARGO_SYNC_WAVE),
            ("argocd.argoproj.io/sync-waves", keys::ARGO_SYNC_WAVE),
            ("argocd.argoproj.io/sync-option", keys::ARGO_SYNC_OPTIONS),
            ("argoproj.io/hook", keys::ARGO_HOOK),
            ("helm.sh/hooks", keys::HELM_HOOK),
        ] {
            assert_eq!(told(key), [format!("{key} has no effect; did you mean {meant:?}?")]);
        }
        for key in [
            "argocd.argoproj.io/instance",
            "argocd.argoproj.io/tracking-id",
            "helm.sh/chart",
            "example.org/hook",
            "hook",
        ] {
            assert_eq!(told(key), Vec::<String>::new(), "{key}");
        }
        assert_eq!(told("swell.dev/applied"), Vec::<String>::new(), "from an exported object");
    }
}

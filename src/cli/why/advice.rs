//! What to do next, by what is known of a failure or a wait.

use super::Told;
use crate::api::{Application, Evidence};

/// What is known of it.
struct Known<'a> {
    /// Cause and evidence, in one text.
    said: String,
    /// Whether the source or a manifest cannot be used.
    invalid: bool,
    evidence: Option<&'a Evidence>,
    /// The Application as a command names it.
    application: String,
    /// Kind and name of the object that it is about.
    object: Option<(&'a str, &'a str)>,
    namespace: String,
}

impl Known<'_> {
    fn says(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.said.contains(word))
    }

    fn reason_is(&self, reasons: &[&str]) -> bool {
        let reason = self.evidence.and_then(|evidence| evidence.reason.as_deref());
        reason.is_some_and(|reason| reasons.contains(&reason)) || self.says(reasons)
    }
}

/// Adds the advice for the first thing that is recognised: what is nearest to the cause stands first.
pub(super) fn add(
    application: &Application,
    told: &mut Told,
    evidence: Option<&Evidence>,
    object: Option<(&str, &str)>,
) {
    let name = application.metadata.name.as_deref().unwrap_or_default();
    // What a container has printed says nothing about what the cluster did.
    let evidence_lines = told.evidence.iter().filter(|line| !line.starts_with("log: "));
    let said: Vec<_> = std::iter::once(&told.cause).chain(evidence_lines).map(String::as_str).collect();
    let stalled = application
        .status
        .iter()
        .flat_map(|status| &status.conditions)
        .find(|c| c.type_ == "Stalled" && c.status == "True");
    let known = Known {
        said: said.join("\n"),
        invalid: stalled.is_some_and(|c| c.reason == "SourceUnusable" || c.reason == "InvalidManifest"),
        evidence,
        application: format!("{name} -n {}", application.namespace()),
        object,
        namespace: application.destination_namespace().to_owned(),
    };
    told.next.extend(advice(&known));
}

fn advice(known: &Known<'_>) -> Option<String> {
    let Known { application, namespace, .. } = known;
    let object = known.object.map(|(kind, name)| format!("{} {name}", kind.to_lowercase())).unwrap_or_default();
    let pod = known.evidence.and_then(|evidence| evidence.pod.as_deref());
    let pod = pod.map_or_else(
        || format!("kubectl get events -n {namespace}"),
        |pod| format!("kubectl describe pod {pod} -n {namespace}"),
    );
    let text = if known.says(&[" may not ", "could not act as"]) {
        format!("Grant what is missing with the command above, then: swell retry {application}")
    } else if known.says(&["deletion-approved"]) {
        "Look at what would go, and confirm it with the command above.".to_owned()
    } else if known.says(&["belongs to the Application"]) {
        "Take the object out of one of the two Applications, or hand it over as the message says.".to_owned()
    } else if known.says(&["is not served", "no matches for kind", "does not know the kind"]) {
        "Install the CRD, or put it into an earlier wave of this Application; where a controller brings it: SkipDryRunOnMissingResource=true on the object.".to_owned()
    } else if known.says(&["immutable", "cannot be changed", "field is immutable"]) {
        format!(
            "Give the object another name, or let it be deleted and made anew: argocd.argoproj.io/sync-options: Force=true on it; then: swell retry {application}"
        )
    } else if known.says(&["exceeded quota"]) {
        format!(
            "See what the quota has left (kubectl describe quota -n {namespace}); lower the requests, or have the quota raised."
        )
    } else if known.says(&["admission webhook", "denied the request", "ValidatingAdmissionPolicy"]) {
        "Change the manifest as the webhook or policy demands, or ask those who run it; its own words are above."
            .to_owned()
    } else if known.reason_is(&["ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull"]) {
        "Correct the image's name or tag in the manifest, or let the cluster pull it (imagePullSecrets of the pod or of its service account).".to_owned()
    } else if known.reason_is(&["CreateContainerConfigError"]) {
        format!(
            "A ConfigMap, Secret or key that the container names is missing; put it into an earlier wave. See: {pod}"
        )
    } else if known.reason_is(&["OOMKilled"]) {
        "The container has used more memory than it may: raise resources.limits.memory, or make it use less.".to_owned()
    } else if known.reason_is(&["Unschedulable"]) || known.says(&["is not scheduled"]) {
        format!(
            "No node takes the pod: lower its requests, correct nodeSelector, affinity or tolerations, or add nodes. See: {pod}"
        )
    } else if known.reason_is(&["CrashLoopBackOff"]) {
        format!("The container ends soon after its start, again and again. Its last words: swell logs {application}")
    } else if known.says(&["is not ready", "probe failed"]) {
        format!(
            "The container runs, but its readiness probe does not pass: look at the probe's path, port and time-outs. See: {pod}"
        )
    } else if known.says(&["finalizer"]) {
        format!(
            "Whoever has set the finalizer must take it off: see whether that controller runs. Only if it is gone for good: kubectl patch {object} \
             -n {namespace} --type merge -p '{{\"metadata\":{{\"finalizers\":null}}}}'"
        )
    } else if known.invalid {
        "Correct the manifest at that place; `swell lint -f FILE` shows the place and what would be right.".to_owned()
    } else if known.evidence.is_some_and(|evidence| evidence.exit_code.is_some()) {
        format!(
            "Correct what the log tells (all of it: swell logs {application}), and apply the manifest; or try the same again: swell retry {application}"
        )
    } else if known.says(&["within"]) {
        format!(
            "Look at what keeps the {object}: kubectl describe {object} -n {namespace}; a longer limit: swell.dev/timeout on it."
        )
    } else {
        return None;
    };
    Some(text)
}

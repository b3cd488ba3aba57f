//! PersistentVolumeClaim.

use serde_json::Value;

use super::read::{at, text};
use super::{Facts, Verdict};

pub(super) fn claim(object: &Value, facts: &Facts) -> Verdict {
    match text(object, &["status", "phase"]) {
        Some("Bound") => Verdict::healthy(),
        Some("Pending") if facts.bind_late(class(object)) => Verdict::healthy_because(
            "WaitForFirstConsumer",
            "waits for a pod that uses it: its StorageClass binds at the first consumer".to_owned(),
        ),
        Some("Pending") => {
            let class = match class(object).or(facts.default_class.as_deref()) {
                Some("") | None => "without a StorageClass".to_owned(),
                Some(class) => format!("of StorageClass {class}"),
            };
            Verdict::progressing("Pending", format!("waiting for a volume {class}"))
        }
        Some("Lost") => {
            let volume = text(object, &["spec", "volumeName"]).unwrap_or("(none)");
            Verdict::degraded("Lost", format!("its volume {volume} is gone"))
        }
        Some(odd) => Verdict::unknown("UnknownPhase", format!("cannot judge: status.phase is {odd}")),
        None => Verdict::unknown("UnknownPhase", "cannot judge: there is no status.phase".to_owned()),
    }
}

/// The class that the claim names. An empty name is one: it asks for a volume without class.
fn class(object: &Value) -> Option<&str> {
    let beta = || at(object, &["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"]);
    at(object, &["spec", "storageClassName"]).or_else(beta).and_then(Value::as_str)
}

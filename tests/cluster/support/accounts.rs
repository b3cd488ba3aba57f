//! Operators with an account of their own, and the rights that the chart gives one.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Place, kubectl, output, testbed};

/// The namespace that the operator is installed in.
pub(crate) const SYSTEM: &str = "swell-system";

/// An account of its own with the operator's rights, so that its requests can be told from those of other tests; its name and kubeconfig.
pub(crate) async fn another_operator(place: &Place) -> (String, PathBuf) {
    let name = place.namespace.clone();
    kubectl(&["create", "serviceaccount", &name, "-n", SYSTEM]);
    let account = format!("--serviceaccount={SYSTEM}:{name}");
    kubectl(&["create", "clusterrolebinding", &name, "--clusterrole=swell", &account]);
    kubectl(&["create", "rolebinding", &name, "-n", SYSTEM, "--role=swell-leases", &account]);
    let text = testbed::for_service_account(&testbed().kubeconfig, SYSTEM, &name, 7200).await.unwrap();
    let path = testbed().dir.join(format!("{name}.operator.kubeconfig"));
    std::fs::write(&path, text).unwrap();
    (format!("system:serviceaccount:{SYSTEM}:{name}"), path)
}

/// The chart's folder.
pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/chart")
}

/// Installs account and rights as the chart renders them with these values, under names of this place's own; gives the kubeconfig.
pub(crate) async fn operator_by_chart(place: &Place, values: &[&str]) -> PathBuf {
    let (testbed, name) = (testbed(), &place.namespace);
    let rendered = output(
        Command::new(testbed.bin.join("helm"))
            .args(["template", name, chart().to_str().unwrap(), "--namespace", SYSTEM])
            .args(["--set", "rbac.impersonation=constrained", "--set", &format!("fullnameOverride={name}")])
            .args(["--show-only", "templates/rbac.yaml", "--show-only", "templates/serviceaccount.yaml"])
            .args(values),
    );
    let file = testbed.dir.join(format!("{name}.yaml"));
    std::fs::write(&file, rendered).unwrap();
    kubectl(&["apply", "--server-side", "-f", file.to_str().unwrap()]);
    let text = testbed::for_service_account(&testbed.kubeconfig, SYSTEM, name, 7200).await.unwrap();
    let path = testbed.dir.join(format!("{name}.operator.kubeconfig"));
    std::fs::write(&path, text).unwrap();
    path
}

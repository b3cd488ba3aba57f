//! What `swell migrate` writes, on the real control plane: `kubectl apply` takes it as it is, and the Applications become Ready.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use swell::api::OperationPhase;

use crate::support::{Place, config_map, deployment, document, job, kubectl, testbed};

/// A folder that stands for a repository, and the Applications of Argo CD's that deploy from it.
struct Repository {
    folder: tempfile::TempDir,
}

impl Repository {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self { folder }
    }

    /// Runs `swell migrate` in the folder; gives its exit code and both outputs.
    fn migrate(&self, applications: &str, args: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_swell"));
        command.current_dir(self.folder.path()).args(["migrate", "-f", "-", "--repo", "."]).args(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(applications.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// Migrates what can be migrated, and gives the output to `kubectl apply`.
    fn apply(&self, applications: &str, args: &[&str]) -> String {
        let (code, output, told) = self.migrate(applications, args);
        assert_eq!(code, Some(0), "{told}");
        let file = self.folder.path().join("output.yaml");
        std::fs::write(&file, &output).unwrap();
        kubectl(&["apply", "-f", file.to_str().unwrap()]);
        output
    }
}

/// An Application of Argo CD's that is synced by itself.
fn argo(name: &str, namespace: &str, source: &Value, more: &Value) -> String {
    let mut policy = json!({"automated": {"prune": true}});
    policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document(&json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {"name": name, "namespace": "argocd", "finalizers": ["resources-finalizer.argocd.argoproj.io"]},
        "spec": {
            "project": "default", "source": source, "syncPolicy": policy,
            "destination": {"server": "https://kubernetes.default.svc", "namespace": namespace}
        }
    }))
}

fn path(path: &str) -> Value {
    json!({"repoURL": "https://git.example.com/acme/deployments", "path": path})
}

/// Waits as a user would.
fn ready(place: &Place, name: &str) {
    kubectl(&["wait", "--for=condition=Ready", &format!("swapp/{name}"), "-n", &place.namespace, "--timeout=60s"]);
}

const PRE_SYNC: &[(&str, &str)] = &[("argocd.argoproj.io/hook", "PreSync")];

#[tokio::test]
async fn what_was_migrated_is_applied_by_kubectl_becomes_ready_and_takes_over_what_argo_cd_has_left() {
    let place = Place::new("migrate").await;
    let manifests =
        [job("prepare", PRE_SYNC, &[]), config_map("settings", &[], "1"), deployment("web", &[], &[])].join("---\n");
    let repository = Repository::new(&[("shop/all.yaml", &manifests)]);
    let live = repository.folder.path().join("live.yaml");
    std::fs::write(&live, deployment("web", &[("argocd.argoproj.io/tracking-id", "shop:apps/Deployment:x/web")], &[]))
        .unwrap();
    kubectl(&["apply", "-n", &place.namespace, "--field-manager", "argocd-controller", "-f", live.to_str().unwrap()]);
    let before = place.uid("apps/v1", "Deployment", "web").await.unwrap();

    let options = json!({"syncOptions": ["CreateNamespace=true"]});
    repository.apply(&argo("shop", &place.namespace, &path("shop"), &options), &[]);
    ready(&place, "shop");
    assert_eq!(place.uid("apps/v1", "Deployment", "web").await.unwrap(), before, "it was not made anew");
    assert_eq!(place.creates("jobs", "prepare").await, 1);
    assert!(place.get("v1", "ConfigMap", "settings").await.is_some());
}

#[tokio::test]
async fn manifests_in_config_maps_are_applied_by_kubectl_although_they_are_larger_than_it_takes_at_once() {
    let place = Place::new("migrate-maps").await;
    let manifests: Vec<_> = (0..6).map(|number| config_map(&format!("c{number}"), &[], &"<x>".repeat(8_000))).collect();
    let repository = Repository::new(&[("shop/all.yaml", &manifests.join("---\n"))]);
    let output = repository.apply(&argo("shop", &place.namespace, &path("shop"), &json!({})), &[]);
    assert!(output.contains("shop-manifests-2"));
    ready(&place, "shop");
    for number in 0..6 {
        assert!(place.get("v1", "ConfigMap", &format!("c{number}")).await.is_some(), "c{number}");
    }
}

#[tokio::test]
async fn an_application_of_applications_is_ready_when_those_inside_of_it_are() {
    let place = Place::new("migrate-apps").await;
    place
        .put(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": format!("{}-applications", place.namespace)},
            "rules": [{"apiGroups": ["swell.dev"], "resources": ["applications"], "verbs": ["*"]}]
        }))
        .await;
    place.grant(&format!("{}-applications", place.namespace), &place.namespace).await;
    let child = argo("child", &place.namespace, &path("child"), &json!({}));
    let repository = Repository::new(&[
        ("apps/child.yaml", &child),
        ("child/all.yaml", &deployment("web", &[], &[("pods.swell.dev/ready-after", "2s")])),
    ]);
    repository.apply(&argo("root", &place.namespace, &path("apps"), &json!({})), &[]);
    ready(&place, "root");
    place.ended("child", OperationPhase::Succeeded).await;
    assert!(place.get("apps/v1", "Deployment", "web").await.is_some());
}

#[tokio::test]
async fn the_commands_that_are_told_render_charts_and_kustomizations_as_migrate_takes_them() {
    let place = Place::new("migrate-tools").await;
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-settings, namespace: {{ .Release.Namespace }}}\ndata: {a: {{ .Values.a | quote }}, b: {{ .Values.b | quote }}, c: {{ .Values.c | quote }}}\n";
    let repository = Repository::new(&[
        ("chart/Chart.yaml", "apiVersion: v2\nname: chart\nversion: 1.0.0\n"),
        ("chart/values.yaml", "a: default\nb: default\nc: default\n"),
        ("chart/production.yaml", "a: file\nb: file\n"),
        ("chart/templates/settings.yaml", template),
        ("site/kustomization.yaml", "namePrefix: prod-\nresources: [site.yaml]\n"),
        ("site/site.yaml", &config_map("site", &[], "1")),
    ]);
    let mut chart = path("chart");
    chart["helm"] = json!({
        "releaseName": "cache", "valueFiles": ["production.yaml"], "valuesObject": {"b": "it's $HOME"},
        "parameters": [{"name": "c", "value": "x,y", "forceString": true}]
    });
    let both = [
        argo("chart", &place.namespace, &chart, &json!({})),
        argo("site", &place.namespace, &path("site"), &json!({})),
    ]
    .join("---\n");
    let (code, output, told) = repository.migrate(&both, &[]);
    assert_eq!((code, output.as_str()), (Some(1), ""), "{told}");
    let (_, script) = told.split_once("with these flags as well:\n").unwrap();
    run(script, repository.folder.path());
    let rendered = [
        "--rendered",
        "argocd/chart=argocd_chart.rendered.yaml",
        "--rendered",
        "argocd/site=argocd_site.rendered.yaml",
    ];
    repository.apply(&both, &rendered);
    for name in ["chart", "site"] {
        ready(&place, name);
    }
    let settings = place.get("v1", "ConfigMap", "cache-settings").await.unwrap();
    assert_eq!(settings["data"], json!({"a": "file", "b": "it's $HOME", "c": "x,y"}));
    assert!(place.get("v1", "ConfigMap", "prod-site").await.is_some());
}

/// Runs a script with the tools of the control plane.
fn run(script: &str, folder: &Path) {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(testbed().bin.clone()).chain(std::env::split_paths(&paths));
    let mut command = Command::new("bash");
    command.args(["-e", "-c", script]).current_dir(folder).env("PATH", std::env::join_paths(all).unwrap());
    // helm keeps what it has learnt in folders of its user.
    command.env("HOME", folder);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
}

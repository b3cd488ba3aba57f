//! `swell migrate` as a user calls it: what it writes and what it tells compared with the files in `tests/it/migrate/golden/`, and what
//! it writes given to `swell plan`.
//!
//! `SWELL_UPDATE_GOLDEN=1 cargo test --test it migrate` writes these files anew; look at their difference before you commit it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use swell::engine::yaml::{self, Document};

const FOLDER: &str = "tests/it/migrate";

fn swell(args: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swell"));
    // Paths in the output are those of the call.
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER)).args(args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn migrate(args: &[&str]) -> Output {
    swell(&[&["migrate"], args].concat(), b"")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn documents(output: &Output) -> Vec<Document> {
    yaml::parse(None, &text(&output.stdout), &yaml::Limits::default()).unwrap()
}

/// The inline source of the only Application of an output.
fn inline(output: &Output) -> String {
    let found = documents(output);
    found.iter().find_map(|d| d.value.pointer("/spec/source/inline")?.as_str().map(str::to_owned)).unwrap()
}

/// Compares both outputs of a call with golden files, and its exit code; what it writes must be what `swell plan` can use.
fn golden(name: &str, args: &[&str], code: i32) -> Output {
    let output = migrate(args);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER).join("golden");
    for (kind, bytes) in [("yaml", &output.stdout), ("txt", &output.stderr)] {
        let (path, is) = (folder.join(format!("{name}.{kind}")), text(bytes));
        if std::env::var_os("SWELL_UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &is).unwrap();
        }
        let was = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(is == was, "swell migrate {}: is\n{is}\nand was, in {}\n{was}", args.join(" "), path.display());
    }
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    if !output.stdout.is_empty() {
        let plan = swell(&["plan", "-f", "-"], &output.stdout);
        assert_eq!(plan.status.code(), Some(0), "{}", text(&plan.stdout));
    }
    output
}

const REPO: [&str; 2] = ["--repo", "repo"];

#[test]
fn a_folder_of_manifests_becomes_an_inline_source_as_it_is_written() {
    let output = golden("guestbook", &["-f", "apps/guestbook.yaml", REPO[0], REPO[1]], 0);
    assert!(inline(&output).contains("# pinned by the pipeline"), "comments stay");
}

#[test]
fn every_field_and_every_object_is_told_that_would_behave_otherwise() {
    golden("shop", &["-f", "apps/shop.yaml", "--repo", "https://git.example.com/acme/deployments=repo"], 0);
}

#[test]
fn applications_inside_of_another_one_are_migrated_in_their_place() {
    let output = golden("root", &["-f", "apps/root.yaml", REPO[0], REPO[1]], 0);
    let inner = yaml::parse(None, &inline(&output), &yaml::Limits::default()).unwrap();
    let kinds: Vec<_> = inner.iter().map(|d| (d.value["apiVersion"].as_str(), d.value["kind"].as_str())).collect();
    assert_eq!(kinds, [(Some("swell.dev/v1alpha1"), Some("Application")), (Some("v1"), Some("ConfigMap"))]);
    assert_eq!(inner[0].value["metadata"]["namespace"], "guestbook");
    assert_eq!(inner[0].value["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"], "1");
}

#[test]
fn an_application_that_another_one_contains_is_written_once() {
    let output = migrate(&["-f", "apps/root.yaml", "-f", "apps/guestbook.yaml", REPO[0], REPO[1]]);
    let told = text(&output.stderr);
    let applications = documents(&output).iter().filter(|d| d.value["kind"] == "Application").count();
    // That in the folder names no namespace, so it goes where the root does: argocd.
    assert_eq!(applications, 1, "{told}");
    assert!(told.contains("written inside of Application argocd/root"), "{told}");
}

#[test]
fn what_an_application_contains_that_cannot_be_migrated_is_written_only_where_it_is_named_itself() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str, path: &str| {
        serde_json::json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": name, "namespace": "argocd"},
            "spec": {"source": {"repoURL": "u", "path": path}, "destination": {"namespace": name}}
        })
        .to_string()
    };
    for (file, content) in [
        ("apps/good.json", of("good", "good")),
        ("apps/bad.json", of("bad", "nowhere")),
        ("good/all.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n".to_owned()),
        ("root.json", of("root", "apps")),
    ] {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let at = |file: &str| folder.path().join(file).to_str().unwrap().to_owned();
    let (repo, root, good) = (at(""), at("root.json"), at("apps/good.json"));

    let alone = migrate(&["-f", &root, "--repo", &repo]);
    let told = text(&alone.stderr);
    assert_eq!((alone.status.code(), alone.stdout.len()), (Some(1), 0), "{told}");
    assert!(!told.contains("written as Application"), "{told}");
    assert!(
        told.contains("inside of Application argocd/root, whose manifests hold it and which is not migrated"),
        "{told}"
    );

    let named = migrate(&["-f", &root, "-f", &good, "--repo", &repo]);
    let told = text(&named.stderr);
    assert_eq!(named.status.code(), Some(1), "{told}");
    let names: Vec<_> = documents(&named).iter().map(|d| d.value["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["good"], "{told}");
    assert_eq!(told.matches("written as Application good/good").count(), 1, "{told}");
}

#[test]
fn commands_for_several_sources_write_into_files_of_their_own() {
    let of = |namespace: &str, name: &str| {
        serde_json::json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "source": {"repoURL": "https://charts.example.com", "chart": "redis", "helm": {"valueFiles": ["small.yaml"]}},
                "destination": {"namespace": namespace}
            }
        })
    };
    let items = [of("team-a", "cache"), of("team-b", "cache"), of("team", "b-cache")];
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let told = text(&swell(&["migrate", "-f", "-"], list.as_bytes()).stderr);
    let after = |word: &str| {
        let ends = told.match_indices(word).map(|(at, _)| told[at + word.len()..].split_whitespace().next().unwrap());
        ends.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        after(" > "),
        ["team-a_cache", "team-b_cache", "team_b-cache"].map(|stem| format!("{stem}.rendered.yaml"))
    );
    assert_eq!(
        after("--untardir "),
        ["team-a_cache", "team-b_cache", "team_b-cache"].map(|stem| format!("{stem}.charts"))
    );
    assert!(told.contains("--values team-b_cache.charts/redis/small.yaml"), "{told}");
}

#[test]
fn what_has_to_be_rendered_is_told_with_the_command_that_renders_it() {
    let output = golden("rendering", &["-f", "apps/rendering.yaml", REPO[0], REPO[1]], 1);
    assert!(output.stdout.is_empty());
}

#[test]
fn what_was_rendered_stands_for_the_application_or_for_one_of_its_sources() {
    let rendered = [
        "redis=rendered/redis.yaml",
        "argocd/site=rendered/configmap.yaml",
        "plain-site=rendered/configmap.yaml",
        "multi:1=rendered/configmap.yaml",
        "dashboards=rendered/configmap.yaml",
        "secrets=rendered",
    ];
    let mut args = vec!["-f", "apps/rendering.yaml", REPO[0], REPO[1]];
    args.extend(rendered.iter().flat_map(|given| ["--rendered", *given]));
    golden("rendered", &args, 0);
}

#[test]
fn i8_what_cannot_be_migrated_is_told_and_does_not_stop_the_others() {
    golden("broken", &["-f", "broken/apps.yaml", REPO[0], REPO[1]], 1);
}

#[test]
fn config_maps_are_written_when_they_are_asked_for() {
    golden("config-maps", &["-f", "apps/guestbook.yaml", REPO[0], REPO[1], "--config-maps"], 0);
}

#[test]
fn manifests_that_are_too_large_for_kubectl_apply_go_into_config_maps_that_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut manifests = String::new();
    for number in 0..40 {
        let data = "x<&>".repeat(2500);
        let _ = writeln!(
            manifests,
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{number}}}\ndata: {{a: {data:?}}}"
        );
    }
    std::fs::create_dir(folder.path().join("guestbook")).unwrap();
    std::fs::write(folder.path().join("guestbook/all.yaml"), manifests).unwrap();
    let output = migrate(&["-f", "apps/guestbook.yaml", "--repo", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let found = documents(&output);
    let (maps, application) = found.split_at(found.len() - 1);
    assert!(maps.len() > 1);
    for map in maps {
        assert!(map.value.to_string().len() < 256 << 10);
        assert_eq!(map.value["metadata"]["annotations"], maps[0].value["metadata"]["annotations"]);
    }
    assert_eq!(application[0].value["spec"]["source"]["configMaps"].as_array().unwrap().len(), maps.len());
    let plan = swell(&["plan", "-f", "-", "-o", "json"], &output.stdout);
    let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
    assert_eq!(plan["applications"][0]["totals"]["objects"], 40, "{plan}");
}

#[test]
fn applications_for_several_clusters_are_not_mixed_up() {
    let of = |name: &str, server: &str| {
        serde_json::json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": name, "namespace": "argocd"},
            "spec": {"source": {"repoURL": "u", "path": "guestbook"}, "destination": {"server": server, "namespace": "guestbook"}}
        })
    };
    let here = of("app0", "https://kubernetes.default.svc");
    let there = of("app1", "https://edge.example.com:6443");
    let both = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [here, there]}).to_string();
    let run = |more: &[&str]| swell(&[&["migrate", "-f", "-", REPO[0], REPO[1]], more].concat(), both.as_bytes());
    let mixed = run(&[]);
    assert_eq!((mixed.status.code(), mixed.stdout.len()), (Some(1), 0));
    assert!(text(&mixed.stderr).contains("--destination"), "{}", text(&mixed.stderr));
    let edge = run(&["--destination", "https://edge.example.com:6443"]);
    assert_eq!(edge.status.code(), Some(0), "{}", text(&edge.stderr));
    let names: Vec<_> = documents(&edge).iter().map(|d| d.value["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["app1"]);
    assert!(text(&edge.stderr).contains("apply this in https://edge.example.com:6443"), "{}", text(&edge.stderr));
    assert_eq!(run(&["--destination", "elsewhere"]).status.code(), Some(1));
}

#[test]
fn an_object_of_two_applications_is_told_at_both() {
    let output = migrate(&[
        "-f",
        "apps/rendering.yaml",
        REPO[0],
        REPO[1],
        "--rendered",
        "site=rendered/configmap.yaml",
        "--rendered",
        "plain-site=rendered/configmap.yaml",
    ]);
    let told = text(&output.stderr);
    for other in ["argocd/site", "argocd/plain-site"] {
        assert!(told.contains(&format!("V25 Application {other} has it as well")), "{told}");
    }
}

#[test]
fn every_difference_that_is_told_is_a_row_of_the_rules_and_every_row_that_can_be_met_is_told() {
    let rules = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.yaml")).unwrap();
    let rows: BTreeSet<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- id: V"))
        .filter(|id| id.parse::<u8>().is_ok())
        .collect();
    let mut told = BTreeSet::new();
    for name in ["guestbook", "shop", "root", "rendering", "rendered", "broken"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER).join(format!("golden/{name}.txt"));
        let text = std::fs::read_to_string(path).unwrap();
        for (at, _) in text.match_indices('V') {
            let before = text[..at].chars().next_back().unwrap_or(' ');
            let digits: String = text[at + 1..].chars().take_while(char::is_ascii_digit).collect();
            if !before.is_alphanumeric() && !digits.is_empty() {
                told.insert(digits);
            }
        }
    }
    let told: BTreeSet<&str> = told.iter().map(String::as_str).collect();
    assert_eq!(told.difference(&rows).collect::<Vec<_>>(), [&""; 0]);
    // V29 needs an `operation`, which no Application in a repository has; V33 is no difference.
    let missing: Vec<_> = rows.difference(&told).copied().collect();
    assert_eq!(missing, ["29", "33"]);
}

#[test]
fn what_cannot_be_read_ends_with_1_and_a_wrong_call_with_2() {
    for (args, code, said) in [
        (&["-f", "nowhere.yaml"][..], 1, "cannot read nowhere.yaml"),
        (&["-f", "rendered"], 1, "there is no Application of Argo CD's"),
        (&["-f", "apps/guestbook.yaml"], 1, "--repo https://git.example.com/acme/deployments.git=DIR"),
        (
            &["-f", "apps/guestbook.yaml", "--repo", "repo", "--rendered", "gestbook=rendered"],
            1,
            "--rendered gestbook: no Application or source of that name",
        ),
        (&[], 2, "--filename"),
        (&["-f", "apps/guestbook.yaml", "--repo", "nowhere"], 2, "nowhere is no folder"),
        (&["-f", "apps/guestbook.yaml", "--rendered", "guestbook"], 2, "has no path"),
    ] {
        let output = migrate(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(text(&output.stderr).contains(said), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn what_a_cluster_adds_to_an_application_is_left_out() {
    let live = serde_json::json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {"name": "live", "namespace": "argocd", "uid": "1", "resourceVersion": "2", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [],
            "labels": {"app.kubernetes.io/instance": "root"},
            "annotations": {"argocd.argoproj.io/tracking-id": "x", "argocd.argoproj.io/refresh": "hard"},
            "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "name": "set", "uid": "4"}]},
        "operation": {"sync": {}},
        "spec": {"source": {"repoURL": "u", "path": "guestbook"}, "destination": {"name": "in-cluster", "namespace": "guestbook"},
            "syncPolicy": {"automated": {"enabled": false, "prune": true}, "retry": {"limit": -5}}},
        "status": {"sync": {"status": "Synced"}}
    });
    let output = swell(&["migrate", "-f", "-", REPO[0], REPO[1]], live.to_string().as_bytes());
    let application = &documents(&output)[0].value;
    assert_eq!(application["metadata"], serde_json::json!({"name": "live", "namespace": "guestbook"}));
    let policy = &application["spec"]["syncPolicy"];
    assert_eq!(policy["automated"], serde_json::json!({"enabled": false, "prune": true}));
    assert_eq!(policy["retry"]["limit"], -1);
    assert!(application.get("status").is_none() && application.get("operation").is_none());
    let told = text(&output.stderr);
    assert!(told.contains("applicationsets.argoproj.io set --cascade=orphan") && told.contains("(V29)"), "{told}");
}

//! `swell lint` as a user calls it: its text, JSON, SARIF and exit code compared with the files in `tests/it/lint/golden/`.
//!
//! `SWELL_UPDATE_GOLDEN=1 cargo test --test it lint` writes these files anew; look at their difference before you commit it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn swell(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swell"));
    // Paths in the output are those of the call.
    command.current_dir(root()).arg("lint").args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    swell(args).output().unwrap()
}

/// The output of a call with a text on standard input.
fn run_with(args: &[&str], input: &str) -> Output {
    let mut command = swell(&[&["-f", "-"], args].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn parsed(output: &Output) -> Value {
    assert_eq!(text(&output.stderr), "");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Compares the output of a call with a golden file, and its exit code.
fn golden(name: &str, args: &[&str], code: i32) {
    let output = run(args);
    let path = root().join("tests/it/lint/golden").join(name);
    let is = text(&output.stdout);
    if std::env::var_os("SWELL_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &is).unwrap();
    }
    let was = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(is == was, "swell lint {}: is\n{is}\nand was, in {}\n{was}", args.join(" "), path.display());
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
}

/// Rule, line and marked text of each finding in a text.
fn marked(input: &str) -> Vec<(String, u64, String)> {
    let output = parsed(&run_with(&["-o", "json"], input));
    let of = |finding: &Value| {
        let number = |field: &str| finding["location"][field].as_u64().unwrap();
        let size = |field: &str| usize::try_from(number(field)).unwrap();
        let line = input.lines().nth(size("line") - 1).unwrap();
        let marked = line.chars().skip(size("column") - 1).take(size("endColumn") - size("column")).collect();
        (finding["rule"].as_str().unwrap().to_owned(), number("line"), marked)
    };
    output["findings"].as_array().unwrap().iter().map(of).collect()
}

fn rules() -> Vec<Value> {
    parsed(&run(&["--rules", "-o", "json"])).as_array().unwrap().clone()
}

/// A finding as [`marked`] gives it.
fn found(rule: &str, line: u64, marked: &str) -> (String, u64, String) {
    (rule.to_owned(), line, marked.to_owned())
}

#[test]
fn every_rule_finds_its_own_example_and_says_what_would_be_right() {
    for rule in rules() {
        let field = |name: &str| rule[name].as_str().unwrap();
        let output = run_with(&["-o", "json"], field("example"));
        let findings = parsed(&output)["findings"].as_array().unwrap().clone();
        assert_eq!(findings.len(), 1, "{}: {findings:#?}", field("id"));
        assert_eq!(findings[0]["rule"], rule["id"]);
        assert_eq!(findings[0]["level"], rule["level"]);
        assert!(!findings[0]["proposal"].as_str().unwrap().is_empty());
        let code = i32::from(field("level") != "note");
        assert_eq!(output.status.code(), Some(code), "{}", field("id"));
        let ignored = run_with(&["--ignore", field("id"), "-o", "json"], field("example"));
        assert_eq!(parsed(&ignored)["findings"], json!([]), "{}", field("id"));
        assert_eq!(ignored.status.code(), Some(0));
    }
}

#[test]
fn the_example_that_users_begin_with_has_no_mistakes() {
    for version in ["examples/agent/v1.yaml", "examples/agent/v2.yaml", "crds"] {
        let output = run(&["-f", version, "-o", "json"]);
        assert_eq!(parsed(&output)["findings"], json!([]), "{version}");
        assert_eq!(output.status.code(), Some(0), "{version}");
    }
    // Of the broken ones all but a misspelt annotation goes wrong in the cluster alone.
    let findings = parsed(&run(&["-f", "examples", "-o", "json"]))["findings"].clone();
    let places: Vec<_> = findings.as_array().unwrap().iter().map(|finding| &finding["location"]["file"]).collect();
    assert_eq!(places, ["examples/broken/misspelt-annotation/application.yaml"], "{findings:#}");
}

#[test]
fn objects_as_a_cluster_has_them_are_no_mistakes() {
    let output = parsed(&run(&["-f", "tests/it/verdicts/objects.yaml", "-o", "json"]));
    assert_eq!(output["findings"], json!([]));
}

#[test]
fn whatever_plan_calls_a_mistake_or_warns_of_is_told() {
    for path in ["shop", "maps", "broken", "broken-applications", "broken-checks"] {
        let path = format!("tests/it/plan/{path}");
        let plan = Command::new(env!("CARGO_BIN_EXE_swell"))
            .current_dir(root())
            .args(["plan", "-f", &path, "-o", "json"])
            .output()
            .unwrap();
        let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
        let findings = parsed(&run(&["-f", &path, "-o", "json"]))["findings"].as_array().unwrap().clone();
        let at_least = |levels: &[&str]| {
            findings.iter().filter(|finding| levels.contains(&finding["level"].as_str().unwrap())).count()
        };
        let mistakes = plan["mistakes"].as_array().unwrap();
        assert_eq!(at_least(&["error"]), mistakes.len(), "{path}: {findings:#?}");
        for mistake in mistakes {
            let line = mistake.get("fileLine").unwrap_or(&mistake["line"]);
            let begins = mistake["message"].as_str().unwrap().split("; ").next().unwrap();
            assert!(
                findings.iter().any(|f| {
                    // Of a block the first line of its text is marked.
                    let lines = [line.as_u64(), line.as_u64().map(|line| line + 1)];
                    let there =
                        lines.contains(&f["location"]["line"].as_u64()) || f["location"].get("inside").is_some();
                    there && f["message"].as_str().unwrap().contains(begins)
                }),
                "{path}: {mistake:#}"
            );
        }
        let warnings = plan["applications"].as_array().unwrap().iter();
        let warnings = warnings.map(|application| application["warnings"].as_array().unwrap().len()).sum::<usize>();
        assert!(findings.len() - mistakes.len() >= warnings, "{path}: {findings:#?}");
    }
}

#[test]
fn findings_are_shown_with_the_line_a_mark_and_a_proposal() {
    golden("shop.txt", &["-f", "tests/it/plan/shop"], 1);
    golden("shop.json", &["-f", "tests/it/plan/shop", "-o", "json"], 1);
    golden("shop.sarif", &["-f", "tests/it/plan/shop", "-o", "sarif"], 1);
    golden("broken.txt", &["-f", "tests/it/plan/broken"], 1);
    golden("broken-applications.txt", &["-f", "tests/it/plan/broken-applications"], 1);
    golden("broken-checks.txt", &["-f", "tests/it/plan/broken-checks"], 1);
    golden("maps.txt", &["-f", "tests/it/plan/maps"], 1);
    golden("order.txt", &["-f", "tests/it/lint/order.yaml"], 1);
    golden("clean.txt", &["-f", "examples/agent/v1.yaml"], 0);
}

#[test]
fn the_rules_are_explained() {
    golden("rules.txt", &["--rules"], 0);
}

#[test]
fn the_mark_is_under_the_word_in_every_form_of_writing() {
    let flow = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, annotations: {swell.dev/wave: 'x', swell.dev/gaet: 'true'}}}\n";
    assert_eq!(marked(flow), [found("unknown-annotation", 1, "swell.dev/gaet"), found("annotation-value", 1, "'x'")]);
    let list = "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: ä\n  annotations:\n    argocd.argoproj.io/hook: PreSync, PostSnyc\n    argocd.argoproj.io/sync-options: >-\n      Prune=false,\n      Repalce=true\n";
    assert_eq!(marked(list), [found("annotation-value", 6, "PostSnyc"), found("annotation-value", 9, "Repalce=true")]);
    let json = "{\n  \"apiVersion\": \"v1\",\n  \"kind\": \"ConfigMap\",\n  \"metadata\": {\"name\": \"a\", \"annotations\": {\"swell.dev/wave\": \"x\"}}\n}\n";
    assert_eq!(marked(json), [found("annotation-value", 4, "\"x\"")]);
    let anchor = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations: &all\n    swell.dev/wave: x\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: b}\n- apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    annotations: {swell.dev/wave: z}\n    name: c\n";
    assert_eq!(marked(anchor), [found("annotation-value", 6, "x"), found("annotation-value", 17, "z")]);
}

#[test]
fn a_text_that_does_not_parse_is_marked_where_it_ends_to_make_sense() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, annotations: {swell.dev/wave: x}}\n";
    let found_here = marked(text);
    assert_eq!(found_here[0].0, "yaml");
    assert_eq!(found_here[1], found("annotation-value", 7, "x"));
}

#[test]
fn a_broken_secret_is_told_without_its_lines() {
    let secret =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  password: hunter2\n  password: hunter3\n";
    let output = text(&run_with(&[], secret).stdout);
    assert!(output.contains("stdin:6:3") && !output.contains("hunter"), "{output}");
}

#[test]
fn a_text_inside_of_an_application_is_marked_in_the_file_or_shown_by_itself() {
    let quoted = "apiVersion: swell.dev/v1alpha1\nkind: Application\nmetadata: {name: a}\nspec:\n  source:\n    inline: \"apiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: b, annotations: {swell.dev/wave: x}}\\n\"\n";
    let output = parsed(&run_with(&["-o", "json"], quoted));
    assert_eq!(output["findings"][0]["location"]["line"], 6);
    assert_eq!(output["findings"][0]["location"]["inside"], "spec.source.inline: line 3");
    assert!(text(&run_with(&[], quoted).stdout).contains("metadata: {name: b, annotations: {swell.dev/wave: x}}"));
}

#[test]
fn what_is_in_no_application_is_looked_at_by_itself() {
    let text = "apiVersion: swell.dev/v1alpha1\nkind: Application\nmetadata: {name: a}\nspec: {source: {inline: ''}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, annotations: {swell.dev/wave: x}}\n---\nreplicas: 3\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n";
    assert_eq!(marked(text), [found("annotation-value", 8, "x")]);
}

/// A Job of the phase with that pod, then more documents.
fn job(phase: &str, pod: &str, more: &[&str]) -> String {
    let job = format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: job, annotations: {{swell.dev/hook: {phase}}}}}\nspec: {{template: {{spec: {pod}}}}}\n"
    );
    more.iter().fold(job, |text, document| format!("{text}---\n{document}\n"))
}

/// The ids of the rules that found something.
fn ids(text: &str) -> Vec<String> {
    marked(text).into_iter().map(|(rule, ..)| rule).collect()
}

#[test]
fn rights_are_late_only_where_none_of_the_accounts_come_in_time() {
    let account = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: a, annotations: {swell.dev/hook: PreSync}}}";
    let binding = |name: &str, annotations: &str, role: &str| {
        format!(
            "{{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: {name}, annotations: {{{annotations}}}}}, roleRef: {{kind: Role, name: {role}}}, subjects: [{{kind: ServiceAccount, name: a, namespace: default}}]}}"
        )
    };
    let early = "swell.dev/hook: PreSync";
    let role = "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: late}}";
    let run = |bindings: &[&str]| ids(&job("PreSync", "{serviceAccountName: a}", &[&[account], bindings].concat()));
    assert_eq!(run(&[&binding("x", "", "other")]), ["late-rights"]);
    assert_eq!(run(&[&binding("x", early, "other")]), [""; 0]);
    assert_eq!(run(&[&binding("x", early, "late"), role]), ["late-rights"], "the role comes later than its binding");
    assert_eq!(run(&[&binding("x", early, "other"), &binding("z", "", "other")]), [""; 0]);
    assert_eq!(run(&[]), [""; 0], "rights may be in the cluster");
}

#[test]
fn a_service_is_late_with_itself_or_with_what_answers_behind_it() {
    let pod = "{containers: [{name: a, env: [{name: URL, value: http://db/ready}]}]}";
    let service = |annotations: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: db, annotations: {{{annotations}}}}}, spec: {{selector: {{app: db}}, ports: [{{port: 80}}]}}}}"
        )
    };
    let behind = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: db}, spec: {selector: {matchLabels: {app: db}}, template: {metadata: {labels: {app: db}}, spec: {containers: [{name: a, image: b}]}}}}";
    assert_eq!(ids(&job("PreSync", pod, &[&service("")])), ["late-service"]);
    assert_eq!(ids(&job("PreSync", pod, &[&service("swell.dev/hook: PreSync")])), [""; 0]);
    assert_eq!(ids(&job("PreSync", pod, &[&service("swell.dev/hook: PreSync"), behind])), ["late-service"]);
    assert_eq!(ids(&job("PostSync", pod, &[&service(""), behind])), [""; 0]);
    let long_running = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {FIELD: [{name: a, args: [-z, db, '80']}]}}}}\n---\n";
    let later = service("swell.dev/wave: '1'");
    assert_eq!(ids(&(long_running.replace("FIELD", "initContainers") + &later)), ["late-service"]);
    assert_eq!(ids(&(long_running.replace("FIELD", "containers") + &later)), [""; 0], "it may try again");
}

#[test]
fn a_wave_is_without_effect_only_where_no_hook_of_its_phases_has_another() {
    let hook = |name: &str, phase: &str, key: &str, wave: i64| {
        format!(
            "{{apiVersion: batch/v1, kind: Job, metadata: {{name: {name}, annotations: {{swell.dev/hook: {phase}, {key}: '{wave}'}}}}}}\n---\n"
        )
    };
    let wave = "swell.dev/wave";
    assert_eq!(ids(&hook("a", "PostSync", wave, 3)), ["wave-without-effect"]);
    assert_eq!(ids(&(hook("a", "PostSync", wave, 3) + &hook("b", "PostSync", wave, 4))), [""; 0]);
    assert_eq!(ids(&hook("a", "Sync", wave, 3)), [""; 0]);
    assert_eq!(ids(&hook("a", "PostSync", "helm.sh/hook-weight", 3)), [""; 0], "weights come with charts");
    let two = hook("a", "'PreSync,PostSync'", wave, 3);
    assert_eq!(ids(&two), ["wave-without-effect"]);
    assert_eq!(ids(&(two + &hook("b", "PreSync", wave, 4))), [""; 0]);
}

#[test]
fn sarif_is_what_code_scanning_reads() {
    let log = parsed(&run(&["-f", "tests/it/plan/broken", "-o", "sarif"]));
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    for rule in rules {
        for text in ["/shortDescription/text", "/fullDescription/text", "/help/text", "/help/markdown"] {
            assert!(rule.pointer(text).unwrap().as_str().unwrap().len() > 5, "{rule:#}");
        }
        assert!(["error", "warning", "note"].contains(&rule["defaultConfiguration"]["level"].as_str().unwrap()));
    }
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 6);
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        let place = &result["locations"][0]["physicalLocation"];
        let file: PathBuf = root().join(place["artifactLocation"]["uri"].as_str().unwrap());
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        let region = |field: &str| place["region"][field].as_u64().unwrap();
        assert!((1..=lines as u64).contains(&region("startLine")) && region("startColumn") < region("endColumn"));
    }
    let clean = parsed(&self::run(&["-f", "examples/agent/v1.yaml", "-o", "sarif"]));
    assert_eq!(clean["runs"][0]["results"], json!([]));
}

#[test]
fn what_cannot_be_read_ends_with_1_and_a_wrong_call_with_2() {
    let missing = run(&["-f", "no/such/file.yaml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("cannot read no/such/file.yaml"), "{}", text(&missing.stderr));
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["-f", "examples", "-o", "xml"]).status.code(), Some(2));
    let unknown = run(&["-f", "examples", "--ignore", "late-referense"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("late-reference"), "{}", text(&unknown.stderr));
}

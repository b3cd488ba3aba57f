//! Whose rights count, and what is told when some are lacking.

use std::process::Command;

use serde_json::json;
use swell::api::OperationPhase;

use crate::support::{Place, config_map, document, job, kubectl, namespace, run_printed};

/// The command lines of a refusal: what each lack is put right with, and how to go on.
fn commands(message: &str) -> (Vec<String>, String) {
    let (lacks, go_on) = message.split_once("; it goes on by itself").expect(message);
    let lacks = lacks.split("; ").filter_map(|part| {
        let command = part.strip_prefix("to grant it: ").or_else(|| part.strip_prefix("to put that right: "))?;
        Some(command.split(" (or").next().unwrap().to_owned())
    });
    (lacks.collect(), go_on.split_once("at once with: ").unwrap().1.to_owned())
}

fn in_namespace(namespace: &str, name: &str) -> String {
    document(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}}))
}

fn cluster_role(name: &str) -> String {
    document(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_all_that_the_account_may_not_write_is_told_before_any_write_with_the_commands_that_grant_it() {
    let mut place = Place::without_operator("rights").await;
    let other = namespace(&place.client, "foreign").await;
    place.also_look_at(&other);
    place.start_operator().await;
    let role = format!("{}-role", place.namespace);
    let migrate = job("migrate", &[("argocd.argoproj.io/hook", "PreSync")], &[])
        .replace("\"name\":\"migrate\"", &format!("\"name\":\"migrate\",\"namespace\":\"{other}\""));
    let manifests = [config_map("good", &[], "1"), in_namespace(&other, "x"), migrate, cluster_role(&role)].concat();
    place.apply("app", &manifests).await;
    let state = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    let message = state.message.unwrap();
    assert!(message.starts_with("nothing was written: service account "), "{message}");
    let account = format!("service account {}/default", place.namespace);
    for said in [
        format!("{account} may not create, get, patch clusterroles.rbac.authorization.k8s.io cluster-wide; "),
        format!(
            "{account} may not create, delete, get, patch jobs.batch and may not create, get, patch configmaps in namespace {other}; "
        ),
    ] {
        assert!(message.contains(&said), "{said} is not in {message}");
    }
    assert!(place.writes().await.is_empty(), "nothing was written");
    // The commands are ones that work: each is run as it is printed, and the last one starts the sync.
    let (lacks, go_on) = commands(&message);
    assert_eq!(lacks.len(), 2, "{message}");
    for command in &lacks {
        run_printed(command);
    }
    // Not everything that stands in a ClusterRole is the account's own: it has configmaps here, not everywhere.
    kubectl(&[
        "create",
        "clusterrolebinding",
        &role,
        "--clusterrole",
        "view",
        "--serviceaccount",
        &format!("{}:default", place.namespace),
    ]);
    run_printed(&go_on);
    place.ended_after("app", &state.id, OperationPhase::Succeeded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_not_there_is_told_with_what_creates_it_and_no_role_is_asked_for_in_it_before() {
    let mut place = Place::without_operator("nowhere").await;
    let missing = format!("{}-not-there", place.namespace);
    place.also_look_at(&missing);
    place.start_operator().await;
    // One who may do everything there too: nothing but the namespace is lacking.
    kubectl(&[
        "create",
        "clusterrolebinding",
        &missing,
        "--clusterrole",
        "cluster-admin",
        "--serviceaccount",
        &format!("{}:default", place.namespace),
    ]);
    let spec = json!({"destination": {"namespace": missing}});
    place.apply_with("app", &config_map("settings", &[], "1"), spec.clone()).await;
    let state = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    let message = state.message.unwrap();
    let said = format!(
        "nothing was written: namespace {missing} does not exist; to put that right: kubectl create namespace {missing} (or, for the destination, CreateNamespace=true in spec.syncPolicy.syncOptions); "
    );
    assert!(message.starts_with(&said), "{message}");
    // One who may do nothing there: the one command line creates it and grants what is lacking.
    kubectl(&["delete", "clusterrolebinding", &missing]);
    place.ask("app", json!({"sync": {}})).await;
    let state = place.ended_after("app", &state.id, OperationPhase::Failed).await.operation_state.unwrap();
    let message = state.message.unwrap();
    let said = format!(
        "namespace {missing} does not exist, and service account {}/default may not create, get, patch configmaps there; to put that right: kubectl create namespace {missing} && kubectl create role ",
        place.namespace
    );
    assert!(message.contains(&said), "{message}");
    let (lacks, go_on) = commands(&message);
    for command in &lacks {
        run_printed(command);
    }
    run_printed(&go_on);
    place.ended_after("app", &state.id, OperationPhase::Succeeded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_not_there_is_told_and_what_was_refused_goes_on_by_itself_when_its_rights_have_come() {
    let place = Place::new("comes").await;
    place.apply_with("app", &config_map("settings", &[], "1"), json!({"serviceAccountName": "deployer"})).await;
    let state = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    let message = state.message.unwrap();
    let create = format!("kubectl create serviceaccount deployer --namespace {}", place.namespace);
    assert!(
        message.contains(&format!(
            "the service account {}/deployer does not exist; to create it: {create};",
            place.namespace
        )),
        "{message}"
    );
    let status = place.applications().get("app").await.unwrap().status.unwrap();
    assert!(status.attempted.unwrap().lacks_rights);
    run_printed(&create);
    kubectl(&[
        "create",
        "rolebinding",
        "deployer",
        "--namespace",
        &place.namespace,
        "--clusterrole",
        "edit",
        "--serviceaccount",
        &format!("{}:deployer", place.namespace),
    ]);
    // Nobody asks for it.
    let status = place.ended_after("app", &state.id, OperationPhase::Succeeded).await;
    assert!(!status.attempted.unwrap().lacks_rights);
    assert_eq!(status.history.len(), 2, "what was looked at in between is no operation: {:?}", status.history);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_the_account_may_not_read_is_told_with_the_command_and_read_as_soon_as_it_may() {
    let place = Place::new("unread").await;
    kubectl(&["create", "serviceaccount", "narrow", "--namespace", &place.namespace]);
    let manifests = config_map("settings", &[], "1");
    place.put(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "source", "namespace": place.namespace}, "data": {"all": manifests}})).await;
    place
        .apply_spec("app", json!({"source": {"configMaps": [{"name": "source"}]}, "serviceAccountName": "narrow"}))
        .await;
    let state = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    let message = state.message.unwrap();
    let said = format!(
        "the ConfigMap source cannot be read: service account {0}/narrow may not get configmaps in namespace {0}; to grant it: ",
        place.namespace
    );
    let command = message.split_once(&said).expect(&message).1;
    run_printed(command.split_once("; it is read again").unwrap().0);
    // It is read by itself; then the rights to write are the next thing that is lacking.
    let state = place.ended_after("app", &state.id, OperationPhase::Failed).await.operation_state.unwrap();
    let message = state.message.unwrap();
    assert!(message.contains("may not create, patch configmaps"), "{message}");
    let (lacks, go_on) = commands(&message);
    for command in &lacks {
        run_printed(command);
    }
    run_printed(&go_on);
    place.ended_after("app", &state.id, OperationPhase::Succeeded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_with_a_forced_account_no_application_chooses_whose_rights_it_has() {
    let mut place = Place::without_operator("forced").await;
    kubectl(&["create", "serviceaccount", "robot", "--namespace", &place.namespace]);
    place.start_operator_told(&["--log", "swell=debug", "--force-account", "robot"]).await;
    // `default` may edit here, `robot` may not.
    place.apply_with("app", &config_map("settings", &[], "1"), json!({"serviceAccountName": "default"})).await;
    let state = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    let message = state.message.unwrap();
    assert!(
        message.contains(&format!("service account {}/robot may not create, get, patch configmaps", place.namespace)),
        "{message}"
    );
    assert!(place.operator_log().contains("--force-account robot: for each Application everything is written as"));
    let (lacks, go_on) = commands(&message);
    for command in &lacks {
        run_printed(command);
    }
    run_printed(&go_on);
    place.ended_after("app", &state.id, OperationPhase::Succeeded).await;
    assert!(place.writes().await.is_empty(), "nothing was written as default");
    let writers = writers(&place, "configmaps", "settings").await;
    assert_eq!(writers, [format!("system:serviceaccount:{}:robot", place.namespace)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_its_own_rights_the_operator_says_so_aloud_and_impersonates_nobody() {
    let mut place = Place::without_operator("ownrights").await;
    // As the account of its role, which may write nothing: what is lacking is told of the operator.
    place.start_operator_told(&["--log", "swell=debug", "--own-rights"]).await;
    place.apply("app", &config_map("settings", &[], "1")).await;
    let state = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap();
    let message = state.message.unwrap();
    let said =
        "the operator itself (user system:serviceaccount:swell-system:swell) may not create, get, patch configmaps";
    assert!(message.contains(said) && message.contains("--serviceaccount swell-system:swell"), "{message}");
    assert!(place.operator_log().contains("--own-rights: everything is written with the operator's own rights"));
    let (lacks, go_on) = commands(&message);
    for command in &lacks {
        run_printed(command);
    }
    run_printed(&go_on);
    place.ended_after("app", &state.id, OperationPhase::Succeeded).await;
    assert_eq!(writers(&place, "configmaps", "settings").await, ["system:serviceaccount:swell-system:swell"]);
}

#[test]
fn a_forced_account_and_own_rights_contradict_each_other_and_what_is_no_account_is_refused() {
    let said = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_swell"));
        let output = command.arg("operator").args(args).env("KUBECONFIG", "/nonexistent").output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let both = said(&["--own-rights", "--force-account", "robot"]);
    assert!(both.contains("--force-account robot and --own-rights contradict each other"), "{both}");
    let none = said(&["--force-account", "a/b/c"]);
    assert!(none.contains("\"a/b/c\" is not a service account"), "{none}");
}

/// Who has created or patched an object of this place, according to the API server.
async fn writers(place: &Place, resource: &str, name: &str) -> Vec<String> {
    let mut writers: Vec<_> = place
        .log(resource)
        .await
        .into_iter()
        .filter(|entry| crate::support::entry_name(entry) == name && entry.code < 300 && !entry.dry_run)
        .map(|entry| entry.acting_user().to_owned())
        .collect();
    writers.dedup();
    writers
}

//! The testbed's own tests, on one real control plane: what scripted pods do, what the audit log shows, and that nothing is
//! left behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests and their helpers say what is wrong by panicking")]
#![allow(clippy::needless_pass_by_value, reason = "`json!` is written where it is passed")]

mod faults;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, Pod};
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testbed::audit::Filter;
use testbed::{Connection, SharedTestbed, shared};

const DEADLINE: Duration = Duration::from_secs(30);

struct Fixture {
    testbed: &'static SharedTestbed,
    client: Client,
    namespace: String,
}

impl Fixture {
    async fn new(prefix: &str) -> Self {
        let testbed = shared().unwrap();
        let client = testbed.service_account_client().await.unwrap();
        let namespace = testbed.namespace(&client, prefix).await.unwrap();
        Self { testbed, client, namespace }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn create<K>(&self, object: Value) -> K
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + DeserializeOwned
            + serde::Serialize
            + Clone
            + std::fmt::Debug,
    {
        let object = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    /// The first pod that carries the label `app` of that value.
    async fn pod(&self, app: &str) -> Option<Pod> {
        let params = ListParams::default().labels(&format!("app={app}"));
        self.api::<Pod>().list(&params).await.unwrap().items.into_iter().next()
    }
}

/// Asks until there is an answer.
async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {} s", DEADLINE.as_secs());
        // The pause between two questions; what is waited for is the answer, up to the deadline.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn template(app: &str, annotations: Value, restart: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app}, "annotations": annotations},
        // The shorter, the sooner the namespace controller looks again at a namespace with pods.
        "spec": {"terminationGracePeriodSeconds": 1, "restartPolicy": restart, "containers": [{"name": "main", "image": "example.org/app:1"}]},
    })
}

fn deployment(app: &str, annotations: Value) -> Value {
    json!({
        "metadata": {"name": app},
        "spec": {"selector": {"matchLabels": {"app": app}}, "template": template(app, annotations, "Always")},
    })
}

fn job(app: &str, annotations: Value, backoff_limit: u32, restart: &str) -> Value {
    json!({
        "metadata": {"name": app},
        "spec": {"backoffLimit": backoff_limit, "template": template(app, annotations, restart)},
    })
}

fn condition(status: &Value, kind: &str) -> bool {
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
}

fn status(object: &impl serde::Serialize) -> Value {
    serde_json::to_value(object).unwrap()["status"].clone()
}

#[tokio::test]
async fn a_deployment_whose_pods_are_ready_after_two_seconds_is_available_only_then() {
    let fixture = Fixture::new("late").await;
    fixture.create::<Deployment>(deployment("late", json!({"pods.swell.dev/ready-after": "2s"}))).await;
    let unready =
        until("a running pod", async || fixture.pod("late").await.filter(|pod| status(pod)["phase"] == "Running"));
    let unready = status(&unready.await);
    assert!(!condition(&unready, "Ready"), "{unready}");
    let available = until("available", async || {
        let found = status(&fixture.api::<Deployment>().get("late").await.unwrap());
        condition(&found, "Available").then_some(found)
    });
    assert_eq!(available.await["availableReplicas"], 1);

    let (started, ready) = {
        let pod = status(&fixture.pod("late").await.unwrap());
        let conditions = pod["conditions"].as_array().unwrap().clone();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready").unwrap();
        let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        (time(&pod["startTime"]), time(&ready["lastTransitionTime"]))
    };
    assert!(ready.as_second() - started.as_second() >= 2, "started {started}, ready {ready}");
}

#[tokio::test]
async fn a_failing_job_has_exit_code_message_and_log() {
    let fixture = Fixture::new("fails").await;
    let annotations = json!({
        "pods.swell.dev/fail-after": "300ms",
        "pods.swell.dev/exit-code": "3",
        "pods.swell.dev/message": "relation \"users\" exists: \u{fc}\nlast words",
        "pods.swell.dev/log": "applying 0002\nerror: relation exists\n",
    });
    fixture.create::<Job>(job("migrate", annotations, 0, "Never")).await;
    // The log is there at the first moment at which the failure can be seen.
    let failed =
        until("a failed pod", async || fixture.pod("migrate").await.filter(|pod| status(pod)["phase"] == "Failed"));
    let failed = failed.await;
    let name = failed.metadata.name.clone().unwrap();
    let log = fixture.api::<Pod>().logs(&name, &LogParams::default()).await.unwrap();
    assert_eq!(log, "applying 0002\nerror: relation exists\n");
    let last = LogParams { tail_lines: Some(1), ..LogParams::default() };
    assert_eq!(fixture.api::<Pod>().logs(&name, &last).await.unwrap(), "error: relation exists\n");

    let terminated = &status(&failed)["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(terminated["exitCode"], 3);
    assert_eq!(terminated["message"], "relation \"users\" exists: \u{fc}\nlast words");
    let job = until("a failed job", async || {
        let found = status(&fixture.api::<Job>().get("migrate").await.unwrap());
        condition(&found, "Failed").then_some(found)
    });
    assert_eq!(job.await["failed"], 1);
}

#[tokio::test]
async fn a_job_without_annotations_completes_and_one_told_never_to_does_not() {
    let fixture = Fixture::new("completes").await;
    fixture.create::<Job>(job("hangs", json!({"pods.swell.dev/complete-after": "never"}), 0, "Never")).await;
    fixture.create::<Job>(job("plain", json!({}), 0, "OnFailure")).await;
    until("a complete job", async || {
        condition(&status(&fixture.api::<Job>().get("plain").await.unwrap()), "Complete").then_some(())
    })
    .await;
    assert_eq!(status(&fixture.pod("hangs").await.unwrap())["phase"], "Running");
}

#[tokio::test]
async fn a_job_that_may_restart_its_container_fails_once_the_restarts_are_used_up() {
    let fixture = Fixture::new("restarts").await;
    fixture.create::<Job>(job("flaky", json!({"pods.swell.dev/exit-code": "7"}), 1, "OnFailure")).await;
    let job = until("a failed job", async || {
        let found = status(&fixture.api::<Job>().get("flaky").await.unwrap());
        condition(&found, "Failed").then_some(found)
    });
    assert!(job.await["conditions"].to_string().contains("BackoffLimitExceeded"));
}

#[tokio::test]
async fn image_pull_errors_and_crash_loops_wait_with_a_reason() {
    let fixture = Fixture::new("waits").await;
    fixture.create::<Deployment>(deployment("pull", json!({"pods.swell.dev/image-pull-error": "true"}))).await;
    let annotations = json!({
        "pods.swell.dev/crash-loop": "true",
        "pods.swell.dev/exit-code": "42",
        "pods.swell.dev/message": "no such table",
        "pods.swell.dev/log": "panic\n",
    });
    fixture.create::<Deployment>(deployment("crash", annotations)).await;

    let waiting = |reason: &'static str, restarts: i64| {
        move |pod: &Pod| {
            let container = &status(pod)["containerStatuses"][0];
            container["state"]["waiting"]["reason"] == reason && container["restartCount"].as_i64() >= Some(restarts)
        }
    };
    let pull =
        until("ImagePullBackOff", async || fixture.pod("pull").await.filter(waiting("ImagePullBackOff", 0))).await;
    let pull = status(&pull);
    assert_eq!(pull["phase"], "Pending");
    let message = pull["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap();
    assert!(message.contains("example.org/app:1"), "{message}");

    let crash = until("two restarts", async || fixture.pod("crash").await.filter(waiting("CrashLoopBackOff", 2))).await;
    let last = &status(&crash)["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["message"]), (&json!(42), &json!("no such table")));
    let previous = LogParams { previous: true, ..LogParams::default() };
    let name = crash.metadata.name.clone().unwrap();
    assert_eq!(fixture.api::<Pod>().logs(&name, &previous).await.unwrap(), "panic\n");
}

#[tokio::test]
async fn a_pod_follows_its_annotations_while_it_runs() {
    let fixture = Fixture::new("follows").await;
    let mut pod = template("switch", json!({"pods.swell.dev/ready": "never"}), "Always");
    pod["metadata"]["name"] = "switch".into();
    fixture.create::<Pod>(pod).await;
    let ready = async |wanted: bool| {
        until("the pod's readiness", async || {
            let found = status(&fixture.pod("switch").await.unwrap());
            (found["phase"] == "Running" && condition(&found, "Ready") == wanted).then_some(())
        })
        .await;
    };
    let annotate = async |value: Value| {
        let patch = json!({"metadata": {"annotations": {"pods.swell.dev/ready": value}}});
        fixture.api::<Pod>().patch("switch", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    };
    ready(false).await;
    annotate(Value::Null).await;
    ready(true).await;
    annotate(json!("never")).await;
    ready(false).await;
}

#[tokio::test]
async fn a_stateful_set_gets_volumes_and_its_namespace_goes_away_with_everything_in_it() {
    let fixture = Fixture::new("volumes").await;
    let claim = |class: Value| {
        json!({
            "metadata": {"name": format!("data-{}", class.as_str().unwrap_or("default"))},
            "spec": {
                "storageClassName": class,
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        })
    };
    fixture
        .create::<StatefulSet>(json!({
            "metadata": {"name": "db"},
            "spec": {
                "serviceName": "db",
                "replicas": 2,
                "selector": {"matchLabels": {"app": "db"}},
                "template": template("db", json!({}), "Always"),
                "volumeClaimTemplates": [claim(Value::Null), claim(json!("immediate"))],
            },
        }))
        .await;
    until("two ready replicas", async || {
        let found = status(&fixture.api::<StatefulSet>().get("db").await.unwrap());
        (found["readyReplicas"] == 2).then_some(())
    })
    .await;

    let namespaces: Api<Namespace> = Api::all(fixture.client.clone());
    namespaces.delete(&fixture.namespace, &DeleteParams::default()).await.unwrap();
    until("the end of the namespace", async || {
        namespaces.get_opt(&fixture.namespace).await.unwrap().is_none().then_some(())
    })
    .await;
    let volumes: Api<PersistentVolume> = Api::all(fixture.client.clone());
    until("the end of the volumes", async || {
        let left = volumes.list(&ListParams::default()).await.unwrap();
        let ours = |volume: &PersistentVolume| {
            let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            claim.and_then(|claim| claim.namespace.as_ref()) == Some(&fixture.namespace)
        };
        (!left.items.iter().any(ours)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_audit_log_shows_who_created_what() {
    let fixture = Fixture::new("audit").await;
    let audit = fixture.testbed.audit();
    let mark = audit.mark().unwrap();
    fixture.create::<Job>(job("seen", json!({}), 0, "Never")).await;
    let dry = PatchParams::apply("testbed-test").dry_run();
    let same = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "seen", "labels": {"a": "b"}}});
    fixture.api::<Job>().patch("seen", &dry, &Patch::Apply(&same)).await.unwrap();
    audit.flushed(&fixture.client).await.unwrap();

    let of_ours =
        Filter { user: Some("system:serviceaccount:kube-system:testbed-admin".to_owned()), ..Filter::default() };
    let entries = audit.read_since(mark, &Filter { namespace: Some(fixture.namespace.clone()), ..of_ours }).unwrap();
    let [create, apply] = entries.as_slice() else {
        panic!("two requests were made, these are recorded: {entries:#?}")
    };
    assert_eq!((create.verb.as_str(), create.resource.as_str(), create.name.as_str()), ("create", "jobs", "seen"));
    assert_eq!((create.group.as_str(), create.code, create.is_write()), ("batch", 201, true));
    assert!(create.received_us < create.stage_us && create.stage_us <= apply.stage_us);
    assert_eq!(create.request_object.as_ref().unwrap()["spec"]["backoffLimit"], 0);
    assert!(create.response_object.as_ref().unwrap()["metadata"]["uid"].is_string());
    assert!(apply.dry_run && !apply.is_write());
    assert_eq!(apply.field_manager.as_deref(), Some("testbed-test"));
}

#[tokio::test]
async fn a_service_account_may_do_what_rbac_says_and_nothing_more() {
    let fixture = Fixture::new("rights").await;
    let text =
        testbed::for_service_account(&fixture.testbed.kubeconfig, &fixture.namespace, "default", 600).await.unwrap();
    let kubeconfig = Kubeconfig::from_yaml(&text).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(Client::try_from(config).unwrap(), &fixture.namespace);
    let error = pods.list(&ListParams::default()).await.unwrap_err().to_string();
    let user = format!("system:serviceaccount:{}:default", fixture.namespace);
    assert!(error.contains(&user) && error.contains("cannot list"), "{error}");
}

/// The parent here is `sleep`: it holds the other end of the testbed's standard input, and is killed without a word.
#[test]
fn killing_the_parent_leaves_no_process_and_no_file_behind() {
    let mut parent = Command::new("sleep").arg("600").stdout(Stdio::piped()).spawn().unwrap();
    let stdin = Stdio::from(parent.stdout.take().unwrap());
    let (mut testbed, connection) = serve(stdin, &["--stop-on-stdin-eof"]);
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(testbed.wait().unwrap().success());
    assert_eq!(processes_of(&connection), Vec::<String>::new());
    assert!(!connection.dir.exists());
}

#[test]
fn killing_the_testbed_itself_leaves_no_process_behind() {
    let (mut testbed, connection) = serve(Stdio::null(), &[]);
    assert_eq!(processes_of(&connection).len(), 5, "etcd and four components");
    testbed.kill().unwrap();
    testbed.wait().unwrap();
    let deadline = Instant::now() + DEADLINE;
    while !processes_of(&connection).is_empty() {
        assert!(Instant::now() < deadline, "still there: {:?}", processes_of(&connection));
        // Processes of nobody cannot be waited for: the pause between two looks, up to the deadline.
        std::thread::sleep(Duration::from_millis(20));
    }
    // Nobody was left to do it; the next start would have.
    std::fs::remove_dir_all(&connection.dir).unwrap();
}

fn serve(stdin: Stdio, args: &[&str]) -> (Child, Connection) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    let mut testbed = command.args(["serve", "--json"]).args(args).stdin(stdin).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(testbed.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let connection = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    (testbed, connection)
}

/// The command lines of the processes that were told of the cluster's folder.
fn processes_of(connection: &Connection) -> Vec<String> {
    let dir = connection.dir.to_str().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(dir))
        .collect()
}

//! The chart: every set of values against the API server, and a real `helm install`, `helm upgrade` and `helm uninstall` on a cluster of its
//! own. There KWOK plays the operator's pods, and beside each pod the program runs as a kubelet would start it: with the pod's arguments,
//! environment and token. It is the release binary that `SWELL_BINARY` names, else the one that these tests are built with.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use testbed::{Options, Testbed};

use crate::support::accounts::{SYSTEM, chart};
use crate::support::{admin, eventually, kubectl, output, testbed};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_object_of_the_chart_is_one_that_the_api_server_takes_without_a_warning() {
    admin().await;
    for namespace in ["shop", "billing", "deployers"] {
        output(testbed().kubectl().args(["create", "namespace", namespace]));
    }
    let mut values: Vec<_> =
        std::fs::read_dir(chart().join("ci")).unwrap().map(|entry| entry.unwrap().path()).collect();
    values.sort();
    assert!(values.len() > 3);
    let sets = values.iter().map(|values| vec!["--values", values.to_str().unwrap()]).chain([vec![]]);
    for set in sets {
        let rendered = output(
            Command::new(testbed().bin.join("helm"))
                .args(["template", "dry", chart().to_str().unwrap(), "--namespace", SYSTEM])
                // A kind of the Prometheus operator, which is not here.
                .args(["--set", "serviceMonitor.enabled=false"])
                .args(&set),
        );
        let file = testbed().dir.join("rendered.yaml");
        std::fs::write(&file, &rendered).unwrap();
        let apply = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f"];
        let done = testbed().kubectl().args(apply).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        // Pods that break the restricted Pod Security Standard of the namespace would be a warning.
        assert!(done.status.success() && said.trim().is_empty(), "{set:?}: {said}");
        let objects = rendered.split("\n---").filter(|document| document.contains("\nkind: ")).count();
        assert_eq!(String::from_utf8_lossy(&done.stdout).lines().count(), objects, "{set:?}");
        takes_its_arguments(&rendered);
    }
    // What those without Helm apply is in order too.
    let file = root().join("deploy/install.yaml");
    kubectl(&[
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        file.to_str().unwrap(),
    ]);
}

/// Fails unless the program can read the command line of the rendered pods: it then misses a cluster, and nothing before that.
fn takes_its_arguments(rendered: &str) {
    let objects: Vec<Value> = serde_saphyr::from_multiple(rendered).unwrap();
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_swell"));
    command.args(arguments.iter().map(|argument| match argument.as_str().unwrap() {
        // Its port may be taken here.
        listen if listen.starts_with("--listen=") => "--listen=127.0.0.1:0",
        argument => argument,
    }));
    command.env_clear().env("POD_NAME", "swell-0").env("POD_UID", "0").env("KUBECONFIG", "/nonexistent");
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.code() == Some(1) && said.contains("/nonexistent"), "{arguments:?}: {said}");
}

/// A cluster of its own.
struct Cluster {
    testbed: Testbed,
}

impl Cluster {
    fn kubectl(&self, args: &[&str]) -> String {
        output(self.testbed.connection().kubectl().args(args))
    }

    fn helm(&self, args: &[&str]) -> String {
        let connection = self.testbed.connection();
        let mut helm = Command::new(connection.bin.join("helm"));
        // Its caches stay in the cluster's folder.
        helm.env("HOME", &connection.dir).env("KUBECONFIG", &connection.kubeconfig).env_remove("XDG_CACHE_HOME");
        output(helm.args(args).args(["--namespace", SYSTEM]))
    }

    fn get(&self, args: &[&str]) -> Value {
        let found = self.kubectl(&[&["get", "-o", "json", "--ignore-not-found"], args].concat());
        serde_json::from_str(&found).unwrap_or(Value::Null)
    }

    fn application(&self) -> Value {
        self.get(&["swapp", "agent", "-n", "agent"])
    }

    /// Waits until the operation after `before` has ended with this phase; gives its id and message.
    async fn ended(&self, before: &str, phase: &str) -> (String, String) {
        eventually(&format!("{phase}; the Application is {}", self.application()["status"]), || async {
            let application = self.application();
            let text =
                |field: &str| application["status"]["operationState"][field].as_str().unwrap_or_default().to_owned();
            (text("phase") == phase && *text("id") > *before).then(|| (text("id"), text("message")))
        })
        .await
    }

    /// Every object of every kind, Events excepted.
    fn objects(&self) -> BTreeSet<String> {
        let kinds = self.kubectl(&["api-resources", "--verbs=list", "--output=name"]);
        let is_lasting = |kind: &&str| !kind.starts_with("events") && *kind != "componentstatuses";
        let kinds = kinds.lines().filter(is_lasting).collect::<Vec<_>>().join(",");
        let line = r#"{range .items[*]}{.apiVersion} {.kind} {.metadata.namespace}/{.metadata.name}{"\n"}{end}"#;
        let found = self.kubectl(&["get", &kinds, "-A", "--ignore-not-found", "-o", &format!("jsonpath={line}")]);
        found.lines().map(str::to_owned).collect()
    }

    /// The operator's pod, once the rollout is over; older ones may still be ending.
    async fn pod(&self) -> Value {
        eventually("the rollout is over", || async {
            let deployment = self.get(&["deployment", "swell", "-n", SYSTEM]);
            let status = &deployment["status"];
            let counts = ["replicas", "updatedReplicas", "availableReplicas"];
            let is_current = status["observedGeneration"] == deployment["metadata"]["generation"];
            let mut pods = self.get(&["pods", "-n", SYSTEM, "-l", "app.kubernetes.io/instance=swell"]);
            let pods = pods["items"].as_array_mut()?;
            pods.retain(|pod| pod["metadata"].get("deletionTimestamp").is_none());
            (is_current && counts.iter().all(|count| status[*count] == json!(1)) && pods.len() == 1)
                .then(|| pods.remove(0))
        })
        .await
    }

    /// Sets the finalizers of a pod of the operator.
    fn hold(&self, pod: &str, finalizers: &Value) {
        let patch = json!({"metadata": {"finalizers": finalizers}}).to_string();
        self.kubectl(&["patch", "pod", pod, "-n", SYSTEM, "--type=merge", "-p", &patch]);
    }

    /// Does a kubelet's work for that pod: starts the program, and waits until the probe of readiness is content. The pod is there as long
    /// as the program runs.
    async fn run(&self, pod: &Value) -> Operator {
        let connection = self.testbed.connection();
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        let (name, uid) = (text("/metadata/name"), text("/metadata/uid"));
        let container = &pod["spec"]["containers"][0];
        let mut environment = BTreeMap::new();
        for variable in container["env"].as_array().unwrap() {
            let field = |path: &str| text(&format!("/{}", path.replace('.', "/")));
            let value = match variable.pointer("/valueFrom/fieldRef/fieldPath") {
                Some(path) => field(path.as_str().unwrap()),
                None => variable["value"].as_str().unwrap().to_owned(),
            };
            environment.insert(variable["name"].as_str().unwrap().to_owned(), value);
        }
        let expanded = |argument: &Value| {
            let mut argument = argument.as_str().unwrap().to_owned();
            for (name, value) in &environment {
                argument = argument.replace(&format!("$({name})"), value);
            }
            argument
        };
        self.hold(&name, &json!(["example.com/kubelet"]));
        // The token that a kubelet would mount: of the pod's account, and bound to the pod.
        let account = text("/spec/serviceAccountName");
        let bound = ["--bound-object-kind=Pod", "--bound-object-name", &name, "--bound-object-uid", &uid];
        let token = self.kubectl(&[&["create", "token", &account, "-n", SYSTEM, "--duration=2h"], &bound[..]].concat());
        let view = self.kubectl(&["config", "view", "--raw", "--minify", "--flatten", "-o", "json"]);
        let mut config: Value = serde_json::from_str(&view).unwrap();
        config["users"][0]["user"] = json!({"token": token.trim()});
        let kubeconfig = connection.dir.join(format!("{name}.kubeconfig"));
        std::fs::write(&kubeconfig, config.to_string()).unwrap();

        let binary = std::env::var_os("SWELL_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_swell").into());
        let log = connection.dir.join(format!("{name}.log"));
        let file = File::create(&log).unwrap();
        let mut command = Command::new(binary);
        command.env_clear().envs(&environment).env("KUBECONFIG", &kubeconfig);
        command.args(container["args"].as_array().unwrap().iter().map(expanded));
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let operator = Operator { process: RefCell::new(command.spawn().unwrap()), pod: name.clone(), log };
        let port = container["ports"][0]["containerPort"].as_u64().unwrap();
        for probe in ["livenessProbe", "readinessProbe"] {
            let path = container[probe]["httpGet"]["path"].as_str().unwrap();
            assert_eq!(container[probe]["httpGet"]["port"], container["ports"][0]["name"]);
            eventually(&format!("{path} of the operator; its log is {}", operator.log.display()), || async {
                assert!(operator.runs(), "it has ended: {}", operator.said());
                answers(port, path).then_some(())
            })
            .await;
        }
        operator
    }

    /// The end of its pod: the process is asked to stop, and does.
    fn stop(&self, operator: &Operator) {
        let mut process = operator.process.borrow_mut();
        output(Command::new("kill").arg(process.id().to_string()));
        let status = process.wait().unwrap();
        assert!(status.success(), "{status}: {}", operator.said());
        self.hold(&operator.pod, &Value::Null);
    }

    /// The processes that the Leases are held by.
    fn holders(&self) -> Vec<String> {
        let leases = self.get(&["leases", "-n", SYSTEM]);
        let holder = |lease: &Value| lease["spec"]["holderIdentity"].as_str().unwrap().to_owned();
        leases["items"].as_array().unwrap().iter().map(holder).collect()
    }
}

/// Whether the operator on this port answers a GET of `path` with 200.
fn answers(port: u64, path: &str) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}"))?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// The program that runs beside a pod.
struct Operator {
    process: RefCell<Child>,
    pod: String,
    log: PathBuf,
}

impl Operator {
    fn runs(&self) -> bool {
        self.process.borrow_mut().try_wait().unwrap().is_none()
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let process = self.process.get_mut();
        let _ = process.kill();
        let _ = process.wait();
    }
}

/// The chart in a folder of its own, with this text of the custom resource changed.
fn changed_chart(folder: &Path, from: &str, to: &str) {
    output(Command::new("cp").arg("-r").arg(chart()).arg(folder));
    let file = folder.join("files/application.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from));
    std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_installs_upgrades_and_uninstalls_and_leaves_nothing_but_the_custom_resource_and_peoples_applications() {
    let cluster = Cluster { testbed: Testbed::start(Options { nodes: 1, ..Options::default() }).await.unwrap() };
    cluster.kubectl(&["create", "namespace", SYSTEM]);
    cluster.kubectl(&["label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=restricted"]);
    eventually("the namespace has its account", || async {
        (!cluster.get(&["serviceaccount", "default", "-n", SYSTEM]).is_null()).then_some(())
    })
    .await;
    let before = cluster.objects();
    // Pods have addresses of their own; these processes share the machine's, so those of one rollout differ by their ports.
    let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [free, other] = free.map(|listener| listener.local_addr().unwrap().port());
    let [port, other] = [free, other].map(|port| format!("http.port={port}"));
    let directory = chart();
    let chart = directory.to_str().unwrap();
    let example = |file: &str| root().join("examples/agent").join(file).to_str().unwrap().to_owned();

    let said = cluster.helm(&["install", "swell", chart, "--set", &port, "--wait", "--timeout=60s"]);
    assert!(said.contains("is installed as swell-system/swell"), "{said}");
    let role = cluster.get(&["clusterrole", "swell"]).to_string();
    assert!(role.contains("impersonate:serviceaccount"), "the server is a new one: {role}");
    let operator = cluster.run(&cluster.pod().await).await;
    cluster.kubectl(&["apply", "-f", &example("namespace.yaml")]);
    cluster.kubectl(&["apply", "-f", &example("v1.yaml")]);
    let (first, _) = cluster.ended("", "Succeeded").await;
    cluster.kubectl(&["wait", "--for=condition=Ready", "swapp/agent", "-n", "agent", "--timeout=60s"]);
    assert!(answers(free.into(), "/metrics"));

    // Version 2 fails under way; the upgrade brings another custom resource and another pod.
    cluster.kubectl(&["apply", "-f", &example("v2.yaml")]);
    let (second, message) = cluster.ended(&first, "Failed").await;
    assert!(message.contains("code 3"), "{message}");
    let newer = cluster.testbed.connection().dir.join("newer-chart");
    changed_chart(&newer, "description: When the Application was created", "description: How old it is");
    cluster.helm(&[
        "upgrade",
        "swell",
        newer.to_str().unwrap(),
        "--set",
        &other,
        "--set",
        "log.format=text",
        "--wait",
        "--timeout=60s",
    ]);
    let definition = cluster.get(&["crd", "applications.swell.dev"]).to_string();
    assert!(definition.contains("How old it is"), "`helm upgrade` upgrades the custom resource");
    // The new pod stands by, and is ready, while the old one ends.
    let newer = cluster.run(&cluster.pod().await).await;
    let mut holders = cluster.holders();
    holders.sort();
    let mut both = [operator.pod.clone(), newer.pod.clone()];
    both.sort();
    assert_eq!(holders, both);
    cluster.stop(&operator);
    assert_eq!(cluster.holders(), [newer.pod.as_str()], "the one that stops gives its Lease back");
    let operator = newer;
    cluster.kubectl(&["apply", "-f", &example("v1.yaml")]);
    let (third, _) = cluster.ended(&second, "Succeeded").await;

    let kept = cluster.application();
    let api = |cluster: &Cluster| cluster.get(&["deployment", "agent", "-n", "agent"])["metadata"]["uid"].clone();
    let running = api(&cluster);
    cluster.helm(&["uninstall", "swell", "--wait", "--timeout=60s"]);
    cluster.stop(&operator);
    // The example's own: its namespace, what is in it, the volumes of its claims and the addresses of its Services.
    let services = cluster.get(&["services", "-n", "agent"]);
    let addresses: Vec<_> = services["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|service| service["spec"]["clusterIP"].as_str())
        .collect();
    let is_the_examples = |object: &str| {
        let place = object.rsplit(' ').next().unwrap();
        place.starts_with("agent/")
            || place == "/agent"
            || object.starts_with("v1 PersistentVolume ")
            || object.contains(" IPAddress ") && addresses.contains(&&place[1..])
    };
    let allowed = BTreeSet::from([
        "apiextensions.k8s.io/v1 CustomResourceDefinition /applications.swell.dev",
        // Made by the API server for the custom resource.
        "apiregistration.k8s.io/v1 APIService /v1alpha1.swell.dev",
    ]);
    let left = || -> Vec<String> {
        let now = cluster.objects();
        let new =
            now.difference(&before).filter(|object| !is_the_examples(object) && !allowed.contains(object.as_str()));
        new.cloned().collect()
    };
    let gone = tokio::time::timeout(Duration::from_secs(50), async {
        while !left().is_empty() {
            // Each look is a list of every kind, so there is a pause between two.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    assert!(gone.await.is_ok(), "left behind: {:#?}", left());
    assert!(before.is_subset(&cluster.objects()), "nothing else has gone");
    assert_eq!(cluster.application(), kept, "the Application is as it was");
    assert_eq!(api(&cluster), running, "and what it deployed runs");

    // Installed again, it finds the custom resource and the Application, and goes on from there.
    cluster.helm(&["install", "swell", chart, "--set", &port, "--wait", "--timeout=60s"]);
    let operator = cluster.run(&cluster.pod().await).await;
    let (last, _) = cluster.ended("", "Succeeded").await;
    assert_eq!(last, third, "no operation was started again");
    cluster.kubectl(&["delete", "swapp", "agent", "-n", "agent", "--timeout=60s"]);
    assert!(api(&cluster).is_null());
    cluster.stop(&operator);
}

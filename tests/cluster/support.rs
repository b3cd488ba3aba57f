//! What every test on the control plane needs: a namespace whose account may deploy, an operator of its own, and waiting with a deadline.

pub(crate) mod accounts;
pub(crate) mod cli;
pub(crate) mod crew;
pub(crate) mod proxied;
pub(crate) mod told;
pub(crate) mod tools;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use swell::api::{Application, ApplicationStatus, OperationPhase};
use swell::engine::object::Owner;
use testbed::SharedTestbed;
use testbed::audit::{Entry, Filter};
use tokio::sync::OnceCell;

/// How long a condition may take before its test fails.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

static PREPARED: OnceCell<PathBuf> = OnceCell::const_new();

/// The control plane of this run.
pub(crate) fn testbed() -> &'static SharedTestbed {
    testbed::shared().expect("the control plane starts; `make controlplane` builds what it needs")
}

/// A client with all rights, with the custom resource installed.
pub(crate) async fn admin() -> Client {
    prepared().await;
    testbed().service_account_client().await.unwrap()
}

/// A fresh namespace.
pub(crate) async fn namespace(client: &Client, prefix: &str) -> String {
    testbed().namespace(client, prefix).await.unwrap()
}

/// Installs the custom resource and the operator's rights once; gives the kubeconfig of the operator's account.
async fn prepared() -> &'static Path {
    PREPARED
        .get_or_init(|| async {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let crd = root.join("crds/application.yaml");
            let rights = root.join("deploy/operator.yaml");
            kubectl(&["apply", "--server-side", "-f", crd.to_str().unwrap(), "-f", rights.to_str().unwrap()]);
            kubectl(&["wait", "--for=condition=Established", "crd/applications.swell.dev", "--timeout=30s"]);
            let bed = testbed();
            let text = testbed::for_service_account(&bed.kubeconfig, "swell-system", "swell", 7200).await.unwrap();
            let path = bed.dir.join("operator.kubeconfig");
            std::fs::write(&path, text).unwrap();
            path
        })
        .await
}

/// Runs kubectl as the cluster's admin; gives its output.
pub(crate) fn kubectl(args: &[&str]) -> String {
    output(testbed().kubectl().args(args))
}

/// Runs kubectl in a namespace as the cluster's admin, with this on its standard input.
pub(crate) fn kubectl_in(namespace: &str, args: &[&str], input: &str) {
    let mut command = testbed().kubectl();
    command.args(["-n", namespace]).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a command that must succeed; gives its output.
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?} failed: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs a command line that a message has printed, word by word as a shell reads it, with the cluster's own kubectl as its admin.
pub(crate) fn run_printed(command: &str) {
    let kubectl = testbed().kubectl();
    let folder = Path::new(kubectl.get_program()).parent().unwrap().to_owned();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).env("PATH", path);
    for (name, value) in kubectl.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// One test's place: a namespace, the operator that looks at it, and a client with all rights.
pub(crate) struct Place {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    also: Vec<String>,
    arguments: Vec<String>,
    operator: Option<Child>,
}

impl Place {
    /// A fresh namespace whose account `default` may edit, and an operator.
    pub(crate) async fn new(prefix: &str) -> Self {
        let mut place = Self::without_operator(prefix).await;
        place.start_operator().await;
        place
    }

    /// The same without an operator.
    pub(crate) async fn without_operator(prefix: &str) -> Self {
        let client = admin().await;
        let namespace = namespace(&client, prefix).await;
        let place = Self { client, namespace, also: Vec::new(), arguments: Vec::new(), operator: None };
        place.grant("edit", &place.namespace).await;
        place
    }

    /// Lets the operator that is started next look at another namespace too.
    pub(crate) fn also_look_at(&mut self, namespace: &str) {
        self.also.push(namespace.to_owned());
    }

    /// Grants a cluster role in a namespace to the account of this place.
    pub(crate) async fn grant(&self, role: &str, namespace: &str) {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": format!("{}-{role}", self.namespace), "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": self.namespace}]
        });
        self.put(&binding).await;
    }

    /// Starts the operator as a process of its own, as the account that `deploy/operator.yaml` gives it.
    pub(crate) async fn start_operator(&mut self) {
        let kubeconfig = prepared().await;
        self.start_operator_with(kubeconfig);
    }

    /// Starts the operator as another account, by its kubeconfig.
    pub(crate) fn start_operator_with(&mut self, kubeconfig: &Path) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(testbed().dir.join(format!("{}.operator.log", self.namespace)))
            .unwrap();
        let mut command = self.operator(kubeconfig);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.operator = Some(command.spawn().unwrap());
    }

    /// Starts the operator with these further arguments.
    pub(crate) async fn start_operator_told(&mut self, arguments: &[&str]) {
        self.with_arguments(arguments);
        self.start_operator().await;
    }

    /// How an operator of this place is started.
    fn operator(&self, kubeconfig: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_swell"));
        command.args(["operator", "--namespace", &self.namespace]);
        if !self.arguments.iter().any(|argument| argument == "--log") {
            command.args(["--log", "swell=debug"]);
        }
        for namespace in &self.also {
            command.args(["--namespace", namespace]);
        }
        command.args(&self.arguments);
        command.env("KUBECONFIG", kubeconfig).env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    /// Kills the operator at once, without giving it a chance to end anything.
    pub(crate) fn kill_operator(&mut self) {
        if let Some(mut operator) = self.operator.take() {
            operator.kill().unwrap();
            operator.wait().unwrap();
        }
    }

    /// Asks the operator to stop, and waits until it has.
    pub(crate) fn stop_operator(&mut self) {
        if let Some(mut operator) = self.operator.take() {
            output(Command::new("kill").arg(operator.id().to_string()));
            operator.wait().unwrap();
        }
    }

    /// What the operator has logged.
    pub(crate) fn operator_log(&self) -> String {
        std::fs::read_to_string(testbed().dir.join(format!("{}.operator.log", self.namespace))).unwrap_or_default()
    }

    /// Applications of this place.
    pub(crate) fn applications(&self) -> Api<Application> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies an Application with these manifests inline.
    pub(crate) async fn apply(&self, name: &str, manifests: &str) {
        self.apply_with(name, manifests, json!({})).await;
    }

    /// Applies an Application with these manifests inline and these further fields of the spec.
    pub(crate) async fn apply_with(&self, name: &str, manifests: &str, spec: Value) {
        let mut whole = json!({"source": {"inline": manifests}});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        self.apply_spec(name, whole).await;
    }

    /// Applies an Application with this spec.
    pub(crate) async fn apply_spec(&self, name: &str, spec: Value) {
        let application = json!({
            "apiVersion": "swell.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec
        });
        self.put(&application).await;
    }

    /// Asks for a sync through the `operation` field.
    pub(crate) async fn ask(&self, name: &str, operation: Value) {
        let patch = json!({"operation": operation});
        self.applications().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Applies any object as the cluster's admin.
    pub(crate) async fn put(&self, object: &Value) {
        let dynamic: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        let types = dynamic.types.clone().unwrap();
        let api = self.api_of(&types.api_version, &types.kind, dynamic.metadata.namespace.as_deref());
        let name = dynamic.metadata.name.clone().unwrap();
        let params = PatchParams::apply("test").force().validation_strict();
        api.patch(&name, &params, &Patch::Apply(object)).await.unwrap();
    }

    /// Objects of a kind in this place's namespace.
    pub(crate) fn api(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        self.api_of(api_version, kind, Some(&self.namespace))
    }

    fn api_of(&self, api_version: &str, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        // The plural is a guess, good enough for the kinds that the tests use.
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// An object of this place, if it is there.
    pub(crate) async fn get(&self, api_version: &str, kind: &str, name: &str) -> Option<Value> {
        let object = self.api(api_version, kind).get_opt(name).await.unwrap()?;
        Some(serde_json::to_value(object).unwrap())
    }

    /// uid of an object, if it is there.
    pub(crate) async fn uid(&self, api_version: &str, kind: &str, name: &str) -> Option<String> {
        let object = self.get(api_version, kind, name).await?;
        object.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned)
    }

    /// Waits until an object is there and `done` says so of it.
    pub(crate) async fn object(
        &self,
        api_version: &str,
        kind: &str,
        name: &str,
        what: &str,
        done: impl Fn(&Value) -> bool,
    ) -> Value {
        eventually(&format!("{kind} {name}: {what}"), || async {
            self.get(api_version, kind, name).await.filter(|object| done(object))
        })
        .await
    }

    /// Waits until an object is gone.
    pub(crate) async fn gone(&self, api_version: &str, kind: &str, name: &str) {
        eventually(&format!("{kind} {name} is gone"), || async {
            self.get(api_version, kind, name).await.is_none().then_some(())
        })
        .await;
    }

    /// Waits until the status of an Application is as `done` wants it.
    pub(crate) async fn status(
        &self,
        name: &str,
        what: &str,
        done: impl Fn(&ApplicationStatus) -> bool,
    ) -> ApplicationStatus {
        let found = poll(PATIENCE, || async {
            let application = self.applications().get_opt(name).await.unwrap()?;
            application.status.filter(|status| done(status))
        })
        .await;
        match found {
            Some(status) => status,
            None => {
                let last = self.applications().get_opt(name).await.unwrap().and_then(|application| application.status);
                panic!(
                    "Application {name} never became {what}; its status: {last:#?}\nlog of the operator:\n{}",
                    self.operator_log()
                )
            }
        }
    }

    /// Waits until the newest operation has ended with this phase.
    pub(crate) async fn ended(&self, name: &str, phase: OperationPhase) -> ApplicationStatus {
        let status = self
            .status(name, &format!("{phase}"), |status| {
                status.operation_state.as_ref().is_some_and(|state| state.phase.is_ended())
            })
            .await;
        let state = status.operation_state.as_ref().unwrap();
        assert_eq!(state.phase, phase, "{:?}\nlog of the operator:\n{}", state.message, self.operator_log());
        status
    }

    /// Waits until an operation with this id or a later one has ended with this phase.
    pub(crate) async fn ended_after(&self, name: &str, before: &str, phase: OperationPhase) -> ApplicationStatus {
        let status = self
            .status(name, &format!("{phase} in an operation after {before}"), |status| {
                status.operation_state.as_ref().is_some_and(|state| *state.id > *before && state.phase.is_ended())
            })
            .await;
        let state = status.operation_state.as_ref().unwrap();
        assert_eq!(state.phase, phase, "{:?}\nlog of the operator:\n{}", state.message, self.operator_log());
        status
    }

    /// Every write of the account of this place (dry runs excepted), oldest first.
    pub(crate) async fn writes(&self) -> Vec<Entry> {
        let audit = testbed().audit();
        audit.flushed(&self.client).await.unwrap();
        let account = format!("system:serviceaccount:{}:default", self.namespace);
        let mut entries = audit.read(&Filter { user: Some(account.clone()), ..Filter::default() }).unwrap();
        entries.retain(|entry| {
            entry.is_write()
                && entry.stage == "ResponseComplete"
                && entry.acting_user() == account
                // A delete says in its body that it is a dry run.
                && entry.request_object.as_ref().is_none_or(|body| body.get("dryRun").is_none())
                && entry.group != "authorization.k8s.io"
        });
        entries
    }

    /// Writes of the account to one object.
    pub(crate) async fn writes_to(&self, resource: &str, name: &str) -> Vec<Entry> {
        let writes = self.writes().await;
        writes.into_iter().filter(|entry| entry.resource == resource && entry_name(entry) == name).collect()
    }

    /// How often an object was created by the account, as the API server counted.
    pub(crate) async fn creates(&self, resource: &str, name: &str) -> usize {
        let entries = self.writes_to(resource, name).await;
        entries.iter().filter(|entry| entry.code == 201).count()
    }

    /// The note of the first Event of that reason.
    pub(crate) async fn event(&self, reason: &str) -> String {
        eventually("the Event is there", || async {
            let events = self.api("events.k8s.io/v1", "Event").list(&kube::api::ListParams::default()).await.unwrap();
            let note = |event: &kube::api::DynamicObject| event.data["note"].as_str().unwrap_or_default().to_owned();
            events.items.iter().find(|event| event.data["reason"] == serde_json::json!(reason)).map(note)
        })
        .await
    }

    /// Every write to objects of a resource in this place, by whomever, oldest first.
    pub(crate) async fn log(&self, resource: &str) -> Vec<Entry> {
        let audit = testbed().audit();
        audit.flushed(&self.client).await.unwrap();
        let mut entries = audit.read(&Filter::namespace(&self.namespace).resource(resource)).unwrap();
        entries.retain(|entry| entry.is_write() && entry.stage == "ResponseComplete");
        entries
    }

    /// The Application as an owner of objects.
    pub(crate) fn owner(&self, name: &str) -> Owner {
        Owner::new(&self.namespace, name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut operator) = self.operator.take() {
            let _ = operator.kill();
            let _ = operator.wait();
        }
    }
}

/// Name of the object that a request is about; that of a create is in its body.
pub(crate) fn entry_name(entry: &Entry) -> String {
    if !entry.name.is_empty() {
        return entry.name.clone();
    }
    let body = entry.request_object.as_ref().or(entry.response_object.as_ref());
    body.and_then(|body| body.pointer("/metadata/name")).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// When the Jobs of that name were said to be over by the one who says so, in microseconds since 1970, oldest first.
pub(crate) async fn job_ends(place: &Place, name: &str) -> Vec<i64> {
    let mut ends = BTreeMap::new();
    for entry in place.log("jobs").await.iter().filter(|entry| entry.name == name && tells_an_end(entry)) {
        let uid = entry.response_object.as_ref().and_then(|job| job.pointer("/metadata/uid")).map(Value::to_string);
        ends.entry(uid).or_insert(entry.received_us);
    }
    let mut ends: Vec<_> = ends.into_values().collect();
    ends.sort_unstable();
    ends
}

/// Whether a write of a Job's status says that it is over.
pub(crate) fn tells_an_end(entry: &Entry) -> bool {
    let conditions = entry.response_object.as_ref().and_then(|job| job.pointer("/status/conditions")?.as_array());
    entry.resource == "jobs"
        && entry.subresource == "status"
        && conditions.into_iter().flatten().any(|condition| {
            matches!(condition["type"].as_str(), Some("Complete" | "Failed")) && condition["status"] == "True"
        })
}

/// Waits until `probe` gives something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, probe: impl Fn() -> F) -> T {
    match poll(PATIENCE, probe).await {
        Some(found) => found,
        None => panic!("after {}s still not: {what}", PATIENCE.as_secs()),
    }
}

/// Asks again and again until there is an answer or the time is over. Each question is a request of its own, so that what is
/// waited for may be any state of any objects.
pub(crate) async fn poll<T, F: Future<Output = Option<T>>>(patience: Duration, probe: impl Fn() -> F) -> Option<T> {
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let end = tokio::time::Instant::now() + patience;
    while tokio::time::Instant::now() < end {
        tick.tick().await;
        if let Some(found) = probe().await {
            return Some(found);
        }
    }
    None
}

/// A ConfigMap.
pub(crate) fn config_map(name: &str, annotations: &[(&str, &str)], value: &str) -> String {
    document(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "annotations": map(annotations)}, "data": {"value": value}
    }))
}

/// A Deployment of one pod, whose pod template has these annotations (they script it).
pub(crate) fn deployment(name: &str, annotations: &[(&str, &str)], pod: &[(&str, &str)]) -> String {
    document(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "annotations": map(annotations)},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": map(pod)},
                "spec": {"containers": [{"name": "app", "image": "app:1"}]}
            }
        }
    }))
}

/// A Job that is tried once, whose pod template has these annotations.
pub(crate) fn job(name: &str, annotations: &[(&str, &str)], pod: &[(&str, &str)]) -> String {
    document(&job_object(name, annotations, pod))
}

/// The same as an object.
pub(crate) fn job_object(name: &str, annotations: &[(&str, &str)], pod: &[(&str, &str)]) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "annotations": map(annotations)},
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"annotations": map(pod)},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "main:1"}]}
            }
        }
    })
}

/// An object as one more document.
pub(crate) fn document(object: &Value) -> String {
    format!("---\n{object}\n")
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

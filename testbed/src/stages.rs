//! KWOK's configuration: the stages that move nodes, pods and volumes on. README.md has the annotations' contract.
//!
//! ```text
//! new --pod-start--> running, ready --pod-complete--> Succeeded          restartPolicy is not Always
//!  |                   |  ^    |  `---pod-fail------> Failed             restartPolicy is Never
//!  |          pod-unready |    `------pod-exit------> waiting --pod-restart--> running, ready
//!  |                   v  | pod-ready
//!  |--------------> running, not ready
//!  |--------------> waiting, ImagePullBackOff
//!  `--------------> waiting, CrashLoopBackOff --pod-crash-again--> the same, with a higher restart count
//! ```

use serde_json::{Value, json};

/// Provisioner of the testbed's StorageClasses.
pub(crate) const PROVISIONER: &str = "testbed.swell.dev/volumes";

/// Jq: the annotations, also of an object that has none.
const ANNOTATIONS: &str = "(.metadata.annotations // {})";
const NOT_DELETED: &str = ".metadata.deletionTimestamp == null";
const RUNNING: &str = r#".status.phase == "Running""#;
const READY: &str = r#"any(.status.conditions[]?; .type == "Ready" and .status == "True")"#;
const WAITING: &str = "any(.status.containerStatuses[]?; .state.waiting != null)";
const SECOND: u32 = 1000;
/// Doubled at each restart like a kubelet's, but from one second on; five minutes at most.
const BACK_OFF: &str = r#"([.status.containerStatuses[]?.restartCount] | max // 1) as $n
    | if $n > 9 then "300s" else reduce range(1; $n) as $i (1; . * 2) | "\(.)s" end"#;

/// The whole file for `kwok --config`: JSON documents in a YAML stream. Nodes will name `kubelet_port` as their kubelet's.
pub(crate) fn config(kubelet_port: u16) -> String {
    let mut documents = vec![json!({
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokConfiguration",
        "metadata": {"name": "testbed"},
        // One given option switches the defaults of its neighbours off.
        "options": {
            "podPlayStageParallelism": 16,
            "nodePlayStageParallelism": 4,
            "nodeLeaseParallelism": 4,
            "podsOnNodeSyncParallelism": 4,
        },
    })];
    documents.push(node(kubelet_port));
    documents.extend(volumes());
    documents.extend(pods());
    documents.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}

fn node(kubelet_port: u16) -> Value {
    let template = include_str!("../kwok/node-ready.tpl").replace("@KUBELET_PORT@", &kubelet_port.to_string());
    stage("node-ready", "Node", &[&format!("({READY}) | not")], None, &[patch(&template)])
}

/// Provisions claims as an external provisioner does: kube-controller-manager asks by an annotation, waiting for the first
/// consumer where the class says so, and binds what it gets.
fn volumes() -> [Value; 2] {
    let asked = format!(r#"{ANNOTATIONS}["volume.kubernetes.io/storage-provisioner"] == "{PROVISIONER}""#);
    let ours = format!(r#"{ANNOTATIONS}["pv.kubernetes.io/provisioned-by"] == "{PROVISIONER}""#);
    let provision = json!({"apply": {"template": include_str!("../kwok/claim-provision.tpl")}});
    let released = r#".status.phase == "Released" or .status.phase == "Failed""#;
    [
        stage(
            "claim-provision",
            "PersistentVolumeClaim",
            &[NOT_DELETED, &asked, ".spec.volumeName == null"],
            None,
            &[provision],
        ),
        stage("volume-reclaim", "PersistentVolume", &[NOT_DELETED, &ours, released], None, &[json!({"delete": true})]),
    ]
}

/// At most one of these matches a pod at any moment: between two, KWOK would throw a die.
fn pods() -> Vec<Value> {
    let annotation = |name: &str| format!(r#"{ANNOTATIONS}["pods.swell.dev/{name}"]"#);
    let is = |name: &str, value: &str| format!(r#"({} == "{value}")"#, annotation(name));
    let not = |condition: &str| format!("({condition}) | not");

    let never_ready = is("ready", "never");
    let crash_loop = is("crash-loop", "true");
    // What comes next counts from the moment that the pod is ready, or runs when it will never be.
    let settled = format!("({READY}) or {never_ready}");
    let fails = format!(
        r#"({} // "") != "" or {crash_loop} or ({} // "0") != "0""#,
        annotation("fail-after"),
        annotation("exit-code")
    );
    let fail_after = format!("{} // {}", annotation("fail-after"), annotation("complete-after"));
    let does_fail = format!(r#"({fails}) and ({fail_after}) != "never""#);
    let never = r#".spec.restartPolicy == "Never""#;
    let always = r#".spec.restartPolicy == "Always""#;
    // Else `pod-unready` comes first.
    let stays_ready = not(&format!("({READY}) and {never_ready}"));
    let crashed = r#"[.status.containerStatuses[]?.state.waiting.reason] | first == "CrashLoopBackOff""#;

    let pod = |name: &str, conditions: &[&str], delay: Option<(u32, &str)>, template: &str| {
        stage(name, "Pod", &[&[NOT_DELETED], conditions].concat(), delay, &[patch(template)])
    };
    let end = include_str!("../kwok/pod-end.tpl");
    let back_off = include_str!("../kwok/pod-back-off.tpl");
    vec![
        pod(
            "pod-start",
            &[".status.podIP == null", r#"(.status.phase // "Pending") == "Pending""#],
            None,
            include_str!("../kwok/pod-start.tpl"),
        ),
        pod(
            "pod-ready",
            &[RUNNING, &not(READY), &not(WAITING), &not(&never_ready)],
            Some((0, &annotation("ready-after"))),
            include_str!("../kwok/pod-ready.tpl"),
        ),
        pod("pod-unready", &[RUNNING, READY, &never_ready], None, include_str!("../kwok/pod-unready.tpl")),
        pod(
            "pod-complete",
            &[RUNNING, &not(always), &settled, &not(&fails), &not(&is("complete-after", "never")), &stays_ready],
            Some((SECOND, &annotation("complete-after"))),
            end,
        ),
        pod("pod-fail", &[RUNNING, never, &settled, &does_fail, &stays_ready], Some((SECOND, &fail_after)), end),
        pod(
            "pod-exit",
            &[RUNNING, &not(never), &settled, &does_fail, &not(WAITING), &stays_ready],
            Some((SECOND, &fail_after)),
            back_off,
        ),
        pod(
            "pod-restart",
            &[RUNNING, crashed, &not(&crash_loop)],
            Some((SECOND, BACK_OFF)),
            include_str!("../kwok/pod-restart.tpl"),
        ),
        pod("pod-crash-again", &[RUNNING, crashed, &crash_loop], Some((SECOND, BACK_OFF)), back_off),
        // Finalizers stay: they are their owners' to remove. Grace period zero means that this stage has run.
        stage(
            "pod-delete",
            "Pod",
            &[".metadata.deletionTimestamp != null", "(.metadata.deletionGracePeriodSeconds // 0) > 0"],
            Some((0, &annotation("terminate-after"))),
            &[patch(include_str!("../kwok/pod-delete.tpl")), json!({"delete": true})],
        ),
    ]
}

/// A stage that plays `steps` after `delay` (milliseconds unless the jq expression gives a duration) on objects for which
/// every jq condition is true.
fn stage(name: &str, kind: &str, conditions: &[&str], delay: Option<(u32, &str)>, steps: &[Value]) -> Value {
    let conditions: Vec<Value> = conditions
        .iter()
        .map(|condition| json!({"jq": {"key": condition, "operator": "In", "values": ["true"]}}))
        .collect();
    let mut stage = json!({
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": conditions},
            "steps": steps,
        },
    });
    if let Some((default, expression)) = delay {
        stage["spec"]["delay"] =
            json!({"durationMilliseconds": default, "durationFrom": {"jq": {"expression": expression}}});
    }
    stage
}

fn patch(template: &str) -> Value {
    json!({"patch": {"root": "status", "subresource": "status", "template": template}})
}

//! Several operators that share the work of one place, each behind a proxy that tells its calls.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use swell::engine::shards::Claim;
use testbed::faults::{Call, FaultProxy};

use super::{Place, eventually, poll, prepared, testbed};

/// Annotation of a Lease: what its process claims.
const CLAIM: &str = "swell.dev/claim";

impl Place {
    /// A fresh namespace, which also has the Leases of the operators that are started by [`Place::mate`].
    pub(crate) async fn with_crew(prefix: &str) -> Self {
        let place = Self::without_operator(prefix).await;
        let name = "swell-leases";
        let head = |kind: &str| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name, "namespace": place.namespace}});
        let mut role = head("Role");
        role["rules"] = json!([{
            "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "list", "watch", "patch", "delete"]
        }]);
        let mut binding = head("RoleBinding");
        binding["roleRef"] = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name});
        binding["subjects"] = json!([{"kind": "ServiceAccount", "name": "swell", "namespace": "swell-system"}]);
        place.put(&role).await;
        place.put(&binding).await;
        place
    }

    /// Starts one more operator, with these further arguments, and waits until it has a Lease.
    pub(crate) async fn mate(&self, name: &str, args: &[&str]) -> Mate {
        let name = format!("{}-{name}", self.namespace);
        let proxy = FaultProxy::start(prepared().await, &format!("{name}.proxied.kubeconfig")).await.unwrap();
        let log = testbed().dir.join(format!("{name}.operator.log"));
        let mut command = self.operator(proxy.kubeconfig());
        command.args(["--lease-namespace", &self.namespace]).args(args).stdin(Stdio::null());
        let file = File::create(&log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let mate = Mate { proxy, child: command.spawn().unwrap(), log };
        mate.said("has a Lease").await;
        mate
    }

    /// What each process claims, by the name of its Lease.
    pub(crate) async fn claims(&self) -> Vec<(String, Option<Claim>)> {
        let leases = self.api("coordination.k8s.io/v1", "Lease").list(&kube::api::ListParams::default()).await.unwrap();
        let claim = |lease: &kube::api::DynamicObject| lease.metadata.annotations.as_ref()?.get(CLAIM)?.parse().ok();
        leases.items.iter().map(|lease| (lease.metadata.name.clone().unwrap(), claim(lease))).collect()
    }

    /// Waits until that many processes have claims, and all the same one.
    pub(crate) async fn agreed(&self, processes: usize) -> Claim {
        eventually(&format!("{processes} processes agree on who has what"), || async {
            let claims: Vec<_> = self.claims().await.into_iter().map(|(_, claim)| claim).collect::<Option<_>>()?;
            let first = claims.first()?;
            (claims.len() == processes && first.members.len() == processes && claims.iter().all(|claim| claim == first))
                .then(|| first.clone())
        })
        .await
    }
}

/// One of the operators. Dropping it kills it.
pub(crate) struct Mate {
    pub(crate) proxy: FaultProxy,
    child: Child,
    log: PathBuf,
}

impl Mate {
    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has logged this.
    pub(crate) async fn said(&self, what: &str) {
        let said = poll(super::PATIENCE, || async { self.log().contains(what).then_some(()) }).await;
        assert!(said.is_some(), "the operator never said {what:?}:\n{}", self.log());
    }

    /// Waits until it acts for some buckets.
    pub(crate) async fn acts(&self) {
        self.said("acts for its buckets").await;
    }

    /// The name of its Lease.
    pub(crate) fn lease(&self) -> String {
        let log = self.log();
        let line = log.lines().rfind(|line| line.contains("has a Lease")).unwrap();
        let at = line.find("swell-").unwrap();
        line[at..at + "swell-".len() + 8].to_owned()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn exits(&mut self, within: Duration) -> ExitStatus {
        let end = tokio::time::Instant::now() + within;
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(tokio::time::Instant::now() < end, "it still runs after {within:?}:\n{}", self.log());
            tick.tick().await;
        }
    }

    /// What it has written, Leases excepted, oldest first.
    pub(crate) fn writes(&self) -> Vec<Call> {
        let mut calls = self.proxy.calls();
        calls.retain(|call| call.is_write() && call.resource != "leases");
        calls
    }

    /// Waits for its first write, which must come in time.
    pub(crate) async fn writes_within(&self, within: Duration) {
        let written = poll(within, || async { (!self.writes().is_empty()).then_some(()) }).await;
        assert!(written.is_some(), "it has written nothing within {within:?}:\n{}", self.log());
    }
}

impl Drop for Mate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

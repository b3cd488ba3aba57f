//! The command lines of the components, and the files that they read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::binaries::Binaries;
use crate::certificates::{Certificates, Pair};
use crate::kubeconfig;
use crate::stages;

/// Everything that a command line may mention.
pub(crate) struct Layout {
    pub(crate) dir: PathBuf,
    pub(crate) binaries: Binaries,
    pub(crate) certificates: Certificates,
    pub(crate) etcd_port: u16,
    pub(crate) etcd_peer_port: u16,
    pub(crate) server_port: u16,
    pub(crate) fsync: bool,
}

impl Layout {
    pub(crate) fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.server_port)
    }

    /// In the folder that `SWELL_TESTBED_AUDIT` names, where it outlives the cluster, else in the cluster's own.
    pub(crate) fn audit_log(&self) -> PathBuf {
        match std::env::var_os("SWELL_TESTBED_AUDIT").filter(|folder| !folder.is_empty()) {
            Some(folder) => {
                let name = self.dir.file_name().unwrap_or_default();
                Path::new(&folder).join(name).with_added_extension("log")
            }
            None => self.dir.join("audit.log"),
        }
    }

    pub(crate) fn kubeconfig(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.kubeconfig"))
    }

    pub(crate) fn log(&self, component: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{component}.log"))
    }

    /// Writes what the components read at their start.
    pub(crate) fn write_files(&self, kubelet_port: u16) -> Result<()> {
        let certificates = &self.certificates;
        for (name, user, pair) in [
            ("root", "testbed:root", &certificates.admin),
            ("controller-manager", "system:kube-controller-manager", &certificates.controller_manager),
            ("scheduler", "system:kube-scheduler", &certificates.scheduler),
            ("kwok", "testbed:kwok", &certificates.kwok),
        ] {
            kubeconfig::write_for_certificate(&self.kubeconfig(name), &self.server(), &certificates.ca, user, pair)?;
        }
        let scheduler = json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": {"kubeconfig": self.kubeconfig("scheduler"), "qps": 1000, "burst": 2000},
            "leaderElection": {"leaderElect": false},
        });
        write(&self.dir.join("scheduler.json"), &scheduler.to_string())?;
        if let Some(folder) = self.audit_log().parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        write(&self.dir.join("audit-policy.json"), &audit_policy().to_string())?;
        write(&self.dir.join("kwok.yaml"), &stages::config(kubelet_port))?;
        fs::create_dir_all(self.dir.join("logs")).context("cannot create the folder for logs")
    }

    pub(crate) fn etcd(&self) -> Command {
        let client = format!("https://127.0.0.1:{}", self.etcd_port);
        // A cluster of one: nobody but itself ever calls the peer address.
        let peer = format!("http://127.0.0.1:{}", self.etcd_peer_port);
        let mut command = self.command(&self.binaries.etcd);
        command
            .arg("--name=testbed")
            .arg(flag("data-dir", &self.dir.join("etcd")))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=testbed={peer}"))
            .arg(flag("cert-file", &self.certificates.server.cert))
            .arg(flag("key-file", &self.certificates.server.key))
            .arg(flag("trusted-ca-file", &self.certificates.ca))
            .arg("--client-cert-auth")
            .arg("--log-level=warn");
        if !self.fsync {
            command.arg("--unsafe-no-fsync");
        }
        command
    }

    pub(crate) fn kube_apiserver(&self) -> Command {
        let Certificates { ca, server, apiserver_client: Pair { cert, key }, service_accounts, .. } =
            &self.certificates;
        let mut command = self.command(&self.binaries.kube_apiserver);
        command
            .arg("--bind-address=127.0.0.1")
            .arg("--advertise-address=127.0.0.1")
            .arg(format!("--secure-port={}", self.server_port))
            .arg(flag("tls-cert-file", &server.cert))
            .arg(flag("tls-private-key-file", &server.key))
            .arg(flag("client-ca-file", ca))
            .arg(format!("--etcd-servers=https://127.0.0.1:{}", self.etcd_port))
            .arg(flag("etcd-cafile", ca))
            .arg(flag("etcd-certfile", cert))
            .arg(flag("etcd-keyfile", key))
            .arg("--authorization-mode=Node,RBAC")
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(flag("service-account-key-file", &service_accounts.cert))
            .arg(flag("service-account-signing-key-file", &service_accounts.key))
            .arg("--service-cluster-ip-range=10.96.0.0/16")
            // Its own address is loopback, which no Endpoints object may have.
            .arg("--endpoint-reconciler-type=none")
            .arg("--allow-privileged=true")
            .arg("--profiling=false")
            .arg(flag("kubelet-certificate-authority", ca))
            .arg(flag("kubelet-client-certificate", cert))
            .arg(flag("kubelet-client-key", key))
            .arg("--kubelet-preferred-address-types=InternalIP")
            .arg(flag("audit-policy-file", &self.dir.join("audit-policy.json")))
            .arg(flag("audit-log-path", &self.audit_log()))
            // Never rotated: readers hold positions in the one file. Zero means 100 MB in some of the supported versions.
            .arg("--audit-log-maxsize=1000000");
        command
    }

    pub(crate) fn kube_controller_manager(&self) -> Command {
        let mut command = self.command(&self.binaries.path("kube-controller-manager"));
        command
            .arg(flag("kubeconfig", &self.kubeconfig("controller-manager")))
            .arg("--use-service-account-credentials")
            .arg(flag("service-account-private-key-file", &self.certificates.service_accounts.key))
            .arg(flag("root-ca-file", &self.certificates.ca))
            // The default of 20 requests a second makes every deployment tool look equally slow.
            .arg("--kube-api-qps=1000")
            .arg("--kube-api-burst=2000")
            .arg("--leader-elect=false")
            .arg("--bind-address=127.0.0.1")
            .arg("--secure-port=0");
        command
    }

    pub(crate) fn kube_scheduler(&self) -> Command {
        let mut command = self.command(&self.binaries.path("kube-scheduler"));
        command
            .arg(flag("config", &self.dir.join("scheduler.json")))
            .arg("--bind-address=127.0.0.1")
            .arg("--secure-port=0");
        command
    }

    pub(crate) fn kwok(&self) -> Command {
        let mut command = self.command(&self.binaries.path("kwok"));
        command
            .arg(flag("kubeconfig", &self.kubeconfig("kwok")))
            .arg(flag("config", &self.dir.join("kwok.yaml")))
            .arg("--manage-all-nodes")
            .arg("--node-ip=127.0.0.1")
            .arg("--cidr=10.244.0.0/16")
            // Without it nobody renews the nodes' leases, and after 50 seconds every node is called NotReady.
            .arg("--node-lease-duration-seconds=40");
        command
    }

    /// Runs in the cluster's folder, which is its home too, so that no file of the user's is read.
    fn command(&self, binary: &Path) -> Command {
        let mut command = Command::new(binary);
        command.current_dir(&self.dir).env("HOME", &self.dir).env_remove("KUBECONFIG");
        command
    }
}

/// Metadata of every request; bodies of what tests ask about: writes to Swell's own objects, Jobs and Pods, and all deletes.
fn audit_policy() -> serde_json::Value {
    let writes = ["create", "update", "patch", "delete", "deletecollection"];
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "RequestResponse", "verbs": writes, "resources": [
                {"group": "swell.dev", "resources": ["*"]},
                {"group": "batch", "resources": ["jobs", "jobs/*"]},
                {"group": "", "resources": ["pods", "pods/*"]},
            ]},
            {"level": "RequestResponse", "verbs": ["delete", "deletecollection"]},
            {"level": "Metadata"},
        ],
    })
}

fn flag(name: &str, path: &Path) -> std::ffi::OsString {
    let mut flag = std::ffi::OsString::from(format!("--{name}="));
    flag.push(path);
    flag
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

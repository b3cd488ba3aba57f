//! What one needs to know of a running cluster, also as the JSON that `testbed serve --json` prints.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::audit::AuditLog;
use crate::kubeconfig;

/// A running cluster: where its kubeconfigs, audit log and binaries are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Kubeconfig with a client certificate of `system:masters`: every right, whatever RBAC says.
    pub kubeconfig: PathBuf,
    /// Kubeconfig of the service account `kube-system/testbed-admin`, which is bound to `cluster-admin`: RBAC applies.
    pub service_account_kubeconfig: PathBuf,
    /// The API server's audit log, one JSON object a line.
    pub audit_log: PathBuf,
    /// The cluster's state: certificates, etcd's data, one log file for each component under `logs/`.
    pub dir: PathBuf,
    /// The folder with `kubectl`, `helm` and the components.
    pub bin: PathBuf,
    /// The API server's address, such as `https://127.0.0.1:26443`.
    pub server: String,
    /// The process that holds the components.
    pub pid: u32,
}

impl Connection {
    /// A client with every right (the first kubeconfig). It belongs to the runtime that calls this.
    pub async fn client(&self) -> Result<kube::Client> {
        kubeconfig::client(&self.kubeconfig).await
    }

    /// A client of the service account `kube-system/testbed-admin` (the second kubeconfig).
    pub async fn service_account_client(&self) -> Result<kube::Client> {
        kubeconfig::client(&self.service_account_kubeconfig).await
    }

    /// A reader of the audit log.
    pub fn audit(&self) -> AuditLog {
        AuditLog::new(&self.audit_log)
    }

    /// A `kubectl` command that talks to this cluster with every right.
    pub fn kubectl(&self) -> std::process::Command {
        let mut command = std::process::Command::new(self.bin.join("kubectl"));
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    pub(crate) fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("not the JSON line of a testbed")
    }
}

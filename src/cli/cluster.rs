//! Which cluster a command talks to, by the flags that users of kubectl know.

use std::future::Future;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::api::Application;
use crate::cluster::application;
use crate::cluster::client::{Calls, Connections, Place};
use crate::engine::action::{Fault, FaultKind};
use crate::engine::object::Owner;

/// Where the Applications of a command are.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ClusterArgs {
    /// Namespace of the Application; without it, that of the kubeconfig's context.
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    pub(super) namespace: Option<String>,
    /// Context of the kubeconfig; without it, its current one.
    #[arg(long, value_name = "CONTEXT")]
    context: Option<String>,
    /// Kubeconfig; without it, the files of KUBECONFIG, or ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// A cluster, and the namespace that is meant when none is named.
pub(super) struct Cluster {
    pub(super) connections: Connections,
    pub(super) namespace: String,
}

impl ClusterArgs {
    /// Connects; nothing is sent yet.
    pub(super) async fn connect(&self) -> anyhow::Result<Cluster> {
        let place = Place { kubeconfig: self.kubeconfig.clone(), context: self.context.clone() };
        let connections = Connections::of(&place).await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| connections.default_namespace().to_owned());
        Ok(Cluster { connections, namespace })
    }
}

impl Cluster {
    /// Calls as the person that the kubeconfig names.
    pub(super) fn calls(&self) -> Calls {
        self.connections.calls()
    }

    /// The Application of that name in the namespace that is meant.
    pub(super) fn owner(&self, name: &str) -> Owner {
        // `swapp/shop`, as kubectl prints and takes names.
        let name = name.rsplit_once('/').map_or(name, |(_, name)| name);
        Owner::new(&self.namespace, name)
    }

    /// Reads an Application; one that is not there is an error that says where it was looked for.
    pub(super) async fn application(&self, owner: &Owner) -> anyhow::Result<Application> {
        application::get(&self.calls(), owner).await.map_err(|fault| explained(&fault, owner))
    }
}

/// Why an Application could not be read or written, for the person who asked.
pub(super) fn explained(fault: &Fault, owner: &Owner) -> anyhow::Error {
    match fault.kind {
        FaultKind::NotFound => missing(owner),
        FaultKind::KindMissing => {
            anyhow::anyhow!(
                "this cluster has no Applications: install Swell first (swell crd | kubectl apply --server-side -f -)"
            )
        }
        _ => anyhow::anyhow!("{}", fault.message),
    }
}

/// An Application is not there.
pub(super) fn missing(owner: &Owner) -> anyhow::Error {
    let (name, namespace) = (owner.name(), owner.namespace());
    anyhow::anyhow!("there is no Application {name:?} in the namespace {namespace:?}; `swell get -A` lists all")
}

/// Runs what a command does.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?.block_on(work)
}

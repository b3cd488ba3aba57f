//! A whole Kubernetes control plane on loopback for tests, demos and benchmarks: etcd, kube-apiserver,
//! kube-controller-manager, kube-scheduler and KWOK, with pods whose life annotations script.
//!
//! Tests call [`shared`]: one cluster for the process, a namespace for each test. Programs that want a cluster of their
//! own call [`Testbed::start`]. The README beside this crate has the table of annotations.

pub mod audit;
mod binaries;
mod certificates;
mod cluster;
mod components;
mod connection;
pub mod faults;
mod keeper;
mod kubeconfig;
mod kubelet;
mod objects;
mod query;
mod shared;
mod stages;
mod state_dir;

pub use binaries::Binaries;
pub use cluster::{Options, Testbed};
pub use connection::Connection;
pub use kubeconfig::for_service_account;
pub use shared::{SharedTestbed, shared};

use std::path::PathBuf;

/// The folder that holds what outlives one run: `$XDG_CACHE_HOME/swell`, or `~/.cache/swell`.
pub fn cache_dir() -> anyhow::Result<PathBuf> {
    let from_env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from_env("XDG_CACHE_HOME")
        .or_else(|| from_env("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("swell"))
        .ok_or_else(|| {
            anyhow::anyhow!("neither XDG_CACHE_HOME nor HOME is set, so there is no folder for the control plane")
        })
}

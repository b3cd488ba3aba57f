//! A place whose operator reaches the API server through a proxy, which does to it what the test orders.

use std::process::Child;

use testbed::faults::FaultProxy;

use super::{Place, prepared};

impl Place {
    /// A fresh namespace, and a proxy for the operator that [`Place::start_operator_behind`] starts. None runs yet.
    pub(crate) async fn with_proxy(prefix: &str) -> (Self, FaultProxy) {
        let place = Self::without_operator(prefix).await;
        let proxy = place.proxy().await;
        (place, proxy)
    }

    /// A proxy as the operator's account.
    pub(crate) async fn proxy(&self) -> FaultProxy {
        let name = format!("{}.proxied.kubeconfig", self.namespace);
        FaultProxy::start(prepared().await, &name).await.unwrap()
    }

    /// Starts the operator behind a proxy.
    pub(crate) fn start_operator_behind(&mut self, proxy: &FaultProxy) {
        self.start_operator_with(proxy.kubeconfig());
    }

    /// Leaves the running operator to itself, so that another one may be started beside it. It lives until it is killed.
    pub(crate) fn set_aside(&mut self) -> Aside {
        Aside(self.operator.take())
    }
}

/// An operator that was set aside; dropping it kills it.
pub(crate) struct Aside(Option<Child>);

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(mut operator) = self.0.take() {
            let _ = operator.kill();
            let _ = operator.wait();
        }
    }
}

//! A proxy between one client (an operator process, say) and the API server, with faults that a test orders: calls refused, held
//! or answered by silence, watch events late or lost, connections reset, the network gone, the world stopped at the n-th call.
//!
//! It speaks HTTP/2 and HTTP/1.1 by ALPN like the API server, and passes identities on: tokens and `Impersonate-User`. Client
//! certificates end at it. The README has the table of the tools.

mod call;
mod forward;
mod rules;
mod watches;
mod wire;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;

pub use call::Call;
pub use rules::{Fate, Moment, Rule, Stop, When};
pub use watches::{Event, EventFate};

use crate::{certificates, kubeconfig};
use forward::Upstream;
use wire::World;

/// A running proxy. Dropping it resets its connections. It belongs to the runtime that started it.
#[derive(Debug)]
pub struct FaultProxy {
    world: Arc<World>,
    kubeconfig: PathBuf,
}

impl FaultProxy {
    /// Starts a proxy to the API server of the kubeconfig `base`, and writes beside it, as `name`, the same kubeconfig with the proxy
    /// in the server's place. The credentials of `base` must be a token.
    pub async fn start(base: &Path, name: &str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen for the client")?;
        let server = format!("https://127.0.0.1:{}", listener.local_addr()?.port());
        let identity = certificates::alone("testbed-faults", &["127.0.0.1", "localhost"])?;
        let target = kubeconfig::target(base)?;
        let path = base.with_file_name(name);
        kubeconfig::write_redirected(base, &path, &server, &identity.certificate)?;
        let world = Arc::new(World::new());
        let upstream = Upstream::new(&target)?;
        tokio::spawn(wire::listen(listener, forward::acceptor(&identity)?, world.clone(), upstream));
        Ok(Self { world, kubeconfig: path })
    }

    /// The kubeconfig whose server is this proxy.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Every call so far (everything but watches), in the order of arrival: the first has the number 1.
    pub fn calls(&self) -> Vec<Call> {
        self.world.rules.calls()
    }

    /// What shall happen to calls, or to requests for a watch. Where several rules match one request, the first that was made counts.
    pub fn rule(&self, when: When, fate: Fate) -> Rule {
        self.world.rules.add(when, fate)
    }

    /// Stops the world when such a call comes: nothing passes any more, in either direction, until the test says how it goes on.
    pub fn stop(&self, when: When, moment: Moment) -> Stop {
        Stop::new(self.world.clone(), self.world.rules.add_stop(when, moment))
    }

    /// What shall happen to events of watches. The order within one watch is kept: what comes behind an event that waits, waits too.
    /// A rule of this kind that ends lets go what it holds; what it has dropped stays lost.
    pub fn events(&self, matches: impl Fn(&Event) -> bool + Send + Sync + 'static, fate: EventFate) -> Rule {
        self.world.rules.add_event_rule(matches, fate)
    }

    /// Resets all connections, with all that is under way on them. What has been sent on to the API server is still done there; what
    /// was held on this side is not.
    pub fn cut(&self) {
        self.world.cut();
    }

    /// Ends all watches in the middle, and leaves the connections as they are.
    pub fn cut_watches(&self) {
        self.world.end_watches(None);
    }

    /// Ends all watches with an event that says that their version is too old (410).
    pub fn expire_watches(&self) {
        self.world.end_watches(Some(410));
    }

    /// The network is gone: no byte passes, no connection is answered, and nobody is told.
    pub fn partition(&self) {
        self.world.close();
    }

    /// The network is there again; what was on its way arrives.
    pub fn heal(&self) {
        self.world.open();
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.world.end();
    }
}

//! The wire between the client and the proxy: it carries bytes, stands still, or is cut.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::forward::{self, Upstream};
use super::rules::Rules;

/// What all connections of one proxy share.
#[derive(Debug)]
pub(crate) struct World {
    /// Whether anything passes.
    passable: watch::Sender<bool>,
    /// Cancelled and made anew with each cut.
    connections: Mutex<CancellationToken>,
    /// How the running watches end; made anew each time.
    watches: Mutex<watch::Sender<Option<WatchEnd>>>,
    ended: CancellationToken,
    pub(crate) rules: Rules,
}

/// How a watch is ended: broken off, or with an error event of that code.
pub(crate) type WatchEnd = Option<u16>;

impl World {
    pub(crate) fn new() -> Self {
        let ended = CancellationToken::new();
        Self {
            passable: watch::Sender::new(true),
            connections: Mutex::new(ended.child_token()),
            watches: Mutex::new(watch::Sender::new(None)),
            ended,
            rules: Rules::default(),
        }
    }

    pub(crate) fn open(&self) {
        self.passable.send_replace(true);
    }

    pub(crate) fn close(&self) {
        self.passable.send_replace(false);
    }

    pub(crate) fn cut(&self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *connections, self.ended.child_token()).cancel();
    }

    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    pub(crate) fn end_watches(&self, how: WatchEnd) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *watches, watch::Sender::new(None)).send_replace(Some(how));
    }

    /// Tells a watch that begins now how it is to end.
    pub(crate) fn watch_end(&self) -> watch::Receiver<Option<WatchEnd>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner).subscribe()
    }

    /// Waits until something may pass on this connection. False: it never will, the connection is gone.
    pub(crate) async fn pass(&self, connection: &CancellationToken) -> bool {
        let mut passable = self.passable.subscribe();
        tokio::select! {
            biased;
            () = connection.cancelled() => false,
            waited = passable.wait_for(|passable| *passable) => waited.is_ok(),
        }
    }
}

/// Takes in connections until the proxy ends.
pub(crate) async fn listen(listener: TcpListener, tls: TlsAcceptor, world: Arc<World>, upstream: Upstream) {
    loop {
        let accepted = tokio::select! {
            () = world.ended.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        if let Ok((stream, _)) = accepted {
            let connection = world.connections.lock().unwrap_or_else(PoisonError::into_inner).child_token();
            let (near, far) = tokio::io::duplex(64 * 1024);
            tokio::spawn(carry(stream, far, world.clone(), connection.clone()));
            tokio::spawn(forward::serve(near, tls.clone(), world.clone(), upstream.clone(), connection));
        }
    }
}

/// Carries bytes both ways while the world is open. A cut is a reset: the client is told by its kernel at once.
async fn carry(stream: TcpStream, far: DuplexStream, world: Arc<World>, connection: CancellationToken) {
    let (mut from_client, mut to_client) = stream.into_split();
    let (mut from_proxy, mut to_proxy) = tokio::io::split(far);
    {
        let both = async {
            tokio::join!(
                one_way(&mut from_client, &mut to_proxy, &world, &connection),
                one_way(&mut from_proxy, &mut to_client, &world, &connection)
            )
        };
        tokio::select! {
            biased;
            () = connection.cancelled() => {}
            _ = both => return,
        }
    }
    if let Ok(stream) = from_client.reunite(to_client) {
        // Failing that, the end is an orderly one, which a client must bear just as well.
        let _ = stream.set_zero_linger();
    }
}

async fn one_way(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    world: &World,
    connection: &CancellationToken,
) {
    let mut piece = vec![0; 16 * 1024];
    loop {
        match from.read(&mut piece).await {
            Ok(length) if length > 0 => {
                if !world.pass(connection).await || to.write_all(&piece[..length]).await.is_err() {
                    return;
                }
            }
            Ok(_) | Err(_) => {
                let _ = to.shutdown().await;
                return;
            }
        }
    }
}

//! Takes requests in, lets the rules decide, and sends them on to the API server.

use std::io;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use http::header::{self, HeaderName};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::json;
use tokio::io::DuplexStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::call::Call;
use super::rules::{Fate, Moment, Shared, What};
use super::watches;
use super::wire::World;
use crate::certificates::Identity;
use crate::kubeconfig::Target;

pub(crate) type Body = BoxBody<Bytes, io::Error>;
type Server = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Streams on one connection, as the API server allows them.
const STREAMS: u32 = 100;

/// The API server.
#[derive(Clone)]
pub(crate) struct Upstream {
    authority: Authority,
    tls: ClientConfig,
}

impl Upstream {
    pub(crate) fn new(target: &Target) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&target.authority_pem) {
            roots.add(certificate?)?;
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server: Uri = target.server.parse()?;
        let authority = server.authority().context("the kubeconfig's server has no host")?.clone();
        Ok(Self { authority, tls })
    }

    /// A connection of its own for each of the client's: what is cut on one side ends on the other.
    fn connect(&self) -> Server {
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(self.tls.clone()).https_only().enable_http2().build();
        Client::builder(TokioExecutor::new()).http2_only(true).build(connector)
    }
}

/// Serves with a certificate of the proxy's own, HTTP/2 first.
pub(crate) fn acceptor(identity: &Identity) -> Result<TlsAcceptor> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes())?],
            PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?,
        )?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves one connection until it ends.
pub(crate) async fn serve(
    near: DuplexStream,
    tls: TlsAcceptor,
    world: Arc<World>,
    upstream: Upstream,
    connection: CancellationToken,
) {
    let requests = connection.child_token();
    let whole = async {
        // Whoever breaks off a connection has nobody left to tell.
        let Ok(stream) = tls.accept(near).await else { return };
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let server = upstream.connect();
        let exchange = Exchange { world, server, authority: upstream.authority, connection: requests.clone() };
        let service = service_fn(move |request| exchange.clone().answer(request));
        let stream = TokioIo::new(stream);
        if is_http2 {
            let mut http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = http2.max_concurrent_streams(STREAMS).serve_connection(stream, service).await;
        } else {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
        }
    };
    tokio::select! {
        () = connection.cancelled() => {}
        () = whole => {}
    }
    // What is still held has nobody left who waits for it.
    requests.cancel();
}

#[derive(Clone)]
struct Exchange {
    world: Arc<World>,
    server: Server,
    authority: Authority,
    connection: CancellationToken,
}

impl Exchange {
    /// Answers one request. An error breaks off this request alone.
    async fn answer(self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (mut head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let mut call = Call::read(&head, &body);
        self.redirect(&mut head)?;
        self.pass().await?;
        let ordered = self.world.rules.arrived(&mut call);
        let ordered = ordered.as_ref().map(|(what, shared)| (*what, &**shared));
        match ordered {
            Some((What::Fate(Fate::Refuse(code, retry_after)), _)) => {
                self.world.rules.answered(&mut call, code);
                self.pass().await?;
                return refusal(code, retry_after);
            }
            Some((What::Fate(Fate::Hold), shared)) => {
                tokio::select! {
                    () = self.connection.cancelled() => return Err(broken_off()),
                    () = shared.ended.cancelled() => self.pass().await?,
                }
            }
            Some((What::Stop(Moment::Before), shared)) => self.stop(&call, shared).await?,
            Some((What::Fate(Fate::Lose) | What::Stop(Moment::After), _)) | None => {}
        }
        let request = Request::from_parts(head, Full::new(body));
        // In a task of its own: what has been sent on is done, also when the client's connection ends meanwhile.
        let sent = self.server.clone().request(request);
        let watch = call.watch;
        let answered = tokio::spawn(async move {
            let (head, body) = sent.await.map_err(io::Error::other)?.into_parts();
            if watch && head.status.is_success() {
                return Ok((head, Err(body)));
            }
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            Ok::<_, io::Error>((head, Ok(body)))
        });
        let (mut head, body) = answered.await.map_err(io::Error::other)??;
        self.world.rules.answered(&mut call, head.status.as_u16());
        strip(&mut head.headers);
        match ordered {
            Some((What::Fate(Fate::Lose), _)) => return Err(broken_off()),
            Some((What::Stop(Moment::After), shared)) => self.stop(&call, shared).await?,
            Some(_) | None => {}
        }
        self.pass().await?;
        let body = match body {
            Ok(body) => whole(body),
            Err(events) => watches::stream(events, call, self.world, self.connection),
        };
        Ok(Response::from_parts(head, body))
    }

    /// Stops the world at this call, and waits until it goes on.
    async fn stop(&self, call: &Call, shared: &Shared) -> io::Result<()> {
        self.world.close();
        shared.reach(call.clone());
        self.pass().await?;
        if shared.lost.is_cancelled() { Err(broken_off()) } else { Ok(()) }
    }

    async fn pass(&self) -> io::Result<()> {
        if self.world.pass(&self.connection).await { Ok(()) } else { Err(broken_off()) }
    }

    fn redirect(&self, head: &mut Parts) -> io::Result<()> {
        let mut uri = std::mem::take(&mut head.uri).into_parts();
        uri.scheme = Some(Scheme::HTTPS);
        uri.authority = Some(self.authority.clone());
        head.uri = Uri::from_parts(uri).map_err(io::Error::other)?;
        head.version = http::Version::HTTP_2;
        strip(&mut head.headers);
        // Events can only be told apart in plain text.
        head.headers.remove(header::ACCEPT_ENCODING);
        head.headers.remove(header::HOST);
        Ok(())
    }
}

/// Takes away what is about one connection.
fn strip(headers: &mut HeaderMap) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH, header::UPGRADE, KEEP_ALIVE] {
        headers.remove(name);
    }
}

fn refusal(code: u16, retry_after: Option<u32>) -> io::Result<Response<Body>> {
    let status = StatusCode::from_u16(code).map_err(io::Error::other)?;
    let reason = match code {
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "Unknown",
    };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": format!("refused by the test with {status}")
    });
    let mut response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    if let Some(seconds) = retry_after {
        response = response.header(header::RETRY_AFTER, seconds);
    }
    response.body(whole(Bytes::from(body.to_string()))).map_err(io::Error::other)
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

fn broken_off() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "broken off by the test")
}

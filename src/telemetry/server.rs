//! The pages over plain HTTP: `/livez`, `/readyz`, `/metrics`. Nothing on them is secret, and nothing can be changed through them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Telemetry;

/// Connections at a time; more wait.
const MOST: usize = 64;
/// How long a client may take for its request's head.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection lives; who scrapes opens another.
const LONGEST: Duration = Duration::from_mins(10);

/// Listens on that address; gives the address that it got.
pub async fn listen(address: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Serves the pages until `stop` is cancelled.
pub async fn serve(listener: TcpListener, telemetry: Arc<Telemetry>, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MOST));
    loop {
        let slot = slots.clone().acquire_owned().await;
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let telemetry = telemetry.clone();
                tokio::spawn(async move {
                    let _slot = slot;
                    // A connection that lasts too long, or breaks, is nobody's loss.
                    let _ = tokio::time::timeout(LONGEST, connection(stream, telemetry)).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection for metrics or probes was not accepted");
                // Out of file descriptors, most likely. Nothing tells when one is free: a pause, so that the loop does not spin until then.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, telemetry: Arc<Telemetry>) -> hyper::Result<()> {
    let pages = service_fn(move |request: Request<Incoming>| {
        let answer = answer(request.method(), request.uri().path(), request.headers(), &telemetry);
        async move { Ok::<_, Infallible>(answer) }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), pages)
        .await
}

fn answer(method: &Method, path: &str, headers: &HeaderMap, telemetry: &Telemetry) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    if method != Method::GET && method != Method::HEAD {
        return page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".to_owned());
    }
    match path {
        "/livez" | "/readyz" => {
            telemetry.probes.asked();
            let told = if path == "/livez" { telemetry.probes.livez() } else { telemetry.probes.readyz() };
            let status = if told.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            page(status, TEXT, told.text)
        }
        "/metrics" => {
            let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
            let open_metrics = accept.contains("application/openmetrics-text");
            let content_type = if open_metrics {
                "application/openmetrics-text; version=1.0.0; charset=utf-8"
            } else {
                "text/plain; version=0.0.4; charset=utf-8"
            };
            match telemetry.metrics.exposition(open_metrics) {
                Ok(text) => page(StatusCode::OK, content_type, text),
                Err(_) => page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the metrics cannot be written\n".to_owned()),
            }
        }
        _ => page(StatusCode::NOT_FOUND, TEXT, "there are /livez, /readyz and /metrics\n".to_owned()),
    }
}

fn page(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &Method, path: &str, accept: &str) -> (u16, String) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        let response = answer(method, path, &headers, &Telemetry::default());
        let content_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        (response.status().as_u16(), content_type)
    }

    #[test]
    fn pages_have_the_status_and_type_that_probes_and_prometheus_expect() {
        let plain = "text/plain; charset=utf-8".to_owned();
        assert_eq!(asked(&Method::GET, "/readyz", "*/*"), (503, plain.clone()), "nothing has been read yet");
        assert_eq!(asked(&Method::GET, "/livez", "*/*"), (200, plain.clone()));
        assert_eq!(asked(&Method::POST, "/livez", "*/*"), (405, plain.clone()));
        assert_eq!(asked(&Method::GET, "/", "*/*"), (404, plain));
        let open = asked(&Method::GET, "/metrics", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
        assert_eq!(open, (200, "application/openmetrics-text; version=1.0.0; charset=utf-8".to_owned()));
        let old = asked(&Method::GET, "/metrics", "text/plain");
        assert_eq!(old, (200, "text/plain; version=0.0.4; charset=utf-8".to_owned()));
    }
}

//! Sends traces by OTLP: protobuf over HTTP, on the HTTP client that is here anyway. Losing some never holds anything up.
//!
//! The messages are those of `opentelemetry/proto/trace/v1`, as far as they are filled in; a test reads them with the official ones.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::ConfigExt as _;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Telemetry;
use super::trace::{Span, Value};

/// Pieces that may wait to be sent; what comes when they are that many is dropped.
const MOST_WAITING: usize = 256;
/// Spans in one request.
const MOST_SPANS: usize = 512;
/// How long one request may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The pauses before it is tried again.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(9)];

/// Where spans are handed in.
pub struct Exporter(mpsc::Sender<Vec<Span>>);

/// Sends what was handed in.
pub struct Worker {
    waiting: mpsc::Receiver<Vec<Span>>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    target: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Traces cannot be sent to what was named.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No address.
    #[error("{0:?} is no address that traces can be sent to; such as http://collector:4318")]
    Address(String),
    /// No headers.
    #[error("the headers for traces are not a list such as name=value,name=value")]
    Headers,
    /// The system's certificates cannot be read.
    #[error("the certificates for the connection to the collector cannot be used")]
    Certificates(#[from] kube::Error),
}

/// An exporter to the collector at `endpoint` (`/v1/traces` is added, as the specification has it), and the worker that has to be run.
/// `headers`: `name=value,name=value`, values percent-encoded.
pub fn exporter(endpoint: &str, headers: &str) -> Result<(Exporter, Worker), TargetError> {
    let address = || TargetError::Address(endpoint.to_owned());
    let target: Uri = format!("{}/v1/traces", endpoint.trim_end_matches('/')).parse().map_err(|_| address())?;
    if target.host().is_none() || !matches!(target.scheme_str(), Some("http" | "https")) {
        return Err(address());
    }
    // The certificates of the system, read as for the API server.
    let tls = kube::Config::new(target.clone()).rustls_client_config()?;
    let connector =
        hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_all_versions().build();
    let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
    let (sender, waiting) = mpsc::channel(MOST_WAITING);
    let headers =
        headers.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(header_of).collect::<Option<_>>();
    let headers = headers.ok_or(TargetError::Headers)?;
    Ok((Exporter(sender), Worker { waiting, client, target, headers }))
}

fn header_of(pair: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = pair.split_once('=')?;
    let mut decoded = Vec::new();
    let mut bytes = value.trim().bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            u8::try_from(digit(bytes.next())? * 16 + digit(bytes.next())?).ok()?
        } else {
            byte
        });
    }
    let mut value = HeaderValue::from_bytes(&decoded).ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}

impl Telemetry {
    /// Hands in spans; without an exporter nothing is made of them.
    pub fn trace(&self, spans: impl FnOnce() -> Vec<Span>) {
        let Some(Exporter(sender)) = &self.traces else { return };
        let spans = spans();
        if !spans.is_empty() && sender.try_send(spans).is_err() {
            self.metrics.traced("dropped");
        }
    }
}

impl Worker {
    /// Sends until `finish` is cancelled, and then what still waits, each once.
    pub async fn run(mut self, telemetry: std::sync::Arc<Telemetry>, finish: CancellationToken) {
        let mut spans = Vec::new();
        loop {
            let more = tokio::select! {
                biased;
                more = self.waiting.recv() => more,
                () = finish.cancelled() => None,
            };
            let Some(more) = more else { return };
            spans.extend(more);
            while let Ok(more) = self.waiting.try_recv() {
                spans.extend(more);
            }
            for piece in spans.chunks(MOST_SPANS) {
                let sent = self.send(piece, &finish).await;
                if let Err(error) = &sent {
                    tracing::warn!(%error, collector = %self.target, "a piece of a trace was given up");
                }
                telemetry.metrics.traced(if sent.is_ok() { "exported" } else { "failed" });
            }
            spans.clear();
        }
    }

    async fn send(&self, spans: &[Span], finish: &CancellationToken) -> Result<(), String> {
        let body = Bytes::from(request(spans).encode_to_vec());
        let mut pauses = PAUSES.iter();
        loop {
            let (error, passes) = match tokio::time::timeout(DEADLINE, self.client.request(self.post(&body))).await {
                Ok(Ok(answer)) if answer.status().is_success() => return Ok(()),
                Ok(Ok(answer)) => {
                    let status = answer.status();
                    let passes = matches!(
                        status,
                        StatusCode::TOO_MANY_REQUESTS
                            | StatusCode::BAD_GATEWAY
                            | StatusCode::SERVICE_UNAVAILABLE
                            | StatusCode::GATEWAY_TIMEOUT
                    );
                    (format!("the collector answered {status}"), passes)
                }
                Ok(Err(error)) => (error.to_string(), true),
                Err(_) => ("the collector did not answer in time".to_owned(), true),
            };
            match pauses.next().filter(|_| passes && !finish.is_cancelled()) {
                Some(pause) => tokio::select! {
                    () = tokio::time::sleep(*pause) => {}
                    () = finish.cancelled() => {}
                },
                None => return Err(error),
            }
        }
    }

    fn post(&self, body: &Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.target.clone();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("swell/", env!("CARGO_PKG_VERSION"))));
        headers.extend(self.headers.iter().cloned());
        request
    }
}

fn request(spans: &[Span]) -> wire::Request {
    let instance = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).unwrap_or_default();
    let mut resource = vec![text("service.name", "swell"), text("service.version", env!("CARGO_PKG_VERSION"))];
    if !instance.is_empty() {
        resource.push(text("service.instance.id", &instance));
    }
    let scope = wire::Scope { name: "swell".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    wire::Request {
        resource_spans: vec![wire::ResourceSpans {
            resource: Some(wire::Resource { attributes: resource }),
            scope_spans: vec![wire::ScopeSpans { scope: Some(scope), spans: spans.iter().map(span).collect() }],
        }],
    }
}

fn span(span: &Span) -> wire::Span {
    let nanos = |time: jiff::Timestamp| u64::try_from(time.as_nanosecond()).unwrap_or(0);
    let attribute = |(key, value): &(&'static str, Value)| match value {
        Value::Text(value) => text(key, value),
        Value::Number(number) => wire::KeyValue {
            key: (*key).to_owned(),
            value: Some(wire::AnyValue { value: Some(wire::Any::Int(*number)) }),
        },
    };
    wire::Span {
        trace_id: span.trace.to_vec(),
        span_id: span.id.to_vec(),
        parent_span_id: span.parent.map(|parent| parent.to_vec()).unwrap_or_default(),
        name: span.name.clone(),
        kind: wire::INTERNAL,
        start_time_unix_nano: nanos(span.start),
        end_time_unix_nano: nanos(span.end),
        attributes: span.attributes.iter().map(attribute).collect(),
        status: span.error.clone().map(|message| wire::Status { message, code: wire::ERROR }),
    }
}

fn text(key: &str, value: &str) -> wire::KeyValue {
    let value = wire::AnyValue { value: Some(wire::Any::String(value.to_owned())) };
    wire::KeyValue { key: key.to_owned(), value: Some(value) }
}

/// The messages.
mod wire {
    /// `SPAN_KIND_INTERNAL`
    pub(super) const INTERNAL: i32 = 1;
    /// `STATUS_CODE_ERROR`
    pub(super) const ERROR: i32 = 2;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Request {
        #[prost(message, repeated, tag = "1")]
        pub(super) resource_spans: Vec<ResourceSpans>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ResourceSpans {
        #[prost(message, optional, tag = "1")]
        pub(super) resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub(super) scope_spans: Vec<ScopeSpans>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub(super) attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ScopeSpans {
        #[prost(message, optional, tag = "1")]
        pub(super) scope: Option<Scope>,
        #[prost(message, repeated, tag = "2")]
        pub(super) spans: Vec<Span>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Scope {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) version: String,
    }

    #[expect(clippy::struct_field_names, reason = "the names of the specification")]
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Span {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) trace_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) span_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")]
        pub(super) parent_span_id: Vec<u8>,
        #[prost(string, tag = "5")]
        pub(super) name: String,
        #[prost(int32, tag = "6")]
        pub(super) kind: i32,
        #[prost(fixed64, tag = "7")]
        pub(super) start_time_unix_nano: u64,
        #[prost(fixed64, tag = "8")]
        pub(super) end_time_unix_nano: u64,
        #[prost(message, repeated, tag = "9")]
        pub(super) attributes: Vec<KeyValue>,
        #[prost(message, optional, tag = "15")]
        pub(super) status: Option<Status>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Status {
        #[prost(string, tag = "2")]
        pub(super) message: String,
        #[prost(int32, tag = "3")]
        pub(super) code: i32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct KeyValue {
        #[prost(string, tag = "1")]
        pub(super) key: String,
        #[prost(message, optional, tag = "2")]
        pub(super) value: Option<AnyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct AnyValue {
        #[prost(oneof = "Any", tags = "1, 3")]
        pub(super) value: Option<Any>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Any {
        #[prost(string, tag = "1")]
        String(String),
        #[prost(int64, tag = "3")]
        Int(i64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value;

    #[test]
    fn what_is_sent_reads_as_meant_with_the_official_messages() {
        let made = Span {
            trace: [1; 16],
            id: [2; 8],
            parent: Some([3; 8]),
            name: "apply Deployment".to_owned(),
            start: jiff::Timestamp::from_second(10).unwrap(),
            end: jiff::Timestamp::from_millisecond(12_500).unwrap(),
            attributes: vec![("swell.wave", 3.into()), ("swell.phase", "Sync".into())],
            error: Some("no".to_owned()),
        };
        let bytes = request(std::slice::from_ref(&made)).encode_to_vec();
        let mut read = ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap();
        let mut of_resource = read.resource_spans.pop().unwrap();
        let attributes = of_resource.resource.unwrap().attributes;
        assert_eq!(attributes[0].key, "service.name");
        let of_scope = of_resource.scope_spans.pop().unwrap();
        assert_eq!(of_scope.scope.unwrap().name, "swell");
        let span = &of_scope.spans[0];
        assert_eq!((span.trace_id.as_slice(), span.span_id.as_slice()), (&[1; 16][..], &[2; 8][..]));
        assert_eq!((span.parent_span_id.as_slice(), span.name.as_str()), (&[3; 8][..], "apply Deployment"));
        assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (10_000_000_000, 12_500_000_000));
        assert_eq!(span.kind(), opentelemetry_proto::tonic::trace::v1::span::SpanKind::Internal);
        let value = |place: usize| span.attributes[place].value.clone().unwrap().value.unwrap();
        assert_eq!(value(0), any_value::Value::IntValue(3));
        assert_eq!(value(1), any_value::Value::StringValue("Sync".to_owned()));
        let status = span.status.clone().unwrap();
        assert_eq!(status.code(), opentelemetry_proto::tonic::trace::v1::status::StatusCode::Error);
        assert_eq!(status.message, "no");
    }

    #[test]
    fn an_address_and_headers_that_cannot_be_used_are_refused_at_once() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let told = |endpoint: &str, headers: &str| exporter(endpoint, headers).err().map(|error| error.to_string());
        assert!(told("collector:4318", "").unwrap().contains("such as http://collector:4318"));
        assert!(told("ftp://collector", "").is_some());
        assert!(told("http://collector:4318", "a").is_some());
        let (_, worker) = exporter("http://collector:4318/", "api-key=a%20b, x = y").unwrap();
        assert_eq!(worker.target, "http://collector:4318/v1/traces");
        let headers: Vec<_> = worker.headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        assert_eq!(headers, [("api-key", "a b"), ("x", "y")]);
    }
}

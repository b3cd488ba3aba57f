//! What an operator tells about itself: its pages, its log, the Events of its Applications, and a collector for its traces.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kube::api::ListParams;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::crew::Mate;
use super::{Place, eventually};

impl Place {
    /// Gives the operator that is started next these arguments too.
    pub(crate) fn with_arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    }

    /// The pages of the operator that was started as the nth (`--listen 127.0.0.1:0`).
    pub(crate) async fn pages(&self, starts: usize) -> Pages {
        Pages::told_by(|| self.operator_log(), starts).await
    }

    /// The Events about an Application, oldest first: type, reason, note.
    pub(crate) async fn events(&self, name: &str) -> Vec<(String, String, String)> {
        let params = ListParams::default().fields(&format!("regarding.name={name},regarding.kind=Application"));
        let mut found = self.api("events.k8s.io/v1", "Event").list(&params).await.unwrap().items;
        found.sort_by_key(|event| event.data["eventTime"].as_str().unwrap_or_default().to_owned());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        found
            .iter()
            .map(|event| (text(&event.data["type"]), text(&event.data["reason"]), text(&event.data["note"])))
            .collect()
    }
}

impl Mate {
    /// Its pages (`--listen 127.0.0.1:0`).
    pub(crate) async fn pages(&self) -> Pages {
        Pages::told_by(|| self.log(), 1).await
    }
}

/// The pages of one operator.
pub(crate) struct Pages {
    address: String,
}

impl Pages {
    /// The address stands in the log.
    async fn told_by(log: impl Fn() -> String, starts: usize) -> Self {
        let address = eventually("the operator serves its pages", || async {
            let log = log();
            let told = log.lines().filter(|line| line.contains("serves /livez, /readyz and /metrics"));
            let line = told.skip(starts - 1).last()?;
            let address = &line[line.find("127.0.0.1:")?..];
            let end = address.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(address.len());
            Some(address[..end].to_owned())
        })
        .await;
        Self { address }
    }

    /// Status and body of a page; nothing if the operator does not answer.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// All samples, by series.
    pub(crate) async fn samples(&self) -> Samples {
        let (status, text) = self.get("/metrics").await.unwrap();
        assert_eq!(status, 200, "{text}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| line.rsplit_once(' ')).map(|(s, v)| (s.to_owned(), v.to_owned()));
        Samples { samples: samples.collect(), text }
    }
}

/// What one scrape has brought.
pub(crate) struct Samples {
    samples: BTreeMap<String, String>,
    pub(crate) text: String,
}

impl Samples {
    /// The value of one series.
    pub(crate) fn of(&self, series: &str) -> f64 {
        self.value(series).parse().unwrap()
    }

    /// The value of one series that counts something.
    pub(crate) fn count(&self, series: &str) -> u64 {
        self.value(series).parse().unwrap_or_else(|_| panic!("{series} is not a whole number: {}", self.value(series)))
    }

    /// The sum of all series of a counting metric whose labels contain this.
    pub(crate) fn sum(&self, metric: &str, labels: &str) -> u64 {
        let is_of = |series: &str| series.split('{').next() == Some(metric) && series.contains(labels);
        self.samples.keys().filter(|series| is_of(series)).map(|series| self.count(series)).sum()
    }

    /// Name and labels of each series.
    pub(crate) fn series(&self) -> impl Iterator<Item = (&str, Vec<(&str, &str)>)> {
        self.samples.keys().map(|series| {
            let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
            let labels = labels.split(',').filter_map(|label| label.split_once('='));
            (name, labels.map(|(label, value)| (label, value.trim_matches('"'))).collect())
        })
    }

    fn value(&self, series: &str) -> &str {
        self.samples.get(series).unwrap_or_else(|| panic!("there is no {series} in\n{}", self.text))
    }
}

/// A collector of traces.
pub(crate) struct Collector {
    /// Its address.
    pub(crate) endpoint: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// Begins to listen.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = spans.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                let answer = service_fn(move |request: Request<Incoming>| {
                    let kept = kept.clone();
                    async move {
                        assert_eq!(request.uri().path(), "/v1/traces");
                        assert_eq!(request.headers()["content-type"], "application/x-protobuf");
                        let body = request.into_body().collect().await?.to_bytes();
                        let sent = ExportTraceServiceRequest::decode(body).unwrap();
                        let of_resources = sent.resource_spans.into_iter();
                        let spans = of_resources.flat_map(|r| r.scope_spans).flat_map(|scope| scope.spans);
                        kept.lock().unwrap().extend(spans);
                        Ok::<_, hyper::Error>(Response::new(String::new()))
                    }
                });
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(async move { connection.await.unwrap_or_default() });
            }
        });
        Self { endpoint, spans }
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }
}

/// The text of an attribute of a span.
pub(crate) fn attribute(span: &Span, key: &str) -> Option<String> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

//! List and watch, for ever: paged lists, bookmarks, an idle limit, and a fresh list on any 410. What vanished in a gap is told by
//! the list that follows, because the sink compares it with what it knew.

use std::time::Duration;

use futures::TryStreamExt;
use http::{Request, header};
use kube::Client;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::{Calls, WatchClient};
use crate::engine::action::{Fault, FaultKind};
use crate::telemetry::metrics::{Code, Held};

/// What a watch looks at.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Path of the collection.
    pub path: String,
    /// Label selector; empty for all.
    pub selector: String,
    /// The only object of the collection that counts; empty for all.
    pub name: String,
    /// Whether metadata is enough.
    pub metadata_only: bool,
}

/// Whom a watch tells.
pub trait Sink: Send + Sync + 'static {
    /// The whole collection, as of `version`.
    fn list(&self, items: Vec<Value>, version: u64);
    /// An object that was added or changed.
    fn put(&self, object: Value);
    /// An object that is gone (or is not selected any more), as it was last.
    fn remove(&self, object: Value);
    /// The watch gets on: something was heard, or it was asked for again.
    fn turned(&self) {}
}

/// How a watch stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Synced {
    /// The first list has not been read yet.
    Pending,
    /// Listed, and followed.
    Yes,
    /// It cannot be listed; tried again for ever.
    Failed(Fault),
}

/// A bookmark is due each minute: silence for longer than this is a dead connection.
const IDLE: Duration = Duration::from_secs(90);
/// The server ends a watch after this; renewing it costs one request.
const RENEWAL: u64 = 2_400;
/// A watch that ends sooner than this is not asked for again at once.
const BRIEF: Duration = Duration::from_secs(1);
/// Objects in one page of a list.
const PAGE: usize = 500;

/// Runs until it is cancelled.
pub async fn run(
    calls: Calls,
    client: WatchClient,
    target: Target,
    sink: impl Sink,
    synced: watch::Sender<Synced>,
    stop: CancellationToken,
) {
    let mut version = None;
    let mut failures = 0_u32;
    let metrics = &calls.telemetry().metrics;
    let _counted = Held::one(&metrics.watches);
    while !stop.is_cancelled() {
        let began = Instant::now();
        sink.turned();
        let round = async {
            let at = match &mut version {
                Some(at) => at,
                unlisted => {
                    let listed = list(&calls, &target, &sink).await?;
                    synced.send_replace(Synced::Yes);
                    unlisted.insert(listed)
                }
            };
            follow(&calls, &client, &target, &sink, at).await
        };
        let ended = tokio::select! {
            ended = round => ended,
            () = stop.cancelled() => return,
        };
        match ended {
            Ok(followed) => {
                metrics.restarted(followed.as_str());
                if followed == Followed::Expired {
                    version = None;
                }
                failures = 0;
                // A server that is going down, or a proxy that holds no streams, ends every watch at once.
                if began.elapsed() < BRIEF {
                    tokio::select! {
                        () = tokio::time::sleep(BRIEF) => {}
                        () = stop.cancelled() => return,
                    }
                }
            }
            Err(fault) => {
                tracing::debug!(path = %target.path, error = %fault.message, "a watch has failed");
                metrics.restarted(if fault.kind == FaultKind::Transient { "error" } else { "refused" });
                if fault.kind != FaultKind::Transient {
                    version = None;
                }
                if *synced.borrow() != Synced::Yes || fault.kind != FaultKind::Transient {
                    synced.send_replace(Synced::Failed(fault));
                }
                failures = failures.saturating_add(1);
                let pause = Duration::from_millis((100 << failures.min(8)).min(20_000));
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return,
                }
            }
        }
    }
}

async fn list(calls: &Calls, target: &Target, sink: &impl Sink) -> Result<u64, Fault> {
    let mut items = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let mut path = format!("{}?limit={PAGE}{}", target.path, selector(target));
        if let Some(token) = &next {
            path.push_str("&continue=");
            path.push_str(token);
        }
        let mut page = calls.list(path, target.metadata_only).await?;
        if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
            items.extend(found);
        }
        let metadata =
            |field: &str| page.pointer(&format!("/metadata/{field}")).and_then(Value::as_str).map(str::to_owned);
        next = metadata("continue").filter(|token| !token.is_empty());
        if next.is_none() {
            let version = metadata("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
            sink.list(items, version);
            return Ok(version);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Followed {
    /// The server has ended the watch; it goes on from where it was.
    Ended,
    /// Not even a bookmark has come: the connection is dead.
    Silent,
    /// The watch was asked for, and no answer came.
    Unanswered,
    /// The version is too old: list again.
    Expired,
}

impl Followed {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Silent => "silent",
            Self::Unanswered => "unanswered",
            Self::Expired => "expired",
        }
    }
}

/// Follows from `at`, and moves it along.
async fn follow(
    calls: &Calls,
    client: &Client,
    target: &Target,
    sink: &impl Sink,
    at: &mut u64,
) -> Result<Followed, Fault> {
    let metrics = &calls.telemetry().metrics;
    let path = format!(
        "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={RENEWAL}&resourceVersion={at}{}",
        target.path,
        selector(target)
    );
    let mut request = Request::builder().uri(path);
    if target.metadata_only {
        request = request.header(header::ACCEPT, METADATA);
    }
    let request = request.body(Vec::new()).map_err(|error| super::error::on_the_way("watch", &error))?;
    let asked = Instant::now();
    let opened = tokio::time::timeout(IDLE, client.request_events::<Value>(request)).await;
    let probes = &calls.telemetry().probes;
    let code = match &opened {
        Ok(Ok(_)) => Code::Status(200),
        Ok(Err(kube::Error::Api(status))) => Code::Status(status.code),
        Ok(Err(_)) => Code::Failed,
        Err(_) => Code::Late,
    };
    metrics.requested("watch", code, asked.elapsed());
    let events = match opened {
        Ok(Ok(events)) => {
            probes.answered();
            events
        }
        Ok(Err(error)) => {
            if code == Code::Failed {
                probes.unanswered(&super::error::on_the_way("watch", &error).message);
            }
            return expired(&error);
        }
        Err(_) => {
            probes.unanswered("a watch was not answered in time");
            return Ok(Followed::Unanswered);
        }
    };
    let mut events = std::pin::pin!(events);
    loop {
        match tokio::time::timeout(IDLE, events.try_next()).await {
            Err(_) => return Ok(Followed::Silent),
            Ok(Ok(None)) => return Ok(Followed::Ended),
            Ok(Err(error)) => return expired(&error),
            Ok(Ok(Some(event))) => {
                metrics.heard(type_of(&event));
                probes.answered();
                sink.turned();
                match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                        *at = super::view::version(&object).unwrap_or(*at);
                        sink.put(object);
                    }
                    WatchEvent::Deleted(object) => {
                        *at = super::view::version(&object).unwrap_or(*at);
                        sink.remove(object);
                    }
                    WatchEvent::Bookmark(bookmark) => {
                        *at = bookmark.metadata.resource_version.parse().unwrap_or(*at);
                    }
                    WatchEvent::Error(status) if status.code == 410 => return Ok(Followed::Expired),
                    WatchEvent::Error(status) => {
                        return Err(Fault {
                            kind: FaultKind::Transient,
                            message: status.message.clone(),
                            retry_after: None,
                        });
                    }
                }
            }
        }
    }
}

fn type_of(event: &WatchEvent<Value>) -> &'static str {
    match event {
        WatchEvent::Added(_) => "ADDED",
        WatchEvent::Modified(_) => "MODIFIED",
        WatchEvent::Deleted(_) => "DELETED",
        WatchEvent::Bookmark(_) => "BOOKMARK",
        WatchEvent::Error(_) => "ERROR",
    }
}

/// A 410 may come as an event or as the status of the request; both ask for a fresh list.
fn expired(error: &kube::Error) -> Result<Followed, Fault> {
    match error {
        kube::Error::Api(status) if status.code == 410 => Ok(Followed::Expired),
        kube::Error::Api(status) if matches!(status.code, 403..=405) => {
            let kind = if status.code == 403 { FaultKind::Forbidden } else { FaultKind::KindMissing };
            Err(Fault { kind, message: status.message.clone(), retry_after: None })
        }
        error => Err(super::error::on_the_way("watch", error)),
    }
}

const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

fn selector(target: &Target) -> String {
    if !target.name.is_empty() {
        return format!("&fieldSelector=metadata.name%3D{}", target.name);
    }
    if target.selector.is_empty() {
        return String::new();
    }
    let escaped = target.selector.replace('/', "%2F").replace('=', "%3D").replace(',', "%2C").replace(' ', "%20");
    format!("&labelSelector={escaped}")
}

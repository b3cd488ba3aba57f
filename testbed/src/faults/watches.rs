//! The events of a watch on their way to the client: late, held, dropped, or the watch broken off.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use http_body_util::channel::Channel;
use hyper::body::{Bytes, Incoming};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::call::Call;
use super::forward::Body;
use super::rules::Shared;
use super::wire::World;

/// One event of a watch.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub kind: String,
    /// Plural of the resource that is watched.
    pub resource: String,
    /// Name of the object; empty for a bookmark.
    pub name: String,
    /// The object.
    pub object: Value,
}

/// What happens to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFate {
    /// It comes so much later.
    Delay(Duration),
    /// It comes when the rule ends.
    Hold,
    /// It never comes.
    Drop,
}

/// The answer to a request for a watch: what the API server sends, as the rules have it.
pub(crate) fn stream(events: Incoming, call: Call, world: Arc<World>, connection: CancellationToken) -> Body {
    let (sender, body) = Channel::<Bytes, io::Error>::new(16);
    tokio::spawn(async move {
        let mut sender = sender;
        let mut ended = world.watch_end();
        let (arrive, mut arrived) = mpsc::unbounded_channel();
        let reading = tokio::spawn(read(events, arrive));
        let how = tokio::select! {
            biased;
            () = connection.cancelled() => Some(None),
            how = async { ended.wait_for(Option::is_some).await.ok().and_then(|how| *how) } => how,
            () = async {
                while let Some((line, at)) = arrived.recv().await {
                    if !is_due(&line, at, &call, &world, &connection).await {
                        continue;
                    }
                    if !world.pass(&connection).await || sender.send_data(line).await.is_err() {
                        return;
                    }
                }
            } => None,
        };
        reading.abort();
        match how {
            // It has ended by itself.
            None => {}
            Some(None) => sender.abort(io::Error::new(io::ErrorKind::ConnectionReset, "broken off by the test")),
            Some(Some(code)) => {
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
                    "reason": "Expired", "message": "too old resource version, says the test"
                });
                let event = format!("{}\n", json!({"type": "ERROR", "object": status}));
                let _ = sender.send_data(Bytes::from(event)).await;
            }
        }
    });
    body.boxed()
}

/// Cuts what comes into lines, each with the time of its arrival: a delay counts from there.
async fn read(mut events: Incoming, arrive: mpsc::UnboundedSender<(Bytes, Instant)>) {
    let mut rest = VecDeque::new();
    while let Some(Ok(frame)) = events.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        rest.extend(data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if arrive.send((Bytes::from(line), Instant::now())).is_err() {
                return;
            }
        }
    }
}

/// Waits until an event may go on. False: it is dropped.
async fn is_due(line: &Bytes, at: Instant, call: &Call, world: &World, connection: &CancellationToken) -> bool {
    let Some(event) = event(line, call) else { return true };
    let Some((fate, rule)) = world.rules.event(&event) else { return true };
    match fate {
        EventFate::Drop => false,
        EventFate::Hold => {
            wait(&rule, connection, None).await;
            true
        }
        EventFate::Delay(time) => {
            wait(&rule, connection, Some(at + time)).await;
            true
        }
    }
}

async fn wait(rule: &Shared, connection: &CancellationToken, until: Option<Instant>) {
    let timer = async {
        match until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = rule.ended.cancelled() => {}
        () = connection.cancelled() => {}
        () = timer => {}
    }
}

fn event(line: &[u8], call: &Call) -> Option<Event> {
    let mut event: Value = serde_json::from_slice(line).ok()?;
    let object = event.get_mut("object").map(Value::take)?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Event {
        kind: text(event.get("type")),
        resource: call.resource.clone(),
        name: text(object.pointer("/metadata/name")),
        object,
    })
}

//! Carries out the engine's actions on managed objects, as the Application's account. The only file that writes workloads.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::client::{Call, Calls};
use super::discovery::{Discovery, collection, object_path};
use super::evidence;
use super::limit::Limiter;
use super::members::MemberWatches;
use super::rights;
use super::view::{AppView, Origin, View};
use crate::engine::action::{Action, Answer, Fault, FaultKind, Write};
use crate::engine::differences::Ignored;
use crate::engine::fields;
use crate::engine::kinds::KindInfo;
use crate::engine::live::Live;
use crate::engine::membership::Marks;
use crate::engine::object::ObjectKey;
use crate::telemetry::metrics::Held;

/// What is needed to act for one Application.
#[derive(Clone)]
pub struct Performer {
    /// Calls as who acts for the Application.
    pub calls: Calls,
    /// Calls as the operator itself.
    pub operator: Calls,
    /// Whether the logs of what has failed are read.
    pub capture_logs: bool,
    /// Namespace and name of the account that this is; `None`: the operator itself.
    pub account: Option<(String, String)>,
    /// The kinds that are served.
    pub discovery: Arc<Discovery>,
    /// Watches of managed kinds.
    pub watches: Arc<MemberWatches>,
    /// The whole view, for the facts.
    pub view: Arc<View>,
    /// The Application's view: answers go there first.
    pub app: Arc<AppView>,
    /// The bound on calls in flight, of all Applications.
    pub in_flight: Arc<Limiter>,
    /// The calls of this Application that may stand in line for that bound: the others wait behind no more than these.
    pub in_line: Arc<Semaphore>,
    /// The attempt is over: what has not been sent is not sent any more, clean-ups excepted.
    pub called_off: CancellationToken,
}

impl Performer {
    /// Carries out one action; nothing comes of one that was called off. Recording is not among them: the status has a writer of its own.
    pub async fn perform(&self, action: Action) -> Option<Answer> {
        if matches!(action, Action::Record { .. }) {
            return None;
        }
        let metrics = &self.calls.telemetry().metrics;
        let waiting = Held::one(&metrics.calls_waiting);
        let _in_line = self.in_line.acquire().await.ok()?;
        let slot = self.in_flight.enter().await?;
        drop(waiting);
        let _flying = Held::one(&metrics.calls_in_flight);
        if self.called_off.is_cancelled() && !matches!(action, Action::Tidy { .. }) {
            return None;
        }
        let answer = self.carry_out(action).await;
        slot.answered(answer.as_ref().is_some_and(is_overload));
        metrics.calls_limit.set(i64::try_from(self.in_flight.bound()).unwrap_or(i64::MAX));
        answer
    }

    async fn carry_out(&self, action: Action) -> Option<Answer> {
        Some(match action {
            Action::Record { .. } => return None,
            Action::CheckRights(needed) => {
                let (account, home) = (self.account.as_ref(), self.app.owner.namespace());
                Answer::Rights(rights::lacking(&self.calls, &self.operator, account, home, needed).await)
            }
            Action::Rehearse { task, write } => Answer::Rehearsed(task, self.write(write, true).await.map(|_| ())),
            Action::Write { task, write } => Answer::Written(task, self.write(write, false).await),
            Action::Look { task, key, version } => Answer::Looked(task, self.look(&key, version.as_deref()).await),
            Action::Refresh { key, version } => {
                let seen = self.look(&key, version.as_deref()).await;
                Answer::Refreshed(key, seen)
            }
            Action::Collect { task, key, uid } => {
                Answer::Collected(task, evidence::collect(&self.calls, &key, &uid, self.capture_logs).await)
            }
            Action::Tidy { key, write } => Answer::Tidied(key, self.write(write, false).await.map(|_| ())),
        })
    }

    async fn write(&self, write: Write, rehearsal: bool) -> Result<Option<Arc<Live>>, Fault> {
        let key = write.key().clone();
        let version = match &write {
            Write::Apply { body, .. } | Write::Replace { body, .. } | Write::Create { body, .. } => {
                body.get("apiVersion").and_then(Value::as_str).map(crate::engine::object::version_of)
            }
            Write::Migrate { .. } | Write::Delete { .. } | Write::Patch { .. } => None,
        };
        let info = self.kind(&key, version).await?;
        if !rehearsal {
            // Whatever we write is watched from before it exists.
            self.watches.ensure(&BTreeSet::from([key.kind.clone()])).await?;
            if let Some(check) = self.app.check(&key.kind) {
                self.watches.ensure_for_check(&key.kind, &check).await?;
            }
        }
        let manager = self.app.owner.field_manager();
        let about_secret = key.kind.is("", "Secret");
        let dry_run = if rehearsal { "&dryRun=All" } else { "" };
        let answer = match &write {
            Write::Apply { body, force, version, strict, keeps, .. } => {
                let validation = if *strict { "Strict" } else { "Warn" };
                let object = object_path(&key, &info);
                let path =
                    format!("{object}?fieldManager={manager}&force={force}&fieldValidation={validation}{dry_run}");
                let versioned = version.map(|version| with_version(body, version));
                let body = versioned.as_ref().unwrap_or(body);
                let apply = Apply { path, body, about_secret };
                match keeps {
                    None => self.apply(&apply).await?,
                    // What the caller has pinned to a version, or may not take from others, is not looked at again here.
                    Some(ignored) => {
                        self.apply_respecting(apply, ignored, &object, *force && version.is_none()).await?
                    }
                }
            }
            Write::Replace { body, version, strict, keeps, .. } => {
                let validation = if *strict { "Strict" } else { "Warn" };
                let path = format!(
                    "{}?fieldManager={manager}&fieldValidation={validation}{dry_run}",
                    object_path(&key, &info)
                );
                let mut body = with_version(body, *version);
                if let Some(ignored) = keeps {
                    let live = self.calls.get(object_path(&key, &info)).await?;
                    body = Arc::new(ignored.copied(&body, &live, &manager));
                }
                let body = Some((&*body, "application/json"));
                self.calls.send(Call { method: Method::PUT, path, body, about_secret }).await?
            }
            Write::Migrate { uid, also, .. } => {
                let object = self.calls.get(object_path(&key, &info)).await?;
                match migration(&object, uid, &manager, also.as_deref())? {
                    Some(patch) => {
                        let path = format!("{}?fieldManager={manager}{dry_run}", object_path(&key, &info));
                        let body = Some((&patch, "application/json-patch+json"));
                        self.calls.send(Call { method: Method::PATCH, path, body, about_secret }).await?
                    }
                    None => object,
                }
            }
            Write::Create { body, strict, .. } => {
                let validation = if *strict { "Strict" } else { "Warn" };
                let path = format!(
                    "{}?fieldManager={manager}&fieldValidation={validation}{dry_run}",
                    collection(&key.kind.group, &info, key.namespace.as_deref())
                );
                let body = Some((&**body, "application/json"));
                self.calls.send(Call { method: Method::POST, path, body, about_secret }).await?
            }
            Write::Delete { uid, version, propagation, .. } => {
                let mut preconditions = json!({"uid": &**uid});
                if let Some(version) = version {
                    preconditions["resourceVersion"] = Value::from(version.to_string());
                }
                let mut options = json!({
                    "apiVersion": "v1", "kind": "DeleteOptions",
                    "preconditions": preconditions, "propagationPolicy": propagation.as_str()
                });
                if rehearsal {
                    options["dryRun"] = json!(["All"]);
                }
                let path = object_path(&key, &info);
                let body = Some((&options, "application/json"));
                let answer = self.calls.send(Call { method: Method::DELETE, path, body, about_secret }).await?;
                if !rehearsal {
                    self.take_in(&key, answer, &info);
                }
                return Ok(None);
            }
            Write::Patch { uid, patch, .. } => {
                let mut patch = patch.clone();
                patch["metadata"]["uid"] = Value::from(&**uid);
                let path = format!("{}?fieldManager={manager}{dry_run}", object_path(&key, &info));
                let body = Some((&patch, "application/merge-patch+json"));
                self.calls.send(Call { method: Method::PATCH, path, body, about_secret }).await?
            }
        };
        if rehearsal {
            return Ok(None);
        }
        match self.take_in(&key, answer, &info) {
            Some(live) => Ok(Some(live)),
            None => Err(Fault {
                kind: FaultKind::Transient,
                message: format!("the API server's answer about {key} is not an object"),
                retry_after: None,
            }),
        }
    }

    async fn apply(&self, apply: &Apply<'_>) -> Result<Value, Fault> {
        let Apply { path, body, about_secret } = apply;
        let body = Some((*body, "application/apply-patch+yaml"));
        self.calls.send(Call { method: Method::PATCH, path: path.clone(), body, about_secret: *about_secret }).await
    }

    /// Applies a body whose ignored fields keep the value that the live object has now. Who takes a field between the look and the write
    /// moves the resourceVersion, if the write is pinned to it: then it is looked at again.
    async fn apply_respecting(
        &self,
        apply: Apply<'_>,
        ignored: &Ignored,
        object: &str,
        pinned: bool,
    ) -> Result<Value, Fault> {
        let mut looks = 0;
        loop {
            let live = match self.calls.get(object.to_owned()).await {
                Ok(live) => live,
                Err(fault) if fault.kind == FaultKind::NotFound => return self.apply(&apply).await,
                Err(fault) => return Err(fault),
            };
            let mut body = ignored.respected(apply.body, &live, &self.app.owner.field_manager());
            if pinned {
                body["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
            }
            let answer = self.apply(&Apply { path: apply.path.clone(), body: &body, ..apply }).await;
            match answer {
                Err(fault) if pinned && fault.kind == FaultKind::Conflict && looks < MOST_LOOKS => looks += 1,
                Err(fault) if pinned && fault.kind == FaultKind::Conflict => {
                    return Err(Fault { kind: FaultKind::Transient, ..fault });
                }
                answer => return answer,
            }
        }
    }

    async fn look(&self, key: &ObjectKey, version: Option<&str>) -> Result<Option<Arc<Live>>, Fault> {
        let known = self.app.peek(|members| members.get(key).map(|live| live.version));
        let info = match self.kind(key, version).await {
            Ok(info) => info,
            Err(fault) if fault.kind == FaultKind::KindMissing => {
                // Its kind is gone, and it with it: no watch is left that could tell.
                if let Some(version) = known {
                    self.app.remove(key, version);
                }
                return Ok(None);
            }
            Err(fault) => return Err(fault),
        };
        match self.calls.get(object_path(key, &info)).await {
            Ok(object) => Ok(self.take_in(key, object, &info)),
            Err(fault) if matches!(fault.kind, FaultKind::NotFound | FaultKind::KindMissing) => {
                if let Some(version) = known {
                    self.app.remove(key, version);
                }
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Reduces an answer and brings it into the view if it carries the Application's label; one that does not (any more) goes out of it.
    fn take_in(&self, key: &ObjectKey, mut object: Value, info: &KindInfo) -> Option<Arc<Live>> {
        super::discovery::name_kind(&mut object, &key.kind.group, &info.version, &key.kind.kind);
        let live = Live::reduce(&object, key, &self.app.owner, &self.view.facts())?;
        let ours =
            matches!(&live.marks, Marks::Member { id, .. } | Marks::Stray(id) if *id == self.app.owner.membership_id());
        if ours {
            let origin = Origin { version: info.version.clone(), whole: true, for_checks: false };
            return Some(self.view.put(&self.app, key, live, object, &origin));
        }
        self.app.remove(key, live.version);
        Some(Arc::new(live))
    }

    /// The kind of an object; one that is not known is asked for once more.
    async fn kind(&self, key: &ObjectKey, version: Option<&str>) -> Result<KindInfo, Fault> {
        if let Some(info) = self.discovery.kinds().await?.find(&key.kind, version) {
            return Ok(info.clone());
        }
        self.discovery.mark_stale();
        match self.discovery.kinds().await?.find(&key.kind, version) {
            Some(info) => Ok(info.clone()),
            None => Err(Fault {
                kind: FaultKind::KindMissing,
                message: format!("the cluster does not serve the kind {}", key.kind),
                retry_after: None,
            }),
        }
    }
}

/// A server-side apply that goes out.
struct Apply<'a> {
    path: String,
    body: &'a Value,
    about_secret: bool,
}

/// How often an object that changes all the time is looked at again before its apply is put off.
const MOST_LOOKS: u8 = 3;

/// Whether the server asks to be asked later.
fn is_overload(answer: &Answer) -> bool {
    let fault = match answer {
        Answer::Rights(Err(fault))
        | Answer::Rehearsed(_, Err(fault))
        | Answer::Written(_, Err(fault))
        | Answer::Looked(_, Err(fault))
        | Answer::Refreshed(_, Err(fault))
        | Answer::Tidied(_, Err(fault)) => fault,
        Answer::Recorded(_)
        | Answer::Rights(Ok(_))
        | Answer::Rehearsed(_, Ok(()))
        | Answer::Written(_, Ok(_))
        | Answer::Looked(_, Ok(_))
        | Answer::Refreshed(_, Ok(_))
        | Answer::Collected(..)
        | Answer::Tidied(_, Ok(())) => return false,
    };
    fault.retry_after.is_some()
}

/// The patch that makes the fields of other tools ours, as long as the object is as it was read. A conflict if it is another one by now.
fn migration(object: &Value, uid: &str, manager: &str, also: Option<&str>) -> Result<Option<Value>, Fault> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if text("/metadata/uid") != uid {
        let message = "the object was replaced by another one meanwhile".to_owned();
        return Err(Fault { kind: FaultKind::Conflict, message, retry_after: None });
    }
    let fields = fields::merged(object, manager, also);
    Ok(fields.map(|fields| {
        json!([
            {"op": "replace", "path": "/metadata/managedFields", "value": fields},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": text("/metadata/resourceVersion")}
        ])
    }))
}

fn with_version(body: &Arc<Value>, version: u64) -> Arc<Value> {
    let mut body = Value::clone(body);
    body["metadata"]["resourceVersion"] = Value::from(version.to_string());
    Arc::new(body)
}

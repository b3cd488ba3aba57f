//! What the cluster serves: learnt from aggregated discovery, kept, and learnt anew when a CRD changes or a kind is unknown.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use kube::core::discovery::v2::APIGroupDiscoveryList;
use serde_json::Value;

use super::client::Calls;
use crate::engine::action::Fault;
use crate::engine::kinds::{KindInfo, Kinds};
use crate::engine::object::ObjectKey;

/// The cached kinds.
pub struct Discovery {
    calls: Calls,
    kinds: RwLock<Arc<Kinds>>,
    /// How often it was asked to be fresh, and up to which asking it is: a change while it is being learnt is not lost.
    wanted: AtomicU64,
    learnt: AtomicU64,
    refreshing: tokio::sync::Mutex<()>,
}

impl Discovery {
    /// Nothing is known yet; the first question asks the server.
    pub fn new(calls: Calls) -> Self {
        Self {
            calls,
            kinds: RwLock::new(Arc::new(Kinds::default())),
            wanted: AtomicU64::new(1),
            learnt: AtomicU64::new(0),
            refreshing: tokio::sync::Mutex::new(()),
        }
    }

    /// The kinds as far as they are known.
    pub fn known(&self) -> Arc<Kinds> {
        self.kinds.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// A CRD has changed, or a kind is unknown: the next question asks the server.
    pub fn mark_stale(&self) {
        self.wanted.fetch_add(1, Ordering::AcqRel);
    }

    /// The kinds, fresh if something has changed.
    pub async fn kinds(&self) -> Result<Arc<Kinds>, Fault> {
        if self.is_fresh() {
            return Ok(self.known());
        }
        let _one_at_a_time = self.refreshing.lock().await;
        if !self.is_fresh() {
            let wanted = self.wanted.load(Ordering::Acquire);
            let kinds = self.learn().await?;
            *self.kinds.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(kinds);
            self.learnt.store(wanted, Ordering::Release);
        }
        Ok(self.known())
    }

    fn is_fresh(&self) -> bool {
        self.learnt.load(Ordering::Acquire) >= self.wanted.load(Ordering::Acquire)
    }

    async fn learn(&self) -> Result<Kinds, Fault> {
        let mut kinds = Kinds::default();
        for path in ["/api", "/apis"] {
            let list = self.calls.discover(path).await?;
            let list: APIGroupDiscoveryList =
                serde_json::from_value(list).map_err(|error| super::error::on_the_way("reading discovery", &error))?;
            add(&mut kinds, list);
        }
        Ok(kinds)
    }
}

fn add(kinds: &mut Kinds, list: APIGroupDiscoveryList) {
    for group in list.items {
        let name = group.metadata.and_then(|metadata| metadata.name).unwrap_or_default();
        for version in group.versions {
            if version.freshness.as_deref() == Some("Stale") {
                kinds.add_stale_group(&name);
            }
            let Some(number) = version.version else { continue };
            let api_version = if name.is_empty() { number } else { format!("{name}/{number}") };
            for resource in version.resources {
                let kind = resource.response_kind.and_then(|kind| kind.kind);
                let (Some(plural), Some(kind)) = (resource.resource, kind) else { continue };
                kinds.add(&api_version, &kind, &plural, resource.scope.as_deref() == Some("Namespaced"));
            }
        }
    }
}

/// The path of a collection: all of a kind, or those of one namespace.
pub fn collection(group: &str, info: &KindInfo, namespace: Option<&str>) -> String {
    let root =
        if group.is_empty() { format!("/api/{}", info.version) } else { format!("/apis/{group}/{}", info.version) };
    match namespace {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{}", info.plural),
        None => format!("{root}/{}", info.plural),
    }
}

/// The path of one object. Its name is one segment of it, whatever it holds.
pub fn object_path(key: &ObjectKey, info: &KindInfo) -> String {
    format!("{}/{}", collection(&key.kind.group, info, key.namespace.as_deref()), segment(&key.name))
}

fn segment(name: &str) -> Cow<'_, str> {
    let stays = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:@!$&'()*+,;=".contains(&byte);
    if name.bytes().all(stays) {
        return Cow::Borrowed(name);
    }
    let mut segment = String::with_capacity(name.len() * 3);
    for byte in name.bytes() {
        if stays(byte) {
            segment.push(char::from(byte));
        } else {
            let _ = write!(segment, "%{byte:02X}");
        }
    }
    Cow::Owned(segment)
}

/// Puts `apiVersion` and `kind` onto an object: items of lists and metadata come without.
pub fn name_kind(object: &mut Value, group: &str, version: &str, kind: &str) {
    if let Some(object) = object.as_object_mut() {
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        object.insert("apiVersion".to_owned(), Value::from(api_version));
        object.insert("kind".to_owned(), Value::from(kind));
    }
}

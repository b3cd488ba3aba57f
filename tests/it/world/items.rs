//! Manifests as a test thinks of them: what an object is, when it is written, and how the cluster treats it.

use serde_json::{Value, json};
use swell::engine::object::{ObjectKey, group_of};

use super::NAMESPACE;

/// The kinds that the tests use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Config,
    Account,
    Deployment,
    /// A custom resource whose status says which generation it describes.
    Widget,
    /// A custom resource whose status does not.
    Gadget,
    Job,
}

impl Kind {
    pub(crate) fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Config => ("v1", "ConfigMap"),
            Self::Account => ("v1", "ServiceAccount"),
            Self::Deployment => ("apps/v1", "Deployment"),
            Self::Widget => ("example.com/v1", "Widget"),
            Self::Gadget => ("example.com/v1", "Gadget"),
            Self::Job => ("batch/v1", "Job"),
        }
    }
}

/// What becomes of an object after it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Healthy, or succeeded.
    Well,
    /// Degraded for good, or failed.
    Badly,
    /// Badly the first time, well from then on.
    WellLater,
    /// Badly, and well after as long again.
    Heals,
    /// Nothing, ever.
    Never,
}

/// How the cluster treats an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Behaviour {
    /// Milliseconds until its end.
    pub(crate) takes: i64,
    /// Its end.
    pub(crate) end: End,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { takes: 700, end: End::Well }
    }
}

/// One manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) wave: i64,
    /// The value of the hook annotation; empty for a plain object.
    pub(crate) hook: &'static str,
    pub(crate) policy: &'static str,
    /// Sync options.
    pub(crate) options: &'static str,
    pub(crate) generated: bool,
    pub(crate) ttl: Option<i64>,
    /// A change of it changes the spec (or data); of a negative one, only a label.
    pub(crate) content: i64,
    pub(crate) behaviour: Behaviour,
}

/// A plain object of wave 0.
pub(crate) fn plain(kind: Kind, name: &str) -> Item {
    Item {
        kind,
        name: name.to_owned(),
        wave: 0,
        hook: "",
        policy: "",
        options: "",
        generated: false,
        ttl: None,
        content: 1,
        behaviour: Behaviour::default(),
    }
}

/// A hook Job of wave 0.
pub(crate) fn hook(phases: &'static str, name: &str) -> Item {
    Item { hook: phases, ..plain(Kind::Job, name) }
}

impl Item {
    pub(crate) fn wave(self, wave: i64) -> Self {
        Self { wave, ..self }
    }

    pub(crate) fn of(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    pub(crate) fn policy(self, policy: &'static str) -> Self {
        Self { policy, ..self }
    }

    pub(crate) fn options(self, options: &'static str) -> Self {
        Self { options, ..self }
    }

    pub(crate) fn generated(self) -> Self {
        Self { generated: true, ..self }
    }

    pub(crate) fn ttl(self, seconds: i64) -> Self {
        Self { ttl: Some(seconds), ..self }
    }

    pub(crate) fn content(self, content: i64) -> Self {
        Self { content, ..self }
    }

    pub(crate) fn takes(mut self, milliseconds: i64) -> Self {
        self.behaviour.takes = milliseconds;
        self
    }

    pub(crate) fn ends(mut self, end: End) -> Self {
        self.behaviour.end = end;
        self
    }

    /// The object's identity; a generated name is not in it.
    pub(crate) fn key(&self) -> ObjectKey {
        let (api_version, kind) = self.kind.words();
        ObjectKey::new(group_of(api_version), kind, Some(NAMESPACE), &self.name)
    }

    /// The manifest.
    pub(crate) fn manifest(&self) -> Value {
        let (api_version, kind) = self.kind.words();
        let mut annotations = json!({});
        if self.wave != 0 {
            annotations["argocd.argoproj.io/sync-wave"] = json!(self.wave.to_string());
        }
        if !self.hook.is_empty() {
            annotations["argocd.argoproj.io/hook"] = json!(self.hook);
        }
        if !self.policy.is_empty() {
            annotations["argocd.argoproj.io/hook-delete-policy"] = json!(self.policy);
        }
        if !self.options.is_empty() {
            annotations["argocd.argoproj.io/sync-options"] = json!(self.options);
        }
        let name = if self.generated { "generateName" } else { "name" };
        let mut object = json!({
            "apiVersion": api_version, "kind": kind,
            "metadata": {name: self.name, "namespace": NAMESPACE, "annotations": annotations, "labels": {"app": "shop"}}
        });
        if self.content < 0 {
            object["metadata"]["labels"]["content"] = json!(self.content.to_string());
        }
        let content = self.content.max(0);
        match self.kind {
            Kind::Config => object["data"] = json!({"content": content.to_string()}),
            Kind::Account => object["automountServiceAccountToken"] = json!(content % 2 == 0),
            Kind::Deployment | Kind::Job => {
                let image = format!("web:{content}");
                object["spec"] = json!({"template": {"spec": {"containers": [{"name": "main", "image": image, "args": ["a", "b"]}]}}});
                if self.kind == Kind::Deployment {
                    object["spec"]["replicas"] = json!(1);
                }
                if let Some(ttl) = self.ttl {
                    object["spec"]["ttlSecondsAfterFinished"] = json!(ttl);
                }
            }
            Kind::Widget | Kind::Gadget => object["spec"] = json!({"size": content}),
        }
        object
    }
}

/// The source that holds these manifests.
pub(crate) fn source(items: &[Item]) -> String {
    items.iter().map(|item| item.manifest().to_string()).collect::<Vec<_>>().join("\n---\n")
}

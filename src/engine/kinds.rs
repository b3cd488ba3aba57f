//! What the cluster knows about kinds (scope, plural, version), and the two orders that hang on the kind alone.

use std::collections::{BTreeMap, BTreeSet};

use super::object::{GroupKind, group_of, version_of};

/// One kind as discovery tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindInfo {
    /// The version that is served and that we use.
    pub version: String,
    /// Plural name in URLs and in rights.
    pub plural: String,
    /// Whether objects of the kind live in namespaces.
    pub namespaced: bool,
}

/// The kinds that a cluster serves.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    served: BTreeMap<GroupKind, BTreeMap<String, KindInfo>>,
    preferred: BTreeMap<GroupKind, String>,
    stale: BTreeSet<String>,
    open: bool,
}

/// What [`Kinds`] says about one group, version and kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Served, with this information.
    Served(KindInfo),
    /// The group is served by something that did not answer: the kind may exist.
    Unsure,
    /// Not served.
    Absent,
    /// The kind is served, but in these versions only.
    OtherVersions(Vec<String>),
}

impl Kinds {
    /// The built-in kinds of Kubernetes, for use without a cluster. Kinds that it does not know are taken for namespaced ones.
    pub fn builtin() -> Self {
        let mut kinds = Self { open: true, ..Self::default() };
        for (api_version, plural, kind, namespaced) in BUILTIN {
            kinds.add(api_version, kind, plural, *namespaced);
        }
        kinds
    }

    /// The same kinds, with every other kind taken for absent instead of guessed.
    #[must_use]
    pub fn closed(self) -> Self {
        Self { open: false, ..self }
    }

    /// Adds a served kind. The first version that is added of a kind is the preferred one.
    pub fn add(&mut self, api_version: &str, kind: &str, plural: &str, namespaced: bool) {
        let group_kind = GroupKind::new(group_of(api_version), kind);
        let version = version_of(api_version).to_owned();
        self.preferred.entry(group_kind.clone()).or_insert_with(|| version.clone());
        self.served
            .entry(group_kind)
            .or_default()
            .insert(version.clone(), KindInfo { version, plural: plural.to_owned(), namespaced });
    }

    /// Notes that the kinds of a group could not be learnt completely.
    pub fn add_stale_group(&mut self, group: &str) {
        self.stale.insert(group.to_owned());
    }

    /// What is known of the kind at that version.
    pub fn at_version(&self, kind: &GroupKind, version: &str) -> Known {
        match self.served.get(kind) {
            Some(versions) => match versions.get(version) {
                Some(info) => Known::Served(info.clone()),
                None if self.stale.contains(&*kind.group) => Known::Unsure,
                None => Known::OtherVersions(versions.keys().cloned().collect()),
            },
            None if self.open => Known::Served(guess(kind, version)),
            None if self.stale.contains(&*kind.group) => Known::Unsure,
            None => Known::Absent,
        }
    }

    /// The kind at the version `wanted` where that is served, else at the server's preferred version.
    pub fn find(&self, kind: &GroupKind, wanted: Option<&str>) -> Option<&KindInfo> {
        let versions = self.served.get(kind)?;
        wanted.and_then(|version| versions.get(version)).or_else(|| versions.get(self.preferred.get(kind)?))
    }

    /// Whether nothing can be said about the kinds of this group for certain (an aggregated API that did not answer).
    pub fn is_stale(&self, group: &str) -> bool {
        self.stale.contains(group)
    }
}

/// Place of a kind in the order inside a wave, lowest first: Argo CD's list, by group and kind (V22). Unlisted kinds come last.
pub fn rank(kind: &GroupKind) -> usize {
    RANK.iter().position(|(group, name)| kind.is(group, name)).unwrap_or(RANK.len())
}

/// Whether a kind only has the name of one in that list: Argo CD, which does not look at the group, sorts it as that one.
pub fn is_ranked_elsewhere(kind: &GroupKind) -> bool {
    rank(kind) == RANK.len() && RANK.iter().any(|(_, name)| *name == &*kind.kind)
}

/// The barrier class of CustomResourceDefinitions.
pub const CRD_BARRIER: u8 = 1;

/// The barrier class of a kind inside a stage: objects of a class are sent when those of every lower class are applied (CRDs: established).
pub fn barrier(kind: &GroupKind) -> u8 {
    match (&*kind.group, &*kind.kind) {
        ("", "Namespace") => 0,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => CRD_BARRIER,
        ("", "ServiceAccount" | "LimitRange" | "ResourceQuota")
        | ("scheduling.k8s.io", "PriorityClass")
        | ("node.k8s.io", "RuntimeClass")
        | ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => 2,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => 3,
        ("apiregistration.k8s.io", "APIService") | ("admissionregistration.k8s.io", _) => 5,
        _ => 4,
    }
}

/// Whether objects of this kind have pods that tell why they are not well.
pub fn has_pods(kind: &GroupKind) -> bool {
    matches!(
        (&*kind.group, &*kind.kind),
        ("", "Pod") | ("batch", "Job") | ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
    )
}

/// Kinds that are never deleted to be made anew: what hangs on them would go along (F33).
pub fn is_precious(kind: &GroupKind) -> bool {
    matches!(
        (&*kind.group, &*kind.kind),
        ("", "Namespace" | "PersistentVolume" | "PersistentVolumeClaim")
            | ("apiextensions.k8s.io", "CustomResourceDefinition")
    )
}

fn guess(kind: &GroupKind, version: &str) -> KindInfo {
    KindInfo { version: version.to_owned(), plural: format!("{}s", kind.kind.to_lowercase()), namespaced: true }
}

const RANK: &[(&str, &str)] = &[
    ("", "Namespace"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("", "ResourceQuota"),
    ("", "LimitRange"),
    ("policy", "PodSecurityPolicy"),
    ("policy", "PodDisruptionBudget"),
    ("", "ServiceAccount"),
    ("", "Secret"),
    ("", "ConfigMap"),
    ("storage.k8s.io", "StorageClass"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("", "Service"),
    ("apps", "DaemonSet"),
    ("", "Pod"),
    ("", "ReplicationController"),
    ("apps", "ReplicaSet"),
    ("apps", "Deployment"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("apps", "StatefulSet"),
    ("batch", "Job"),
    ("batch", "CronJob"),
    ("networking.k8s.io", "IngressClass"),
    ("networking.k8s.io", "Ingress"),
    ("apiregistration.k8s.io", "APIService"),
];

/// apiVersion, plural, kind, namespaced; from Kubernetes 1.37's API reference.
const BUILTIN: &[(&str, &str, &str, bool)] = &[
    ("v1", "configmaps", "ConfigMap", true),
    ("v1", "endpoints", "Endpoints", true),
    ("v1", "events", "Event", true),
    ("v1", "limitranges", "LimitRange", true),
    ("v1", "namespaces", "Namespace", false),
    ("v1", "nodes", "Node", false),
    ("v1", "persistentvolumeclaims", "PersistentVolumeClaim", true),
    ("v1", "persistentvolumes", "PersistentVolume", false),
    ("v1", "pods", "Pod", true),
    ("v1", "podtemplates", "PodTemplate", true),
    ("v1", "replicationcontrollers", "ReplicationController", true),
    ("v1", "resourcequotas", "ResourceQuota", true),
    ("v1", "secrets", "Secret", true),
    ("v1", "serviceaccounts", "ServiceAccount", true),
    ("v1", "services", "Service", true),
    ("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", false),
    ("admissionregistration.k8s.io/v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", false),
    ("admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", false),
    ("admissionregistration.k8s.io/v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy", false),
    ("admissionregistration.k8s.io/v1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", false),
    ("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", false),
    ("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", false),
    ("apiregistration.k8s.io/v1", "apiservices", "APIService", false),
    ("apps/v1", "controllerrevisions", "ControllerRevision", true),
    ("apps/v1", "daemonsets", "DaemonSet", true),
    ("apps/v1", "deployments", "Deployment", true),
    ("apps/v1", "replicasets", "ReplicaSet", true),
    ("apps/v1", "statefulsets", "StatefulSet", true),
    ("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", true),
    ("autoscaling/v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", true),
    ("batch/v1", "cronjobs", "CronJob", true),
    ("batch/v1", "jobs", "Job", true),
    ("certificates.k8s.io/v1", "certificatesigningrequests", "CertificateSigningRequest", false),
    ("coordination.k8s.io/v1", "leases", "Lease", true),
    ("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", true),
    ("events.k8s.io/v1", "events", "Event", true),
    ("flowcontrol.apiserver.k8s.io/v1", "flowschemas", "FlowSchema", false),
    ("flowcontrol.apiserver.k8s.io/v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", false),
    ("networking.k8s.io/v1", "ingressclasses", "IngressClass", false),
    ("networking.k8s.io/v1", "ingresses", "Ingress", true),
    ("networking.k8s.io/v1", "ipaddresses", "IPAddress", false),
    ("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", true),
    ("networking.k8s.io/v1", "servicecidrs", "ServiceCIDR", false),
    ("node.k8s.io/v1", "runtimeclasses", "RuntimeClass", false),
    ("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", true),
    ("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", false),
    ("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", false),
    ("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding", true),
    ("rbac.authorization.k8s.io/v1", "roles", "Role", true),
    ("resource.k8s.io/v1", "deviceclasses", "DeviceClass", false),
    ("resource.k8s.io/v1", "resourceclaims", "ResourceClaim", true),
    ("resource.k8s.io/v1", "resourceclaimtemplates", "ResourceClaimTemplate", true),
    ("resource.k8s.io/v1", "resourceslices", "ResourceSlice", false),
    ("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", false),
    ("storage.k8s.io/v1", "csidrivers", "CSIDriver", false),
    ("storage.k8s.io/v1", "csinodes", "CSINode", false),
    ("storage.k8s.io/v1", "csistoragecapacities", "CSIStorageCapacity", true),
    ("storage.k8s.io/v1", "storageclasses", "StorageClass", false),
    ("storage.k8s.io/v1", "volumeattachments", "VolumeAttachment", false),
    ("storage.k8s.io/v1", "volumeattributesclasses", "VolumeAttributesClass", false),
    ("swell.dev/v1alpha1", "applications", "Application", true),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f19_a_foreign_kind_called_namespace_sorts_as_a_custom_resource() {
        assert_eq!(rank(&GroupKind::new("", "Namespace")), 0);
        assert_eq!(rank(&GroupKind::new("x.example", "Namespace")), RANK.len());
        assert_eq!(barrier(&GroupKind::new("x.example", "Namespace")), 4);
        assert!(is_ranked_elsewhere(&GroupKind::new("serving.knative.dev", "Service")));
        assert!(!is_ranked_elsewhere(&GroupKind::new("", "Service")));
        assert!(!is_ranked_elsewhere(&GroupKind::new("x.example", "Thing")));
    }

    #[test]
    fn a_kind_of_a_group_that_did_not_answer_is_unsure_and_not_absent() {
        let mut kinds = Kinds::default();
        kinds.add_stale_group("metrics.k8s.io");
        assert_eq!(kinds.at_version(&GroupKind::new("metrics.k8s.io", "PodMetrics"), "v1"), Known::Unsure);
        assert_eq!(kinds.at_version(&GroupKind::new("other.example", "Thing"), "v1"), Known::Absent);
    }

    #[test]
    fn a_version_that_is_not_served_is_told_apart_from_a_kind_that_is_not() {
        let mut kinds = Kinds::default();
        kinds.add("apps/v1", "Deployment", "deployments", true);
        assert_eq!(
            kinds.at_version(&GroupKind::new("apps", "Deployment"), "v1beta1"),
            Known::OtherVersions(vec!["v1".to_owned()])
        );
    }
}

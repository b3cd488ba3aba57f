//! The table of rules: which kind has one, at which version, and what it can tell.

use serde_json::Value;

use super::{Completion, Facts, Verdict, api, custom, job, network, pod, runs, scaling, storage, workload};

/// The groups that Kubernetes brings itself. A kind in them has a rule only if it is named in [`Rule::of`]; a kind in any other group is
/// a custom resource. Told one by one, because custom resources also live under `k8s.io` (`gateway.networking.k8s.io`).
pub(super) const BUILT_IN: [&str; 26] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "lifecycle.k8s.io",
    "meta.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// A rule, named by the kind that it judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Deployment,
    StatefulSet,
    DaemonSet,
    ReplicaSet,
    Pod,
    Job,
    CronJob,
    Service,
    Ingress,
    LegacyIngress,
    PersistentVolumeClaim,
    HorizontalPodAutoscaler,
    PodDisruptionBudget,
    ApiService,
    CustomResourceDefinition,
    Workflow,
    TektonRun,
    /// Every custom resource without a rule of its own: the standard conditions.
    Custom,
}

impl Rule {
    /// The rule of a kind; `None` if it has no health.
    pub(super) fn of(group: &str, kind: &str) -> Option<Self> {
        Some(match (group, kind) {
            ("apps", "Deployment") => Self::Deployment,
            ("apps", "StatefulSet") => Self::StatefulSet,
            ("apps", "DaemonSet") => Self::DaemonSet,
            ("apps", "ReplicaSet") => Self::ReplicaSet,
            ("", "Pod") => Self::Pod,
            ("batch", "Job") => Self::Job,
            ("batch", "CronJob") => Self::CronJob,
            ("", "Service") => Self::Service,
            ("networking.k8s.io", "Ingress") => Self::Ingress,
            ("extensions", "Ingress") => Self::LegacyIngress,
            ("", "PersistentVolumeClaim") => Self::PersistentVolumeClaim,
            ("autoscaling", "HorizontalPodAutoscaler") => Self::HorizontalPodAutoscaler,
            ("policy", "PodDisruptionBudget") => Self::PodDisruptionBudget,
            ("apiregistration.k8s.io", "APIService") => Self::ApiService,
            ("apiextensions.k8s.io", "CustomResourceDefinition") => Self::CustomResourceDefinition,
            ("argoproj.io", "Workflow") => Self::Workflow,
            ("tekton.dev", "PipelineRun" | "TaskRun" | "CustomRun") => Self::TektonRun,
            (group, _) if BUILT_IN.contains(&group) => return None,
            _ => Self::Custom,
        })
    }

    /// The version that the rule is written for; `None` if any.
    pub(super) fn version(self) -> Option<&'static str> {
        match self {
            Self::Deployment
            | Self::StatefulSet
            | Self::DaemonSet
            | Self::ReplicaSet
            | Self::Pod
            | Self::Job
            | Self::CronJob
            | Self::Service
            | Self::Ingress
            | Self::PersistentVolumeClaim
            | Self::PodDisruptionBudget
            | Self::ApiService
            | Self::CustomResourceDefinition => Some("v1"),
            Self::LegacyIngress => Some("v1beta1"),
            Self::HorizontalPodAutoscaler => Some("v2"),
            Self::Workflow => Some("v1alpha1"),
            Self::TektonRun | Self::Custom => None,
        }
    }

    /// Whether the rule understands objects of this version. As in Argo CD, where some rules look at the version and some do not.
    pub(super) fn reads(self, version: &str) -> bool {
        match self {
            Self::Deployment
            | Self::StatefulSet
            | Self::DaemonSet
            | Self::ReplicaSet
            | Self::Job
            | Self::Pod
            | Self::Service
            | Self::PersistentVolumeClaim => version == "v1",
            Self::HorizontalPodAutoscaler => matches!(version, "v1" | "v2"),
            Self::ApiService => matches!(version, "v1" | "v1beta1"),
            Self::CronJob
            | Self::Ingress
            | Self::LegacyIngress
            | Self::PodDisruptionBudget
            | Self::CustomResourceDefinition
            | Self::Workflow
            | Self::TektonRun
            | Self::Custom => true,
        }
    }

    pub(super) fn judge(self, object: &Value, facts: &Facts) -> Verdict {
        match self {
            Self::Deployment => workload::deployment(object),
            Self::StatefulSet => workload::stateful_set(object),
            Self::DaemonSet => workload::daemon_set(object),
            Self::ReplicaSet => workload::replica_set(object),
            Self::Pod => pod::pod(object),
            Self::Job => job::job(object),
            Self::CronJob => job::cron_job(object),
            Self::Service => network::service(object),
            Self::Ingress | Self::LegacyIngress => network::ingress(object),
            Self::PersistentVolumeClaim => storage::claim(object, facts),
            Self::HorizontalPodAutoscaler => scaling::autoscaler(object),
            Self::PodDisruptionBudget => scaling::disruption_budget(object),
            Self::ApiService => api::api_service(object),
            Self::CustomResourceDefinition => api::definition(object),
            Self::Workflow => runs::workflow(object),
            Self::TektonRun => runs::tekton(object),
            Self::Custom => custom::custom(object),
        }
    }

    /// Whether this object's health is shown without effect on its stage (V17).
    pub(super) fn is_informative(self, object: &Value) -> bool {
        match self {
            Self::Ingress | Self::LegacyIngress | Self::HorizontalPodAutoscaler => true,
            Self::Service => network::is_load_balancer(object),
            Self::Deployment
            | Self::StatefulSet
            | Self::DaemonSet
            | Self::ReplicaSet
            | Self::Pod
            | Self::Job
            | Self::CronJob
            | Self::PersistentVolumeClaim
            | Self::PodDisruptionBudget
            | Self::ApiService
            | Self::CustomResourceDefinition
            | Self::Workflow
            | Self::TektonRun
            | Self::Custom => false,
        }
    }

    pub(super) fn runs_to_end(self) -> bool {
        matches!(self, Self::Job | Self::Pod | Self::Workflow | Self::TektonRun)
    }

    /// `None` for a rule whose kind does not run to an end.
    pub(super) fn completion(self, object: &Value) -> Option<Completion> {
        match self {
            Self::Job => Some(job::completion(object)),
            Self::Pod => Some(pod::completion(object)),
            Self::Workflow => Some(runs::workflow_completion(object)),
            Self::TektonRun => Some(runs::tekton_completion(object)),
            Self::Deployment
            | Self::StatefulSet
            | Self::DaemonSet
            | Self::ReplicaSet
            | Self::CronJob
            | Self::Service
            | Self::Ingress
            | Self::LegacyIngress
            | Self::PersistentVolumeClaim
            | Self::HorizontalPodAutoscaler
            | Self::PodDisruptionBudget
            | Self::ApiService
            | Self::CustomResourceDefinition
            | Self::Custom => None,
        }
    }

    pub(super) fn tracks_generation(self) -> bool {
        matches!(
            self,
            Self::Deployment
                | Self::StatefulSet
                | Self::DaemonSet
                | Self::ReplicaSet
                | Self::HorizontalPodAutoscaler
                | Self::PodDisruptionBudget
                | Self::CustomResourceDefinition
        )
    }
}

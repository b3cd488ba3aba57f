//! The keys of every annotation and label that Swell writes or reads. Names only: the engine parses the values.

/// Native keys that may stand on a manifest: those that it is given, and those that one exported from a cluster brings along.
pub const ON_OBJECTS: &[&str] = &[
    WAVE,
    HOOK,
    HOOK_DELETE_POLICY,
    SYNC_OPTIONS,
    TIMEOUT,
    GATE,
    RUN,
    SETTLE,
    CONFLICTS,
    ADOPT_BY,
    REVISION,
    APPLIED,
    OPERATION,
    ATTEMPT,
    PHASE,
    TTL,
];
/// Native keys that may stand on an Application; an Application can be a manifest too.
pub const ON_APPLICATIONS: &[&str] = &[RELEASE];
/// Keys of Argo CD and Helm that have an effect here.
pub const ACCEPTED: &[&str] = &[
    ARGO_SYNC_WAVE,
    ARGO_HOOK,
    ARGO_HOOK_DELETE_POLICY,
    ARGO_SYNC_OPTIONS,
    ARGO_IGNORE_HEALTHCHECK,
    ARGO_IGNORE_RESTART_POLICY,
    ARGO_COMPARE_OPTIONS,
    ARGO_DELETION_APPROVED,
    ARGO_REFRESH,
    ARGO_SKIP_RECONCILE,
    ARGO_MIGRATION_MANAGER,
    HELM_HOOK,
    HELM_HOOK_WEIGHT,
    HELM_HOOK_DELETE_POLICY,
    HELM_RESOURCE_POLICY,
];

// ---- Native annotations, on manifests. The native one wins over an accepted one of the same meaning.

/// Annotation: the wave inside the phase, an integer; 0 when not given.
pub const WAVE: &str = "swell.dev/wave";
/// Annotation: the phases at which a hook runs, comma-separated: `PreSync`, `Sync`, `PostSync`, `SyncFail`, `PreDelete`, `PostDelete`, or `Skip`.
pub const HOOK: &str = "swell.dev/hook";
/// Annotation: when a hook object is deleted, comma-separated: `BeforeHookCreation`, `HookSucceeded`, `HookFailed`.
pub const HOOK_DELETE_POLICY: &str = "swell.dev/hook-delete-policy";
/// Annotation: sync options of one object, comma-separated, such as `Replace=true`.
pub const SYNC_OPTIONS: &str = "swell.dev/sync-options";
/// Annotation: a duration that replaces the stage's or the hook's time-out for one object; `0` for none.
pub const TIMEOUT: &str = "swell.dev/timeout";
/// Annotation: `true` or `false`, whether the object's health holds its stage.
pub const GATE: &str = "swell.dev/gate";
/// Annotation: how often a hook runs over the life of the Application: `Always`, `Once`, `OnChange`.
pub const RUN: &str = "swell.dev/run";
/// Annotation: how long a custom resource settles after a write before its status counts, a duration.
pub const SETTLE: &str = "swell.dev/settle";
/// Annotation: what happens on a conflict of field ownership: `Force` or `Fail`.
pub const CONFLICTS: &str = "swell.dev/conflicts";

// ---- Native annotations, elsewhere.

/// Annotation on a live object: `<namespace>/<application>`, the Application to which the present owner hands it over.
pub const ADOPT_BY: &str = "swell.dev/adopt-by";
/// Annotation on source ConfigMaps: a change counts once all of an Application's ConfigMaps carry the same value.
pub const REVISION: &str = "swell.dev/revision";
/// Annotation on an Application that is being deleted: `now` lets the finalizer go and leaves what is left.
pub const RELEASE: &str = "swell.dev/release";

// ---- What Swell writes on the objects that it manages.

/// Annotation: `1.<identity>.<content>`, which object this is for which Application, and a digest of the manifest as sent.
pub const APPLIED: &str = "swell.dev/applied";
/// Label: the shard bucket, two hex digits of the membership id.
pub const BUCKET: &str = "swell.dev/bucket";
/// Annotation on a hook object: the id of the operation that it runs for.
pub const OPERATION: &str = "swell.dev/operation";
/// Annotation on a hook object: the attempt of the operation that it runs for, counted from 1.
pub const ATTEMPT: &str = "swell.dev/attempt";
/// Annotation on a hook object: the phase that it runs for.
pub const PHASE: &str = "swell.dev/phase";
/// Annotation on a Job: the user's `ttlSecondsAfterFinished`, held back until the Job's outcome is durable.
pub const TTL: &str = "swell.dev/ttl";

// ---- Accepted from Argo CD, unchanged.

/// Annotation: the wave, as [`WAVE`].
pub const ARGO_SYNC_WAVE: &str = "argocd.argoproj.io/sync-wave";
/// Annotation: the hook's phases, as [`HOOK`].
pub const ARGO_HOOK: &str = "argocd.argoproj.io/hook";
/// Annotation: the hook's delete policies, as [`HOOK_DELETE_POLICY`].
pub const ARGO_HOOK_DELETE_POLICY: &str = "argocd.argoproj.io/hook-delete-policy";
/// Annotation: sync options of one object, as [`SYNC_OPTIONS`].
pub const ARGO_SYNC_OPTIONS: &str = "argocd.argoproj.io/sync-options";
/// Annotation: `true` leaves the object out of the application's health and of the waiting.
pub const ARGO_IGNORE_HEALTHCHECK: &str = "argocd.argoproj.io/ignore-healthcheck";
/// Annotation: `true` judges a Pod that is no hook as one with `restartPolicy: Always`: a container that cannot start is Degraded.
pub const ARGO_IGNORE_RESTART_POLICY: &str = "argocd.argoproj.io/ignore-restart-policy";
/// Annotation: how an object is compared, comma-separated: with `IgnoreExtraneous` an object that is only to be pruned does not make the Application OutOfSync.
pub const ARGO_COMPARE_OPTIONS: &str = "argocd.argoproj.io/compare-options";
/// Annotation on an Application: the RFC 3339 time of the approval of prunes and deletes that wait for a confirmation.
pub const ARGO_DELETION_APPROVED: &str = "argocd.argoproj.io/deletion-approved";
/// Annotation on an Application: `normal` or `hard` asks for a comparison now.
pub const ARGO_REFRESH: &str = "argocd.argoproj.io/refresh";
/// Annotation on an Application: `true` stops its reconciliation.
pub const ARGO_SKIP_RECONCILE: &str = "argocd.argoproj.io/skip-reconcile";
/// Annotation on an Application: a further field manager whose entries are taken over beside kubectl's.
pub const ARGO_MIGRATION_MANAGER: &str = "argocd.argoproj.io/client-side-apply-migration-manager";
/// Annotation on a live object: which application of Argo CD tracks it; read to say from whom it was taken over.
pub const ARGO_TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";
/// Finalizer of Argo CD's on hooks: removed from a leftover, never set.
pub const ARGO_HOOK_FINALIZER: &str = "argocd.argoproj.io/hook-finalizer";

// ---- Accepted from Helm, unchanged.

/// Annotation: Helm's hook types, comma-separated, such as `pre-install,pre-upgrade`.
pub const HELM_HOOK: &str = "helm.sh/hook";
/// Annotation: the weight of a Helm hook, an integer: its wave when no wave is given.
pub const HELM_HOOK_WEIGHT: &str = "helm.sh/hook-weight";
/// Annotation: Helm's delete policies, comma-separated: `before-hook-creation`, `hook-succeeded`, `hook-failed`.
pub const HELM_HOOK_DELETE_POLICY: &str = "helm.sh/hook-delete-policy";
/// Annotation: `keep` leaves the object when the Application is deleted.
pub const HELM_RESOURCE_POLICY: &str = "helm.sh/resource-policy";

// ---- The ApplySet convention (KEP-3659).

/// Label on members: the ApplySet that they are part of, our membership label.
pub const PART_OF: &str = "applyset.kubernetes.io/part-of";
/// Label on the parent, our Application: the id of its ApplySet.
pub const APPLYSET_ID: &str = "applyset.kubernetes.io/id";
/// Annotation on the parent: the tool that manages the set, with its version.
pub const APPLYSET_TOOLING: &str = "applyset.kubernetes.io/tooling";
/// Annotation on the parent: the kinds of its members, `Kind.group` comma-separated, sorted.
pub const APPLYSET_CONTAINS_GROUP_KINDS: &str = "applyset.kubernetes.io/contains-group-kinds";
/// Annotation on the parent: the namespaces of its members beside its own, comma-separated, sorted.
pub const APPLYSET_ADDITIONAL_NAMESPACES: &str = "applyset.kubernetes.io/additional-namespaces";
/// Label on a CustomResourceDefinition: its objects can be parents of ApplySets.
pub const APPLYSET_IS_PARENT_TYPE: &str = "applyset.kubernetes.io/is-parent-type";

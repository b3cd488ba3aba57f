//! The root of the custom resource. Kube's derive makes roots of `spec` and `status`; ours has `operation` beside them, so the
//! struct is written out and takes everything else from the derived one.

use std::time::Duration as StdDuration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::object::{HasSpec, HasStatus};
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};

use super::operation::Operation;
use super::spec::{ApplicationSpec, DeletionPolicy, SpecAndStatus, SyncPolicy};
use super::status::ApplicationStatus;
use super::{API_VERSION, Duration, KIND};

/// An application that is deployed in order; see the fields of its spec.
#[derive(Resource, Clone, Debug, PartialEq, Deserialize)]
#[resource(inherit = SpecAndStatus)]
pub struct Application {
    /// Name, namespace, labels, annotations and what the server adds.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What the user wants.
    pub spec: ApplicationSpec,
    /// One asked-for run; absent when none is asked for or it has been taken up.
    #[serde(default)]
    pub operation: Option<Operation>,
    /// What the operator knows; absent until it has looked.
    #[serde(default)]
    pub status: Option<ApplicationStatus>,
}

/// Whether and how to sync without being asked, defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four independent switches of the user's, as the wire has them")]
pub struct Automated {
    /// Whether a change of the source is synced at once.
    pub enabled: bool,
    /// Whether objects whose manifest is gone are deleted.
    pub prune: bool,
    /// Whether drift is undone.
    pub self_heal: bool,
    /// Whether a source without any manifest may prune everything.
    pub allow_empty: bool,
}

/// How a failed operation is tried again, defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How many more attempts there are after the first; `None` for no limit.
    pub limit: Option<u64>,
    /// The pause before the second attempt.
    pub duration: StdDuration,
    /// By how much each pause is longer than the one before; at least 1.
    pub factor: u32,
    /// The longest pause.
    pub max_duration: StdDuration,
}

/// How long things may take, defaults filled in; `None` for no deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// One attempt as a whole.
    pub sync: Option<StdDuration>,
    /// The plain objects and prunes of one stage.
    pub stage: Option<StdDuration>,
    /// Each hook, from its creation.
    pub hook: Option<StdDuration>,
}

impl Application {
    /// An Application of that name, without a namespace.
    pub fn new(name: &str, spec: ApplicationSpec) -> Self {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        Self { metadata, spec, operation: None, status: None }
    }

    /// Whether and how to sync without being asked: `enabled` is true unless it is said to be false.
    pub fn automated(&self) -> Automated {
        let policy = self.sync_policy().and_then(|policy| policy.automated.as_ref());
        Automated {
            enabled: policy.and_then(|policy| policy.enabled).unwrap_or(true),
            prune: policy.is_some_and(|policy| policy.prune),
            self_heal: policy.is_some_and(|policy| policy.self_heal),
            allow_empty: policy.is_some_and(|policy| policy.allow_empty),
        }
    }

    /// How a failed operation is tried again: not at all by default; with pauses of 5 s, doubled, at most 3 min.
    pub fn retry(&self) -> Retry {
        let retry = self.sync_policy().and_then(|policy| policy.retry.as_ref());
        let backoff = retry.and_then(|retry| retry.backoff.as_ref());
        let pause = |given: Option<Duration>, default| given.map_or(StdDuration::from_secs(default), Duration::get);
        Retry {
            // A negative limit is what u64 cannot hold: none.
            limit: u64::try_from(retry.and_then(|retry| retry.limit).unwrap_or(0)).ok(),
            duration: pause(backoff.and_then(|backoff| backoff.duration), 5),
            factor: backoff
                .and_then(|backoff| backoff.factor)
                .map_or(2, |factor| u32::try_from(factor.max(1)).unwrap_or(u32::MAX)),
            max_duration: pause(backoff.and_then(|backoff| backoff.max_duration), 180),
        }
    }

    /// How long things may take: an attempt 1 h, a stage 10 min, a hook 30 min by default.
    pub fn timeouts(&self) -> Timeouts {
        let timeouts = self.sync_policy().and_then(|policy| policy.timeouts.as_ref());
        let limit = |given: Option<Duration>, minutes: u64| {
            let limit = given.map_or(StdDuration::from_mins(minutes), Duration::get);
            (!limit.is_zero()).then_some(limit)
        };
        Timeouts {
            sync: limit(timeouts.and_then(|timeouts| timeouts.sync), 60),
            stage: limit(timeouts.and_then(|timeouts| timeouts.stage), 10),
            hook: limit(timeouts.and_then(|timeouts| timeouts.hook), 30),
        }
    }

    /// The options of `syncPolicy.syncOptions`, as written.
    pub fn sync_options(&self) -> &[String] {
        self.sync_policy().map_or(&[], |policy| &policy.sync_options)
    }

    /// The Application's own namespace; `default` for one that was never stored and names none, as kubectl has it.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or("default")
    }

    /// Whether the logs of what has failed are kept.
    pub fn captures_logs(&self) -> bool {
        self.spec.sync_policy.as_ref().and_then(|policy| policy.capture_logs).unwrap_or(true)
    }

    /// The namespace of objects that name none: the destination's, else the Application's own.
    pub fn destination_namespace(&self) -> &str {
        let destination = self.spec.destination.as_ref().and_then(|destination| destination.namespace.as_deref());
        destination.unwrap_or_else(|| self.namespace())
    }

    /// The service account, in [`Self::namespace`], as which everything is written: `default` by default.
    pub fn service_account(&self) -> &str {
        self.spec.service_account_name.as_deref().unwrap_or("default")
    }

    /// What happens to the objects when the Application is deleted.
    pub fn deletion_policy(&self) -> DeletionPolicy {
        self.spec.deletion_policy.unwrap_or_default()
    }

    /// How many ended operations the history keeps: 10 by default.
    pub fn revision_history_limit(&self) -> usize {
        usize::try_from(self.spec.revision_history_limit.unwrap_or(10).max(0)).unwrap_or(usize::MAX)
    }

    fn sync_policy(&self) -> Option<&SyncPolicy> {
        self.spec.sync_policy.as_ref()
    }
}

/// With `apiVersion` and `kind`, and without what is absent: no null is ever sent.
impl Serialize for Application {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let optional = usize::from(self.operation.is_some()) + usize::from(self.status.is_some());
        let mut root = serializer.serialize_struct(KIND, 4 + optional)?;
        root.serialize_field("apiVersion", API_VERSION)?;
        root.serialize_field("kind", KIND)?;
        root.serialize_field("metadata", &self.metadata)?;
        root.serialize_field("spec", &self.spec)?;
        if let Some(operation) = &self.operation {
            root.serialize_field("operation", operation)?;
        }
        if let Some(status) = &self.status {
            root.serialize_field("status", status)?;
        }
        root.end()
    }
}

impl HasSpec for Application {
    type Spec = ApplicationSpec;

    fn spec(&self) -> &ApplicationSpec {
        &self.spec
    }

    fn spec_mut(&mut self) -> &mut ApplicationSpec {
        &mut self.spec
    }
}

impl HasStatus for Application {
    type Status = ApplicationStatus;

    fn status(&self) -> Option<&ApplicationStatus> {
        self.status.as_ref()
    }

    fn status_mut(&mut self) -> &mut Option<ApplicationStatus> {
        &mut self.status
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{GROUP, Source, VERSION};
    use super::*;

    fn application(spec: &Value) -> Application {
        serde_json::from_value(json!({"metadata": {"name": "shop", "namespace": "team-a"}, "spec": spec})).unwrap()
    }

    fn minimal() -> Application {
        application(&json!({"source": {"inline": ""}}))
    }

    fn with_policy(policy: &Value) -> Application {
        application(&json!({"source": {"inline": ""}, "syncPolicy": policy}))
    }

    #[test]
    fn an_application_that_says_nothing_has_the_documented_defaults() {
        let app = minimal();
        assert_eq!(app.automated(), Automated { enabled: true, prune: false, self_heal: false, allow_empty: false });
        let (second, minute) = (StdDuration::from_secs(1), StdDuration::from_mins(1));
        assert_eq!(app.retry(), Retry { limit: Some(0), duration: 5 * second, factor: 2, max_duration: 3 * minute });
        assert_eq!(
            app.timeouts(),
            Timeouts { sync: Some(60 * minute), stage: Some(10 * minute), hook: Some(30 * minute) }
        );
        assert_eq!(app.service_account(), "default");
        assert_eq!(app.destination_namespace(), "team-a");
        assert_eq!(app.deletion_policy(), DeletionPolicy::Delete);
        assert_eq!(app.revision_history_limit(), 10);
        assert!(app.sync_options().is_empty());
        assert_eq!(with_policy(&json!({})).timeouts(), app.timeouts(), "an empty policy says nothing either");
    }

    #[test]
    fn what_an_application_says_wins_over_the_defaults() {
        let app = application(&json!({
            "source": {"inline": ""},
            "destination": {"namespace": "shop"},
            "serviceAccountName": "deployer",
            "deletionPolicy": "Orphan",
            "revisionHistoryLimit": 0,
            "syncPolicy": {"syncOptions": ["PruneLast=true"], "timeouts": {"stage": "90s", "hook": "1h30m"}}
        }));
        assert_eq!(app.destination_namespace(), "shop");
        assert_eq!(app.service_account(), "deployer");
        assert_eq!(app.deletion_policy(), DeletionPolicy::Orphan);
        assert_eq!(app.revision_history_limit(), 0);
        assert_eq!(app.sync_options(), ["PruneLast=true"]);
        let timeouts = app.timeouts();
        assert_eq!(timeouts.sync, Some(StdDuration::from_hours(1)), "what is not said keeps its default");
        assert_eq!(timeouts.stage, Some(StdDuration::from_secs(90)));
        assert_eq!(timeouts.hook, Some(StdDuration::from_mins(90)));
    }

    #[test]
    fn v28_automated_sync_is_on_unless_it_is_turned_off() {
        assert!(with_policy(&json!({"automated": {}})).automated().enabled);
        let app =
            with_policy(&json!({"automated": {"enabled": false, "prune": true, "selfHeal": true, "allowEmpty": true}}));
        assert_eq!(app.automated(), Automated { enabled: false, prune: true, self_heal: true, allow_empty: true });
    }

    #[test]
    fn v2_a_timeout_of_zero_is_no_deadline() {
        let app = with_policy(&json!({"timeouts": {"sync": "0", "stage": "0s", "hook": "0"}}));
        assert_eq!(app.timeouts(), Timeouts { sync: None, stage: None, hook: None });
    }

    #[test]
    fn v30_retry_asks_for_attempts_and_minus_one_for_no_end() {
        assert_eq!(with_policy(&json!({"retry": {}})).retry().limit, Some(0));
        assert_eq!(with_policy(&json!({"retry": {"limit": 3}})).retry().limit, Some(3));
        assert_eq!(with_policy(&json!({"retry": {"limit": -1}})).retry().limit, None);
        let retry = with_policy(
            &json!({"retry": {"limit": 1, "backoff": {"duration": "30", "factor": 3, "maxDuration": "1h"}}}),
        )
        .retry();
        let expected = Retry {
            limit: Some(1),
            duration: StdDuration::from_secs(30),
            factor: 3,
            max_duration: StdDuration::from_hours(1),
        };
        assert_eq!(retry, expected, "a duration without unit is in seconds, as in Argo CD");
    }

    #[test]
    fn the_wire_form_names_its_kind_and_has_no_nulls() {
        let app = minimal();
        assert_eq!(
            serde_json::to_value(&app).unwrap(),
            json!({
                "apiVersion": "swell.dev/v1alpha1",
                "kind": "Application",
                "metadata": {"name": "shop", "namespace": "team-a"},
                "spec": {"source": {"inline": ""}}
            })
        );
        let mut asked = app;
        asked.operation = Some(Operation { terminate: Some(super::super::Terminate {}), ..Operation::default() });
        asked.status = Some(ApplicationStatus::default());
        let value = serde_json::to_value(&asked).unwrap();
        assert_eq!(value["operation"], json!({"terminate": {}}));
        assert_eq!(value["status"], json!({}));
        assert_eq!(serde_json::from_value::<Application>(value).unwrap(), asked);
    }

    #[test]
    fn the_constants_are_those_of_the_derived_resource() {
        assert_eq!(Application::group(&()), GROUP);
        assert_eq!(Application::version(&()), VERSION);
        assert_eq!(Application::api_version(&()), API_VERSION);
        assert_eq!(Application::kind(&()), KIND);
        assert_eq!(Application::plural(&()), "applications");
    }

    #[test]
    fn a_key_with_nothing_behind_it_counts_as_absent() {
        let app = application(&json!({
            "source": {"inline": "a", "configMaps": null},
            "ignoreDifferences": null,
            "deletionPolicy": null,
            "syncPolicy": {"syncOptions": null, "automated": {"prune": null}, "retry": null}
        }));
        assert_eq!(app.spec.source, Source::Inline("a".to_owned()));
        assert_eq!(app.deletion_policy(), DeletionPolicy::Delete);
        assert!(!app.automated().prune);
    }

    #[test]
    fn a_source_is_exactly_one() {
        let read = |source: Value| serde_json::from_value::<Source>(source).map_err(|error| error.to_string());
        let maps = json!([{"name": "manifests", "key": "app.yaml"}]);
        assert!(
            matches!(read(json!({"configMaps": maps})), Ok(Source::ConfigMaps(maps)) if maps[0].name == "manifests")
        );
        assert!(read(json!({})).unwrap_err().contains("spec.source is empty"));
        assert!(read(json!({"inline": "", "configMaps": maps})).unwrap_err().contains("exactly one"));
    }
}

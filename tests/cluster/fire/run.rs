//! One sync, hit at one point, and what came of it.

use kube::api::{Patch, PatchParams};
use serde_json::json;
use swell::api::{ApplicationStatus, OperationPhase};
use testbed::audit::Mark;
use testbed::faults::{Call, Moment, When};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Duration, Instant};

use super::verdict;
use crate::support::{Place, config_map, job, testbed};

/// How long a sync may take that was hit: a name whose create may still be done is left alone for 65 s.
const PATIENCE: Duration = Duration::from_mins(3);

/// A sync that takes longer has nothing to do but to wait.
const BUSY: Duration = Duration::from_secs(20);

/// How long after its end a sync may still have calls to make.
const AFTERMATH: Duration = Duration::from_secs(1);

const HOOK: &str = "argocd.argoproj.io/hook";
const POLICY: &str = "argocd.argoproj.io/hook-delete-policy";
const WAVE: &str = "argocd.argoproj.io/sync-wave";
const APP: &str = "app";

/// The two syncs: a passive hook and a Job in PreSync, two objects and a Job in Sync, a Job in PostSync, a Job in SyncFail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sync {
    /// It succeeds.
    Good,
    /// Its PostSync hook fails.
    Bad,
}

impl Sync {
    fn manifests(self) -> String {
        let quick = ("pods.swell.dev/complete-after", "100ms");
        let pod: &[_] = &[quick];
        let fails: &[_] = &[quick, ("pods.swell.dev/exit-code", "3"), ("pods.swell.dev/log", "no answer\n")];
        let smoke = if self == Self::Good { pod } else { fails };
        [
            config_map("helper", &[(HOOK, "PreSync"), (WAVE, "-1"), (POLICY, "HookSucceeded")], "1"),
            job("migrate", &[(HOOK, "PreSync"), (POLICY, "BeforeHookCreation")], pod),
            config_map("settings", &[], "1"),
            config_map("flags", &[], "1"),
            job("load", &[(HOOK, "Sync"), (POLICY, "HookSucceeded")], pod),
            job("smoke", &[(HOOK, "PostSync"), (POLICY, "HookFailed")], smoke),
            job("notify", &[(HOOK, "SyncFail"), (POLICY, "HookSucceeded")], pod),
        ]
        .concat()
    }

    /// How its operation ends.
    pub(super) fn end(self) -> OperationPhase {
        if self == Self::Good { OperationPhase::Succeeded } else { OperationPhase::Failed }
    }
}

/// What happens at the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum How {
    /// The operator is killed and started again.
    Kill,
    /// All its connections are reset.
    Cut,
    /// Its network is gone, and another operator takes over.
    TakeOver,
}

/// What came of one point.
#[derive(Debug)]
pub(super) struct Tried {
    /// The call that was hit; none: the sync was over before.
    pub(super) at: Option<String>,
    /// What is wrong at the end.
    pub(super) wrong: Vec<String>,
    /// What to look at when something is wrong.
    pub(super) namespace: String,
}

/// Runs one sync, hits it at the point if one is given, and judges the end. Gives the operator's calls too. The permit is given back
/// early by a sync that only waits.
pub(super) async fn try_point(
    sync: Sync,
    point: Option<(How, Moment, When)>,
    permit: Option<OwnedSemaphorePermit>,
) -> (Tried, Vec<Call>) {
    let mark = testbed().audit().mark().unwrap();
    let (mut place, proxy) = Place::with_proxy("fire").await;
    place.apply_with(APP, &sync.manifests(), json!({})).await;
    let point = point.map(|(how, moment, when)| (how, proxy.stop(when, moment)));
    place.start_operator_behind(&proxy);
    let mut at = None;
    // Kept to the end: it is gone for the cluster, and does not know it.
    let mut _aside = None;
    if let Some((how, stop)) = point {
        tokio::select! {
            biased;
            call = stop.reached() => at = call.ok(),
            // What follows the end, an Event say, follows at once.
            _ = ended(&place) => {
                let late = tokio::time::timeout(AFTERMATH, stop.reached()).await;
                at = late.ok().and_then(Result::ok);
            }
        }
        if at.is_some() {
            match how {
                How::Kill => {
                    place.kill_operator();
                    stop.cut();
                    place.start_operator_behind(&proxy);
                }
                How::Cut => stop.cut(),
                How::TakeOver => {
                    stop.partition();
                    _aside = Some(place.set_aside());
                    place.start_operator().await;
                }
            }
        }
    }
    let mut permit = permit;
    let wrong = tokio::select! {
        wrong = judge(&place, sync, mark) => wrong,
        () = async {
            tokio::time::sleep(BUSY).await;
            permit = None;
            std::future::pending::<()>().await;
        } => Vec::new(),
    };
    drop(permit);
    (Tried { at: at.map(|call| call.to_string()), wrong, namespace: place.namespace.clone() }, proxy.calls())
}

/// Waits for the end, makes sure that the operator that runs now has looked at it, and judges.
async fn judge(place: &Place, sync: Sync, mark: Mark) -> Vec<String> {
    let unended = |status| vec![format!("it has not ended: {status:#?}\n{}", place.operator_log())];
    if let Err(status) = ended(place).await {
        return unended(status);
    }
    // Changes nothing but the generation, which the operator must take note of: after that it has nothing left to do.
    let patch = json!({"spec": {"revisionHistoryLimit": 11}});
    place.applications().patch(APP, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let noted = until(place, |status| status.observed_generation == Some(2) && is_ended(status)).await;
    match noted {
        Ok(status) => verdict::wrong(place, sync, &status, mark).await,
        Err(status) => unended(status),
    }
}

fn is_ended(status: &ApplicationStatus) -> bool {
    status.operation_state.as_ref().is_some_and(|state| state.phase.is_ended())
}

async fn ended(place: &Place) -> Result<ApplicationStatus, Option<ApplicationStatus>> {
    until(place, is_ended).await
}

/// Waits for a status; gives the last one when the patience is over.
async fn until(
    place: &Place,
    done: impl Fn(&ApplicationStatus) -> bool,
) -> Result<ApplicationStatus, Option<ApplicationStatus>> {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let end = Instant::now() + PATIENCE;
    loop {
        tick.tick().await;
        match place.applications().get(APP).await.unwrap().status {
            Some(status) if done(&status) => return Ok(status),
            status if Instant::now() > end => return Err(status),
            _ => {}
        }
    }
}

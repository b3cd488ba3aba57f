//! What a person asks of an Application: `swell sync`, `retry`, `terminate`, and `wait` for what comes of it.

use std::process::ExitCode;

use jiff::Timestamp;

use super::cluster::{Cluster, ClusterArgs, block_on, explained, missing};
use super::exit::Exit;
use super::follow::{Follow, Seen, end_of};
use super::progress;
use super::show;
use crate::api::{Application, Duration, InitiatedBy, Operation, SyncOperation, SyncResource, Terminate};
use crate::cluster::application;
use crate::engine::action::FaultKind;
use crate::engine::object::Owner;

/// How often a request is put again when the Application changes under it.
const TRIES: usize = 10;

/// Whether a command waits for the end, and how long.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Waiting {
    /// Wait until the operation has ended; ends with 4 if it failed.
    #[arg(long, short = 'w')]
    wait: bool,
    /// How long to wait, such as 90s or 10m; 0 is for ever. Passed: ends with 6, and the operation goes on.
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    timeout: Duration,
}

/// Ask for a sync: everything that the source says, in order.
#[derive(Debug, clap::Args)]
pub(super) struct SyncArgs {
    /// The Application.
    #[arg(value_name = "APPLICATION")]
    name: String,
    /// Delete objects whose manifests are gone.
    #[arg(long)]
    prune: bool,
    /// Write nothing: only tell, in the operation's rows, what each stage would do.
    #[arg(long)]
    dry_run: bool,
    /// Only this object, without hooks: KIND/NAME, KIND.GROUP/NAME or KIND.GROUP/NAMESPACE/NAME; may be given more than once.
    #[arg(long = "resource", value_name = "KIND.GROUP/NAME", value_parser = resource)]
    resources: Vec<SyncResource>,
    /// A sync option in place of the Application's, such as Replace=true; may be given more than once.
    #[arg(long = "option", value_name = "OPTION")]
    options: Vec<String>,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Ask for the last operation again, at once also while its next attempt is waited for.
#[derive(Debug, clap::Args)]
pub(super) struct RetryArgs {
    /// The Application.
    #[arg(value_name = "APPLICATION")]
    name: String,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// End the operation that runs: nothing new is begun, running hooks are deleted.
#[derive(Debug, clap::Args)]
pub(super) struct TerminateArgs {
    /// The Application.
    #[arg(value_name = "APPLICATION")]
    name: String,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Wait until an Application is Ready: synced and healthy at its newest generation.
///
/// Ends with 0 when it is, with 4 as soon as its operation has failed and is not tried again, with 6 when the time has passed.
#[derive(Debug, clap::Args)]
pub(super) struct WaitArgs {
    /// The Application.
    #[arg(value_name = "APPLICATION")]
    name: String,
    /// How long to wait, such as 90s or 10m; 0 is for ever.
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    timeout: Duration,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// `KIND/NAME`, `KIND.GROUP/NAME`, `KIND.GROUP/NAMESPACE/NAME`.
fn resource(text: &str) -> Result<SyncResource, String> {
    let parts: Vec<_> = text.split('/').collect();
    let (kind, namespace, name) = match parts[..] {
        [kind, name] => (kind, None, name),
        [kind, namespace, name] => (kind, Some(namespace.to_owned()), name),
        _ => {
            return Err(format!(
                "{text:?} names no object; it takes one such as Deployment.apps/web or ConfigMap/shop/settings"
            ));
        }
    };
    let (kind, group) = kind.split_once('.').unwrap_or((kind, ""));
    if kind.is_empty() || name.is_empty() {
        return Err(format!("{text:?} lacks a kind or a name; it takes one such as Deployment.apps/web"));
    }
    Ok(SyncResource { group: group.to_owned(), kind: kind.to_owned(), namespace, name: name.to_owned() })
}

pub(super) fn sync(args: &SyncArgs) -> anyhow::Result<ExitCode> {
    block_on(async {
        let cluster = args.cluster.connect().await?;
        let owner = cluster.owner(&args.name);
        let sync = SyncOperation {
            prune: args.prune,
            dry_run: args.dry_run,
            resources: args.resources.clone(),
            sync_options: args.options.clone(),
        };
        let asked = request(&cluster, &owner, |_| Ok(Some(sync.clone().into()))).await?;
        outcome(&cluster, &owner, asked, args.waiting, "sync").await
    })
}

pub(super) fn retry(args: &RetryArgs) -> anyhow::Result<ExitCode> {
    block_on(async {
        let cluster = args.cluster.connect().await?;
        let owner = cluster.owner(&args.name);
        let before = cluster.application(&owner).await?;
        let Some(state) = before.status.as_ref().and_then(|status| status.operation_state.as_ref()) else {
            anyhow::bail!("{owner} has had no operation yet; swell sync asks for one");
        };
        let again = state.operation.as_ref().and_then(|operation| operation.sync.clone());
        let again =
            again.unwrap_or_else(|| SyncOperation { prune: before.automated().prune, ..SyncOperation::default() });
        if !state.phase.is_ended() {
            if state.retry_at.is_none() {
                anyhow::bail!(
                    "the operation {} of {owner} still runs; swell terminate ends it, swell wait waits for it",
                    state.id
                );
            }
            // It waits for its next attempt: that one is given up for an attempt now.
            let ended = request(&cluster, &owner, |_| Ok(Some(terminate_it()))).await?;
            if let Some(generation) = ended {
                follow(&cluster, &owner, Until::Asked(generation), args.waiting.timeout, false).await?;
            }
        }
        let asked = request(&cluster, &owner, |_| Ok(Some(again.clone().into()))).await?;
        outcome(&cluster, &owner, asked, args.waiting, "sync").await
    })
}

pub(super) fn terminate(args: &TerminateArgs) -> anyhow::Result<ExitCode> {
    block_on(async {
        let cluster = args.cluster.connect().await?;
        let owner = cluster.owner(&args.name);
        let asked = request(&cluster, &owner, |application| {
            let state = application.status.as_ref().and_then(|status| status.operation_state.as_ref());
            Ok(state.is_some_and(|state| !state.phase.is_ended()).then(terminate_it))
        })
        .await?;
        if asked.is_none() {
            println!("{owner}: no operation runs");
            return Ok(Exit::Done.into());
        }
        if !args.waiting.wait {
            println!("{owner}: the end of the operation is asked for");
            return Ok(Exit::Done.into());
        }
        let ended = follow(&cluster, &owner, Until::Over, args.waiting.timeout, true).await?;
        // That it ends as terminated is what was asked for.
        Ok(if ended == Exit::Failed { Exit::Done } else { ended }.into())
    })
}

pub(super) fn wait(args: &WaitArgs) -> anyhow::Result<ExitCode> {
    block_on(async {
        let cluster = args.cluster.connect().await?;
        let owner = cluster.owner(&args.name);
        Ok(follow(&cluster, &owner, Until::Ready, args.timeout, true).await?.into())
    })
}

impl From<SyncOperation> for Operation {
    fn from(sync: SyncOperation) -> Self {
        Self { sync: Some(sync), ..Self::default() }
    }
}

fn terminate_it() -> Operation {
    Operation { terminate: Some(Terminate {}), ..Operation::default() }
}

/// Puts a request; gives the generation that it has, or nothing where there is nothing to ask for.
async fn request(
    cluster: &Cluster,
    owner: &Owner,
    what: impl Fn(&Application) -> anyhow::Result<Option<Operation>>,
) -> anyhow::Result<Option<i64>> {
    let calls = cluster.calls();
    let who = application::who_am_i(&calls).await;
    for _ in 0..TRIES {
        let now = cluster.application(owner).await?;
        let Some(mut operation) = what(&now)? else { return Ok(None) };
        if let Some(waiting) = &now.operation {
            let is = if waiting.terminate.is_some() { "to terminate" } else { "for a sync" };
            anyhow::bail!(
                "{owner} already has a request {is}, which the operator has not taken up yet: it is taken up when the operation that runs has \
                 ended, or the operator does not run (kubectl get pods -n swell-system)"
            );
        }
        operation.initiated_by = Some(InitiatedBy { username: who.clone(), automated: false });
        let version = now.metadata.resource_version.clone().unwrap_or_default();
        match application::ask(&calls, owner, &version, &operation).await {
            Ok(asked) => return Ok(asked.metadata.generation),
            Err(fault) if fault.kind == FaultKind::Conflict => {}
            Err(fault) => return Err(explained(&fault, owner)),
        }
    }
    anyhow::bail!("{owner} changes all the time: the request could not be put in {TRIES} tries")
}

async fn outcome(
    cluster: &Cluster,
    owner: &Owner,
    asked: Option<i64>,
    waiting: Waiting,
    what: &str,
) -> anyhow::Result<ExitCode> {
    match asked {
        Some(generation) if waiting.wait => {
            Ok(follow(cluster, owner, Until::Asked(generation), waiting.timeout, true).await?.into())
        }
        _ => {
            println!(
                "{owner}: a {what} is asked for; swell status {} -n {} --watch follows it",
                owner.name(),
                owner.namespace()
            );
            Ok(Exit::Done.into())
        }
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// The end of the operation that was asked for at this generation.
    Asked(i64),
    /// The end of whatever runs.
    Over,
    /// Ready at the newest generation.
    Ready,
}

fn taken_up(application: &Application, generation: i64) -> bool {
    let state = application.status.as_ref().and_then(|status| status.operation_state.as_ref());
    state.and_then(|state| state.request_generation).is_some_and(|at| at >= generation)
}

/// Whether it is over, and how.
fn ended(application: &Application, until: Until) -> Option<Exit> {
    let status = application.status.as_ref();
    let state = status.and_then(|status| status.operation_state.as_ref());
    let over = state.filter(|state| state.phase.is_ended() && state.finished_at.is_some());
    let by_phase = |phase| if phase == crate::api::OperationPhase::Succeeded { Exit::Done } else { Exit::Failed };
    match until {
        Until::Asked(generation) => over
            .filter(|state| state.request_generation.is_some_and(|at| at >= generation))
            .map(|state| by_phase(state.phase)),
        Until::Over => over.filter(|_| application.operation.is_none()).map(|state| by_phase(state.phase)),
        Until::Ready => {
            let status = status.filter(|status| status.observed_generation == application.metadata.generation)?;
            let holds = |kind: &str| {
                status.conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True")
            };
            if holds("Ready") {
                return Some(Exit::Done);
            }
            // A person's confirmation, say, may still come while the operation runs.
            (holds("Stalled") && !holds("Reconciling") && (state.is_none() || over.is_some())).then_some(Exit::Failed)
        }
    }
}

async fn follow(cluster: &Cluster, owner: &Owner, until: Until, timeout: Duration, tell: bool) -> anyhow::Result<Exit> {
    let mut follow = Follow::start(cluster, owner)?;
    let end = end_of(timeout.get());
    let mut told = String::new();
    loop {
        let application = match follow.next(end).await? {
            Some(Seen::There(application)) => application,
            Some(Seen::Nothing) => continue,
            Some(Seen::Gone) => return Err(missing(owner)),
            None => {
                eprintln!("swell: {owner}: not there after {timeout}; it goes on: {told}");
                return Ok(Exit::TimedOut);
            }
        };
        let line = progress::line(&application);
        // What was before it was taken up is not what was asked about.
        let counts = match until {
            Until::Asked(generation) => taken_up(&application, generation),
            Until::Over | Until::Ready => true,
        };
        if tell && counts && line != told {
            println!("{} {line}", show::clock(Timestamp::now()));
        }
        told = line;
        if let Some(exit) = ended(&application, until) {
            return Ok(exit);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn application(value: Value) -> Application {
        let mut whole = json!({"apiVersion": "swell.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": "shop", "generation": 4}, "spec": {"source": {"inline": ""}}});
        whole["status"] = value;
        serde_json::from_value(whole).unwrap()
    }

    fn state(phase: &str, generation: Option<i64>) -> Value {
        json!({"id": "a", "attempt": 1, "phase": phase, "retryCount": 0, "startedAt": "2026-01-01T00:00:00Z",
            "finishedAt": "2026-01-01T00:00:01Z", "requestGeneration": generation})
    }

    #[test]
    fn objects_are_named_as_kubectl_names_them() {
        let of = |text| resource(text).map(|r| (r.group, r.kind, r.namespace, r.name)).unwrap();
        assert_eq!(of("ConfigMap/x"), (String::new(), "ConfigMap".into(), None, "x".into()));
        assert_eq!(
            of("Certificate.cert-manager.io/shop/x"),
            ("cert-manager.io".into(), "Certificate".into(), Some("shop".into()), "x".into())
        );
        assert!(resource("web").unwrap_err().contains("Deployment.apps/web"));
    }

    #[test]
    fn the_end_of_an_earlier_operation_is_not_that_of_the_one_that_was_asked_for() {
        let is =
            |generation| ended(&application(json!({"operationState": state("Failed", generation)})), Until::Asked(4));
        assert_eq!((is(None), is(Some(3)), is(Some(4))), (None, None, Some(Exit::Failed)));
        let succeeded = application(json!({"operationState": state("Succeeded", Some(4))}));
        assert_eq!(ended(&succeeded, Until::Asked(4)), Some(Exit::Done));
    }

    #[test]
    fn ready_counts_at_the_newest_generation_alone_and_stalled_only_when_nothing_runs() {
        let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let is = |generation: i64, conditions: &[&str], phase: &str| {
            let conditions: Vec<_> = conditions.iter().map(|kind| condition(kind)).collect();
            let mut state = state(phase, None);
            if phase == "Running" {
                state.as_object_mut().unwrap().remove("finishedAt");
            }
            let status = json!({"observedGeneration": generation, "conditions": conditions, "operationState": state});
            ended(&application(status), Until::Ready)
        };
        assert_eq!(is(4, &["Ready"], "Succeeded"), Some(Exit::Done));
        assert_eq!(is(3, &["Ready"], "Succeeded"), None);
        assert_eq!(is(4, &["Stalled"], "Failed"), Some(Exit::Failed));
        assert_eq!(is(4, &["Stalled"], "Running"), None);
    }
}

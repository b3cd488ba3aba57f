//! The conditions Ready, Reconciling and Stalled, as kstatus reads them, with their reasons. A reason belongs to one condition
//! and decides its status, so that no impossible pair can be written.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::words::words;

words! {
    /// The types of condition that an Application has.
    pub enum ConditionType {
        /// The application is synced and healthy, at the newest generation.
        Ready,
        /// The operator is at work, or will be without being asked.
        Reconciling,
        /// Nothing goes on until a person does something.
        Stalled,
    }
}

words! {
    /// Why an Application is Ready, or is not.
    pub enum ReadyReason {
        /// True: the last operation succeeded, everything is synced and healthy.
        Healthy,
        /// False: an operation runs.
        OperationRunning,
        /// False: the last operation failed.
        OperationFailed,
        /// False: the cluster does not carry what the source says, and nothing is being done about it.
        OutOfSync,
        /// False: an object is on its way.
        Progressing,
        /// False: an object is paused on purpose.
        Suspended,
        /// False: an object has failed.
        Degraded,
        /// False: an object is gone.
        Missing,
        /// False: the source or the plan cannot be used.
        InvalidSource,
        /// False: the Application is being deleted.
        Deleting,
        /// Unknown: it cannot be told.
        Unknown,
    }
}

words! {
    /// What the operator is doing, or that it is not.
    pub enum ReconcilingReason {
        /// False: there is nothing to do.
        Idle,
        /// True: an operation runs.
        OperationRunning,
        /// True: an operation was asked to end and is ending.
        Terminating,
        /// True: the next attempt of an operation is waited for.
        WaitingForRetry,
        /// True: the objects are applied, one is on its way.
        Progressing,
        /// True: the Application is being deleted.
        Deleting,
    }
}

words! {
    /// What a person has to see to, or that there is nothing.
    pub enum StalledReason {
        /// False: nothing stands still.
        NotStalled,
        /// True: the source cannot be read: a ConfigMap or a key is missing, or it is no YAML.
        SourceUnusable,
        /// True: a manifest, an annotation or an option cannot be understood.
        InvalidManifest,
        /// True: the service account does not exist or lacks a right.
        Forbidden,
        /// True: the API server refused the rehearsal.
        RehearsalRefused,
        /// True: an object belongs to another Application.
        OwnedByOther,
        /// True: the operation failed and is not tried again.
        OperationFailed,
        /// True: a deadline passed and the operation is not tried again.
        DeadlinePassed,
        /// True: prunes or deletes wait for a person's confirmation.
        ConfirmationNeeded,
        /// True: another manager undoes what self-heal does.
        Contested,
        /// True: the deletion cannot go on.
        DeletionBlocked,
    }
}

/// A condition type with a reason of its own kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Of the condition Ready.
    Ready(ReadyReason),
    /// Of the condition Reconciling.
    Reconciling(ReconcilingReason),
    /// Of the condition Stalled.
    Stalled(StalledReason),
}

impl Reason {
    /// The type of the condition.
    pub const fn condition(self) -> ConditionType {
        match self {
            Self::Ready(_) => ConditionType::Ready,
            Self::Reconciling(_) => ConditionType::Reconciling,
            Self::Stalled(_) => ConditionType::Stalled,
        }
    }

    /// The status of the condition: `True`, `False` or `Unknown`.
    pub const fn status(self) -> &'static str {
        match self {
            Self::Ready(ReadyReason::Unknown) => "Unknown",
            Self::Ready(ReadyReason::Healthy) => "True",
            Self::Ready(_) | Self::Reconciling(ReconcilingReason::Idle) | Self::Stalled(StalledReason::NotStalled) => {
                "False"
            }
            Self::Reconciling(_) | Self::Stalled(_) => "True",
        }
    }

    /// The reason as it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready(reason) => reason.as_str(),
            Self::Reconciling(reason) => reason.as_str(),
            Self::Stalled(reason) => reason.as_str(),
        }
    }
}

/// Sets the condition that `reason` belongs to. The transition time moves only when the status changes, so that the same
/// verdict gives the same bytes; conditions of other types, also unknown ones, stay as they are.
pub fn set(conditions: &mut Vec<Condition>, reason: Reason, message: &str, generation: Option<i64>, now: Timestamp) {
    let type_ = reason.condition().as_str();
    let before = conditions.iter().position(|condition| condition.type_ == type_);
    let since = before
        .map(|at| &conditions[at])
        .filter(|old| old.status == reason.status())
        .map(|old| old.last_transition_time.clone());
    let condition = Condition {
        type_: type_.to_owned(),
        status: reason.status().to_owned(),
        reason: reason.as_str().to_owned(),
        message: message.to_owned(),
        observed_generation: generation,
        last_transition_time: since.unwrap_or(Time(now)),
    };
    match before {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: Reason = Reason::Ready(ReadyReason::Healthy);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let mut conditions = Vec::new();
        set(&mut conditions, Reason::Ready(ReadyReason::OperationRunning), "stage 1", Some(1), at(10));
        set(&mut conditions, Reason::Ready(ReadyReason::Degraded), "pod x", Some(2), at(20));
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].last_transition_time, Time(at(10)), "False stayed False");
        assert_eq!((conditions[0].reason.as_str(), conditions[0].message.as_str()), ("Degraded", "pod x"));
        assert_eq!(conditions[0].observed_generation, Some(2));
        set(&mut conditions, READY, "", Some(2), at(30));
        assert_eq!((conditions[0].status.as_str(), conditions[0].last_transition_time.clone()), ("True", Time(at(30))));
    }

    #[test]
    fn conditions_of_other_types_are_left_alone() {
        let mut conditions = Vec::new();
        for reason in [Reason::Stalled(StalledReason::NotStalled), Reason::Reconciling(ReconcilingReason::Idle), READY]
        {
            set(&mut conditions, reason, "", None, at(1));
        }
        let before = conditions.clone();
        set(&mut conditions, Reason::Reconciling(ReconcilingReason::OperationRunning), "", None, at(2));
        assert_eq!(conditions[0], before[0]);
        assert_eq!(conditions[2], before[2]);
        assert_eq!(conditions[1].status, "True");
    }

    #[test]
    fn each_condition_has_one_good_reason_and_its_status_follows() {
        let good =
            |reasons: Vec<Reason>, status| reasons.into_iter().filter(|reason| reason.status() == status).count();
        assert_eq!(good(ReadyReason::ALL.iter().copied().map(Reason::Ready).collect(), "True"), 1);
        assert_eq!(good(ReconcilingReason::ALL.iter().copied().map(Reason::Reconciling).collect(), "False"), 1);
        assert_eq!(good(StalledReason::ALL.iter().copied().map(Reason::Stalled).collect(), "False"), 1);
    }
}

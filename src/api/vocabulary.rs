//! The words of a status that come from closed sets: phases, verdicts, and how far things are.

use super::words::words;

words! {
    /// Whether live objects carry what the manifests say.
    #[derive(Default)]
    pub enum SyncStatus {
        /// They do.
        Synced,
        /// At least one does not.
        OutOfSync,
        /// It cannot be told, for example because the source cannot be read.
        #[default]
        Unknown,
    }
}

words! {
    /// The health of an object or an application. The order is from best to worst, as in Argo CD.
    #[derive(Default)]
    pub enum HealthStatus {
        /// It does its work.
        Healthy,
        /// It is paused on purpose.
        Suspended,
        /// It is on its way.
        Progressing,
        /// It is not there.
        Missing,
        /// It has failed, or does not get on.
        Degraded,
        /// It cannot be told.
        #[default]
        Unknown,
    }
}

words! {
    /// A phase of an operation, or one around the deletion of the Application. The order is the order of execution.
    pub enum Phase {
        /// Before anything of the Sync phase is written.
        PreSync,
        /// The objects themselves, and the hooks among them.
        Sync,
        /// After every object of the Sync phase is healthy.
        PostSync,
        /// When the attempt has failed after its first write.
        SyncFail,
        /// Before the deletion of the Application's objects.
        PreDelete,
        /// The deletion of the Application's objects; no hook can name it.
        Delete,
        /// After the deletion of the Application's objects.
        PostDelete,
    }
}

words! {
    /// How an operation stands.
    pub enum OperationPhase {
        /// It runs, or waits for its next attempt.
        Running,
        /// It was asked to end and is ending.
        Terminating,
        /// Everything is applied and healthy, every hook has succeeded.
        Succeeded,
        /// It failed by what the cluster or a hook said.
        Failed,
        /// It failed by what kept the operator from doing its work.
        Error,
    }
}

impl OperationPhase {
    /// Whether the operation has ended.
    pub const fn is_ended(self) -> bool {
        match self {
            Self::Running | Self::Terminating => false,
            Self::Succeeded | Self::Failed | Self::Error => true,
        }
    }
}

words! {
    /// What a task did to its object.
    pub enum ResultStatus {
        /// It was applied, or already was as the manifest says.
        Synced,
        /// It could not be applied or deleted, or did not get healthy.
        SyncFailed,
        /// It was deleted, because its manifest is gone.
        Pruned,
        /// Its manifest is gone, but it is kept.
        PruneSkipped,
        /// There was nothing to do with it.
        Skipped,
    }
}

words! {
    /// How a hook, or an object that is waited for, stands.
    pub enum HookPhase {
        /// It has not ended.
        Running,
        /// It ended well.
        Succeeded,
        /// It ended badly, or too late.
        Failed,
        /// It could not be run or judged.
        Error,
    }
}

words! {
    /// How far the record of a hook's run has come. Each step is durable before the effect that follows it.
    pub enum RecordState {
        /// The name is chosen; the object may or may not exist.
        Creating,
        /// The object exists, its uid is known.
        Created,
        /// The outcome is known; the object may be deleted.
        Ended,
        /// The object is gone.
        Cleared,
    }
}

words! {
    /// How a hook's run ended.
    pub enum HookVerdict {
        /// It did its work.
        Succeeded,
        /// It failed, or took too long, or was deleted by someone else.
        Failed,
        /// It could not be run or judged.
        Error,
    }
}

//! The exit codes of all commands: scripts may rely on them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Exit {
    /// As it was asked.
    Done,
    /// It could not be done: the API server refused or did not answer, files have mistakes.
    Error,
    /// A wrong call. clap ends with it by itself.
    Usage,
    /// What was asked about is still on its way.
    OnTheWay,
    /// What was asked about has failed, or is Degraded.
    Failed,
    /// What was asked about cannot be judged.
    Unknown,
    /// It was not done within the time that the call gave it.
    TimedOut,
}

impl Exit {
    /// All of them.
    pub(super) const ALL: [Self; 7] =
        [Self::Done, Self::Error, Self::Usage, Self::OnTheWay, Self::Failed, Self::Unknown, Self::TimedOut];

    /// The number that the process ends with.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::OnTheWay => 3,
            Self::Failed => 4,
            Self::Unknown => 5,
            Self::TimedOut => 6,
        }
    }

    /// What it means, for the documentation.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done as asked; of something judged: healthy, or without mistakes",
            Self::Error => "an error: the API server refused or did not answer, or files have mistakes",
            Self::Usage => "a wrong call: unknown flags or values",
            Self::OnTheWay => "still on its way: an operation runs, an object is Progressing or Suspended",
            Self::Failed => "the Application or its operation has failed, an object is Degraded",
            Self::Unknown => "cannot be judged",
            Self::TimedOut => "not done within the time that `--timeout` gives",
        }
    }
}

/// The exit codes as `swell --help` tells them.
pub(super) fn help() -> String {
    let lines = Exit::ALL.map(|exit| format!("  {}  {}", exit.code(), exit.meaning()));
    format!("Exit codes:\n{}", lines.join("\n"))
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn the_codes_count_up_from_zero_and_each_has_a_meaning() {
        for (number, exit) in Exit::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(exit.code()), number);
            assert!(!exit.meaning().is_empty());
        }
    }
}

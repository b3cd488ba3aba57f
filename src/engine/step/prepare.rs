//! Before the first write: the check of rights, then the rehearsal.

use super::{Turn, rehearse};
use crate::engine::action::{Action, Answer};
use crate::engine::attempt::{Attempt, Course, Ending};
use crate::engine::rights::{self, Lack};

/// Moves the preparation on.
pub(super) fn advance(
    course: Course,
    attempt: &mut Attempt,
    turn: &mut Turn<'_>,
    fresh: Option<Vec<&Answer>>,
) -> (Course, bool) {
    match course {
        Course::Begin => {
            let needed = rights::needed(turn.plan, turn.seen.kinds, &attempt.operation.options);
            if needed.rights.is_empty() {
                return (rehearse::begin(attempt, turn), true);
            }
            turn.actions.push(Action::CheckRights(needed));
            (Course::Rights, false)
        }
        Course::Rights => {
            for answer in fresh.into_iter().flatten() {
                if let Answer::Rights(result) = answer {
                    return match result {
                        Ok(lacking) if lacking.is_empty() => (rehearse::begin(attempt, turn), true),
                        Ok(lacking) => {
                            attempt.denied = true;
                            (fail(attempt, refusal(attempt, lacking)), true)
                        }
                        Err(fault) => (
                            fail(attempt, format!("{NOTHING_WRITTEN}the check of rights failed: {}", fault.message)),
                            true,
                        ),
                    };
                }
            }
            (Course::Rights, false)
        }
        Course::Rehearsal(rehearsal) => rehearse::advance(rehearsal, attempt, turn, fresh),
        // The others are not of the preparation.
        other @ (Course::Stage(_) | Course::SyncFail(_) | Course::Tidying { .. } | Course::Ended(_)) => (other, false),
    }
}

/// What is lacking, and how to go on when it is there. A deletion goes on by itself.
fn refusal(attempt: &Attempt, lacking: &[Lack]) -> String {
    let all: Vec<_> = lacking.iter().map(ToString::to_string).collect();
    let told = format!("{NOTHING_WRITTEN}{}", all.join("; "));
    if attempt.operation.deletion {
        return told;
    }
    let (name, namespace) = (attempt.owner.name(), attempt.owner.namespace());
    format!(
        "{told}; it goes on by itself within 10 minutes after that if it is synced automatically, and at once with: {}",
        rights::to_go_on(name, namespace)
    )
}

/// How a refusal of the preparation begins.
const NOTHING_WRITTEN: &str = "nothing was written: ";

/// Ends an attempt that has written nothing.
pub(super) fn fail(attempt: &mut Attempt, cause: String) -> Course {
    attempt.failure = Some(cause.clone());
    Course::Ended(Ending::Failed(cause))
}

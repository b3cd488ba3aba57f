//! Before the first write: the check of rights, then the rehearsal.

use super::{Turn, rehearse};
use crate::engine::action::{Action, Answer};
use crate::engine::attempt::{Attempt, Course, Ending};
use crate::engine::rights;

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
            if needed.is_empty() {
                return (rehearse::begin(attempt, turn), true);
            }
            turn.actions.push(Action::CheckRights(needed));
            (Course::Rights, false)
        }
        Course::Rights => {
            for answer in fresh.into_iter().flatten() {
                if let Answer::Rights(result) = answer {
                    return match result {
                        Ok(missing) if missing.is_empty() => (rehearse::begin(attempt, turn), true),
                        Ok(missing) => {
                            attempt.denied = true;
                            let all: Vec<_> = missing.iter().map(ToString::to_string).collect();
                            (fail(attempt, format!("nothing was written: {}", all.join("; "))), true)
                        }
                        Err(fault) => (
                            fail(
                                attempt,
                                format!("nothing was written: the check of rights failed: {}", fault.message),
                            ),
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

/// Ends an attempt that has written nothing.
pub(super) fn fail(attempt: &mut Attempt, cause: String) -> Course {
    attempt.failure = Some(cause.clone());
    Course::Ended(Ending::Failed(cause))
}

//! What can go wrong, and the dice that say when.

/// How badly the network and the operator behave. Chances are in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chaos {
    /// Longest time of a request, an answer or an event on its way, in milliseconds.
    pub(crate) delay: u64,
    /// Requests that are done, but whose answer says that nobody knows.
    pub(crate) lost: u64,
    /// Requests that are not done, with the same answer.
    pub(crate) transient: u64,
    /// Creates and deletes that are done some time after the answer that nobody knows.
    pub(crate) late: u64,
    /// The operator dies while a request is on its way; half of those under way are still done.
    pub(crate) crash: u64,
    /// Not later than so many milliseconds after the start.
    pub(crate) until: i64,
}

/// What goes wrong at one request, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The operator dies: the request is never sent.
    Before(usize),
    /// The operator dies: the request is done, its answer is never seen.
    After(usize),
    /// The operator dies: the answer is seen, what follows from it is never sent.
    Answered(usize),
    /// The request is done, and the answer says that nobody knows.
    Lost(usize),
    /// The request is not done, with the same answer.
    Refused(usize),
    /// The same answer, and a create or delete is done ten seconds later.
    Late(usize),
}

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Whatever a watch or an answer shows is taken for healthy, and ended well.
    Credulous,
    /// Records are acknowledged and not kept.
    Forgetful,
    /// Every create is done twice, the first object taken away in between.
    Doubling,
}

/// A generator of numbers that look random: the same seed, the same numbers.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit.max(1)
    }
}

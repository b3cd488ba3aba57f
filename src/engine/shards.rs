//! How several processes share the Applications: who acts for which bucket, and when one may begin. Pure.
//!
//! Each process publishes in its Lease the set of processes by which it acts, its *claim*. It acts for a bucket when its own claim gives it
//! the bucket, and no other process that lives claims the bucket by its own. A process publishes a claim before it reads those of the
//! others, and gives buckets up before it publishes the claim that gives them to somebody else: of two that want the same bucket, one at
//! least sees the other, and none begins before the other has stopped.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::object::Digest;

/// So many buckets there are: an Application's is the first byte of its membership id's hash.
pub const BUCKETS: usize = 256;

/// How the work is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// The one that has lived longest does everything, the others stand by.
    Leader,
    /// Each has its share of the buckets, by rendezvous hash: who comes or goes moves only its own.
    Buckets,
}

impl Sharing {
    /// The word in a Lease.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Buckets => "buckets",
        }
    }

    /// Reads that word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Leader, Self::Buckets].into_iter().find(|sharing| sharing.as_str() == word)
    }
}

/// The processes by which one of them acts. Their ids are the age, `-`, and a name: they sort by age. Of none: its process does nothing
/// any more, and is about to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// How they share.
    pub sharing: Sharing,
    /// Their ids.
    pub members: BTreeSet<String>,
}

impl Claim {
    /// Whose a bucket is.
    pub fn owner(&self, bucket: u8) -> Option<&str> {
        match self.sharing {
            Sharing::Leader => self.members.first(),
            Sharing::Buckets => self.members.iter().max_by_key(|member| (weight(member, bucket), *member)),
        }
        .map(String::as_str)
    }

    /// The buckets of one of them.
    pub fn of(&self, id: &str) -> Buckets {
        (0..=u8::MAX).filter(|bucket| self.owner(*bucket) == Some(id)).collect()
    }
}

/// By the name alone, which a process keeps when it comes back with a new Lease, and with it its share.
fn weight(member: &str, bucket: u8) -> Digest {
    let name = member.split_once('-').map_or(member, |(_, name)| name);
    Digest::of_parts(&[name, &bucket.to_string()])
}

/// The form in a Lease's annotation: `leader` or `buckets`, and the ids.
impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sharing.as_str(), self.members.iter().map(String::as_str).collect::<Vec<_>>().join(","))
    }
}

/// A claim that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadClaim;

impl FromStr for Claim {
    type Err = BadClaim;

    fn from_str(text: &str) -> Result<Self, BadClaim> {
        let (sharing, members) = text.split_once(':').ok_or(BadClaim)?;
        let sharing = Sharing::parse(sharing).ok_or(BadClaim)?;
        let members = members.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect();
        Ok(Self { sharing, members })
    }
}

/// Of the buckets that a claim gives to `me`, those that none of the other living processes claims: `others` are their ids and claims.
pub fn free<'a>(claim: &Claim, me: &str, others: impl IntoIterator<Item = (&'a str, &'a Claim)>) -> Buckets {
    let mut free = claim.of(me);
    for (id, theirs) in others {
        free = free.without(&theirs.of(id));
    }
    free
}

/// A set of buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buckets([u64; BUCKETS / 64]);

impl Buckets {
    /// Every bucket.
    pub const ALL: Self = Self([u64::MAX; BUCKETS / 64]);

    /// Whether a bucket is in it.
    pub fn contains(&self, bucket: u8) -> bool {
        self.0[usize::from(bucket / 64)] & (1 << (bucket % 64)) != 0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|part| part.count_ones()).sum()
    }

    /// Those that are not in the other set.
    #[must_use]
    pub fn without(self, other: &Self) -> Self {
        let mut parts = self.0;
        parts.iter_mut().zip(other.0).for_each(|(part, other)| *part &= !other);
        Self(parts)
    }

    /// Those of either set.
    #[must_use]
    pub fn with(self, other: &Self) -> Self {
        let mut parts = self.0;
        parts.iter_mut().zip(other.0).for_each(|(part, other)| *part |= other);
        Self(parts)
    }

    /// The requirement of a label selector that holds for objects of these buckets alone; nothing where all are.
    pub fn requirement(&self) -> Option<String> {
        if *self == Self::ALL {
            return None;
        }
        let values: Vec<_> =
            (0..=u8::MAX).filter(|bucket| self.contains(*bucket)).map(|bucket| format!("{bucket:02x}")).collect();
        Some(format!("{} in ({})", crate::api::annotations::BUCKET, values.join(",")))
    }
}

impl FromIterator<u8> for Buckets {
    fn from_iter<T: IntoIterator<Item = u8>>(buckets: T) -> Self {
        let mut parts = [0; BUCKETS / 64];
        for bucket in buckets {
            parts[usize::from(bucket / 64)] |= 1 << (bucket % 64);
        }
        Self(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(sharing: Sharing, ids: &[&str]) -> Claim {
        Claim { sharing, members: ids.iter().map(|id| (*id).to_owned()).collect() }
    }

    #[test]
    fn every_bucket_has_one_owner_and_the_shares_are_about_equal() {
        let three = claim(Sharing::Buckets, &["a", "b", "c"]);
        let shares: Vec<_> = ["a", "b", "c"].iter().map(|id| three.of(id)).collect();
        assert_eq!(shares.iter().map(Buckets::len).sum::<u32>(), 256);
        assert_eq!(shares.iter().fold(Buckets::default(), Buckets::with), Buckets::ALL);
        assert!(shares.iter().all(|share| (50..=125).contains(&share.len())), "{shares:?}");
    }

    #[test]
    fn who_comes_or_goes_moves_only_its_own_share() {
        let (two, three) = (claim(Sharing::Buckets, &["a", "b"]), claim(Sharing::Buckets, &["a", "b", "c"]));
        for id in ["a", "b"] {
            assert!(three.of(id).without(&two.of(id)).is_empty(), "{id} gets nothing from the other that stays");
        }
        let moved = two.of("a").without(&three.of("a")).with(&two.of("b").without(&three.of("b")));
        assert_eq!(moved, three.of("c"));
    }

    #[test]
    fn one_leads_and_it_is_the_one_that_has_lived_longest() {
        let all = claim(Sharing::Leader, &["1-x", "2-a"]);
        assert_eq!((all.of("1-x"), all.of("2-a")), (Buckets::ALL, Buckets::default()));
    }

    #[test]
    fn a_bucket_is_not_taken_while_another_one_that_lives_claims_it() {
        let new = claim(Sharing::Buckets, &["a", "b"]);
        let old = claim(Sharing::Buckets, &["a"]);
        assert!(free(&new, "b", [("a", &old)]).is_empty(), "a has not let go yet");
        assert_eq!(free(&new, "b", [("a", &new)]), new.of("b"));
        // Also where the two share in different ways, as in the middle of an upgrade.
        let leads = claim(Sharing::Leader, &["a", "b"]);
        assert!(free(&new, "b", [("a", &leads)]).is_empty());
        assert_eq!(free(&leads, "a", [("b", &new)]), new.of("a"));
    }

    #[derive(Clone, PartialEq)]
    struct Process {
        id: &'static str,
        steps: usize,
        published: Option<Claim>,
        acts: Buckets,
    }

    /// The states after one more step of either: a process gives up and publishes, or it reads the others and begins.
    fn next(processes: &[Process; 2], steps: &[Vec<Claim>; 2]) -> Vec<[Process; 2]> {
        let mut after = Vec::new();
        for me in 0..2 {
            let Some(idea) = steps[me].get(processes[me].steps / 2) else { continue };
            let mut next = processes.clone();
            next[me].steps += 1;
            if processes[me].steps.is_multiple_of(2) {
                let losing = next[me].acts.without(&idea.of(next[me].id));
                next[me].acts = next[me].acts.without(&losing);
                next[me].published = Some(idea.clone());
            } else {
                let other = &processes[1 - me];
                let others = other.published.as_ref().map(|claim| (other.id, claim));
                let free = free(idea, next[me].id, others);
                next[me].acts = next[me].acts.with(&free);
            }
            after.push(next);
        }
        after
    }

    #[test]
    fn two_processes_never_act_for_one_bucket_whatever_order_their_steps_have() {
        // Every interleaving of: give up and publish, read the others, begin; for a pair in which each starts with its own idea.
        let ideas =
            [claim(Sharing::Buckets, &["a"]), claim(Sharing::Buckets, &["b"]), claim(Sharing::Buckets, &["a", "b"])];
        let start = |id| Process { id, steps: 0, published: None, acts: Buckets::default() };
        for one in &ideas {
            for two in &ideas {
                for three in &ideas {
                    let steps =
                        [vec![one.clone(), two.clone(), three.clone()], vec![three.clone(), one.clone(), two.clone()]];
                    // Level by level, each state once: most orders come to the same ones.
                    let mut states = vec![[start("a"), start("b")]];
                    while !states.is_empty() {
                        let mut after: Vec<[Process; 2]> = Vec::new();
                        for state in states.iter().flat_map(|state| next(state, &steps)) {
                            if !after.contains(&state) {
                                after.push(state);
                            }
                        }
                        for [a, b] in &after {
                            let both = a.acts.without(&Buckets::ALL.without(&b.acts));
                            assert!(both.is_empty(), "both act for {both:?}");
                        }
                        states = after;
                    }
                }
            }
        }
    }

    #[test]
    fn a_claim_is_read_as_it_was_written() {
        for written in
            [claim(Sharing::Leader, &["a", "b"]), claim(Sharing::Buckets, &["a"]), claim(Sharing::Buckets, &[])]
        {
            assert_eq!(written.to_string().parse(), Ok(written));
        }
        assert_eq!("x:a".parse::<Claim>(), Err(BadClaim));
    }

    #[test]
    fn the_selector_names_the_buckets_and_nothing_where_all_are_meant() {
        assert_eq!(Buckets::ALL.requirement(), None);
        let some: Buckets = [1, 255].into_iter().collect();
        assert_eq!(some.requirement().unwrap(), "swell.dev/bucket in (01,ff)");
    }
}

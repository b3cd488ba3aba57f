//! Objects with our marks whose Application is not known (yet). Whoever may write any object can put the marks of an Application on it
//! that there is not: what is kept of them is bounded, and what there was no room for is asked for again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Origin;
use crate::engine::object::{GroupKind, ObjectKey};

/// What may be kept of objects that nobody claims, in bytes.
pub(super) const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Applications that there are not whose kinds are remembered one by one.
const MOST_DROPPED: usize = 10_000;

/// An object as one watch of its kind shows it.
type Place = (ObjectKey, Origin);

/// An object and its size.
struct Kept {
    object: Value,
    size: usize,
}

/// All of them, by membership id.
#[derive(Default)]
pub(super) struct Unclaimed {
    objects: BTreeMap<String, BTreeMap<Place, Kept>>,
    /// Their size together.
    bytes: usize,
    /// The kinds of those that there was no room for: they are asked for once more when their Application comes.
    dropped: BTreeMap<String, BTreeSet<GroupKind>>,
    /// The same where there are too many Applications: any that comes asks for them.
    dropped_of_all: BTreeSet<GroupKind>,
}

impl Unclaimed {
    /// Takes in what a watch shows of an object.
    pub(super) fn put(&mut self, id: String, key: &ObjectKey, origin: &Origin, object: Value) {
        let size = serde_json::to_vec(&object).map_or(0, |bytes| bytes.len());
        let place = (key.clone(), origin.clone());
        let known = self.objects.get(&id).and_then(|objects| objects.get(&place)).map_or(0, |kept| kept.size);
        if self.bytes - known + size > MOST_BYTES {
            self.forget(&id, key);
            if self.dropped.len() < MOST_DROPPED || self.dropped.contains_key(&id) {
                self.dropped.entry(id).or_default().insert(key.kind.clone());
            } else {
                self.dropped_of_all.insert(key.kind.clone());
            }
            return;
        }
        self.bytes = self.bytes - known + size;
        self.objects.entry(id).or_default().insert(place, Kept { object, size });
    }

    /// Takes out what there is of an Application, with the kinds of what was not kept of it.
    pub(super) fn take(&mut self, id: &str) -> (Vec<(Place, Value)>, BTreeSet<GroupKind>) {
        let objects = self.objects.remove(id).unwrap_or_default();
        self.bytes -= objects.values().map(|kept| kept.size).sum::<usize>();
        let mut dropped = self.dropped.remove(id).unwrap_or_default();
        dropped.extend(self.dropped_of_all.iter().cloned());
        (objects.into_iter().map(|(place, kept)| (place, kept.object)).collect(), dropped)
    }

    /// Forgets an object, as all watches of its kind show it.
    pub(super) fn forget(&mut self, id: &str, key: &ObjectKey) {
        let Some(objects) = self.objects.get_mut(id) else { return };
        self.bytes -= keep_in(objects, &|(known, _)| known != key);
        if objects.is_empty() {
            self.objects.remove(id);
        }
    }

    /// Keeps what is to be kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&Place) -> bool) {
        let bytes = &mut self.bytes;
        self.objects.retain(|_, objects| {
            *bytes -= keep_in(objects, &keep);
            !objects.is_empty()
        });
    }

    /// The size of all together.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Keeps what is to be kept; gives the size of what is not.
fn keep_in(objects: &mut BTreeMap<Place, Kept>, keep: &impl Fn(&Place) -> bool) -> usize {
    let mut freed = 0;
    objects.retain(|place, kept| {
        let stays = keep(place);
        freed += if stays { 0 } else { kept.size };
        stays
    });
    freed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: usize) -> ObjectKey {
        ObjectKey::new("batch", "Job", Some("shop"), &format!("job-{number}"))
    }

    fn main() -> Origin {
        Origin { version: "v1".to_owned(), whole: false, for_checks: false }
    }

    #[test]
    fn what_is_let_go_makes_room_and_what_there_was_no_room_for_is_known_by_its_kind() {
        let mut unclaimed = Unclaimed::default();
        let big = || Value::from("x".repeat(MOST_BYTES / 2 - 100));
        unclaimed.put("a".into(), &job(1), &main(), big());
        unclaimed.put("a".into(), &job(1), &main(), big());
        unclaimed.put("b".into(), &job(2), &main(), big());
        unclaimed.put("b".into(), &job(3), &main(), big());
        assert_eq!(unclaimed.take("b").1, BTreeSet::from([GroupKind::new("batch", "Job")]));
        unclaimed.put("c".into(), &job(4), &main(), big());
        unclaimed.forget("c", &job(4));
        unclaimed.put("c".into(), &job(5), &main(), big());
        unclaimed.retain(|(key, _)| *key != job(1));
        let (objects, dropped) = unclaimed.take("c");
        assert_eq!((objects.len(), dropped.len(), unclaimed.bytes, unclaimed.objects.len()), (1, 0, 0, 0));
    }

    #[test]
    fn of_more_applications_that_there_are_not_than_are_remembered_the_kinds_alone_are() {
        let mut unclaimed = Unclaimed::default();
        unclaimed.put("first".into(), &job(0), &main(), Value::from("x".repeat(MOST_BYTES - 2)));
        for number in 0..=MOST_DROPPED {
            unclaimed.put(format!("id-{number}"), &job(number), &main(), Value::Null);
        }
        assert_eq!(unclaimed.dropped.len(), MOST_DROPPED);
        assert_eq!(unclaimed.take(&format!("id-{MOST_DROPPED}")).1, BTreeSet::from([GroupKind::new("batch", "Job")]));
    }
}

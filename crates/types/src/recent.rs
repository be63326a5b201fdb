//! What was made and may be needed again, as much of it as is kept.

use std::collections::BTreeMap;

/// Things by key, at most so many and so large; the one unused for longest goes first.
pub struct Recent<K, V> {
    most: usize,
    room: u64,
    things: BTreeMap<K, Kept<V>>,
    uses: u64,
    held: u64,
}

struct Kept<V> {
    thing: V,
    /// Time of the last use.
    used: u64,
    size: u64,
}

impl<K: Ord + Clone, V> Recent<K, V> {
    /// Room for so many.
    pub fn new(most: usize) -> Recent<K, V> {
        Recent { most, room: u64::MAX, things: BTreeMap::new(), uses: 0, held: 0 }
    }

    /// Their sizes may be so much together; one alone may be larger.
    #[must_use]
    pub fn with_room(mut self, room: u64) -> Recent<K, V> {
        self.room = room;
        self
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.things.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.things.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.things.clear();
        self.held = 0;
    }

    /// Whether there is a thing of a key.
    pub fn contains(&self, key: &K) -> bool {
        self.things.contains_key(key)
    }

    /// The thing of a key, which counts as a use.
    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        self.uses += 1;
        let kept = self.things.get_mut(key)?;
        kept.used = self.uses;
        Some(&mut kept.thing)
    }

    /// Adds a thing, for which another may go.
    pub fn insert(&mut self, key: K, thing: V) -> &mut V {
        self.insert_sized(key, thing, 0)
    }

    /// Adds a thing of a size, for which others may go.
    pub fn insert_sized(&mut self, key: K, thing: V, size: u64) -> &mut V {
        self.remove(&key);
        while self.things.len() >= self.most || self.held.saturating_add(size) > self.room {
            let Some((oldest, _)) = self.things.iter().min_by_key(|(_, kept)| kept.used) else { break };
            let oldest = oldest.clone();
            self.remove(&oldest);
        }
        self.uses += 1;
        self.held = self.held.saturating_add(size);
        let slot = self.things.entry(key).insert_entry(Kept { thing, used: self.uses, size });
        &mut slot.into_mut().thing
    }

    fn remove(&mut self, key: &K) {
        if let Some(kept) = self.things.remove(key) {
            self.held = self.held.saturating_sub(kept.size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_unused_for_longest_goes() {
        let mut r = Recent::new(2);
        r.insert("a", 1);
        r.insert("b", 2);
        assert_eq!(r.get(&"a"), Some(&mut 1));
        *r.insert("c", 3) += 1;
        assert_eq!((r.len(), r.contains(&"b")), (2, false));
        assert_eq!((r.get(&"a").copied(), r.get(&"b")), (Some(1), None));
        r.insert("c", 5);
        assert_eq!((r.len(), r.get(&"c")), (2, Some(&mut 5)));
        r.clear();
        assert_eq!(r.len(), 0);
    }

    #[test]
    fn large_things_make_room_for_themselves() {
        let mut r = Recent::new(9).with_room(10);
        r.insert_sized("a", 1, 4);
        r.insert_sized("b", 2, 4);
        r.insert_sized("c", 3, 4);
        assert_eq!((r.contains(&"a"), r.len()), (false, 2));
        // The same key again counts once.
        r.insert_sized("c", 3, 6);
        assert_eq!(r.len(), 2);
        r.insert_sized("d", 4, 99);
        assert_eq!((r.contains(&"d"), r.len()), (true, 1));
        r.insert_sized("e", 5, 1);
        assert_eq!((r.contains(&"d"), r.len()), (false, 1));
    }
}

//! What was made and may be needed again, as much of it as is kept.

use std::collections::BTreeMap;

/// Things by key, at most so many; the one unused for longest goes first.
pub struct Recent<K, V> {
    most: usize,
    /// With the time of the last use.
    things: BTreeMap<K, (V, u64)>,
    uses: u64,
}

impl<K: Ord + Clone, V> Recent<K, V> {
    /// Room for so many.
    pub fn new(most: usize) -> Recent<K, V> {
        Recent { most, things: BTreeMap::new(), uses: 0 }
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
    }

    /// Whether there is a thing of a key.
    pub fn contains(&self, key: &K) -> bool {
        self.things.contains_key(key)
    }

    /// The thing of a key, which counts as a use.
    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        self.uses += 1;
        let (thing, used) = self.things.get_mut(key)?;
        *used = self.uses;
        Some(thing)
    }

    /// Adds a thing, for which another may go.
    pub fn insert(&mut self, key: K, thing: V) -> &mut V {
        if self.things.len() >= self.most && !self.things.contains_key(&key) {
            let oldest = self.things.iter().min_by_key(|(_, (_, used))| *used).map(|(k, _)| k.clone());
            oldest.map(|k| self.things.remove(&k));
        }
        self.uses += 1;
        let new = (thing, self.uses);
        let slot = self.things.entry(key).insert_entry(new);
        &mut slot.into_mut().0
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
}

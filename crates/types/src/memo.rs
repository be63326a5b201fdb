//! Answers that are worked out once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What was made for each key: once, by whoever asks first, while others who want the same wait. Different keys are worked
/// out at once.
#[derive(Debug)]
pub struct Memo<K, V>(Mutex<BTreeMap<K, Arc<OnceLock<V>>>>);

impl<K: Ord, V: Clone> Memo<K, V> {
    /// An empty one.
    pub const fn new() -> Memo<K, V> {
        Memo(Mutex::new(BTreeMap::new()))
    }

    /// What `make` made when the key was first asked for.
    pub fn get(&self, key: K, make: impl FnOnce() -> V) -> V {
        let cell = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone();
        cell.get_or_init(make).clone()
    }

    /// Puts in what was made elsewhere, unless the key was asked for before.
    pub fn put(&self, key: K, value: V) {
        self.get(key, || value);
    }

    /// What has been made so far, by key.
    pub fn entries(&self) -> Vec<(K, V)>
    where
        K: Clone,
    {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(|(key, cell)| Some((key.clone(), cell.get()?.clone()))).collect()
    }
}

impl<K: Ord, V: Clone> Default for Memo<K, V> {
    fn default() -> Memo<K, V> {
        Memo::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::Memo;

    #[test]
    fn makes_each_once_and_different_ones_at_once() {
        let memo: Memo<u8, usize> = Memo::new();
        let (made, both) = (AtomicUsize::new(0), Barrier::new(2));
        std::thread::scope(|scope| {
            for key in [0u8, 1, 0, 1] {
                let (memo, made, both) = (&memo, &made, &both);
                scope.spawn(move || {
                    let value = memo.get(key, || {
                        // Waits for the other key: made under one lock, this would never end.
                        both.wait();
                        made.fetch_add(1, Ordering::Relaxed);
                        10 + usize::from(key)
                    });
                    assert_eq!(value, 10 + usize::from(key));
                });
            }
        });
        assert_eq!(made.into_inner(), 2);
        memo.put(0, 7);
        memo.put(5, 8);
        assert_eq!(memo.entries(), [(0, 10), (1, 11), (5, 8)]);
        assert_eq!(memo.get(5, || unreachable!("it was put in")), 8);
    }
}

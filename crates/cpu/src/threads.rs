use std::marker::PhantomData;

use crate::isa::detect_isa;
use crate::level::Level;

/// A pool of worker threads on which kernels split their work, and the instruction set that they use there.
///
/// Inside [`Threads::install`] the caller is one of the workers, so starting parallel work costs no hand-over.
pub struct Threads {
    pool: Option<rayon::ThreadPool>,
    count: usize,
    level: Level,
}

impl Threads {
    /// A pool of `count` threads (at least one; one means the caller alone).
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn new(count: usize) -> Result<Threads, String> {
        let count = count.max(1);
        let level = Level::of(detect_isa());
        if count == 1 {
            return Ok(Threads { pool: None, count, level });
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|i| format!("tactician-{i}"))
            .build()
            .map_err(|e| format!("could not start {count} threads: {e}"))?;
        Ok(Threads { pool: Some(pool), count, level })
    }

    /// The same threads, their kernels held to `level`. Without this it is the best present.
    pub fn with_level(self, level: Level) -> Threads {
        Threads { level, ..self }
    }

    /// The instruction set that kernels use.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Number of threads.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Runs `work` as a worker of this pool.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Calls `body(i)` for every `i` in `0..n`, spread over the threads, and waits. Allocates nothing.
    ///
    /// Halves the range recursively, so neighbours in `i` tend to run on one thread. Choose `n` near a small
    /// multiple of the thread count when parts are equal, more when they differ.
    pub fn for_each(&self, n: usize, body: impl Fn(usize) + Sync) {
        match &self.pool {
            None => (0..n).for_each(body),
            Some(_) if n <= 1 => (0..n).for_each(body),
            Some(pool) if pool.current_thread_index().is_some() => split(0, n, &body),
            // Splitting on a foreign thread would use another pool than this one.
            Some(pool) => pool.install(|| split(0, n, &body)),
        }
    }

    /// Calls `body(part, range)` for `parts` contiguous ranges that cover `0..n`, as even as they can be; `part`
    /// tells them apart, for per-thread scratch. At most one call per part.
    pub fn for_each_range(
        &self,
        n: usize,
        parts: usize,
        body: impl Fn(usize, std::ops::Range<usize>) + Sync,
    ) {
        let parts = parts.min(n).max(1);
        self.for_each(parts, |p| {
            let at = |p: usize| (n as u128 * p as u128 / parts as u128) as usize;
            body(p, at(p)..at(p + 1));
        });
    }
}

fn split(from: usize, to: usize, body: &(impl Fn(usize) + Sync)) {
    match to - from {
        0 => {}
        1 => body(from),
        n => {
            let middle = from + n / 2;
            rayon::join(|| split(from, middle, body), || split(middle, to, body));
        }
    }
}

/// A mutable slice that several threads write, each its own elements.
#[derive(Clone, Copy)]
pub struct SharedMut<'a, T> {
    start: *mut T,
    len: usize,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: access goes through `unsafe` methods whose callers keep the parts disjoint.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    /// Shares a slice.
    pub fn new(slice: &'a mut [T]) -> Self {
        SharedMut { start: slice.as_mut_ptr(), len: slice.len(), life: PhantomData }
    }

    /// Length in elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Pointer to element `at`.
    ///
    /// # Safety
    /// `at` is at most the length.
    pub unsafe fn ptr(&self, at: usize) -> *mut T {
        debug_assert!(at <= self.len);
        // SAFETY: within the slice, by contract.
        unsafe { self.start.add(at) }
    }

    /// Part of the slice.
    ///
    /// # Safety
    /// The part lies inside, and no other thread or slice touches it meanwhile.
    pub unsafe fn slice(&self, at: usize, len: usize) -> &'a mut [T] {
        debug_assert!(at.checked_add(len).is_some_and(|end| end <= self.len));
        // SAFETY: inside and disjoint, by contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), len) }
    }
}

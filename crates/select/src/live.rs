//! Bytes that are alive: a lower bound on the arena from needs alone.
//!
//! Which buffers share bytes is known for certain only when everything is chosen. Here a value in a layout shares bytes
//! with whatever a view may make of it, and takes none when it may share those of an input or an output. Where nothing but
//! views could have been chosen, as for reshapes and for layouts with the same bytes, this is what assembling a plan gives.

use crate::changes::{Making, scratch};
use crate::compact::{Compact, Mask};
use crate::states::needs;

/// Sizes and sharing of buffers.
pub(crate) struct Live {
    /// For each value and layout the number of its group of buffers that may share bytes.
    group: Vec<Vec<usize>>,
    /// Bytes as placed; 0 where the group has a member outside the arena.
    bytes: Vec<Vec<u64>>,
    /// For each value the sum for each set of layouts; none where a group has members of other values.
    sums: Vec<Option<Vec<u64>>>,
    step: u64,
}

impl Live {
    pub(crate) fn new(compact: &Compact<'_>) -> Live {
        let step = compact.instance.step_of();
        let starts: Vec<usize> = compact
            .values
            .iter()
            .scan(0, |at, v| Some(std::mem::replace(at, *at + v.layouts.len())))
            .collect();
        let count = compact.values.iter().map(|v| v.layouts.len()).sum();
        let mut parent: Vec<usize> = (0..count).collect();
        for (v, value) in compact.values.iter().enumerate() {
            let at = |l| value.layouts.binary_search(l).ok().map(|i| starts[v] + i);
            for ((from, to), r) in &compact.instance.values[v].reformat {
                if let (true, Some(a), Some(b)) = (r.view, at(from), at(to)) {
                    join(&mut parent, a, b);
                }
            }
        }
        for region in &compact.regions {
            for class in &region.classes {
                if let Some((x, l)) = class.view_of {
                    join(&mut parent, starts[x] + l, starts[region.output] + class.output);
                }
            }
        }
        let mut outside = vec![false; count];
        let mut owner: Vec<Option<usize>> = vec![None; count];
        let mut mixed = vec![false; count];
        let mut size = vec![u64::MAX; count];
        for (v, value) in compact.values.iter().enumerate() {
            for i in 0..value.layouts.len() {
                let root = find(&mut parent, starts[v] + i);
                outside[root] |= value.given == Some(i) || value.wanted >> i & 1 == 1;
                mixed[root] |= owner[root].is_some_and(|o| o != v);
                owner[root] = Some(v);
                let bytes = compact.instance.values[v].bytes.get(&value.layouts[i]);
                size[root] = size[root].min(bytes.copied().unwrap_or(0));
            }
        }
        let mut live = Live { group: Vec::new(), bytes: Vec::new(), sums: Vec::new(), step };
        for (v, value) in compact.values.iter().enumerate() {
            let roots: Vec<usize> =
                (0..value.layouts.len()).map(|i| find(&mut parent, starts[v] + i)).collect();
            let size_of = |&root: &usize| if outside[root] { 0 } else { live.round(size[root]) };
            let bytes: Vec<u64> = roots.iter().map(size_of).collect();
            let alone = roots.iter().zip(&bytes).all(|(&r, &b)| !mixed[r] || b == 0);
            live.sums.push(alone.then(|| {
                let sets = 0..1usize << roots.len();
                sets.map(|set| {
                    sum_of((0..roots.len()).filter(|i| set >> i & 1 == 1).map(|i| (roots[i], bytes[i])))
                })
                .collect()
            }));
            live.group.push(roots);
            live.bytes.push(bytes);
        }
        live
    }

    /// A size as placed.
    pub(crate) fn round(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.step).saturating_mul(self.step)
    }

    /// Bytes of a value in a layout.
    pub(crate) fn bytes(&self, value: usize, layout: usize) -> u64 {
        self.bytes[value][layout]
    }

    /// Bytes that the needs of a state keep alive, those of `but` left out.
    pub(crate) fn of(&self, key: &[u32], but: Option<usize>) -> u64 {
        let mut sum = 0;
        let mut shared: Vec<(usize, u64)> = Vec::new();
        for (v, mask) in needs(key).filter(|(v, _)| Some(*v) != but) {
            match &self.sums[v] {
                Some(sums) => sum += sums[usize::from(mask)],
                None => shared.extend(self.buffers(v, mask)),
            }
        }
        sum + sum_of(shared.into_iter())
    }

    fn buffers(&self, value: usize, mask: Mask) -> impl Iterator<Item = (usize, u64)> + '_ {
        let set = (0..self.bytes[value].len()).filter(move |i| mask >> i & 1 == 1);
        set.map(move |i| (self.group[value][i], self.bytes[value][i]))
    }

    /// Whether the needs of a state, those of `but` left out, keep the buffer of a value in a layout alive.
    pub(crate) fn holds(&self, key: &[u32], but: usize, (value, layout): (usize, usize)) -> bool {
        let group = self.group[value][layout];
        needs(key).filter(|(v, _)| *v != but).any(|(v, mask)| self.buffers(v, mask).any(|(g, _)| g == group))
    }

    /// The most that the buffers of one value and scratch take at any step of its changes of layout, if there is one. `free` says that the
    /// buffer it is first in is counted already.
    pub(crate) fn changes_peak(
        &self,
        compact: &Compact<'_>,
        value: usize,
        from: usize,
        needed: Mask,
        making: &Making,
        free: bool,
    ) -> Option<u64> {
        let choices = &compact.instance.values[value];
        let layouts = &compact.values[value].layouts;
        // Buffers: bytes, the step that made it, the last step that reads it.
        let mut buffers: Vec<(u64, usize, usize)> =
            vec![(if free { 0 } else { self.bytes(value, from) }, 0, 0)];
        let mut home = vec![usize::MAX; layouts.len()];
        home[from] = 0;
        let mut scratches = Vec::with_capacity(making.changes.len());
        for &(f, to) in &making.changes {
            let Some(r) = choices.reformat.get(&(layouts[f], layouts[to])) else { continue };
            if r.view {
                home[to] = home[f];
                continue;
            }
            let at = scratches.len();
            scratches.push(self.round(scratch(r)));
            buffers[home[f]].2 = at;
            home[to] = buffers.len();
            buffers.push((self.bytes(value, to), at, at));
        }
        for layout in (0..layouts.len()).filter(|l| needed >> l & 1 == 1) {
            buffers[home[layout]].2 = usize::MAX;
        }
        let at_step = |(at, own): (usize, &u64)| {
            own + buffers.iter().filter(|b| b.1 <= at && at <= b.2).map(|b| b.0).sum::<u64>()
        };
        scratches.iter().enumerate().map(at_step).max()
    }
}

/// The sum over groups, members of one having one size.
fn sum_of(buffers: impl Iterator<Item = (usize, u64)>) -> u64 {
    let mut seen: Vec<(usize, u64)> = Vec::new();
    for (group, bytes) in buffers {
        if !seen.iter().any(|(g, _)| *g == group) {
            seen.push((group, bytes));
        }
    }
    seen.into_iter().map(|(_, b)| b).sum()
}

fn find(parent: &mut [usize], mut i: usize) -> usize {
    while parent[i] != i {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    i
}

fn join(parent: &mut [usize], a: usize, b: usize) {
    let (a, b) = (find(parent, a), find(parent, b));
    parent[a.max(b)] = a.min(b);
}

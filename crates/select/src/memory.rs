//! Placing buffers with known lifetimes in one arena.

/// A buffer that lives over a closed range of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Size in bytes.
    pub bytes: u64,
    /// First step that touches it.
    pub first: usize,
    /// Last step that touches it.
    pub last: usize,
}

/// Where buffers lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Offset of each buffer.
    pub offsets: Vec<u64>,
    /// Size of the arena.
    pub total: u64,
    /// Largest sum of live buffers at any step: no placement is smaller.
    pub lower_bound: u64,
}

/// Times that the buffers on top are put first and everything is placed again.
const RETRIES: usize = 24;

/// Places buffers so that those alive at one step do not overlap, offsets being multiples of `alignment`.
///
/// Greedy by size with best fit (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference",
/// 2020): the largest buffer first, each into the tightest gap among those placed that live at the same time. Also
/// tries other orders, and while the arena is larger than the largest sum of live buffers puts the buffers that end on top
/// first and tries again. Keeps the smallest arena.
pub fn place(buffers: &[Buffer], alignment: u64) -> Placement {
    let least = peak(buffers, alignment);
    let length = |b: &Buffer| (b.last - b.first + 1) as u64;
    let keys: [&dyn Fn(usize) -> (u64, u64); 4] = [
        &|i| (u64::MAX - buffers[i].bytes, buffers[i].first as u64),
        &|i| (buffers[i].first as u64, u64::MAX - buffers[i].bytes),
        &|i| (u64::MAX - length(&buffers[i]), u64::MAX - buffers[i].bytes),
        &|i| (u64::MAX - buffers[i].bytes.saturating_mul(length(&buffers[i])), 0),
    ];
    let mut best: Option<Placement> = None;
    let mut orders: Vec<(Vec<usize>, Placement)> = Vec::new();
    for key in keys {
        let mut order: Vec<usize> = (0..buffers.len()).collect();
        order.sort_by_key(|&i| (key(i), i));
        let placed = place_in_order(buffers, &order, alignment);
        if best.as_ref().is_none_or(|b| placed.total < b.total) {
            best = Some(placed.clone());
        }
        if placed.total == least {
            break;
        }
        orders.push((order, placed));
    }
    let mut best = best.unwrap_or_default();
    for (mut order, mut placed) in orders {
        for _ in 0..RETRIES {
            if best.total == least {
                break;
            }
            let top = |i: &usize| {
                let size = round_up(buffers[*i].bytes, alignment);
                size > 0 && placed.offsets[*i] + size == placed.total
            };
            let (first, rest): (Vec<usize>, Vec<usize>) = order.iter().partition(|i| top(i));
            order = [first, rest].concat();
            placed = place_in_order(buffers, &order, alignment);
            if placed.total < best.total {
                best = placed.clone();
            }
        }
    }
    best.lower_bound = least;
    best
}

fn round_up(n: u64, alignment: u64) -> u64 {
    n.div_ceil(alignment).saturating_mul(alignment)
}

fn peak(buffers: &[Buffer], alignment: u64) -> u64 {
    let mut changes: Vec<(usize, bool, u64)> = Vec::with_capacity(2 * buffers.len());
    for b in buffers {
        let size = round_up(b.bytes, alignment);
        changes.push((b.first, true, size));
        changes.push((b.last + 1, false, size));
    }
    // Ends before starts at one step: `false` sorts first.
    changes.sort_unstable();
    let (mut live, mut most) = (0u64, 0);
    for (_, starts, size) in changes {
        live = if starts { live.saturating_add(size) } else { live - size };
        most = most.max(live);
    }
    most
}

fn place_in_order(buffers: &[Buffer], order: &[usize], alignment: u64) -> Placement {
    let mut offsets = vec![0u64; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut total = 0;
    for &i in order {
        let b = buffers[i];
        let size = round_up(b.bytes, alignment);
        if size == 0 {
            continue;
        }
        let mut busy: Vec<(u64, u64)> = placed
            .iter()
            .filter(|&&j| buffers[j].first <= b.last && b.first <= buffers[j].last)
            .map(|&j| (offsets[j], offsets[j] + round_up(buffers[j].bytes, alignment)))
            .collect();
        busy.sort_unstable();
        let (mut end, mut best) = (0u64, None::<(u64, u64)>);
        for (from, to) in busy {
            if from >= end + size {
                let slack = from - end - size;
                if best.is_none_or(|(s, _)| slack < s) {
                    best = Some((slack, end));
                }
            }
            end = end.max(to);
        }
        offsets[i] = best.map_or(end, |(_, at)| at);
        total = total.max(offsets[i] + size);
        placed.push(i);
    }
    Placement { offsets, total, lower_bound: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_buffers_are_reused() {
        let b = |bytes, first, last| Buffer { bytes, first, last };
        let p = place(&[b(1000, 0, 1), b(500, 1, 2), b(1000, 2, 3), b(256, 3, 3)], 256);
        assert_eq!(p.total, 1024 + 512);
        assert_eq!(p.lower_bound, p.total);
    }

    #[test]
    fn random_buffers_never_overlap() {
        let mut seed = 11u64;
        let mut next = move |n: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        for _ in 0..300 {
            let buffers: Vec<Buffer> = (0..1 + next(40))
                .map(|_| {
                    let first = next(20) as usize;
                    Buffer { bytes: next(5000), first, last: first + next(6) as usize }
                })
                .collect();
            let p = place(&buffers, 64);
            assert!(p.total >= p.lower_bound);
            for (i, a) in buffers.iter().enumerate() {
                assert!(
                    p.offsets[i].is_multiple_of(64) && p.offsets[i] + a.bytes <= p.total.max(p.offsets[i])
                );
                for (j, b) in buffers.iter().enumerate().skip(i + 1) {
                    let together = a.first <= b.last && b.first <= a.last && a.bytes > 0 && b.bytes > 0;
                    let apart =
                        p.offsets[i] + a.bytes <= p.offsets[j] || p.offsets[j] + b.bytes <= p.offsets[i];
                    assert!(!together || apart, "{a:?} and {b:?} overlap");
                }
            }
        }
    }
}

use super::*;

const H100: Limits = Limits { multiprocessors: 132, shared: 232_448, clusters: true, groups: true };

/// Shared memory of a multiprocessor, and what the driver keeps of each block.
const MULTIPROCESSOR: u32 = 233_472;
const KEPT: u32 = 1024;

#[test]
fn tiles_fit_a_multiprocessor() {
    for t in TMA_TILES {
        assert!(u64::from(t.shared()) <= H100.shared, "{t:?}");
        assert!(t.blocks * (t.shared() + KEPT) <= MULTIPROCESSOR, "{t:?} takes {}", t.shared());
        assert!(
            t.m.is_multiple_of(t.groups * 64) && t.n.is_multiple_of(32) && t.m <= 256 && t.n <= 256,
            "{t:?}"
        );
        // Sums of a thread, besides which it must have registers for the rest.
        assert!(t.m * t.n / (t.groups * 128) <= 128, "{t:?}");
    }
}

#[test]
fn products_have_tiles_on_sm_90_alone() {
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        for (m, n, k) in
            [(1, 1, 8), (49, 512, 4608), (100_352, 256, 64), (12_544, 64, 576), (8192, 8192, 8192)]
        {
            let p = Product { m, n, k, batches: 1, dtype };
            let found = tma_tiles(&p, &H100, 8);
            assert!(!found.is_empty() && found.len() <= 8, "{p:?}");
            let mut names: Vec<String> = found.iter().map(|t| t.name(dtype)).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), found.len());
            assert!(tma_tiles(&p, &Limits { groups: false, ..H100 }, 8).is_empty());
        }
    }
}

/// As blocks go from tile to tile (`gemm/tma.cu`): which rows and columns of which product each stores.
fn walk(t: &TmaTile, (m, n, batches): (u64, u64, u64), grid: u64) -> Vec<(u64, u64, u64)> {
    let (tiles_m, tiles_n) = t.tiles(m, n);
    let (product, cluster) = (tiles_m * tiles_n, u64::from(t.cluster));
    let mut out = Vec::new();
    for block in 0..grid {
        let (mut tile, rank) = (block / cluster, block % cluster);
        while tile < product * batches {
            let (batch, rest) = (tile / product, tile % product);
            let (line, column) = (rest / tiles_n, rest % tiles_n);
            out.push((batch, (line * cluster + rank) * u64::from(t.m), column * u64::from(t.n)));
            tile += grid / cluster;
        }
    }
    out
}

#[test]
fn blocks_cover_every_output_once() {
    for t in TMA_TILES {
        for (m, n, batches) in [(1, 1, 1), (100, 33, 3), (257, 130, 1), (700, 520, 2)] {
            let (tiles_m, tiles_n) = t.tiles(m, n);
            let tiles = tiles_m * tiles_n * batches;
            for grid in [1, 2, 5, tiles].map(|g: u64| g.min(tiles) * u64::from(t.cluster)) {
                let mut seen = walk(t, (m, n, batches), grid);
                let count = seen.len() as u64;
                seen.sort_unstable();
                seen.dedup();
                assert_eq!((seen.len() as u64, count), (tiles * u64::from(t.cluster), count), "{t:?}");
                let first = |size: u32, all: u64| (0..all).step_by(size as usize);
                for batch in 0..batches {
                    for row in first(t.m, m) {
                        for column in first(t.n, n) {
                            assert!(seen.binary_search(&(batch, row, column)).is_ok(), "{t:?}");
                        }
                    }
                }
            }
        }
    }
}

/// `exchange` of `tma.cuh` over four lanes.
fn exchange(lanes: &mut [[u32; 8]; 4]) {
    for mask in [1, 2] {
        let before = *lanes;
        // Of the parts `e` and `e + 2 * mask`, a lane without the bit sends the second, one with it the first.
        let sent = |lane: usize, e: usize| before[lane][if lane & mask == 0 { e + 2 * mask } else { e }];
        for (lane, v) in lanes.iter_mut().enumerate() {
            for e in (0..8).filter(|e| (e / 2) & mask == 0) {
                v[if lane & mask == 0 { e + 2 * mask } else { e }] = sent(lane ^ mask, e);
            }
        }
    }
}

#[test]
fn lanes_exchange_pairs_for_wholes() {
    // Lane q holds columns 2q and 2q + 1 of four fragments of 8 columns.
    let mut lanes = [[0; 8]; 4];
    for (q, v) in lanes.iter_mut().enumerate() {
        for (f, pair) in v.chunks_exact_mut(2).enumerate() {
            pair.copy_from_slice(&[f * 8 + 2 * q, f * 8 + 2 * q + 1].map(|c| c as u32));
        }
    }
    exchange(&mut lanes);
    for (q, v) in lanes.iter().enumerate() {
        assert_eq!(v.map(|c| c as usize), std::array::from_fn(|e| q * 8 + e));
    }
}

/// The ring of stages as `gemm/tma.cu` walks it, one step at a time, whoever can go on: the one that orders copies, and
/// warps that give stages back. Says whether all tiles were multiplied in order.
fn run_ring(
    stages: usize,
    depth: usize,
    tiles: usize,
    warps: usize,
    order: &mut dyn FnMut(usize) -> usize,
) -> bool {
    #[derive(Clone, Copy, Default)]
    struct Barrier {
        arrived: usize,
        phase: usize,
    }
    impl Barrier {
        /// Whether the phase of this parity is over, as `mbarrier.try_wait.parity` says.
        fn over(&self, parity: usize) -> bool {
            self.phase % 2 != parity
        }
        fn arrive(&mut self, count: usize) {
            self.arrived += 1;
            if self.arrived == count {
                (self.arrived, self.phase) = (0, self.phase + 1);
            }
        }
    }
    let ahead = stages.min(depth);
    let total = depth * tiles;
    let (mut full, mut empty) = (vec![Barrier::default(); stages], vec![Barrier::default(); stages]);
    let mut holds: Vec<Option<usize>> = vec![None; stages];
    let (mut ordered, mut done) = (0, vec![0; warps]);
    let place = |i: usize| (i % stages, i / stages % 2);
    loop {
        let mut ready = Vec::new();
        if ordered < total {
            let (stage, parity) = place(ordered);
            if ordered < ahead || empty[stage].over(1 - parity) {
                ready.push(warps);
            }
        }
        for (w, &at) in done.iter().enumerate() {
            if at < total && full[place(at).0].over(place(at).1) {
                ready.push(w);
            }
        }
        if ready.is_empty() {
            return ordered == total && done.iter().all(|&d| d == total);
        }
        let who = ready[order(ready.len())];
        if who == warps {
            let (stage, _) = place(ordered);
            // Nobody may still need what is overwritten.
            if holds[stage].is_some_and(|old| done.iter().any(|&d| d <= old)) {
                return false;
            }
            holds[stage] = Some(ordered);
            full[stage].arrive(1);
            ordered += 1;
        } else {
            let (stage, _) = place(done[who]);
            if holds[stage] != Some(done[who]) {
                return false;
            }
            empty[stage].arrive(warps);
            done[who] += 1;
        }
    }
}

#[test]
fn the_ring_of_stages_never_stalls_and_overwrites_nothing() {
    let mut state = 1u32;
    for stages in [2, 3, 4, 6] {
        for depth in [1, 2, 3, 5, 9] {
            for tiles in [1, 2, 3, 7] {
                for _ in 0..20 {
                    let mut order = |n: usize| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (state >> 16) as usize % n
                    };
                    assert!(run_ring(stages, depth, tiles, 8, &mut order), "{stages} {depth} {tiles}");
                }
            }
        }
    }
}

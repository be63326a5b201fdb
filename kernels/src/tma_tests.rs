use super::*;

const H100: Limits = Limits { multiprocessors: 132, shared: 232_448, clusters: true, groups: true };

fn outputs(dtype: DType, residuals: u32) -> Outputs {
    Outputs { dtype, mapped: true, residuals }
}

#[test]
fn tiles_fit_a_multiprocessor() {
    for t in TMA_TILES {
        assert!(t.fits(DType::F16, &H100), "{t:?} takes {}", t.shared(DType::F16));
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
            let found = tma_tiles(&p, &outputs(dtype, 1), &H100, 8);
            assert!(!found.is_empty() && found.len() <= 8, "{p:?}");
            let mut names: Vec<String> = found.iter().map(|t| t.name(dtype)).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), found.len());
            let older = Limits { groups: false, ..H100 };
            assert!(tma_tiles(&p, &outputs(dtype, 0), &older, 8).is_empty());
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

/// Slabs of one group as `move_outputs` and `fill_slab` of `tma.cuh` hand them on, one step at a time, whoever can go on:
/// warps, the thread that moves outputs, and copies that complete some time after they were ordered. Says whether every
/// tile's outputs were computed from its own residual and stored once.
fn run_slabs(slabs: usize, tiles: usize, residual: bool, order: &mut dyn FnMut(usize) -> usize) -> bool {
    const WARPS: usize = 4;
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Holds {
        Nothing,
        Residual(usize),
        Outputs(usize, usize),
    }
    let (mut ready, mut written, mut arrived) = (vec![0; slabs], vec![0; slabs], vec![0; slabs]);
    let mut holds = vec![Holds::Nothing; slabs];
    // Copies on their way: a residual's tile, and the tile that is stored.
    let mut coming: Vec<usize> = if residual { (0..slabs.min(tiles)).collect() } else { vec![] };
    let mut leaving: Option<usize> = None;
    let (mut stored, mut at) = (vec![], [0; WARPS]);
    let over = |phase: usize, parity: usize| phase % 2 != parity;
    let parity = |tile: usize| tile / slabs % 2;
    let mut moved = 0;
    loop {
        // 0..4: warps; 4: the mover waits for outputs; 5: a store has been read; 6: a residual arrives.
        let mut can: Vec<usize> = (0..WARPS)
            .filter(|&w| {
                let wait = if residual { parity(at[w]) } else { 1 - parity(at[w]) };
                at[w] < tiles && over(ready[at[w] % slabs], wait)
            })
            .collect();
        if leaving.is_none() && moved < tiles && over(written[moved % slabs], parity(moved)) {
            can.push(4);
        }
        can.extend(leaving.map(|_| 5));
        can.extend((!coming.is_empty()).then_some(6));
        if can.is_empty() {
            return stored == (0..tiles).collect::<Vec<_>>() && at == [tiles; WARPS];
        }
        match can[order(can.len())] {
            4 => {
                if holds[moved % slabs] != Holds::Outputs(moved, WARPS) {
                    return false;
                }
                leaving = Some(moved);
            }
            5 => {
                let tile = leaving.take().unwrap();
                if holds[tile % slabs] != Holds::Outputs(tile, WARPS) {
                    return false;
                }
                stored.push(tile);
                holds[tile % slabs] = Holds::Nothing;
                if tile + slabs < tiles {
                    if residual {
                        coming.push(tile + slabs);
                    } else {
                        ready[tile % slabs] += 1;
                    }
                }
                moved += 1;
            }
            6 => {
                let tile = coming.remove(0);
                if holds[tile % slabs] != Holds::Nothing {
                    return false;
                }
                holds[tile % slabs] = Holds::Residual(tile);
                ready[tile % slabs] += 1;
            }
            w => {
                let (tile, slab) = (at[w], at[w] % slabs);
                let before = if residual { Holds::Residual(tile) } else { Holds::Nothing };
                holds[slab] = match holds[slab] {
                    Holds::Outputs(t, n) if t == tile && n < WARPS => Holds::Outputs(t, n + 1),
                    h if h == before => Holds::Outputs(tile, 1),
                    _ => return false,
                };
                arrived[slab] += 1;
                if arrived[slab] == WARPS {
                    (arrived[slab], written[slab]) = (0, written[slab] + 1);
                }
                at[w] += 1;
            }
        }
    }
}

#[test]
fn slabs_never_stall_and_hold_one_tile() {
    let mut state = 7u32;
    for slabs in [1, 2, 3] {
        for tiles in [1, 2, 3, 5, 9] {
            for residual in [false, true] {
                for _ in 0..50 {
                    let mut order = |n: usize| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (state >> 16) as usize % n
                    };
                    assert!(run_slabs(slabs, tiles, residual, &mut order), "{slabs} {tiles} {residual}");
                }
            }
        }
    }
}

/// `slab_place` against what a copy with exchange of 128 bytes does: bits 4 to 6 of an address are xored with bits 7 to 9.
#[test]
fn slabs_lie_as_copies_read_them() {
    for t in TMA_TILES.iter().filter(|t| t.slabs > 0) {
        for dtype in [DType::F16, DType::F32].into_iter().filter(|&d| t.fits(d, &H100)) {
            let [rows, columns] = t.output_box(dtype);
            let vector = t.vector(dtype, 1);
            let mut seen = Vec::new();
            for row in 0..rows {
                for column in (0..t.n).step_by(vector as usize) {
                    let (part, chunk) = (column / columns, column % columns / vector);
                    let place = part * rows * ROW + row * ROW + ((chunk ^ (row & 7)) << 4);
                    let plain = row * ROW + column % columns * dtype.size() as u32;
                    assert_eq!(place, part * rows * ROW + (plain ^ (plain >> 7 & 7) << 4));
                    seen.push(place);
                }
            }
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len() as u32 * 16 * t.groups, t.m * t.n * dtype.size() as u32, "{t:?}");
        }
    }
}

#[test]
fn both_ways_to_store_are_offered_where_outputs_can_be_mapped() {
    for (m, n, k) in [(100_352, 512, 128), (401_408, 256, 64), (6272, 2048, 512), (196, 256, 2304)] {
        let p = Product { m, n, k, batches: 1, dtype: DType::F16 };
        for residuals in [0, 1] {
            let found = tma_tiles(&p, &outputs(DType::F16, residuals), &H100, 12);
            let staged = found.iter().filter(|t| t.slabs > 0).count();
            assert!(staged >= 2 && found.len() - staged >= 2, "{p:?}: {found:?}");
            let direct = Outputs { mapped: false, ..outputs(DType::F16, residuals) };
            assert!(tma_tiles(&p, &direct, &H100, 12).iter().all(|t| t.slabs == 0));
        }
    }
}

#[test]
fn blocks_that_share_a_depth_all_have_a_part_and_sums_fit_where_stages_were() {
    for t in TMA_TILES {
        assert!(t.split == 1 || t.cluster == 1 && t.slabs == 0 && !t.trades(), "{t:?}");
        assert!(t.split == 1 || t.stages * (t.m + t.n) * ROW >= t.m * t.n * 4, "{t:?}");
        for stages in 1..100 {
            let Some(part) = t.part(stages) else { continue };
            // As `part_of_depth` of `tma.cuh` has it.
            let parts: Vec<u64> = (0..u64::from(t.split)).map(|r| part.min(stages - r * part)).collect();
            assert!(parts.iter().sum::<u64>() == stages && parts.iter().all(|&p| p > 0), "{t:?} {stages}");
        }
    }
    // Stage `i` of windows of 3 x 3 over channels of 3 parts lies where counting up from the first gets to.
    let (parts, window) = (3, 3);
    let (mut c, mut right, mut down) = (0, 0, 0);
    for stage in 0..27 {
        let place = stage / parts;
        assert_eq!((stage - place * parts, place % window, place / window), (c, right, down));
        c += 1;
        if c == parts {
            (c, right) = (0, right + 1);
            if right == window {
                (right, down) = (0, down + 1);
            }
        }
    }
}

/// As `adds_up` of `tma.cuh` spreads a tile's sums over the blocks of a cluster.
#[test]
fn sums_are_added_up_once_and_evenly() {
    for t in TMA_TILES.iter().filter(|t| t.split > 1) {
        let mut counts = vec![0; t.split as usize];
        for i in 0..t.m / t.groups / 64 {
            for half in 0..2 {
                for j in (0..t.n / 8).step_by(4) {
                    for warp in 0..4 {
                        counts[((((i * 2 + half) * (t.n / 32) + j / 4) * 4 + warp) % t.split) as usize] += 1;
                    }
                }
            }
        }
        assert!(counts.iter().all(|&c| c == counts[0] && c > 0), "{t:?}: {counts:?}");
    }
}

#[test]
fn small_products_are_offered_with_and_without_a_shared_depth() {
    for (m, n, k) in [(784, 128, 1152), (196, 256, 2304), (49, 512, 4608), (49, 512, 2048), (784, 256, 512)] {
        let p = Product { m, n, k, batches: 1, dtype: DType::F16 };
        let found = tma_tiles(&p, &outputs(DType::F16, 0), &H100, 12);
        let shared = found.iter().filter(|t| t.split > 1).count();
        assert!(shared >= 2 && found.len() > shared, "{p:?}: {found:?}");
    }
    let p = Product { m: 100_352, n: 512, k: 1024, batches: 1, dtype: DType::F16 };
    assert!(tma_tiles(&p, &outputs(DType::F16, 0), &H100, 12).iter().all(|t| t.split == 1));
}

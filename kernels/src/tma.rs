//! Tiles of products that the tensor memory accelerator feeds (`include/tma.cuh`), and which of them suit a product.

use tactician_types::DType;

use crate::gemm::{Limits, Product, multiply_group};
use crate::gemm_epilogue::stored_type;

/// Bytes of a stage's row.
pub const ROW: u32 = 128;

/// A block's tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TmaTile {
    /// Rows of outputs.
    pub m: u32,
    /// Columns of outputs.
    pub n: u32,
    /// Groups of four warps that multiply.
    pub groups: u32,
    /// Stages in shared memory.
    pub stages: u32,
    /// Blocks that share copies of the columns' operand, 1 or 2.
    pub cluster: u32,
    /// Blocks of a multiprocessor.
    pub blocks: u32,
    /// Tiles of outputs that each group has in shared memory, from where they are copied and to where a residual is
    /// copied ahead of time; 0: outputs are stored as they are computed.
    pub slabs: u32,
    /// Blocks of a cluster that share the depth of a tile and add up their sums; such tiles have one block of other kinds
    /// of clusters, and no slabs.
    pub split: u32,
}

const fn tile(m: u32, n: u32, groups: u32, stages: u32, cluster: u32, blocks: u32) -> TmaTile {
    TmaTile { m, n, groups, stages, cluster, blocks, slabs: 0, split: 1 }
}

const fn staged(m: u32, n: u32, groups: u32, stages: u32, blocks: u32, slabs: u32) -> TmaTile {
    TmaTile { m, n, groups, stages, cluster: 1, blocks, slabs, split: 1 }
}

const fn split(m: u32, n: u32, groups: u32, stages: u32, blocks: u32, split: u32) -> TmaTile {
    TmaTile { m, n, groups, stages, cluster: 1, blocks, slabs: 0, split }
}

/// What a product's outputs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outputs {
    /// Their type.
    pub dtype: DType,
    /// Whether tensor maps can describe them.
    pub mapped: bool,
    /// Operands of their shape that the epilogue reads.
    pub residuals: u32,
}

/// The tiles that are tried, large ones first.
pub const TMA_TILES: &[TmaTile] = &[
    tile(256, 128, 2, 4, 1, 1),
    tile(256, 128, 2, 4, 2, 1),
    tile(128, 256, 2, 4, 1, 1),
    tile(128, 256, 2, 4, 2, 1),
    tile(128, 192, 2, 5, 1, 1),
    tile(128, 192, 2, 5, 2, 1),
    tile(128, 128, 2, 6, 2, 1),
    tile(128, 128, 1, 3, 1, 2),
    tile(128, 128, 1, 3, 2, 2),
    tile(256, 64, 2, 5, 1, 1),
    tile(128, 64, 2, 4, 1, 2),
    tile(128, 64, 1, 4, 1, 2),
    tile(128, 64, 1, 4, 2, 2),
    tile(64, 128, 1, 4, 1, 2),
    tile(64, 128, 1, 3, 1, 3),
    tile(64, 64, 1, 4, 1, 3),
    tile(128, 32, 1, 5, 1, 2),
    tile(64, 32, 1, 6, 1, 3),
    staged(256, 128, 2, 3, 1, 1),
    staged(128, 256, 2, 3, 1, 1),
    TmaTile { cluster: 2, ..staged(128, 256, 2, 3, 1, 1) },
    staged(128, 192, 2, 4, 1, 1),
    staged(128, 128, 2, 5, 1, 1),
    staged(128, 128, 2, 4, 1, 2),
    staged(128, 128, 1, 2, 2, 1),
    staged(128, 64, 2, 3, 2, 1),
    staged(128, 64, 1, 3, 2, 2),
    staged(64, 128, 1, 3, 2, 2),
    staged(64, 64, 1, 3, 3, 2),
    staged(64, 64, 1, 2, 4, 2),
    split(128, 128, 2, 4, 1, 2),
    split(128, 128, 2, 4, 1, 4),
    split(128, 64, 2, 4, 2, 2),
    split(128, 64, 2, 4, 2, 4),
    split(64, 128, 1, 4, 2, 2),
    split(64, 128, 1, 4, 2, 4),
    split(64, 64, 1, 6, 2, 2),
    split(64, 64, 1, 6, 2, 4),
    split(64, 64, 1, 6, 2, 8),
    split(64, 32, 1, 8, 2, 2),
    split(64, 32, 1, 8, 2, 4),
    split(64, 32, 1, 8, 2, 8),
];

impl TmaTile {
    /// Whether the thread that orders copies is in a group of its own, which leaves its registers to those that
    /// multiply: where sums fill most of theirs.
    pub fn trades(&self) -> bool {
        self.m * self.n >= self.groups * 128 * 128 && self.groups * self.blocks == 2 && self.split == 1
    }

    /// Threads of a block: the groups, the warp or the group of the thread that orders copies, and a warp for the slabs
    /// of each group.
    pub fn threads(&self) -> u32 {
        let movers = if self.slabs > 0 { self.groups } else { 0 };
        self.groups * 128 + if self.trades() { 128 } else { 32 * (1 + movers) }
    }

    /// Depth of a stage in elements.
    pub fn depth(&self, dtype: DType) -> u32 {
        ROW / dtype.size() as u32
    }

    /// Stages of a depth.
    pub fn stages_of(&self, k: u64, dtype: DType) -> u64 {
        k.div_ceil(u64::from(self.depth(dtype)))
    }

    /// Blocks of a cluster.
    pub fn together(&self) -> u32 {
        self.cluster * self.split
    }

    /// Stages of the depth that a block takes of so many, if each block of a cluster has some; blocks that share a depth
    /// have two at least.
    pub fn part(&self, stages: u64) -> Option<u64> {
        let split = u64::from(self.split);
        let part = stages.div_ceil(split);
        (split == 1 || part >= 2 && part * (split - 1) < stages).then_some(part)
    }

    /// Dynamic shared memory of a block in bytes: stages and slabs of outputs at a multiple of 1024, and two barriers
    /// each.
    pub fn shared(&self, output: DType) -> u32 {
        let slabs = self.slabs * (self.m * self.n * output.size() as u32 + self.groups * 16);
        1024 + self.stages * ((self.m + self.n) * ROW + 16) + slabs
    }

    /// Whether a multiprocessor takes as many blocks as the tile counts on, of this type of output.
    pub fn fits(&self, output: DType, limits: &Limits) -> bool {
        // What the driver keeps of each block; a multiprocessor has as much for its blocks as for one.
        const KEPT: u64 = 1024;
        let block = u64::from(self.shared(output));
        let columns = ROW / output.size() as u32;
        block <= limits.shared
            && u64::from(self.blocks) * (block + KEPT) <= limits.shared + KEPT
            && (self.slabs == 0 || self.n.is_multiple_of(columns))
    }

    /// Rows and columns of a copy of outputs.
    pub fn output_box(&self, output: DType) -> [u32; 2] {
        [self.m / self.groups, ROW / output.size() as u32]
    }

    /// How many outputs are stored at once, of `vector` that might be.
    pub fn vector(&self, output: DType, vector: u32) -> u32 {
        if self.slabs > 0 { 16 / output.size() as u32 } else { vector }
    }

    /// Tiles along the rows and the columns, those of a cluster counted as one.
    pub fn tiles(&self, m: u64, n: u64) -> (u64, u64) {
        (m.div_ceil(u64::from(self.m * self.cluster)), n.div_ceil(u64::from(self.n)))
    }

    /// Macros of `tma.cuh`. `vector` outputs are stored at once; `residual`: slabs receive an operand of the epilogue.
    pub fn defines(&self, dtype: DType, vector: u32, residual: bool) -> Vec<String> {
        [
            ("TILE_M", self.m),
            ("TILE_N", self.n),
            ("GROUPS", self.groups),
            ("STAGES", self.stages),
            ("CLUSTER", self.cluster),
            ("BLOCKS", self.blocks),
            ("TRADE", u32::from(self.trades())),
            ("ELEMENT", stored_type(dtype).unwrap_or(0)),
            ("VECTOR", vector),
            ("SLABS", self.slabs),
            ("RESIDUAL", u32::from(residual)),
            ("SPLIT", self.split),
        ]
        .map(|(name, value)| format!("{name}={value}"))
        .to_vec()
    }

    /// Code that the prelude needs: the instruction of warp groups.
    pub fn prelude(&self, dtype: DType) -> String {
        multiply_group(self.n, dtype)
    }

    /// The tile in a tactic's name, such as `128x256x64.g2.st4.c2`, `64x64x64.g1.st4.b3` for three blocks of a
    /// multiprocessor, `.e1` for one slab of outputs, or `.k4` for four blocks that share the depth.
    pub fn name(&self, dtype: DType) -> String {
        let mut name =
            format!("{}x{}x{}.g{}.st{}", self.m, self.n, self.depth(dtype), self.groups, self.stages);
        if self.blocks > 1 {
            name += &format!(".b{}", self.blocks);
        }
        if self.cluster > 1 {
            name += &format!(".c{}", self.cluster);
        }
        if self.slabs > 0 {
            name += &format!(".e{}", self.slabs);
        }
        if self.split > 1 {
            name += &format!(".k{}", self.split);
        }
        name
    }
}

/// Tiles that are worth measuring for a product, at most `most`, the most promising by a rough model first: of many
/// sizes, and two of each kind if there are: with slabs, with a depth that is shared, with neither.
pub fn tma_tiles(p: &Product, outputs: &Outputs, limits: &Limits, most: usize) -> Vec<TmaTile> {
    if !limits.groups || !limits.clusters {
        return vec![];
    }
    // A tile twice as large as needed computes nothing.
    let wasteful = |size: u32, needed: u64, least: u32| size > least && u64::from(size / 2) >= needed;
    let mut found: Vec<(f64, TmaTile)> = TMA_TILES
        .iter()
        .filter(|t| t.fits(outputs.dtype, limits) && (t.slabs == 0 || outputs.mapped))
        .filter(|t| !wasteful(t.m * t.cluster, p.m, 64) && !wasteful(t.n, p.n, 32))
        .filter_map(|t| Some((cost(p, outputs, limits, t)?, *t)))
        .collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let best = found.first().map_or(0.0, |f| f.0);
    let near: Vec<TmaTile> = found.into_iter().filter(|f| f.0 <= 5.0 * best).map(|f| f.1).collect();
    choose(&near, most)
}

/// At most `most` of the tiles, which are in order of their cost.
fn choose(near: &[TmaTile], most: usize) -> Vec<TmaTile> {
    let mut out: Vec<TmaTile> = Vec::new();
    let mut add = |t: &TmaTile, alike: &dyn Fn(&TmaTile) -> bool, few: usize| {
        if out.len() < most && !out.contains(t) && out.iter().filter(|o| alike(o)).count() < few {
            out.push(*t);
        }
    };
    // Two of each kind, then two of each size of it, then whatever is left.
    let kind = |t: &TmaTile| (t.slabs > 0, t.split > 1);
    for t in near {
        add(t, &|o| kind(o) == kind(t), 2);
    }
    for t in near {
        add(t, &|o| (o.m, o.n, kind(o)) == (t.m, t.n, kind(t)), 2);
    }
    for t in near {
        add(t, &|_| true, most);
    }
    out.sort_by_key(|t| near.iter().position(|n| n == t));
    out
}

/// A rough guess of the cycles that a tile takes, to choose what to measure; `None` where it makes no sense.
fn cost(p: &Product, outputs: &Outputs, limits: &Limits, t: &TmaTile) -> Option<f64> {
    // Cycles until a block's first products and of a stage that waits for its data; multiplications, bytes from the cache,
    // bytes of outputs and residuals to and from memory, and outputs computed, of a multiprocessor in a cycle. Only their
    // order of magnitude matters.
    const START: f64 = 1500.0;
    const STAGE: f64 = 150.0;
    const PRODUCTS: f64 = 1800.0;
    const LOADS: f64 = 40.0;
    const STORES: f64 = 16.0;
    const ENDS: f64 = 24.0;
    // Cycles of adding up over a cluster.
    const ADD: f64 = 800.0;

    let slower = if p.dtype == DType::F32 { 2.0 } else { 1.0 };
    let stages = t.part(t.stages_of(p.k, p.dtype))? as f64;
    let (tiles_m, tiles_n) = t.tiles(p.m, p.n);
    let tiles = (tiles_m * tiles_n * p.batches) as f64;
    let slots = f64::from((limits.multiprocessors * t.blocks / t.together()).max(1));
    // Blocks of a multiprocessor share it, unless there are too few of them.
    let sharing =
        (tiles * f64::from(t.together()) / f64::from(limits.multiprocessors)).clamp(1.0, f64::from(t.blocks));
    let rounds = (tiles / slots).ceil();
    // Blocks that share a depth do not go on to another tile.
    if t.split > 1 && rounds > 2.0 {
        return None;
    }
    let products = f64::from(t.m * t.n * t.depth(p.dtype)) / PRODUCTS * slower;
    let loads = f64::from((t.m + t.n / t.cluster) * ROW) / LOADS;
    let stage = (products.max(loads) * sharing).max(STAGE);
    let results = f64::from(t.m * t.n);
    // What is loaded or stored one by one waits for its data.
    let moved = if t.slabs > 0 { 1 + outputs.residuals } else { 1 + 2 * outputs.residuals };
    let moves = results * outputs.dtype.size() as f64 * f64::from(moved) / STORES * sharing;
    let main = stages * stage;
    // Slabs move while the next tile is multiplied; otherwise the blocks of a multiprocessor hide some of it.
    let shown = match (t.slabs, sharing > 1.0) {
        (0, false) => 1.0,
        (0, true) => 0.5,
        _ => 0.0,
    };
    let ends = results / ENDS * sharing * if sharing > 1.0 { 0.5 } else { 1.0 };
    let first = if t.slabs > 0 { moves / sharing } else { 0.0 };
    let (add, each) = match t.split {
        1 => (0.0, 1.0),
        n => (ADD + 50.0 * f64::from(n), f64::from(n)),
    };
    let moves = moves / each;
    Some(START + first + add + rounds * (main.max(moves) + main.min(moves) * shown + ends / each))
}

#[cfg(test)]
#[path = "tma_tests.rs"]
mod tests;

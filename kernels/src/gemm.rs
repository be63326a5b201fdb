//! Tiles of products on tensor cores (`include/mma.cuh`), and which of them suit a product.

use tactician_types::DType;

use crate::gemm_epilogue::stored_type;

/// A block's tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MmaTile {
    /// Rows of outputs.
    pub m: u32,
    /// Columns of outputs.
    pub n: u32,
    /// Bytes of a stage's row: 64 or 128.
    pub row: u32,
    /// Warps along the rows and the columns.
    pub warps: (u32, u32),
    /// Stages in shared memory.
    pub stages: u32,
    /// Products of warp groups out of shared memory (`wgmma`): 4 warps for every 64 rows, or every 128.
    pub groups: bool,
}

const fn tile(m: u32, n: u32, row: u32, warps: (u32, u32), stages: u32) -> MmaTile {
    MmaTile { m, n, row, warps, stages, groups: false }
}

const fn grouped(m: u32, n: u32, groups: u32, stages: u32) -> MmaTile {
    MmaTile { m, n, row: 128, warps: (4 * groups, 1), stages, groups: true }
}

/// The tiles that are tried, large ones first.
pub const MMA_TILES: &[MmaTile] = &[
    tile(256, 128, 64, (4, 2), 4),
    tile(128, 256, 64, (2, 4), 4),
    tile(128, 128, 128, (2, 2), 3),
    tile(128, 128, 64, (2, 2), 4),
    tile(128, 128, 128, (2, 4), 3),
    tile(256, 64, 64, (4, 1), 4),
    tile(128, 64, 128, (2, 2), 4),
    tile(64, 128, 128, (2, 2), 4),
    tile(128, 32, 128, (4, 1), 4),
    tile(64, 64, 128, (2, 2), 3),
    tile(64, 64, 128, (2, 2), 6),
    tile(32, 128, 128, (1, 4), 5),
    tile(64, 32, 128, (2, 2), 4),
    tile(64, 32, 128, (2, 2), 8),
    tile(32, 64, 128, (2, 2), 4),
    tile(32, 64, 128, (2, 2), 8),
    tile(32, 32, 128, (2, 2), 6),
    tile(16, 128, 128, (1, 4), 5),
    tile(16, 64, 128, (1, 4), 8),
    tile(16, 32, 128, (1, 2), 8),
    grouped(256, 128, 2, 4),
    grouped(128, 256, 2, 4),
    grouped(128, 128, 2, 3),
    grouped(128, 128, 2, 5),
    grouped(128, 64, 2, 4),
    grouped(64, 256, 1, 4),
    grouped(64, 128, 1, 4),
    grouped(64, 64, 1, 4),
    grouped(64, 64, 1, 7),
    grouped(64, 32, 1, 8),
    grouped(128, 32, 2, 4),
];

/// How the depth of a product is shared by blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// One block does all of it.
    None,
    /// Blocks of a cluster add up through distributed shared memory.
    Cluster(u32),
    /// Partial sums go to scratch; a second kernel adds them.
    Scratch(u32),
}

impl Split {
    /// Parts of the depth.
    pub fn parts(self) -> u32 {
        match self {
            Split::None => 1,
            Split::Cluster(n) | Split::Scratch(n) => n,
        }
    }
}

/// A tile with its split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MmaPlan {
    /// The tile.
    pub tile: MmaTile,
    /// The split.
    pub split: Split,
}

/// A product `[m, k] x [k, n]`, `batches` times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Rows.
    pub m: u64,
    /// Columns.
    pub n: u64,
    /// Depth.
    pub k: u64,
    /// How many of them.
    pub batches: u64,
    /// Type of the operands.
    pub dtype: DType,
}

/// What planning needs to know of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Shared memory that a block may have, in bytes.
    pub shared: u64,
    /// Whether it has clusters.
    pub clusters: bool,
    /// Whether it has products of warp groups.
    pub groups: bool,
}

impl MmaTile {
    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        self.warps.0 * self.warps.1 * 32
    }

    /// Depth of a stage in elements.
    pub fn depth(&self, dtype: DType) -> u32 {
        self.row / dtype.size() as u32
    }

    /// Dynamic shared memory of a block in bytes: the stages, and later the sums in f32.
    pub fn shared(&self) -> u32 {
        // Warp groups want stages at multiples of 1024.
        let align = if self.groups { 1024 } else { 0 };
        (self.stages * (self.m + self.n) * self.row + align).max(self.m * (self.n + 8) * 4)
    }

    /// Whether the tile fits operands whose rows run along the product's rows or columns: these copy whole rows of 64,
    /// 128 or 256 bytes.
    pub fn fits_along(&self, size: u32, dtype: DType) -> bool {
        let bytes = size * dtype.size() as u32;
        let chunks = bytes / 16;
        (bytes == 64 || bytes.is_multiple_of(128))
            && self.threads().is_multiple_of(chunks)
            && self.depth(dtype).is_multiple_of(self.threads() / chunks)
            && (self.threads() / chunks).is_multiple_of(8)
    }
}

impl MmaPlan {
    /// Macros of `mma.cuh`. `vector` outputs are stored at once.
    pub fn defines(&self, dtype: DType, vector: u32) -> Vec<String> {
        let t = &self.tile;
        let (cluster, partial) = match self.split {
            Split::None => (1, 0),
            Split::Cluster(n) => (n, 0),
            Split::Scratch(_) => (1, 1),
        };
        [
            ("TILE_M", t.m),
            ("TILE_N", t.n),
            ("TILE_K", t.depth(dtype)),
            ("WARPS_M", t.warps.0),
            ("WARPS_N", t.warps.1),
            ("STAGES", t.stages),
            ("ELEMENT", stored_type(dtype).unwrap_or(0)),
            ("CLUSTER", cluster),
            ("PARTIAL", partial),
            ("WGMMA", u32::from(t.groups)),
            ("VECTOR", vector),
        ]
        .map(|(name, value)| format!("{name}={value}"))
        .to_vec()
    }

    /// Code that the prelude needs: the instruction of warp groups.
    pub fn prelude(&self, dtype: DType) -> String {
        if self.tile.groups { multiply_group(self.tile.n, dtype) } else { String::new() }
    }

    /// The plan in a tactic's name, such as `64x32x64.w2x2.st4.c4`, or `.g2.` for two warp groups.
    pub fn name(&self, dtype: DType) -> String {
        let t = &self.tile;
        let depth = t.depth(dtype);
        let split = match self.split {
            Split::None => String::new(),
            Split::Cluster(n) => format!(".c{n}"),
            Split::Scratch(n) => format!(".s{n}"),
        };
        let warps = match (t.groups, t.warps) {
            (true, (m, _)) => format!("g{}", m / 4),
            (false, (m, n)) => format!("w{m}x{n}"),
        };
        format!("{}x{}x{depth}.{warps}.st{}{split}", t.m, t.n, t.stages)
    }

    /// Stages of a part of the depth `k`, and of the whole.
    pub fn stages(&self, k: u64, dtype: DType) -> (u64, u64) {
        let all = k.div_ceil(u64::from(self.tile.depth(dtype)));
        (all.div_ceil(u64::from(self.split.parts())), all)
    }
}

/// Plans that are worth measuring for a product, at most `most`, the most promising by a rough model first. One without
/// scratch is among them, if any tile `suits`.
pub fn plans(p: &Product, limits: &Limits, most: usize, suits: impl Fn(&MmaTile) -> bool) -> Vec<MmaPlan> {
    let mut found = candidates(p, limits, |t| {
        // A tile twice as large as needed computes nothing.
        let wasteful = |size: u32, needed: u64, least: u32| size > least && u64::from(size / 2) >= needed;
        !wasteful(t.m, p.m, 16) && !wasteful(t.n, p.n, 32) && suits(t)
    });
    if found.is_empty() {
        found = candidates(p, limits, &suits);
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let best = found.first().map_or(0.0, |f| f.0);
    // Scratch is a second opinion where there are clusters, and half of the list elsewhere.
    let scratch = if limits.clusters { 2.min(most) } else { most / 2 };
    let uses_scratch = |p: &MmaPlan| matches!(p.split, Split::Scratch(_));
    let near = || found.iter().filter(|f| f.0 <= 3.0 * best).map(|f| f.1);
    let mut out: Vec<MmaPlan> = near().filter(|p| !uses_scratch(p)).take(most - scratch).collect();
    out.extend(near().filter(|p| uses_scratch(p)).take(scratch));
    if out.iter().all(|p| matches!(p.split, Split::Scratch(_))) {
        out.extend(found.iter().map(|f| f.1).find(|p| !matches!(p.split, Split::Scratch(_))));
    }
    out
}

/// Every plan that makes sense, with a guess of its cost.
fn candidates(p: &Product, limits: &Limits, suits: impl Fn(&MmaTile) -> bool) -> Vec<(f64, MmaPlan)> {
    // Clusters of more than 8 blocks are not portable; sm_90 has them.
    let clusters = [2, 4, 8, 16].map(Split::Cluster);
    let scratch = [2, 4, 8, 16].map(Split::Scratch);
    let splits: Vec<Split> = [Split::None].into_iter().chain(clusters).chain(scratch).collect();
    MMA_TILES
        .iter()
        .filter(|t| !t.groups || limits.groups && p.dtype != DType::F32)
        .filter(|t| u64::from(t.shared()) <= limits.shared && suits(t))
        .flat_map(|t| splits.iter().map(|&split| MmaPlan { tile: *t, split }))
        .filter_map(|plan| Some((cost(p, limits, &plan)?, plan)))
        .collect()
}

/// `multiply_group(sums, a, b, more)`: sets the sums to, or with `more` adds, the product of 64 rows and `n` columns over
/// 32 bytes of depth, both described by their place in shared memory.
pub(crate) fn multiply_group(n: u32, dtype: DType) -> String {
    // Short floats could also lie across the depth; two more numbers say that they do not.
    let (depth, element, along) = match dtype {
        DType::BF16 => (16, "bf16", ", 0, 0"),
        DType::F16 => (16, "f16", ", 0, 0"),
        _ => (8, "tf32", ""),
    };
    let count = n / 2;
    let registers: Vec<String> = (0..count).map(|i| format!("%{i}")).collect();
    let sums: Vec<String> = (0..count).map(|i| format!("\"+f\"(d[{}][{}])", i / 4, i % 4)).collect();
    format!(
        "__device__ __forceinline__ void multiply_group(float (&d)[{}][4], unsigned long long a, unsigned long long b, int more) {{\n\
         #ifdef __CUDA_ARCH_FEAT_SM90_ALL\n    \
         asm volatile(\"{{\\n.reg .pred p;\\nsetp.ne.b32 p, %{}, 0;\\n\"\n        \
         \"wgmma.mma_async.sync.aligned.m64n{n}k{depth}.f32.{element}.{element} {{{}}}, %{count}, %{}, p, 1, 1{along};\\n}}\"\n        \
         : {} : \"l\"(a), \"l\"(b), \"r\"(more));\n\
         #endif\n}}\n",
        n / 8,
        count + 2,
        registers.join(", "),
        count + 1,
        sums.join(", "),
    )
}

/// A rough guess of the cycles that a plan takes, to choose what to measure; `None` for plans that make no sense.
fn cost(p: &Product, limits: &Limits, plan: &MmaPlan) -> Option<f64> {
    // Cycles of a block's start and end, of a stage that waits for its data, of adding up over a cluster, of a second
    // kernel; bytes and multiplications of a multiprocessor in a cycle. Only their order of magnitude matters.
    const BLOCK: f64 = 1500.0;
    const STAGE: f64 = 250.0;
    const CLUSTER: f64 = 800.0;
    const KERNEL: f64 = 3000.0;
    const BYTES: f64 = 48.0;
    const PRODUCTS: f64 = 1200.0;
    const GROUP_PRODUCTS: f64 = 2000.0;

    let t = &plan.tile;
    let parts = u64::from(plan.split.parts());
    let (stages, all) = plan.stages(p.k, p.dtype);
    // Every part has work, and more than one stage.
    if parts > 1 && (stages < 2 || stages * (parts - 1) >= all) {
        return None;
    }
    if let Split::Cluster(n) = plan.split
        && (!limits.clusters || n > 8 && !limits.groups)
    {
        return None;
    }
    let tiles = p.m.div_ceil(u64::from(t.m)) * p.n.div_ceil(u64::from(t.n)) * p.batches;
    let blocks = (tiles * parts) as f64;
    let processors = f64::from(limits.multiprocessors.max(1));
    if parts > 1 && blocks > 3.0 * processors {
        return None;
    }
    let at_once = (limits.shared / u64::from(t.shared())).min(u64::from(1024 / t.threads())).max(1) as f64;
    let slower = if p.dtype == DType::F32 { 2.0 } else { 1.0 };
    let rate = if t.groups { GROUP_PRODUCTS } else { PRODUCTS };
    let products = f64::from(t.m * t.n * t.depth(p.dtype)) / rate * slower;
    let bytes = f64::from((t.m + t.n) * t.row) / BYTES;
    let throughput = (blocks / processors).ceil() * stages as f64 * products.max(bytes);
    let latency = (blocks / (processors * at_once)).ceil() * (BLOCK + stages as f64 * STAGE);
    let outputs = (p.m * p.n * p.batches) as f64;
    let more = match plan.split {
        Split::None => 0.0,
        Split::Cluster(n) => CLUSTER + 50.0 * f64::from(n),
        Split::Scratch(n) => KERNEL + outputs * 8.0 * f64::from(n) / (processors * BYTES / 2.0),
    };
    Some(throughput.max(latency) + more)
}

#[cfg(test)]
#[path = "gemm_tests.rs"]
mod tests;

//! `recurrent.cuda`: LSTM, GRU and plain recurrent layers of 32- and 16-bit floats, in plain layout, on CUDA.
//!
//! `step.s8w4` launches a kernel for each time step (a GRU whose reset gate multiplies the state two), of which a block
//! makes 8 units of 8 sequences with 4 warps. `block.s8` has one block run 8 sequences of a cell through all steps,
//! `cluster8.s8` a cluster of 8 blocks (sm_90); `held`: with the recurrent weights in shared memory. `ahead` makes the
//! products with the input for all steps before the first, in scratch; without it no tactic needs scratch. Sources:
//! `kernels/cuda/recurrent`.

use tactician_cuda::{Launch, LaunchArg, Launches};
use tactician_device::{CodeSource, CudaInfo, DeviceInfo};
use tactician_ir::{Op, Problem};
use tactician_kernels::Arguments;
use tactician_kernels::gemm::{Product, Split, plans};
use tactician_kernels::gemm_epilogue::{UNBOUNDED, stored_type};
use tactician_kernels::recurrent::{self, InputProduct, LayerTile, RecurrentCode, StepTile, two_phases};
use tactician_types::{DType, Growth, Layout, Recurrent, RecurrentOperand};

use crate::conv_cuda_mma::{
    copies_whole_rows, divisor, has_clusters, has_tensor_cores, limits, low_arg, tensor_cores, vector, words,
};
use crate::conv_cuda_simt::{DEPTH, choices};
use crate::cuda::{DeviceStep, Use, step_tactic};
use crate::pointwise_cuda::bytes;
use crate::{Family, Tactic};

pub(crate) static FAMILY: RecurrentCuda = RecurrentCuda;

pub(crate) struct RecurrentCuda;

/// Units up to which a single block is worth its while, where steps could be launched instead.
const FEW_UNITS: usize = 512;

impl Family for RecurrentCuda {
    fn id(&self) -> &'static str {
        "recurrent.cuda"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(cuda) = device.cuda().filter(|c| has_tensor_cores(c)) else { return vec![] };
        let Some(s) = Sequences::new(problem, cuda) else { return vec![] };
        // Where nothing is measured: all of it in one launch, if the weights fit beside the processors, else steps.
        let (held, rest): (Vec<_>, Vec<_>) = s.in_one_launch().into_iter().partition(|(t, _)| t.held);
        let layers = |list: Vec<(LayerTile, bool)>| {
            list.into_iter().filter_map(|(tile, ahead)| s.layer(tile, ahead)).collect::<Vec<_>>()
        };
        let steps = s.steps().into_iter().filter_map(|(tile, ahead)| s.step(tile, ahead));
        let mut out = layers(held);
        out.extend(steps);
        out.extend(layers(rest));
        out
    }
}

/// A layer with its sizes, each product of them below 2^30.
struct Sequences<'a> {
    problem: &'a Problem,
    cuda: &'a CudaInfo,
    layer: &'a Recurrent,
    dtype: DType,
    time: usize,
    batch: usize,
    width: usize,
    hidden: usize,
}

impl<'a> Sequences<'a> {
    fn new(problem: &'a Problem, cuda: &'a CudaInfo) -> Option<Sequences<'a>> {
        let Op::Recurrent(layer) = &problem.anchor else { return None };
        let dtype = problem.result.dtype;
        stored_type(dtype)?;
        layer.check().ok()?;
        if !problem.epilogue.is_identity() || problem.output.dtype != dtype {
            return None;
        }
        let &[time, batch, width] = problem.operands.first()?.ty.sizes()?.as_slice() else { return None };
        let &[_, _, hidden] = problem.operands.get(2)?.ty.sizes()?.as_slice() else { return None };
        let (cells, gates) = (layer.direction.count(), layer.kind.gates());
        // A step of a tile reads a few elements behind the last row of a tile: far below the 31 bits of an index.
        let fits = |sizes: &[usize]| {
            let n = sizes.iter().try_fold(1usize, |n, &s| n.checked_mul(s));
            n.is_some_and(|n| n < 1 << 30)
        };
        let sound = [
            fits(&[time.checked_add(2)?, batch, width.max(1)]),
            fits(&[time + 2, batch, cells, gates, hidden]),
            fits(&[cells, 2, gates, hidden, hidden.max(width)]),
        ];
        let empty = time == 0 || batch == 0 || hidden == 0;
        (!empty && sound.iter().all(|&s| s))
            .then_some(Sequences { problem, cuda, layer, dtype, time, batch, width, hidden })
    }

    fn cells(&self) -> usize {
        self.layer.direction.count()
    }

    /// Rows of the weights of all cells.
    fn rows(&self) -> usize {
        self.cells() * self.layer.kind.gates() * self.hidden
    }

    fn constant(&self, operand: usize) -> bool {
        self.problem.operands.get(operand).is_some_and(|o| o.constant)
    }

    /// Numbers of sequences to a tile that suit the batch, the best first: the least that takes it whole, or the most
    /// there is, and half of that.
    fn sequences(&self, most: u32) -> Vec<u32> {
        let least = if self.dtype == DType::F32 { 1 } else { 8 };
        let mut n = least;
        while n < most && (n as usize) < self.batch {
            n *= 2;
        }
        if n > least { vec![n, n / 2] } else { vec![n] }
    }

    /// Tiles of one launch a step, and whether products with the input are made ahead.
    fn steps(&self) -> Vec<(StepTile, bool)> {
        // Each warp takes some chunks of 64 bytes of a row.
        let chunks = (self.hidden * self.dtype.size()).div_ceil(64);
        let warps = if chunks >= 8 { 8 } else { 4 };
        let sequences = self.sequences(if self.dtype == DType::F32 { 16 } else { 32 });
        let mut list: Vec<(StepTile, bool)> =
            sequences.iter().map(|&n| (StepTile { sequences: n, warps }, true)).collect();
        if warps == 8 && chunks < 64 {
            list.push((StepTile { sequences: sequences[0], warps: 4 }, true));
        }
        list.push((StepTile { sequences: sequences[0], warps }, false));
        list
    }

    /// Tiles of all steps in one launch, and whether products with the input are made ahead.
    fn in_one_launch(&self) -> Vec<(LayerTile, bool)> {
        let sequences = self.sequences(if self.dtype == DType::F32 { 8 } else { 16 });
        let clusters: &[u32] = if has_clusters(self.cuda) { &[8, 4, 1] } else { &[1] };
        let mut list = Vec::new();
        for &blocks in clusters {
            // Every block of a cluster has units.
            if self.hidden.div_ceil(8) < blocks as usize {
                continue;
            }
            if blocks == 1 && self.hidden > FEW_UNITS && self.launches() <= Launches::MOST {
                continue;
            }
            for (i, &n) in sequences.iter().enumerate() {
                let tile = |held| LayerTile { sequences: n, blocks, held };
                let fits = |t: &LayerTile| t.shared(self.layer, self.dtype, self.hidden) <= self.cuda.shared_bytes;
                let Some(best) = [tile(true), tile(false)].into_iter().find(fits) else { continue };
                list.push((best, true));
                if i == 0 && blocks != 4 {
                    list.push((best, false));
                }
            }
        }
        list
    }

    /// Launches of all steps, with those before and behind them.
    fn launches(&self) -> usize {
        if two_phases(self.layer) { self.time.saturating_mul(2).saturating_add(2) } else { self.time + 1 }
    }

    fn code(&self, ahead: Option<InputProduct>) -> RecurrentCode {
        let whole = |n: usize| n.is_multiple_of(16 / self.dtype.size());
        RecurrentCode {
            layer: self.layer.clone(),
            dtype: self.dtype,
            whole_w: whole(self.width),
            whole_r: whole(self.hidden),
            ahead,
        }
    }

    /// The products with the input for all steps: `[T·B, I] x [I, D·G·H]`, the kernel and its launch.
    fn ahead(&self) -> Option<(InputProduct, Launch)> {
        let (m, n, k) = (self.time * self.batch, self.rows(), self.width);
        if k == 0 {
            return None;
        }
        let word = |x: usize| x as u32;
        let blocks = |tile_m: usize, tile_n: usize| {
            let tiles_n = n.div_ceil(tile_n);
            (m.div_ceil(tile_m) * tiles_n, tiles_n)
        };
        let args = |shape| {
            let mut args = vec![LaunchArg::Span(0), LaunchArg::Span(1), LaunchArg::Span(self.scratch()), shape];
            args.push(low_arg(UNBOUNDED));
            args
        };
        if self.dtype != DType::F32 && k.is_multiple_of(8) {
            let product =
                Product { m: m as u64, n: n as u64, k: k as u64, batches: 1, dtype: self.dtype };
            let list = plans(&product, &limits(self.cuda), 8, copies_whole_rows);
            let plan = list.into_iter().find(|p| !matches!(p.split, Split::Scratch(_)))?;
            let (per_block, stages) = plan.stages(k as u64, self.dtype);
            let (tiles, tiles_n) = blocks(plan.tile.m as usize, plan.tile.n as usize);
            let one = divisor(1);
            let shape = words(&[
                &[m, n, k].map(word),
                &[stages as u32, per_block as u32],
                &divisor(word(tiles_n)),
                &divisor(word(tiles)),
                &one,
                &one,
                &[0; 6],
            ]);
            let parts = plan.split.parts();
            let product = InputProduct::mma(&plan, self.dtype, vector(n), self.constant(1))?;
            let launch = self.launch(
                product.entry,
                ([word(tiles), 1, parts], plan.tile.threads(), plan.tile.shared()),
                args(shape),
            );
            return Some((product, Launch { cluster: [1, 1, parts], ..launch }));
        }
        // One without parts is among them.
        let (tile, parts) = choices(self.cuda, (m, n, k), 1).into_iter().find(|c| c.1 == 1)?;
        let (tiles, tiles_n) = blocks(tile.m, tile.n);
        let stages = k.div_ceil(DEPTH);
        let shape = words(&[
            &[m, n, k, 1, stages, stages].map(word),
            &divisor(word(tiles_n)),
            &divisor(word(tiles)),
        ]);
        let product = InputProduct::simt(tile.defines(self.dtype, vector(n).min(4), parts))?;
        let launch =
            self.launch(product.entry, ([word(tiles), 1, 1], tile.threads(), tile.shared()), args(shape));
        Some((product, launch))
    }

    /// The argument of the step that is its scratch.
    fn scratch(&self) -> u16 {
        self.problem.operands.len() as u16 + 1
    }

    fn output(&self) -> u16 {
        self.problem.operands.len() as u16
    }

    /// The operand, or one that is not read in its place.
    fn operand(&self, which: RecurrentOperand) -> LaunchArg {
        LaunchArg::Span(self.layer.operand(which).unwrap_or(0) as u16)
    }

    fn sizes(&self) -> LaunchArg {
        let all = [self.time, self.batch, self.width, self.hidden];
        bytes(all.iter().fold(Arguments::new(), |list, &n| list.i32(n as i32)))
    }

    /// What the kernels of steps and of layers take first.
    fn arguments(&self, ahead: bool) -> Vec<LaunchArg> {
        let mut list: Vec<LaunchArg> = (0..3).map(LaunchArg::Span).collect();
        list.extend(
            [
                RecurrentOperand::Bias,
                RecurrentOperand::Lengths,
                RecurrentOperand::InitialH,
                RecurrentOperand::InitialC,
                RecurrentOperand::Peepholes,
            ]
            .map(|which| self.operand(which)),
        );
        list.push(LaunchArg::Span(self.output()));
        list.push(LaunchArg::Span(if ahead { self.scratch() } else { self.output() }));
        list.push(self.sizes());
        list
    }

    fn launch(
        &self,
        entry: &str,
        (grid, threads, shared): ([u32; 3], u32, u32),
        args: Vec<LaunchArg>,
    ) -> Launch {
        Launch {
            entry: entry.to_owned(),
            grid,
            block: [threads, 1, 1],
            cluster: [1; 3],
            shared,
            overlaps: has_clusters(self.cuda),
            args,
        }
    }

    fn tactic(
        &self,
        name: String,
        code: CodeSource,
        launches: Vec<Launch>,
        ahead: bool,
    ) -> Option<Tactic> {
        let suffix = if ahead { ".ahead" } else { "" };
        let scratch = if ahead { (self.time * self.batch) as u64 * self.rows() as u64 * 4 } else { 0 };
        // Without tensor cores sums are as plain as any.
        let growth = if self.dtype == DType::F32 { Growth::NONE } else { tensor_cores(self.dtype) };
        let uses = self.problem.operands.iter().map(|_| Use::As(Layout::Plain)).collect();
        let step = DeviceStep::launches(code, launches, scratch);
        step_tactic(format!("recurrent.cuda/{name}{suffix}"), self.problem, uses, Layout::Plain, growth, step)
    }

    /// The first launch, if products are made ahead.
    fn first(&self, ahead: bool) -> Option<(Option<InputProduct>, Vec<Launch>)> {
        if !ahead {
            return Some((None, vec![]));
        }
        let (product, launch) = self.ahead()?;
        Some((Some(product), vec![launch]))
    }

    fn step(&self, tile: StepTile, ahead: bool) -> Option<Tactic> {
        if self.launches() > Launches::MOST {
            return None;
        }
        let (product, mut launches) = self.first(ahead)?;
        let code = recurrent::step(&self.code(product), tile)?;
        let tiles = self.batch.div_ceil(tile.sequences as usize);
        let grid = [self.hidden.div_ceil(8) as u32, u32::try_from(tiles).ok().filter(|&n| n < 1 << 16)?, self.cells() as u32];
        let two = two_phases(self.layer);
        for step in 0..self.time {
            let launch = |entry| {
                let mut args = self.arguments(ahead);
                args.push(bytes(Arguments::new().i32(step as i32)));
                self.launch(entry, (grid, tile.warps * 32, tile.shared(self.layer.kind)), args)
            };
            // Nothing is kept of a state that is 0.
            if two && (step > 0 || self.layer.initial_h) {
                launches.push(launch("recurrent_keep"));
            }
            launches.push(launch("recurrent_step"));
        }
        if two {
            let args = vec![
                self.operand(RecurrentOperand::Lengths),
                self.operand(RecurrentOperand::InitialH),
                LaunchArg::Span(self.output()),
                self.sizes(),
            ];
            let states = (self.cells() * self.batch * self.hidden).div_ceil(256);
            launches.push(self.launch("recurrent_end", ([states as u32, 1, 1], 256, 0), args));
        }
        self.tactic(format!("step.s{}w{}", tile.sequences, tile.warps), code, launches, ahead)
    }

    fn layer(&self, tile: LayerTile, ahead: bool) -> Option<Tactic> {
        let shared = tile.shared(self.layer, self.dtype, self.hidden);
        let (product, mut launches) = self.first(ahead)?;
        let code = recurrent::layer(&self.code(product), tile, self.constant(2))?;
        let tiles = self.batch.div_ceil(tile.sequences as usize).checked_mul(tile.blocks as usize)?;
        let groups = tile.units(self.hidden) / 8;
        // Warps that all take the same number of groups of units, as nearly as can be.
        let warps = groups.div_ceil(groups.div_ceil(tile.warps(self.dtype) as usize));
        let size = ([tiles as u32, self.cells() as u32, 1], warps as u32 * 32, u32::try_from(shared).ok()?);
        let launch = self.launch("recurrent_layer", size, self.arguments(ahead));
        launches.push(Launch { cluster: [tile.blocks, 1, 1], ..launch });
        let kind = if tile.blocks == 1 { "block".to_owned() } else { format!("cluster{}", tile.blocks) };
        let held = if tile.held { ".held" } else { "" };
        self.tactic(format!("{kind}.s{}{held}", tile.sequences), code, launches, ahead)
    }
}

#[cfg(test)]
#[path = "recurrent_cuda_tests.rs"]
mod tests;

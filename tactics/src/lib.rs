//! Tactic families of `tactician`: every way to run a region, on every device.
//!
//! ```text
//!  Problem + DeviceInfo ──Family::tactics──▶ [Tactic {id, layouts, workspace}] ──Tactic::emit(weights)──▶ Emission
//!                                                                                    (plan steps, packed weights)
//! ```
//!
//! A private dependency of the public crate. A family is one file under `src/families`, found by the build script;
//! `docs/adding-a-tactic.md` is the recipe. A tactic's name is `family/parameters`: readable, stable, never an index.

mod check;
mod conv;
mod cpu;
mod cublaslt;
mod cuda;
mod cudnn;
mod emission;
pub mod epilogue;
mod estimate;
mod filter;
mod host;
pub mod layout;
mod resize;
mod untuned;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

pub use check::{CHECKED_ZONES, CheckFound, CheckSizes, CheckStep, check_output};
pub use emission::{Arg, Constants, Emission, Emit, EmitError, Forms, Packed, StepSpec};
pub use estimate::estimate;
pub use filter::{ParseFilterError, TacticFilter, library_of};
use tactician_device::{CodeSource, DeviceInfo};
use tactician_ir::{Problem, Tensor};
use tactician_types::{Growth, Layout};
pub use untuned::untuned;

include!(concat!(env!("OUT_DIR"), "/families.rs"));

/// The hash of the sources that decide what a tactic's name stands for: how it packs, what it launches, the code that is
/// generated for it.
pub const SOURCES: &str = env!("TACTICIAN_TACTICS_SOURCES");

/// A family of tactics: one algorithm on one kind of device, with its parameters.
pub trait Family: Sync {
    /// The stable name, such as `conv.cpu.winograd`.
    fn id(&self) -> &'static str;

    /// Its tactics for a problem; none when it does not serve the problem or the device.
    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic>;
}

/// One way to run a problem.
#[derive(Clone)]
pub struct Tactic {
    /// Stable name: `family/parameters`.
    pub id: String,
    /// Layout wanted of each operand that is no constant; constants are packed, theirs is [`Layout::Plain`].
    pub inputs: Vec<Layout>,
    /// Layout of the output.
    pub output: Layout,
    /// Scratch in bytes.
    pub workspace: u64,
    /// How much larger its rounding error may be than that of plain summation: the constants of the algorithm.
    pub growth: Growth,
    /// Whether it runs nothing: the output is an operand's bytes as they are.
    pub view: bool,
    /// What can be done before its steps are made.
    pub ahead: Ahead,
    /// Makes the steps.
    pub emit: Emit,
}

/// What takes long when a tactic is first emitted or prepared, and can be done before that on another thread.
#[derive(Clone)]
pub enum Ahead {
    /// Nothing.
    Nothing,
    /// Compiling the code of its steps; the device keeps it.
    Code(CodeSource),
    /// Something that emitting waits for; it is done once.
    Work(Arc<dyn Fn() + Send + Sync>),
}

/// What can be done before some tactics are emitted, in their order: equal code once.
pub fn ahead_of<'t>(tactics: impl Iterator<Item = &'t Tactic>) -> Vec<&'t Ahead> {
    let mut seen = HashSet::new();
    let mut list: Vec<&Ahead> = tactics.map(|t| &t.ahead).collect();
    list.retain(|ahead| match ahead {
        Ahead::Nothing => false,
        Ahead::Code(source) => seen.insert(source),
        Ahead::Work(_) => true,
    });
    list
}

impl From<Option<CodeSource>> for Ahead {
    fn from(code: Option<CodeSource>) -> Ahead {
        code.map_or(Ahead::Nothing, Ahead::Code)
    }
}

impl Tactic {
    /// The code of its steps, where it is known before they are made.
    pub fn code(&self) -> Option<&CodeSource> {
        match &self.ahead {
            Ahead::Code(source) => Some(source),
            _ => None,
        }
    }

    /// Packs constants and makes the plan's steps. `constants[i]` is operand `i` if it is constant.
    ///
    /// # Errors
    /// When the constants do not fit the problem.
    pub fn emit(&self, constants: &[Option<Tensor>]) -> Result<Emission, EmitError> {
        (self.emit)(&Constants { values: constants, forms: None })
    }
}

impl fmt::Debug for Tactic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} -> {} ({} B)", self.id, self.inputs, self.output, self.workspace)
    }
}

/// The kernel that copies bytes, on every device.
pub const COPY_KERNEL: &str = <tactician_cpu::Copy as tactician_cpu::Kernel>::NAME;

/// Parameters of [`COPY_KERNEL`] for `bytes` bytes.
pub fn copy_params(bytes: u64) -> Vec<u8> {
    postcard::to_stdvec(&tactician_cpu::Copy { bytes }).expect("a number always encodes")
}

/// The kernel of CPU steps in a GPU's plan.
pub const HOST_KERNEL: &str = tactician_cuda::HostRun::NAME;

/// The family of CPU steps in a GPU's plan.
pub const HOST_FAMILY: &str = "host.cpu";

/// The names of all families, sorted.
pub fn families() -> Vec<&'static str> {
    let mut names: Vec<&str> = ALL.iter().chain([&(&host::FAMILY as &dyn Family)]).map(|f| f.id()).collect();
    names.sort_unstable();
    names
}

/// The family in a tactic's name.
pub fn family_of(id: &str) -> &str {
    id.split_once('/').map_or(id, |(family, _)| family)
}

/// Whether a tactic computes on the CPU inside a GPU's plan.
pub fn is_host(id: &str) -> bool {
    family_of(id) == HOST_FAMILY
}

/// All tactics for a problem on a device, by name. Where no kernel of a GPU serves the problem, these are CPU steps.
pub fn tactics(problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
    tactics_where(problem, device, |_| true)
}

/// All tactics for a problem on a device, by name; on a GPU also CPU steps, if none of the others is acceptable.
pub fn tactics_where(
    problem: &Problem,
    device: &DeviceInfo,
    acceptable: impl Fn(&Tactic) -> bool,
) -> Vec<Tactic> {
    let mut list: Vec<Tactic> = ALL.iter().flat_map(|f| f.tactics(problem, device)).collect();
    if !list.iter().any(acceptable) {
        list.extend(host::FAMILY.tactics(problem, device));
    }
    list.sort_by(|a, b| a.id.cmp(&b.id));
    list
}

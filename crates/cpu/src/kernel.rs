use std::marker::PhantomData;

use bytemuck::Pod;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tactician_device::{Isa, Span};

use crate::threads::Threads;

/// Why a kernel refuses its parameters or arguments: one clause, no full stop.
pub type KernelError = String;

/// The least byte lengths that a kernel needs of its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArgSizes {
    /// Of each input, in order: activations, then packed weights.
    pub inputs: Vec<u64>,
    /// Of each output, in order.
    pub outputs: Vec<u64>,
    /// Of the scratch block: the tactic's workspace. Contents are arbitrary on entry.
    pub scratch: u64,
}

/// A CPU kernel: its parameters, completely, so that parameters and arguments determine what it does.
///
/// To add one: a struct with `serde` derives, this trait, and a line in `registry.rs`.
pub trait Kernel: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Name in plans, such as `conv.winograd`. Changing what a kernel reads or computes means a new name.
    const NAME: &'static str;

    /// Checks the parameters (from a file: trust nothing, use checked arithmetic) and says what lengths the
    /// arguments must have on a pool of `threads` threads. [`Kernel::run`] is only called with arguments at least
    /// that long, so a kernel whose indexing stays inside these lengths is sound for any input file.
    fn sizes(&self, threads: usize) -> Result<ArgSizes, KernelError>;

    /// Called once when the step is prepared, after [`Kernel::sizes`] accepted the parameters; work here (building
    /// index tables, compiling an expression) is kept out of `run`. `isa` is the instruction set to use, which this
    /// processor has.
    ///
    /// # Errors
    /// When the parameters cannot work, such as when they ask for instructions that `isa` does not include.
    fn prepare(&mut self, isa: Isa) -> Result<(), KernelError> {
        let _ = isa;
        Ok(())
    }

    /// Computes. Writes every byte of every output. Allocates nothing, takes no lock.
    fn run(&self, args: &Args<'_>, threads: &Threads);
}

/// The arguments of one run: inputs, outputs and scratch, checked against [`Kernel::sizes`].
pub struct Args<'a> {
    spans: &'a [Span],
    inputs: usize,
    outputs: usize,
    life: PhantomData<&'a mut [u8]>,
}

impl<'a> Args<'a> {
    /// Wraps raw spans: inputs, outputs, scratch.
    ///
    /// # Safety
    /// Every span is live for `'a` and aligned for the types that the kernel views it as; outputs and scratch
    /// overlap nothing else; lengths are at least what the kernel's `sizes` says.
    pub unsafe fn new(spans: &'a [Span], inputs: usize, outputs: usize) -> Self {
        debug_assert_eq!(spans.len(), inputs + outputs + 1);
        Args { spans, inputs, outputs, life: PhantomData }
    }

    /// Number of inputs.
    pub fn input_count(&self) -> usize {
        self.inputs
    }

    /// Input `i` as a slice of `T` (whole elements that fit).
    pub fn input<T: Pod>(&self, i: usize) -> &'a [T] {
        assert!(i < self.inputs);
        let span = self.spans[i];
        if span.len == 0 {
            return &[];
        }
        // SAFETY: live, aligned and unaliased by writers, as promised to `new`; `T: Pod` has no invalid values.
        unsafe { std::slice::from_raw_parts(span.address as *const T, span.len as usize / size_of::<T>()) }
    }

    /// Output `i` as a slice of `T`. Call once per output and run: two live slices of one output would alias.
    pub fn output<T: Pod>(&self, i: usize) -> &'a mut [T] {
        assert!(i < self.outputs);
        Self::slice_mut(self.spans[self.inputs + i])
    }

    /// The scratch block as a slice of `T`. Call once per run.
    pub fn scratch<T: Pod>(&self) -> &'a mut [T] {
        Self::slice_mut(self.spans[self.inputs + self.outputs])
    }

    fn slice_mut<T: Pod>(span: Span) -> &'a mut [T] {
        if span.len == 0 {
            return &mut [];
        }
        // SAFETY: live, aligned and disjoint from every other argument, as promised to `new`.
        unsafe { std::slice::from_raw_parts_mut(span.address as *mut T, span.len as usize / size_of::<T>()) }
    }
}

/// Bytes of `n` floats, or an error when that overflows.
pub fn size_of_f32(n: Option<usize>) -> Result<u64, KernelError> {
    n.and_then(|n| n.checked_mul(4))
        .filter(|&n| n <= isize::MAX as usize)
        .map(|n| n as u64)
        .ok_or_else(|| "sizes overflow".to_owned())
}

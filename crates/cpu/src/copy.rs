//! `copy`: bytes from one place to another.

use serde::{Deserialize, Serialize};

use crate::kernel::{ArgSizes, Args, Kernel, KernelError};
use crate::threads::Threads;

/// Copies `bytes` bytes. One input, one output, no scratch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// How many.
    pub bytes: u64,
}

impl Kernel for Copy {
    const NAME: &'static str = "copy";

    fn sizes(&self, _threads: usize) -> Result<ArgSizes, KernelError> {
        Ok(ArgSizes { inputs: vec![self.bytes], outputs: vec![self.bytes], scratch: 0 })
    }

    fn run(&self, args: &Args<'_>, _threads: &Threads) {
        let n = self.bytes as usize;
        args.output::<u8>(0)[..n].copy_from_slice(&args.input::<u8>(0)[..n]);
    }
}

//! `cuda.launch`: a step that launches kernels of one compiled module, one after the other.

use serde::{Deserialize, Serialize};
use tactician_device::CudaInfo;

/// Parameters of a step of kernel launches. They run in order and share the step's arguments, scratch included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launches(pub Vec<Launch>);

impl Launches {
    /// The kernel name of such steps.
    pub const NAME: &'static str = "cuda.launch";

    /// Most launches of a step: recurrent layers take one or two for each time step.
    pub const MOST: usize = 1024;
}

/// One launch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// The `extern "C"` name in the step's code.
    pub entry: String,
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads of a block along each axis.
    pub block: [u32; 3],
    /// Blocks of a cluster along each axis; `[1, 1, 1]` for none.
    pub cluster: [u32; 3],
    /// Dynamic shared memory of a block, in bytes.
    pub shared: u32,
    /// Whether it may start before the launch before it has ended (programmatic dependent launch): the kernel waits
    /// with `griddepcontrol.wait` before it reads what that one wrote.
    pub overlaps: bool,
    /// The kernel's parameters, in order.
    pub args: Vec<LaunchArg>,
}

impl Launch {
    /// The launch with so much shared memory that no more blocks fit on a multiprocessor than lie there when the grid is spread
    /// evenly over the GPU. One that starts early finds some multiprocessors free and others taken by the launch before it:
    /// its blocks would crowd the free ones, and the most crowded one ends last. (ResNet-50, f16, batch 1 on an H200: 220 us
    /// without, 209 us with it.)
    pub fn spread(mut self, info: &CudaInfo) -> Launch {
        let product = |n: [u32; 3]| n.iter().map(|&x| u64::from(x)).product::<u64>();
        let (blocks, multiprocessors) = (product(self.grid), u64::from(info.multiprocessors.max(1)));
        // Blocks of a cluster want multiprocessors near each other, so that some of these are left over.
        if !self.overlaps || product(self.cluster) > 1 && blocks * 6 > multiprocessors * 5 {
            return self;
        }
        let fit = blocks.div_ceil(multiprocessors);
        // Of all that a multiprocessor has, a block may have all but 1 KiB, which each takes for the system.
        const SYSTEM: u64 = 1024;
        let least = ((info.shared_bytes + SYSTEM) / (fit + 1)).saturating_sub(SYSTEM) + 1;
        let least = least.next_multiple_of(128).min(info.shared_bytes);
        self.shared = self.shared.max(u32::try_from(least).unwrap_or(0));
        self
    }
}

/// A kernel parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LaunchArg {
    /// The address of argument `i` of the step: its inputs, its outputs, then its scratch. 8 bytes.
    Span(u16),
    /// Bytes passed by value: a scalar, or a struct laid out as C does.
    Bytes(Vec<u8>),
    /// A tensor map (`CUtensorMap`, 128 bytes by value) over argument `span`, encoded with `cuTensorMapEncodeTiled`.
    TensorMap(TensorMap),
    /// A tensor map of windows over images, encoded with `cuTensorMapEncodeIm2col`.
    WindowMap(WindowMap),
}

/// What `cuTensorMapEncodeTiled` is asked for. Axes innermost first; the innermost has step 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorMap {
    /// The argument of the step that it describes.
    pub span: u16,
    /// Bytes of an element: 1, 2 or 4.
    pub element: u8,
    /// Elements along each axis.
    pub sizes: Vec<u64>,
    /// Bytes from one element to the next along each axis but the innermost.
    pub steps: Vec<u64>,
    /// Elements of a box along each axis.
    pub tile: Vec<u32>,
    /// Bytes of the swizzle pattern: 0, 32, 64 or 128.
    pub swizzle: u8,
}

/// What `cuTensorMapEncodeIm2col` is asked for: windows over images that lie densely with channels innermost. A copy takes
/// some channels of the pixels on which one element of each window lies, window after window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowMap {
    /// The argument of the step that it describes.
    pub span: u16,
    /// Bytes of an element: 1, 2 or 4.
    pub element: u8,
    /// Channels, columns, rows and images.
    pub sizes: [u64; 4],
    /// Column and row, which may be negative, on which the first window's first element lies.
    pub first: [i32; 2],
    /// Column and row of the last window's first element, counted from the image's last column and row.
    pub last: [i32; 2],
    /// Columns and rows from one window to the next.
    pub strides: [u32; 2],
    /// Channels of a copy.
    pub channels: u32,
    /// Windows of a copy.
    pub pixels: u32,
    /// Bytes of the swizzle pattern: 0, 32, 64 or 128.
    pub swizzle: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_multiprocessor_takes_more_than_its_share() {
        let info = CudaInfo::h100();
        let launch = |blocks: u32, cluster: u32, shared| Launch {
            entry: "k".into(),
            grid: [blocks / cluster, 1, cluster],
            block: [128, 1, 1],
            cluster: [1, 1, cluster],
            shared,
            overlaps: true,
            args: vec![],
        };
        // How many fit into the 228 KiB of which each block takes 1 more than it asks for.
        let fit = |l: &Launch| 228 * 1024 / (l.shared.next_multiple_of(128) + 1024);
        for (blocks, cluster, shared, most) in
            [(104, 4, 66_560, 1), (98, 1, 99_328, 1), (196, 1, 49_152, 2), (400, 1, 16_384, 4), (1, 1, 0, 1)]
        {
            let spread = launch(blocks, cluster, shared).spread(&info);
            assert_eq!(fit(&spread), most, "{blocks} blocks: {}", spread.shared);
            assert!(u64::from(spread.shared) <= info.shared_bytes);
        }
        // What takes more already, clusters that need nearly all multiprocessors, launches that do not start early.
        for same in
            [launch(104, 4, 200_000), launch(128, 8, 99_424), Launch { overlaps: false, ..launch(9, 1, 64) }]
        {
            assert_eq!(same.clone().spread(&info), same);
        }
    }
}

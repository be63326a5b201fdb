//! What distinguishes one algorithm of cuBLASLt from another, in words that stay.

use std::ffi::c_void;
use std::fmt;

use serde::{Deserialize, Serialize};
use tactician_cublaslt_sys::{AlgoBytes, AlgoConfig, Library, Status};

use super::names::{CLUSTERS, STAGES, TILES};

/// The configuration of an algorithm, as the library reports it. Its text, such as `a66.t128x64.s64x3.k1`, is the
/// algorithm's name: equal for equal configurations of one version of the library, whatever their place in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Config {
    /// Number of the algorithm.
    pub id: i32,
    /// `cublasLtMatmulTile_t`.
    pub tile: u32,
    /// `cublasLtMatmulStages_t`.
    pub stages: u32,
    /// Parts that the sum is split into.
    pub split: i32,
    /// `cublasLtReductionScheme_t`.
    pub reduction: u32,
    /// Order of the tiles.
    pub swizzle: u32,
    /// The algorithm's own option.
    pub custom: u32,
    /// `cublasLtMatmulInnerShape_t`.
    pub inner: u16,
    /// `cublasLtClusterShape_t`.
    pub cluster: u16,
}

impl Config {
    /// Reads the configuration of an algorithm. `None` when the library refuses.
    pub(super) fn read(library: &Library, algo: &AlgoBytes) -> Option<Config> {
        Some(Config {
            id: get(library, algo, AlgoConfig::ID)?,
            tile: get(library, algo, AlgoConfig::TILE_ID)?,
            stages: get(library, algo, AlgoConfig::STAGES_ID)?,
            split: get(library, algo, AlgoConfig::SPLITK_NUM)?,
            reduction: get(library, algo, AlgoConfig::REDUCTION_SCHEME)?,
            swizzle: get(library, algo, AlgoConfig::CTA_SWIZZLING)?,
            custom: get(library, algo, AlgoConfig::CUSTOM_OPTION)?,
            inner: get(library, algo, AlgoConfig::INNER_SHAPE_ID)?,
            cluster: get(library, algo, AlgoConfig::CLUSTER_SHAPE_ID)?,
        })
    }
}

/// One attribute; `T` is the integer that the header gives for it.
fn get<T: Copy + Default>(library: &Library, algo: &AlgoBytes, attribute: AlgoConfig) -> Option<T> {
    let mut value = T::default();
    let mut written = 0usize;
    // SAFETY: both pointers are to live values, and the size is that of the value.
    let status = unsafe {
        (library.algo_config)(
            algo,
            attribute,
            (&raw mut value).cast::<c_void>(),
            size_of::<T>(),
            &mut written,
        )
    };
    (status == Status::SUCCESS && written == size_of::<T>()).then_some(value)
}

/// Parts that say nothing are left out, but for the first four.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a{}.t", self.id)?;
        match (self.tile as usize).checked_sub(1).and_then(|i| TILES.get(i)) {
            Some((rows, columns)) => write!(f, "{rows}x{columns}")?,
            None => write!(f, "#{}", self.tile)?,
        }
        match STAGES.get(self.stages as usize).filter(|s| !s.is_empty()) {
            Some(name) => write!(f, ".s{name}")?,
            None => write!(f, ".s#{}", self.stages)?,
        }
        write!(f, ".k{}", self.split)?;
        if self.reduction != 0 {
            write!(f, ".r{}", self.reduction)?;
        }
        if self.swizzle != 0 {
            write!(f, ".w{}", self.swizzle)?;
        }
        if self.custom != 0 {
            write!(f, ".o{}", self.custom)?;
        }
        if self.inner != 0 {
            write!(f, ".i{}", self.inner)?;
        }
        match CLUSTERS.get(usize::from(self.cluster)) {
            _ if self.cluster == 0 => Ok(()),
            Some(&(rows, columns)) if rows > 0 => write!(f, ".c{rows}x{columns}"),
            _ => write!(f, ".c#{}", self.cluster),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Config = Config {
        id: 21,
        tile: 20,
        stages: 15,
        split: 1,
        reduction: 0,
        swizzle: 0,
        custom: 0,
        inner: 0,
        cluster: 0,
    };

    #[test]
    fn a_configuration_has_a_readable_name() {
        assert_eq!(PLAIN.to_string(), "a21.t128x128.s64x3.k1");
        let all =
            Config { split: 4, reduction: 2, swizzle: 1, custom: 3, inner: 4, cluster: 3, id: 66, ..PLAIN };
        assert_eq!(all.to_string(), "a66.t128x128.s64x3.k4.r2.w1.o3.i4.c2x1");
        let unknown = Config { tile: 9999, stages: 29, cluster: 1, ..PLAIN };
        assert_eq!(unknown.to_string(), "a21.t#9999.s#29.k1.c#1");
        assert_eq!(Config { tile: 0, stages: 0, ..PLAIN }.to_string(), "a21.t#0.s#0.k1");
    }

    #[test]
    fn the_tables_are_those_of_the_header() {
        assert_eq!(
            (TILES[0], TILES[22], TILES[512], TILES[633]),
            ((8, 8), (128, 256), (256, 256), (512, 1024))
        );
        assert_eq!((STAGES[1], STAGES[24], STAGES[36]), ("16x1", "128x6", "128xauto"));
        assert_eq!((CLUSTERS[2], CLUSTERS[3], CLUSTERS[8]), ((1, 1), (2, 1), (1, 4)));
    }
}

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How the elements of a tensor lie in memory. Shapes are always written in logical order (`N, C, spatial…`);
/// the layout says where each element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Layout {
    /// Row-major in logical order; `NCHW` for images. Every value can have it.
    Plain,
    /// Axis 1 moved to the end; `NHWC` for images. Needs rank 3 or more.
    ChannelsLast,
    /// Axis 1 split into blocks of this many channels, the position within a block moved to the end:
    /// `N, ⌈C/b⌉, spatial…, b`. The channels that pad the last block may hold anything, NaN included:
    /// producers write something there, consumers never let it reach a real channel. Needs rank 3 or more.
    Blocked(u8),
}

impl Layout {
    /// Elements of storage that a tensor of this shape takes, padding included.
    /// `None` when that overflows or when the layout does not fit the rank.
    pub fn storage_len(self, shape: &[usize]) -> Option<usize> {
        let product = |dims: &[usize]| dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d));
        match self {
            Layout::Plain => product(shape),
            Layout::ChannelsLast if shape.len() >= 3 => product(shape),
            Layout::Blocked(b) if shape.len() >= 3 && b > 0 => {
                let padded = shape[1].div_ceil(b as usize).checked_mul(b as usize)?;
                product(&[shape[0], padded])?.checked_mul(product(&shape[2..])?)
            }
            _ => None,
        }
    }

    /// Whether a tensor of this shape has the same bytes in both layouts, so that changing between them is free.
    pub fn same_bytes(self, other: Layout, shape: &[usize]) -> bool {
        if self == other {
            return true;
        }
        if shape.len() < 3 {
            return false;
        }
        let spatial: usize = shape[2..].iter().product();
        let channels = shape[1];
        let free = |l: Layout| match l {
            Layout::Plain => true,
            Layout::ChannelsLast => spatial == 1 || channels == 1,
            Layout::Blocked(b) => channels.is_multiple_of(b as usize) && spatial == 1,
        };
        if free(self) && free(other) {
            return true;
        }
        // One block holding all channels is the same as channels last.
        let last = |l: Layout| match l {
            Layout::ChannelsLast => true,
            Layout::Blocked(b) => channels == b as usize,
            Layout::Plain => false,
        };
        last(self) && last(other)
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Layout::Plain => f.pad("plain"),
            Layout::ChannelsLast => f.pad("nhwc"),
            Layout::Blocked(b) => f.pad(&format!("c{b}")),
        }
    }
}

/// A word that names no layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseLayoutError(String);

impl fmt::Display for ParseLayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown layout `{}`: expected `plain`, `nhwc` or `c<block>` such as `c16`", self.0)
    }
}

impl std::error::Error for ParseLayoutError {}

impl FromStr for Layout {
    type Err = ParseLayoutError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "plain" => Ok(Layout::Plain),
            "nhwc" => Ok(Layout::ChannelsLast),
            _ => s
                .strip_prefix('c')
                .and_then(|n| n.parse().ok())
                .filter(|&b| b > 0)
                .map(Layout::Blocked)
                .ok_or_else(|| ParseLayoutError(s.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_pads_blocked_channels() {
        assert_eq!(Layout::Plain.storage_len(&[2, 3, 4, 5]), Some(120));
        assert_eq!(Layout::Blocked(16).storage_len(&[2, 3, 4, 5]), Some(2 * 16 * 20));
        assert_eq!(Layout::Blocked(16).storage_len(&[2, 3]), None);
        assert_eq!(Layout::Plain.storage_len(&[usize::MAX, 2]), None);
        assert_eq!(Layout::Blocked(16).storage_len(&[1, usize::MAX, 1]), None);
    }

    #[test]
    fn names_round_trip() {
        for l in [Layout::Plain, Layout::ChannelsLast, Layout::Blocked(8), Layout::Blocked(16)] {
            assert_eq!(l.to_string().parse::<Layout>(), Ok(l));
        }
        assert!("c0".parse::<Layout>().is_err());
    }

    #[test]
    fn free_changes_of_layout() {
        let (p, l, b) = (Layout::Plain, Layout::ChannelsLast, Layout::Blocked(16));
        assert!(p.same_bytes(l, &[1, 32, 1, 1]) && p.same_bytes(b, &[1, 32, 1, 1]));
        assert!(!p.same_bytes(b, &[1, 20, 1, 1]) && !p.same_bytes(l, &[1, 16, 2, 2]));
        assert!(l.same_bytes(b, &[3, 16, 5, 5]) && !l.same_bytes(b, &[3, 32, 5, 5]));
        assert!(p.same_bytes(l, &[1, 1, 9, 9]));
    }
}

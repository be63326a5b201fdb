//! The text form of graphs.

use crate::ops::Op;

/// The attributes of an operation as text: `{strides = [1,1], …}`.
pub(crate) fn attributes(op: &Op) -> String {
    format!("{op:?}")
}

//! Pointwise expressions and broadcasting.

use tactician_types::Expr;

use crate::dim::Dim;
use crate::tensor::{Shape, TensorType};

/// The common shape of operands broadcast as in NumPy: aligned at the last axis, sizes of 1 stretch.
///
/// # Errors
/// When two sizes differ and neither is 1; also when a symbol meets another size, since equality is unknown.
pub fn broadcast(shapes: &[&Shape]) -> Result<Shape, String> {
    let rank = shapes.iter().map(|s| s.rank()).max().unwrap_or(0);
    let mut out = Shape::default();
    for axis in 0..rank {
        let mut size = Dim::known(1);
        for s in shapes {
            let Some(i) = (axis + s.rank()).checked_sub(rank) else { continue };
            let d = &s.0[i];
            if d.is(1) || *d == size {
                continue;
            }
            if !size.is(1) {
                let list: Vec<String> = shapes.iter().map(|s| s.to_string()).collect();
                return Err(format!("shapes {} do not broadcast: {size} against {d}", list.join(" and ")));
            }
            size = d.clone();
        }
        out.0.push(size);
    }
    Ok(out)
}

pub(crate) fn infer(expr: &Expr, inputs: &[&TensorType]) -> Result<TensorType, String> {
    expr.check()?;
    let types: Vec<_> = inputs.iter().map(|t| t.dtype).collect();
    let dtype = expr.dtypes(&types)?[expr.root() as usize];
    let shapes: Vec<&Shape> = inputs.iter().map(|t| &t.shape).collect();
    Ok(TensorType { dtype, shape: broadcast(&shapes)? })
}

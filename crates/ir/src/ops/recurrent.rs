//! Recurrent layers. The parameters are [`tactician_types::Recurrent`], which kernels share.

use tactician_types::{DType, Recurrent, RecurrentOperand};

use crate::dim::Dim;
use crate::ops::check_float;
use crate::ops::conv::known_differ;
use crate::tensor::{Shape, TensorType};

pub(crate) fn infer(op: &Recurrent, inputs: &[&TensorType]) -> Result<TensorType, String> {
    op.check()?;
    let (x, r) = (inputs[0], inputs[2]);
    check_float(x)?;
    if x.rank() != 3 || r.rank() != 3 {
        return Err(format!("needs x [T, B, I] and r [D, G*H, H], found {x} and {r}"));
    }
    let (time, batch, width) = (&x.shape.0[0], &x.shape.0[1], &x.shape.0[2]);
    let hidden = &r.shape.0[2];
    let cells = Dim::from(op.direction.count());
    let times = |n: usize| Dim::from(n) * hidden.clone();
    let gates = op.kind.gates();
    let fits = |what: &str, t: &TensorType, dtype: DType, want: Vec<Dim>| {
        let want: Shape = want.into_iter().collect();
        let differ =
            t.rank() != want.rank() || t.shape.0.iter().zip(&want.0).any(|(a, b)| known_differ(a, b));
        if t.dtype != dtype || differ {
            return Err(format!("its operand {what} is {t}, expected {dtype}{want}"));
        }
        Ok(())
    };
    fits("w", inputs[1], x.dtype, vec![cells.clone(), times(gates), width.clone()])?;
    fits("r", r, x.dtype, vec![cells.clone(), times(gates), hidden.clone()])?;
    let state = || vec![cells.clone(), batch.clone(), hidden.clone()];
    for (which, name, dtype, want) in [
        (RecurrentOperand::Bias, "bias", x.dtype, vec![cells.clone(), times(2 * gates)]),
        (RecurrentOperand::Lengths, "lengths", DType::I32, vec![batch.clone()]),
        (RecurrentOperand::InitialH, "initial h", x.dtype, state()),
        (RecurrentOperand::InitialC, "initial c", x.dtype, state()),
        (RecurrentOperand::Peepholes, "peepholes", x.dtype, vec![cells.clone(), times(3)]),
    ] {
        if let Some(at) = op.operand(which) {
            fits(name, inputs[at], dtype, want)?;
        }
    }
    let rows = time.clone() + Dim::from(op.kind.states());
    let shape = [rows, cells, batch.clone(), hidden.clone()].into_iter().collect();
    Ok(TensorType { dtype: x.dtype, shape })
}

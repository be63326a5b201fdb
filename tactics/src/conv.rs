//! What convolution families on the CPU share.

use tactician_cpu::{ConvGeometry, Epilogue, EpilogueOperand, MAX_OPERANDS};
use tactician_ir::{Op, Problem, Tensor};
use tactician_types::Layout;

use crate::cpu::{Use, all_f32, bytes, floats};
use crate::epilogue::{Spread, spreads};

/// The sizes of a convolution of `f32` over one to three spatial axes.
pub(crate) fn geometry(problem: &Problem) -> Option<ConvGeometry> {
    if !all_f32(problem) {
        return None;
    }
    typed_geometry(problem)
}

/// The same for any element type.
pub(crate) fn typed_geometry(problem: &Problem) -> Option<ConvGeometry> {
    let Op::Conv(conv) = &problem.anchor else { return None };
    let (x, w) = (problem.operands[0].ty.sizes()?, problem.operands[1].ty.sizes()?);
    let axes = x.len().checked_sub(2).filter(|n| (1..=3).contains(n))?;
    let spatial = |given: &[usize]| {
        let mut out = [1; 3];
        out[3 - axes..].copy_from_slice(given);
        out
    };
    let mut pads = [(0, 0); 3];
    pads[3 - axes..].copy_from_slice(&conv.pads);
    let g = ConvGeometry {
        n: x[0],
        c: x[1],
        k: w[0],
        input: spatial(&x[2..]),
        kernel: spatial(&w[2..]),
        strides: spatial(&conv.strides),
        pads,
        dilations: spatial(&conv.dilations),
        groups: conv.groups,
    };
    g.check().ok()?;
    Some(g)
}

/// The epilogue for a kernel with output in channel blocks, and how its operands are passed; `None` when an operand
/// spreads in a way that such kernels do not know.
pub(crate) fn blocked_epilogue<K>(problem: &Problem, block: u8) -> Option<(Epilogue, Vec<Use<K>>)> {
    let mut operands = Vec::new();
    let mut uses = Vec::new();
    for (operand, spread) in spreads(problem) {
        let (kind, how) = match spread {
            Spread::Full => (EpilogueOperand::Full, Use::As(Layout::Blocked(block))),
            Spread::PerChannel if operand.constant && block == 16 => {
                (EpilogueOperand::PerChannel, Use::Packed("padded to c16", padded::<K, 16>))
            }
            Spread::PerChannel if operand.constant && block == 8 => {
                (EpilogueOperand::PerChannel, Use::Packed("padded to c8", padded::<K, 8>))
            }
            Spread::Scalar => (EpilogueOperand::Scalar, Use::As(Layout::Plain)),
            _ => return None,
        };
        operands.push(kind);
        uses.push(how);
    }
    if operands.len() > MAX_OPERANDS {
        return None;
    }
    Some((Epilogue { expr: problem.epilogue.clone(), operands }, uses))
}

/// One value a channel, zeros up to whole blocks.
fn padded<K, const B: usize>(_: &K, tensor: &Tensor) -> Result<Vec<u8>, String> {
    let mut values = floats(tensor)?;
    values.resize(values.len().next_multiple_of(B), 0.0);
    Ok(bytes(values))
}

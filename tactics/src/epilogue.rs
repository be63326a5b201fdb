//! Sorting a problem's epilogue operands by how they spread over the result.

use tactician_ir::{Operand, Problem, TensorType};

/// How an epilogue operand spreads over the anchor's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Same shape as the result.
    Full,
    /// One value a channel (axis 1).
    PerChannel,
    /// One value a position of the last axis.
    PerLast,
    /// One value a channel of each image: `[N, C, 1…]`.
    PerImageChannel,
    /// One value.
    Scalar,
    /// Anything else that broadcasts.
    Other,
}

/// How `operand` spreads over `result`. Where several names fit (rank 2, sizes of 1), the earlier in this order:
/// full, scalar, per channel, per last axis, per image and channel.
pub fn spread(operand: &TensorType, result: &TensorType) -> Spread {
    let (Some(o), Some(r)) = (operand.sizes(), result.sizes()) else { return Spread::Other };
    if o == r {
        return Spread::Full;
    }
    if o.iter().product::<usize>() == 1 {
        return Spread::Scalar;
    }
    if o.len() > r.len() {
        return Spread::Other;
    }
    let mut padded = vec![1; r.len() - o.len()];
    padded.extend(o);
    let spreads_over = |axes: &[usize]| {
        padded.iter().enumerate().all(|(i, &n)| n == if axes.contains(&i) { r[i] } else { 1 })
    };
    match r.len() {
        n if n >= 2 && spreads_over(&[1]) => Spread::PerChannel,
        n if n >= 1 && spreads_over(&[n - 1]) => Spread::PerLast,
        n if n >= 3 && spreads_over(&[0, 1]) => Spread::PerImageChannel,
        _ => Spread::Other,
    }
}

/// The spread of each operand that only the epilogue reads.
pub fn spreads(problem: &Problem) -> Vec<(&Operand, Spread)> {
    problem.epilogue_inputs().iter().map(|o| (o, spread(&o.ty, &problem.result))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactician_types::DType;

    #[test]
    fn names_the_spread() {
        let r = TensorType::known(DType::F32, &[2, 8, 5, 5]);
        for (sizes, want) in [
            (&[2, 8, 5, 5][..], Spread::Full),
            (&[8, 1, 1], Spread::PerChannel),
            (&[1, 8, 1, 1], Spread::PerChannel),
            (&[], Spread::Scalar),
            (&[1, 1], Spread::Scalar),
            (&[5], Spread::PerLast),
            (&[2, 8, 1, 1], Spread::PerImageChannel),
            (&[5, 5], Spread::Other),
        ] {
            assert_eq!(spread(&TensorType::known(DType::F32, sizes), &r), want, "{sizes:?}");
        }
    }
}

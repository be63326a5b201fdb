//! Large batches in which a few images repeat: the reference computes those few, and every image is still compared.

use tactician_device::{DeviceError, Span, Stream};
use tactician_ir::{Op, Problem, TensorType};

/// Different images in a large batch. No power of two: tiles of images that a kernel mixes up do not look alike.
const DISTINCT: usize = 3;

/// Outputs of fewer elements are computed whole.
const LARGE: usize = 1 << 18;

/// The problem on the few images that a large batch repeats; `None` when its output is small, or its images are not
/// known to be independent.
pub(crate) fn few_images(problem: &Problem) -> Option<Problem> {
    let sizes = problem.output.sizes()?;
    let (&batch, rank) = (sizes.first()?, sizes.len());
    if batch < 2 * DISTINCT || rank < 2 || sizes.iter().product::<usize>() < LARGE {
        return None;
    }
    if !matches!(problem.anchor, Op::Conv(_) | Op::ConvTranspose(_) | Op::Pool(_) | Op::Pointwise(_)) {
        return None;
    }
    let pointwise = matches!(problem.anchor, Op::Pointwise(_));
    let mut few = problem.clone();
    few.output = fewer(&problem.output)?;
    few.result = fewer(&problem.result)?;
    for (i, o) in few.operands.iter_mut().enumerate() {
        let sizes = o.ty.sizes()?;
        // The other anchor operands are weights, which all images share.
        let images = if !pointwise && (1..problem.anchor_operands).contains(&i) {
            false
        } else {
            sizes.len() == rank && sizes[0] == batch
        };
        match images {
            true if o.constant => return None,
            true => o.ty = fewer(&o.ty)?,
            false if i == 0 && !pointwise => return None,
            false => {}
        }
    }
    Some(few)
}

fn fewer(ty: &TensorType) -> Option<TensorType> {
    let mut sizes = ty.sizes()?;
    *sizes.first_mut()? = DISTINCT;
    Some(TensorType::known(ty.dtype, &sizes))
}

/// Puts a value whose first bytes are `few` into memory, repeated until that is full.
///
/// # Safety
/// As for [`Stream::write`].
pub(crate) unsafe fn write_repeated(
    stream: &mut dyn Stream,
    to: Span,
    few: &[u8],
) -> Result<(), DeviceError> {
    let mut there = to.len.min(few.len() as u64);
    // SAFETY: the beginning of memory that the caller vouches for.
    unsafe { stream.write(Span { len: there, ..to }, &few[..there as usize])? };
    if there == 0 {
        return Ok(());
    }
    // What is there is always a number of whole repetitions.
    while there < to.len {
        let len = there.min(to.len - there);
        let next = Span { address: to.address + there, len };
        // SAFETY: both lie in that memory, one behind the other.
        unsafe { stream.copy(Span { len, ..to }, next)? };
        there += len;
    }
    stream.synchronize()
}

#[cfg(test)]
mod tests {
    use tactician_device::Device;
    use tactician_device::replay::ReplayDevice;
    use tactician_ir::{Binary, Conv, Expr, Graph, Region, Tensor};
    use tactician_reference as reference;
    use tactician_types::DType;

    use super::*;

    fn conv(batch: usize, size: usize) -> Problem {
        let mut g = Graph::new("g");
        let x = g.add_input("x", TensorType::known(DType::F32, &[batch, 4, size, size])).unwrap();
        let w = g.add_input("w", TensorType::known(DType::F32, &[8, 4, 3, 3])).unwrap();
        let op = Op::Conv(Conv { pads: vec![(1, 1); 2], ..Conv::unit(2) });
        let y = g.add(op, &[x, w], "y").unwrap();
        g.mark_output("y", y);
        Region::new("test", &g, &[y.node()]).unwrap().problem(&g)
    }

    fn repeated(few: &Tensor, ty: &TensorType) -> Vec<u8> {
        let device = ReplayDevice::new();
        let (mut stream, memory) = (device.stream().unwrap(), device.alloc(ty.bytes().unwrap()).unwrap());
        let mut bytes = vec![0; memory.span().len as usize];
        // SAFETY: memory of this device, of these lengths.
        unsafe {
            write_repeated(stream.as_mut(), memory.span(), few.bytes()).unwrap();
            stream.read(memory.span(), &mut bytes).unwrap();
        }
        bytes
    }

    /// Whether the reference's output for repeated images is the repeated output for the few.
    fn check(problem: &Problem) {
        let few = few_images(problem).unwrap();
        let operands = reference::random_operands(&few, 1).unwrap();
        let small = reference::eval_problem(&few, &operands.iter().collect::<Vec<_>>()).unwrap();
        let whole: Vec<Tensor> = (operands.iter().zip(&problem.operands))
            .map(|(t, o)| {
                let sizes = o.ty.sizes().unwrap();
                Tensor::from_bytes(o.ty.dtype, &sizes, repeated(t, &o.ty)).unwrap()
            })
            .collect();
        let large = reference::eval_problem(problem, &whole.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(large.bytes(), repeated(&small, &problem.output));
    }

    #[test]
    fn few_images_repeated_are_the_whole() {
        assert!(few_images(&conv(64, 16)).is_none(), "small");
        assert!(few_images(&conv(4, 160)).is_none(), "few images");
        let problem = conv(7, 80);
        let few = few_images(&problem).unwrap();
        assert_eq!(few.output.sizes().unwrap(), [DISTINCT, 8, 80, 80]);
        assert_eq!(few.operands[1], problem.operands[1], "weights stay");
        check(&problem);
    }

    #[test]
    fn operands_without_images_stay_as_they_are() {
        let mut g = Graph::new("g");
        let mut sum = g.add_input("x", TensorType::known(DType::F32, &[8, 8, 70, 70])).unwrap();
        let mut nodes = Vec::new();
        for (i, sizes) in [&[8, 8, 70, 70][..], &[8, 8, 1, 1], &[8, 1, 1], &[1, 8, 70, 70]].iter().enumerate()
        {
            let y = g.add_input(&format!("y{i}"), TensorType::known(DType::F32, sizes)).unwrap();
            sum = g.add(Op::Pointwise(Expr::binary(Binary::Add)), &[sum, y], &format!("s{i}")).unwrap();
            nodes.push(sum.node());
        }
        g.mark_output("y", sum);
        let problem = Region::new("test", &g, &nodes).unwrap().problem(&g);
        let few = few_images(&problem).unwrap();
        let firsts: Vec<usize> = few.operands.iter().map(|o| o.ty.sizes().unwrap()[0]).collect();
        let expected: Vec<usize> = (problem.operands.iter())
            .map(|o| o.ty.sizes().unwrap())
            .map(|s| if s.len() == 4 && s[0] == 8 { DISTINCT } else { s[0] })
            .collect();
        assert_eq!(firsts, expected);
        check(&problem);
    }
}

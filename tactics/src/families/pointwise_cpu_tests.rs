use super::*;
use tactician_cpu::{CpuDevice, available_isas};
use tactician_device::{Device, Span, StepDesc};
use tactician_ir::{Tensor, TensorType};
use tactician_types::DType;

/// Seeded values between -1 and 1.
pub(crate) fn floats(n: usize, seed: u64) -> Vec<f32> {
    let mut s = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            (s.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// A problem over `f32` operands of these sizes, constant or not, the first `anchor_operands` of them the anchor's.
pub(crate) fn problem(
    anchor: Op,
    anchor_operands: usize,
    operands: &[(&[usize], bool)],
    epilogue: Expr,
) -> Problem {
    let operands: Vec<Operand> = operands
        .iter()
        .map(|&(s, constant)| Operand { ty: TensorType::known(DType::F32, s), constant })
        .collect();
    let types: Vec<&TensorType> = operands[..anchor_operands].iter().map(|o| &o.ty).collect();
    let result = anchor.infer(&types).unwrap().remove(0);
    Problem { anchor, anchor_operands, operands, epilogue, output: result.clone(), result }
}

/// Element `index` of a result, in an operand that broadcasts to it.
pub(crate) fn at(x: &[f32], sizes: &[usize], result: &[usize], mut index: usize) -> f64 {
    let (mut from, mut step) = (0, 1);
    for back in 1..=result.len() {
        let i = index % result[result.len() - back];
        index /= result[result.len() - back];
        if back <= sizes.len() && sizes[sizes.len() - back] != 1 {
            from += i * step;
            step *= sizes[sizes.len() - back];
        }
    }
    f64::from(x[from])
}

/// A tensor in a layout; what pads it is NaN, which must reach nothing.
fn laid_out(x: &[f32], sizes: &[usize], l: Layout) -> Vec<u8> {
    let mut bytes = layout::from_plain(bytemuck::cast_slice(x), 4, sizes, l);
    let real = layout::from_plain(&vec![1; x.len()], 1, sizes, l);
    for (value, real) in bytes.chunks_exact_mut(4).zip(real) {
        if real == 0 {
            value.copy_from_slice(&f32::NAN.to_le_bytes());
        }
    }
    bytes
}

/// Runs a tactic on plain values; gives the plain result.
fn run(device: &CpuDevice, problem: &Problem, tactic: &Tactic, data: &[Vec<f32>]) -> Vec<f32> {
    let sizes = |i: usize| problem.operands[i].ty.sizes().unwrap();
    let constants: Vec<Option<Tensor>> = (problem.operands.iter().enumerate())
        .map(|(i, o)| o.constant.then(|| Tensor::new(&sizes(i), &data[i]).unwrap()))
        .collect();
    let emission = tactic.emit(&constants).unwrap();
    let step = &emission.steps[0];
    let mut stream = device.stream().unwrap();
    let mut memory = Vec::new();
    let mut place = |bytes: &[u8]| {
        let block = device.alloc(bytes.len() as u64).unwrap();
        // SAFETY: the block is live and as long as the bytes.
        unsafe { stream.write(block.span(), bytes).unwrap() };
        let span = block.span();
        memory.push(block);
        span
    };
    let mut spans: Vec<Span> = step
        .inputs
        .iter()
        .map(|a| match *a {
            Arg::Operand(i) => place(&laid_out(&data[i], &sizes(i), tactic.inputs[i])),
            Arg::Packed(i) => place(&emission.packed[i].bytes),
            Arg::Output => panic!("an output as input"),
        })
        .collect();
    let out = problem.output.sizes().unwrap();
    let len = tactic.output.storage_len(&out).unwrap();
    spans.push(place(&vec![0xee; len * 4]));
    spans.push(place(&vec![0; step.scratch as usize]));
    let lens: Vec<u64> = spans.iter().map(|s| s.len).collect();
    let n = step.inputs.len();
    let desc = StepDesc {
        kernel: step.kernel,
        params: &step.params,
        inputs: &lens[..n],
        outputs: &lens[n..=n],
        scratch: step.scratch,
        code: None,
    };
    let exe = device.prepare(&desc).unwrap();
    let mut back = vec![0; len * 4];
    // SAFETY: the blocks are live, disjoint and as long as the step was told.
    unsafe {
        stream.run(&mut |s| exe.enqueue(&spans, s)).unwrap();
        stream.read(spans[n], &mut back).unwrap();
    }
    let plain = layout::to_plain(&back, 4, &out, tactic.output);
    plain.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Runs every tactic of the families whose names begin with `family` on every instruction set with one and two
/// threads and compares; gives the names of the tactics on the best one.
pub(crate) fn check(
    problem: &Problem,
    family: &str,
    data: &[Vec<f32>],
    want: &[f64],
    tolerance: f64,
) -> Vec<String> {
    let mut names = Vec::new();
    for &isa in available_isas() {
        for threads in [1, 2] {
            let device = CpuDevice::new(Some(threads)).unwrap().with_isa(isa).unwrap();
            let list: Vec<Tactic> = crate::tactics(problem, device.info())
                .into_iter()
                .filter(|t| t.id.starts_with(family))
                .collect();
            let zero = |t: &Tactic| t.output == Layout::Plain && t.workspace == 0 && !t.id.ends_with("any");
            assert!(list.iter().any(zero), "{problem} lacks a plain tactic without scratch: {list:?}");
            for t in &list {
                let got = run(&device, problem, t, data);
                assert_eq!(got.len(), want.len());
                for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
                    let close = (f64::from(g) - w).abs() <= tolerance * w.abs().max(1.0);
                    assert!(close, "{problem} by {t:?} on {isa}: element {i} is {g}, expected {w}");
                }
            }
            names = list.into_iter().map(|t| t.id).collect();
        }
    }
    names
}

/// `relu($0 · $1 + …)`, products and sums in turn.
pub(crate) fn chain(n: usize) -> Expr {
    let mut e = Expr::empty();
    let mut at = e.push(ExprNode::Input(0));
    for i in 1..n {
        let x = e.push(ExprNode::Input(i as u16));
        at = e.push(ExprNode::Binary(if i % 2 == 1 { Binary::Mul } else { Binary::Add }, at, x));
    }
    let id = e.push(ExprNode::Unary(Unary::Relu, at));
    e.finish(id)
}

/// The same by definition.
pub(crate) fn chained(values: &[f64]) -> f64 {
    let mut at = values[0];
    for (i, v) in values.iter().enumerate().skip(1) {
        at = if i % 2 == 1 { at * v } else { at + v };
    }
    at.max(0.0)
}

/// The layouts that tactics name.
fn suffixes(names: &[String]) -> Vec<&str> {
    names.iter().map(|n| n.rsplit(['/', '-']).next().unwrap()).collect()
}

#[test]
fn every_broadcast_in_every_layout() {
    let x: &[usize] = &[2, 20, 3, 5];
    let block = if tactician_cpu::detect_isa() == tactician_device::Isa::Avx512 { "c16" } else { "c8" };
    let all = vec![block, "nhwc", "plain"];
    for (operands, layouts) in [
        (&[(x, false), (x, false)][..], all.clone()),
        (&[(x, false), (&[20, 1, 1], true), (&[1, 20, 1, 1], true), (&[], true)], all.clone()),
        (&[(x, false), (&[2, 20, 1, 1], false)], all.clone()),
        (&[(&[2, 20, 1, 1], false), (x, false), (&[3, 5], true), (&[5], false)], all.clone()),
        (&[(x, false), (&[2, 1, 3, 5], false), (&[1, 1, 3, 1], true), (&[20, 3, 1], true)], all.clone()),
        // Channels that do not fill blocks cannot come as a plain vector.
        (&[(x, false), (&[20, 1, 1], false)], vec!["nhwc", "plain"]),
        (&[(x, false), (&[20, 3, 1], false)], vec!["plain"]),
        (&[(&[2, 16, 4, 1], false), (&[16, 1, 3], true), (&[16, 1, 1], false)], all),
        (&[(&[7, 1], false), (&[1, 9], false)], vec!["plain"]),
        (&[(&[], false), (&[1], true)], vec!["plain"]),
        (&[(&[3, 1, 2, 1, 4, 1, 2, 3], false), (&[2, 1, 3, 4, 5, 1, 3], false)], vec!["plain"]),
    ] {
        let p = problem(Op::Pointwise(chain(operands.len())), operands.len(), operands, Expr::identity());
        let out = p.output.sizes().unwrap();
        let data: Vec<Vec<f32>> =
            operands.iter().zip(1..).map(|((s, _), i)| floats(s.iter().product(), i)).collect();
        let want: Vec<f64> = (0..out.iter().product())
            .map(|i| {
                let values: Vec<f64> =
                    operands.iter().zip(&data).map(|((s, _), x)| at(x, s, &out, i)).collect();
                chained(&values)
            })
            .collect();
        let names = check(&p, "pointwise.cpu", &data, &want, 1e-6);
        assert_eq!(suffixes(&names), layouts, "{p}");
    }
}

#[test]
fn batch_norm_is_an_expression() {
    let x: &[usize] = &[2, 20, 3, 5];
    for constant in [true, false] {
        let c: (&[usize], bool) = (&[20], constant);
        let anchor = Op::BatchNorm(BatchNorm { epsilon: 1e-3 });
        let operands = [(x, false), c, c, c, c, (x, false)];
        let p = problem(anchor, 5, &operands, chain(2));
        let mut data: Vec<Vec<f32>> =
            operands.iter().zip(1..).map(|((s, _), i)| floats(s.iter().product(), i)).collect();
        data[4].iter_mut().for_each(|v| *v = v.abs() + 0.1);
        let want: Vec<f64> = (0..600)
            .map(|i| {
                let k = i / 15 % 20;
                let [x, scale, bias, mean, var] =
                    [data[0][i], data[1][k], data[2][k], data[3][k], data[4][k]].map(f64::from);
                let y = scale * (x - mean) / (var + f64::from(1e-3f32)).sqrt() + bias;
                chained(&[y, f64::from(data[5][i])])
            })
            .collect();
        let names = check(&p, "pointwise.cpu", &data, &want, 1e-5);
        assert_eq!(names.len(), if constant { 3 } else { 2 }, "{names:?}");
    }
}

#[test]
fn other_types_are_interpreted() {
    let device = CpuDevice::new(Some(1)).unwrap();
    let operand = |t| Operand { ty: TensorType::known(t, &[1, 8, 2, 2]), constant: false };
    for t in [DType::F16, DType::BF16, DType::F64, DType::I64, DType::U8] {
        let anchor = Op::Pointwise(Expr::binary(Binary::Lt));
        let output = TensorType::known(DType::Bool, &[1, 8, 2, 2]);
        let p = Problem {
            anchor,
            anchor_operands: 2,
            operands: vec![operand(t), operand(t)],
            epilogue: Expr::identity(),
            result: output.clone(),
            output,
        };
        let names: Vec<String> = crate::tactics(&p, device.info()).into_iter().map(|t| t.id).collect();
        assert_eq!(names, ["pointwise.cpu/any"]);
    }
}

#[test]
fn a_wrong_constant_is_refused() {
    let operands: [(&[usize], bool); 2] = [(&[1, 8, 2, 2], false), (&[8, 1, 1], true)];
    let p = problem(Op::Pointwise(chain(2)), 2, &operands, Expr::identity());
    let device = CpuDevice::new(Some(1)).unwrap();
    for t in crate::tactics(&p, device.info()) {
        assert!(t.emit(&[None, None]).unwrap_err().to_string().contains("operand 1"));
        let short = Tensor::new(&[4, 1, 1], &[0f32; 4]).unwrap();
        assert!(t.emit(&[None, Some(short)]).is_err());
    }
}

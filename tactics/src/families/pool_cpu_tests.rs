use super::*;
use crate::pointwise_cpu::tests::{at, chain, chained, check, floats, problem};
use tactician_cpu::CpuDevice;
use tactician_device::Device;
use tactician_ir::{Operand, TensorType};
use tactician_types::{DType, Expr};

/// A pool with its epilogue, in `f64`, over up to three axes.
fn naive(op: &PoolOp, x: &[f32], sizes: &[usize], out: &[usize]) -> Vec<f64> {
    let n = op.window.len();
    let split = |mut i: usize, by: &[usize]| {
        let mut index = vec![0; by.len()];
        for a in (0..by.len()).rev() {
            index[a] = i % by[a];
            i /= by[a];
        }
        index
    };
    (0..out.iter().product())
        .map(|i| {
            let o = split(i, out);
            let (mut found, mut padded) = (Vec::new(), 0);
            for t in 0..op.window.iter().product() {
                let t = split(t, &op.window);
                let p: Vec<isize> = (0..n)
                    .map(|a| {
                        (o[2 + a] * op.strides[a] + t[a] * op.dilations[a]) as isize - op.pads[a].0 as isize
                    })
                    .collect();
                padded += usize::from((0..n).all(|a| p[a] < (sizes[2 + a] + op.pads[a].1) as isize));
                if (0..n).all(|a| (0..sizes[2 + a] as isize).contains(&p[a])) {
                    let plane = o[0] * sizes[1] + o[1];
                    found.push(f64::from(x[(0..n).fold(plane, |at, a| at * sizes[2 + a] + p[a] as usize)]));
                }
            }
            match op.kind {
                Kind::Max => found.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                Kind::Average { count_pad } => {
                    found.iter().sum::<f64>() / if count_pad { padded } else { found.len() } as f64
                }
                Kind::Lp { p } => {
                    found.iter().map(|v| v.abs().powi(p as i32)).sum::<f64>().powf(1.0 / f64::from(p))
                }
            }
        })
        .collect()
}

#[test]
fn pools_in_every_layout() {
    let image: &[usize] = &[2, 20, 9, 11];
    for (sizes, window, stride, pad, dilation, ceil) in [
        (image, 3, 2, 1, 1, false),
        (image, 3, 2, 0, 1, true),
        (image, 2, 1, 1, 3, false),
        (&[1, 5, 17], 4, 3, 2, 1, true),
        (&[1, 9, 4, 5, 6], 2, 2, 1, 1, false),
        (&[3, 4, 7, 7], 7, 1, 0, 1, false),
    ] {
        for kind in [
            Kind::Max,
            Kind::Average { count_pad: true },
            Kind::Average { count_pad: false },
            Kind::Lp { p: 2 },
        ] {
            let n = sizes.len() - 2;
            let op = PoolOp {
                kind,
                window: vec![window; n],
                strides: vec![stride; n],
                pads: vec![(pad, pad); n],
                dilations: vec![dilation; n],
                ceil,
            };
            let anchor = Op::Pool(op.clone());
            let out = problem(anchor.clone(), 1, &[(sizes, false)], Expr::identity()).output.sizes().unwrap();
            let mut channels = vec![1; n + 1];
            channels[0] = sizes[1];
            let operands: [(&[usize], bool); 3] = [(sizes, false), (&out, false), (&channels, true)];
            let p = problem(anchor, 1, &operands, chain(3));
            let data: Vec<Vec<f32>> =
                operands.iter().zip(1..).map(|((s, _), i)| floats(s.iter().product(), i)).collect();
            let want: Vec<f64> = naive(&op, &data[0], sizes, &out)
                .into_iter()
                .enumerate()
                .map(|(i, v)| chained(&[v, at(&data[1], &out, &out, i), at(&data[2], &channels, &out, i)]))
                .collect();
            assert_eq!(check(&p, "pool.cpu", &data, &want, 3e-6).len(), 3);
        }
    }
}

#[test]
fn other_types_and_no_device_limits() {
    let op = PoolOp {
        kind: Kind::Max,
        window: vec![2],
        strides: vec![2],
        pads: vec![(0, 0)],
        dilations: vec![1],
        ceil: false,
    };
    let device = CpuDevice::new(Some(1)).unwrap();
    for t in [DType::F16, DType::BF16, DType::F64, DType::I8, DType::U64] {
        let x = TensorType::known(t, &[1, 8, 6]);
        let result = Op::Pool(op.clone()).infer(&[&x]).unwrap().remove(0);
        let p = Problem {
            anchor: Op::Pool(op.clone()),
            anchor_operands: 1,
            operands: vec![Operand { ty: x, constant: false }],
            epilogue: Expr::identity(),
            output: result.clone(),
            result,
        };
        let names: Vec<String> = crate::tactics(&p, device.info()).into_iter().map(|t| t.id).collect();
        assert_eq!(names, ["pool.cpu/any"]);
    }
}

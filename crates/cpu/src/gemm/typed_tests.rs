use super::*;
use crate::conv::testing::{geometries, plain, pools, run, values};
use crate::gemm::finish::Finish;
use crate::gemm::testing::{self, odd_geometries};
use crate::gemm::{PlainConv, TransposeConv};
use tactician_device::Span;

/// Runs a kernel on bytes of 8-aligned storage.
fn run_raw<K: Kernel>(kernel: &K, inputs: &[Vec<u8>], threads: &Threads) -> Vec<u8> {
    let sizes = kernel.sizes(threads.count()).unwrap();
    let mut store: Vec<Vec<u64>> = inputs
        .iter()
        .map(|i| {
            let mut s = vec![0u64; i.len().div_ceil(8)];
            bytemuck::cast_slice_mut::<_, u8>(&mut s)[..i.len()].copy_from_slice(i);
            s
        })
        .collect();
    assert_eq!(inputs.iter().map(|i| i.len() as u64).collect::<Vec<_>>(), sizes.inputs);
    let n = sizes.outputs[0];
    store.push(vec![u64::MAX; n.div_ceil(8) as usize]);
    let lens = sizes.inputs.iter().chain(&sizes.outputs);
    let mut spans: Vec<Span> =
        store.iter_mut().zip(lens).map(|(s, &len)| Span { address: s.as_mut_ptr() as u64, len }).collect();
    spans.push(Span::EMPTY);
    // SAFETY: the storage outlives the call, is disjoint and has the lengths asked for.
    threads.install(|| kernel.run(&unsafe { Args::new(&spans, inputs.len(), 1) }, threads));
    bytemuck::cast_slice::<_, u8>(&store[inputs.len()])[..n as usize].to_vec()
}

fn bytes<T: bytemuck::Pod>(v: &[T]) -> Vec<u8> {
    bytemuck::cast_slice(v).to_vec()
}

fn of_bytes<T: bytemuck::Pod>(b: &[u8]) -> Vec<T> {
    b.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
}

#[test]
fn integers_wrap_around() {
    let shape =
        MatShape { batch: vec![2], b_axes: 1, m: 2, n: 3, k: 4, trans_b: true, ..MatShape::default() };
    let kernel = TypedMatMul { dtype: DType::I8, shape };
    let a: Vec<i8> = (0..8i32).map(|i| (i * 31 - 100) as i8).collect();
    let b: Vec<i8> = (0..24i32).map(|i| (i * 37 % 251 - 125) as i8).collect();
    let mut want: Vec<i8> = Vec::new();
    for p in 0..2 {
        for i in 0..2 {
            for j in 0..3 {
                let dot = |q: usize| i32::from(a[i * 4 + q]) * i32::from(b[p * 12 + j * 4 + q]);
                want.push((0..4).map(dot).sum::<i32>() as i8);
            }
        }
    }
    let threads = Threads::new(2).unwrap();
    assert_eq!(of_bytes::<i8>(&run_raw(&kernel, &[bytes(&a), bytes(&b)], &threads)), want);
}

#[test]
fn doubles_are_exact_and_halves_are_rounded_once() {
    let threads = Threads::new(1).unwrap();
    for g in geometries().into_iter().chain(odd_geometries()) {
        let (x, w, b) = (values(g.input_len(), 1), values(g.weight_len(), 2), values(g.k, 3));
        let pixels: usize = g.output().iter().product();
        let with_bias = |want: Vec<f64>, b: &[f32]| -> Vec<f64> {
            want.iter().enumerate().map(|(i, v)| v + f64::from(b[i / pixels % g.k])).collect()
        };
        let wide = |v: &[f32]| bytes(&v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
        let kernel = TypedConv { dtype: DType::F64, shape: TypedShape::Conv(g.clone()), bias: true };
        let got = of_bytes::<f64>(&run_raw(&kernel, &[wide(&x), wide(&w), wide(&b)], &threads));
        for (got, want) in got.iter().zip(with_bias(plain(&g, &x, &w), &b)) {
            assert!((got - want).abs() < 1e-10, "{got} {want}");
        }
        let narrow = |v: &[f32]| v.iter().map(|&v| f16::from_f32(v)).collect::<Vec<_>>();
        let back = |v: &[f16]| v.iter().map(|v| v.to_f32()).collect::<Vec<_>>();
        let (x, w, b) = (narrow(&x), narrow(&w), narrow(&b));
        let want = with_bias(plain(&g, &back(&x), &back(&w)), &back(&b));
        let kernel = TypedConv { dtype: DType::F16, ..kernel };
        let got = of_bytes::<f16>(&run_raw(&kernel, &[bytes(&x), bytes(&w), bytes(&b)], &threads));
        for (got, want) in got.iter().zip(want) {
            assert!((got.to_f64() - want).abs() <= want.abs() / 1024.0 + 1e-6, "{got} {want}");
        }
    }
}

#[test]
fn transposes_agree_with_the_fast_kernel() {
    for threads in pools() {
        for g in odd_geometries() {
            let shape = TransposeShape { input: g.output(), forward: g.clone() };
            let (x, w) = (values(g.output_len(), 1), values(g.weight_len(), 2));
            let finish = Finish::none(vec![g.n, g.c, g.input.iter().product()]);
            let want = run(TransposeConv::new(shape.clone(), finish), &[&x, &w], &threads);
            let kernel = TypedConv { dtype: DType::F32, shape: TypedShape::Transpose(shape), bias: false };
            let got = of_bytes::<f32>(&run_raw(&kernel, &[bytes(&x), bytes(&w)], &threads));
            let want: Vec<f64> = want.into_iter().map(f64::from).collect();
            crate::conv::testing::assert_close(&got, &want, 1e-5, "transpose");
            let finish = Finish::none(vec![g.n, g.k, g.output().iter().product()]);
            let x = values(g.input_len(), 3);
            let want = run(PlainConv::new(g.clone(), finish), &[&x, &w], &threads);
            let kernel = TypedConv { dtype: DType::F32, shape: TypedShape::Conv(g), bias: false };
            let got = of_bytes::<f32>(&run_raw(&kernel, &[bytes(&x), bytes(&w)], &threads));
            let want: Vec<f64> = want.into_iter().map(f64::from).collect();
            crate::conv::testing::assert_close(&got, &want, 1e-5, "convolution");
        }
    }
}

#[test]
fn hostile_parameters_are_refused() {
    let forward = ConvGeometry::image(1, 4, [5, 5], 4, [3, 3], 1, 1);
    let shape = TypedShape::Transpose(TransposeShape { input: forward.output(), forward });
    testing::hostile(&TypedConv { dtype: DType::F64, shape, bias: true });
    let shape = MatShape { batch: vec![2], a_axes: 1, m: 3, n: 5, k: 4, ..MatShape::default() };
    testing::hostile(&TypedMatMul { dtype: DType::BF16, shape });
}

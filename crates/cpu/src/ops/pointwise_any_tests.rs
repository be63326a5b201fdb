use super::*;
use crate::ops::pointwise::tests::source;
use crate::ops::testing::{Rng, hostile, of_bytes, pools, run_bytes};
use half::{bf16, f16};
use tactician_types::{Binary, NarrowFloat, Scalar, Unary, narrow_integer};

fn bytes<T: bytemuck::NoUninit>(v: &[T]) -> Vec<u8> {
    bytemuck::cast_slice(v).to_vec()
}

fn eval(expr: Expr, types: &[DType], inputs: &[Vec<u8>], n: usize) -> Vec<u8> {
    let grid = Grid { sizes: vec![n], operands: vec![1; types.len()] };
    let kernel = PointwiseAny::new(expr, types.to_vec(), grid);
    let mut results: Vec<Vec<u8>> = pools().iter().map(|p| run_bytes(kernel.clone(), inputs, p)).collect();
    results.dedup();
    assert_eq!(results.len(), 1);
    results.remove(0)
}

/// A cast around a binary operation.
fn casted(op: Binary, to: DType) -> Expr {
    let mut e = Expr::binary(op);
    e.push(ExprNode::Cast(to, 2));
    e
}

#[test]
fn integers_wrap_and_divide_by_zero() {
    let (a, b) = ([-128i8, 127, -7, 7, 5, -7], [-1i8, 1, 2, -2, 0, 0]);
    let run = |op| of_bytes::<i8>(&eval(Expr::binary(op), &[DType::I8; 2], &[bytes(&a), bytes(&b)], 6));
    assert_eq!(run(Binary::Add), [127, -128, -5, 5, 5, -7]);
    assert_eq!(run(Binary::Mul), [-128, 127, -14, -14, 0, 0]);
    assert_eq!(run(Binary::Div), [-128, 127, -3, -3, 0, 0]);
    assert_eq!(run(Binary::Mod), [0, 0, 1, -1, 0, 0]);
    assert_eq!(run(Binary::Fmod), [0, 0, -1, 1, 0, 0]);
    assert_eq!(run(Binary::Shl), [0, -2, -28, 0, 5, -7]);
    assert_eq!(run(Binary::Shr), [-1, 63, -2, 0, 5, -7]);
    assert_eq!(run(Binary::Max), [-1, 127, 2, 7, 5, 0]);
    assert_eq!(run(Binary::Pow), [0, 127, 49, 0, 1, 1]);
    let (a, b) = ([u64::MAX, 3, 1 << 63], [2u64, 5, 64]);
    let run = |op| of_bytes::<u64>(&eval(Expr::binary(op), &[DType::U64; 2], &[bytes(&a), bytes(&b)], 3));
    assert_eq!(run(Binary::Sub), [u64::MAX - 2, 3u64.wrapping_sub(5), (1 << 63) - 64]);
    assert_eq!(run(Binary::Div), [u64::MAX / 2, 0, 1 << 57]);
    assert_eq!(run(Binary::Shr), [u64::MAX >> 2, 0, 0]);
    assert_eq!(run(Binary::Pow), [1, 243, 0]);
    let less = eval(Expr::binary(Binary::Lt), &[DType::U64; 2], &[bytes(&a), bytes(&b)], 3);
    assert_eq!(less, [0, 1, 0]);
    let not = eval(Expr::unary(Unary::BitNot), &[DType::U16], &[bytes(&[0u16, 0xff00])], 2);
    assert_eq!(of_bytes::<u16>(&not), [0xffff, 0xff]);
    let neg = eval(Expr::unary(Unary::Neg), &[DType::I32], &[bytes(&[i32::MIN, 4])], 2);
    assert_eq!(of_bytes::<i32>(&neg), [i32::MIN, -4]);
}

#[test]
fn floats_round_to_their_type() {
    let mut rng = Rng::new(2);
    let (x, y) = (rng.floats(300), rng.floats(300));
    let (a, b): (Vec<f16>, Vec<f16>) =
        x.iter().zip(&y).map(|(&x, &y)| (f16::from_f32(x), f16::from_f32(y))).unzip();
    let got = eval(Expr::binary(Binary::Mul), &[DType::F16; 2], &[bytes(&a), bytes(&b)], 300);
    let want: Vec<f16> = a.iter().zip(&b).map(|(&a, &b)| a * b).collect();
    assert_eq!(of_bytes::<f16>(&got), want);
    let (a, b): (Vec<bf16>, Vec<bf16>) =
        x.iter().zip(&y).map(|(&x, &y)| (bf16::from_f32(x), bf16::from_f32(y))).unzip();
    let got = eval(Expr::binary(Binary::Add), &[DType::BF16; 2], &[bytes(&a), bytes(&b)], 300);
    let want: Vec<bf16> = a.iter().zip(&b).map(|(&a, &b)| a + b).collect();
    assert_eq!(of_bytes::<bf16>(&got), want);
    let got = eval(Expr::binary(Binary::Div), &[DType::F32; 2], &[bytes(&x), bytes(&y)], 300);
    let want: Vec<f32> = x.iter().zip(&y).map(|(a, b)| a / b).collect();
    assert_eq!(of_bytes::<f32>(&got), want);
    let erf = eval(Expr::unary(Unary::Erf), &[DType::F64], &[bytes(&[0.5f64, -3.0, f64::INFINITY])], 3);
    for (g, w) in
        of_bytes::<f64>(&erf).into_iter().zip([0.520_499_877_813_046_5, -0.999_977_909_503_001_4, 1.0])
    {
        assert!((g - w).abs() < 1e-13, "{g} {w}");
    }
}

#[test]
fn casts_and_selections() {
    let x = [f32::NAN, 300.7, -1.9, -1e20, 0.0];
    let to = |t| {
        let mut e = Expr::identity();
        e.push(ExprNode::Cast(t, 0));
        eval(e, &[DType::F32], &[bytes(&x)], 5)
    };
    assert_eq!(to(DType::U8), [0, 255, 0, 0, 0]);
    assert_eq!(of_bytes::<i64>(&to(DType::I64)), [0, 300, -1, i64::MIN, 0]);
    assert_eq!(to(DType::Bool), [1, 1, 1, 1, 0]);
    let ints = [bytes(&[i64::MAX, (1 << 24) + 1, -5]), bytes(&[0i64; 3])];
    let floats = eval(casted(Binary::Add, DType::F32), &[DType::I64; 2], &ints, 3);
    assert_eq!(of_bytes::<f32>(&floats), [i64::MAX as f32, 16_777_216.0, -5.0]);
    let narrow = eval(casted(Binary::Sub, DType::U8), &[DType::I64; 2], &ints, 3);
    assert_eq!(narrow, [255, 1, 251]);
    // `a < b ? a : 7`, the comparison's bytes as output of another.
    let mut e = Expr::binary(Binary::Lt);
    let seven = e.push(ExprNode::Const(Scalar::int(DType::I32, 7)));
    e.push(ExprNode::Select(2, 0, seven));
    let picked = eval(e, &[DType::I32; 2], &[bytes(&[1i32, 9]), bytes(&[2i32, 2])], 2);
    assert_eq!(of_bytes::<i32>(&picked), [1, 7]);
    let any = eval(Expr::binary(Binary::Xor), &[DType::Bool; 2], &[vec![0, 9, 1, 0], vec![0, 1, 0, 200]], 4);
    assert_eq!(any, [0, 0, 1, 1]);
}

fn cast_bytes(from: DType, to: DType, x: Vec<u8>) -> Vec<u8> {
    let n = x.len() / from.size();
    eval(Expr::from_nodes(vec![ExprNode::Input(0), ExprNode::Cast(to, 0)]).unwrap(), &[from], &[x], n)
}

/// All codes of the narrow floats to every type, and numbers of every type to them.
#[test]
fn narrow_floats_convert_by_their_values() {
    let codes: Vec<u8> = (0..=255).collect();
    for t in NarrowFloat::ALL {
        let values: Vec<f64> = codes.iter().map(|&c| t.value(c)).collect();
        let to = |to: DType| cast_bytes(t.dtype(), to, codes.clone());
        let bits =
            |v: &[f64]| v.iter().map(|v| if v.is_nan() { u64::MAX } else { v.to_bits() }).collect::<Vec<_>>();
        assert_eq!(bits(&of_bytes::<f64>(&to(DType::F64))), bits(&values), "{t:?}");
        let wide: Vec<f64> = of_bytes::<f32>(&to(DType::F32)).iter().map(|&v| f64::from(v)).collect();
        assert_eq!(bits(&wide), bits(&values), "{t:?}");
        let short: Vec<f64> = of_bytes::<f16>(&to(DType::F16)).iter().map(|v| v.to_f64()).collect();
        let want: Vec<f64> = values.iter().map(|&v| f16::from_f64(v).to_f64()).collect();
        assert_eq!(bits(&short), bits(&want), "{t:?}");
        assert_eq!(to(DType::U8), values.iter().map(|&v| v as u8).collect::<Vec<_>>(), "{t:?}");
        assert_eq!(of_bytes::<i32>(&to(DType::I32)), values.iter().map(|&v| v as i32).collect::<Vec<_>>());
        assert_eq!(to(DType::Bool), values.iter().map(|&v| u8::from(v != 0.0)).collect::<Vec<_>>());
        assert_eq!(
            to(DType::I4),
            values.iter().map(|&v| narrow_integer(DType::I4, v).unwrap() as u8).collect::<Vec<_>>()
        );
        for other in NarrowFloat::ALL {
            let want: Vec<u8> = match other == t {
                // The same bits, infinities and NaNs too.
                true => codes.clone(),
                false => values.iter().map(|&v| other.code(v)).collect(),
            };
            assert_eq!(to(other.dtype()), want, "{t:?} to {other:?}");
        }
        let mut rng = Rng::new(7);
        let x: Vec<f32> =
            rng.floats(400).iter().enumerate().map(|(i, v)| v * 2f32.powi(i as i32 % 24 - 8)).collect();
        let want: Vec<u8> = x.iter().map(|&v| t.code(f64::from(v))).collect();
        assert_eq!(cast_bytes(DType::F32, t.dtype(), bytes(&x)), want, "{t:?}");
        let x: Vec<u64> = (0..300).map(|i| i * i).chain([u64::MAX, 1 << 63]).collect();
        let want: Vec<u8> = x.iter().map(|&v| t.code(v as f64)).collect();
        assert_eq!(cast_bytes(DType::U64, t.dtype(), bytes(&x)), want, "{t:?}");
        let x: Vec<i8> = (-128..=127).collect();
        let want: Vec<u8> = x.iter().map(|&v| t.code(f64::from(v))).collect();
        assert_eq!(cast_bytes(DType::I8, t.dtype(), bytes(&x)), want, "{t:?}");
        assert_eq!(
            cast_bytes(DType::Bool, t.dtype(), vec![0, 1, 9]),
            [t.code(0.0), t.code(1.0), t.code(1.0)]
        );
    }
}

#[test]
fn narrow_integers_wrap() {
    for (t, least, most) in [(DType::I4, -8i64, 7), (DType::U4, 0, 15), (DType::I2, -2, 1), (DType::U2, 0, 3)]
    {
        let wrapped = |v: i64| ((v - least).rem_euclid(most - least + 1) + least) as u8;
        let whole: Vec<i16> = (-400..400).collect();
        let want: Vec<u8> = whole.iter().map(|&v| wrapped(i64::from(v))).collect();
        assert_eq!(cast_bytes(DType::I16, t, bytes(&whole)), want, "{t}");
        let x: Vec<f32> = whole.iter().map(|&v| f32::from(v) + if v < 0 { -0.75 } else { 0.75 }).collect();
        assert_eq!(cast_bytes(DType::F32, t, bytes(&x)), want, "{t}");
        assert_eq!(cast_bytes(DType::F32, t, bytes(&[f32::NAN, f32::INFINITY, -1e30])), [0; 3], "{t}");
        // Back, whatever stands in the higher bits of the byte.
        let all: Vec<u8> = (0..=255).collect();
        let want: Vec<i32> = all.iter().map(|&b| i32::from(wrapped(i64::from(b)) as i8)).collect();
        assert_eq!(of_bytes::<i32>(&cast_bytes(t, DType::I32, all.clone())), want, "{t}");
        let want: Vec<f32> = want.iter().map(|&v| v as f32).collect();
        assert_eq!(of_bytes::<f32>(&cast_bytes(t, DType::F32, all)), want, "{t}");
    }
}

/// A selection keeps codes, those of all NaNs too.
#[test]
fn narrow_values_are_chosen_bit_for_bit() {
    let mut e = Expr::empty();
    let [c, a, b] = [0, 1, 2].map(|i| e.push(ExprNode::Input(i)));
    e.push(ExprNode::Select(c, a, b));
    let (a, b): (Vec<u8>, Vec<u8>) = (0..=255u8).map(|i| (i, 255 - i)).unzip();
    let choice: Vec<u8> = (0..=255).map(|i| i % 2).collect();
    for t in [DType::F8E4M3FN, DType::F8E5M2, DType::F8E5M2FNUZ, DType::F8E8M0] {
        let got = eval(e.clone(), &[DType::Bool, t, t], &[choice.clone(), a.clone(), b.clone()], 256);
        assert!(got.iter().enumerate().all(|(i, &g)| g == if i % 2 == 1 { a[i] } else { b[i] }), "{t}");
    }
}

#[test]
fn operands_broadcast() {
    let mut rng = Rng::new(4);
    for _ in 0..60 {
        let rank = rng.below(5);
        let sizes: Vec<usize> = (0..rank).map(|_| rng.pick(&[1, 2, 3, 7, 20])).collect();
        let all = (1 << rank) - 1;
        let grid = Grid { sizes, operands: vec![all, rng.next() as u16 & all] };
        let lens = grid.operand_lens().unwrap();
        let inputs: Vec<Vec<i64>> =
            lens.iter().map(|&n| (0..n).map(|_| rng.next() as i64 >> 40).collect()).collect();
        let want: Vec<i64> = (0..lens[0]).map(|i| inputs[0][i] - inputs[1][source(&grid, 1, i)]).collect();
        let kernel = PointwiseAny::new(Expr::binary(Binary::Sub), vec![DType::I64; 2], grid);
        for pool in pools() {
            let got = run_bytes(kernel.clone(), &[bytes(&inputs[0]), bytes(&inputs[1])], &pool);
            assert_eq!(of_bytes::<i64>(&got), want);
        }
    }
}

#[test]
fn many_nodes_fit() {
    let mut e = Expr::identity();
    let mut at = 0;
    for i in 0..4000 {
        at = e.push(ExprNode::Unary(if i % 2 == 0 { Unary::Neg } else { Unary::Abs }, at));
    }
    let got = eval(e, &[DType::I16], &[bytes(&[-3i16, 4, 5])], 3);
    assert_eq!(of_bytes::<i16>(&got), [3, 4, 5]);
}

#[test]
fn hostile_parameters() {
    let mut e = casted(Binary::Mod, DType::F16);
    let c = e.push(ExprNode::Const(Scalar::float(DType::F16, 2.5)));
    e.push(ExprNode::Binary(Binary::Pow, 3, c));
    let grid = Grid { sizes: vec![3, 5, 4], operands: vec![0b111, 0b010] };
    hostile(&PointwiseAny::new(e, vec![DType::I32; 2], grid));
}

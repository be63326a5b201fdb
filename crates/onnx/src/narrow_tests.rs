//! Floats of 8 bits and fewer, integers of 4 and 2 bits: conversions against a search over all values, ONNX's packed
//! forms, and what is refused.

use std::collections::BTreeMap;

use tactician_ir::{DType, NarrowFloat, Tensor};
use tactician_reference::eval_graph;

use crate::composed_tests::with_text;
use crate::proto::*;
use crate::tensor::convert;
use crate::tests::*;
use crate::{ImportError, Model, ShapeBindings};

/// ONNX's numbers of the narrow types.
const NUMBERS: [(i32, DType); 10] = [
    (17, DType::F8E4M3FN),
    (18, DType::F8E4M3FNUZ),
    (19, DType::F8E5M2),
    (20, DType::F8E5M2FNUZ),
    (21, DType::U4),
    (22, DType::I4),
    (23, DType::F4E2M1),
    (24, DType::F8E8M0),
    (25, DType::U2),
    (26, DType::I2),
];

fn number_of(t: DType) -> i32 {
    NUMBERS.iter().find(|(_, d)| *d == t).unwrap().0
}

fn typed(name: &str, dims: &[&str], number: i32) -> ValueInfo {
    let mut v = value(name, dims);
    v.r#type.as_mut().unwrap().tensor.as_mut().unwrap().elem_type = number;
    v
}

/// The output `y` of nodes over `x`.
fn run(x: &Tensor, number: i32, tensors: Vec<TensorProto>, nodes: Vec<NodeProto>) -> Result<Tensor, String> {
    let dims: Vec<String> = x.sizes().iter().map(ToString::to_string).collect();
    let dims: Vec<&str> = dims.iter().map(String::as_str).collect();
    let mut m = model(vec![typed("x", &dims, number)], tensors, nodes, "y");
    m.opset_import[0].version = 25;
    let g = graph(&m, ShapeBindings::default()).map_err(|e| e.to_string())?;
    Ok(eval_graph(&g, &BTreeMap::from([("x".to_owned(), x.clone())])).unwrap()["y"].clone())
}

fn cast(to: DType) -> NodeProto {
    with_int(node("Cast", &["x"], "y"), "to", i64::from(number_of(to)))
}

/// Values of a format, middles between them and numbers beside both, and numbers far away.
fn interesting(t: NarrowFloat) -> Vec<f32> {
    let mut values: Vec<f64> = (0..=255).map(|c| t.value(c)).filter(|v| v.is_finite() && *v >= 0.0).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let (last, step) = (values[values.len() - 1], values[values.len() - 1] - values[values.len() - 2]);
    values.push(last + step);
    let middles: Vec<f64> = values.windows(2).map(|w| (w[0] + w[1]) / 2.0).collect();
    let mut out = Vec::new();
    for v in values.into_iter().chain(middles).map(|v| v as f32) {
        out.extend([v, v.next_up(), v.next_down(), -v, -v.next_up()]);
    }
    out.extend([f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e-45, 1e5, -7e4]);
    out
}

/// `Cast` with `saturate = 0`, by the second of the standard's tables: numbers are rounded as if there were larger values,
/// and what is rounded to one of those is infinity or NaN.
#[test]
fn unsaturated_conversions_give_infinity_or_nan() {
    use NarrowFloat::*;
    for (t, largest, beyond) in [
        (E4M3FN, 0x7e, [0x7f, 0xff]),
        (E4M3FNUZ, 0x7f, [0x80, 0x80]),
        (E5M2, 0x7b, [0x7c, 0xfc]),
        (E5M2FNUZ, 0x7f, [0x80, 0x80]),
    ] {
        let mut table: Vec<f64> = (0..=largest).map(|c| t.value(c)).collect();
        table.push(2.0 * table[table.len() - 1] - table[table.len() - 2]);
        let want = |x: f64| -> u8 {
            let negative = usize::from(x.is_sign_negative());
            if x.is_nan() {
                return t.code(x);
            }
            let distance = |c: usize| (table[c] - x.abs().min(table[table.len() - 1])).abs();
            let best = (0..table.len()).map(distance).fold(f64::INFINITY, f64::min);
            let equal: Vec<usize> = (0..table.len()).filter(|&c| distance(c) == best).collect();
            let code = equal.iter().copied().find(|c| c % 2 == 0).unwrap_or(equal[0]);
            match (code > usize::from(largest), negative) {
                (true, n) => beyond[n],
                (false, 1) if code > 0 || matches!(t, E4M3FN | E5M2) => code as u8 | 0x80,
                (false, _) => code as u8,
            }
        };
        let x = interesting(t);
        let node = with_int(cast(t.dtype()), "saturate", 0);
        let got = run(&Tensor::new(&[x.len()], &x).unwrap(), 1, vec![], vec![node.clone()]).unwrap();
        assert_eq!(got.dtype(), t.dtype());
        for (g, x) in got.bytes().iter().zip(&x) {
            assert_eq!(*g, want(f64::from(*x)), "{t:?} {x:e}");
        }
        // From short floats and integers, too.
        let short: Vec<half::f16> = x.iter().map(|&x| half::f16::from_f32(x)).collect();
        let got = run(&Tensor::new(&[x.len()], &short).unwrap(), 10, vec![], vec![node.clone()]).unwrap();
        assert!(got.bytes().iter().zip(&short).all(|(g, x)| *g == want(x.to_f64())), "{t:?}");
        let whole: Vec<i32> = (-70_000..70_000).step_by(7).collect();
        let got = run(&Tensor::new(&[whole.len()], &whole).unwrap(), 6, vec![], vec![node]).unwrap();
        assert!(got.bytes().iter().zip(&whole).all(|(g, x)| *g == want(f64::from(*x))), "{t:?}");
    }
}

/// By the standard's third table, and what `round_mode` says about numbers between powers of two.
#[test]
fn scales_round_as_they_are_told() {
    let mut x = interesting(NarrowFloat::E8M0);
    x.retain(|x| x.is_nan() || *x >= 0.0);
    x.extend((0..255).map(|e| 1.49 * 2f32.powi(e - 127)));
    let powers: Vec<f64> = (-127..=128).map(|e| 2f64.powi(e)).collect();
    for mode in ["up", "down", "nearest"] {
        for saturate in [1, 0] {
            let node = with_text(with_int(cast(DType::F8E8M0), "saturate", saturate), "round_mode", mode);
            let got = run(&Tensor::new(&[x.len()], &x).unwrap(), 1, vec![], vec![node]).unwrap();
            for (g, &x) in got.bytes().iter().zip(&x) {
                let x = f64::from(x);
                let above = powers.iter().position(|p| *p >= x).unwrap_or(255);
                let below = powers.iter().rposition(|p| *p <= x).unwrap_or(0);
                let code = match mode {
                    "up" => above,
                    "down" => below,
                    _ if x - powers[below] < powers[above] - x => below,
                    _ => above,
                };
                let outside = code > 254 || x < powers[0] || x.is_infinite();
                let want = match (x.is_nan(), outside, saturate) {
                    (true, ..) | (_, true, 0) => 255,
                    _ => code.min(254) as u8,
                };
                assert_eq!(*g, want, "{mode} {saturate} {x:e}");
            }
        }
    }
    let one = Tensor::new(&[1], &[1f32]).unwrap();
    let unknown = with_text(cast(DType::F8E8M0), "round_mode", "sideways");
    assert!(run(&one, 1, vec![], vec![unknown]).unwrap_err().contains("round_mode `sideways`"));
}

#[test]
fn packed_elements_are_taken_apart() {
    // 0 to 15 and one more, the first in the low bits.
    let nibbles: Vec<u8> = (0..8).map(|i| (2 * i) | ((2 * i + 1) << 4)).chain([9]).collect();
    let pairs = vec![0b11_10_01_00u8, 0b00_01_10_11, 0b10];
    let i4: Vec<i8> = (0..8).chain(-8..0).chain([-7]).collect();
    let i2 = [0i8, 1, -2, -1, -1, -2, 1, 0, -2];
    for (number, dtype) in NUMBERS {
        let (packed, want): (&Vec<u8>, Vec<u8>) = match dtype {
            DType::I4 => (&nibbles, i4.iter().map(|&v| v as u8).collect()),
            DType::U4 | DType::F4E2M1 => (&nibbles, (0..16).chain([9]).collect()),
            DType::I2 => (&pairs, i2.iter().map(|&v| v as u8).collect()),
            DType::U2 => (&pairs, i2.iter().map(|&v| v as u8 & 3).collect()),
            _ => (&nibbles, nibbles.clone()),
        };
        let n = want.len() as i64;
        let proto = TensorProto { name: "t".into(), dims: vec![n], data_type: number, ..Default::default() };
        let raw = TensorProto { raw_data: Some(packed.clone().into()), ..proto.clone() };
        let listed =
            TensorProto { int32_data: packed.iter().map(|&b| i32::from(b)).collect(), ..proto.clone() };
        for p in [&raw, &listed] {
            let t = convert(p, None).unwrap();
            assert_eq!((t.dtype(), t.bytes()), (dtype, &want[..]), "{dtype}");
        }
        // A byte too few or too many is an error, and so is a size that the bytes do not have.
        let cut = |by: usize| Some(packed[..by].to_vec().into());
        let long = Some([&packed[..], &[0]].concat().into());
        for wrong in [cut(packed.len() - 1), cut(0), long, None] {
            let p = TensorProto { raw_data: wrong, ..proto.clone() };
            let e = convert(&p, None).unwrap_err();
            assert!(matches!(e, ImportError::Tensor { .. }), "{e}");
        }
        let p = TensorProto { dims: vec![1 << 40], ..raw.clone() };
        assert!(convert(&p, None).unwrap_err().to_string().contains("bytes"));
        let empty = TensorProto { dims: vec![0], ..proto };
        assert!(convert(&empty, None).unwrap().is_empty());
    }
}

#[test]
fn packed_elements_may_lie_in_another_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("w.bin"), [0xff, 0x21, 0x03]).unwrap();
    let open = |length: &str| {
        let entry = |k: &str, v: &str| StringString { key: k.into(), value: v.into() };
        let external_data = vec![entry("location", "w.bin"), entry("offset", "1"), entry("length", length)];
        let w = TensorProto {
            name: "w".into(),
            dims: vec![3],
            data_type: 22,
            data_location: 1,
            external_data,
            ..Default::default()
        };
        let nodes = vec![node("CastLike", &["w", "x"], "c"), node("Add", &["x", "c"], "y")];
        let m = model(vec![value("x", &["3"])], vec![w], nodes, "y");
        let path = folder.path().join("m.onnx");
        std::fs::write(&path, prost::Message::encode_to_vec(&m)).unwrap();
        Model::open(&path).unwrap().graph(&ShapeBindings::default())
    };
    let g = open("2").unwrap();
    let x = Tensor::new(&[3], &[10f32; 3]).unwrap();
    let y = eval_graph(&g, &BTreeMap::from([("x".to_owned(), x)])).unwrap()["y"].clone();
    assert_eq!(y.values::<f32>().unwrap().as_ref(), &[11.0, 12.0, 13.0]);
    assert!(open("3").unwrap_err().to_string().contains("takes 2"));
}

/// `x / scale + zero`, rounded and saturated by hand.
#[test]
fn quantising_to_narrow_types() {
    let x: Vec<f32> = (-60..60).map(|i| i as f32 * 0.37).collect();
    let tensor = Tensor::new(&[x.len()], &x).unwrap();
    let scale = TensorProto { name: "s".into(), data_type: 1, float_data: vec![0.75], ..Default::default() };
    for (dtype, zero) in [
        (DType::I4, -2),
        (DType::U4, 5),
        (DType::I2, -1),
        (DType::U2, 1),
        (DType::F8E4M3FN, 0),
        (DType::F8E5M2FNUZ, 0),
        (DType::F4E2M1, 0),
    ] {
        let z = TensorProto {
            name: "z".into(),
            data_type: number_of(dtype),
            int32_data: vec![zero & 0xff],
            ..Default::default()
        };
        let there = node("QuantizeLinear", &["x", "s", "z"], "q");
        let q = run(
            &tensor,
            1,
            vec![scale.clone(), z.clone()],
            vec![NodeProto { output: vec!["y".into()], ..there.clone() }],
        );
        let q = q.unwrap();
        let back = node("DequantizeLinear", &["q", "s", "z"], "y");
        let y = run(&tensor, 1, vec![scale.clone(), z], vec![there, back]).unwrap();
        let (least, most) = match dtype {
            DType::I4 => (-8.0, 7.0),
            DType::U4 => (0.0, 15.0),
            DType::I2 => (-2.0, 1.0),
            _ => (0.0, 3.0),
        };
        for ((&x, &q), &y) in x.iter().zip(q.bytes()).zip(y.values::<f32>().unwrap().iter()) {
            let v = x / 0.75;
            let (code, number) = match NarrowFloat::of(dtype) {
                Some(t) => (t.code(f64::from(v)), t.value(t.code(f64::from(v))) as f32),
                None => {
                    let v = (v.round_ties_even() + zero as f32).clamp(least, most);
                    (v as i8 as u8, v - zero as f32)
                }
            };
            assert_eq!((q, y), (code, number * 0.75), "{dtype} {x}");
        }
    }
    // Scales that are powers of two: 0x80 is 2.
    let s = TensorProto { name: "s".into(), data_type: 24, int32_data: vec![0x80], ..Default::default() };
    let q = with_int(node("QuantizeLinear", &["x", "s"], "q"), "output_dtype", 22);
    let d = with_int(node("DequantizeLinear", &["q", "s"], "y"), "output_dtype", 1);
    let y = run(&tensor, 1, vec![s.clone()], vec![q.clone(), d]).unwrap();
    for (x, y) in x.iter().zip(y.values::<f32>().unwrap().iter()) {
        assert_eq!(*y, (x / 2.0).round_ties_even().clamp(-8.0, 7.0) * 2.0);
    }
    let d = node("DequantizeLinear", &["q", "s"], "y");
    assert!(run(&tensor, 1, vec![s], vec![q, d]).unwrap_err().contains("output_dtype"));
}

/// Values are moved as they are, all codes of them.
#[test]
fn narrow_values_are_moved() {
    for (number, dtype) in NUMBERS {
        let codes: Vec<u8> = match (NarrowFloat::of(dtype), dtype) {
            (None, _) => (0..36).map(|c| dtype.wrapped(c).unwrap() as u8).collect(),
            (_, DType::F4E2M1) => (0..36).map(|c| c % 16).collect(),
            _ => (0..36).map(|c| c * 7).collect(),
        };
        let x = Tensor::from_bytes(dtype, &[2, 3, 6], codes.clone()).unwrap();
        let moved = run(
            &x,
            number,
            vec![],
            vec![
                node("Identity", &["x"], "i"),
                with_ints(node("Transpose", &["i"], "t"), "perm", &[2, 0, 1]),
                node("Flatten", &["t"], "y"),
            ],
        );
        let moved = moved.unwrap();
        assert_eq!((moved.dtype(), moved.sizes()), (dtype, &[6, 6][..]));
        for (i, &b) in moved.bytes().iter().enumerate() {
            let (c, a, r) = (i / 6, i % 6 / 3, i % 3);
            assert_eq!(b, codes[(a * 3 + r) * 6 + c]);
        }
        // Padding with 1.
        let pads = longs("p", &[0, 0, 1, 0, 0, 1]);
        let one = TensorProto { name: "v".into(), data_type: 1, float_data: vec![1.0], ..Default::default() };
        let like = node("CastLike", &["v", "x"], "one");
        let padded =
            run(&x, number, vec![pads, one], vec![like, node("Pad", &["x", "p", "one"], "y")]).unwrap();
        let unit = match NarrowFloat::of(dtype) {
            Some(t) => t.code(1.0),
            None => dtype.wrapped(1).unwrap() as u8,
        };
        assert_eq!((padded.sizes(), padded.bytes()[0]), (&[2, 3, 8][..], unit), "{dtype}");
        assert_eq!(padded.bytes()[1..7], codes[..6]);
    }
}

#[test]
fn arithmetic_on_narrow_types_is_refused() {
    for (number, dtype) in NUMBERS {
        let x = Tensor::from_bytes(dtype, &[2, 2], vec![1; 4]).unwrap();
        let binary =
            ["Add", "Sub", "Mul", "Div", "Max", "Min", "Equal", "Less", "MatMul", "Mod", "Pow", "And"];
        let unary =
            ["Neg", "Abs", "Relu", "Sqrt", "Softmax", "ReduceSum", "ReduceMax", "ArgMax", "Not", "Sign"];
        let list = binary.map(|op| node(op, &["x", "x"], "y"));
        for n in list.into_iter().chain(unary.map(|op| node(op, &["x"], "y"))) {
            let e = run(&x, number, vec![], vec![n.clone()]).unwrap_err();
            assert!(e.contains(&n.op_type) && e.contains(dtype.name()), "{e}");
        }
        let k = node("TopK", &["x", "k"], "y");
        assert!(run(&x, number, vec![longs("k", &[1])], vec![k]).unwrap_err().contains("convert it first"));
    }
}

use super::Generator;
use crate::ShapeBindings;
use crate::proto::*;
use crate::tests::*;

/// The first numbers from the seed 1234567, as the authors' own program gives them.
#[test]
fn the_generator_is_that_of_its_authors() {
    let mut g = Generator(1_234_567);
    let want = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423u64];
    assert_eq!([g.next(), g.next(), g.next()], want);
}

fn drawn(n: NodeProto, inputs: Vec<ValueInfo>, tensors: Vec<TensorProto>) -> Vec<f64> {
    let m = model(inputs, tensors, vec![n], "y");
    let g = graph(&m, ShapeBindings::default()).unwrap();
    let t = g.constant(g.outputs()[0].1).unwrap();
    match t.values::<f32>() {
        Some(v) => v.iter().map(|&v| f64::from(v)).collect(),
        None => t.values::<i32>().unwrap().iter().map(|&v| f64::from(v)).collect(),
    }
}

fn with_float(mut n: NodeProto, name: &str, f: f32) -> NodeProto {
    n.attribute.push(AttributeProto { name: name.into(), f: Some(f), ..Default::default() });
    n
}

fn moments(v: &[f64]) -> (f64, f64) {
    let mean = v.iter().sum::<f64>() / v.len() as f64;
    (mean, v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / v.len() as f64)
}

#[test]
fn numbers_are_distributed_as_asked() {
    let shape = |n| with_ints(n, "shape", &[50, 400]);
    let n = shape(with_float(with_float(node("RandomUniform", &[], "y"), "low", -1.0), "high", 3.0));
    let v = drawn(n, vec![], vec![]);
    let (mean, variance) = moments(&v);
    assert!(v.iter().all(|x| (-1.0..3.0).contains(x)));
    assert!((mean - 1.0).abs() < 0.03 && (variance - 16.0 / 12.0).abs() < 0.03, "{mean} {variance}");
    let n = shape(with_float(with_float(node("RandomNormal", &[], "y"), "mean", 2.0), "scale", 0.5));
    let (mean, variance) = moments(&drawn(n, vec![], vec![]));
    assert!((mean - 2.0).abs() < 0.02 && (variance - 0.25).abs() < 0.01, "{mean} {variance}");
}

#[test]
fn seeds_and_names_tell_numbers_apart() {
    let n = |name: &str| NodeProto {
        name: name.into(),
        ..with_ints(node("RandomUniform", &[], "y"), "shape", &[9])
    };
    let plain = |name: &str| drawn(n(name), vec![], vec![]);
    assert_eq!(plain("a"), plain("a"));
    assert_ne!(plain("a"), plain("b"));
    let seeded = |name: &str, s: f32| drawn(with_float(n(name), "seed", s), vec![], vec![]);
    assert_eq!(seeded("a", 3.0), seeded("b", 3.0));
    assert_ne!(seeded("a", 3.0), seeded("a", 4.0));
}

#[test]
fn ones_and_classes_come_as_often_as_they_should() {
    let p = TensorProto {
        name: "p".into(),
        dims: vec![1, 3],
        data_type: 1,
        float_data: vec![0.7f32.ln(), 0.2f32.ln(), 0.1f32.ln()],
        ..Default::default()
    };
    let v = drawn(with_int(node("Multinomial", &["p"], "y"), "sample_size", 20_000), vec![], vec![p]);
    for (class, want) in [0.7, 0.2, 0.1].into_iter().enumerate() {
        let share = v.iter().filter(|&&x| x == class as f64).count() as f64 / v.len() as f64;
        assert!((share - want).abs() < 0.015, "class {class}: {share}");
    }
    let p = TensorProto {
        name: "p".into(),
        dims: vec![30_000],
        data_type: 1,
        float_data: vec![0.3; 30_000],
        ..Default::default()
    };
    let (mean, _) = moments(&drawn(node("Bernoulli", &["p"], "y"), vec![], vec![p]));
    assert!((mean - 0.3).abs() < 0.01, "{mean}");
}

#[test]
fn too_many_are_refused() {
    let n = with_ints(node("RandomUniform", &[], "y"), "shape", &[1 << 20, 1 << 20]);
    let e = graph(&model(vec![], vec![], vec![n], "y"), ShapeBindings::default()).unwrap_err().to_string();
    assert!(e.contains("too many"), "{e}");
}

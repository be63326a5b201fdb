use super::*;
use crate::testing::*;
use tactician_ir::ValueId;

const NAME: &str = "merge_clamps";

fn clip(g: &mut Graph, x: ValueId, low: f64, high: f64) -> ValueId {
    let e = Bounds { low, high }.expr(DType::F32);
    g.add(Op::Pointwise(e), &[x], "clip").unwrap()
}

fn clipped(bounds: &[(f64, f64)]) -> Graph {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[64]);
    let eight = filled(&mut g, &[1], 8.0);
    let mut v = binary(&mut g, Binary::Mul, x, eight);
    for &(low, high) in bounds {
        v = clip(&mut g, v, low, high);
    }
    g.mark_output("y", v);
    g
}

fn result(g: &Graph) -> Option<Bounds> {
    clamp(pointwise(g, g.outputs()[0].1.node()).unwrap())
}

const INF: f64 = f64::INFINITY;

#[test]
fn merges_to_one_interval() {
    for (bounds, want) in [
        (vec![(0.0, INF), (-1.0, 6.0)], (0.0, 6.0)),
        (vec![(-2.0, 3.0), (0.0, INF)], (0.0, 3.0)),
        (vec![(-INF, 5.0), (1.0, INF), (-3.0, 4.0)], (1.0, 4.0)),
        // Bounds that do not meet leave one value.
        (vec![(-4.0, -2.0), (1.0, 2.0)], (1.0, 1.0)),
    ] {
        let after = check(NAME, &clipped(&bounds));
        assert_eq!(result(&after), Some(Bounds { low: want.0, high: want.1 }), "{bounds:?}");
        assert_eq!(after.len(), 4, "{bounds:?}");
    }
}

#[test]
fn a_clamp_inside_its_bounds_goes_whoever_reads() {
    let mut g = clipped(&[(0.0, 1.0), (0.0, INF)]);
    let inner = g.producer(g.outputs()[0].1).inputs()[0];
    let z = unary(&mut g, Unary::Exp, inner);
    g.mark_output("z", z);
    let after = check(NAME, &g);
    assert_eq!(result(&after), Some(Bounds { low: 0.0, high: 1.0 }));

    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[9]);
    let s = unary(&mut g, Unary::Sigmoid, x);
    let y = clip(&mut g, s, 0.0, 6.0);
    g.mark_output("y", y);
    assert_eq!(ops(&check(NAME, &g)), ["pointwise"]);
}

#[test]
fn a_narrower_clamp_of_a_value_read_elsewhere_stays() {
    let mut g = clipped(&[(0.0, INF), (0.0, 6.0)]);
    let inner = g.producer(g.outputs()[0].1).inputs()[0];
    g.mark_output("z", inner);
    unchanged(NAME, &g);
}

#[test]
fn other_functions_stay() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[9]);
    let s = unary(&mut g, Unary::Tanh, x);
    let y = unary(&mut g, Unary::Relu, s);
    g.mark_output("y", y);
    unchanged(NAME, &g);
}

use super::*;
use crate::testing::*;
use tactician_ir::{Conv, Scalar};

const NAME: &str = "pad_into_conv";

fn padded(pads: [(usize, usize); 4], mode: PadMode) -> (Graph, tactician_ir::ValueId) {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[1, 2, 6, 7]);
    let p = g.add(Op::Pad(Pad { pads: pads.to_vec(), mode }), &[x], "p").unwrap();
    (g, p)
}

fn fill(value: f32) -> PadMode {
    PadMode::Constant(Scalar::f32(value))
}

const SPATIAL: [(usize, usize); 4] = [(0, 0), (0, 0), (1, 0), (0, 1)];

fn convolved(pads: [(usize, usize); 4], mode: PadMode) -> Graph {
    let (mut g, p) = padded(pads, mode);
    let channels = g.ty(p).sizes().unwrap()[1];
    let w = constant(&mut g, &[3, channels, 3, 3], 1);
    let op = Conv { strides: vec![2, 1], pads: vec![(1, 1), (0, 2)], ..Conv::unit(2) };
    let y = g.add(Op::Conv(op), &[p, w], "c").unwrap();
    g.mark_output("y", y);
    g
}

fn pooled(kind: PoolKind, pads: usize, value: f32, ceil: bool) -> Graph {
    let (mut g, p) = padded(SPATIAL, fill(value));
    let pool = Pool {
        kind,
        window: vec![3, 3],
        strides: vec![2, 2],
        pads: vec![(pads, pads); 2],
        dilations: vec![1; 2],
        ceil,
    };
    let y = g.add(Op::Pool(pool), &[p], "q").unwrap();
    g.mark_output("y", y);
    g
}

#[test]
fn convolutions_take_zeros() {
    let after = check(NAME, &convolved(SPATIAL, fill(0.0)));
    assert_eq!(ops(&after), ["const", "conv"]);
    let Op::Conv(c) = op_of(&after, after.outputs()[0].1) else { panic!() };
    assert_eq!(c.pads, [(2, 1), (0, 3)]);
}

#[test]
fn convolutions_take_nothing_else() {
    unchanged(NAME, &convolved(SPATIAL, fill(1.0)));
    unchanged(NAME, &convolved(SPATIAL, PadMode::Edge));
    unchanged(NAME, &convolved([(0, 0), (1, 0), (1, 0), (0, 0)], fill(0.0)));
    let mut g = convolved(SPATIAL, fill(0.0));
    let p = g.producer(g.outputs()[0].1).inputs()[0];
    g.mark_output("p", p);
    unchanged(NAME, &g);
}

#[test]
fn a_pad_of_the_weights_stays() {
    let mut g = Graph::new("t");
    let (x, w) = (input(&mut g, "x", &[1, 2, 6, 7]), input(&mut g, "w", &[3, 2, 2, 2]));
    let p = g.add(Op::Pad(Pad { pads: SPATIAL.to_vec(), mode: fill(0.0) }), &[w], "p").unwrap();
    let y = g.add(Op::Conv(Conv::unit(2)), &[x, p], "c").unwrap();
    g.mark_output("y", y);
    unchanged(NAME, &g);
}

#[test]
fn pools_take_what_their_padding_means() {
    let average = |count_pad| PoolKind::Average { count_pad };
    for (g, kind, first) in [
        (pooled(average(true), 1, 0.0, false), average(true), (2, 1)),
        (pooled(average(false), 0, 0.0, false), average(true), (1, 0)),
        (pooled(PoolKind::Max, 1, f32::NEG_INFINITY, false), PoolKind::Max, (2, 1)),
    ] {
        let after = check(NAME, &g);
        let Op::Pool(p) = op_of(&after, after.outputs()[0].1) else { panic!() };
        assert_eq!((p.kind, p.pads[0]), (kind, first));
    }
}

#[test]
fn pools_take_nothing_else() {
    let average = |count_pad| PoolKind::Average { count_pad };
    unchanged(NAME, &pooled(average(false), 1, 0.0, false));
    unchanged(NAME, &pooled(average(true), 0, 0.5, false));
    unchanged(NAME, &pooled(PoolKind::Max, 0, 0.0, false));
    unchanged(NAME, &pooled(PoolKind::Lp { p: 2 }, 0, 0.0, false));
    // Rounding up tells input from padding.
    unchanged(NAME, &pooled(average(true), 0, 0.0, true));
    // A window may not lie in the padding alone.
    unchanged(NAME, &pooled(average(true), 2, 0.0, false));
}

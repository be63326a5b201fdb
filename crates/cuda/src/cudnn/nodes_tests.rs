//! Pools, matrix products and normalisations: what is refused, and what cuDNN makes of them on a described H100.

use tactician_device::DeviceError;
use tactician_types::DType;

use super::cudnn_tests::{decode, encoded, library};
use super::plan::Plan;
use super::support_tests::dumped;
use super::*;

fn virtual_of(tensor: TensorSpec) -> TensorSpec {
    TensorSpec { dtype: DType::F32, role: Role::Virtual, ..tensor }
}

/// Replaces output 0 by a virtual tensor, to which a number is added.
fn plus_one(mut spec: GraphSpec) -> GraphSpec {
    let last = spec.tensors.iter().position(|t| t.role == Role::Output(0)).unwrap();
    let y = spec.tensors[last].clone();
    spec.tensors[last] = virtual_of(y.clone());
    spec.tensors.push(TensorSpec::value(y.sizes.len(), 1.0));
    spec.tensors.push(y);
    let (b, y) = (spec.tensors.len() as u16 - 2, spec.tensors.len() as u16 - 1);
    spec.nodes.push(NodeSpec::Pointwise { function: Function::Add, x: last as u16, b: Some(b), y });
    spec
}

/// A pool of 3 by 3 windows, 2 apart, of images with 64 channels.
pub(super) fn pool(dtype: DType, kind: PoolKind, channels_last: bool) -> GraphSpec {
    let tensor = if channels_last { TensorSpec::channels_last } else { TensorSpec::plain };
    GraphSpec {
        tensors: vec![
            tensor(dtype, &[2, 64, 28, 28], Role::Input(0)),
            tensor(dtype, &[2, 64, 14, 14], Role::Output(0)),
        ],
        nodes: vec![NodeSpec::Pool {
            kind,
            x: 0,
            y: 1,
            window: vec![3; 2],
            pads: vec![(1, 1); 2],
            strides: vec![2; 2],
        }],
    }
}

/// `[batch, 128, 64] · [1, 64, 96]`.
pub(super) fn matmul(dtype: DType, batch: u64) -> GraphSpec {
    GraphSpec {
        tensors: vec![
            TensorSpec::plain(dtype, &[batch, 128, 64], Role::Input(0)),
            TensorSpec::plain(dtype, &[1, 64, 96], Role::Input(1)),
            TensorSpec::plain(dtype, &[batch, 128, 96], Role::Output(0)),
        ],
        nodes: vec![NodeSpec::MatMul { a: 0, b: 1, y: 2 }],
    }
}

/// A normalisation of 4 images with 256 channels.
pub(super) fn norm(dtype: DType, kind: NormKind) -> GraphSpec {
    let side = if kind == NormKind::Instance { 14 } else { 1 };
    let of = |n: u64, side: u64, role| TensorSpec::plain(dtype, &[n, 256, side, side], role);
    GraphSpec {
        tensors: vec![
            of(4, side, Role::Input(0)),
            of(1, 1, Role::Input(1)),
            of(1, 1, Role::Input(2)),
            TensorSpec::value(4, 1e-5),
            of(4, side, Role::Output(0)),
        ],
        nodes: vec![NodeSpec::Normalize { kind, x: 0, scale: 1, bias: Some(2), epsilon: 3, y: 4 }],
    }
}

/// The attention of 2 heads and 48 queries to 80 keys, causal, its scores divided by 8.
fn attention(dtype: DType) -> GraphSpec {
    let mut g = GraphSpec { tensors: vec![], nodes: vec![] };
    let mut tensor = |t: TensorSpec| {
        g.tensors.push(t);
        g.tensors.len() as u16 - 1
    };
    let (scores, row) = ([1, 2, 48, 80], [1, 2, 48, 1]);
    let inner = |dtype, sizes: [u64; 4]| TensorSpec::plain(dtype, &sizes, Role::Virtual);
    let q = tensor(TensorSpec::plain(dtype, &[1, 2, 48, 64], Role::Input(0)));
    let k = tensor(TensorSpec {
        sizes: vec![1, 2, 64, 80],
        strides: vec![2 * 64 * 80, 64 * 80, 1, 64],
        ..TensorSpec::plain(dtype, &[1, 2, 80, 64], Role::Input(1))
    });
    let v = tensor(TensorSpec::plain(dtype, &[1, 2, 80, 64], Role::Input(2)));
    let y = tensor(TensorSpec::plain(dtype, &[1, 2, 48, 64], Role::Output(0)));
    let [scale, offset] = [TensorSpec::value(4, 0.125), TensorSpec::integer(4, 3)].map(&mut tensor);
    let hidden = tensor(TensorSpec::value(4, f32::NEG_INFINITY));
    let [product, scaled, seen, below, powers] = [0; 5].map(|_| tensor(inner(DType::F32, scores)));
    let [rows, moved, columns] = [0; 3].map(|_| tensor(inner(DType::I32, scores)));
    let condition = tensor(inner(DType::Bool, scores));
    let [largest, sum, log] = [0; 3].map(|_| tensor(inner(DType::F32, row)));
    let kept = tensor(TensorSpec::plain(DType::F32, &row, Role::Discarded));
    let weights = tensor(inner(dtype, scores));
    let pointwise = |function, x, b, y| NodeSpec::Pointwise { function, x, b, y };
    g.nodes = vec![
        NodeSpec::MatMul { a: q, b: k, y: product },
        pointwise(Function::Mul, product, Some(scale), scaled),
        pointwise(Function::Index { axis: 2 }, scaled, None, rows),
        pointwise(Function::Add, rows, Some(offset), moved),
        pointwise(Function::Index { axis: 3 }, scaled, None, columns),
        pointwise(Function::AtLeast, moved, Some(columns), condition),
        NodeSpec::Select { x: scaled, b: hidden, condition, y: seen },
        NodeSpec::Reduce { kind: ReduceKind::Max, x: seen, y: largest },
        pointwise(Function::Sub, seen, Some(largest), below),
        pointwise(Function::Exp, below, None, powers),
        NodeSpec::Reduce { kind: ReduceKind::Sum, x: powers, y: sum },
        pointwise(Function::Log, sum, None, log),
        pointwise(Function::Add, largest, Some(log), kept),
        pointwise(Function::Div, powers, Some(sum), weights),
        NodeSpec::MatMul { a: weights, b: v, y },
    ];
    g
}

/// Everything that is asked, by name.
pub(super) fn questions() -> Vec<(String, GraphSpec)> {
    let mut list = Vec::new();
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        for (name, kind) in [
            ("largest", PoolKind::Max),
            ("mean", PoolKind::Mean { count_pad: false }),
            ("mean with padding", PoolKind::Mean { count_pad: true }),
        ] {
            list.push((format!("{dtype} {name}, nhwc"), pool(dtype, kind, true)));
            list.push((format!("{dtype} {name} plus one, nhwc"), plus_one(pool(dtype, kind, true))));
            list.push((format!("{dtype} {name}, plain"), pool(dtype, kind, false)));
        }
        for batch in [1, 6] {
            list.push((format!("{dtype} product of {batch}"), matmul(dtype, batch)));
            list.push((format!("{dtype} product of {batch} plus one"), plus_one(matmul(dtype, batch))));
        }
        for kind in [NormKind::Layer, NormKind::Rms, NormKind::Instance] {
            list.push((format!("{dtype} {kind:?} norm"), norm(dtype, kind)));
        }
        list.push((format!("{dtype} attention"), attention(dtype)));
    }
    list
}

fn step(graph: GraphSpec) -> CudnnStep {
    CudnnStep { graph, engine: 4, knobs: vec![(24, 12)], workspace: 1000, plan: None }
}

/// Damages the first node's graph in every way and expects each to be refused.
fn refuses(good: GraphSpec, damage: &[(&str, fn(&mut GraphSpec))]) {
    let good = step(good);
    let (params, args) = encoded(&good);
    let scratch = good.scratch();
    assert_eq!(decode(&params, &args, scratch).unwrap(), good);
    for cut in 0..params.len() {
        assert!(decode(&params[..cut], &args, scratch).is_err(), "{cut} bytes");
    }
    for (what, damage) in damage {
        let mut step = good.clone();
        damage(&mut step.graph);
        let (params, _) = encoded(&step);
        let refused = decode(&params, &args, scratch);
        assert!(matches!(refused, Err(DeviceError::BadStep { .. })), "{what}: {refused:?}");
    }
}

#[test]
fn hostile_pools_are_refused() {
    macro_rules! node {
        ($graph:ident, $field:ident) => {{
            let NodeSpec::Pool { $field, .. } = &mut $graph.nodes[0] else { panic!("a pool") };
            $field
        }};
    }
    refuses(
        plus_one(pool(DType::F16, PoolKind::Max, true)),
        &[
            ("window 0", |g| node!(g, window)[0] = 0),
            ("a huge window", |g| node!(g, window)[0] = u32::MAX),
            ("another window", |g| node!(g, window)[0] = 5),
            ("one window", |g| node!(g, window).truncate(1)),
            ("stride 0", |g| node!(g, strides)[1] = 0),
            ("another stride", |g| node!(g, strides)[1] = 1),
            ("three strides", |g| node!(g, strides).push(1)),
            ("a huge pad", |g| node!(g, pads)[0].0 = u32::MAX),
            ("a window of padding", |g| {
                node!(g, pads)[0] = (3, 0);
            }),
            ("no pads", |g| node!(g, pads).clear()),
            ("other channels", |g| g.tensors[0].sizes[1] = 63),
            ("a smaller input", |g| g.tensors[0].sizes[2] = 20),
            ("an input that is not there", |g| *node!(g, x) = 9),
            ("a value of two", |g| g.tensors[2].sizes[1] = 2),
            ("a short value", |g| g.tensors[2].dtype = DType::F16),
            ("a value that is written", |g| *node!(g, y) = 2),
            ("an output by value", |g| g.tensors[3].role = Role::Value(0)),
        ],
    );
}

#[test]
fn hostile_products_and_norms_are_refused() {
    refuses(
        matmul(DType::F16, 6),
        &[
            ("a size without a stride", |g| g.tensors.iter_mut().for_each(|t| t.sizes.push(1))),
            ("rank 5", |g| {
                for t in &mut g.tensors {
                    (t.sizes, t.strides) =
                        ([&[1, 1][..], &t.sizes].concat(), [&[1, 1][..], &t.strides].concat());
                }
            }),
            ("another depth", |g| g.tensors[1].sizes[1] = 63),
            ("another batch", |g| g.tensors[1].sizes[0] = 2),
            ("fewer rows", |g| g.tensors[0].sizes[1] = 127),
            ("two types", |g| g.tensors[1].dtype = DType::BF16),
            ("a longer stride", |g| g.tensors[0].strides[0] *= 2),
            ("a factor by value", |g| g.tensors[1].role = Role::Value(0)),
        ],
    );
    refuses(
        norm(DType::F16, NormKind::Layer),
        &[
            ("an epsilon in memory", |g| {
                g.tensors[3].role = Role::Input(3);
            }),
            ("another scale", |g| g.tensors[1].sizes[1] = 255),
            ("another bias", |g| g.tensors[2].sizes[0] = 4),
            ("pixels", |g| {
                for t in [0, 4] {
                    (g.tensors[t].sizes[1], g.tensors[t].sizes[2]) = (128, 2);
                }
            }),
            ("a smaller result", |g| g.tensors[4].sizes[0] = 3),
        ],
    );
}

#[test]
fn hostile_attention_is_refused() {
    macro_rules! node {
        ($graph:ident, $at:literal, $kind:ident, $field:ident) => {{
            let NodeSpec::$kind { $field, .. } = &mut $graph.nodes[$at] else { panic!("another node") };
            $field
        }};
    }
    refuses(
        attention(DType::F16),
        &[
            ("heads that do not divide", |g| g.tensors[1].sizes[1] = 3),
            ("no heads", |g| g.tensors[1].sizes.truncate(3)),
            ("an axis that is not there", |g| {
                *node!(g, 2, Pointwise, function) = Function::Index { axis: 4 };
            }),
            ("positions as floats", |g| g.tensors[12].dtype = DType::F32),
            ("a comparison of i32", |g| g.tensors[15].dtype = DType::I32),
            ("a condition that is a score", |g| *node!(g, 6, Select, condition) = 7),
            ("a condition for each row", |g| g.tensors[15].sizes[3] = 1),
            ("half of a sum", |g| g.tensors[17].sizes[2] = 24),
            ("an i32 in memory", |g| g.tensors[0].dtype = DType::I32),
            ("a bool in scratch", |g| g.tensors[19].dtype = DType::Bool),
            ("what is discarded as an output", |g| g.tensors[19].role = Role::Output(1)),
        ],
    );
}

/// What is discarded lies before cuDNN's own scratch, and counts.
#[test]
fn what_is_discarded_takes_scratch() {
    let graph = attention(DType::F16);
    assert_eq!(graph.discarded(), ([(19, 0)].into(), 512));
    let good = step(graph);
    assert_eq!(good.scratch(), 1512);
    let (params, args) = encoded(&good);
    assert_eq!(decode(&params, &args, 1512).unwrap(), good);
    assert!(matches!(decode(&params, &args, 1511), Err(DeviceError::BadStep { .. })));
}

/// Plans of engines that are compiled now, where that is possible: with a driver, or what `cargo xtask cudnn` puts in its
/// place.
#[test]
fn plans_are_made_and_read_again() {
    let Some(cudnn) = library() else { return };
    let mut built = 0;
    for (name, spec) in questions() {
        let list = engines::list(cudnn, &spec, &dumped()).unwrap();
        // One of each engine: the others differ in settings.
        let mut seen = std::collections::BTreeSet::new();
        let mut right = 0;
        for c in list.iter().filter(|c| seen.insert(c.engine)) {
            // Some engines that cuDNN proposes can be made with a GPU alone.
            let Ok(plan) = Plan::build(cudnn, &dumped(), &spec, c.engine, &c.knobs) else { continue };
            assert!(plan.workspace().unwrap() <= c.workspace, "{name}: {c}");
            let text = plan.text().unwrap();
            let step = CudnnStep::new(spec.clone(), c);
            assert!(step.is_plan_of_this(&text), "{name}: {c}: its own plan is refused");
            let flipped = text.replace("\"isByValue\":true", "\"isByValue\":false");
            assert!(flipped == text || !step.is_plan_of_this(&flipped), "{name}: {c}");
            assert!(Plan::read(cudnn, &dumped(), &text).is_ok(), "{name}: {c}: cannot be read again");
            right += 1;
        }
        assert!(list.is_empty() || right > 0, "{name}: none of {} engines can be made", list.len());
        built += right;
    }
    assert!(built >= 9, "plans of {built} engines");
}

//! Expressions, movement, resampling and changes of layout.

use super::*;

#[test]
fn pointwise() {
    let x: Given<'_> = (&[2, 18, 7, 9], F, false);
    let two = |op| Op::Pointwise(Expr::binary(op));
    let mut list = vec![
        problem(Op::Pointwise(silu().0), &[x], &[]),
        problem(two(Binary::Add), &[x, x], &[relu()]),
        problem(two(Binary::Mul), &[x, (&[2, 18, 1, 1], F, false)], &[]),
        problem(two(Binary::Sub), &[x, (&[18, 1, 1], F, true)], &[]),
        problem(two(Binary::Div), &[x, (&[9], F, true)], &[]),
        problem(two(Binary::Max), &[x, (&[], F, true)], &[]),
        problem(two(Binary::Add), &[(&[5, 1, 3], F, false), (&[4, 1], F, false)], &[]),
        problem(Op::Pointwise(Expr::unary(Unary::Relu)), &[(&[], F, false)], &[]),
        problem(two(Binary::Add), &[(&[300], DType::I64, false), (&[300], DType::I64, true)], &[]),
        problem(two(Binary::Lt), &[(&[3, 5], F, false), (&[5], F, false)], &[]),
        problem(two(Binary::And), &[(&[33], DType::Bool, false), (&[33], DType::Bool, false)], &[]),
        problem(Op::Pointwise(Expr::unary(Unary::Relu)), &[(&[3, 7], DType::F16, false)], &[]),
        problem(two(Binary::Mul), &[(&[3, 7], DType::F64, false), (&[7], DType::F64, true)], &[]),
    ];
    let mut pairs: Vec<(DType, DType)> =
        [DType::I32, DType::F16, DType::BF16, DType::F64, DType::Bool, DType::U8].map(|to| (F, to)).into();
    for narrow in DType::ALL.into_iter().filter(|t| t.is_narrow()) {
        pairs.extend([(F, narrow), (narrow, F), (DType::F16, narrow), (narrow, DType::I32)]);
        let choice = Expr::from_nodes(vec![
            ExprNode::Input(0),
            ExprNode::Input(1),
            ExprNode::Input(2),
            ExprNode::Select(0, 1, 2),
        ]);
        let x: Given<'_> = (&[7, 9], narrow, false);
        let c: Given<'_> = (&[7, 1], DType::Bool, false);
        list.push(problem(Op::Pointwise(choice.unwrap()), &[c, x, (&[9], narrow, true)], &[]));
    }
    for (from, to) in pairs {
        let mut e = Expr::empty();
        let v = e.push(ExprNode::Input(0));
        e.push(ExprNode::Cast(to, v));
        list.push(problem(Op::Pointwise(e), &[(&[4, 9], from, false)], &[]));
    }
    all_pass(&list);
}

#[test]
fn movement() {
    let types = [F, DType::I64, DType::F16, DType::Bool, DType::F8E5M2, DType::I4];
    let mut list = Vec::new();
    for t in types {
        let x: Given<'_> = (&[2, 32, 5, 6], t, false);
        list.push(problem(Op::Reshape(Reshape { shape: Shape::known(&[64, 30]) }), &[x], &[]));
        list.push(problem(Op::Transpose(Transpose { perm: vec![0, 2, 3, 1] }), &[x], &[]));
        list.push(problem(Op::Transpose(Transpose { perm: vec![3, 1, 0, 2] }), &[x], &[]));
        list.push(problem(
            Op::Expand(Expand { shape: Shape::known(&[3, 2, 7]) }),
            &[(&[3, 1, 7], t, false)],
            &[],
        ));
        let part = |axis, start: i64, len: i64, step| SliceAxis {
            axis,
            start: Dim::known(start),
            len: Dim::known(len),
            step,
        };
        list.push(problem(Op::Slice(Slice { axes: vec![part(1, 16, 16, 1), part(3, 5, 3, -2)] }), &[x], &[]));
        list.push(problem(Op::Slice(Slice { axes: vec![part(1, 16, 16, 1)] }), &[x], &[]));
        list.push(problem(
            Op::Concat(Concat { axis: 1 }),
            &[x, (&[2, 16, 5, 6], t, false), (&[2, 3, 5, 6], t, false)],
            &[],
        ));
        list.push(problem(Op::Concat(Concat { axis: 3 }), &[x, (&[2, 32, 5, 1], t, true)], &[]));
        for mode in [PadMode::Constant(Scalar::of(t, 1.0)), PadMode::Reflect, PadMode::Edge, PadMode::Wrap] {
            list.push(problem(Op::Pad(Pad { pads: vec![(0, 0), (0, 0), (1, 2), (3, 0)], mode }), &[x], &[]));
        }
        list.push(problem(Op::Gather(Gather { axis: 1 }), &[x, (&[3, 2], DType::I64, false)], &[]));
        list.push(problem(
            Op::GatherElements(GatherElements { axis: 3 }),
            &[x, (&[2, 32, 5, 4], DType::I32, false)],
            &[],
        ));
        let reductions = [ScatterReduction::Replace, ScatterReduction::Add, ScatterReduction::Max];
        for reduction in reductions.into_iter().take(if t.is_float() || t.is_int() { 3 } else { 1 }) {
            let op = ScatterElements { axis: 1, reduction };
            let part: &[usize] = &[2, 9, 5, 4];
            list.push(problem(
                Op::ScatterElements(op),
                &[x, (part, DType::I64, false), (part, x.1, false)],
                &[],
            ));
        }
        let own = x.1;
        let same =
            DType::ALL.into_iter().filter(|t| t.bits() == own.bits() && own.bits() >= 8 && *t != DType::Bool);
        list.extend(same.map(|to| problem(Op::BitCast(BitCast { to }), &[x], &[])));
        // There is no order of narrow types.
        let orders = [(3, 3, true), (1, 32, false)].into_iter().filter(|_| !t.is_narrow());
        list.extend(orders.map(|(axis, k, largest)| problem(Op::TopK(TopK { axis, k, largest }), &[x], &[])));
    }
    all_pass(&list);
}

#[test]
fn resampling() {
    let mut list = Vec::new();
    let modes = [
        ResizeMode::Nearest(NearestMode::RoundPreferFloor),
        ResizeMode::Nearest(NearestMode::Ceil),
        ResizeMode::Linear { antialias: false },
        ResizeMode::Cubic { coefficient: -0.75, exclude_outside: false, antialias: false },
    ];
    for mode in modes {
        for coordinates in
            [CoordinateMode::HalfPixel, CoordinateMode::Asymmetric, CoordinateMode::AlignCorners]
        {
            for (h, w) in [(10usize, 12usize), (3, 9)] {
                let axis = |axis, size: usize, from: f32| ResizeAxis {
                    axis,
                    size: Dim::from(size),
                    scale: size as f32 / from,
                    roi: (0.0, 1.0),
                };
                let op = Resize {
                    axes: vec![axis(2, h, 5.0), axis(3, w, 6.0)],
                    mode,
                    coordinates,
                    extrapolation: 0.0,
                };
                list.push(problem(Op::Resize(op), &[(&[2, 18, 5, 6], F, false)], &[]));
            }
        }
    }
    all_pass(&list);
}

#[test]
fn layouts_change_both_ways() {
    let identity = || Op::Pointwise(Expr::identity());
    all_pass(&[
        problem(identity(), &[(&[2, 19, 5, 6], F, false)], &[]),
        problem(identity(), &[(&[1, 32, 7], F, false)], &[]),
        problem(identity(), &[(&[2, 3, 4, 5], DType::F16, false)], &[]),
        problem(identity(), &[(&[6, 5], F, false)], &[]),
    ]);
}

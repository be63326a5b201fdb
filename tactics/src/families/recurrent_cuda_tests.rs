use super::*;
use crate::pointwise_cuda::tests::gpu;
use tactician_ir::{Operand, TensorType};
use tactician_types::{Expr, RecurrentDirection, RecurrentKind};

/// A problem of one layer, whose operands are no constants.
fn sample(layer: &Recurrent, dtype: DType, [time, batch, width, hidden]: [usize; 4]) -> Problem {
    let (d, rows) = (layer.direction.count(), layer.kind.gates() * hidden);
    let mut types: Vec<TensorType> = [[time, batch, width], [d, rows, width], [d, rows, hidden]]
        .iter()
        .map(|sizes| TensorType::known(dtype, sizes))
        .collect();
    let state = vec![d, batch, hidden];
    for (which, dtype, sizes) in [
        (RecurrentOperand::Bias, dtype, vec![d, 2 * rows]),
        (RecurrentOperand::Lengths, DType::I32, vec![batch]),
        (RecurrentOperand::InitialH, dtype, state.clone()),
        (RecurrentOperand::InitialC, dtype, state),
        (RecurrentOperand::Peepholes, dtype, vec![d, 3 * hidden]),
    ] {
        if layer.operand(which).is_some() {
            types.push(TensorType::known(dtype, &sizes));
        }
    }
    let anchor = Op::Recurrent(layer.clone());
    let result = anchor.infer(&types.iter().collect::<Vec<_>>()).unwrap().remove(0);
    Problem {
        anchor,
        anchor_operands: types.len(),
        operands: types.into_iter().map(|ty| Operand { ty, constant: false }).collect(),
        epilogue: Expr::identity(),
        output: result.clone(),
        result,
    }
}

fn plain(kind: RecurrentKind) -> Recurrent {
    Recurrent::new(kind, RecurrentDirection::Forward)
}

fn full(kind: RecurrentKind) -> Recurrent {
    let lstm = kind == RecurrentKind::Lstm;
    Recurrent {
        bias: true,
        lengths: true,
        initial_h: true,
        initial_c: lstm,
        peepholes: lstm,
        ..Recurrent::new(kind, RecurrentDirection::Bidirectional)
    }
}

fn ids(p: &Problem, device: &DeviceInfo) -> Vec<String> {
    FAMILY.tactics(p, device).into_iter().map(|t| t.id).collect()
}

fn launches(t: &Tactic, p: &Problem) -> Vec<Launch> {
    let emission = t.emit(&vec![None; p.operands.len()]).unwrap();
    assert_eq!(emission.steps.len(), 1, "{}", t.id);
    let Launches(list) = postcard::from_bytes(&emission.steps[0].params).unwrap();
    list
}

#[test]
fn every_tactic_stays_within_the_limits_of_a_gpu() {
    let cuda = CudaInfo::h100();
    for kind in [RecurrentKind::Rnn, RecurrentKind::Gru, RecurrentKind::Lstm] {
        for (layer, linear) in [(plain(kind), false), (full(kind), false), (full(kind), true)] {
            let layer = Recurrent { linear_before_reset: linear && kind == RecurrentKind::Gru, ..layer };
            for dtype in [DType::F32, DType::F16, DType::BF16] {
                for sizes in [[1, 1, 3, 5], [40, 33, 31, 128], [7, 9, 64, 256], [100, 64, 512, 1024], [12, 2, 0, 1]] {
                    let p = sample(&layer, dtype, sizes);
                    let list = FAMILY.tactics(&p, &gpu());
                    assert!(list.iter().any(|t| t.workspace == 0), "{dtype} {sizes:?}");
                    for t in list {
                        let products = sizes[..2].iter().product::<usize>() * 4;
                        let rows = layer.direction.count() * kind.gates() * sizes[3];
                        let ahead = t.id.ends_with(".ahead");
                        assert_eq!(t.workspace, if ahead { (products * rows) as u64 } else { 0 }, "{}", t.id);
                        let text = t.code().unwrap().text.clone();
                        let list = launches(&t, &p);
                        assert!(list.len() <= Launches::MOST);
                        for l in list {
                            assert!(text.contains(&format!("{}(", l.entry)), "{} {}", t.id, l.entry);
                            assert!(l.grid.iter().all(|&n| n > 0) && l.grid[1] < 1 << 16, "{}", t.id);
                            assert!(l.grid[0].is_multiple_of(l.cluster[0]), "{}", t.id);
                            assert!(u64::from(l.shared) <= cuda.shared_bytes && l.block[0] <= 512, "{}", t.id);
                            // Input, outputs, and scratch where there is some.
                            let spans = p.operands.len() + 1 + usize::from(ahead);
                            let inside = |a: &LaunchArg| !matches!(a, LaunchArg::Span(i) if *i as usize >= spans);
                            assert!(l.args.iter().all(inside), "{}", t.id);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn tactics_follow_sizes_and_types() {
    let of = |kind, dtype, sizes| ids(&sample(&plain(kind), dtype, sizes), &gpu());
    let want = [
        "recurrent.cuda/cluster8.s8.held.ahead",
        "recurrent.cuda/cluster8.s8.held",
        "recurrent.cuda/cluster4.s8.held.ahead",
        "recurrent.cuda/block.s8.held.ahead",
        "recurrent.cuda/block.s8.held",
        "recurrent.cuda/step.s8w4.ahead",
        "recurrent.cuda/step.s8w4",
    ];
    assert_eq!(of(RecurrentKind::Lstm, DType::F16, [50, 4, 64, 96]), want);
    // All units of few blocks, which no cluster shares, and a single sequence.
    let want = [
        "recurrent.cuda/block.s1.held.ahead",
        "recurrent.cuda/block.s1.held",
        "recurrent.cuda/step.s1w4.ahead",
        "recurrent.cuda/step.s1w4",
    ];
    assert_eq!(of(RecurrentKind::Gru, DType::F32, [5, 1, 3, 9]), want);
    // Weights too large to be held, and for a block to read them.
    let large = of(RecurrentKind::Lstm, DType::F32, [50, 16, 512, 1024]);
    assert_eq!(large[0], "recurrent.cuda/step.s16w8.ahead");
    assert!(!large.iter().any(|id| id.contains("held") || id.contains("block")), "{large:?}");
    // More steps than may be launched.
    let long = of(RecurrentKind::Rnn, DType::F32, [5000, 1, 8, 600]);
    assert!(!long.is_empty() && !long.iter().any(|id| id.contains("/step")), "{long:?}");
}

#[test]
fn clusters_only_where_there_are_some() {
    let p = sample(&plain(RecurrentKind::Lstm), DType::F16, [50, 4, 64, 96]);
    let ampere = CudaInfo { capability: (8, 0), shared_bytes: 166_912, ..CudaInfo::h100() }.on_paper();
    let list = ids(&p, &ampere);
    assert!(!list.is_empty() && !list.iter().any(|id| id.contains("cluster")), "{list:?}");
    for t in FAMILY.tactics(&p, &ampere) {
        assert!(launches(&t, &p).iter().all(|l| l.cluster == [1; 3] && !l.overlaps), "{}", t.id);
    }
}

#[test]
fn steps_are_launched_in_order() {
    let entries = |layer: &Recurrent, id: &str| {
        let p = sample(layer, DType::F32, [3, 2, 8, 16]);
        let list = FAMILY.tactics(&p, &gpu());
        let t = list.iter().find(|t| t.id == id).unwrap();
        launches(t, &p).into_iter().map(|l| l.entry).collect::<Vec<_>>()
    };
    let (step, keep) = ("recurrent_step", "recurrent_keep");
    let lstm = plain(RecurrentKind::Lstm);
    assert_eq!(entries(&lstm, "recurrent.cuda/step.s2w4"), [step; 3]);
    assert_eq!(entries(&lstm, "recurrent.cuda/step.s2w4.ahead"), ["gemm_simt", step, step, step]);
    let gru = plain(RecurrentKind::Gru);
    let want = [step, keep, step, keep, step, "recurrent_end"];
    assert_eq!(entries(&gru, "recurrent.cuda/step.s2w4"), want);
    let known = Recurrent { initial_h: true, ..gru.clone() };
    assert_eq!(entries(&known, "recurrent.cuda/step.s2w4")[..2], [keep, step]);
    let linear = Recurrent { linear_before_reset: true, ..gru };
    assert_eq!(entries(&linear, "recurrent.cuda/step.s2w4"), [step; 3]);
}

#[test]
fn what_is_empty_too_large_or_of_another_type_is_refused() {
    let layer = plain(RecurrentKind::Lstm);
    let of = |dtype, sizes| ids(&sample(&layer, dtype, sizes), &gpu());
    for sizes in [[0, 2, 3, 4], [3, 0, 3, 4], [3, 2, 3, 0], [1 << 16, 1 << 10, 1, 64]] {
        assert!(of(DType::F32, sizes).is_empty(), "{sizes:?}");
    }
    assert!(of(DType::F64, [3, 2, 3, 4]).is_empty());
    // Without inputs there is nothing to make ahead.
    assert!(of(DType::F32, [3, 2, 0, 4]).iter().all(|id| !id.ends_with("ahead")));
    let old = CudaInfo { capability: (7, 5), ..CudaInfo::h100() }.on_paper();
    assert!(ids(&sample(&layer, DType::F32, [3, 2, 3, 4]), &old).is_empty());
}

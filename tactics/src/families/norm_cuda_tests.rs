use super::*;
use crate::pointwise_cuda::tests::{ids, problem};
use tactician_types::DType;

#[test]
fn groups_reach_their_own_elements() {
    let sizes = [2usize, 12, 5, 3];
    let pixels = 15;
    for layout in [Layout::Plain, Layout::ChannelsLast] {
        for groups in [1, 3, 12] {
            let r = Rows::groups("group", &sizes, groups, 1e-5, layout).unwrap();
            let mut seen = vec![false; 2 * 12 * pixels];
            for row in 0..r.rows {
                let base = row / r.groups * r.outer_step + row % r.groups * r.group_step;
                for i in 0..r.n {
                    let at = (base + i / r.inner * r.step + i % r.inner) as usize;
                    let (image, channel) = match layout {
                        Layout::Plain => (at / 12 / pixels, at / pixels % 12),
                        _ => (at / 12 / pixels, at % 12),
                    };
                    assert_eq!((image, channel * groups / 12), (row as usize / groups, row as usize % groups));
                    assert!(!std::mem::replace(&mut seen[at], true));
                }
            }
            assert!(seen.iter().all(|&s| s));
        }
    }
}

#[test]
fn every_norm_is_served() {
    let (x, c): (&[usize], &[usize]) = (&[2, 16, 4, 4], &[16]);
    let of = |op, operands: &[&[usize]]| ids(&FAMILY, &problem(op, DType::F16, operands));
    let group = Op::GroupNorm(tactician_ir::GroupNorm { groups: 2, epsilon: 1e-5 });
    assert_eq!(of(group, &[x, c, c]), ["norm.cuda/group.rows32.v8", "norm.cuda/group-nhwc.rows32.v8"]);
    let layer = Op::LayerNorm(tactician_ir::LayerNorm { axis: 1, epsilon: 1e-5 });
    let want = ["norm.cuda/layer.rows32.v8", "norm.cuda/layer.rows256.v8"];
    assert_eq!(of(layer, &[&[4, 768], &[768], &[768]]), want);
    let lrn = Op::Lrn(Lrn { size: 5, alpha: 1e-4, beta: 0.75, bias: 1.0 });
    assert_eq!(of(lrn, &[x]), ["norm.cuda/lrn-plain", "norm.cuda/lrn-nhwc"]);
}

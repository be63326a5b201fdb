use tactician_cuda::cudnn::Role;
use tactician_ir::{GroupNorm, InstanceNorm, LayerNorm, RmsNorm};
use tactician_types::{DType, Expr};

use super::*;
use crate::cudnn::tests::{listed, operation};

fn layer(dtype: DType, x: &[usize], axis: usize, parameters: &[&[usize]]) -> Problem {
    of(dtype, Op::LayerNorm(LayerNorm { axis, epsilon: 1e-5 }), x, parameters)
}

fn of(dtype: DType, op: Op, x: &[usize], parameters: &[&[usize]]) -> Problem {
    let operands: Vec<&[usize]> = [x].into_iter().chain(parameters.iter().copied()).collect();
    operation(dtype, op, operands.len(), &operands, x, Expr::identity())
}

#[test]
fn rows_are_images_of_channels() {
    let p = layer(DType::F16, &[2, 5, 3, 4], 2, &[&[3, 4], &[3, 4]]);
    let call = tail(&p, NormKind::Layer, 2, 1e-5).unwrap();
    let sizes: Vec<&[u64]> = call.graph.tensors.iter().map(|t| &t.sizes[..]).collect();
    let [x, parameter, one] = [[10, 12, 1, 1], [1, 12, 1, 1], [1; 4]];
    assert_eq!(sizes, [&x[..], &parameter, &parameter, &one, &x]);
    assert_eq!(call.graph.tensors[3].role, Role::Value(1e-5f32.to_bits()));
    assert_eq!(call.graph.tensors[0].strides[..2], [12, 1]);
    // Over everything, and with a scale that is no whole row.
    assert!(tail(&layer(DType::F16, &[3, 4], 0, &[&[3, 4]]), NormKind::Layer, 0, 0.0).is_some());
    assert!(tail(&layer(DType::F16, &[2, 3, 4], 1, &[&[4]]), NormKind::Layer, 1, 0.0).is_none());
}

#[test]
fn lists_tactics_where_cudnn_is() {
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        let row: &[usize] = &[768];
        listed(&FAMILY, &layer(dtype, &[1, 128, 768], 2, &[row, row]), "norm.cudnn/layer.e", true);
        listed(&FAMILY, &layer(dtype, &[1, 128, 768], 2, &[row]), "norm.cudnn/layer.e", true);
        let rms = Op::RmsNorm(RmsNorm { axis: 2, epsilon: 1e-5 });
        listed(&FAMILY, &of(dtype, rms, &[1, 128, 768], &[row]), "norm.cudnn/rms.e", true);
        let c: &[usize] = &[64];
        let instance = Op::InstanceNorm(InstanceNorm { epsilon: 1e-5 });
        let list = listed(&FAMILY, &of(dtype, instance, &[2, 64, 14, 14], &[c, c]), "norm.cudnn/instance-", true);
        for t in &list {
            let layout = if t.id.contains("-nhwc.") { Layout::ChannelsLast } else { Layout::Plain };
            assert_eq!((t.inputs[0], t.output), (layout, layout));
        }
        let group = Op::GroupNorm(GroupNorm { groups: 8, epsilon: 1e-5 });
        let p = of(dtype, group, &[2, 64, 14, 14], &[c, c]);
        assert!(FAMILY.tactics(&p, &crate::cudnn::tests::h100()).is_empty());
    }
}

#[test]
fn the_engine_that_changes_from_run_to_run_is_known_by_its_name() {
    for (id, bad) in [("norm.cudnn/layer.e4.k24=0", true), ("norm.cudnn/rms.e4", true), ("norm.cudnn/layer.e41.k4=4", false)] {
        assert_eq!(from_run_to_run(id), bad, "{id}");
    }
}

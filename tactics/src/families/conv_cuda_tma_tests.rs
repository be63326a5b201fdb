use tactician_types::DType;

use super::*;
use crate::conv_cuda_mma::tests::{conv, h100};

fn ids(problem: &Problem) -> Vec<String> {
    FAMILY.tactics(problem, &h100()).into_iter().map(|t| t.id).collect()
}

#[test]
fn serves_windows_of_one_element() {
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        let p = conv(dtype, &[2, 64, 14, 14], &[96, 64, 1, 1], (1, 0, 1));
        let list = FAMILY.tactics(&p, &h100());
        assert!(!list.is_empty());
        for t in list {
            assert_eq!((t.inputs[0], t.output, t.workspace), (Layout::ChannelsLast, Layout::ChannelsLast, 0));
        }
    }
    // Rows of 24 bytes, groups, a stride, padding.
    assert!(ids(&conv(DType::F16, &[2, 12, 14, 14], &[96, 12, 1, 1], (1, 0, 1))).is_empty());
    assert!(ids(&conv(DType::F16, &[2, 64, 14, 14], &[64, 32, 1, 1], (1, 0, 2))).is_empty());
    assert!(ids(&conv(DType::F16, &[2, 64, 14, 14], &[96, 64, 1, 1], (2, 0, 1))).is_empty());
    assert!(ids(&conv(DType::F16, &[2, 64, 14, 14], &[96, 64, 1, 1], (1, 1, 1))).is_empty());
}

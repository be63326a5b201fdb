use std::collections::HashSet;

use tactician_ir::{MatMul, Op};
use tactician_kernels::tma::TMA_TILES;

use super::*;
use crate::conv_cuda_mma::tests::{h100, problem};

fn matmul(dtype: DType, trans: (bool, bool), operands: &[(&[usize], bool)]) -> Problem {
    problem(Op::MatMul(MatMul { trans_a: trans.0, trans_b: trans.1 }), dtype, 2, operands)
}

fn ids(problem: &Problem) -> Vec<String> {
    FAMILY.tactics(problem, &h100()).into_iter().map(|t| t.id).collect()
}

#[test]
fn serves_rows_along_the_depth_of_whole_chunks() {
    let served = |trans, operands: &[(&[usize], bool)]| !ids(&matmul(DType::F16, trans, operands)).is_empty();
    let yes = [(false, false), (false, true)];
    assert!(served(yes[0], &[(&[70, 72], false), (&[72, 33], true)]));
    assert!(served(yes[1], &[(&[70, 72], false), (&[33, 72], false)]));
    // The right operand lies across the depth; so does the left one.
    assert!(!served(yes[0], &[(&[70, 72], false), (&[72, 33], false)]));
    assert!(!served((true, true), &[(&[72, 70], false), (&[33, 72], false)]));
    // Rows of 140 bytes.
    assert!(!served(yes[1], &[(&[70, 70], false), (&[33, 70], false)]));
    // A single row fills no tile.
    assert!(!served(yes[1], &[(&[1, 2048], false), (&[1000, 2048], true)]));
    // One batch axis, of both, of the left operand or of the right one; not two that cannot be merged.
    assert!(served(yes[1], &[(&[3, 70, 64], false), (&[3, 40, 64], false)]));
    assert!(served(yes[1], &[(&[70, 64], false), (&[3, 40, 64], false)]));
    assert!(!served(yes[1], &[(&[2, 1, 70, 64], false), (&[3, 40, 64], false)]));
}

#[test]
fn serves_one_generation_of_gpus() {
    let p = matmul(DType::F16, (false, true), &[(&[256, 256], false), (&[256, 256], true)]);
    for capability in [(8, 0), (8, 9), (10, 0), (12, 0)] {
        let device = CudaInfo { capability, ..CudaInfo::h100() }.on_paper();
        assert!(FAMILY.tactics(&p, &device).is_empty(), "{capability:?}");
    }
    let device = CudaInfo { nvrtc: None, ..CudaInfo::h100() }.on_paper();
    assert!(FAMILY.tactics(&p, &device).is_empty());
    assert_eq!(FAMILY.tactics(&p, &h100()).len(), MOST);
}

#[test]
fn maps_describe_the_operands() {
    let m = map(1, DType::F16, [72, 33, 4], 33 * 72, 128);
    assert_eq!((m.sizes, m.steps, m.tile), (vec![72, 33, 4], vec![144, 33 * 144], vec![64, 128, 1]));
    // All products share one matrix.
    let m = map(0, DType::F32, [32, 100, 1], 0, 64);
    assert_eq!((m.sizes, m.steps, m.tile), (vec![32, 100, 1], vec![128, 12800], vec![32, 64, 1]));
}

#[test]
fn slabs_move_a_residual_of_the_output_s_type() {
    let tile = TMA_TILES.iter().find(|t| t.slabs > 0 && t.groups == 2).unwrap();
    for residual in [true, false] {
        let mut operands: Vec<(&[usize], bool)> = vec![(&[3, 70, 64], false), (&[3, 72, 64], false), (&[72], true)];
        operands.extend(residual.then_some((&[3, 70, 72][..], false)));
        let p = matmul(DType::F16, (false, true), &operands);
        let epilogue = columns_epilogue(&p).unwrap();
        let end = End::new(&p, &epilogue, tile, [72, 70, 3]).unwrap();
        let maps = |list: &[LaunchArg]| -> Vec<u16> {
            list.iter()
                .map(|a| match a {
                    LaunchArg::TensorMap(m) => {
                        assert_eq!((&m.sizes, &m.steps), (&vec![72, 70, 3], &vec![144, 10_080]));
                        assert_eq!(m.tile, [64, tile.m / 2, 1]);
                        m.span
                    }
                    other => panic!("{other:?}"),
                })
                .collect()
        };
        // The output, then the residual; the bias alone is left to be read, and nothing is raised.
        assert_eq!(maps(&end.outputs), if residual { vec![4, 3] } else { vec![3] });
        let rest = [LaunchArg::Span(2), LaunchArg::Bytes(f32::NEG_INFINITY.to_ne_bytes().to_vec())];
        assert_eq!(end.operands, rest);
        assert_eq!(end.residual, residual);
        assert_eq!(end.prelude.contains("staged"), residual);
    }
}

#[test]
fn the_grid_fills_the_device_and_no_more() {
    let rows = |m| Rows { m, n: 128, k: 1024, batches: 1, a_step: 0, b_step: 0, plane: m, constant_b: true };
    let p = matmul(DType::F16, (false, true), &[(&[256, 1024], false), (&[128, 1024], true)]);
    let epilogue = columns_epilogue(&p).unwrap();
    for tile in TMA_TILES {
        for m in [1, 300, 1 << 20] {
            let end = End::new(&p, &epilogue, tile, [128, m, 1]).unwrap();
            let l = rows(m).launch(&p, &CudaInfo::h100(), &end, tile).unwrap();
            assert_eq!((l.grid[0] % l.cluster[0], l.cluster), (0, [tile.cluster * tile.split, 1, 1]));
            if tile.split > 1 {
                // A cluster has one tile.
                let (tiles_m, tiles_n) = tile.tiles(m as u64, 128);
                assert_eq!(u64::from(l.grid[0]), tiles_m * tiles_n * u64::from(tile.split));
            } else {
                assert!(l.grid[0] <= 132 * tile.blocks, "{l:?}");
            }
            assert_eq!(l.block[0], tile.threads());
            // More where blocks would crowd.
            assert!(l.shared >= tile.shared(DType::F16), "{l:?}");
        }
    }
}

/// The shapes of `products_of_rows_on_the_gpu` (`tests/tactics/`) try every tile.
#[test]
fn shapes_of_tests_try_every_tile() {
    let mut tried = HashSet::new();
    let limits = limits(&CudaInfo::h100());
    for (m, n, k) in [
        (130, 136, 200),
        (257, 33, 72),
        (700, 520, 256),
        (81, 40, 72),
        (3 * 196, 264, 64),
        (5 * 400, 33, 32),
        (48 * 784, 256, 64),
        (21 * 784, 256, 512),
        (40 * 784, 520, 256),
        (21 * 784, 260, 512),
        (4 * 784, 260, 512),
        (1300, 1000, 192),
        (9000, 392, 128),
        (130, 136, 2048),
        (49, 264, 2048),
        (784, 520, 1024),
    ] {
        let p = Product { m, n, k, batches: 1, dtype: DType::F16 };
        for residuals in [0, 1] {
            let outputs = Outputs { dtype: DType::F16, mapped: n % 8 == 0, residuals };
            tried.extend(tma_tiles(&p, &outputs, &limits, MOST));
        }
    }
    let missed: Vec<&TmaTile> = TMA_TILES.iter().filter(|t| !tried.contains(t)).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn emits_what_it_lists() {
    let p = matmul(DType::BF16, (false, false), &[(&[64, 64], false), (&[64, 24], true), (&[24], true)]);
    let zeros = |sizes: &[usize]| {
        tactician_ir::Tensor::from_bytes(DType::BF16, sizes, vec![0; sizes.iter().product::<usize>() * 2]).unwrap()
    };
    for t in FAMILY.tactics(&p, &h100()) {
        let out = t.emit(&[None, Some(zeros(&[64, 24])), Some(zeros(&[24]))]).unwrap();
        assert_eq!((out.steps.len(), out.packed.len(), t.workspace), (1, 2, 0), "{}", t.id);
    }
}

#[test]
fn names_tell_how_f32_is_multiplied() {
    let p = matmul(DType::F32, (false, true), &[(&[256, 64], false), (&[64, 64], true)]);
    let list = FAMILY.tactics(&p, &h100());
    assert!(!list.is_empty() && list.iter().all(|t| t.id.ends_with(".tf32") && t.growth.inputs > 0.0));
}

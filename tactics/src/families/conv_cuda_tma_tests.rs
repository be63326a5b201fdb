use tactician_types::DType;

use super::*;
use crate::conv_cuda_mma::tests::{conv, h100};

fn ids(problem: &Problem) -> Vec<String> {
    FAMILY.tactics(problem, &h100()).into_iter().map(|t| t.id).collect()
}

#[test]
fn serves_whole_chunks_of_channels_in_one_group() {
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        for (window, pad) in [(1, 0), (3, 1)] {
            let p = conv(dtype, &[2, 64, 14, 14], &[96, 64, window, window], (1, pad, 1));
            let list = FAMILY.tactics(&p, &h100());
            assert!(!list.is_empty() && list.len() <= MOST);
            for t in list {
                let layouts = (t.inputs[0], t.output, t.workspace);
                assert_eq!(layouts, (Layout::ChannelsLast, Layout::ChannelsLast, 0));
                assert_eq!(t.code().unwrap().name == "gemm/tma.cu", window == 1);
            }
        }
    }
    // Rows of 24 bytes, groups, and channels that fill half of a stage.
    assert!(ids(&conv(DType::F16, &[2, 12, 14, 14], &[96, 12, 1, 1], (1, 0, 1))).is_empty());
    assert!(ids(&conv(DType::F16, &[2, 64, 14, 14], &[64, 32, 1, 1], (1, 0, 2))).is_empty());
    assert!(ids(&conv(DType::F16, &[2, 32, 14, 14], &[64, 32, 3, 3], (1, 1, 1))).is_empty());
    // Strides up to 8, and a padding of windows of one element.
    assert!(!ids(&conv(DType::F16, &[2, 64, 90, 90], &[96, 64, 1, 1], (8, 0, 1))).is_empty());
    assert!(ids(&conv(DType::F16, &[2, 64, 90, 90], &[96, 64, 1, 1], (9, 0, 1))).is_empty());
    assert!(!ids(&conv(DType::F16, &[2, 64, 14, 14], &[96, 64, 1, 1], (1, 1, 1))).is_empty());
    assert!(!ids(&conv(DType::F16, &[4, 64, 30], &[96, 64, 3], (1, 1, 1))).is_empty());
    assert!(ids(&conv(DType::F16, &[4, 64, 5, 6, 7], &[96, 64, 3, 3, 3], (1, 1, 1))).is_empty());
}

/// As an im2col copy walks: the pixel of each of `count` windows from one on, moved by an offset; `None`: outside.
fn walk_windows(map: &WindowMap, start: [i64; 3], offset: [i64; 2], count: usize) -> Vec<Option<[i64; 3]>> {
    let [_, width, height, images] = map.sizes.map(|n| n as i64);
    let end = |a: usize, size: i64| size - 1 + i64::from(map.last[a]);
    let [mut column, mut row, mut image] = start;
    (0..count)
        .map(|_| {
            let at = [column + offset[0], row + offset[1], image];
            column += i64::from(map.strides[0]);
            if column > end(0, width) {
                column = i64::from(map.first[0]);
                row += i64::from(map.strides[1]);
            }
            if row > end(1, height) {
                row = i64::from(map.first[1]);
                image += 1;
            }
            let inside = (0..width).contains(&at[0]) && (0..height).contains(&at[1]) && at[2] < images;
            inside.then_some(at)
        })
        .collect()
}

#[test]
fn copies_walk_over_windows_as_the_convolution_does() {
    for (size, window, stride, pad, dilation) in [
        ([9, 7], [3, 3], 1, 1, 1),
        ([9, 8], [3, 3], 2, 1, 1),
        ([12, 11], [3, 5], 2, 3, 2),
        ([10, 10], [1, 1], 2, 0, 1),
        ([15, 13], [7, 7], 3, 2, 1),
        ([5, 5], [2, 2], 1, 0, 3),
    ] {
        let output: [usize; 2] =
            std::array::from_fn(|a| (size[a] + 2 * pad - dilation * (window[a] - 1) - 1) / stride + 1);
        let image = Image {
            images: 3,
            channels: 64,
            filters: 64,
            groups: 1,
            input: size,
            output,
            window,
            strides: [stride; 2],
            pads: [pad; 2],
            dilations: [dilation; 2],
        };
        assert!(reachable(&image));
        let map = WindowMap {
            span: 0,
            element: 2,
            sizes: [64, size[1] as u64, size[0] as u64, 3],
            first: [-(pad as i32); 2],
            last: corners(&image).unwrap(),
            strides: [stride as u32; 2],
            channels: 64,
            pixels: 64,
            swizzle: 128,
        };
        let plane = output[0] * output[1];
        for start in (0..image.pixels()).step_by(17) {
            // As `Job::tile` of `conv/tma.cu` finds the first window of a tile.
            let at = |m: usize| {
                let (row, column) = (m % plane / output[1], m % output[1]);
                [(column * stride) as i64 - pad as i64, (row * stride) as i64 - pad as i64, (m / plane) as i64]
            };
            for (r, s) in (0..window[0]).flat_map(|r| (0..window[1]).map(move |s| (r, s))) {
                let offset = [(s * dilation) as i64, (r * dilation) as i64];
                let want: Vec<Option<[i64; 3]>> = (start..start + 64)
                    .map(|m| {
                        let [column, row, image] = at(m);
                        let there = [column + offset[0], row + offset[1], image];
                        let inside = (0..size[1] as i64).contains(&there[0])
                            && (0..size[0] as i64).contains(&there[1])
                            && image < 3;
                        inside.then_some(there)
                    })
                    .collect();
                assert_eq!(walk_windows(&map, at(start), offset, 64), want, "{image:?} from {start}");
            }
        }
    }
}

#[test]
fn maps_of_weights_are_dense() {
    let p = conv(DType::F16, &[2, 96, 14, 14], &[40, 96, 3, 3], (1, 1, 1));
    let image = Image::new(&p).unwrap();
    let tile = tactician_kernels::tma::TMA_TILES.iter().find(|t| t.cluster == 2).unwrap();
    let m = filters(DType::F16, &image, tile);
    assert_eq!((m.sizes, m.steps), (vec![96, 9, 40], vec![192, 1728]));
    assert_eq!(m.tile, [64, 1, tile.n / 2]);
}

use tactician_ir::Conv;

use crate::conv_cuda_mma::tests::{conv, h100, problem};

use super::*;

fn ids(problem: &Problem) -> Vec<String> {
    FAMILY.tactics(problem, &h100()).into_iter().map(|t| t.id).collect()
}

#[test]
fn lists_tiles_by_the_number_of_filters() {
    let p = |filters: usize| conv(DType::F16, &[32, 3, 224, 224], &[filters, 3, 7, 7], (2, 3, 1));
    assert_eq!(
        ids(&p(64)),
        [
            "conv.cuda.stem/8x16x64.w4",
            "conv.cuda.stem/16x16x64.w8",
            "conv.cuda.stem/8x8x64.w2",
            "conv.cuda.stem/8x16x64.w4.nhwc",
        ]
    );
    for (filters, tile) in [(1, 32), (32, 32), (33, 64), (96, 32), (100, 64)] {
        assert_eq!(ids(&p(filters))[0], format!("conv.cuda.stem/8x16x{tile}.w4"));
    }
    for t in FAMILY.tactics(&p(64), &h100()) {
        assert_eq!((t.workspace, t.output), (0, Layout::ChannelsLast), "{}", t.id);
        assert_eq!(t.inputs[0] == Layout::ChannelsLast, t.id.ends_with(".nhwc"), "{}", t.id);
    }
}

#[test]
fn reads_plain_images_of_f32_too() {
    for dtype in [DType::F16, DType::BF16] {
        let narrow = conv(dtype, &[1, 3, 32, 32], &[64, 3, 7, 7], (2, 3, 1));
        let stored = |t| {
            let mut p = narrow.clone();
            p.operands[0].ty.dtype = t;
            FAMILY.tactics(&p, &h100())
        };
        let (own, wide) = (stored(dtype), stored(DType::F32));
        assert_eq!(wide.len(), TILES.len());
        for (n, w) in own.iter().zip(&wide) {
            assert_eq!((&n.id, &n.inputs, n.output), (&w.id, &w.inputs, w.output));
            // Otherwise one would be taken for the other.
            assert_ne!(n.code(), w.code(), "{}", n.id);
        }
        assert!(stored(DType::F64).is_empty());
    }
}

#[test]
fn serves_short_floats_few_channels_and_small_windows() {
    let served = |dtype, x: &[usize], w: &[usize], groups| !ids(&conv(dtype, x, w, (1, 1, groups))).is_empty();
    assert!(served(DType::BF16, &[1, 4, 9, 9], &[5, 4, 8, 8], 1));
    assert!(served(DType::F16, &[1, 2, 30], &[5, 2, 5], 1));
    assert!(!served(DType::F32, &[1, 3, 9, 9], &[16, 3, 3, 3], 1));
    assert!(!served(DType::F16, &[1, 5, 9, 9], &[16, 5, 3, 3], 1));
    assert!(!served(DType::F16, &[1, 4, 9, 9], &[16, 2, 3, 3], 2));
    assert!(!served(DType::F16, &[1, 3, 9, 9], &[16, 3, 3, 9], 1));
    assert!(!served(DType::F16, &[1, 4, 19, 9], &[16, 4, 9, 5], 1));
    let dilated =
        Conv { strides: vec![1; 2], pads: vec![(0, 0); 2], dilations: vec![1, 2], groups: 1 };
    let operands: [(&[usize], bool); 2] = [(&[1, 3, 9, 9], false), (&[8, 3, 3, 3], true)];
    assert!(ids(&problem(Op::Conv(dilated), DType::F16, 2, &operands)).is_empty());
    let far = Conv { strides: vec![500, 1], pads: vec![(0, 0); 2], dilations: vec![1; 2], groups: 1 };
    assert!(ids(&problem(Op::Conv(far), DType::F16, 2, &operands)).is_empty());
}

fn image(width: usize, window: usize, stride: usize, pad: usize) -> Image {
    Image {
        images: 1,
        channels: 3,
        filters: 8,
        groups: 1,
        input: [20, width],
        output: [20, 20],
        window: [3, window],
        strides: [1, stride],
        pads: [1, pad],
        dilations: [1, 1],
    }
}

#[test]
fn windows_begin_at_words_and_patches_at_chunks() {
    for width in 1..40 {
        for window in 1..=8 {
            for (pad, most) in (0..20).flat_map(|pad| [(pad, 8), (pad, 4)]) {
                let lie = Lie::new(&image(width, window, 1, pad), Layout::Plain, most);
                assert!(width.is_multiple_of(lie.load) && lie.load <= most && lie.left.is_multiple_of(lie.load), "{lie:?}");
                assert_eq!(lie.left, pad + lie.shift + lie.extra);
                assert!(lie.extra.is_multiple_of(2) && lie.shift + window <= lie.padded, "{lie:?}");
            }
        }
    }
    let wide = Lie::new(&image(224, 7, 2, 3), Layout::Plain, 8);
    assert_eq!(wide, Lie { load: 8, shift: 1, extra: 4, padded: 8, left: 8 });
    assert_eq!(Lie::new(&image(224, 8, 2, 3), Layout::Plain, 8).load, 1);
    assert_eq!(Lie::new(&image(224, 7, 2, 3), Layout::ChannelsLast, 8).load, 1);
}

/// Banks that more than one word of a load wants, at most, over the loads of rows that lie `LINE` apart.
fn conflicts(image: &Image, tile: &Tile, most: usize) -> usize {
    let lie = Lie::new(image, Layout::Plain, most);
    let (pitch, stride) = (lie.pitch(image, tile), image.strides[1]);
    let line = pitch * (1 + stride % 2);
    let words: std::collections::BTreeSet<usize> = (0..32)
        .map(|lane| {
            let (pixel, t) = (lane / 4, lane % 4);
            let odd = pixel * stride % 2;
            let (row, column) = if lie.padded == 8 { (0, 2 * t) } else { (t / 2, t % 2 * 2) };
            (row * line + odd * pitch + lie.extra + pixel * stride - odd + column) / 2
        })
        .collect();
    (0..32).map(|bank| words.iter().filter(|&w| w % 32 == bank).count()).max().unwrap_or(0)
}

#[test]
fn lanes_read_different_banks() {
    for tile in TILES {
        for window in [3, 4, 5, 7, 8] {
            for stride in [1, 2, 4] {
                let image = image(224, window, stride, 1);
                assert_eq!([8, 4].map(|most| conflicts(&image, tile, most)), [1; 2], "{tile:?} {window} {stride}");
            }
        }
    }
}

#[test]
fn packs_every_weight_where_its_lane_looks() {
    for (count, rows, columns, tile, shift) in [(70, 21, 7, 64, 1), (33, 9, 3, 32, 0), (5, 5, 4, 32, 0)] {
        let padded: usize = if columns <= 4 { 4 } else { 8 };
        let steps = (rows * padded).div_ceil(16);
        let lie = Lie { load: 8, shift, extra: 0, padded, left: 0 };
        let filters = Filters { count, rows, columns, tile, lie, steps };
        let weights: Vec<u16> = (1..=(count * rows * columns) as u16).collect();
        let bytes = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        let tensor = Tensor::from_bytes(DType::F16, &[count, rows, columns], bytes).unwrap();
        let packed = filters.pack(&tensor).unwrap();
        let mut found = 0;
        for filter in 0..count {
            for row in 0..rows {
                for column in 0..columns {
                    let k = row * padded + column + shift;
                    let n = filter % tile;
                    let (fragment, of8) = (n / 32 * 4 + n % 8 / 2, n % 32 / 8 * 2 + n % 2);
                    let unit = (filter / tile * steps + k / 16) * (tile / 16) + fragment / 2;
                    let lane = of8 * 4 + k % 8 / 2;
                    let at = (unit * 32 + lane) * 8 + fragment % 2 * 4 + k % 16 / 8 * 2 + k % 2;
                    let weight = weights[(filter * rows + row) * columns + column];
                    assert_eq!(packed[at * 2..][..2], weight.to_le_bytes());
                    found += 1;
                }
            }
        }
        assert_eq!(packed.chunks_exact(2).filter(|w| *w != [0, 0]).count(), found);
        let short = Tensor::from_bytes(DType::F16, &[1], vec![0; 2]).unwrap();
        assert!(filters.pack(&short).is_err());
    }
}

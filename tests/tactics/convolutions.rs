//! Convolutions and their transposes.

use super::*;

#[test]
fn convolutions() {
    let x: Given<'_> = (&[1, 16, 12, 12], F, false);
    let w: Given<'_> = (&[24, 16, 3, 3], F, true);
    let bias: Given<'_> = (&[24, 1, 1], F, true);
    let full: Given<'_> = (&[1, 24, 12, 12], F, false);
    all_pass(&[
        problem(conv(2, 1, 1, 1, 1), &[x, w], &[]),
        problem(conv(2, 1, 1, 1, 1), &[x, w], &[add(bias), relu()]),
        problem(conv(2, 1, 1, 1, 1), &[x, w], &[add(bias), add(full), silu()]),
        problem(conv(2, 1, 1, 1, 1), &[x, w], &[add((&[1, 24, 12, 12], F, true))]),
        problem(conv(2, 1, 1, 1, 1), &[x, w], &[add((&[12, 12], F, false))]),
        problem(conv(2, 2, 2, 2, 1), &[x, w], &[relu()]),
        problem(conv(2, 0, 1, 1, 1), &[x, (&[40, 16, 1, 1], F, true)], &[relu()]),
        problem(conv(2, 0, 2, 1, 1), &[x, (&[40, 16, 1, 1], F, true)], &[]),
        problem(conv(2, 3, 2, 1, 1), &[(&[2, 3, 17, 19], F, false), (&[20, 3, 7, 7], F, true)], &[relu()]),
        problem(conv(2, 1, 1, 1, 16), &[x, (&[16, 1, 3, 3], F, true)], &[relu()]),
        problem(conv(2, 1, 1, 1, 16), &[x, (&[32, 1, 3, 3], F, true)], &[]),
        problem(conv(2, 1, 1, 1, 2), &[(&[1, 32, 9, 9], F, false), (&[32, 16, 3, 3], F, true)], &[relu()]),
        problem(conv(2, 1, 1, 1, 3), &[(&[1, 9, 9, 9], F, false), (&[6, 3, 3, 3], F, true)], &[]),
        problem(conv(2, 1, 1, 1, 1), &[x, (&[24, 16, 3, 3], F, false)], &[]),
        problem(conv(1, 1, 1, 1, 1), &[(&[2, 5, 30], F, false), (&[7, 5, 3], F, true)], &[relu()]),
        problem(conv(3, 1, 1, 1, 1), &[(&[1, 4, 5, 6, 7], F, false), (&[6, 4, 3, 3, 3], F, true)], &[]),
        problem(conv(2, 0, 1, 1, 1), &[(&[1, 1, 1, 1], F, false), (&[1, 1, 1, 1], F, true)], &[]),
    ]);
}

/// Few channels: windows over plain images, odd sizes and strides, filters that fill no tile.
#[test]
fn first_layers() {
    let first = |x: [usize; 4],
                 (filters, window): (usize, [usize; 2]),
                 strides: [usize; 2],
                 pads: [[usize; 2]; 2]| {
        let op = Op::Conv(Conv {
            strides: strides.to_vec(),
            pads: pads.map(|[a, b]| (a, b)).to_vec(),
            dilations: vec![1; 2],
            groups: 1,
        });
        let bias = [filters, 1, 1];
        let weights = [filters, x[1], window[0], window[1]];
        problem(op, &[(&x, F, false), (&weights, F, true)], &[add((&bias, F, true)), relu()])
    };
    all_pass(&[
        first([1, 3, 64, 64], (64, [7, 7]), [2, 2], [[3, 3], [3, 3]]),
        first([2, 3, 37, 53], (64, [7, 7]), [2, 2], [[3, 3], [3, 3]]),
        first([1, 3, 48, 40], (32, [3, 3]), [2, 2], [[1, 1], [1, 1]]),
        first([1, 3, 30, 36], (64, [3, 3]), [1, 1], [[1, 1], [1, 1]]),
        first([5, 1, 28, 28], (20, [5, 5]), [1, 1], [[2, 2], [2, 2]]),
        first([1, 3, 19, 27], (70, [5, 5]), [1, 1], [[2, 2], [2, 2]]),
        first([3, 2, 33, 34], (7, [3, 5]), [3, 3], [[0, 2], [2, 1]]),
        first([1, 4, 40, 48], (96, [4, 4]), [4, 4], [[0, 0], [0, 0]]),
        first([1, 4, 24, 32], (16, [4, 4]), [2, 2], [[1, 1], [1, 1]]),
        first([4, 3, 24, 38], (65, [8, 8]), [4, 2], [[5, 1], [5, 0]]),
        first([1, 4, 19, 22], (30, [8, 6]), [1, 3], [[9, 1], [11, 20]]),
    ]);
}

#[test]
fn transposed_convolutions() {
    let op = |stride: usize, pad: usize, extra: usize, groups: usize| {
        Op::ConvTranspose(ConvTranspose {
            strides: vec![stride; 2],
            pads: vec![(pad, pad); 2],
            dilations: vec![1; 2],
            output_padding: vec![extra; 2],
            groups,
        })
    };
    all_pass(&[
        problem(op(2, 0, 0, 1), &[(&[1, 8, 6, 7], F, false), (&[8, 5, 2, 2], F, true)], &[relu()]),
        problem(op(2, 1, 1, 1), &[(&[2, 6, 5, 5], F, false), (&[6, 4, 3, 3], F, true)], &[]),
        problem(
            op(1, 1, 0, 2),
            &[(&[1, 8, 5, 5], F, false), (&[8, 3, 3, 3], F, true)],
            &[add((&[6, 1, 1], F, true))],
        ),
    ]);
}

/// Shapes of real networks, where the tiles and splits of tensor-core kernels differ.
#[test]
fn convolutions_of_networks_on_the_gpu() {
    let c = |n: usize, c: usize, k: usize, size: usize, window: usize, stride: usize, residual: bool| {
        let out = (size + 2 * (window / 2) - window) / stride + 1;
        let (x, w) = ([n, c, size, size], [k, c, window, window]);
        let (bias, full) = ([k, 1, 1], [n, k, out, out]);
        let mut after = vec![add((&bias, F, true))];
        if residual {
            after.push(add((&full, F, false)));
        }
        after.push(relu());
        problem(conv(2, window / 2, stride, 1, 1), &[(&x, F, false), (&w, F, true)], &after)
    };
    on_gpu(&[
        c(1, 64, 64, 56, 3, 1, false),
        c(1, 64, 256, 56, 1, 1, true),
        c(2, 128, 128, 28, 3, 2, false),
        c(1, 256, 1024, 14, 1, 1, true),
        c(3, 256, 256, 14, 3, 1, false),
        c(1, 512, 512, 7, 3, 1, false),
        c(1, 1024, 2048, 14, 1, 2, false),
        c(1, 3, 64, 64, 7, 2, false),
        c(1, 24, 40, 9, 5, 1, true),
    ]);
}

/// Windows over whole images, with strides, paddings and dilations, over channels that fill a stage or nearly.
#[test]
fn windows_over_many_channels_on_the_gpu() {
    let c = |x: [usize; 4], k: usize, window: usize, (pad, stride, dilation): (usize, usize, usize)| {
        let out = |size: usize| (size + 2 * pad - dilation * (window - 1) - 1) / stride + 1;
        let (w, bias) = ([k, x[1], window, window], [k, 1, 1]);
        let full = [x[0], k, out(x[2]), out(x[3])];
        let mut after = vec![add((&bias, F, true))];
        if stride == 1 {
            after.push(add((&full, F, false)));
        }
        after.push(relu());
        problem(conv(2, pad, stride, dilation, 1), &[(&x, F, false), (&w, F, true)], &after)
    };
    on_gpu(&[
        c([2, 64, 13, 11], 72, 3, (1, 1, 1)),
        c([1, 128, 17, 24], 40, 3, (1, 2, 1)),
        c([3, 48, 12, 9], 64, 3, (2, 1, 2)),
        c([2, 64, 15, 16], 130, 1, (0, 2, 1)),
        c([2, 192, 19, 20], 33, 5, (2, 3, 1)),
        c([1, 64, 30, 30], 64, 2, (0, 1, 7)),
        c([20, 64, 28, 28], 264, 3, (1, 1, 1)),
        c([1, 128, 14, 13], 200, 3, (1, 1, 1)),
        c([1, 512, 7, 7], 520, 3, (1, 1, 1)),
        c([2, 96, 9, 14], 72, 5, (4, 1, 2)),
        problem(conv(1, 1, 1, 1, 1), &[(&[5, 64, 30], F, false), (&[48, 64, 3], F, true)], &[silu()]),
    ]);
}

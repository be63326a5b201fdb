//! The kernels of convolutions and matrix products, with one of each kind of options: for checks.

use tactician_device::CodeSource;
use tactician_types::{Binary, DType, Expr, ExprNode, Unary};

use crate::gemm::{MMA_TILES, MmaPlan, Split};
use crate::gemm_epilogue::{
    MatrixEpilogue, Over, Strided, matrix_epilogue, stored_type, strided_epilogue, strided_index,
};
use crate::source;
use crate::tma::TMA_TILES;

/// `relu(x + bias + residual)`.
fn expression() -> Expr {
    let mut e = Expr::empty();
    let inputs = [0, 1, 2].map(|i| e.push(ExprNode::Input(i)));
    let sum = e.push(ExprNode::Binary(Binary::Add, inputs[0], inputs[1]));
    let sum = e.push(ExprNode::Binary(Binary::Add, sum, inputs[2]));
    e.push(ExprNode::Unary(Unary::Relu, sum));
    e
}

fn define(list: &[(&str, u32)]) -> Vec<String> {
    list.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

pub(crate) fn all() -> Vec<CodeSource> {
    let mut out = Vec::new();
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let Ok(epilogue) =
            matrix_epilogue(&expression(), dtype, &[(dtype, Over::Columns), (dtype, Over::Full)], dtype)
                .map(|e| e.prelude)
        else {
            continue;
        };
        tensor_cores(dtype, &epilogue, &mut out);
        accelerated(dtype, dtype, &expression(), &mut out);
        cores(dtype, &epilogue, &mut out);
        any(dtype, &mut out);
    }
    // Some of each kind whose result is stored as another type.
    let mut wide = expression();
    wide.push(ExprNode::Cast(DType::F32, wide.root()));
    let operands = [(DType::F16, Over::Columns), (DType::F16, Over::Full)];
    if let Ok(MatrixEpilogue { prelude: epilogue, .. }) =
        matrix_epilogue(&wide, DType::F16, &operands, DType::F32)
    {
        let mut list = Vec::new();
        tensor_cores(DType::F16, &epilogue, &mut list);
        accelerated(DType::F16, DType::F32, &wide, &mut list);
        cores(DType::F16, &epilogue, &mut list);
        out.extend(list.into_iter().step_by(3));
    }
    out
}

/// Products fed by the tensor memory accelerator, with `expression` as their epilogue.
fn accelerated(dtype: DType, output: DType, expression: &Expr, out: &mut Vec<CodeSource>) {
    let epilogue = |full| {
        matrix_epilogue(expression, dtype, &[(dtype, Over::Columns), (dtype, full)], output)
            .map(|e| e.prelude)
    };
    let (Ok(epilogue), Ok(staged)) = (epilogue(Over::Full), epilogue(Over::Staged)) else { return };
    for (i, tile) in TMA_TILES.iter().enumerate() {
        // Short floats compile alike.
        let columns = tile.output_box(output)[1];
        if dtype == DType::BF16 && i % 5 != 0 || tile.slabs > 0 && !tile.n.is_multiple_of(columns) {
            continue;
        }
        let residual = tile.slabs > 0 && dtype == output && i % 4 != 3;
        let prelude = format!("{}{}", if residual { &staged } else { &epilogue }, tile.prelude(dtype));
        let mut defines = tile.defines(dtype, tile.vector(output, [8, 4, 8, 1][i % 4]), residual);
        defines.extend(define(&[("CONSTANT_B", u32::from(i % 3 != 1))]));
        let name = if i % 2 == 0 { "gemm/tma.cu" } else { "conv/tma.cu" };
        out.push(source(name, &prelude, &defines));
    }
}

fn tensor_cores(dtype: DType, epilogue: &str, out: &mut Vec<CodeSource>) {
    for (i, tile) in MMA_TILES.iter().enumerate() {
        // Short floats compile alike.
        if dtype == DType::F32 && tile.groups || dtype == DType::BF16 && i % 5 != 0 {
            continue;
        }
        let split = [Split::None, Split::Cluster(4), Split::Scratch(4)][i % 3];
        let plan = MmaPlan { tile: *tile, split };
        let prelude = format!("{epilogue}{}", plan.prelude(dtype));
        let mut defines = plan.defines(dtype, [8, 4, 1][i / 3 % 3]);
        defines.push(format!("POINTWISE={}", i % 2));
        out.push(source("conv/mma.cu", &prelude, &defines));
        defines.pop();
        let turned = u32::from(dtype != DType::F32 && !tile.groups);
        let along_m = turned * u32::from(i % 2 == 0 && tile.fits_along(tile.m, dtype));
        let along_n = turned * u32::from(i % 4 < 2 && tile.fits_along(tile.n, dtype));
        defines.extend(define(&[
            ("A_ALONG_M", along_m),
            ("B_ALONG_N", along_n),
            ("CONSTANT_B", 1 - along_n),
        ]));
        out.push(source("gemm/mma.cu", &prelude, &defines));
    }
    if dtype == DType::F32 {
        return;
    }
    let element = stored_type(dtype).unwrap_or(0);
    for (m, n, warps, stages, input) in
        [(128, 64, (4, 1), 5, element), (64, 32, (2, 2), 1, 0), (32, 64, (1, 4), 16, element)]
    {
        let defines = define(&[
            ("TILE_M", m),
            ("TILE_N", n),
            ("TILE_K", 32),
            ("WARPS_M", warps.0),
            ("WARPS_N", warps.1),
            ("STAGES", stages),
            ("ELEMENT", element),
            ("INPUT", input),
            ("VECTOR", 8),
        ]);
        out.push(source("conv/first.cu", epilogue, &defines));
    }
    stems(dtype, epilogue, out);
}

/// First layers: tile, filters, warps, channels, window, stride, load, shift, extra, padded, pitch, vector; and whether they
/// read `f32`.
fn stems(dtype: DType, epilogue: &str, out: &mut Vec<CodeSource>) {
    const NAMES: [&str; 16] = [
        "TILE_H",
        "TILE_W",
        "TILE_N",
        "WARPS_M",
        "CHANNELS",
        "WINDOW_H",
        "WINDOW_W",
        "STRIDE_H",
        "STRIDE_W",
        "LOAD",
        "SHIFT",
        "EXTRA",
        "PADDED",
        "ROW_PITCH",
        "NHWC",
        "VECTOR",
    ];
    for (i, (values, wide)) in [
        ([8, 16, 64, 4, 3, 7, 7, 2, 2, 8, 1, 4, 8, 48, 0, 8], false),
        ([16, 16, 64, 8, 3, 3, 3, 1, 1, 8, 1, 6, 4, 48, 0, 8], false),
        ([8, 8, 64, 2, 3, 7, 7, 2, 2, 2, 1, 0, 8, 24, 0, 4], false),
        ([8, 16, 32, 4, 3, 3, 3, 2, 2, 1, 0, 0, 4, 96, 1, 8], false),
        ([16, 16, 32, 8, 1, 5, 5, 1, 1, 4, 0, 2, 8, 48, 0, 1], false),
        ([8, 16, 64, 4, 4, 8, 8, 4, 4, 1, 0, 0, 8, 72, 0, 8], false),
        ([8, 16, 64, 4, 3, 7, 7, 2, 2, 4, 1, 0, 8, 48, 0, 8], true),
        ([16, 16, 32, 8, 3, 3, 3, 1, 1, 4, 1, 2, 4, 48, 0, 8], true),
        ([8, 8, 64, 2, 1, 5, 5, 1, 1, 1, 0, 0, 8, 16, 0, 1], true),
    ]
    .into_iter()
    .enumerate()
    {
        // Short floats compile alike.
        if dtype == DType::BF16 && i % 3 != 0 {
            continue;
        }
        let mut defines = define(&std::array::from_fn::<_, 16, _>(|i| (NAMES[i], values[i])));
        let element = stored_type(dtype).unwrap_or(0);
        defines.extend(define(&[("ELEMENT", element), ("INPUT", if wide { 0 } else { element })]));
        out.push(source("conv/stem.cu", epilogue, &defines));
    }
}

/// Kernels on CUDA cores.
fn cores(dtype: DType, epilogue: &str, out: &mut Vec<CodeSource>) {
    let element = ("ELEMENT", stored_type(dtype).unwrap_or(0));
    let batches = ["batch_a", "batch_b"].map(|n| strided_index(n, &[3, 4], &[0, 64]).unwrap_or_default());
    let batched = format!("{epilogue}{}", batches.concat());
    for (m, n, thread, load, vector, partial) in [
        (128, 128, (8, 8), 4, 4, 0),
        (128, 64, (8, 4), 1, 1, 1),
        (64, 64, (4, 4), 4, 2, 1),
        (32, 32, (4, 4), 1, 4, 0),
    ] {
        let tile = [
            ("TILE_M", m),
            ("TILE_N", n),
            ("TILE_K", 16),
            ("THREAD_M", thread.0),
            ("THREAD_N", thread.1),
            ("VECTOR", vector),
            ("PARTIAL", partial),
            element,
        ];
        let mut defines = define(&tile);
        defines.push(format!("LOAD={load}"));
        out.push(source("conv/simt.cu", epilogue, &defines));
        defines.pop();
        defines.extend(define(&[("A_ALONG_M", partial), ("B_ALONG_N", load & 1)]));
        out.push(source("gemm/simt.cu", &batched, &defines));
    }
    let widest = if dtype == DType::F32 { 4 } else { 8 };
    for (window, stride, dilation, columns, vector) in
        [(3, 1, 1, 4, widest), (3, 2, 1, 4, widest), (5, 1, 2, 2, 1), (7, 1, 1, 4, widest / 2)]
    {
        let defines = define(&[
            element,
            ("VECTOR", vector),
            ("COLUMNS", columns),
            ("WINDOW_H", window),
            ("WINDOW_W", window),
            ("STRIDE_W", stride),
            ("DILATION_W", dilation),
        ]);
        out.push(source("conv/depthwise.cu", epilogue, &defines));
    }
    for (warps, outputs, rows, vector, constant) in
        [(8, 1, 1, widest, 1), (2, 4, 4, widest, 0), (1, 4, 2, 1, 1)]
    {
        let defines = define(&[
            element,
            ("VECTOR", vector),
            ("WARPS", warps),
            ("OUTPUTS", outputs),
            ("ROWS", rows),
            ("CONSTANT_B", constant),
        ]);
        out.push(source("gemm/gemv.cu", epilogue, &defines));
    }
}

fn any(dtype: DType, out: &mut Vec<CodeSource>) {
    let operand = |steps: &[usize]| Strided { dtype, steps: steps.to_vec() };
    let operands = [operand(&[0, 1, 0, 0]), operand(&[0, 0, 5, 1])];
    let Ok(epilogue) = strided_epilogue(&expression(), dtype, &[2, 3, 4, 5], &operands, dtype) else {
        return;
    };
    let element = format!("ELEMENT={}", stored_type(dtype).unwrap_or(0));
    for transposed in [0, 1] {
        out.push(source("conv/any.cu", &epilogue, &[element.clone(), format!("TRANSPOSED={transposed}")]));
    }
    let batches = ["batch_a", "batch_b"].map(|n| strided_index(n, &[2, 3], &[12, 4]).unwrap_or_default());
    out.push(source("gemm/any.cu", &format!("{epilogue}{}", batches.concat()), &[element]));
}

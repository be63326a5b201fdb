use rayon::prelude::*;
use tactician_ir::MatMul;

use crate::value::{Data, Value, broadcast_strides, offset};

/// Columns of a row that are computed together, and by one thread.
const COLUMNS: usize = 256;

/// Columns whose factors are read together where each column's lie together.
const TOGETHER: usize = 8;

/// `[…,M,K] · […,K,N]`, leading axes broadcast.
pub(crate) fn matmul(op: MatMul, a: &Value, b: &Value, sizes: &[usize]) -> Value {
    let r = sizes.len();
    let (m, n) = (sizes[r - 2], sizes[r - 1]);
    let k = if op.trans_a { a.sizes[a.sizes.len() - 2] } else { a.sizes[a.sizes.len() - 1] };
    let lead = &sizes[..r - 2];
    let steps = |v: &Value| broadcast_strides(&v.sizes[..v.sizes.len() - 2], lead);
    let (sa, sb) = (steps(a), steps(b));
    let place_a = |i: usize, p: usize| if op.trans_a { p * m + i } else { i * k + p };
    // The factors of a part of a row begin here.
    let places = |row: usize| {
        let (mut index, mut rest) = (vec![0; lead.len()], row / m.max(1));
        for (i, size) in index.iter_mut().zip(lead).rev() {
            (*i, rest) = (rest % size, rest / size);
        }
        (offset(&index, &sa) * m * k, offset(&index, &sb) * k * n, row % m.max(1))
    };
    macro_rules! run {
        ($kind:ident, $x:expr, $y:expr, $zero:expr, $step:expr) => {{
            let mut out = vec![$zero; sizes.iter().product()];
            let rows = out.par_chunks_mut(n.max(1)).enumerate();
            rows.flat_map(|(row, y)| y.par_chunks_mut(COLUMNS).enumerate().map(move |(c, y)| (row, c, y)))
                .for_each(|(row, part, out)| {
                    let (x, y, i) = places(row);
                    let (x, y, first) = (&$x[x..], &$y[y..], part * COLUMNS);
                    if op.trans_b {
                        for (b, out) in out.chunks_mut(TOGETHER).enumerate() {
                            let column = first + b * TOGETHER;
                            for p in 0..k {
                                let v = x[place_a(i, p)];
                                for (q, o) in out.iter_mut().enumerate() {
                                    *o = $step(*o, v, y[(column + q) * k + p]);
                                }
                            }
                        }
                    } else {
                        for p in 0..k {
                            let v = x[place_a(i, p)];
                            for (o, w) in out.iter_mut().zip(&y[p * n + first..]) {
                                *o = $step(*o, v, *w);
                            }
                        }
                    }
                });
            Data::$kind(out)
        }};
    }
    let data = match (&a.data, &b.data) {
        (Data::Int(x), Data::Int(y)) => {
            run!(Int, x, y, 0i64, |o: i64, v: i64, w: i64| o.wrapping_add(v.wrapping_mul(w)))
        }
        _ => run!(Float, a.floats(), b.floats(), 0.0f64, |o: f64, v: f64, w: f64| o + v * w),
    };
    Value { dtype: a.dtype, sizes: sizes.to_vec(), data }
}

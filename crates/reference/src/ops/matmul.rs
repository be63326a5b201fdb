use tactician_ir::MatMul;

use crate::value::{Data, Value, advance, broadcast_strides, offset};

/// `[…,M,K] · […,K,N]`, leading axes broadcast.
pub(crate) fn matmul(op: MatMul, a: &Value, b: &Value, sizes: &[usize]) -> Value {
    let r = sizes.len();
    let (m, n) = (sizes[r - 2], sizes[r - 1]);
    let k = if op.trans_a { a.sizes[a.sizes.len() - 2] } else { a.sizes[a.sizes.len() - 1] };
    let lead = &sizes[..r - 2];
    let batch: usize = lead.iter().product();
    let steps = |v: &Value| broadcast_strides(&v.sizes[..v.sizes.len() - 2], lead);
    let (sa, sb) = (steps(a), steps(b));
    let place_a = |i: usize, p: usize| if op.trans_a { p * m + i } else { i * k + p };
    let place_b = |p: usize, j: usize| if op.trans_b { j * k + p } else { p * n + j };
    let mut index = vec![0; lead.len()];
    macro_rules! run {
        ($kind:ident, $x:expr, $y:expr, $zero:expr, $step:expr) => {{
            let mut out = Vec::with_capacity(batch * m * n);
            for _ in 0..batch {
                let x = &$x[offset(&index, &sa) * m * k..];
                let y = &$y[offset(&index, &sb) * k * n..];
                for i in 0..m {
                    let mut row = vec![$zero; n];
                    for p in 0..k {
                        let v = x[place_a(i, p)];
                        for (j, o) in row.iter_mut().enumerate() {
                            *o = $step(*o, v, y[place_b(p, j)]);
                        }
                    }
                    out.extend(row);
                }
                advance(&mut index, lead);
            }
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

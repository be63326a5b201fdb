//! Places across: each vertex as near to its neighbours as the order of its layer allows.

use super::{BOX_GAP, Layers};

const SWEEPS: usize = 24;

/// The middle of every vertex. `cuts` are the layers that begin a column: across them nothing draws.
pub(super) fn across(g: &Layers, cuts: &[usize]) -> Vec<f64> {
    let (none, mut first) = (Vec::new(), vec![false; g.rows.len() + 1]);
    for &c in cuts {
        first[c] = true;
    }
    let mut x = vec![0.0; g.size.len()];
    for row in &g.rows {
        let zero: Vec<(f64, f64)> = row.iter().map(|_| (0.0, 1.0)).collect();
        settle(g, row, &zero, &mut x);
    }
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        let rows: Vec<usize> =
            if down { (0..g.rows.len()).collect() } else { (0..g.rows.len()).rev().collect() };
        // The last two sweeps look both ways, so that neither end decides.
        let both = sweep + 2 >= SWEEPS;
        for l in rows {
            let wishes: Vec<(f64, f64)> = g.rows[l]
                .iter()
                .map(|&v| {
                    let up = if first[l] { &none } else { &g.up[v] };
                    let low = if first[l + 1] { &none } else { &g.down[v] };
                    let above = up.iter().filter(|_| down || both || low.is_empty());
                    let below = low.iter().filter(|_| !down || both || up.is_empty());
                    let (sum, weight) = above
                        .chain(below)
                        .map(|&o| (x[o], pull(g, v, o)))
                        .fold((0.0, 0.0), |(s, w), (at, p)| (s + at * p, w + p));
                    if weight > 0.0 { (sum / weight, weight) } else { (x[v], 0.1) }
                })
                .collect();
            settle(g, &g.rows[l], &wishes, &mut x);
        }
    }
    x
}

/// How strongly two vertices draw each other: long edges are kept straight.
fn pull(g: &Layers, a: usize, b: usize) -> f64 {
    let bend = |v: usize| g.size[v].1 == 0.0;
    match (bend(a), bend(b)) {
        (true, true) => 6.0,
        (false, false) => 3.0,
        _ => 1.0,
    }
}

/// Places a layer with the least weighted squares from its wishes, in order and without overlaps: an isotonic
/// regression, by pooling neighbours that would get too close.
fn settle(g: &Layers, row: &[usize], wishes: &[(f64, f64)], x: &mut [f64]) {
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(row.len());
    // Weighted sum, weight and length of each pool.
    let mut pools: Vec<(f64, f64, usize)> = Vec::with_capacity(row.len());
    for (i, (&v, &(at, weight))) in row.iter().zip(wishes).enumerate() {
        if i > 0 {
            offset += (g.size[row[i - 1]].0 + g.size[v].0) / 2.0 + BOX_GAP;
        }
        offsets.push(offset);
        let mut pool = ((at - offset) * weight, weight, 1);
        while let Some(&(s, w, n)) = pools.last() {
            if s / w <= pool.0 / pool.1 {
                break;
            }
            pool = (pool.0 + s, pool.1 + w, pool.2 + n);
            pools.pop();
        }
        pools.push(pool);
    }
    let means = pools.iter().flat_map(|&(s, w, n)| std::iter::repeat_n(s / w, n));
    for ((&v, offset), mean) in row.iter().zip(offsets).zip(means) {
        x[v] = mean + offset;
    }
}

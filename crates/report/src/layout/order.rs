//! The order of each layer: barycentres, keeping the order with the fewest crossings.

use super::Layers;

/// Sweeps down and up.
const SWEEPS: usize = 12;

/// Orders every layer so that few edges cross.
pub(super) fn improve(g: &mut Layers) {
    let mut best = g.rows.clone();
    let mut fewest = crossings(g);
    for sweep in 0..SWEEPS {
        if fewest == 0 {
            break;
        }
        let down = sweep % 2 == 0;
        let mut place = places(g);
        let layers: Vec<usize> = if down {
            (1..g.rows.len()).collect()
        } else {
            (0..g.rows.len().saturating_sub(1)).rev().collect()
        };
        for l in layers {
            let mut row = std::mem::take(&mut g.rows[l]);
            let near = if down { &g.up } else { &g.down };
            let mut keys: Vec<(f64, usize)> = row
                .iter()
                .map(|&v| match near[v].len() {
                    0 => (place[v], v),
                    n => (near[v].iter().map(|&o| place[o]).sum::<f64>() / n as f64, v),
                })
                .collect();
            // Stable: equal vertices keep their order.
            keys.sort_by(|a, b| a.0.total_cmp(&b.0));
            row.clear();
            row.extend(keys.iter().map(|k| k.1));
            spread(&row, &mut place);
            g.rows[l] = row;
        }
        let n = crossings(g);
        if n < fewest {
            fewest = n;
            best.clone_from(&g.rows);
        }
    }
    g.rows = best;
}

/// Places of all vertices in their layers, 0 to 1, so that layers of different lengths compare.
fn places(g: &Layers) -> Vec<f64> {
    let mut place = vec![0.0; g.size.len()];
    for row in &g.rows {
        spread(row, &mut place);
    }
    place
}

fn spread(row: &[usize], place: &mut [f64]) {
    for (i, &v) in row.iter().enumerate() {
        place[v] = (i as f64 + 0.5) / row.len() as f64;
    }
}

/// Crossings between neighbouring layers: inversions among edges sorted by their upper ends.
fn crossings(g: &Layers) -> u64 {
    let mut index = vec![0usize; g.size.len()];
    for row in &g.rows {
        for (i, &v) in row.iter().enumerate() {
            index[v] = i;
        }
    }
    let mut total = 0;
    for (l, row) in g.rows.iter().enumerate() {
        let width = g.rows.get(l + 1).map_or(0, Vec::len);
        // Counts of lower ends so far, summed over powers of two (Fenwick).
        let mut seen = vec![0u64; width + 1];
        let mut edges = 0;
        for &v in row {
            let mut ends: Vec<usize> = g.down[v].iter().map(|&o| index[o]).collect();
            ends.sort_unstable();
            for &e in &ends {
                let (mut i, mut not_right) = (e + 1, 0);
                while i > 0 {
                    not_right += seen[i];
                    i &= i - 1;
                }
                total += edges - not_right;
            }
            for e in ends {
                let mut i = e + 1;
                while i <= width {
                    seen[i] += 1;
                    i += i & i.wrapping_neg();
                }
                edges += 1;
            }
        }
    }
    total
}

//! Layers laid side by side in columns, and the paths of edges.

use std::fmt::Write;

use super::{LAYER_GAP, Layers, Picture, Route, place};
use crate::plot::num;

/// The shape to come near to: width over height.
const ASPECT: f64 = 1.7;
/// Room between columns, for the edges that go from one to the next.
const GUTTER: f64 = 44.0;
/// Room above and below the columns, for the same edges.
const MARGIN: f64 = 34.0;
/// Room between edges that run side by side from one column to the next.
const LANE: f64 = 7.0;
/// Radius of an edge's corners.
const CORNER: f64 = 7.0;
/// Most columns.
const MOST: usize = 40;

/// A run of layers, one above the other.
struct Column {
    /// First layer.
    from: usize,
    /// Layer behind the last.
    to: usize,
    /// Left and right end of what it holds, in the layers' own coordinates.
    ends: (f64, f64),
    /// Height of its layers.
    height: f64,
    /// What to add to the layers' own coordinates.
    shift: f64,
}

/// Lays out the columns; the first `boxes` vertices are boxes.
pub(super) fn fold(g: &Layers, boxes: usize) -> Picture {
    let x = place::across(g, &[]);
    let mut best: Option<(f64, Vec<Column>)> = None;
    for k in 1..=MOST.min(g.rows.len()) {
        let columns = cut(g, &x, k);
        let (width, height) = extent(g, &columns);
        let off = (width / height / ASPECT).ln().abs();
        if best.as_ref().is_none_or(|b| off < b.0) {
            best = Some((off, columns));
        }
    }
    let Some((_, mut columns)) = best else { return Picture::default() };
    let x = place::across(g, &columns.iter().map(|c| c.from).collect::<Vec<_>>());
    for c in &mut columns {
        c.ends = ends(g, &x, c.from, c.to);
    }
    let mut at = 0.0;
    for (i, c) in columns.iter_mut().enumerate() {
        if i > 0 {
            at += GUTTER + lanes(g, c.from) as f64 * LANE;
        }
        c.shift = at - c.ends.0;
        at += c.ends.1 - c.ends.0;
    }
    let mut column_of = vec![0; g.rows.len()];
    let mut top = vec![0.0; g.rows.len()];
    for (i, c) in columns.iter().enumerate() {
        let mut y = MARGIN;
        for l in c.from..c.to {
            column_of[l] = i;
            top[l] = y;
            y += g.height(l) + LAYER_GAP;
        }
    }
    let middle = |v: usize| x[v] + columns[column_of[g.layer[v]]].shift;
    let mut picture = Picture { size: extent(g, &columns), ..Picture::default() };
    for v in 0..boxes {
        picture.at.push((middle(v) - g.size[v].0 / 2.0, top[g.layer[v]]));
    }
    let ports = Ports::new(g, &x);
    // How many edges have gone from each column to the next.
    let mut used = vec![0usize; columns.len()];
    for (e, chain) in g.chains.iter().enumerate() {
        let mut path = String::new();
        for (i, w) in chain.windows(2).enumerate() {
            let (a, b) = (w[0], w[1]);
            let (la, lb) = (g.layer[a], g.layer[b]);
            let from = (middle(a) + ports.leave(e, i), top[la] + g.size[a].1);
            let bend = i > 0;
            let to = (middle(b) + ports.enter(e, i, chain.len()), top[lb]);
            if !bend {
                _ = write!(path, "M{} {}", num(from.0), num(from.1));
            }
            let (ca, cb) = (column_of[la], column_of[lb]);
            if ca == cb {
                // Below the whole layer, not only below this box, the way is free.
                let free = top[la] + g.height(la);
                _ = write!(path, "V{}", num(free));
                let half = (free + to.1) / 2.0;
                let [x0, x1, y1, half] = [from.0, to.0, to.1, half].map(num);
                _ = write!(path, "C{x0} {half} {x1} {half} {x1} {y1}");
            } else {
                let lane = used[ca] as f64 * LANE;
                used[ca] += 1;
                let low = MARGIN + columns[ca].height + 12.0 + lane.min(MARGIN - 16.0);
                let high = (MARGIN - 12.0 - lane).max(4.0);
                let gutter = columns[cb].ends.0 + columns[cb].shift - GUTTER / 2.0 - lane;
                corners(&mut path, from, &[(from.0, low), (gutter, low), (gutter, high), (to.0, high)], to);
            }
        }
        let (from, to) = (chain[0], chain[chain.len() - 1]);
        picture.edges.push(Route { from, to, path });
    }
    picture
}

/// Edges that pass from the layer above into this one.
fn lanes(g: &Layers, layer: usize) -> usize {
    g.rows[layer].iter().map(|&v| g.up[v].len()).sum()
}

/// Cuts the layers into `k` columns of about equal height, each where few edges pass.
fn cut(g: &Layers, x: &[f64], k: usize) -> Vec<Column> {
    let heights: Vec<f64> = (0..g.rows.len()).map(|l| g.height(l) + LAYER_GAP).collect();
    let mut columns = Vec::new();
    let mut from = 0;
    while from < heights.len() {
        let mut to = heights.len();
        // What is left, shared evenly, so that the last column is not the one that pays for all cuts.
        let target = heights[from..].iter().sum::<f64>() / (k - columns.len()) as f64;
        if columns.len() + 1 < k {
            let mut height = 0.0;
            let mut best = (f64::INFINITY, to);
            for l in from..heights.len() {
                height += heights[l];
                let off = (height - target).abs() / target;
                if l + 1 < heights.len() && (off <= 0.2 || best.0.is_infinite() && height > target) {
                    let cost = lanes(g, l + 1) as f64 + 4.0 * off;
                    if cost < best.0 {
                        best = (cost, l + 1);
                    }
                }
                if height > 1.2 * target {
                    break;
                }
            }
            to = best.1;
        }
        let height = heights[from..to].iter().sum::<f64>() - LAYER_GAP;
        columns.push(Column { from, to, ends: ends(g, x, from, to), height, shift: 0.0 });
        from = to;
    }
    columns
}

/// Left and right end of what some layers hold.
fn ends(g: &Layers, x: &[f64], from: usize, to: usize) -> (f64, f64) {
    let all = g.rows[from..to].iter().flatten();
    all.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), &v| {
        (lo.min(x[v] - g.size[v].0 / 2.0), hi.max(x[v] + g.size[v].0 / 2.0))
    })
}

/// Width and height of columns side by side.
fn extent(g: &Layers, columns: &[Column]) -> (f64, f64) {
    let mut size = (0.0, 0f64);
    for (i, c) in columns.iter().enumerate() {
        if i > 0 {
            size.0 += GUTTER + lanes(g, c.from) as f64 * LANE;
        }
        size.0 += c.ends.1 - c.ends.0;
        size.1 = size.1.max(c.height + 2.0 * MARGIN);
    }
    size
}

/// Where on their boxes edges begin and end, so that several do not lie on one another.
struct Ports {
    out: Vec<f64>,
    into: Vec<f64>,
}

impl Ports {
    fn new(g: &Layers, x: &[f64]) -> Ports {
        let by = |end: &dyn Fn(&[usize]) -> (usize, usize)| {
            let mut all: Vec<(usize, f64, usize)> = Vec::with_capacity(g.chains.len());
            for (e, chain) in g.chains.iter().enumerate() {
                let (v, towards) = end(chain);
                all.push((v, x[towards], e));
            }
            all.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
            let mut offset = vec![0.0; g.chains.len()];
            for group in all.chunk_by(|a, b| a.0 == b.0) {
                let room = g.size[group[0].0].0 * 0.7;
                let step = (room / group.len() as f64).min(22.0);
                for (i, &(_, _, e)) in group.iter().enumerate() {
                    offset[e] = (i as f64 - (group.len() - 1) as f64 / 2.0) * step;
                }
            }
            offset
        };
        Ports {
            out: by(&|c: &[usize]| (c[0], c[1])),
            into: by(&|c: &[usize]| (c[c.len() - 1], c[c.len() - 2])),
        }
    }

    /// For the `i`th piece of an edge.
    fn leave(&self, edge: usize, i: usize) -> f64 {
        if i == 0 { self.out[edge] } else { 0.0 }
    }

    fn enter(&self, edge: usize, i: usize, chain: usize) -> f64 {
        if i + 2 == chain { self.into[edge] } else { 0.0 }
    }
}

/// Goes along points by straight lines with round corners.
fn corners(path: &mut String, from: (f64, f64), over: &[(f64, f64)], to: (f64, f64)) {
    let mut last = from;
    for (i, &p) in over.iter().enumerate() {
        let next = over.get(i + 1).copied().unwrap_or(to);
        let near = |q: (f64, f64)| {
            let (dx, dy) = (q.0 - p.0, q.1 - p.1);
            let length = dx.hypot(dy);
            let part = if length > 0.0 { (CORNER / length).min(0.5) } else { 0.0 };
            (p.0 + dx * part, p.1 + dy * part)
        };
        let (a, b) = (near(last), near(next));
        let [ax, ay, px, py, bx, by] = [a.0, a.1, p.0, p.1, b.0, b.1].map(num);
        _ = write!(path, "L{ax} {ay}Q{px} {py} {bx} {by}");
        last = p;
    }
    _ = write!(path, "L{} {}", num(to.0), num(to.1));
}

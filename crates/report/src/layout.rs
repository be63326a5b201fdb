//! A layered picture of a directed graph (Sugiyama, Tagawa and Toda, 1981), folded into columns.
//!
//! Boxes get layers by their longest path from a source; edges over several layers get a bend in each; layers are
//! ordered by barycentres; places across come from least squares that keep the order. Networks are long and narrow,
//! so the layers are then laid side by side in columns, as text is, cut where few edges cross.

mod columns;
mod order;
mod place;

/// Room between layers.
pub(crate) const LAYER_GAP: f64 = 26.0;
/// Room between boxes of a layer.
const BOX_GAP: f64 = 18.0;
/// Width that an edge takes where it passes a layer.
const BEND_WIDTH: f64 = 8.0;
/// Most bends: beyond, long edges run straight.
const MOST_BENDS: usize = 20_000;

/// Where boxes and edges lie.
#[derive(Clone, Debug, Default)]
pub(crate) struct Picture {
    /// Left and top of every box.
    pub(crate) at: Vec<(f64, f64)>,
    /// The path of every edge that is drawn, as SVG path data; ends lie on the boxes' borders.
    pub(crate) edges: Vec<Route>,
    /// Width and height of everything.
    pub(crate) size: (f64, f64),
}

/// An edge's path.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// The box it leaves.
    pub(crate) from: usize,
    /// The box it enters.
    pub(crate) to: usize,
    /// SVG path data.
    pub(crate) path: String,
}

/// A graph in layers. The first vertices are the boxes, those behind them the bends of long edges.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers {
    /// Width and height of each vertex.
    size: Vec<(f64, f64)>,
    /// Layer of each vertex.
    layer: Vec<usize>,
    /// Vertices of each layer, from left to right.
    rows: Vec<Vec<usize>>,
    /// Neighbours in the layer above.
    up: Vec<Vec<usize>>,
    /// Neighbours in the layer below.
    down: Vec<Vec<usize>>,
    /// The vertices of each edge, from its source over its bends to its target.
    chains: Vec<Vec<usize>>,
}

/// Draws boxes of the given sizes. Edges that name no box, loops and repeated edges are left out; an edge that closes a
/// cycle is too.
pub(crate) fn draw(sizes: &[(f64, f64)], edges: &[(usize, usize)]) -> Picture {
    if sizes.is_empty() {
        return Picture::default();
    }
    let edges = acyclic(sizes.len(), edges);
    let mut layers = Layers::new(sizes, &edges);
    order::improve(&mut layers);
    columns::fold(&layers, sizes.len())
}

/// Edges without repetitions, loops and those that lead back.
fn acyclic(n: usize, edges: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut list: Vec<_> = edges.iter().copied().filter(|&(a, b)| a != b && a < n && b < n).collect();
    list.sort_unstable();
    list.dedup();
    let mut next = vec![Vec::new(); n];
    for &(a, b) in &list {
        next[a].push(b);
    }
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Not,
        Open,
        Done,
    }
    let mut seen = vec![Seen::Not; n];
    let mut kept = Vec::with_capacity(list.len());
    let mut stack: Vec<(usize, usize)> = Vec::new();
    for root in 0..n {
        if seen[root] != Seen::Not {
            continue;
        }
        seen[root] = Seen::Open;
        stack.push((root, 0));
        while let Some((v, i)) = stack.pop() {
            let Some(&to) = next[v].get(i) else {
                seen[v] = Seen::Done;
                continue;
            };
            stack.push((v, i + 1));
            if seen[to] != Seen::Open {
                kept.push((v, to));
            }
            if seen[to] == Seen::Not {
                seen[to] = Seen::Open;
                stack.push((to, 0));
            }
        }
    }
    kept
}

impl Layers {
    fn new(sizes: &[(f64, f64)], edges: &[(usize, usize)]) -> Layers {
        let n = sizes.len();
        let mut g = Layers {
            size: sizes.to_vec(),
            layer: longest_paths(n, edges),
            up: vec![Vec::new(); n],
            down: vec![Vec::new(); n],
            ..Layers::default()
        };
        let bends: usize = edges.iter().map(|&(a, b)| g.layer[b] - g.layer[a] - 1).sum();
        for &(a, b) in edges {
            let mut chain = vec![a];
            if bends <= MOST_BENDS {
                for layer in g.layer[a] + 1..g.layer[b] {
                    chain.push(g.size.len());
                    g.size.push((BEND_WIDTH, 0.0));
                    g.layer.push(layer);
                    g.up.push(Vec::new());
                    g.down.push(Vec::new());
                }
            }
            chain.push(b);
            for w in chain.windows(2) {
                if g.layer[w[1]] == g.layer[w[0]] + 1 {
                    g.down[w[0]].push(w[1]);
                    g.up[w[1]].push(w[0]);
                }
            }
            g.chains.push(chain);
        }
        g.rows = vec![Vec::new(); g.layer.iter().max().map_or(0, |m| m + 1)];
        for v in 0..g.layer.len() {
            g.rows[g.layer[v]].push(v);
        }
        g
    }

    /// Height of a layer.
    fn height(&self, layer: usize) -> f64 {
        self.rows[layer].iter().map(|&v| self.size[v].1).fold(0.0, f64::max)
    }
}

/// Layer of each vertex: its longest path from a source; sources as low as their users let them be.
fn longest_paths(n: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let (mut next, mut missing) = (vec![Vec::new(); n], vec![0usize; n]);
    for &(a, b) in edges {
        next[a].push(b);
        missing[b] += 1;
    }
    let sources: Vec<usize> = (0..n).filter(|&v| missing[v] == 0).collect();
    let (mut layer, mut open) = (vec![0usize; n], sources.clone());
    while let Some(v) = open.pop() {
        for &to in &next[v] {
            layer[to] = layer[to].max(layer[v] + 1);
            missing[to] -= 1;
            if missing[to] == 0 {
                open.push(to);
            }
        }
    }
    for v in sources {
        if let Some(first) = next[v].iter().map(|&to| layer[to]).min() {
            layer[v] = first.saturating_sub(1);
        }
    }
    layer
}

#[cfg(test)]
mod tests;

//! Selection problems of the size and shape of well-known networks, with made-up measurements.

use std::collections::BTreeMap;

use tactician_select::{Candidate, Instance, Reformat, RegionChoices, ValueChoices};
use tactician_types::Layout;

const LAYOUTS: [Layout; 4] = [Layout::Plain, Layout::ChannelsLast, Layout::Blocked(8), Layout::Blocked(16)];

/// A network by name.
pub(crate) type Make = fn() -> Instance;

/// All networks.
pub(crate) const NETWORKS: [(&str, Make); 6] = [
    ("resnet50", resnet50),
    ("densenet121", densenet121),
    ("inception_v3", inception_v3),
    ("yolox_s", yolox_s),
    ("efficientnet_b0", efficientnet_b0),
    ("mobilenet_v2", mobilenet_v2),
];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Conv { weights: u64, wide: bool },
    Pointwise,
    Other,
    View,
}

struct Node {
    kind: Kind,
    inputs: Vec<usize>,
    output: usize,
}

/// A network as it is built.
struct Net {
    nodes: Vec<Node>,
    /// Channels and side of each value.
    shapes: Vec<(u64, u64)>,
    outputs: Vec<usize>,
    seed: u64,
}

impl Net {
    fn new(channels: u64, side: u64) -> (Net, usize) {
        (Net { nodes: Vec::new(), shapes: vec![(channels, side)], outputs: Vec::new(), seed: 9 }, 0)
    }

    fn add(&mut self, kind: Kind, inputs: &[usize], channels: u64, side: u64) -> usize {
        self.shapes.push((channels, side));
        let output = self.shapes.len() - 1;
        self.nodes.push(Node { kind, inputs: inputs.to_vec(), output });
        output
    }

    fn conv(&mut self, x: usize, channels: u64, window: u64, stride: u64) -> usize {
        let (c, side) = self.shapes[x];
        let kind = Kind::Conv { weights: 4 * c * channels * window * window, wide: window > 1 };
        self.add(kind, &[x], channels, side.div_ceil(stride))
    }

    fn depthwise(&mut self, x: usize, window: u64, stride: u64) -> usize {
        let (c, side) = self.shapes[x];
        self.add(Kind::Conv { weights: 4 * c * window * window, wide: true }, &[x], c, side.div_ceil(stride))
    }

    fn pointwise(&mut self, inputs: &[usize]) -> usize {
        let (c, side) = self.shapes[inputs[0]];
        self.add(Kind::Pointwise, inputs, c, side)
    }

    fn conv_act(&mut self, x: usize, channels: u64, window: u64, stride: u64) -> usize {
        let y = self.conv(x, channels, window, stride);
        self.pointwise(&[y])
    }

    fn pool(&mut self, x: usize, stride: u64) -> usize {
        let (c, side) = self.shapes[x];
        self.add(Kind::Other, &[x], c, side.div_ceil(stride))
    }

    fn concat(&mut self, inputs: &[usize]) -> usize {
        let channels = inputs.iter().map(|&v| self.shapes[v].0).sum();
        let side = self.shapes[inputs[0]].1;
        self.add(Kind::Other, inputs, channels, side)
    }

    fn classify(mut self, x: usize) -> Instance {
        let (c, _) = self.shapes[x];
        let y = self.add(Kind::Other, &[x], c, 1);
        let y = self.add(Kind::View, &[y], c, 1);
        let y = self.add(Kind::Conv { weights: 4 * c * 1000, wide: false }, &[y], 1000, 1);
        self.outputs.push(y);
        self.finish()
    }

    fn random(&mut self) -> f64 {
        self.seed = self.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.seed >> 33) as f64 / (1u64 << 31) as f64
    }

    fn bytes(&self, v: usize, layout: Layout) -> u64 {
        let (c, side) = self.shapes[v];
        let padded = if let Layout::Blocked(b) = layout { c.next_multiple_of(u64::from(b)) } else { c };
        4 * padded * side * side
    }

    /// The only reader of a value, when that is a pointwise node.
    fn follower(&self, v: usize) -> Option<usize> {
        let mut readers = (0..self.nodes.len()).filter(|&n| self.nodes[n].inputs.contains(&v));
        let first = readers.next().filter(|_| !self.outputs.contains(&v))?;
        (readers.next().is_none() && self.nodes[first].kind == Kind::Pointwise).then_some(first)
    }

    fn finish(mut self) -> Instance {
        let values: Vec<ValueChoices> = (0..self.shapes.len())
            .map(|v| {
                let time = 2.0 + self.bytes(v, Layout::Plain) as f64 / 20e3;
                let mut reformat = BTreeMap::new();
                for from in LAYOUTS {
                    for to in LAYOUTS.into_iter().filter(|&to| to != from) {
                        let view = from.same_bytes(
                            to,
                            &[
                                1,
                                self.shapes[v].0 as usize,
                                self.shapes[v].1 as usize,
                                self.shapes[v].1 as usize,
                            ],
                        );
                        let time_us = if view { 0.0 } else { time * (1.0 + self.random()) };
                        reformat.insert((from, to), Reformat { time_us, workspace: 0, constants: 0, view });
                    }
                }
                ValueChoices {
                    name: format!("v{v}"),
                    given: (v == 0).then_some(Layout::Plain),
                    wanted: self.outputs.contains(&v).then_some(Layout::Plain),
                    reformat,
                    bytes: LAYOUTS.iter().map(|&l| (l, self.bytes(v, l))).collect(),
                }
            })
            .collect();
        let mut regions = Vec::new();
        for anchor in 0..self.nodes.len() {
            let mut set = vec![anchor];
            loop {
                regions.push(self.region(&set));
                let last = self.nodes[set[set.len() - 1]].output;
                let grows = matches!(self.nodes[anchor].kind, Kind::Conv { .. } | Kind::Pointwise);
                match self.follower(last).filter(|_| grows && set.len() < 4) {
                    Some(next) => set.push(next),
                    None => break,
                }
            }
        }
        let ends = self.bytes(0, Layout::Plain)
            + self.outputs.iter().map(|&v| self.bytes(v, Layout::Plain)).sum::<u64>();
        Instance { nodes: self.nodes.len(), values, regions, bindings: ends, constants: 0, alignment: 256 }
    }

    fn region(&mut self, set: &[usize]) -> RegionChoices {
        let mut inputs: Vec<usize> = Vec::new();
        for &n in set {
            let inner = |v: usize| set.iter().any(|&m| self.nodes[m].output == v);
            let outer: Vec<usize> = self.nodes[n].inputs.iter().copied().filter(|&v| !inner(v)).collect();
            inputs.extend(outer);
        }
        let (kind, output) = (self.nodes[set[0]].kind, self.nodes[set[set.len() - 1]].output);
        let moved: u64 = inputs.iter().chain([&output]).map(|&v| self.bytes(v, Layout::Plain)).sum();
        let mut candidates = Vec::new();
        let mut add = |net: &mut Net, time_us: f64, workspace, constants, layouts: (Layout, Layout), view| {
            let noise_us = time_us * 0.01 * net.random();
            candidates.push(Candidate {
                id: format!("t{:02}", candidates.len()),
                time_us,
                noise_us,
                workspace,
                constants,
                view,
                inputs: vec![layouts.0; inputs.len()],
                output: layouts.1,
            });
        };
        for layout in LAYOUTS {
            let same = (layout, layout);
            match kind {
                Kind::Conv { weights, wide } => {
                    let area = self.shapes[self.nodes[set[0]].output].1.pow(2);
                    let base = 3.0 + (weights * area) as f64 / 4e6 + moved as f64 / 50e3;
                    for i in 0..13 {
                        let factor = if layout == Layout::Plain { 1.3 } else { 1.0 };
                        let time = base * factor * (1.0 + 1.5 * self.random()) + set.len() as f64;
                        let (workspace, share, packed) = match i % 4 {
                            0 => (0, 1.0, 1.0),
                            1 => ((moved as f64 * self.random()) as u64, 0.9, 1.0),
                            2 if wide => ((2.0 * moved as f64 * self.random()) as u64, 0.55, 4.0),
                            _ => ((9.0 * moved as f64 * self.random()) as u64, 0.7, 1.0),
                        };
                        let code = 4096 + 256 * (40.0 * self.random()) as u64;
                        let constants = ((weights as f64 * packed) as u64).next_multiple_of(256) + code;
                        add(self, time * share, workspace, constants, same, false);
                    }
                    let other = if layout == Layout::Plain { Layout::Blocked(16) } else { Layout::Plain };
                    let time = base * (1.3 + self.random());
                    add(self, time, 0, weights.next_multiple_of(256) + 4096, (layout, other), false);
                }
                Kind::View if layout == Layout::Plain => add(self, 0.0, 0, 0, same, true),
                Kind::View => {}
                _ => {
                    for _ in 0..2 {
                        let time = 2.0 + moved as f64 / 40e3 * (1.0 + 0.5 * self.random());
                        let constants = 2048 + 256 * (8.0 * self.random()) as u64;
                        add(self, time, 0, constants, same, false);
                    }
                }
            }
        }
        RegionChoices { name: format!("r{set:?}"), nodes: set.to_vec(), inputs, output, candidates }
    }
}

/// ResNet-50.
pub(crate) fn resnet50() -> Instance {
    let (mut n, x) = Net::new(3, 224);
    let x = n.conv_act(x, 64, 7, 2);
    let mut x = n.pool(x, 2);
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let width = 64 << stage;
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let short = if block == 0 { n.conv(x, 4 * width, 1, stride) } else { x };
            let y = n.conv_act(x, width, 1, 1);
            let y = n.conv_act(y, width, 3, stride);
            let y = n.conv(y, 4 * width, 1, 1);
            let y = n.pointwise(&[y, short]);
            x = n.pointwise(&[y]);
        }
    }
    n.classify(x)
}

/// DenseNet-121, every layer reading the concatenation of all before it.
pub(crate) fn densenet121() -> Instance {
    let (mut n, x) = Net::new(3, 224);
    let x = n.conv_act(x, 64, 7, 2);
    let mut x = n.pool(x, 2);
    for (i, layers) in [6, 12, 24, 16].into_iter().enumerate() {
        let mut all = vec![x];
        for layer in 0..layers {
            let joined = if layer == 0 { x } else { n.concat(&all) };
            let y = n.pointwise(&[joined]);
            let y = n.conv_act(y, 128, 1, 1);
            all.push(n.conv(y, 32, 3, 1));
        }
        let joined = n.concat(&all);
        x = n.pointwise(&[joined]);
        if i < 3 {
            let half = n.shapes[x].0 / 2;
            let y = n.conv(x, half, 1, 1);
            x = n.pool(y, 2);
        }
    }
    n.classify(x)
}

/// Inception-v3: blocks of four branches.
pub(crate) fn inception_v3() -> Instance {
    let (mut n, x) = Net::new(3, 299);
    let x = n.conv_act(x, 32, 3, 2);
    let x = n.conv_act(x, 32, 3, 1);
    let x = n.conv_act(x, 64, 3, 1);
    let x = n.pool(x, 2);
    let x = n.conv_act(x, 80, 1, 1);
    let x = n.conv_act(x, 192, 3, 1);
    let mut x = n.pool(x, 2);
    for (block, width) in [64, 64, 64, 128, 160, 160, 192, 192, 320, 320].into_iter().enumerate() {
        let stride = if block == 3 || block == 8 { 2 } else { 1 };
        // As frameworks list them: the first step of every branch, then the second.
        let a = n.conv_act(x, width, 1, stride);
        let b = n.conv_act(x, width, 1, 1);
        let c = n.conv_act(x, width, 1, 1);
        let d = n.pool(x, stride);
        let b = n.conv_act(b, width, 3, stride);
        let c = n.conv_act(c, width, 3, 1);
        let d = n.conv_act(d, width, 1, 1);
        let c = n.conv_act(c, width, 3, stride);
        x = n.concat(&[a, b, c, d]);
    }
    n.classify(x)
}

/// YOLOX-S: a backbone, two passes over three scales, six heads.
pub(crate) fn yolox_s() -> Instance {
    let (mut n, x) = Net::new(12, 320);
    fn csp(n: &mut Net, x: usize, channels: u64, repeat: usize) -> usize {
        let mut a = n.conv_act(x, channels / 2, 1, 1);
        let b = n.conv_act(x, channels / 2, 1, 1);
        for _ in 0..repeat {
            let y = n.conv_act(a, channels / 2, 1, 1);
            let y = n.conv_act(y, channels / 2, 3, 1);
            a = n.pointwise(&[y, a]);
        }
        let y = n.concat(&[a, b]);
        n.conv_act(y, channels, 1, 1)
    }
    fn up(n: &mut Net, x: usize) -> usize {
        let (c, side) = n.shapes[x];
        n.add(Kind::Other, &[x], c, 2 * side)
    }
    let x = n.conv_act(x, 32, 3, 1);
    let x = n.conv_act(x, 64, 3, 2);
    let x = csp(&mut n, x, 64, 1);
    let x = n.conv_act(x, 128, 3, 2);
    let c3 = csp(&mut n, x, 128, 3);
    let x = n.conv_act(c3, 256, 3, 2);
    let c4 = csp(&mut n, x, 256, 3);
    let x = n.conv_act(c4, 512, 3, 2);
    let x = n.conv_act(x, 256, 1, 1);
    let pools: Vec<usize> = (0..3).map(|_| n.pool(x, 1)).collect();
    let x = n.concat(&[x, pools[0], pools[1], pools[2]]);
    let x = n.conv_act(x, 512, 1, 1);
    let c5 = csp(&mut n, x, 512, 1);
    let p5 = n.conv_act(c5, 256, 1, 1);
    let y = up(&mut n, p5);
    let y = n.concat(&[y, c4]);
    let y = csp(&mut n, y, 256, 1);
    let p4 = n.conv_act(y, 128, 1, 1);
    let y = up(&mut n, p4);
    let y = n.concat(&[y, c3]);
    let f3 = csp(&mut n, y, 128, 1);
    let y = n.conv_act(f3, 128, 3, 2);
    let y = n.concat(&[y, p4]);
    let f4 = csp(&mut n, y, 256, 1);
    let y = n.conv_act(f4, 256, 3, 2);
    let y = n.concat(&[y, p5]);
    let f5 = csp(&mut n, y, 512, 1);
    let mut all = Vec::new();
    for f in [f3, f4, f5] {
        let stem = n.conv_act(f, 128, 1, 1);
        let mut ends = Vec::new();
        for _ in 0..2 {
            let y = n.conv_act(stem, 128, 3, 1);
            ends.push(n.conv_act(y, 128, 3, 1));
        }
        let kinds = n.conv(ends[0], 80, 1, 1);
        let kinds = n.pointwise(&[kinds]);
        let places = n.conv(ends[1], 4, 1, 1);
        let sure = n.conv(ends[1], 1, 1, 1);
        let sure = n.pointwise(&[sure]);
        all.push(n.concat(&[places, sure, kinds]));
    }
    n.outputs.extend(all);
    n.finish()
}

/// EfficientNet-B0: inverted residuals with squeeze and excitation.
pub(crate) fn efficientnet_b0() -> Instance {
    let (mut n, x) = Net::new(3, 224);
    let mut x = n.conv_act(x, 32, 3, 2);
    let stages = [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5)];
    for (expand, out, repeat, stride, window) in
        stages.into_iter().chain([(6, 192, 4, 2, 5), (6, 320, 1, 1, 3)])
    {
        for i in 0..repeat {
            let (c, _) = n.shapes[x];
            let s = if i == 0 { stride } else { 1 };
            let y = if expand > 1 { n.conv_act(x, c * expand, 1, 1) } else { x };
            let y = n.depthwise(y, window, s);
            let y = n.pointwise(&[y]);
            let (wide, _) = n.shapes[y];
            let q = n.add(Kind::Other, &[y], wide, 1);
            let q = n.conv_act(q, c / 4, 1, 1);
            let q = n.conv(q, wide, 1, 1);
            let q = n.pointwise(&[q]);
            let y = n.pointwise(&[y, q]);
            let y = n.conv(y, out, 1, 1);
            x = if s == 1 && c == out { n.pointwise(&[y, x]) } else { y };
        }
    }
    let x = n.conv_act(x, 1280, 1, 1);
    n.classify(x)
}

/// MobileNetV2.
pub(crate) fn mobilenet_v2() -> Instance {
    let (mut n, x) = Net::new(3, 224);
    let mut x = n.conv_act(x, 32, 3, 2);
    let stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2)];
    for (expand, out, repeat, stride) in stages.into_iter().chain([(6, 320, 1, 1)]) {
        for i in 0..repeat {
            let (c, _) = n.shapes[x];
            let s = if i == 0 { stride } else { 1 };
            let y = if expand > 1 { n.conv_act(x, c * expand, 1, 1) } else { x };
            let y = n.depthwise(y, 3, s);
            let y = n.pointwise(&[y]);
            let y = n.conv(y, out, 1, 1);
            x = if s == 1 && c == out { n.pointwise(&[y, x]) } else { y };
        }
    }
    let x = n.conv_act(x, 1280, 1, 1);
    n.classify(x)
}

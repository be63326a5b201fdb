//! Well-known networks built by hand, with seeded weights: for demonstrations, tests and benchmarks.
//!
//! The weights are random (He initialisation, residual branches damped so that activations keep their scale), so the
//! networks compute as fast and as much as trained ones but recognise nothing. Batch normalisation is folded, as it
//! is in exported inference models.

use rayon::prelude::*;
use tactician_ir::{Binary, Dim, Reshape, Shape};
use tactician_ir::{
    Conv, DType, Expr, ExprNode, Graph, GraphError, MatMul, Op, Pool, PoolKind, Reduce, ReduceKind, Scalar,
    Tensor, TensorType, Unary, ValueId,
};

use crate::network::Network;

/// Names of the networks of [`by_name`].
pub const NAMES: [&str; 5] = ["resnet18", "resnet50", "mobilenet_v2", "vgg16", "tiny"];

/// A network by name, for a batch of images: a number, or a symbol such as `"N"` where it is open. `None` when there is none
/// of that name.
pub fn by_name(name: &str, batch: impl Into<Dim>) -> Option<Network> {
    match name {
        "resnet18" => Some(resnet18(batch)),
        "resnet50" => Some(resnet50(batch)),
        "mobilenet_v2" => Some(mobilenet_v2(batch)),
        "vgg16" => Some(vgg16(batch)),
        "tiny" => Some(tiny(batch)),
        _ => None,
    }
}

/// ResNet-18 (He et al., 2015) at 224 by 224; 11.7 million weights.
pub fn resnet18(batch: impl Into<Dim>) -> Network {
    build("resnet18", batch, 224, |b, x| {
        let mut x = b.conv(x, 64, 7, 2, 3, Act::Relu)?;
        x = b.max_pool(x, 3, 2, 1)?;
        for (stage, channels) in [64, 128, 256, 512].into_iter().enumerate() {
            for block in 0..2 {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let short = if stride > 1 { b.conv(x, channels, 1, stride, 0, Act::None)? } else { x };
                let y = b.conv(x, channels, 3, stride, 1, Act::Relu)?;
                let y = b.damped(|b| b.conv(y, channels, 3, 1, 1, Act::None))?;
                x = b.add_relu(y, short)?;
            }
        }
        b.classify(x, 1000)
    })
}

/// ResNet-50 v1.5 (stride in the 3x3 convolution) at 224 by 224; 25.5 million weights, 4.1 billion multiplications.
pub fn resnet50(batch: impl Into<Dim>) -> Network {
    build("resnet50", batch, 224, |b, x| {
        let mut x = b.conv(x, 64, 7, 2, 3, Act::Relu)?;
        x = b.max_pool(x, 3, 2, 1)?;
        for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
            let width = 64 << stage;
            for block in 0..blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let short = if block == 0 { b.conv(x, width * 4, 1, stride, 0, Act::None)? } else { x };
                let y = b.conv(x, width, 1, 1, 0, Act::Relu)?;
                let y = b.conv(y, width, 3, stride, 1, Act::Relu)?;
                let y = b.damped(|b| b.conv(y, width * 4, 1, 1, 0, Act::None))?;
                x = b.add_relu(y, short)?;
            }
        }
        b.classify(x, 1000)
    })
}

/// MobileNetV2 (Sandler et al., 2018), width 1.0, at 224 by 224; 3.5 million weights.
pub fn mobilenet_v2(batch: impl Into<Dim>) -> Network {
    build("mobilenet_v2", batch, 224, |b, x| {
        let mut x = b.conv(x, 32, 3, 2, 1, Act::Relu6)?;
        let mut channels = 32;
        for (expand, out, repeat, stride) in [
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ] {
            for i in 0..repeat {
                let s = if i == 0 { stride } else { 1 };
                let hidden = channels * expand;
                let y = if expand > 1 { b.conv(x, hidden, 1, 1, 0, Act::Relu6)? } else { x };
                let y = b.depthwise(y, 3, s, 1, Act::Relu6)?;
                let y = b.damped(|b| b.conv(y, out, 1, 1, 0, Act::None))?;
                x = if s == 1 && channels == out { b.add(y, x)? } else { y };
                channels = out;
            }
        }
        x = b.conv(x, 1280, 1, 1, 0, Act::Relu6)?;
        b.classify(x, 1000)
    })
}

/// VGG-16 (Simonyan and Zisserman, 2014) at 224 by 224; 138 million weights, 15.5 billion multiplications.
pub fn vgg16(batch: impl Into<Dim>) -> Network {
    build("vgg16", batch, 224, |b, mut x| {
        for (convs, channels) in [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)] {
            for _ in 0..convs {
                x = b.conv(x, channels, 3, 1, 1, Act::Relu)?;
            }
            x = b.max_pool(x, 2, 2, 0)?;
        }
        x = b.flatten(x)?;
        x = b.dense(x, 4096, Act::Relu)?;
        x = b.dense(x, 4096, Act::Relu)?;
        b.dense(x, 1000, Act::None)
    })
}

/// A residual network small enough to tune in a second: 32 by 32 images, ten classes. For tests.
pub fn tiny(batch: impl Into<Dim>) -> Network {
    build("tiny", batch, 32, |b, x| {
        let mut x = b.conv(x, 16, 3, 1, 1, Act::Relu)?;
        for channels in [16, 32] {
            let stride = if channels == 16 { 1 } else { 2 };
            let short = if stride > 1 { b.conv(x, channels, 1, stride, 0, Act::None)? } else { x };
            let y = b.conv(x, channels, 3, stride, 1, Act::Relu)?;
            let y = b.damped(|b| b.conv(y, channels, 3, 1, 1, Act::None))?;
            x = b.add_relu(y, short)?;
        }
        x = b.depthwise(x, 3, 1, 1, Act::Relu6)?;
        b.classify(x, 10)
    })
}

#[derive(Clone, Copy)]
enum Act {
    None,
    Relu,
    Relu6,
}

struct Layers {
    graph: Graph,
    seed: u64,
    scale: f32,
    count: usize,
}

type Built = Result<ValueId, GraphError>;

fn build(
    name: &str,
    batch: impl Into<Dim>,
    size: usize,
    body: impl FnOnce(&mut Layers, ValueId) -> Built,
) -> Network {
    let batch = batch.into();
    let shape = Shape::from([batch.clone(), 3.into(), size.into(), size.into()]);
    let mut layers = Layers { graph: Graph::new(name), seed: 0x5EED, scale: 1.0, count: 0 };
    let result = layers
        .graph
        .add_input("input", TensorType { dtype: DType::F32, shape })
        .and_then(|x| body(&mut layers, x));
    // The shapes are fixed here and covered by tests; only an absurd batch can fail.
    let output = result.unwrap_or_else(|e| panic!("{name} with batch {batch}: {e}"));
    layers.graph.mark_output("logits", output);
    Network::from_graph(layers.graph)
}

/// What SplitMix64 adds to its state each time.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Layers {
    /// Approximately normal numbers with the given deviation: sums of uniform bits (SplitMix64).
    fn random(&mut self, name: &str, sizes: &[usize], deviation: f32) -> ValueId {
        let n: usize = sizes.iter().product();
        let first = self.seed;
        let value = |i: usize| {
            let mut z = first.wrapping_add(STEP.wrapping_mul(i as u64 + 1));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            // Four 16-bit uniforms: variance 4/12 of 2^32.
            let sum: u64 = (0..4).map(|i| z >> (16 * i) & 0xFFFF).sum();
            (sum as f32 / 65536.0 - 2.0) * 1.732_050_8 * deviation
        };
        let values: Vec<f32> = (0..n).into_par_iter().with_min_len(1 << 14).map(value).collect();
        self.seed = first.wrapping_add(STEP.wrapping_mul(n as u64));
        let tensor = Tensor::new(sizes, &values).expect("as many values as the sizes say");
        self.graph.add_constant(name, tensor)
    }

    /// Layers made by `body` get a fifth of the usual scale: ends of residual branches.
    fn damped(&mut self, body: impl FnOnce(&mut Layers) -> Built) -> Built {
        self.scale = 0.2;
        let out = body(self);
        self.scale = 1.0;
        out
    }

    fn channels(&self, x: ValueId) -> usize {
        self.graph.ty(x).shape.dims().get(1).and_then(Dim::as_usize).unwrap_or(0)
    }

    fn conv(&mut self, x: ValueId, k: usize, window: usize, stride: usize, pad: usize, act: Act) -> Built {
        self.grouped(x, k, window, stride, pad, 1, act)
    }

    fn depthwise(&mut self, x: ValueId, window: usize, stride: usize, pad: usize, act: Act) -> Built {
        let c = self.channels(x);
        self.grouped(x, c, window, stride, pad, c, act)
    }

    fn grouped(
        &mut self,
        x: ValueId,
        k: usize,
        window: usize,
        stride: usize,
        pad: usize,
        groups: usize,
        act: Act,
    ) -> Built {
        self.count += 1;
        let name = format!("conv{}", self.count);
        let per_group = self.channels(x) / groups;
        let deviation = self.scale * (2.0 / (per_group * window * window) as f32).sqrt();
        let w = self.random(&format!("{name}.weight"), &[k, per_group, window, window], deviation);
        let bias = self.random(&format!("{name}.bias"), &[k], 0.05);
        let op = Conv { strides: vec![stride; 2], pads: vec![(pad, pad); 2], dilations: vec![1; 2], groups };
        let y = self.graph.add(Op::Conv(op), &[x, w, bias], &name)?;
        self.activate(y, act, &name)
    }

    fn activate(&mut self, x: ValueId, act: Act, name: &str) -> Built {
        let mut e = Expr::empty();
        let v = e.push(ExprNode::Input(0));
        match act {
            Act::None => return Ok(x),
            Act::Relu => e = Expr::unary(Unary::Relu),
            Act::Relu6 => {
                let lo = e.push(ExprNode::Const(Scalar::f32(0.0)));
                let hi = e.push(ExprNode::Const(Scalar::f32(6.0)));
                let t = e.push(ExprNode::Binary(Binary::Max, v, lo));
                e.push(ExprNode::Binary(Binary::Min, t, hi));
            }
        }
        self.graph.add(Op::Pointwise(e), &[x], &format!("{name}.act"))
    }

    fn add(&mut self, a: ValueId, b: ValueId) -> Built {
        let name = format!("add{}", self.count);
        self.graph.add(Op::Pointwise(Expr::binary(Binary::Add)), &[a, b], &name)
    }

    fn add_relu(&mut self, a: ValueId, b: ValueId) -> Built {
        let sum = self.add(a, b)?;
        let name = format!("add{}", self.count);
        self.activate(sum, Act::Relu, &name)
    }

    fn max_pool(&mut self, x: ValueId, window: usize, stride: usize, pad: usize) -> Built {
        let pool = Pool {
            kind: PoolKind::Max,
            window: vec![window; 2],
            strides: vec![stride; 2],
            pads: vec![(pad, pad); 2],
            dilations: vec![1; 2],
            ceil: false,
        };
        self.graph.add(Op::Pool(pool), &[x], &format!("pool{}", self.count))
    }

    fn flatten(&mut self, x: ValueId) -> Built {
        let dims = self.graph.ty(x).shape.dims();
        let rest = dims[1..].iter().cloned().fold(Dim::known(1), |a, b| a * b);
        let shape = Shape::from([dims[0].clone(), rest]);
        self.graph.add(Op::Reshape(Reshape { shape }), &[x], "flatten")
    }

    fn dense(&mut self, x: ValueId, out: usize, act: Act) -> Built {
        self.count += 1;
        let name = format!("fc{}", self.count);
        let c = self.channels(x);
        let w = self.random(&format!("{name}.weight"), &[out, c], (2.0 / c as f32).sqrt());
        let bias = self.random(&format!("{name}.bias"), &[out], 0.05);
        let op = Op::MatMul(MatMul { trans_a: false, trans_b: true });
        let y = self.graph.add(op, &[x, w], &name)?;
        let y =
            self.graph.add(Op::Pointwise(Expr::binary(Binary::Add)), &[y, bias], &format!("{name}.bias"))?;
        self.activate(y, act, &name)
    }

    /// Global average pool, then one dense layer.
    fn classify(&mut self, x: ValueId, classes: usize) -> Built {
        let mean = Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keep_dims: true };
        let x = self.graph.add(Op::Reduce(mean), &[x], "global_pool")?;
        let x = self.flatten(x)?;
        self.dense(x, classes, Act::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_their_known_sizes() {
        for (name, millions, nodes) in
            [("resnet18", 11.68, 20), ("resnet50", 25.53, 53), ("mobilenet_v2", 3.49, 52), ("tiny", 0.0, 7)]
        {
            let net = by_name(name, 1).unwrap();
            let g = net.graph().unwrap();
            let weights: usize = g.node_ids().filter_map(|n| g.node(n).as_constant()).map(Tensor::len).sum();
            let convs = g.node_ids().filter(|&n| matches!(g.node(n).op, Op::Conv(_))).count();
            assert_eq!(convs, nodes, "{name}");
            if millions > 0.0 {
                assert!((weights as f64 / 1e6 - millions).abs() < 0.01, "{name} has {weights}");
            }
        }
        assert!(by_name("alexnet", 1).is_none());
    }
}

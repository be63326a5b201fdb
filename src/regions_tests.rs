use tactician_device::CudaInfo;
use tactician_ir::{Binary, Conv, DType, Tensor, TensorType, Unary, Verified};
use tactician_passes::{FusionPolicy, Greedy, canonicalize, lower, proposals};
use tactician_tactics::tactics;

use super::*;
use crate::network::{Network, Shapes};
use crate::zoo;

/// An H100 without libraries.
fn h100() -> DeviceInfo {
    CudaInfo::h100().on_paper()
}

/// Every tactic of an H100 without libraries.
fn offers<R>(with: impl FnOnce(Offer<'_>) -> R) -> R {
    let (catalogue, device, options) = (Catalogue::new(), h100(), TuneOptions::default());
    with(Offer { catalogue: &catalogue, device: &device, options: &options })
}

fn greedy_served(graph: &Graph) -> Vec<Region> {
    offers(|o| served(graph, Greedy.choose(graph, &proposals(graph)).into_regions(), o))
}

/// A convolution with a ReLU, a sum with `y`, and a sine.
fn chain() -> (Graph, Region) {
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::known(DType::F32, &[1, 4, 6, 6])).unwrap();
    let y = g.add_input("y", TensorType::known(DType::F32, &[1, 4, 6, 6])).unwrap();
    let w = g.add_constant("w", Tensor::new(&[4, 4, 1, 1], &[0.5f32; 16]).unwrap());
    let conv = g.add(Op::Conv(Conv::unit(2)), &[x, w], "conv").unwrap();
    let relu = g.add(Op::Pointwise(Expr::unary(Unary::Relu)), &[conv], "relu").unwrap();
    let add = g.add(Op::Pointwise(Expr::binary(Binary::Add)), &[relu, y], "add").unwrap();
    let sin = g.add(Op::Pointwise(Expr::unary(Unary::Sin)), &[add], "sin").unwrap();
    g.mark_output("z", sin);
    let nodes = [conv, relu, add, sin].map(ValueId::node);
    let region = Region::new("conv", &g, &nodes).unwrap();
    (g, region)
}

/// The names of each part's nodes, and its rule.
fn parts(graph: &Graph, list: &[Region]) -> Vec<String> {
    let name =
        |r: &Region| r.nodes.iter().map(|&n| graph.node(n).name.as_str()).collect::<Vec<_>>().join("+");
    list.iter().map(|r| format!("{} {}", r.rule, name(r))).collect()
}

#[test]
fn regions_are_divided_no_more_than_needed() {
    let (g, region) = chain();
    let split = |serves: &dyn Fn(&Region) -> bool| parts(&g, &divided(&g, region.clone(), serves));
    assert_eq!(split(&|_| true), ["conv conv+relu+add+sin"]);
    // A device without this epilogue still takes what comes before it.
    let no_sine = |r: &Region| {
        let e = r.problem(&g).epilogue;
        r.rule != "conv" || !e.to_string().contains("sin")
    };
    assert_eq!(split(&no_sine), ["conv conv+relu+add", "unfused sin"]);
    // What is taken off stays together.
    assert_eq!(split(&|r| r.rule != "conv" || r.nodes.len() <= 2), ["conv conv+relu", "unfused add+sin"]);
    assert_eq!(split(&|r| r.rule != "conv"), ["conv conv", "unfused relu+add+sin"]);
    assert_eq!(split(&|_| false), ["conv conv", "unfused relu", "unfused add", "unfused sin"]);
}

#[test]
fn a_conversion_that_no_kernel_takes_in_is_computed_before() {
    // Many channels: no kernel rounds them as it reads them.
    for (channels, want) in [(3, 1), (16, 2)] {
        let mut g = Graph::new("g");
        let x = g.add_input("x", TensorType::known(DType::F32, &[1, channels, 8, 8])).unwrap();
        let weights = vec![0.5f32; 8 * channels * 9];
        let w = g.add_constant("w", Tensor::new(&[8, channels, 3, 3], &weights).unwrap());
        let conv = g.add(Op::Conv(Conv::unit(2)), &[x, w], "conv").unwrap();
        let relu = g.add(Op::Pointwise(Expr::unary(Unary::Relu)), &[conv], "relu").unwrap();
        g.mark_output("y", relu);
        let low = fused(g);
        let regions = greedy_served(&low);
        assert_eq!(regions.len(), want, "{:?}", parts(&low, &regions));
        assert!(regions.iter().all(|r| !tactics(&r.problem(&low), &h100()).is_empty()));
    }
}

#[test]
fn conversions_come_apart() {
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::known(DType::F32, &[1, 3, 8, 8])).unwrap();
    let w = g.add_constant("w", Tensor::new(&[8, 3, 3, 3], &[0.5f32; 216]).unwrap());
    let conv = g.add(Op::Conv(Conv::unit(2)), &[x, w], "conv").unwrap();
    let relu = g.add(Op::Pointwise(Expr::unary(Unary::Relu)), &[conv], "relu").unwrap();
    g.mark_output("y", relu);
    let low = fused(g);
    let regions = greedy_served(&low);
    assert_eq!(parts(&low, &regions), ["conv x as f16+conv+relu+relu as f32"]);
    let apart = offers(|o| apart(&low, &regions[0], o)).unwrap();
    assert_eq!(parts(&low, &apart), ["unfused x as f16", "conv conv+relu", "unfused relu as f32"]);
    // Nothing to take apart.
    assert!(offers(|o| super::apart(&low, &apart[1], o)).is_none());
    assert!(offers(|o| super::apart(&low, &apart[0], o)).is_none());
}

/// The canonical graph in `f16`.
fn fused(graph: Graph) -> Verified<Graph> {
    let (g, _) = canonicalize(graph).unwrap();
    canonicalize(lower(&g, DType::F16).unwrap()).unwrap().0
}

/// The launches of a network in `f16` on a GPU that are neither convolutions nor matrix products.
fn others(net: &Network) -> Vec<String> {
    let g = fused(net.bind(&Shapes::new()).unwrap());
    let regions = greedy_served(&g);
    let mut out = Vec::new();
    for r in &regions {
        let list = tactics(&r.problem(&g), &h100());
        assert!(!list.is_empty(), "{}", r.problem(&g));
        let product = matches!(g.node(r.anchor).op, Op::Conv(_) | Op::MatMul(_));
        if !product && !list.iter().any(|t| t.view) {
            out.push(g.node(r.anchor).name.clone());
        }
    }
    out
}

#[test]
fn networks_in_f16_run_little_beside_their_products() {
    assert_eq!(others(&zoo::resnet50(1)), ["pool1", "global_pool"]);
    assert_eq!(others(&zoo::mobilenet_v2(1)), ["global_pool"]);
    assert_eq!(others(&zoo::vgg16(1)), ["pool2", "pool4", "pool7", "pool10", "pool13"]);
}

/// A convolution with a bias and `f(x)`, and what measuring it spares on a device.
fn spared_with(f: Unary, device: &DeviceInfo) -> Vec<String> {
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::known(DType::F32, &[1, 16, 12, 12])).unwrap();
    let w = g.add_constant("w", Tensor::new(&[16, 16, 3, 3], &vec![0.1f32; 16 * 16 * 9]).unwrap());
    let conv = g.add(Op::Conv(Conv::unit(2)), &[x, w], "conv").unwrap();
    let y = g.add(Op::Pointwise(Expr::unary(f)), &[conv], "f").unwrap();
    g.mark_output("y", y);
    let (catalogue, options) = (Catalogue::new(), TuneOptions::default());
    let offer = Offer { catalogue: &catalogue, device, options: &options };
    let regions = to_measure(&g, None, &[], &proposals(&g), offer);
    let problems: Vec<Problem> = regions.iter().map(|r| r.problem(&g)).collect();
    let lists: Vec<_> = problems.iter().map(|p| offer.allowed(p)).collect();
    spared(&g, &regions, &problems, &lists).into_values().flatten().collect()
}

#[test]
fn exponentials_behind_a_cpus_products_are_measured_apart_too() {
    use tactician_device::Device;

    let cpu = tactician_cpu::CpuDevice::new(Some(1)).unwrap();
    assert!(spared_with(Unary::Relu, cpu.info()).iter().any(|id| id.starts_with("conv.cpu.")));
    assert_eq!(spared_with(Unary::Sigmoid, cpu.info()), [""; 0]);
    // A GPU computes both in registers.
    assert!(!spared_with(Unary::Sigmoid, &h100()).is_empty());
}

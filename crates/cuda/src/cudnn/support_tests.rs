//! What cuDNN offers for an H100, asked without a GPU: against cuDNN's own description of one (`testdata/h100-sxm.json`)
//! and the answers that version 9.14 gave (`testdata/cudnn-9.14-h100.txt`, written anew with `BLESS=1`). Another version
//! must serve what 9.14 served, with any number of engines.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;
use tactician_types::DType;

use super::cudnn_tests::{After, RELU, after, convolution, h100, library};
use super::plan::Plan;
use super::target::{Target, description};
use super::*;

const DUMP: &str = include_str!("../../testdata/h100-sxm.json");
/// Convolutions, by engines that are compiled already.
const SUPPORT: &str = "testdata/cudnn-9.14-h100.txt";
/// Everything else, by all engines.
const COMPILED: &str = "testdata/cudnn-9.14-h100-compiled.txt";
const VERSION: usize = 91400;

/// The GPU as cuDNN described it on a machine that had one.
pub(super) fn dumped() -> Target {
    Target::Description(DUMP.to_owned())
}

#[test]
fn the_description_made_of_facts_is_cudnns_own() {
    let dump: BTreeMap<String, Value> = serde_json::from_str(DUMP).unwrap();
    let made = description(&h100());
    for (key, value) in dump {
        // A name and a place mean nothing to an engine.
        if !["deviceName", "pciDeviceId"].contains(&key.as_str()) {
            assert_eq!(made[&key], value, "{key}");
        }
    }
}

/// A convolution with groups: the filters see `c / groups` channels.
fn grouped(dtype: DType, layer: [u64; 6], groups: u64, after: After) -> GraphSpec {
    let mut spec = convolution(dtype, layer, after);
    let w = &mut spec.tensors[1];
    *w = TensorSpec::channels_last(dtype, &[layer[3], layer[1] / groups, layer[4], layer[4]], w.role);
    spec
}

/// Everything that is asked, by name.
fn questions() -> Vec<(String, GraphSpec)> {
    let afters = [
        ("bare", after(false, false, None)),
        ("bias", after(false, true, None)),
        ("bias relu", after(false, true, RELU)),
        ("residual bias relu", after(true, true, RELU)),
        ("bias relu6", after(false, true, Some(Function::Relu { upper: Some(6.0) }))),
        ("bias sigmoid", after(false, true, Some(Function::Sigmoid))),
        ("bias tanh", after(false, true, Some(Function::Tanh))),
        ("bias swish", after(false, true, Some(Function::Swish))),
    ];
    let layers = [
        ("1x1", [1, 256, 14, 1024, 1, 1], 1),
        ("1x1 stride 2", [8, 512, 28, 1024, 1, 2], 1),
        ("3x3", [1, 256, 14, 256, 3, 1], 1),
        ("3x3 stride 2", [8, 128, 56, 128, 3, 2], 1),
        ("7x7 of 3", [1, 3, 224, 64, 7, 2], 1),
        ("3x3 in 32 groups", [1, 128, 56, 128, 3, 1], 32),
        ("depthwise 3x3", [1, 96, 56, 96, 3, 1], 96),
    ];
    let mut list = Vec::new();
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        for (layer_name, layer, groups) in layers {
            for (after_name, after) in afters {
                let name = format!("{dtype} {layer_name}, {after_name}");
                list.push((name, grouped(dtype, layer, groups, after)));
            }
        }
    }
    list
}

/// Of the engines that are compiled already: how many, how many need no scratch, and the largest scratch.
fn answer(cudnn: &'static tactician_cudnn_sys::Cudnn, spec: &GraphSpec) -> (usize, usize, u64) {
    // A refusal is an answer too.
    let list = engines::list(cudnn, spec, &dumped()).unwrap_or_default();
    let ready: Vec<&Candidate> = list.iter().filter(|c| !c.compiles()).collect();
    let free = ready.iter().filter(|c| c.workspace == 0).count();
    (ready.len(), free, ready.iter().map(|c| c.workspace).max().unwrap_or(0))
}

/// The same of those that cuDNN compiles. It lists none where it could not.
fn answer_compiled(cudnn: &'static tactician_cudnn_sys::Cudnn, spec: &GraphSpec) -> (usize, usize, u64) {
    let list = engines::list(cudnn, spec, &dumped()).unwrap_or_default();
    let free = list.iter().filter(|c| c.workspace == 0).count();
    (list.len(), free, list.iter().map(|c| c.workspace).max().unwrap_or(0))
}

#[test]
fn engines_are_those_that_were_known() {
    let Some(cudnn) = library() else { return };
    let mut text = String::from(
        "# Engines that are compiled already, those of them without scratch, largest scratch.\n",
    );
    for (name, spec) in questions() {
        let (ready, free, most) = answer(cudnn, &spec);
        writeln!(text, "{name}: {ready}, {free}, {most}").unwrap();
    }
    compare(cudnn.version() == VERSION, &text, SUPPORT);
}

#[test]
fn engines_that_are_compiled_are_those_that_were_known() {
    let Some(cudnn) = library() else { return };
    let mut text = String::from("# All engines, those of them without scratch, largest scratch.\n");
    let mut some = false;
    for (name, spec) in super::nodes_tests::questions() {
        let (all, free, most) = answer_compiled(cudnn, &spec);
        some |= all > 0 && name.contains("product");
        writeln!(text, "{name}: {all}, {free}, {most}").unwrap();
    }
    if !some && std::env::var_os("TACTICIAN_NEED_CUDNN").is_none() {
        eprintln!("skipped: cuDNN compiles no engines without libcuda.so.1");
        return;
    }
    // A driver's answers are part of it.
    let exact = std::env::var_os("TACTICIAN_NO_DRIVER").is_some() && cudnn.version() == VERSION;
    compare(exact, &text, COMPILED);
}

/// `exact` says that the answers are to be those of the file, else that nothing is served no more.
fn compare(exact: bool, text: &str, file: &str) {
    let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() && exact {
        std::fs::write(&path, text).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap();
    if exact {
        assert_eq!(text, known, "run the test with BLESS=1 if this is how it should be");
        return;
    }
    for (now, then) in text.lines().zip(known.lines()).skip(1) {
        let ((name, now), (_, then)) = (now.rsplit_once(": ").unwrap(), then.rsplit_once(": ").unwrap());
        assert!(then.starts_with("0,") || !now.starts_with("0,"), "{name} is served no more");
    }
}

/// Convolutions of ResNet-50: channels, size, filters, window, stride.
const RESNET50: [[u64; 5]; 20] = [
    [3, 224, 64, 7, 2],
    [64, 56, 64, 1, 1],
    [64, 56, 64, 3, 1],
    [64, 56, 256, 1, 1],
    [256, 56, 64, 1, 1],
    [256, 56, 128, 1, 1],
    [128, 56, 128, 3, 2],
    [128, 28, 512, 1, 1],
    [512, 28, 128, 1, 1],
    [128, 28, 128, 3, 1],
    [512, 28, 256, 1, 1],
    [256, 28, 256, 3, 2],
    [256, 14, 1024, 1, 1],
    [1024, 14, 256, 1, 1],
    [256, 14, 256, 3, 1],
    [1024, 14, 512, 1, 1],
    [512, 14, 512, 3, 2],
    [512, 7, 2048, 1, 1],
    [2048, 7, 512, 1, 1],
    [512, 7, 512, 3, 1],
];

#[test]
fn every_layer_of_a_network_gets_plans_with_and_without_scratch() {
    let Some(cudnn) = library() else { return };
    let target = dumped();
    for dtype in [DType::F16, DType::F32] {
        for [c, side, k, window, stride] in RESNET50 {
            let spec =
                convolution(dtype, [1, c, side, k, window, stride], after(window == 1 && k > c, true, RELU));
            let list = engines::list(cudnn, &spec, &target).unwrap();
            let ready: Vec<&Candidate> = list.iter().filter(|c| !c.compiles()).collect();
            let free = ready.iter().find(|c| c.workspace == 0);
            assert!(free.is_some(), "{dtype} {c}->{k}: all {} need scratch", ready.len());
            let hungriest = ready.iter().max_by_key(|c| c.workspace);
            for candidate in free.into_iter().chain(hungriest) {
                let plan = Plan::build(cudnn, &target, &spec, candidate.engine, &candidate.knobs).unwrap();
                assert_eq!(plan.workspace().unwrap(), candidate.workspace, "{dtype} {c}->{k}: {candidate}");
            }
        }
    }
}

#[test]
fn a_made_and_a_dumped_description_give_the_same_engines() {
    let Some(cudnn) = library() else { return };
    let made = Target::Description(description(&h100()).to_string());
    for (name, spec) in questions().into_iter().step_by(5) {
        let of = |target| engines::list(cudnn, &spec, target).unwrap_or_default();
        assert_eq!(of(&made), of(&dumped()), "{name}");
    }
}

//! Candidates that do not fit in memory are dropped with their reason, and the rest goes on.

use std::collections::BTreeMap;

use tactician_device::replay::{Failure, ReplayDevice};
use tactician_device::{CudaInfo, Device, DeviceInfo, DeviceKind};
use tactician_ir::{Conv, Graph, Op, Problem, Region, Tensor, TensorType};
use tactician_tactics::Tactic;
use tactician_types::DType;

use crate::{TacticTable, TuneError, TuneOptions, TuneReport, Verdict, facts, offered, tune};

fn problem() -> Problem {
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::known(DType::F32, &[1, 32, 40, 40])).unwrap();
    let weights = Tensor::from_bytes(DType::F32, &[32, 32, 3, 3], vec![0; 32 * 32 * 9 * 4]).unwrap();
    let w = g.add_constant("w", weights);
    let conv = Conv { strides: vec![1; 2], pads: vec![(1, 1); 2], dilations: vec![1; 2], groups: 1 };
    let y = g.add(Op::Conv(conv), &[x, w], "y").unwrap();
    g.mark_output("y", y);
    Region::new("test", &g, &[y.node()]).unwrap().problem(&g)
}

/// Nothing is compared: the device computes nothing.
fn options() -> TuneOptions {
    TuneOptions { gate: false, ..TuneOptions::default() }
}

/// Verdicts by tactic, after tuning on a device.
fn verdicts(device: &ReplayDevice, options: &TuneOptions) -> (TuneReport, BTreeMap<String, Verdict>) {
    let (problem, mut table) = (problem(), TacticTable::new());
    let report = tune(device, std::slice::from_ref(&problem), &mut table, options, &mut |_| {}).unwrap();
    let context = table.context(&facts(device));
    let rows = table.rows(&context, &problem.to_string()).unwrap();
    (report, rows.iter().map(|(id, r)| (id.clone(), r.verdict.clone())).collect())
}

#[test]
fn a_candidate_whose_allocation_fails_is_dropped_with_its_reason() {
    let all = offered(&problem(), ReplayDevice::new().info(), &options());
    // What needs more scratch than this cannot have it; what needs less may have too many constants.
    let refused = all.iter().map(|t| t.workspace).max().unwrap() / 2;
    let device = ReplayDevice::new().refuse_from(refused);
    let (report, verdicts) = verdicts(&device, &options());
    for t in &all {
        match &verdicts[&t.id] {
            Verdict::Failed { reason } => {
                assert!(reason.contains("out of memory"), "{reason}");
                assert!(report.rejected.iter().any(|(_, id, r)| *id == t.id && r == reason));
            }
            Verdict::Timed(_) => assert!(t.workspace < refused, "{t:?}"),
            Verdict::Wrong { reason } => panic!("{t:?}: {reason}"),
        }
    }
    let timed = |t: &&Tactic| matches!(verdicts[&t.id], Verdict::Timed(_));
    assert!(all.iter().any(|t| timed(&t)) && !all.iter().all(|t| timed(&t)));
    assert_eq!(device.memory_used().0, 0, "memory of dropped candidates is not given back");
}

#[test]
fn running_out_while_it_runs_drops_a_candidate_too() {
    let all = offered(&problem(), ReplayDevice::new().info(), &options());
    let constants =
        [None, Some(Tensor::from_bytes(DType::F32, &[32, 32, 3, 3], vec![0; 32 * 32 * 9 * 4]).unwrap())];
    let step = &all[0].emit(&constants).unwrap().steps[0];
    let device = ReplayDevice::new().failure(step.kernel, &step.params, Failure::OutOfMemory);
    let (report, verdicts) = verdicts(&device, &options());
    assert!(matches!(&verdicts[&all[0].id], Verdict::Failed { reason } if reason.contains("out of memory")));
    assert_eq!(report.rejected.len(), 1);
    assert!(verdicts.values().filter(|v| matches!(v, Verdict::Timed(_))).count() == all.len() - 1);
}

#[test]
fn the_limit_for_tuning_drops_what_needs_more() {
    let all = offered(&problem(), ReplayDevice::new().info(), &options());
    let most = all.iter().map(|t| t.workspace).max().unwrap();
    let (report, some) = verdicts(&ReplayDevice::new(), &TuneOptions { tuning_memory: most, ..options() });
    assert!(all.iter().any(|t| t.workspace == 0 && matches!(some[&t.id], Verdict::Timed(_))));
    assert!(!report.rejected.is_empty());
    assert!(report.rejected.iter().all(|(_, _, r)| r.contains("while tuning, the limit is")));
}

#[test]
fn no_memory_for_any_candidate_is_an_error_that_lists_them() {
    let device = ReplayDevice::new().memory_limit(1 << 10);
    let (problem, mut table) = (problem(), TacticTable::new());
    let e = tune(&device, std::slice::from_ref(&problem), &mut table, &options(), &mut |_| {}).unwrap_err();
    let TuneError::AllRejected { rejected, .. } = &e else { panic!("{e}") };
    assert_eq!(rejected.len(), offered(&problem, device.info(), &options()).len());
    assert!(rejected.iter().all(|(_, r)| r.contains("out of memory")), "{e}");
}

/// Candidates hold their constants until all have raced, so what fits by itself may not fit beside the others.
#[test]
fn whatever_memory_there_is_some_candidate_wins_or_all_say_why() {
    let cuda = CudaInfo { multiprocessors: 8, l2_bytes: 1 << 16, memory_bytes: 1 << 30, ..CudaInfo::h100() };
    let gpu = DeviceInfo { kind: DeviceKind::Cuda(cuda), ..ReplayDevice::new().info().clone() };
    for info in [ReplayDevice::new().info().clone(), gpu] {
        let device = || ReplayDevice::new().with_info(info.clone()).compiles();
        let whole = device();
        verdicts(&whole, &options());
        let peak = whole.memory_used().1;
        let (mut some, mut none) = (0, 0);
        for share in 2..40 {
            let device = device().memory_limit(peak * share / 40);
            let mut table = TacticTable::new();
            match tune(&device, &[problem()], &mut table, &options(), &mut |_| {}) {
                Ok(report) => {
                    assert!(report.rejected.iter().all(|(_, _, r)| r.contains("out of memory")));
                    // Near the peak all may fit: checks overlap differently each time.
                    some += usize::from(!report.rejected.is_empty());
                }
                Err(TuneError::AllRejected { .. }) => none += 1,
                Err(e) => panic!("{share}/40 of the memory: {e}"),
            }
            assert_eq!(device.memory_used().0, 0);
        }
        assert!(some > 10, "{some} and {none} of {}", info.kind_name());
    }
}

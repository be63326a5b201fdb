use tactician_device::replay::{Failure, ReplayDevice};
use tactician_device::{DeviceInfo, Executable, HostBytes, Memory, StepDesc};
use tactician_ir::{Binary, Expr, Graph, Op, Region, TensorType};
use tactician_types::DType;

use super::*;
use crate::offered;

fn problem() -> Problem {
    let mut g = Graph::new("g");
    let ty = TensorType::known(DType::F32, &[4, 8]);
    let inputs = ["a", "b"].map(|n| g.add_input(n, ty.clone()).unwrap());
    let y = g.add(Op::Pointwise(Expr::binary(Binary::Add)), &inputs, "y").unwrap();
    g.mark_output("y", y);
    Region::new("test", &g, &[y.node()]).unwrap().problem(&g)
}

#[test]
fn a_tactic_that_breaks_the_device_is_the_only_one_blamed() {
    let problem = problem();
    let quick = ReplayDevice::new();
    let all = offered(&problem, quick.info(), &TuneOptions::default());
    assert!(!all.is_empty());
    let options = TuneOptions { gate: false, ..TuneOptions::default() };
    let step = &all[0].emit(&[None, None]).unwrap().steps[0];
    let broken = ReplayDevice::new().failure(step.kernel, &step.params, Failure::Fault);
    let mut table = TacticTable::new();
    let e = tune(&broken, std::slice::from_ref(&problem), &mut table, &options, &mut |_| {}).unwrap_err();
    assert!(matches!(&e, TuneError::Fault { tactic, .. } if *tactic == all[0].id), "{e}");
    assert!(e.to_string().contains("start again with the same table"), "{e}");
    let context = table.context(&facts(&broken));
    let rows = table.rows(&context, &problem.to_string()).unwrap();
    assert_eq!(rows.len(), 1);
    assert!(matches!(rows[&all[0].id].verdict, Verdict::Failed { .. }));
}

#[test]
fn what_excluded_everything_is_told() {
    let problem = problem();
    let device = ReplayDevice::new();
    let error = |options: &TuneOptions| {
        let mut table = TacticTable::new();
        tune(&device, std::slice::from_ref(&problem), &mut table, options, &mut |_| {}).unwrap_err()
    };
    let options = TuneOptions { tactics: "conv.cudnn".parse().unwrap(), ..TuneOptions::default() };
    let e = error(&options);
    assert!(
        matches!(&e, TuneError::Excluded { families, reasons, .. }
        if families.iter().any(|f| f == "pointwise.cpu") && reasons.is_empty()),
        "{e}"
    );
    let text = e.to_string();
    for part in
        [device.info().name.as_str(), "`conv.cudnn` excludes all", "pointwise.cpu", "leave the list out"]
    {
        assert!(text.contains(part), "{text}");
    }
    // What the list allows, another option excludes.
    let reasons = [("pointwise.cpu/x".to_owned(), "needs 1 B of scratch".to_owned())];
    let told = |filter: &str| excluded(&filter.parse().unwrap(), &["pointwise.cpu".to_owned()], &reasons);
    assert!(told("pointwise").contains("`pointwise` allows (here there are pointwise.cpu)"));
    assert!(told("all").starts_with("all are excluded") && told("all").contains("needs 1 B"));
}

/// A device that is known by its description alone.
struct Absent(ReplayDevice);

impl Device for Absent {
    fn info(&self) -> &DeviceInfo {
        self.0.info()
    }

    fn alloc(&self, _: u64) -> Result<Box<dyn Memory>, DeviceError> {
        Err(absent())
    }

    fn constants(&self, _: Arc<dyn HostBytes>) -> Result<Box<dyn Memory>, DeviceError> {
        Err(absent())
    }

    fn prepare(&self, _: &StepDesc<'_>) -> Result<Box<dyn Executable>, DeviceError> {
        Err(absent())
    }

    fn stream(&self) -> Result<Box<dyn Stream>, DeviceError> {
        Err(absent())
    }
}

fn absent() -> DeviceError {
    DeviceError::Failed { call: "asking it for something".into(), reason: "it is not here".into() }
}

#[test]
fn where_the_table_has_everything_no_device_is_asked() {
    let problem = std::slice::from_ref(&problem()).to_vec();
    let options = TuneOptions { gate: false, ..TuneOptions::default() };
    let mut table = TacticTable::new();
    let found = tune(&ReplayDevice::new(), &problem, &mut table, &options, &mut |_| {}).unwrap();
    let again = tune(&Absent(ReplayDevice::new()), &problem, &mut table, &options, &mut |_| {}).unwrap();
    assert_eq!((again.measured, again.reused), (0, found.measured));
    let nothing = &mut TacticTable::new();
    let e = tune(&Absent(ReplayDevice::new()), &problem, nothing, &options, &mut |_| {}).unwrap_err();
    assert!(e.to_string().contains("it is not here"), "{e}");
}

use std::time::Duration;

use tactician_device::HostMemory;
use tactician_device::host_pointer;
use tactician_device::replay::{Failure, ReplayDevice};

use super::*;
use crate::host_call::HostFailure;

/// A host that adds its two inputs, byte by byte, and panics at a sum of 13.
fn adder() -> Arc<dyn Device> {
    let host = ReplayDevice::new().timer(|_| Duration::ZERO).compute(|c, x, y| {
        assert_eq!((c.kernel, c.params), ("add", &b"p"[..]));
        y[0].iter_mut().zip(x[0]).zip(x[1]).for_each(|((y, a), b)| *y = a + b);
        assert!(!y[0].contains(&13), "bad luck");
    });
    Arc::new(host)
}

fn params(inputs: Vec<HostInput>) -> Vec<u8> {
    postcard::to_stdvec(&HostRun { kernel: "add".into(), params: b"p".into(), inputs, scratch: 100 }).unwrap()
}

fn step<'a>(params: &'a [u8], inputs: &'a [u64], outputs: &'a [u64]) -> StepDesc<'a> {
    StepDesc { kernel: HostRun::NAME, params, inputs, outputs, scratch: 0, code: None }
}

/// Writes the input, calls as the driver would, reads the output.
fn call(call: &HostCall, work: &HostWork, input: [u8; 4]) -> [u8; 4] {
    let [x, y] = work.staged(call.base()).collect::<Vec<_>>()[..] else { panic!("two staged places") };
    assert!(x.len == 4 && y.len == 4 && y.address.is_multiple_of(ALIGNMENT) && y.address > x.address);
    let mut out = [0; 4];
    // SAFETY: both places are live, four bytes long and touched by nothing else; the call is live.
    unsafe {
        std::ptr::copy_nonoverlapping(input.as_ptr(), host_pointer(x), 4);
        run_call(std::ptr::from_ref(call).cast_mut().cast());
        std::ptr::copy_nonoverlapping(host_pointer(y), out.as_mut_ptr(), 4);
    }
    out
}

fn ready(host: &Arc<dyn Device>, failure: &Arc<HostFailure>) -> (HostCall, Arc<HostWork>, Arc<()>) {
    let p = params(vec![HostInput::Kept(vec![1, 2, 3, 4]), HostInput::Given]);
    let work = Arc::new(HostWork::prepare(&step(&p, &[4], &[4]), Some(host)).unwrap());
    let staging = Box::new(HostMemory::alloc(work.staged, "the test").unwrap());
    let alive = Arc::new(());
    (HostCall::new(&work, staging, failure, Arc::downgrade(&alive)).unwrap(), work, alive)
}

#[test]
fn a_call_computes_on_staged_operands_and_kept_constants() {
    let failure = Arc::default();
    let (c, work, alive) = ready(&adder(), &failure);
    assert_eq!(call(&c, &work, [10, 20, 30, 40]), [11, 22, 33, 44]);
    assert_eq!(call(&c, &work, [0, 0, 0, 1]), [1, 2, 3, 5]);
    assert!(failure.tell().is_ok() && c.is_wanted());
    drop(alive);
    assert!(!c.is_wanted());
}

#[test]
fn what_goes_wrong_is_told_once_and_not_thrown() {
    let failure = Arc::default();
    let (c, work, _alive) = ready(&adder(), &failure);
    call(&c, &work, [12, 0, 0, 0]);
    let told = failure.tell().unwrap_err().to_string();
    assert!(told.contains("running `add` on the CPU") && told.contains("it panicked: bad luck"), "{told}");
    assert!(failure.tell().is_ok());
    assert_eq!(call(&c, &work, [1, 0, 0, 0]), [2, 2, 3, 4]);
    assert!(failure.tell().is_ok());

    let host: Arc<dyn Device> = Arc::new(ReplayDevice::new().failure("add", b"p", Failure::RunAfter(1)));
    let (c, work, _alive) = ready(&host, &failure);
    call(&c, &work, [1, 0, 0, 0]);
    assert!(failure.tell().is_ok());
    call(&c, &work, [1, 0, 0, 0]);
    assert!(failure.tell().unwrap_err().to_string().contains("scripted to fail"));
}

#[test]
fn unfit_steps_are_refused() {
    let host = adder();
    let refused = |params: &[u8], inputs: &[u64], outputs: &[u64], host: Option<&Arc<dyn Device>>| {
        HostWork::prepare(&step(params, inputs, outputs), host).err().unwrap().to_string()
    };
    let fit = params(vec![HostInput::Given, HostInput::Given]);
    assert!(refused(&fit, &[4, 4], &[4], None).contains("opened without one"));
    let gpu = tactician_device::DeviceKind::Cuda(tactician_device::CudaInfo {
        capability: (9, 0),
        multiprocessors: 132,
        shared_bytes: 0,
        l2_bytes: 0,
        memory_bytes: 0,
        driver: 0,
        nvrtc: None,
        cudnn: None,
        cublaslt: None,
    });
    let info = tactician_device::DeviceInfo { kind: gpu, ..host.info().clone() };
    let other: Arc<dyn Device> = Arc::new(ReplayDevice::new().with_info(info));
    assert!(refused(&fit, &[4, 4], &[4], Some(&other)).contains("opened without one"));
    assert!(refused(&fit, &[4], &[4], Some(&host)).contains("takes 2 inputs, the plan passes 1"));
    assert!(refused(&[], &[], &[], Some(&host)).contains("do not decode"));
    assert!(refused(&[&fit[..], &[0]].concat(), &[4, 4], &[4], Some(&host)).contains("stray"));
    assert!(refused(&fit, &[4, u64::MAX], &[4], Some(&host)).contains("overflow"));
    let unprepared: Arc<dyn Device> = Arc::new(ReplayDevice::new().failure("add", b"p", Failure::Prepare));
    assert!(refused(&fit, &[4, 4], &[4], Some(&unprepared)).contains("scripted to be refused"));
}

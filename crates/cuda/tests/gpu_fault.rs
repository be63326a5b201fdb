//! What a faulting kernel leaves behind. In a process of its own: after the fault the GPU refuses this one everything.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests stop at the first surprise and say why they skip"
)]

use tactician_cuda::{CudaDevice, Launch, Launches, obstacle};
use tactician_device::{CodeSource, Device, Span, StepDesc};

#[test]
fn a_fault_is_told_and_found_again_by_health() {
    if let Some(reason) = obstacle() {
        println!("skipped: {reason}");
        return;
    }
    let device = CudaDevice::new(0).unwrap();
    let text = r#"extern "C" __global__ void wild() { *(volatile int*)8 = 1; }"#;
    let source = CodeSource { name: "wild.cu".into(), text: text.into(), options: vec![] };
    let code = device.compile(&source).unwrap();
    let wild = Launch {
        entry: "wild".into(),
        grid: [1; 3],
        block: [1; 3],
        cluster: [1; 3],
        shared: 0,
        overlaps: false,
        args: vec![],
    };
    let params = postcard::to_stdvec(&Launches(vec![wild])).unwrap();
    let step = device
        .prepare(&StepDesc {
            kernel: Launches::NAME,
            params: &params,
            inputs: &[],
            outputs: &[],
            scratch: 0,
            code: Some(&code),
        })
        .unwrap();
    let mut s = device.stream().unwrap();
    device.health().unwrap();
    // SAFETY: the step has no arguments. What it does is what is tested.
    unsafe { step.enqueue(&[Span::EMPTY], s.as_mut()).unwrap() };
    let e = s.synchronize().unwrap_err().to_string();
    assert!(e.contains("a kernel") && e.contains("start the program again"), "{e}");
    assert!(device.health().is_err());
    assert!(device.alloc(1 << 20).is_err() || device.stream().is_err());
}

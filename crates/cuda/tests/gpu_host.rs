//! CPU steps on a real GPU. Without one, every test says why it is skipped. The CPU is a replay device that computes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests stop at the first surprise and say why they skip"
)]

use std::sync::Arc;
use std::time::Duration;

use tactician_cuda::{CudaDevice, HostInput, HostRun, Launch, LaunchArg, Launches, obstacle};
use tactician_device::replay::ReplayDevice;
use tactician_device::{CodeSource, Device, Executable, Memory, Span, StepDesc, Stream};

/// Bytes of every operand.
const N: u64 = 1000;

/// The first GPU, with a CPU that adds bytes and panics when the first sum is 200.
fn gpu() -> Option<CudaDevice> {
    if let Some(reason) = obstacle() {
        println!("skipped: {reason}");
        return None;
    }
    let host = ReplayDevice::new().timer(|_| Duration::ZERO).compute(|_, x, y| {
        y[0].iter_mut().zip(x[0]).zip(x[1]).for_each(|((y, a), b)| *y = a.wrapping_add(*b));
        assert!(y[0][0] != 200, "a sum of 200");
    });
    Some(CudaDevice::new(0).unwrap().with_host(Arc::new(host)))
}

/// `y = x + 1, 2, 3, …`.
fn counting(device: &CudaDevice) -> Box<dyn Executable> {
    let constant = (1..=N).map(|i| i as u8).collect();
    let run = HostRun {
        kernel: "add".into(),
        params: vec![],
        inputs: vec![HostInput::Given, HostInput::Kept(constant)],
        scratch: 64,
    };
    let params = postcard::to_stdvec(&run).unwrap();
    let desc = StepDesc {
        kernel: HostRun::NAME,
        params: &params,
        inputs: &[N],
        outputs: &[N],
        scratch: 0,
        code: None,
    };
    device.prepare(&desc).unwrap()
}

/// `y = 2 x` on the GPU, as a launch that may overlap with what is before it.
fn doubling(device: &CudaDevice) -> Box<dyn Executable> {
    let hopper = device.info().cuda().unwrap().capability >= (9, 0);
    let wait = if hopper { "asm volatile(\"griddepcontrol.wait;\" ::: \"memory\");" } else { "" };
    let text = format!(
        "extern \"C\" __global__ void twice(const unsigned char* x, unsigned char* y, int n) {{\n{wait}\n\
         int i = blockIdx.x * blockDim.x + threadIdx.x;\nif (i < n) y[i] = 2 * x[i];\n}}\n"
    );
    let code =
        device.compile(&CodeSource { name: "twice.cu".into(), text: text.into(), options: vec![] }).unwrap();
    let launch = Launch {
        entry: "twice".into(),
        grid: [(N as u32).div_ceil(128), 1, 1],
        block: [128, 1, 1],
        cluster: [1, 1, 1],
        shared: 0,
        overlaps: hopper,
        args: vec![
            LaunchArg::Span(0),
            LaunchArg::Span(1),
            LaunchArg::Bytes((N as i32).to_le_bytes().to_vec()),
        ],
    };
    let params = postcard::to_stdvec(&Launches(vec![launch])).unwrap();
    let desc = StepDesc {
        kernel: Launches::NAME,
        params: &params,
        inputs: &[N],
        outputs: &[N],
        scratch: 0,
        code: Some(&code),
    };
    device.prepare(&desc).unwrap()
}

fn blocks<const K: usize>(device: &CudaDevice) -> [Box<dyn Memory>; K] {
    std::array::from_fn(|_| device.alloc(N).unwrap())
}

fn write(stream: &mut dyn Stream, to: &dyn Memory, bytes: &[u8]) {
    // SAFETY: a live block that nothing else uses now.
    unsafe { stream.write(to.span(), bytes).unwrap() }
}

fn read(stream: &mut dyn Stream, from: &dyn Memory) -> Vec<u8> {
    let mut bytes = vec![0; N as usize];
    // SAFETY: a live block that nothing else uses now.
    unsafe { stream.read(from.span(), &mut bytes).unwrap() };
    bytes
}

fn enqueue(step: &dyn Executable, from: &dyn Memory, to: &dyn Memory, stream: &mut dyn Stream) {
    // SAFETY: two live blocks as long as the step was told, which nothing else uses meanwhile.
    unsafe { step.enqueue(&[from.span(), to.span(), Span::EMPTY], stream).unwrap() }
}

/// `4 x + 2 (1, 2, 3, …)` for `x` all `value`.
fn expected(value: u8) -> Vec<u8> {
    (1..=N).map(|i| value.wrapping_mul(2).wrapping_add(i as u8).wrapping_mul(2)).collect()
}

#[test]
fn between_kernels_it_computes_step_by_step_and_recorded() {
    let Some(device) = gpu() else { return };
    let (add, twice) = (counting(&device), doubling(&device));
    let [x, a, b, y] = blocks(&device);
    let mut stream = device.stream().unwrap();
    let all = &mut |s: &mut dyn Stream| {
        enqueue(twice.as_ref(), x.as_ref(), a.as_ref(), s);
        enqueue(add.as_ref(), a.as_ref(), b.as_ref(), s);
        enqueue(twice.as_ref(), b.as_ref(), y.as_ref(), s);
        Ok(())
    };
    for value in [0, 7, 100] {
        write(stream.as_mut(), x.as_ref(), &[value; N as usize]);
        stream.run(all).unwrap();
        assert_eq!(read(stream.as_mut(), y.as_ref()), expected(value), "step by step, {value}");
    }
    let mut graph = stream.record(all).unwrap().expect("a GPU records");
    for value in 0..50u8 {
        write(stream.as_mut(), x.as_ref(), &[value; N as usize]);
        // SAFETY: all blocks and steps are alive.
        unsafe { graph.launch(stream.as_mut()).unwrap() };
        assert_eq!(read(stream.as_mut(), y.as_ref()), expected(value), "recorded, {value}");
    }
    // Runs that follow each other without waiting, and a time that includes the CPU's part.
    // SAFETY: as above.
    let time = stream.time(&mut |s| unsafe { (0..20).try_for_each(|_| graph.launch(s)) }).unwrap();
    println!("20 recorded runs took {time:?}");
    assert!(time > Duration::ZERO);
    // Another stream may run it too, once the first is done with it.
    let mut other = device.stream().unwrap();
    write(other.as_mut(), x.as_ref(), &[3; N as usize]);
    // SAFETY: as above.
    unsafe { graph.launch(other.as_mut()).unwrap() };
    assert_eq!(read(other.as_mut(), y.as_ref()), expected(3));
    // It may be dropped while it runs.
    // SAFETY: as above.
    unsafe { (0..20).try_for_each(|_| graph.launch(other.as_mut())).unwrap() };
    drop(graph);
    assert_eq!(read(other.as_mut(), y.as_ref()), expected(3));
}

#[test]
fn a_recording_may_be_the_first_to_run_it() {
    let Some(device) = gpu() else { return };
    let add = counting(&device);
    let [x, y] = blocks(&device);
    let mut stream = device.stream().unwrap();
    let work = &mut |s: &mut dyn Stream| {
        (0..3).for_each(|_| enqueue(add.as_ref(), x.as_ref(), y.as_ref(), s));
        Ok(())
    };
    let mut graph = stream.record(work).unwrap().expect("a GPU records");
    write(stream.as_mut(), x.as_ref(), &[5; N as usize]);
    // SAFETY: both blocks and the step are alive.
    unsafe { graph.launch(stream.as_mut()).unwrap() };
    let want: Vec<u8> = (1..=N).map(|i| (i as u8).wrapping_add(5)).collect();
    assert_eq!(read(stream.as_mut(), y.as_ref()), want);
}

#[test]
fn a_panic_of_the_cpu_is_told_when_the_stream_is_waited_for() {
    let Some(device) = gpu() else { return };
    let add = counting(&device);
    let [x, y] = blocks(&device);
    let mut stream = device.stream().unwrap();
    let work = &mut |s: &mut dyn Stream| {
        enqueue(add.as_ref(), x.as_ref(), y.as_ref(), s);
        Ok(())
    };
    let mut graph = stream.record(work).unwrap().expect("a GPU records");
    for recorded in [false, true] {
        write(stream.as_mut(), x.as_ref(), &[199; N as usize]);
        if recorded {
            // SAFETY: both blocks and the step are alive.
            unsafe { graph.launch(stream.as_mut()).unwrap() };
        } else {
            stream.run(work).unwrap();
        }
        let told = stream.synchronize().unwrap_err().to_string();
        assert!(told.contains("`add`") && told.contains("a sum of 200"), "{told}");
        stream.synchronize().unwrap();
        device.health().unwrap();
        // The next run is as good as ever.
        write(stream.as_mut(), x.as_ref(), &[1; N as usize]);
        stream.run(work).unwrap();
        assert_eq!(read(stream.as_mut(), y.as_ref())[..3], [2, 3, 4]);
    }
}

#[test]
fn streams_run_one_step_at_once_each_in_its_own_memory() {
    let Some(device) = gpu() else { return };
    let add = counting(&device);
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let (device, add) = (&device, &add);
            scope.spawn(move || {
                let [x, y] = blocks(device);
                let mut stream = device.stream().unwrap();
                for run in 0..100u8 {
                    let value = thread * 40 + run % 30;
                    write(stream.as_mut(), x.as_ref(), &[value; N as usize]);
                    enqueue(add.as_ref(), x.as_ref(), y.as_ref(), stream.as_mut());
                    let want: Vec<u8> = (1..=N).map(|i| (i as u8).wrapping_add(value)).collect();
                    assert_eq!(read(stream.as_mut(), y.as_ref()), want);
                }
            });
        }
    });
}

#[test]
fn steps_come_and_go_on_one_stream() {
    let Some(device) = gpu() else { return };
    let [x, y] = blocks(&device);
    let mut stream = device.stream().unwrap();
    write(stream.as_mut(), x.as_ref(), &[9; N as usize]);
    for _ in 0..200 {
        let add = counting(&device);
        enqueue(add.as_ref(), x.as_ref(), y.as_ref(), stream.as_mut());
        // Dropped while the stream may still be running it: the stream keeps what it needs.
    }
    assert_eq!(read(stream.as_mut(), y.as_ref())[..3], [10, 11, 12]);
}

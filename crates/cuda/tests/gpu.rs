//! The backend on a real GPU. Without one, every test says why it is skipped.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests stop at the first surprise and say why they skip"
)]

use std::sync::Arc;
use std::time::Duration;

use tactician_cuda::{Copy, CudaDevice, Launch, LaunchArg, Launches, TensorMap, obstacle};
use tactician_device::{
    ALIGNMENT, CodeSource, Device, DeviceError, Executable, Memory, Span, StepDesc, Stream,
};

/// The first GPU.
fn gpu() -> Option<CudaDevice> {
    match obstacle() {
        Some(reason) => {
            println!("skipped: {reason}");
            None
        }
        None => Some(CudaDevice::new(0).unwrap()),
    }
}

/// Whether the GPU has clusters, tensor maps and overlapping launches.
fn hopper(device: &CudaDevice) -> bool {
    let has = device.info().cuda().unwrap().capability >= (9, 0);
    if !has {
        println!("skipped: the GPU is older than compute capability 9.0");
    }
    has
}

fn source(text: &str) -> CodeSource {
    CodeSource { name: "test.cu".into(), text: text.into(), options: vec!["-DFACTOR=2".into()] }
}

const SCALE: &str = r#"
extern "C" __global__ void scale(const float* x, float* y, float add, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = FACTOR * x[i] + add;
}
"#;

fn launch(entry: &str, blocks: u32, threads: u32, args: Vec<LaunchArg>) -> Launch {
    Launch {
        entry: entry.into(),
        grid: [blocks, 1, 1],
        block: [threads, 1, 1],
        cluster: [1, 1, 1],
        shared: 0,
        overlaps: false,
        args,
    }
}

fn scale(from: u16, to: u16, add: f32, n: i32) -> Launch {
    let args = vec![
        LaunchArg::Span(from),
        LaunchArg::Span(to),
        LaunchArg::Bytes(add.to_le_bytes().to_vec()),
        LaunchArg::Bytes(n.to_le_bytes().to_vec()),
    ];
    launch("scale", (n as u32).div_ceil(128), 128, args)
}

fn prepare(
    device: &CudaDevice,
    launches: Vec<Launch>,
    lens: [&[u64]; 2],
    code: &[u8],
) -> Result<Box<dyn Executable>, DeviceError> {
    let params = postcard::to_stdvec(&Launches(launches)).unwrap();
    device.prepare(&StepDesc {
        kernel: Launches::NAME,
        params: &params,
        inputs: lens[0],
        outputs: lens[1],
        scratch: 0,
        code: Some(code),
    })
}

fn floats(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

fn read(stream: &mut dyn Stream, from: Span) -> Vec<f32> {
    let mut bytes = vec![0; from.len as usize];
    // SAFETY: the tests pass live spans that nothing else uses.
    unsafe { stream.read(from, &mut bytes).unwrap() };
    bytes.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect()
}

fn write(stream: &mut dyn Stream, to: Span, values: impl IntoIterator<Item = f32>) {
    // SAFETY: as in `read`.
    unsafe { stream.write(to, &floats(values)).unwrap() };
}

/// Enqueues a step on spans of live, disjoint blocks.
fn enqueue(
    step: &dyn Executable,
    blocks: &[&dyn Memory],
    stream: &mut dyn Stream,
) -> Result<(), DeviceError> {
    let mut args: Vec<Span> = blocks.iter().map(|b| b.span()).collect();
    args.push(Span::EMPTY);
    // SAFETY: the tests pass the blocks that the step was prepared for.
    unsafe { step.enqueue(&args, stream) }
}

#[test]
fn the_device_describes_itself() {
    let Some(device) = gpu() else { return };
    let info = device.info().clone();
    let cuda = info.cuda().unwrap();
    assert!(cuda.multiprocessors > 0 && cuda.shared_bytes >= 48 << 10 && cuda.memory_bytes > 1 << 28);
    assert!(!info.name.is_empty() && cuda.driver >= 12000);
    assert_eq!(CudaDevice::new(0).unwrap().info(), &info);
    assert_eq!(CudaDevice::find(&info.architecture()), Some(0));
    assert!(CudaDevice::new(CudaDevice::count()).is_err());
    println!("{:#?}", info.fingerprint());
}

#[test]
fn memory_is_aligned_and_runs_out_with_an_error() {
    let Some(device) = gpu() else { return };
    for bytes in [0, 1, 1000, 70 << 20] {
        let m = device.alloc(bytes).unwrap();
        assert_eq!(m.span().len, bytes);
        assert!(m.span().address != 0 && m.span().address.is_multiple_of(ALIGNMENT));
    }
    let total = device.info().cuda().unwrap().memory_bytes;
    for bytes in [total + 1, 1 << 50, i64::MAX as u64, u64::MAX] {
        assert!(matches!(device.alloc(bytes).err(), Some(DeviceError::OutOfMemory { .. })), "{bytes}");
    }
    device.alloc(1 << 20).unwrap();
    device.health().unwrap();
}

#[test]
fn bytes_come_back_as_they_went() {
    let Some(device) = gpu() else { return };
    let mut s = device.stream().unwrap();
    let data: Vec<u8> = (0..100_001u32).map(|i| (i * 7) as u8).collect();
    let own = device.constants(Arc::new(data.clone())).unwrap();
    let other = device.alloc(data.len() as u64).unwrap();
    let params = postcard::to_stdvec(&Copy { bytes: data.len() as u64 - 1 }).unwrap();
    let (n, mut back) = (data.len() as u64, vec![0; data.len()]);
    let desc =
        StepDesc { kernel: Copy::NAME, params: &params, inputs: &[n], outputs: &[n], scratch: 0, code: None };
    let copy = device.prepare(&desc).unwrap();
    // SAFETY: live blocks that nothing else uses.
    unsafe {
        s.fill(other.span(), 0xee).unwrap();
        enqueue(copy.as_ref(), &[own.as_ref(), other.as_ref()], s.as_mut()).unwrap();
        s.read(other.span(), &mut back).unwrap();
        assert!(s.write(other.span(), &[1]).is_err());
    }
    assert_eq!(back[..back.len() - 1], data[..data.len() - 1]);
    assert_eq!(back[back.len() - 1], 0xee);
}

#[test]
fn a_compiled_kernel_runs() {
    let Some(device) = gpu() else { return };
    let code = device.compile(&source(SCALE)).unwrap();
    assert!(Arc::ptr_eq(&code, &device.compile(&source(SCALE)).unwrap()));
    let n = 1000u64;
    let step = prepare(&device, vec![scale(0, 1, 3.0, n as i32)], [&[4 * n], &[4 * n]], &code).unwrap();
    let (x, y) = (device.alloc(4 * n).unwrap(), device.alloc(4 * n).unwrap());
    let mut s = device.stream().unwrap();
    write(s.as_mut(), x.span(), (0..n).map(|i| i as f32));
    let time = s.time(&mut |s| enqueue(step.as_ref(), &[x.as_ref(), y.as_ref()], s)).unwrap();
    assert!(time > Duration::ZERO && time < Duration::from_secs(1));
    let want: Vec<f32> = (0..n).map(|i| 2.0 * i as f32 + 3.0).collect();
    assert_eq!(read(s.as_mut(), y.span()), want);
}

#[test]
fn a_recording_runs_again_on_new_data() {
    let Some(device) = gpu() else { return };
    let code = device.compile(&source(SCALE)).unwrap();
    let launches = vec![scale(0, 1, 1.0, 8), scale(1, 1, 0.0, 8)];
    let step = prepare(&device, launches, [&[32], &[32]], &code).unwrap();
    let (x, y) = (device.alloc(32).unwrap(), device.alloc(32).unwrap());
    let mut s = device.stream().unwrap();
    let blocks: [&dyn Memory; 2] = [x.as_ref(), y.as_ref()];
    write(s.as_mut(), y.span(), [0.0; 8]);
    let mut graph = s.record(&mut |s| enqueue(step.as_ref(), &blocks, s)).unwrap().unwrap();
    assert_eq!(read(s.as_mut(), y.span()), [0.0; 8]);
    for round in 0..3 {
        write(s.as_mut(), x.span(), [round as f32; 8]);
        // SAFETY: the blocks are as alive as when it was recorded.
        unsafe { graph.launch(s.as_mut()).unwrap() };
        assert_eq!(read(s.as_mut(), y.span()), [4.0 * round as f32 + 2.0; 8]);
    }
    // A stream whose recording failed still works.
    let e = s.record(&mut |s| s.synchronize());
    assert!(e.is_err());
    let e = s.record(&mut |_| Err(DeviceError::Failed { call: "a".into(), reason: "b".into() }));
    assert!(e.is_err_and(|e| e.to_string() == "a failed: b"));
    enqueue(step.as_ref(), &blocks, s.as_mut()).unwrap();
    s.synchronize().unwrap();
}

#[test]
fn unfit_code_and_launches_are_refused() {
    let Some(device) = gpu() else { return };
    let code = device.compile(&source(SCALE)).unwrap();
    let lens: [&[u64]; 2] = [&[32], &[32]];
    let refused = |l: Launch, code: &[u8], what: &str| {
        let e = prepare(&device, vec![l], lens, code).err().unwrap().to_string();
        assert!(e.contains(what), "{e}");
    };
    let fine = || scale(0, 1, 1.0, 8);
    refused(fine(), &[], "no CUBIN");
    refused(fine(), &code[..code.len() / 2], "no CUBIN");
    let mut other = code.to_vec();
    other[18] = 62;
    refused(fine(), &other, "another kind of processor");
    refused(Launch { entry: "scala".into(), ..fine() }, &code, "no such kernel");
    refused(Launch { args: fine().args[..3].to_vec(), ..fine() }, &code, "takes parameters of [8, 8, 4, 4]");
    refused(Launch { args: vec![LaunchArg::Span(0); 4], ..fine() }, &code, "the plan passes [8, 8, 8, 8]");
    refused(Launch { shared: 400_000, ..fine() }, &code, "shared memory");
    let unknown =
        StepDesc { kernel: "conv.magic", params: &[], inputs: &[], outputs: &[], scratch: 0, code: None };
    assert!(matches!(device.prepare(&unknown).err(), Some(DeviceError::UnknownKernel { .. })));
    device.health().unwrap();
    let e = device.compile(&source("extern \"C\" __global__ void f() { nonsense; }")).unwrap_err();
    assert!(e.to_string().contains("nonsense"), "{e}");
}

#[test]
fn large_shared_memory_and_clusters_work() {
    let Some(device) = gpu() else { return };
    if !hopper(&device) {
        return;
    }
    let code = device
        .compile(&source(
            r#"
extern "C" __global__ void rank(int* y) {
    extern __shared__ int space[];
    int last = 100 * 1024 / 4 - 1;
    unsigned r;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
    space[last] = r;
    __syncthreads();
    asm volatile("griddepcontrol.wait;" ::: "memory");
    if (threadIdx.x == 0) y[blockIdx.x] += space[last] + 1;
}
"#,
        ))
        .unwrap();
    let one = Launch {
        cluster: [4, 1, 1],
        shared: 100 << 10,
        overlaps: true,
        ..launch("rank", 8, 32, vec![LaunchArg::Span(0)])
    };
    let step = prepare(&device, vec![one; 10], [&[], &[32]], &code).unwrap();
    let y = device.alloc(32).unwrap();
    let mut s = device.stream().unwrap();
    // SAFETY: a live block that nothing else uses.
    unsafe { s.fill(y.span(), 0).unwrap() };
    enqueue(step.as_ref(), &[y.as_ref()], s.as_mut()).unwrap();
    let mut graph = s.record(&mut |s| enqueue(step.as_ref(), &[y.as_ref()], s)).unwrap().unwrap();
    let mut back = [0; 32];
    // SAFETY: as above.
    unsafe {
        graph.launch(s.as_mut()).unwrap();
        s.read(y.span(), &mut back).unwrap();
    }
    let got: Vec<u32> = back.chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect();
    assert_eq!(got, [20, 40, 60, 80, 20, 40, 60, 80]);
}

#[test]
fn a_tensor_map_loads_its_tile() {
    let Some(device) = gpu() else { return };
    if !hopper(&device) {
        return;
    }
    let code = device
        .compile(&source(
            r#"
struct alignas(64) Map { unsigned long long words[16]; };
extern "C" __global__ void tile(const __grid_constant__ Map map, float* y) {
    __shared__ alignas(128) float tile[8 * 32];
    __shared__ alignas(8) unsigned long long barrier;
    unsigned b = (unsigned)__cvta_generic_to_shared(&barrier);
    unsigned t = (unsigned)__cvta_generic_to_shared(tile);
    if (threadIdx.x == 0) {
        asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" :: "r"(b) : "memory");
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(b), "r"(1024) : "memory");
        asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                     "[%0], [%1, {%3, %4}], [%2];"
                     :: "r"(t), "l"(&map), "r"(b), "r"(16), "r"(4) : "memory");
    }
    __syncthreads();
    unsigned done = 0;
    while (!done) {
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], 0; selp.u32 %0, 1, 0, p; }"
                     : "=r"(done) : "r"(b) : "memory");
    }
    y[threadIdx.x] = tile[threadIdx.x];
}
"#,
        ))
        .unwrap();
    // 10 rows of 40 floats; the tile of 8 rows of 32 begins at column 16 of row 4, so part of it lies outside.
    let (rows, columns) = (10, 40);
    let map = TensorMap {
        span: 0,
        element: 4,
        sizes: vec![40, 10],
        steps: vec![160],
        tile: vec![32, 8],
        swizzle: 0,
    };
    let one = launch("tile", 1, 256, vec![LaunchArg::TensorMap(map), LaunchArg::Span(1)]);
    let step = prepare(&device, vec![one], [&[1600], &[1024]], &code).unwrap();
    let (x, y) = (device.alloc(1600).unwrap(), device.alloc(1024).unwrap());
    let mut s = device.stream().unwrap();
    write(s.as_mut(), x.span(), (0..rows * columns).map(|i| i as f32));
    enqueue(step.as_ref(), &[x.as_ref(), y.as_ref()], s.as_mut()).unwrap();
    let want: Vec<f32> = (0..256)
        .map(|i| (4 + i / 32, 16 + i % 32))
        .map(|(r, c)| if r < rows && c < columns { (r * columns + c) as f32 } else { 0.0 })
        .collect();
    assert_eq!(read(s.as_mut(), y.span()), want);
}

#[test]
fn threads_work_at_once() {
    let Some(device) = gpu() else { return };
    let code = device.compile(&source(SCALE)).unwrap();
    let device = &device;
    std::thread::scope(|scope| {
        for t in 0..4 {
            let code = code.clone();
            scope.spawn(move || {
                let mut s = device.stream().unwrap();
                for round in 0..20 {
                    let n = 100 + 50 * t;
                    let len = 4 * n as u64;
                    let add = (t * 1000 + round) as f32;
                    let step = prepare(device, vec![scale(0, 1, add, n)], [&[len], &[len]], &code).unwrap();
                    let (x, y) = (device.alloc(len).unwrap(), device.alloc(len).unwrap());
                    write(s.as_mut(), x.span(), (0..n).map(|i| i as f32));
                    let blocks: [&dyn Memory; 2] = [x.as_ref(), y.as_ref()];
                    let mut graph = s.record(&mut |s| enqueue(step.as_ref(), &blocks, s)).unwrap().unwrap();
                    // SAFETY: the blocks are as alive as when it was recorded.
                    unsafe { graph.launch(s.as_mut()).unwrap() };
                    let want: Vec<f32> = (0..n).map(|i| 2.0 * i as f32 + add).collect();
                    assert_eq!(read(s.as_mut(), y.span()), want);
                }
            });
        }
    });
}

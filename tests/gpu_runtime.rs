//! The runtime on a real GPU: bindings, streams of the caller's, contexts at once, full memory, plans for other machines.
//! Without a GPU and NVRTC every test says why it is skipped.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests stop at the first surprise and say why they skip"
)]

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tactician::runtime::target_of;
use tactician::tuning::TuneOptions;
use tactician::{Builder, Context, Engine, EngineError, Tensor, zoo};
use tactician_cuda::{CudaDevice, CudaStream, Launch, LaunchArg, Launches, Lib, library, obstacle};
use tactician_device::{
    CodeSource, Device, DeviceError, Executable, HostMemory, Memory, Span, StepDesc, Stream, host_pointer,
};
use tactician_plan::{Constant, Place, Plan, PlanMeta, Port, Step};
use tactician_types::DType;

/// Floats of the input and the output.
const N: usize = 1024;

const BYTES: u64 = 4 * N as u64;

/// Tests take turns: one of them takes all memory.
static TURN: Mutex<()> = Mutex::new(());

/// The first GPU, for as long as the guard lives.
fn gpu() -> Option<(Arc<CudaDevice>, MutexGuard<'static, ()>)> {
    if let Some(reason) = obstacle().or_else(|| library(Lib::Nvrtc).err().map(str::to_owned)) {
        println!("skipped: {reason}");
        return None;
    }
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    Some((Arc::new(CudaDevice::new(0).unwrap()), turn))
}

const SOURCE: &str = r#"
extern "C" __global__ void scale(const float4* x, const float* w, float4* y) {
    int i = threadIdx.x;
    float4 v = x[i];
    y[i] = make_float4(2 * v.x + w[0], 2 * v.y + w[0], 2 * v.z + w[0], 2 * v.w + w[0]);
}
extern "C" __global__ void spin(unsigned long long ns) {
    unsigned long long start, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
    do asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now)); while (now - start < ns);
}
"#;

fn code(device: &CudaDevice) -> Arc<[u8]> {
    device.compile(&CodeSource { name: "test.cu".into(), text: SOURCE.into(), options: vec![] }).unwrap()
}

fn launch(entry: &str, threads: u32, args: Vec<LaunchArg>) -> Vec<u8> {
    let one = Launch {
        entry: entry.into(),
        grid: [1; 3],
        block: [threads, 1, 1],
        cluster: [1; 3],
        shared: 0,
        overlaps: false,
        args,
    };
    postcard::to_stdvec(&Launches(vec![one])).unwrap()
}

/// A plan for the device: `y = 2 (2 x + w) + w`, with `weight_bytes` of weights, the first of which is `w`.
fn plan(device: &CudaDevice, w: f32, weight_bytes: u64, arena_bytes: u64) -> Plan {
    let code = code(device);
    let port = |name: &str| Port { name: name.into(), dtype: DType::F32, shape: vec![N as u64] };
    let middle = Place::Arena { offset: 0, len: BYTES };
    let step = |from: Place, to: Place| Step {
        name: "scale".into(),
        op: "scale".into(),
        problem: String::new(),
        tactic: "test/1".into(),
        kernel: Launches::NAME.into(),
        params: launch("scale", N as u32 / 4, (0..3).map(LaunchArg::Span).collect()),
        inputs: vec![from, Place::Constant { index: 1 }],
        outputs: vec![to],
        scratch: None,
        code: Some(0),
        predicted_us: 1.0,
    };
    let start = (code.len() as u64).next_multiple_of(256);
    let mut constants = code.to_vec();
    constants.resize((start + weight_bytes) as usize, 0);
    constants[start as usize..][..4].copy_from_slice(&w.to_le_bytes());
    let constant = |note: &str, offset: u64, len: u64| Constant { note: note.into(), offset, len };
    let meta = PlanMeta {
        network: "test".into(),
        producer: "test".into(),
        target: target_of(device.info()),
        options: BTreeMap::new(),
        inputs: vec![port("x")],
        outputs: vec![port("y")],
        constants: vec![constant("code", 0, code.len() as u64), constant("w", start, weight_bytes)],
        arena_bytes,
        scratch_bytes: 0,
        predicted_us: 1.0,
        steps: vec![step(Place::Input { index: 0 }, middle), step(middle, Place::Output { index: 0 })],
        values: vec![],
        ..PlanMeta::default()
    };
    Plan::new(meta, constants).unwrap()
}

fn small(device: &CudaDevice, w: f32) -> Plan {
    plan(device, w, 4096, BYTES)
}

fn input(first: f32) -> Vec<f32> {
    (0..N).map(|i| first + i as f32).collect()
}

fn output(first: f32, w: f32) -> Vec<f32> {
    input(first).iter().map(|x| 4.0 * x + 3.0 * w).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_ne_bytes()).collect()
}

fn tensor(values: &[f32]) -> Tensor {
    Tensor::new(&[values.len()], values).unwrap()
}

fn run(c: &mut Context, first: f32) -> Vec<f32> {
    let out = c.run(&[("x", &tensor(&input(first)))]).unwrap();
    out[0].1.values::<f32>().unwrap().to_vec()
}

/// The driver's handle of a stream.
fn handle(stream: &mut dyn Stream) -> *mut c_void {
    CudaStream::of(stream).unwrap().raw().cast()
}

/// A step that keeps the GPU busy for so long.
fn spin(device: &CudaDevice, time: Duration) -> Box<dyn Executable> {
    let code = code(device);
    let ns = LaunchArg::Bytes((time.as_nanos() as u64).to_le_bytes().to_vec());
    let params = launch("spin", 1, vec![ns]);
    device
        .prepare(&StepDesc {
            kernel: Launches::NAME,
            params: &params,
            inputs: &[],
            outputs: &[],
            scratch: 0,
            code: Some(&code),
        })
        .unwrap()
}

#[test]
fn bindings_of_every_kind_work() {
    let Some((device, _turn)) = gpu() else { return };
    let engine = Engine::new(small(&device, 5.0), device.clone()).unwrap();
    let mut c = engine.new_context().unwrap();
    let mut s = device.stream().unwrap();
    let room = |m: &dyn Memory, offset: u64| Span { address: m.span().address + offset, len: BYTES };
    let on_gpu = [device.alloc(2 * BYTES).unwrap(), device.alloc(2 * BYTES).unwrap()];
    let ordinary = [0, 1].map(|_| HostMemory::alloc(2 * BYTES, "the host").unwrap());
    let locked = [device.host_memory(2 * BYTES).unwrap(), device.host_memory(2 * BYTES).unwrap()];
    let pairs: [(&str, bool, [&dyn Memory; 2]); 3] = [
        ("the GPU's", true, [on_gpu[0].as_ref(), on_gpu[1].as_ref()]),
        ("the host's", false, [&ordinary[0], &ordinary[1]]),
        ("page-locked", false, [locked[0].as_ref(), locked[1].as_ref()]),
    ];
    for (kind, reached, [from, to]) in pairs {
        for offset in [0, 4, 16, 20] {
            let (from, to) = (room(from, offset), room(to, offset));
            assert_eq!(device.reaches(from), reached, "{kind}");
            // Enough runs that one is recorded and launched again.
            for round in 0..4 {
                let first = round as f32 + offset as f32;
                let values = bytes(&input(first));
                let mut got = vec![0; BYTES as usize];
                let out = Span { len: BYTES, ..to };
                // SAFETY: live memory, long enough, touched by nothing else; the runs are waited for.
                unsafe {
                    if reached {
                        s.write(from, &values).unwrap();
                    } else {
                        host_pointer(from).copy_from_nonoverlapping(values.as_ptr(), values.len());
                    }
                    if round == 0 {
                        c.set_binding("x", from).unwrap();
                        c.set_binding("y", to).unwrap();
                    }
                    c.enqueue().unwrap();
                    c.synchronize().unwrap();
                    if reached {
                        s.read(out, &mut got).unwrap();
                    } else {
                        got.as_mut_ptr().copy_from_nonoverlapping(host_pointer(out), got.len());
                    }
                }
                assert!(got == bytes(&output(first, 5.0)), "{kind} memory at {offset}, run {round}");
            }
        }
    }
    for round in 0..4 {
        c.host_input("x").unwrap().copy_from_slice(&bytes(&input(round as f32)));
        c.enqueue().unwrap();
        assert_eq!(c.host_output("y").unwrap(), bytes(&output(round as f32, 5.0)));
    }
    assert_eq!(run(&mut c, 7.0), output(7.0, 5.0));
}

#[test]
fn runs_go_on_the_callers_stream_without_waiting() {
    let Some((device, _turn)) = gpu() else { return };
    let engine = Engine::new(small(&device, 1.0), device.clone()).unwrap();
    let mut theirs = device.stream().unwrap();
    let mut other = device.stream().unwrap();
    let streams = [handle(theirs.as_mut()), handle(other.as_mut()), std::ptr::null_mut()];
    let mut c = engine.new_context().unwrap();
    c.host_input("x").unwrap();
    c.host_output("y").unwrap();
    for round in 0..12 {
        let first = round as f32;
        c.host_input("x").unwrap().copy_from_slice(&bytes(&input(first)));
        match streams.get(round % 4) {
            // SAFETY: both streams outlive the context, which is dropped first; null is the default stream.
            Some(s) => unsafe { c.enqueue_on(*s).unwrap() },
            None => c.enqueue().unwrap(),
        }
        assert!(c.host_output("y").unwrap() == bytes(&output(first, 1.0)), "run {round}");
    }
    // What is on the stream first keeps the run waiting, not the caller.
    let busy = spin(&device, Duration::from_millis(400));
    let start = Instant::now();
    c.host_input("x").unwrap().copy_from_slice(&bytes(&input(100.0)));
    // SAFETY: the step has no arguments.
    unsafe { busy.enqueue(&[Span::EMPTY], theirs.as_mut()).unwrap() };
    // SAFETY: as above.
    unsafe { c.enqueue_on(streams[0]).unwrap() };
    let enqueued = start.elapsed();
    c.synchronize().unwrap();
    let done = start.elapsed();
    assert!(enqueued < Duration::from_millis(200), "enqueueing waited for {enqueued:?}");
    assert!(done >= Duration::from_millis(390), "the run overtook what was before it: {done:?}");
    assert_eq!(c.host_output("y").unwrap(), bytes(&output(100.0, 1.0)));
    // Waiting for the stream itself is enough, too.
    c.host_input("x").unwrap().copy_from_slice(&bytes(&input(200.0)));
    // SAFETY: as above.
    unsafe { c.enqueue_on(streams[0]).unwrap() };
    theirs.synchronize().unwrap();
    assert_eq!(c.output("y").unwrap().values::<f32>().unwrap(), output(200.0, 1.0));
    drop(c);
}

#[test]
fn contexts_run_at_once_on_threads() {
    let Some((device, _turn)) = gpu() else { return };
    let engines = [2.0, 3.0].map(|w| (w, Engine::new(small(&device, w), device.clone()).unwrap()));
    std::thread::scope(|scope| {
        for t in 0..8 {
            let (w, engine) = &engines[t % 2];
            let device = &device;
            scope.spawn(move || {
                let mut stream = device.stream().unwrap();
                let handle = handle(stream.as_mut());
                for life in 0..3 {
                    let mut c = engine.new_context().unwrap();
                    for round in 0..50 {
                        let first = (1000 * t + 100 * life + round) as f32;
                        c.host_input("x").unwrap().copy_from_slice(&bytes(&input(first)));
                        if round % 3 == 0 {
                            // SAFETY: the stream outlives the context.
                            unsafe { c.enqueue_on(handle).unwrap() };
                        } else {
                            c.enqueue().unwrap();
                        }
                        assert!(
                            c.host_output("y").unwrap() == bytes(&output(first, *w)),
                            "{t} {life} {round}"
                        );
                    }
                }
            });
        }
    });
}

#[test]
fn a_built_plan_runs_alike_on_every_stream() {
    let Some((device, _turn)) = gpu() else { return };
    let mut options = TuneOptions::default();
    options.timing.rounds = 1;
    options.timing.sample = Duration::from_micros(100);
    let net = zoo::tiny(1);
    let plan = Builder::new().device(device.clone()).tuning(options).build(&net).unwrap();
    let engine = Engine::new(plan, device.clone()).unwrap();
    let port = engine.inputs()[0].clone();
    let shape: Vec<usize> = port.shape.iter().map(|&d| d as usize).collect();
    let values: Vec<f32> =
        (0..shape.iter().product()).map(|i: usize| (i * 7919 % 1009) as f32 / 500.0 - 1.0).collect();
    let x = Tensor::new(&shape, &values).unwrap();
    let mut own = engine.new_context().unwrap();
    let want = own.run(&[(&port.name, &x)]).unwrap().remove(0).1;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (engine, device, x, want, name) = (&engine, &device, &x, &want, &port.name);
            scope.spawn(move || {
                let mut stream = device.stream().unwrap();
                let mut c = engine.new_context().unwrap();
                c.set_input(name, x).unwrap();
                for _ in 0..10 {
                    // SAFETY: the stream outlives the context.
                    unsafe { c.enqueue_on(handle(stream.as_mut())).unwrap() };
                    let got = c.output(&engine.outputs()[0].name).unwrap();
                    let pairs = got.values::<f32>().unwrap().iter().zip(want.values::<f32>().unwrap());
                    for (g, w) in pairs {
                        assert!((g - w).abs() <= 1e-3 * w.abs().max(1.0), "{g} is not {w}");
                    }
                }
                drop(c);
            });
        }
    });
}

#[test]
fn plans_for_other_machines_are_refused_field_by_field() {
    let Some((device, _turn)) = gpu() else { return };
    let load = |change: &dyn Fn(&mut PlanMeta)| {
        let sound = small(&device, 1.0);
        let mut meta = sound.meta.clone();
        change(&mut meta);
        Engine::new(Plan::new(meta, sound.constants().bytes().to_vec()).unwrap(), device.clone())
    };
    let refused = |change: &dyn Fn(&mut PlanMeta), words: &[&str]| {
        let e = load(change).err().unwrap();
        assert!(matches!(e, EngineError::Target(_)), "{e}");
        for w in words {
            assert!(e.to_string().contains(w), "{e} lacks {w}");
        }
    };
    let own = device.info().architecture();
    refused(&|m| m.target.isa = "sm_52".into(), &["sm_52", &own, "build it again"]);
    refused(&|m| m.target.kind = "cpu".into(), &["device kind cpu", "cuda"]);
    for (fact, kernel) in [("cudnn", "cudnn.graph"), ("cublaslt", "cublaslt.matmul")] {
        let older = |m: &mut PlanMeta| {
            m.target.facts.insert(fact.into(), "1".into());
            m.steps[0].kernel = kernel.into();
        };
        refused(&older, &[&format!("built for {fact} 1 "), "install that version"]);
    }
    refused(
        &|m| {
            m.target.facts.insert("driver".into(), "99000".into());
            m.target.facts.insert("nvrtc".into(), "99000".into());
        },
        &["driver 99000", "install a driver"],
    );
    let engine = load(&|m| {
        m.target.facts.insert("driver".into(), "1".into());
        m.target.facts.insert("multiprocessors".into(), "1".into());
    })
    .unwrap();
    let fields: Vec<&str> = engine.warnings().iter().map(|m| &*m.field).collect();
    assert_eq!(fields, ["driver", "multiprocessors"]);
    assert_eq!(run(&mut engine.new_context().unwrap(), 1.0), output(1.0, 1.0));
    // The same code for another architecture, with a target that lies, is refused by the driver and not run.
    let wrong = tactician_cuda::compile_for(
        &CodeSource { name: "test.cu".into(), text: SOURCE.into(), options: vec![] },
        if own == "sm_80" { "sm_120" } else { "sm_80" },
    );
    if let Ok(wrong) = wrong {
        let mut meta = small(&device, 1.0).meta;
        meta.constants.truncate(1);
        meta.constants[0].len = wrong.cubin.len() as u64;
        meta.steps.truncate(1);
        meta.steps[0].inputs = vec![Place::Input { index: 0 }, Place::Input { index: 0 }];
        meta.steps[0].outputs = vec![Place::Output { index: 0 }];
        let e = Engine::new(Plan::new(meta, wrong.cubin).unwrap(), device.clone()).err().unwrap().to_string();
        assert!(e.contains("cuModuleLoadData"), "{e}");
    }
    device.health().unwrap();
}

/// Takes device memory with plain allocations until less than `leave` bytes are free.
fn fill(device: &CudaDevice, leave: u64) -> Vec<Box<dyn Memory>> {
    let mut taken = Vec::new();
    let mut size = 4u64 << 30;
    while size >= 1 << 20 {
        let free = device.context().memory_info().unwrap().0;
        if free < leave {
            break;
        }
        match (free > size).then(|| device.alloc(size)) {
            Some(Ok(m)) => taken.push(m),
            _ => size /= 2,
        }
    }
    taken
}

#[test]
fn full_memory_is_one_clear_error_and_leaks_nothing() {
    let Some((device, _turn)) = gpu() else { return };
    let free = || device.context().memory_info().unwrap().0;
    let (weights, arena) = (256 << 20, 512 << 20);
    let plan = plan(&device, 1.0, weights, arena);
    let fresh = || CudaDevice::new(0).unwrap();
    // Once, so that what the driver loads only once is loaded.
    assert_eq!(
        run(&mut Engine::new(plan.clone(), Arc::new(fresh())).unwrap().new_context().unwrap(), 1.0),
        output(1.0, 1.0)
    );
    let before = free();
    let refused = |e: EngineError, wanted: &str| {
        let text = e.to_string();
        assert!(matches!(e, EngineError::Device(DeviceError::OutOfMemory { .. })), "{text}");
        for w in ["out of memory on", wanted, "are free", "drop engines and contexts"] {
            assert!(text.contains(w), "{text} lacks {w}");
        }
        println!("{text}");
    };
    {
        let hog = fresh();
        let _taken = fill(&hog, 64 << 20);
        let full = free();
        let device = Arc::new(fresh());
        for _ in 0..3 {
            refused(Engine::new(plan.clone(), device.clone()).err().unwrap(), "256.");
        }
        assert_eq!(device.memory_held(), 0);
        assert!(free() + (4 << 20) >= full, "{full} bytes were free, {} are", free());
    }
    // The engine fits, its context does not.
    let device = Arc::new(fresh());
    let engine = Engine::new(plan.clone(), device.clone()).unwrap();
    let held = device.memory_held();
    {
        let hog = fresh();
        let _taken = fill(&hog, 64 << 20);
        for _ in 0..3 {
            refused(engine.new_context().err().unwrap(), "512 MiB");
        }
        assert_eq!(device.memory_held(), held);
    }
    assert_eq!(run(&mut engine.new_context().unwrap(), 2.0), output(2.0, 1.0));
    drop((engine, device));
    let after = free();
    assert!(before.abs_diff(after) <= 64 << 20, "{before} bytes were free, {after} are");
}

#[test]
fn a_memory_limit_is_kept() {
    let Some((device, _turn)) = gpu() else { return };
    drop(device);
    let device = Arc::new(CudaDevice::new(0).unwrap().with_memory_limit(64 << 20));
    let first = device.alloc(40 << 20).unwrap();
    let e = device.alloc(32 << 20).err().unwrap().to_string();
    assert!(
        e.contains("32 MiB could not be allocated") && e.contains("40 MiB are held here of 64 MiB"),
        "{e}"
    );
    drop(first);
    // The freed block is kept, and gives way.
    assert_eq!(device.memory_held(), 40 << 20);
    let second = device.alloc(32 << 20).unwrap();
    assert_eq!(device.memory_held(), 32 << 20);
    drop(second);
    let e = Engine::new(plan(&device, 1.0, 80 << 20, BYTES), device.clone()).err().unwrap().to_string();
    assert!(e.contains("raise the limit"), "{e}");
    let engine = Engine::new(plan(&device, 1.0, 8 << 20, BYTES), device).unwrap();
    assert_eq!(run(&mut engine.new_context().unwrap(), 3.0), output(3.0, 1.0));
}

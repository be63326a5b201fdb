use std::any::Any;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tactician_device::replay::ReplayDevice;
use tactician_device::{CudaInfo, DeviceError, DeviceKind, Graph, HostBytes, Memory, Stream, Work};
use tactician_plan::{Constant, Step};
use tactician_types::DType;

use super::*;
use crate::Tensor;

fn hopper() -> CudaInfo {
    CudaInfo { cudnn: Some(91400), cublaslt: Some(130_002), ..CudaInfo::h100() }
}

fn gpu(cuda: CudaInfo) -> DeviceInfo {
    let properties = [("kernels".to_owned(), "1234".to_owned())].into();
    DeviceInfo { kind: DeviceKind::Cuda(cuda), name: "H100".into(), properties }
}

/// A plan of one step that fills its output from its input.
fn plan(info: &DeviceInfo, kernel: &str) -> Plan {
    let port = |name: &str| Port { name: name.into(), dtype: DType::F32, shape: vec![4] };
    let step = Step {
        name: "y".into(),
        op: "step".into(),
        problem: String::new(),
        tactic: "test/1".into(),
        kernel: kernel.into(),
        params: vec![],
        inputs: vec![Place::Input { index: 0 }],
        outputs: vec![Place::Output { index: 0 }],
        scratch: None,
        code: None,
        predicted_us: 1.0,
    };
    let meta = PlanMeta {
        network: "test".into(),
        producer: "test".into(),
        target: target_of(info),
        options: BTreeMap::new(),
        inputs: vec![port("x")],
        outputs: vec![port("y")],
        constants: vec![],
        arena_bytes: 0,
        scratch_bytes: 0,
        predicted_us: 1.0,
        steps: vec![step],
        values: vec![],
        ..PlanMeta::default()
    };
    Plan::new(meta, vec![]).unwrap()
}

/// Loads a plan made on an H100 for one kernel on a GPU that differs a little.
fn loaded(kernel: &str, change: impl Fn(&mut CudaInfo)) -> Result<Engine, EngineError> {
    let mut other = hopper();
    change(&mut other);
    let device = ReplayDevice::new().with_info(gpu(other));
    Engine::new(plan(&gpu(hopper()), kernel), Arc::new(device))
}

#[test]
fn another_architecture_is_refused() {
    let e = loaded("cuda.launch", |c| c.capability = (8, 0)).err().unwrap().to_string();
    assert!(e.contains("sm_90a") && e.contains("sm_80") && e.contains("build it again"), "{e}");
}

#[cfg(all(feature = "cudnn", feature = "cublaslt"))]
#[test]
fn library_versions_count_where_they_are_used() {
    let (mut old_cudnn, mut no_lt) = (hopper(), hopper());
    (old_cudnn.cudnn, no_lt.cublaslt) = (Some(91300), None);
    for (kernel, field, info) in [("cudnn.graph", "cudnn", old_cudnn), ("cublaslt.matmul", "cublaslt", no_lt)]
    {
        let e = loaded(kernel, |c| *c = info.clone()).err().unwrap().to_string();
        assert!(e.contains(&format!("built for {field} 1")) || e.contains(field), "{e}");
        assert!(e.contains("install that version"), "{e}");
        assert_eq!(loaded("cuda.launch", |c| *c = info.clone()).unwrap().warnings(), []);
    }
}

#[test]
fn what_was_left_out_is_named() {
    let refused = |plan: &Plan, feature: &str| {
        let e = device_for(&plan.meta).err().unwrap();
        assert!(matches!(e, EngineError::LeftOut { .. }), "{e}");
        assert!(e.to_string().contains(&format!("feature `{feature}`")), "{e}");
    };
    let info = gpu(hopper());
    if cfg!(not(feature = "cuda")) {
        refused(&plan(&info, "cuda.launch"), "cuda");
    }
    for l in LIBRARIES.iter().filter(|l| cfg!(feature = "cuda") && !l.built_in) {
        let plan = plan(&info, &format!("{}some", l.prefix));
        refused(&plan, l.name);
        let e = Engine::new(plan, Arc::new(ReplayDevice::new().with_info(info.clone()))).err().unwrap();
        assert!(matches!(e, EngineError::LeftOut { .. }), "{e}");
    }
    if cfg!(not(feature = "cpu")) {
        let info = ReplayDevice::new().info().clone();
        assert!(info.cpu().is_some());
        refused(&plan(&info, "copy"), "cpu");
    }
}

#[cfg(feature = "cudnn")]
#[test]
fn what_only_building_uses_is_of_no_interest() {
    assert_eq!(loaded("cudnn.graph", |c| c.nvrtc = None).unwrap().warnings(), []);
    let engine = loaded("cudnn.graph", |c| c.driver = 13010).unwrap();
    assert_eq!(engine.warnings().len(), 1);
    assert_eq!(engine.warnings()[0].field, "driver");
}

#[cfg(feature = "cuda")]
#[test]
fn the_host_counts_where_its_cpu_computes() {
    for (kernel, warnings) in [("cuda.launch", 0), ("host.run", 1)] {
        let on = |host: &str| {
            let mut info = gpu(hopper());
            info.properties.insert("host".into(), host.into());
            info
        };
        let device = ReplayDevice::new().with_info(on("another CPU"));
        let engine = Engine::new(plan(&on("some CPU"), kernel), Arc::new(device)).unwrap();
        assert_eq!(engine.warnings().len(), warnings, "{kernel}");
    }
}

#[cfg(feature = "cuda")]
#[test]
fn a_plan_for_a_gpu_says_when_there_is_none() {
    let plan = plan(&gpu(hopper()), "cuda.launch");
    match device_for(&plan.meta) {
        Ok(d) => assert_eq!(d.info().kind_name(), "cuda"),
        Err(e) => assert!(e.to_string().contains("built for an NVIDIA GPU"), "{e}"),
    }
}

#[test]
fn a_driver_older_than_the_code_is_refused() {
    let load = |code: Option<u32>, driver: u32| {
        let mut plan = plan(&gpu(hopper()), "cuda.launch");
        plan.meta.steps[0].code = code;
        plan.meta.constants.push(Constant { note: "code".into(), offset: 0, len: 0 });
        let device = ReplayDevice::new().with_info(gpu(CudaInfo { driver, ..hopper() }));
        Engine::new(plan, Arc::new(device))
    };
    let e = load(Some(0), 12080).err().unwrap().to_string();
    assert!(e.contains("driver 13000") && e.contains("12080") && e.contains("install a driver"), "{e}");
    // Without code of its own, and with another driver of the same or a later generation, the plan runs.
    for (code, driver) in [(None, 12080), (Some(0), 13020), (Some(0), 14000)] {
        let engine = load(code, driver).unwrap();
        assert_eq!(engine.warnings().len(), 1, "{driver}");
        assert!(engine.warnings()[0].to_string().contains("driver 13000"), "{driver}");
    }
}

#[test]
fn every_field_that_differs_is_named() {
    let plan = plan(&gpu(hopper()), "cuda.launch");
    let other =
        CudaInfo { capability: (8, 0), multiprocessors: 108, l2_bytes: 40 << 20, driver: 12020, ..hopper() };
    let device = ReplayDevice::new().with_info(DeviceInfo { name: "A100".into(), ..gpu(other) });
    let Err(EngineError::Target(list)) = Engine::new(plan.clone(), Arc::new(device)).map(drop) else {
        panic!("the plan was not refused")
    };
    assert_eq!(list.iter().map(|m| &*m.field).collect::<Vec<_>>(), ["instruction set"]);
    let other = CudaInfo { multiprocessors: 108, l2_bytes: 40 << 20, ..hopper() };
    let device = ReplayDevice::new().with_info(DeviceInfo { name: "H100 PCIe".into(), ..gpu(other) });
    let engine = Engine::new(plan.clone(), Arc::new(device)).unwrap();
    let mut fields: Vec<&str> = engine.warnings().iter().map(|m| &*m.field).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["l2", "multiprocessors", "name"]);
    let e = Engine::new(plan, Arc::new(ReplayDevice::new())).err().unwrap().to_string();
    assert!(e.contains("device kind cuda") && e.contains("instruction set sm_90a"), "{e}");
}

/// A device whose streams record: what was recorded counts its launches.
struct Recorder {
    inner: ReplayDevice,
    counts: Arc<Counts>,
    refuses: bool,
}

#[derive(Default)]
struct Counts {
    followed: AtomicU32,
    recorded: AtomicU32,
    launched: AtomicU32,
}

impl Device for Recorder {
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }
    fn alloc(&self, bytes: u64) -> Result<Box<dyn Memory>, DeviceError> {
        self.inner.alloc(bytes)
    }
    fn constants(&self, bytes: Arc<dyn HostBytes>) -> Result<Box<dyn Memory>, DeviceError> {
        self.inner.constants(bytes)
    }
    fn prepare(&self, step: &StepDesc<'_>) -> Result<Box<dyn Executable>, DeviceError> {
        self.inner.prepare(step)
    }
    unsafe fn adopt(&self, _handle: *mut c_void) -> Result<Box<dyn Stream>, DeviceError> {
        self.stream()
    }
    fn stream(&self) -> Result<Box<dyn Stream>, DeviceError> {
        let (inner, counts) = (self.inner.stream()?, self.counts.clone());
        Ok(Box::new(RecordingStream { inner, counts, refuses: self.refuses }))
    }
}

struct RecordingStream {
    inner: Box<dyn Stream>,
    counts: Arc<Counts>,
    refuses: bool,
}

impl Stream for RecordingStream {
    unsafe fn write(&mut self, to: Span, from: &[u8]) -> Result<(), DeviceError> {
        // SAFETY: the caller's promise is passed on.
        unsafe { self.inner.write(to, from) }
    }
    unsafe fn read(&mut self, from: Span, to: &mut [u8]) -> Result<(), DeviceError> {
        // SAFETY: as above.
        unsafe { self.inner.read(from, to) }
    }
    unsafe fn fill(&mut self, to: Span, byte: u8) -> Result<(), DeviceError> {
        // SAFETY: as above.
        unsafe { self.inner.fill(to, byte) }
    }
    fn follow(&mut self, _other: &mut dyn Stream) -> Result<(), DeviceError> {
        self.counts.followed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
    fn synchronize(&mut self) -> Result<(), DeviceError> {
        self.inner.synchronize()
    }
    fn run(&mut self, work: &mut Work<'_>) -> Result<(), DeviceError> {
        work(self)
    }
    fn time(&mut self, work: &mut Work<'_>) -> Result<Duration, DeviceError> {
        work(self).map(|()| Duration::from_micros(1))
    }
    fn record(&mut self, _work: &mut Work<'_>) -> Result<Option<Box<dyn Graph>>, DeviceError> {
        self.counts.recorded.fetch_add(1, Ordering::Relaxed);
        if self.refuses {
            return Err(DeviceError::Failed { call: "recording".into(), reason: "not this".into() });
        }
        Ok(Some(Box::new(Counted(self.counts.clone()))))
    }
    fn as_any(&mut self) -> &mut dyn Any {
        self.inner.as_any()
    }
}

struct Counted(Arc<Counts>);

impl Graph for Counted {
    unsafe fn launch(&mut self, _stream: &mut dyn Stream) -> Result<(), DeviceError> {
        self.0.launched.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn recorder(refuses: bool) -> (Engine, Arc<Recorder>) {
    let info = gpu(hopper());
    let device = Arc::new(Recorder {
        inner: ReplayDevice::new().with_info(info.clone()),
        counts: Arc::default(),
        refuses,
    });
    (Engine::new(plan(&info, "cuda.launch"), device.clone()).unwrap(), device)
}

/// Steps run one by one, recordings made, and launches of them.
fn counts(d: &Recorder) -> (u64, u32, u32) {
    let n = |c: &AtomicU32| c.load(Ordering::Relaxed);
    (d.inner.calls("cuda.launch"), n(&d.counts.recorded), n(&d.counts.launched))
}

#[test]
fn the_second_run_with_new_bindings_records() {
    let (engine, device) = recorder(false);
    let mut c = engine.new_context().unwrap();
    for want in [(1, 0, 0), (1, 1, 1), (1, 1, 2)] {
        c.enqueue().unwrap();
        assert_eq!(counts(&device), want);
    }
    let own = device.alloc(16).unwrap();
    // SAFETY: live memory of the device, as long as the port, used for nothing else.
    unsafe { c.set_binding("x", own.span()).unwrap() };
    for want in [(2, 1, 2), (2, 2, 3), (2, 2, 4)] {
        c.enqueue().unwrap();
        assert_eq!(counts(&device), want);
    }
    assert_eq!(c.profile(2).unwrap()[0].len(), 2);
    assert_eq!(counts(&device), (4, 2, 4));
    assert!(c.measure(Duration::ZERO, Duration::ZERO).unwrap().len() >= 3);
    assert_eq!(counts(&device).0, 4);
}

/// A device whose only kernel copies its input, on a GPU or a CPU by its description.
fn copier(info: &DeviceInfo) -> (Engine, Arc<Recorder>) {
    let inner = ReplayDevice::new().with_info(info.clone()).compute(|_, x, y| y[0].copy_from_slice(x[0]));
    let device = Arc::new(Recorder { inner, counts: Arc::default(), refuses: true });
    (Engine::new(plan(info, "cuda.launch"), device.clone()).unwrap(), device)
}

fn bytes(values: [f32; 4]) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_ne_bytes).collect()
}

#[test]
fn bindings_that_steps_cannot_work_on_are_copied() {
    let (engine, device) = copier(&gpu(hopper()));
    let mut c = engine.new_context().unwrap();
    let (from, to) = (device.alloc(64).unwrap(), device.alloc(64).unwrap());
    let odd = |m: &dyn Memory| Span { address: m.span().address + 4, len: 16 };
    let mut s = device.stream().unwrap();
    for round in 1..4 {
        let values = bytes([round as f32, 2.0, 3.0, 4.0]);
        let mut back = [0; 16];
        // SAFETY: live memory of the device, long enough, used for nothing else.
        unsafe {
            s.write(odd(from.as_ref()), &values).unwrap();
            c.set_binding("x", odd(from.as_ref())).unwrap();
            c.set_binding("y", odd(to.as_ref())).unwrap();
            c.enqueue().unwrap();
            c.synchronize().unwrap();
            s.read(odd(to.as_ref()), &mut back).unwrap();
        }
        assert_eq!(back[..], values);
        assert_eq!(c.output("y").unwrap().bytes(), values);
    }
    let short = Span { len: 12, ..odd(from.as_ref()) };
    // SAFETY: refused before anything is read.
    let e = unsafe { c.set_binding("x", short) }.unwrap_err().to_string();
    assert!(e.contains("needs 16 bytes; 12 bytes"), "{e}");
    // A tensor ends the binding.
    let tensor = Tensor::new(&[4], &[9.0f32; 4]).unwrap();
    assert_eq!(c.run(&[("x", &tensor)]).unwrap()[0].1, tensor);
}

#[test]
fn host_memory_is_filled_and_read_in_place() {
    for info in [gpu(hopper()), ReplayDevice::new().info().clone()] {
        let (engine, _device) = copier(&info);
        let mut c = engine.new_context().unwrap();
        let refused = c.run(&[]).unwrap_err().to_string();
        assert!(refused.contains("`x`"), "{refused}");
        for round in 1..4 {
            let values = bytes([round as f32; 4]);
            c.host_input("x").unwrap().copy_from_slice(&values);
            c.enqueue().unwrap();
            assert_eq!(c.host_output("y").unwrap(), values);
        }
        assert!(c.run(&[]).is_ok() && c.host_input("y").is_err() && c.host_output("x").is_err());
    }
}

#[test]
fn runs_on_streams_of_the_caller_keep_their_order() {
    let (engine, device) = recorder(false);
    let mut c = engine.new_context().unwrap();
    let theirs = |n: usize| std::ptr::without_provenance_mut(n);
    let followed = || device.counts.followed.load(Ordering::Relaxed);
    // SAFETY: the test's device takes any handle.
    unsafe { c.enqueue_on(theirs(8)).unwrap() };
    assert_eq!((counts(&device), followed()), ((1, 0, 0), 1));
    // SAFETY: as above.
    unsafe { c.enqueue_on(theirs(8)).unwrap() };
    assert_eq!((counts(&device), followed()), ((1, 1, 1), 1));
    c.enqueue().unwrap();
    assert_eq!((counts(&device), followed()), ((1, 1, 2), 2));
    // SAFETY: as above.
    unsafe {
        c.enqueue_on(theirs(8)).unwrap();
        c.enqueue_on(theirs(16)).unwrap();
    }
    assert_eq!((counts(&device), followed()), ((1, 1, 4), 5));
    c.synchronize().unwrap();
    assert_eq!(followed(), 6);
    // SAFETY: refused before the handle is used.
    let e = unsafe { ReplayDevice::new().adopt(theirs(8)) }.err().unwrap().to_string();
    assert!(e.contains("no streams of others"), "{e}");
}

#[test]
fn measuring_a_new_context_times_the_recording() {
    let (engine, device) = recorder(false);
    let times = engine.new_context().unwrap().measure(Duration::ZERO, Duration::ZERO).unwrap();
    assert_eq!(counts(&device), (1, 1, 2 * times.len() as u32));
}

#[test]
fn what_cannot_be_recorded_runs_step_by_step() {
    let (engine, device) = recorder(true);
    let mut c = engine.new_context().unwrap();
    (0..4).for_each(|_| c.enqueue().unwrap());
    assert_eq!(counts(&device), (4, 1, 0));
}

#[test]
fn a_recorded_plan_is_profiled_by_its_beginnings() {
    let (engine, device) = recorder(false);
    let mut c = engine.new_context().unwrap();
    let samples = c.profile_recorded(Duration::ZERO).unwrap().unwrap();
    assert_eq!(samples.iter().map(Vec::len).collect::<Vec<_>>(), [5]);
    // The plan was recorded, then its one beginning; each round launches both.
    assert_eq!(counts(&device), (1, 2, 1 + 2 * 5));
    assert!(c.time(7).unwrap() > Duration::ZERO);
    assert_eq!(counts(&device), (1, 2, 11 + 2 + 7));
    let (engine, device) = recorder(true);
    assert_eq!(engine.new_context().unwrap().profile_recorded(Duration::ZERO).unwrap(), None);
    assert_eq!(counts(&device), (2, 1, 0));
}

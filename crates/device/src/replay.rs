//! A device that computes nothing and takes scripted times: for tests of the logic above.
//!
//! ```
//! use std::time::Duration;
//! use tactician_device::replay::ReplayDevice;
//! use tactician_device::{Device, Span, StepDesc};
//!
//! let device = ReplayDevice::new().times("slow", b"", [Duration::from_millis(3)]);
//! let step = StepDesc { kernel: "slow", params: b"", inputs: &[], outputs: &[], scratch: 0, code: None };
//! let exe = device.prepare(&step)?;
//! // SAFETY: the step has no arguments.
//! let took = device.stream()?.time(&mut |s| unsafe { exe.enqueue(&[Span::EMPTY], s) })?;
//! assert_eq!(took, Duration::from_millis(3));
//! assert_eq!(device.calls("slow"), 1);
//! # Ok::<(), tactician_device::DeviceError>(())
//! ```

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tactician_types::Bytes;

use crate::{
    CodeSource, CpuInfo, Device, DeviceError, DeviceInfo, DeviceKind, Executable, HostBytes, HostMemory, Isa,
    Memory, Span, StepDesc, Stream, Work, host_constants, host_pointer,
};

const NAME: &str = "the replay device";

/// One run of a step, as scripts see it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The step's kernel.
    pub kernel: &'a str,
    /// Its parameters.
    pub params: &'a [u8],
    /// How many times a step with this kernel and these parameters ran before.
    pub earlier: u64,
}

type Timer = dyn Fn(&Call<'_>) -> Duration + Send + Sync;
type Compute = dyn Fn(&Call<'_>, &[&[u8]], &mut [&mut [u8]]) + Send + Sync;
type Key = (String, Vec<u8>);

/// What a scripted step does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It cannot be prepared.
    Prepare,
    /// It runs this many times, then fails.
    RunAfter(u64),
    /// It runs out of device memory when enqueued.
    OutOfMemory,
    /// It breaks the device: from its first run on, every step fails.
    Fault,
}

struct Shared {
    timer: Box<Timer>,
    compute: Option<Box<Compute>>,
    scripts: BTreeMap<Key, Vec<Duration>>,
    failures: BTreeMap<Key, Failure>,
    memory_limit: u64,
    /// Allocations of so many bytes and more fail.
    refuses: Option<u64>,
    compiles: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: BTreeMap<Key, u64>,
    order: Vec<String>,
    used: u64,
    peak: u64,
    broken: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn health(&self) -> Result<(), DeviceError> {
        if self.state().broken { Err(broken()) } else { Ok(()) }
    }
}

/// A device whose steps take scripted times and leave memory as it is, or compute what a closure says.
pub struct ReplayDevice {
    info: DeviceInfo,
    shared: Arc<Shared>,
}

impl Default for ReplayDevice {
    fn default() -> Self {
        Self::new()
    }
}

impl ReplayDevice {
    /// A device that accepts every step and takes one microsecond for each.
    pub fn new() -> ReplayDevice {
        let cpu =
            CpuInfo { isa: Isa::Avx2, threads: 2, l1_bytes: 32 << 10, l2_bytes: 1 << 20, l3_bytes: 8 << 20 };
        ReplayDevice {
            info: DeviceInfo {
                kind: DeviceKind::Cpu(cpu),
                name: "replay".into(),
                properties: BTreeMap::new(),
            },
            shared: Arc::new(Shared {
                timer: Box::new(|_| Duration::from_micros(1)),
                compute: None,
                scripts: BTreeMap::new(),
                failures: BTreeMap::new(),
                memory_limit: u64::MAX,
                refuses: None,
                compiles: false,
                state: Mutex::default(),
            }),
        }
    }

    fn edit(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        let shared = Arc::get_mut(&mut self.shared).expect("a device is scripted before it is used");
        change(shared);
        self
    }

    /// Pretends to be the device described.
    pub fn with_info(mut self, info: DeviceInfo) -> Self {
        self.info = info;
        self
    }

    /// Times steps that have no script of their own by a function.
    ///
    /// # Panics
    /// This and the other scripting methods: when memory, streams or steps of the device exist already.
    pub fn timer(self, timer: impl Fn(&Call<'_>) -> Duration + Send + Sync + 'static) -> Self {
        self.edit(|s| s.timer = Box::new(timer))
    }

    /// Scripts the successive times of one step; after the last it starts over. No times: back to the timer.
    pub fn times(self, kernel: &str, params: &[u8], times: impl IntoIterator<Item = Duration>) -> Self {
        let times: Vec<Duration> = times.into_iter().collect();
        self.edit(|s| {
            let key = (kernel.to_owned(), params.to_vec());
            if times.is_empty() {
                s.scripts.remove(&key)
            } else {
                s.scripts.insert(key, times)
            };
        })
    }

    /// Makes one step fail.
    pub fn failure(self, kernel: &str, params: &[u8], failure: Failure) -> Self {
        self.edit(|s| {
            s.failures.insert((kernel.to_owned(), params.to_vec()), failure);
        })
    }

    /// Makes steps compute: the function gets the call, the inputs, and the outputs to write.
    pub fn compute(self, f: impl Fn(&Call<'_>, &[&[u8]], &mut [&mut [u8]]) + Send + Sync + 'static) -> Self {
        self.edit(|s| s.compute = Some(Box::new(f)))
    }

    /// Limits what may be allocated at one time; more is out of memory.
    pub fn memory_limit(self, bytes: u64) -> Self {
        self.edit(|s| s.memory_limit = bytes)
    }

    /// Refuses allocations of `bytes` bytes and more; each one refused is out of memory.
    pub fn refuse_from(self, bytes: u64) -> Self {
        self.edit(|s| s.refuses = Some(bytes))
    }

    /// Compiles: code is the source's text.
    pub fn compiles(self) -> Self {
        self.edit(|s| s.compiles = true)
    }

    /// How often steps of this kernel ran, whatever their parameters.
    pub fn calls(&self, kernel: &str) -> u64 {
        self.shared.state().calls.iter().filter(|((k, _), _)| k == kernel).map(|(_, n)| n).sum()
    }

    /// How often steps of this kernel with these parameters ran.
    pub fn calls_with(&self, kernel: &str, params: &[u8]) -> u64 {
        self.shared.state().calls.get(&(kernel.to_owned(), params.to_vec())).copied().unwrap_or(0)
    }

    /// The kernels that ran, in order.
    pub fn order(&self) -> Vec<String> {
        self.shared.state().order.clone()
    }

    /// Bytes allocated now, and the most at any time.
    pub fn memory_used(&self) -> (u64, u64) {
        let s = self.shared.state();
        (s.used, s.peak)
    }
}

impl Device for ReplayDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn alloc(&self, bytes: u64) -> Result<Box<dyn Memory>, DeviceError> {
        let mut state = self.shared.state();
        let used = state.used.saturating_add(bytes);
        if used > self.shared.memory_limit || self.shared.refuses.is_some_and(|n| bytes >= n) {
            return Err(DeviceError::OutOfMemory { device: NAME.into(), wanted: Bytes(bytes), room: None });
        }
        let memory = HostMemory::alloc(bytes, NAME)?;
        state.used = used;
        state.peak = state.peak.max(used);
        Ok(Box::new(Counted { memory, shared: self.shared.clone() }))
    }

    fn constants(&self, bytes: Arc<dyn HostBytes>) -> Result<Box<dyn Memory>, DeviceError> {
        host_constants(bytes, NAME)
    }

    fn prepare(&self, step: &StepDesc<'_>) -> Result<Box<dyn Executable>, DeviceError> {
        let key = (step.kernel.to_owned(), step.params.to_vec());
        let failure = self.shared.failures.get(&key).copied();
        if failure == Some(Failure::Prepare) {
            return Err(DeviceError::BadStep { kernel: key.0, problem: "scripted to be refused".into() });
        }
        Ok(Box::new(Replayed {
            key,
            failure,
            inputs: step.inputs.to_vec(),
            outputs: step.outputs.to_vec(),
            shared: self.shared.clone(),
        }))
    }

    fn compile(&self, source: &CodeSource) -> Result<Arc<[u8]>, DeviceError> {
        if self.shared.compiles {
            return Ok(source.text.as_bytes().into());
        }
        let reason = "a replay device compiles only when it is told to".into();
        Err(DeviceError::Failed { call: format!("compiling {}", source.name), reason })
    }

    fn health(&self) -> Result<(), DeviceError> {
        self.shared.health()
    }

    fn stream(&self) -> Result<Box<dyn Stream>, DeviceError> {
        Ok(Box::new(ReplayStream { clock: Duration::ZERO, shared: self.shared.clone() }))
    }
}

fn broken() -> DeviceError {
    DeviceError::Failed { call: "running a step".into(), reason: "scripted to break the device".into() }
}

struct Counted {
    memory: HostMemory,
    shared: Arc<Shared>,
}

impl Memory for Counted {
    fn span(&self) -> Span {
        self.memory.span()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.state().used -= self.memory.span().len;
    }
}

struct Replayed {
    key: Key,
    failure: Option<Failure>,
    inputs: Vec<u64>,
    outputs: Vec<u64>,
    shared: Arc<Shared>,
}

impl Executable for Replayed {
    unsafe fn enqueue(&self, args: &[Span], stream: &mut dyn Stream) -> Result<(), DeviceError> {
        let mut state = self.shared.state();
        state.broken |= self.failure == Some(Failure::Fault);
        if state.broken {
            return Err(broken());
        }
        let count = state.calls.entry(self.key.clone()).or_default();
        let earlier = *count;
        match self.failure {
            Some(Failure::OutOfMemory) => {
                return Err(DeviceError::OutOfMemory { device: NAME.into(), wanted: Bytes(0), room: None });
            }
            Some(Failure::RunAfter(n)) if earlier >= n => {
                let call = format!("step `{}`", self.key.0);
                return Err(DeviceError::Failed { call, reason: "scripted to fail".into() });
            }
            _ => {}
        }
        *count += 1;
        state.order.push(self.key.0.clone());
        drop(state);
        let call = Call { kernel: &self.key.0, params: &self.key.1, earlier };
        if let Some(compute) = &self.shared.compute {
            let (inputs, rest) = args.split_at(self.inputs.len());
            let pointer = |s: &Span| if s.len == 0 { std::ptr::dangling_mut() } else { host_pointer(*s) };
            // SAFETY: live memory of this device, as long as the lengths that the step was prepared with, not
            // written meanwhile: promised by the caller.
            let inputs: Vec<&[u8]> = (inputs.iter().zip(&self.inputs))
                .map(|(s, &n)| unsafe { std::slice::from_raw_parts(pointer(s), n as usize) })
                .collect();
            // SAFETY: as above, and outputs overlap nothing else.
            let mut outputs: Vec<&mut [u8]> = (rest.iter().zip(&self.outputs))
                .map(|(s, &n)| unsafe { std::slice::from_raw_parts_mut(pointer(s), n as usize) })
                .collect();
            compute(&call, &inputs, &mut outputs);
        }
        let took = match self.shared.scripts.get(&self.key) {
            Some(times) => times[(earlier % times.len() as u64) as usize],
            None => (self.shared.timer)(&call),
        };
        if let Some(s) = stream.as_any().downcast_mut::<ReplayStream>() {
            s.clock += took;
        }
        Ok(())
    }
}

struct ReplayStream {
    clock: Duration,
    shared: Arc<Shared>,
}

impl Stream for ReplayStream {
    unsafe fn write(&mut self, to: Span, from: &[u8]) -> Result<(), DeviceError> {
        assert_eq!(from.len() as u64, to.len, "both sides of a copy have one length");
        // SAFETY: live and unshared by contract; the lengths are equal.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), host_pointer(to), from.len()) };
        Ok(())
    }

    unsafe fn read(&mut self, from: Span, to: &mut [u8]) -> Result<(), DeviceError> {
        assert_eq!(from.len, to.len() as u64, "both sides of a copy have one length");
        // SAFETY: live and not written meanwhile by contract; the lengths are equal.
        unsafe { std::ptr::copy_nonoverlapping(host_pointer(from), to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    unsafe fn fill(&mut self, to: Span, byte: u8) -> Result<(), DeviceError> {
        // SAFETY: live and unshared by contract.
        unsafe { std::ptr::write_bytes(host_pointer(to), byte, to.len as usize) };
        Ok(())
    }

    fn synchronize(&mut self) -> Result<(), DeviceError> {
        self.shared.health()
    }

    fn run(&mut self, work: &mut Work<'_>) -> Result<(), DeviceError> {
        work(self)
    }

    fn time(&mut self, work: &mut Work<'_>) -> Result<Duration, DeviceError> {
        let start = self.clock;
        work(self)?;
        Ok(self.clock - start)
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn step<'a>(kernel: &'a str, params: &'a [u8]) -> StepDesc<'a> {
        StepDesc { kernel, params, inputs: &[], outputs: &[], scratch: 0, code: None }
    }

    fn time(device: &ReplayDevice, kernel: &str, params: &[u8]) -> Result<Duration, DeviceError> {
        let exe = device.prepare(&step(kernel, params))?;
        // SAFETY: the step has no arguments.
        device.stream()?.time(&mut |s| s.run(&mut |s| unsafe { exe.enqueue(&[Span::EMPTY], s) }))
    }

    #[test]
    fn scripts_cycle_and_the_timer_serves_the_rest() {
        let device = ReplayDevice::new()
            .times("a", b"1", [MS, 2 * MS])
            .timer(|c| if c.kernel == "b" { 5 * MS * (c.earlier as u32 + 1) } else { 9 * MS });
        let a: Vec<_> = (0..3).map(|_| time(&device, "a", b"1").unwrap()).collect();
        assert_eq!(a, [MS, 2 * MS, MS]);
        assert_eq!(time(&device, "a", b"2").unwrap(), 9 * MS);
        assert_eq!(time(&device, "b", b"").unwrap(), 5 * MS);
        assert_eq!(time(&device, "b", b"").unwrap(), 10 * MS);
        assert_eq!((device.calls("a"), device.calls_with("a", b"1"), device.calls("c")), (4, 3, 0));
        assert_eq!(device.order(), ["a", "a", "a", "a", "b", "b"]);
    }

    #[test]
    fn failures_come_as_scripted() {
        let device = ReplayDevice::new()
            .failure("p", b"", Failure::Prepare)
            .failure("r", b"", Failure::RunAfter(2))
            .failure("m", b"", Failure::OutOfMemory);
        assert!(matches!(time(&device, "p", b""), Err(DeviceError::BadStep { .. })));
        assert!(time(&device, "r", b"").is_ok() && time(&device, "r", b"").is_ok());
        assert!(matches!(time(&device, "r", b""), Err(DeviceError::Failed { .. })));
        assert!(matches!(time(&device, "m", b""), Err(DeviceError::OutOfMemory { .. })));
        assert_eq!(device.calls("r"), 2);
    }

    #[test]
    fn a_fault_ends_everything() {
        let device = ReplayDevice::new().failure("f", b"", Failure::Fault);
        assert!(time(&device, "a", b"").is_ok() && device.health().is_ok());
        assert!(time(&device, "f", b"").is_err() && device.health().is_err());
        assert!(time(&device, "a", b"").is_err() && device.stream().unwrap().synchronize().is_err());
    }

    #[test]
    fn large_allocations_can_be_refused() {
        let device = ReplayDevice::new().refuse_from(100);
        assert!(device.alloc(99).is_ok());
        assert!(matches!(device.alloc(100), Err(DeviceError::OutOfMemory { .. })));
    }

    #[test]
    fn memory_is_limited_and_counted() {
        let device = ReplayDevice::new().memory_limit(1000);
        let a = device.alloc(600).unwrap();
        assert!(matches!(device.alloc(401), Err(DeviceError::OutOfMemory { .. })));
        drop(a);
        let _b = device.alloc(1000).unwrap();
        assert_eq!(device.memory_used(), (1000, 1000));
    }

    #[test]
    fn steps_can_compute() {
        let device = ReplayDevice::new().compute(|c, x, y| {
            assert_eq!(c.params, b"add");
            y[0].iter_mut().zip(x[0]).zip(x[1]).for_each(|((y, a), b)| *y = a + b);
        });
        let (a, b, y) = (device.alloc(4).unwrap(), device.alloc(4).unwrap(), device.alloc(4).unwrap());
        let desc = StepDesc { inputs: &[4, 4], outputs: &[4], ..step("k", b"add") };
        let exe = device.prepare(&desc).unwrap();
        let mut s = device.stream().unwrap();
        let mut back = [0; 4];
        // SAFETY: the blocks are live, disjoint and four bytes long, as the step was told.
        unsafe {
            s.write(a.span(), &[1, 2, 3, 4]).unwrap();
            s.fill(b.span(), 10).unwrap();
            exe.enqueue(&[a.span(), b.span(), y.span(), Span::EMPTY], &mut *s).unwrap();
            s.read(y.span(), &mut back).unwrap();
        }
        assert_eq!(back, [11, 12, 13, 14]);
    }
}

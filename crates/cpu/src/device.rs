//! The host processor as a [`Device`].

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tactician_device::{
    CpuInfo, Device, DeviceError, DeviceInfo, DeviceKind, Executable, HostBytes, HostMemory, Isa, Memory,
    Span, StepDesc, Stream, Work, host_constants, host_pointer,
};

use crate::isa::available_isas;
use crate::level::Level;
use crate::threads::Threads;
use crate::{cpuinfo, registry};

/// The name used in messages.
const NAME: &str = "the CPU";

/// The host processor: kernels run on a pool of threads, memory is host memory, constants stay where they are.
///
/// Streams run work at once: when a call returns, the work is done.
pub struct CpuDevice {
    info: DeviceInfo,
    threads: Arc<Threads>,
}

impl CpuDevice {
    /// A device that uses `threads` threads, the caller's included (`None`: one for each processor that this
    /// process may use), and the best instruction set present.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn new(threads: Option<usize>) -> Result<CpuDevice, DeviceError> {
        let count = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()));
        let threads = start(count)?;
        let isa = threads.level().isa();
        let [l1_bytes, l2_bytes, l3_bytes] = cpuinfo::caches();
        let info = DeviceInfo {
            kind: DeviceKind::Cpu(CpuInfo { isa, threads: threads.count(), l1_bytes, l2_bytes, l3_bytes }),
            name: cpuinfo::model_name(),
            properties: BTreeMap::from([
                ("arch".to_owned(), std::env::consts::ARCH.to_owned()),
                ("kernels".to_owned(), env!("TACTICIAN_CPU_SOURCES").to_owned()),
            ]),
        };
        Ok(CpuDevice { info, threads: Arc::new(threads) })
    }

    /// The same device held to the instruction set `isa`.
    ///
    /// # Errors
    /// When this processor lacks it.
    pub fn with_isa(mut self, isa: Isa) -> Result<CpuDevice, DeviceError> {
        if !available_isas().contains(&isa) {
            return Err(DeviceError::Failed {
                call: format!("choosing the instruction set {isa}"),
                reason: format!("this processor offers {}", list(available_isas())),
            });
        }
        self.threads = Arc::new(start(self.threads.count())?.with_level(Level::of(isa)));
        let DeviceKind::Cpu(cpu) = &mut self.info.kind else { return Ok(self) };
        cpu.isa = isa;
        Ok(self)
    }

    /// The pool on which kernels run.
    pub fn threads(&self) -> &Arc<Threads> {
        &self.threads
    }

    /// The instruction set that kernels use.
    pub fn isa(&self) -> Isa {
        self.threads.level().isa()
    }
}

fn start(threads: usize) -> Result<Threads, DeviceError> {
    Threads::new(threads)
        .map_err(|reason| DeviceError::Failed { call: "starting worker threads".into(), reason })
}

fn list(isas: &[Isa]) -> String {
    isas.iter().map(|i| i.name()).collect::<Vec<_>>().join(", ")
}

impl Device for CpuDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn alloc(&self, bytes: u64) -> Result<Box<dyn Memory>, DeviceError> {
        Ok(Box::new(HostMemory::alloc(bytes, NAME)?))
    }

    fn constants(&self, bytes: Arc<dyn HostBytes>) -> Result<Box<dyn Memory>, DeviceError> {
        host_constants(bytes, NAME)
    }

    fn prepare(&self, step: &StepDesc<'_>) -> Result<Box<dyn Executable>, DeviceError> {
        registry::decode(step, &self.threads)
    }

    fn stream(&self) -> Result<Box<dyn Stream>, DeviceError> {
        Ok(Box::new(CpuStream { threads: self.threads.clone() }))
    }
}

struct CpuStream {
    threads: Arc<Threads>,
}

impl Stream for CpuStream {
    unsafe fn write(&mut self, to: Span, from: &[u8]) -> Result<(), DeviceError> {
        assert_eq!(from.len() as u64, to.len, "both sides of a copy have one length");
        // SAFETY: live and unshared by contract, so not part of `from`; the lengths are equal.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), host_pointer(to), from.len()) };
        Ok(())
    }

    unsafe fn read(&mut self, from: Span, to: &mut [u8]) -> Result<(), DeviceError> {
        assert_eq!(from.len, to.len() as u64, "both sides of a copy have one length");
        // SAFETY: live and not written meanwhile by contract; the lengths are equal.
        unsafe { std::ptr::copy_nonoverlapping(host_pointer(from), to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    unsafe fn copy(&mut self, from: Span, to: Span) -> Result<(), DeviceError> {
        assert_eq!(from.len, to.len, "both sides of a copy have one length");
        // SAFETY: live, unshared and apart by contract; the lengths are equal.
        unsafe { std::ptr::copy_nonoverlapping(host_pointer(from), host_pointer(to), to.len as usize) };
        Ok(())
    }

    unsafe fn fill(&mut self, to: Span, byte: u8) -> Result<(), DeviceError> {
        // SAFETY: live and unshared by contract.
        unsafe { std::ptr::write_bytes(host_pointer(to), byte, to.len as usize) };
        Ok(())
    }

    fn synchronize(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn run(&mut self, work: &mut Work<'_>) -> Result<(), DeviceError> {
        let threads = self.threads.clone();
        threads.install(|| work(self))
    }

    fn time(&mut self, work: &mut Work<'_>) -> Result<Duration, DeviceError> {
        let threads = self.threads.clone();
        threads.install(|| {
            let start = Instant::now();
            work(self)?;
            Ok(start.elapsed())
        })
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Copy;

    fn step<'a>(params: &'a [u8], inputs: &'a [u64], outputs: &'a [u64]) -> StepDesc<'a> {
        StepDesc { kernel: "copy", params, inputs, outputs, scratch: 0, code: None }
    }

    #[test]
    fn a_step_runs() {
        for threads in [1, 2] {
            let device = CpuDevice::new(Some(threads)).unwrap();
            let params = postcard::to_allocvec(&Copy { bytes: 1000 }).unwrap();
            let exe = device.prepare(&step(&params, &[1000], &[1024])).unwrap();
            let (x, y) = (device.alloc(1000).unwrap(), device.alloc(1024).unwrap());
            let mut stream = device.stream().unwrap();
            let data: Vec<u8> = (0..1000).map(|i| i as u8).collect();
            let mut back = vec![0; 1024];
            // SAFETY: both blocks are live, disjoint and as long as the step was told.
            unsafe {
                stream.write(x.span(), &data).unwrap();
                stream.fill(y.span(), 0xee).unwrap();
                let args = [x.span(), y.span(), Span::EMPTY];
                let time = stream.time(&mut |s| s.run(&mut |s| exe.enqueue(&args, s))).unwrap();
                assert!(time < Duration::from_secs(10));
                stream.synchronize().unwrap();
                stream.read(y.span(), &mut back).unwrap();
            }
            assert_eq!(back[..1000], data);
            assert!(back[1000..].iter().all(|&b| b == 0xee));
        }
    }

    #[test]
    fn unfit_steps_are_refused() {
        let device = CpuDevice::new(Some(1)).unwrap();
        let mut params = postcard::to_allocvec(&Copy { bytes: 1000 }).unwrap();
        let refused = |p: &[u8], i: &[u64], o: &[u64]| match device.prepare(&step(p, i, o)) {
            Ok(_) => panic!("accepted"),
            Err(e) => e.to_string(),
        };
        assert!(refused(&params, &[999], &[1000]).contains("must hold 1000 bytes, the plan passes 999"));
        assert!(refused(&params, &[1000], &[]).contains("takes 1 outputs, the plan passes 0"));
        assert!(refused(&[], &[], &[]).contains("do not decode"));
        params.push(0);
        assert!(refused(&params, &[1000], &[1000]).contains("stray"));
        let unknown = StepDesc { kernel: "conv.magic", ..step(&[], &[], &[]) };
        assert!(matches!(device.prepare(&unknown), Err(DeviceError::UnknownKernel { .. })));
    }

    #[test]
    fn the_instruction_set_can_be_lowered_only() {
        for &isa in available_isas() {
            let device = CpuDevice::new(Some(1)).unwrap().with_isa(isa).unwrap();
            assert_eq!(device.info().cpu().unwrap().isa, isa);
        }
        let absent = if cfg!(target_arch = "x86_64") { Isa::Neon } else { Isa::Avx2 };
        assert!(CpuDevice::new(Some(1)).unwrap().with_isa(absent).is_err());
    }

    #[test]
    fn memory_runs_out_with_an_error() {
        let device = CpuDevice::new(Some(1)).unwrap();
        assert!(matches!(device.alloc(u64::MAX / 2), Err(DeviceError::OutOfMemory { .. })));
    }
}

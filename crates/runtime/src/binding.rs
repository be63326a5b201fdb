//! Where a context's inputs and outputs live.

use tactician_device::{DeviceError, Span, host_pointer};

use crate::context::Context;
use crate::error::RunError;

/// What steps on a GPU expect of an input or output: kernels and libraries read 16 bytes at a time. Allocations always are
/// aligned to more.
const GPU_BINDING: u64 = 16;

impl Context {
    /// Makes an input or output live in the caller's memory.
    ///
    /// Steps work on that memory itself where they can: on the CPU where it is aligned to the element type; on a GPU where it is
    /// the GPU's (or managed by CUDA) and aligned to 16 bytes. Then nothing is copied. Other memory, such as the host's or
    /// another GPU's or an odd part of a buffer, is copied at every run, from there before the first step, or to there behind
    /// the last, in the order of the stream; from and to page-locked memory a GPU copies several times as fast.
    ///
    /// # Errors
    /// When there is no port of that name, the memory is too short, or there is none left for the copy.
    ///
    /// # Safety
    /// The memory is the device's or the host's. It stays valid, and unshared while a run is under way, until another binding
    /// replaces it and the runs enqueued before are done, or the context is dropped. Bindings do not overlap.
    pub unsafe fn set_binding(&mut self, name: &str, span: Span) -> Result<(), RunError> {
        let inputs = self.shared.meta.inputs.len();
        let number = match self.input_number(name) {
            Ok(i) => i,
            Err(_) => inputs + self.output_number(name)?,
        };
        let port = self.port(number);
        let (need, element) = (port.bytes().unwrap_or(0), port.dtype.size() as u64);
        if span.len < need {
            let problem =
                format!("it needs {need} bytes; {} bytes at {:#x} are given", span.len, span.address);
            return Err(RunError::Binding { name: name.to_owned(), problem });
        }
        let span = Span { len: need, ..span };
        let device = &self.shared.device;
        let align = if device.info().cuda().is_some() { GPU_BINDING } else { element };
        if need == 0 || span.address.is_multiple_of(align) && device.reaches(span) {
            self.bound[number] = span;
            self.copied[number] = None;
            self.owned[number] = None;
            self.resolve();
        } else {
            self.copy_at_runs(number, span)?;
        }
        self.mark_given(number);
        Ok(())
    }

    /// Binds an input to memory of the host that the context keeps for it, to be filled in: every run from now on reads the
    /// input there, until it is bound or set otherwise. For a GPU the memory is page-locked, so that the copy is fast and does
    /// not make the enqueuing thread wait; on the CPU it is the memory that steps work on.
    ///
    /// The bytes are row-major elements in the machine's order. Waits for runs under way, which may read the memory.
    ///
    /// ```no_run
    /// # let engine = tactician_runtime::Engine::load("net.plan")?;
    /// let mut context = engine.new_context()?;
    /// for frame in [[0u8; 3 * 224 * 224]; 2] {
    ///     context.host_input("image")?.copy_from_slice(&frame);
    ///     context.enqueue()?;
    ///     let scores: &[u8] = context.host_output("scores")?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When there is no such input, a run failed, or memory is short.
    pub fn host_input(&mut self, name: &str) -> Result<&mut [u8], RunError> {
        let number = self.input_number(name)?;
        self.synchronize()?;
        let span = self.host_span(number)?;
        self.mark_given(number);
        // SAFETY: live memory of the host that the context owns, initialised when it was allocated; no run is under way, and
        // none can be enqueued while the slice is borrowed.
        Ok(unsafe { std::slice::from_raw_parts_mut(host_pointer(span), span.len as usize) })
    }

    /// Binds an output to memory of the host, as [`Context::host_input`] does an input, waits for runs under way, and returns
    /// what they left. Ask once before the first run, and the copy is part of every run.
    ///
    /// # Errors
    /// When there is no such output, a run failed, or memory is short.
    pub fn host_output(&mut self, name: &str) -> Result<&[u8], RunError> {
        let number = self.shared.meta.inputs.len() + self.output_number(name)?;
        self.synchronize()?;
        let before = self.copied[number];
        let span = self.host_span(number)?;
        if self.copied[number].is_some() && self.copied[number] != before {
            // Earlier runs did not copy there.
            // SAFETY: both are live, of one length, and nothing else runs.
            unsafe { self.stream.copy(self.bound[number], span)? };
            self.synchronize()?;
        }
        // SAFETY: as in `host_input`.
        Ok(unsafe { std::slice::from_raw_parts(host_pointer(span), span.len as usize) })
    }

    fn mark_given(&mut self, number: usize) {
        if let Some(given) = self.given.get_mut(number) {
            *given = true;
        }
    }

    /// Gives a port memory of the context's own, which steps work on.
    pub(crate) fn own_memory(&mut self, number: usize) -> Result<(), DeviceError> {
        let bytes = self.port(number).bytes().unwrap_or(0);
        let memory = self.shared.device.alloc(bytes)?;
        self.bound[number] = Span { len: bytes, ..memory.span() };
        self.owned[number] = Some(memory);
        Ok(())
    }

    /// Lets steps work on memory of the context's own again, where they do on the caller's.
    fn return_memory(&mut self, number: usize) -> Result<(), DeviceError> {
        if self.owned[number].is_none() {
            self.own_memory(number)?;
            self.resolve();
        }
        Ok(())
    }

    /// Makes runs copy a port from or to memory that steps cannot work on.
    fn copy_at_runs(&mut self, number: usize, span: Span) -> Result<(), DeviceError> {
        self.return_memory(number)?;
        self.copied[number] = Some(span);
        Ok(())
    }

    /// The memory of the host for a port, bound.
    fn host_span(&mut self, number: usize) -> Result<Span, DeviceError> {
        let device = self.shared.device.clone();
        if device.info().cpu().is_some() {
            self.return_memory(number)?;
            self.copied[number] = None;
            return Ok(self.bound[number]);
        }
        let bytes = self.bound[number].len;
        let memory = match self.host[number].take() {
            Some(m) => m,
            None => device.host_memory(bytes)?,
        };
        let span = Span { len: bytes, ..memory.span() };
        self.host[number] = Some(memory);
        self.copy_at_runs(number, span)?;
        Ok(span)
    }
}

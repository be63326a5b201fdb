//! Memory that the tactics of a problem are tried on, one at a time: operands in every layout that one of them wants, one
//! output and one scratch, each between guard zones. Those that passed the gate race on the same.

use std::collections::BTreeMap;

use tactician_device::{ALIGNMENT, Device, DeviceError, Memory, Span, Stream};
use tactician_ir::{Problem, TensorType};
use tactician_tactics::Tactic;
use tactician_types::{Bytes, Layout};

use crate::images::write_repeated;
use crate::trial::Ground;

/// Bytes of a guard zone, before and behind everything.
pub(crate) const GUARD: u64 = 4096;

/// What guard zones hold.
pub(crate) const GUARD_BYTE: u8 = 0xA5;

/// What output and scratch hold before a run, and the padding of operands: as floats, NaN.
pub(crate) const POISON: u8 = 0xFF;

/// Bytes of a value in a layout.
pub(crate) fn stored_bytes(ty: &TensorType, layout: Layout) -> Option<u64> {
    let n = layout.storage_len(&ty.sizes()?)?;
    Some(n as u64 * ty.dtype.size() as u64)
}

/// A buffer of changing length with a guard zone before it; the one behind it is where the length says.
struct Buffer {
    memory: Box<dyn Memory>,
    room: u64,
}

impl Buffer {
    fn new(device: &dyn Device, room: u64) -> Result<Buffer, DeviceError> {
        Ok(Buffer { memory: device.alloc(room + 2 * GUARD)?, room })
    }

    fn span(&self, len: u64) -> Span {
        Span { address: self.memory.span().address + GUARD, len }
    }

    fn zones(&self, len: u64) -> [Span; 2] {
        zones(self.span(len))
    }

    /// Poisons the buffer and puts the zone behind it in place.
    fn reset(&self, stream: &mut dyn Stream, len: u64) -> Result<(), DeviceError> {
        // SAFETY: our own memory, which one tactic at a time uses.
        unsafe {
            stream.fill(self.span(len), POISON)?;
            stream.fill(self.zones(len)[1], GUARD_BYTE)
        }
    }
}

/// The zones around what lies between some.
fn zones(inner: Span) -> [Span; 2] {
    [
        Span { address: inner.address - GUARD, len: GUARD },
        Span { address: inner.address + inner.len, len: GUARD },
    ]
}

/// The values of operand `i` in a case, laid out.
pub(crate) type Stored<'a> = dyn Fn(usize, usize, Layout) -> Vec<u8> + 'a;

/// See the module's documentation.
pub(crate) struct Sandbox<'a> {
    problem: &'a Problem,
    /// Operands of all cases between guard zones. Nothing of it may change.
    inputs: Box<dyn Memory>,
    /// Where an operand lies, by case, operand and layout.
    places: BTreeMap<(usize, usize, Layout), Span>,
    output: Buffer,
    scratch: Buffer,
    /// Why there is no more scratch.
    refusal: Option<String>,
}

impl<'a> Sandbox<'a> {
    /// What some tactics need for so many cases; operands and guard zones come with [`Sandbox::fill`]. Where the device has
    /// no room for the scratch of some, there is as much as the greediest of the others wants.
    ///
    /// # Errors
    /// When the device has no room for operands and output.
    pub(crate) fn new(
        device: &dyn Device,
        problem: &'a Problem,
        cases: usize,
        tactics: &[&Tactic],
    ) -> Result<Sandbox<'a>, DeviceError> {
        let mut places = BTreeMap::new();
        let mut end = 0;
        for case in 0..cases {
            for t in tactics {
                for (i, (operand, &layout)) in problem.operands.iter().zip(&t.inputs).enumerate() {
                    let Some(len) = stored_bytes(&operand.ty, layout).filter(|_| !operand.constant) else {
                        continue;
                    };
                    places.entry((case, i, layout)).or_insert_with(|| {
                        let address = end + GUARD;
                        end = (address + len).next_multiple_of(ALIGNMENT);
                        Span { address, len }
                    });
                }
            }
        }
        let inputs = device.alloc(end + GUARD)?;
        places.values_mut().for_each(|span| span.address += inputs.span().address);
        let longest = tactics.iter().filter_map(|t| stored_bytes(&problem.output, t.output)).max();
        let output = Buffer::new(device, longest.unwrap_or(0))?;
        let mut wanted: Vec<u64> = tactics.iter().map(|t| t.workspace).chain([0]).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut refusal = None;
        let scratch = loop {
            match Buffer::new(device, wanted.pop().unwrap_or(0)) {
                Ok(buffer) => break buffer,
                Err(e) if wanted.is_empty() => return Err(e),
                Err(e) => refusal = Some(e.to_string()),
            }
        };
        Ok(Sandbox { problem, inputs, places, output, scratch, refusal })
    }

    /// Puts operands and guard zones in place.
    pub(crate) fn fill(&self, stream: &mut dyn Stream, stored: &Stored<'_>) -> Result<(), DeviceError> {
        // SAFETY: our own memory; the stream is idle but for what fills other parts of it.
        unsafe {
            stream.fill(self.inputs.span(), GUARD_BYTE)?;
            for (&(case, i, layout), &span) in &self.places {
                write_repeated(stream, span, &stored(case, i, layout))?;
            }
            stream.fill(self.output.zones(0)[0], GUARD_BYTE)?;
            stream.fill(self.scratch.zones(0)[0], GUARD_BYTE)?;
        }
        stream.synchronize()
    }

    /// Bytes of a tactic's operands, output and scratch, guard zones of operands included.
    pub(crate) fn needed(&self, tactic: &Tactic) -> u64 {
        let operands = self.problem.operands.iter().zip(&tactic.inputs).map(|(o, &l)| {
            let bytes = if o.constant { 0 } else { stored_bytes(&o.ty, l).unwrap_or(0) };
            bytes + 2 * GUARD
        });
        let output = stored_bytes(&self.problem.output, tactic.output).unwrap_or(0);
        operands.sum::<u64>().saturating_add(output).saturating_add(tactic.workspace)
    }

    /// What a tactic runs on in a case.
    ///
    /// # Errors
    /// When there is no room for its scratch, or one of its values has no such layout.
    pub(crate) fn ground(&self, case: usize, tactic: &Tactic) -> Result<Ground, String> {
        let unfit = |ty: &TensorType, l: Layout| format!("{ty} cannot be laid out as {l}");
        if tactic.workspace > self.scratch.room {
            return Err(self.refusal.clone().unwrap_or_else(|| {
                format!("no room for its scratch of {} was set aside", Bytes(tactic.workspace))
            }));
        }
        let mut operands = Vec::with_capacity(tactic.inputs.len());
        for (i, (operand, &layout)) in self.problem.operands.iter().zip(&tactic.inputs).enumerate() {
            operands.push(match self.places.get(&(case, i, layout)) {
                _ if operand.constant => None,
                Some(&span) => Some(span),
                None => return Err(unfit(&operand.ty, layout)),
            });
        }
        let len = stored_bytes(&self.problem.output, tactic.output)
            .filter(|&n| n <= self.output.room)
            .ok_or_else(|| unfit(&self.problem.output, tactic.output))?;
        Ok(Ground { operands, output: self.output.span(len), scratch: self.scratch.span(tactic.workspace) })
    }

    /// Poisons output and scratch, and closes them by guard zones.
    pub(crate) fn reset(&self, stream: &mut dyn Stream, ground: &Ground) -> Result<(), DeviceError> {
        self.output.reset(stream, ground.output.len)?;
        self.scratch.reset(stream, ground.scratch.len)
    }

    /// Everything but output and scratch that lies here, in one piece: operands of all cases with their guard zones.
    pub(crate) fn inputs(&self) -> Span {
        self.inputs.span()
    }

    /// Guard zones of output and scratch: before and behind each.
    pub(crate) fn zones(&self, ground: &Ground) -> [Span; 4] {
        let ([a, b], [c, d]) = (zones(ground.output), zones(ground.scratch));
        [a, b, c, d]
    }

    /// What a run touched beside its output and scratch, as the guard zones tell that lie next to what it uses; `None` if
    /// they are as they were.
    pub(crate) fn touched(
        &self,
        stream: &mut dyn Stream,
        ground: &Ground,
    ) -> Result<Option<String>, DeviceError> {
        let operands = ground.operands.iter().enumerate();
        let operands = operands.filter_map(|(i, span)| Some((format!("operand {i}"), zones((*span)?))));
        let [a, b, c, d] = self.zones(ground);
        let rest = [(ZONES[0].to_owned(), [a, b]), (ZONES[2].to_owned(), [c, d])];
        let mut bytes = vec![0; GUARD as usize];
        for (name, zones) in operands.chain(rest) {
            for zone in zones {
                // SAFETY: our own memory; the stream is idle.
                unsafe { stream.read(zone, &mut bytes)? };
                if bytes.iter().any(|&b| b != GUARD_BYTE) {
                    return Ok(Some(name));
                }
            }
        }
        Ok(None)
    }
}

/// What lies behind or before each of [`Sandbox::zones`].
pub(crate) const ZONES: [&str; 4] = ["the output", "the output", "its scratch", "its scratch"];

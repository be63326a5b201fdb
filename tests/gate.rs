//! The gate's comparing on a GPU, beside the reference's on the host: `TACTICIAN_TEST_DEVICE=cuda`.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::print_stderr, reason = "it says what it skips")]

use std::sync::Arc;

use half::{bf16, f16};
use tactician::ir::Tensor;
use tactician::reference::compare_repeated;
use tactician::tactics::{CheckFound, CheckSizes, check_output};
use tactician::{DType, Device, DeviceName};
use tactician_device::{Memory, Span, StepDesc, Stream};

const ZONE: u32 = 4096;
const GUARD: u8 = 0xA5;

fn gpu() -> Option<Arc<dyn Device>> {
    let name = std::env::var("TACTICIAN_TEST_DEVICE").ok().filter(|n| n.starts_with("cuda"));
    let Some(name) = name else {
        eprintln!("skipped: TACTICIAN_TEST_DEVICE does not name a GPU");
        return None;
    };
    Some(name.parse::<DeviceName>().unwrap().open(Some(2)).unwrap())
}

/// Bytes of a type, rounded to it.
fn rounded(dtype: DType, values: &[f64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|&v| match dtype {
            DType::F16 => f16::from_f64(v).to_le_bytes().to_vec(),
            DType::BF16 => bf16::from_f64(v).to_le_bytes().to_vec(),
            DType::F32 => (v as f32).to_le_bytes().to_vec(),
            _ => v.to_le_bytes().to_vec(),
        })
        .collect()
}

/// A check on a device with everything that it looks at in memory.
struct Rig {
    device: Arc<dyn Device>,
    stream: Box<dyn Stream>,
    dtype: DType,
    sizes: CheckSizes,
    operands: Vec<Box<dyn Memory>>,
}

impl Rig {
    fn new(device: &Arc<dyn Device>, got: &Tensor, exact: &[f64], bound: &[f64]) -> Rig {
        let mut stream = device.stream().unwrap();
        let inputs: Vec<u8> = (0..4096u32 * 3).map(|i| (i * 7 % 251) as u8).collect();
        let zone = vec![GUARD; ZONE as usize];
        let mut lists: Vec<&[u8]> =
            vec![got.bytes(), bytemuck::cast_slice(exact), bytemuck::cast_slice(bound), &inputs];
        lists.extend([&zone[..]; 4]);
        let mut bring = |bytes: &[u8]| {
            let memory = device.alloc(bytes.len() as u64).unwrap();
            // SAFETY: new memory, as long as the bytes.
            unsafe { stream.write(memory.span(), bytes).unwrap() };
            memory
        };
        let operands = lists.into_iter().map(&mut bring).collect();
        let sizes = CheckSizes {
            elements: got.len() as u64,
            period: exact.len() as u64,
            inputs: inputs.len() as u64,
            zone: ZONE,
            guard: GUARD,
        };
        Rig { device: device.clone(), stream, dtype: got.dtype(), sizes, operands }
    }

    fn write(&mut self, operand: usize, at: u64, byte: u8) {
        let span = self.operands[operand].span();
        let place = Span { address: span.address + at, len: 1 };
        // SAFETY: a byte of our own memory; nothing runs.
        unsafe { self.stream.write(place, &[byte]).unwrap() };
    }

    /// What all blocks together found.
    fn found(&mut self) -> CheckFound {
        let check = check_output(self.device.info(), self.dtype, self.sizes).unwrap();
        let code = self.device.compile(check.step.code.as_ref().unwrap()).unwrap();
        let mut list = vec![CheckFound::default(); check.blocks as usize];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut list);
        let results = self.device.alloc(bytes.len() as u64).unwrap();
        let mut args: Vec<Span> = self.operands.iter().map(|m| m.span()).collect();
        let inputs: Vec<u64> = args.iter().map(|s| s.len).collect();
        let run = self
            .device
            .prepare(&StepDesc {
                kernel: check.step.kernel,
                params: &check.step.params,
                inputs: &inputs,
                outputs: &[bytes.len() as u64],
                scratch: 0,
                code: Some(&code),
            })
            .unwrap();
        args.extend([results.span(), Span { len: 0, ..results.span() }]);
        // SAFETY: live memory of the lengths that the step was prepared with.
        unsafe {
            run.enqueue(&args, self.stream.as_mut()).unwrap();
            self.stream.read(results.span(), bytes).unwrap();
        }
        list.iter().fold(CheckFound::default(), |a, b| CheckFound {
            worst: a.worst.max(b.worst),
            error: a.error + b.error,
            norm: a.norm + b.norm,
            inputs: a.inputs.wrapping_add(b.inputs),
            zones: a.zones | b.zones,
        })
    }
}

/// Values with every special one between ordinary ones, and bounds of every kind.
fn hard(n: usize) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    const SPECIAL: [f64; 9] =
        [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 70000.0, -1e39, 65504.0, 1e-9];
    let mut list = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..n {
        let ordinary = ((i * 37 % 101) as f64 - 50.0) / 8.0;
        let exact = if i % 13 == 0 { SPECIAL[i / 13 % 9] } else { ordinary };
        let got = match i % 7 {
            0 if i % 91 == 0 => SPECIAL[i / 91 % 9],
            1 => exact * (1.0 + 1e-3),
            _ => exact,
        };
        let bound = match i % 11 {
            0 => 0.0,
            1 => f64::INFINITY,
            2 => 40000.0,
            _ => 1e-2 + exact.abs() * 1e-2,
        };
        list.0.push(got);
        list.1.push(exact);
        list.2.push(if bound.is_nan() { 1.0 } else { bound });
    }
    list
}

fn close(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-12 * b.abs()
}

#[test]
fn a_gpu_compares_as_the_host_does() {
    let Some(device) = gpu() else { return };
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        // One element, part of a block, many blocks; whole, repeated, and with a part of a repeat at the end.
        for (n, period) in [(1, 1), (200, 200), (70_001, 70_001), (90_000, 30_000), (65_536 + 77, 8192)] {
            let (mut got, exact, bound) = hard(n);
            let (exact, bound) = (&exact[..period], &bound[..period]);
            for special in [true, false] {
                if !special {
                    // Then everything but one element is right.
                    got = (0..n).map(|i| exact[i % period]).collect();
                    if n > 5 && exact[(n - 3) % period].is_finite() {
                        got[n - 3] += 0.5;
                    }
                }
                let tensor = Tensor::from_bytes(dtype, &[n], rounded(dtype, &got)).unwrap();
                let want = compare_repeated(&tensor, exact, bound);
                let found = Rig::new(&device, &tensor, exact, bound).found();
                let what = format!("{dtype} {n} {period} {special}");
                assert!(close(found.worst, want.ratio), "{what}: {found:?} {want:?}");
                let l2 = if found.error == 0.0 { 0.0 } else { (found.error / found.norm).sqrt() };
                assert!(close(l2, want.relative_l2), "{what}: {found:?} {want:?}");
                assert_eq!(found.zones, 0, "{what}");
            }
        }
    }
}

#[test]
fn a_gpu_sees_what_else_was_touched() {
    let Some(device) = gpu() else { return };
    let exact: Vec<f64> = (0..5000).map(f64::from).collect();
    let tensor = Tensor::from_bytes(DType::F32, &[5000], rounded(DType::F32, &exact)).unwrap();
    let mut rig = Rig::new(&device, &tensor, &exact, &exact);
    let before = rig.found();
    assert_eq!(before, rig.found(), "the same again gives the same bits");
    for zone in 0..4 {
        for at in [0, 1, 2047, 4095] {
            rig.write(4 + zone, at, 0);
            assert_eq!(rig.found().zones, 1 << zone, "{at}");
            rig.write(4 + zone, at, GUARD);
        }
    }
    for at in [0, 1, 7, 8, 4097, 12_287] {
        rig.write(3, at, 255);
        assert_ne!(rig.found().inputs, before.inputs, "{at}");
        rig.write(3, at, (at * 7 % 251) as u8);
        assert_eq!(rig.found(), before);
    }
}

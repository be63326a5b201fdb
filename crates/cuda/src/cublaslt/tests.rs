//! What can be tested without a GPU: parameters that no plan of ours holds are refused, and a missing library or GPU
//! is a message.

use tactician_device::{CudaInfo, DeviceError, StepDesc};
use tactician_types::DType;

use super::execute::decode;
use super::*;

/// `D [8 x 4] = A [8 x 16] · B [16 x 4]`, with bias and C.
fn step() -> MatmulStep {
    let place = |leading, step| Place { leading, step };
    MatmulStep {
        gemm: Gemm {
            m: 8,
            n: 4,
            k: 16,
            batch: 1,
            a: Factor { transposed: true, place: place(16, 0) },
            b: Factor { transposed: false, place: place(16, 0) },
            d: place(8, 0),
            dtype: DType::F16,
            tf32: false,
            alpha: 1.0,
            bias: true,
            residual: true,
            activation: Activation::Relu,
        },
        inputs: Inputs { a: 1, b: 0, bias: Some(2), residual: Some(3) },
        algorithm: Algorithm {
            bytes: [1; 8],
            library: 1,
            config: Config {
                id: 1,
                tile: 20,
                stages: 8,
                split: 1,
                reduction: 0,
                swizzle: 0,
                custom: 0,
                inner: 0,
                cluster: 0,
            },
            workspace: 512,
        },
    }
}

const INPUTS: [u64; 4] = [128, 256, 16, 64];
const OUTPUTS: [u64; 1] = [64];

fn with<T>(params: &[u8], f: impl FnOnce(&StepDesc<'_>) -> T) -> T {
    f(&StepDesc {
        kernel: MatmulStep::NAME,
        params,
        inputs: &INPUTS,
        outputs: &OUTPUTS,
        scratch: 512,
        code: None,
    })
}

/// What is said of a step.
fn verdict(step: &MatmulStep) -> Result<(), String> {
    let params = postcard::to_stdvec(step).unwrap();
    with(&params, |d| decode(d).map(|_| ()).map_err(|e| e.to_string()))
}

#[test]
fn a_step_round_trips() {
    let params = postcard::to_stdvec(&step()).unwrap();
    assert_eq!(with(&params, |d| decode(d).unwrap()), step());
    assert_eq!(step().gemm.check(), Ok(Extents { a: 256, b: 128, d: 64, bias: 16 }));
}

#[test]
fn hostile_parameters_are_refused() {
    assert_eq!(verdict(&step()), Ok(()));
    let cases: [(&str, fn(&mut MatmulStep)); 19] = [
        ("m is 0", |s| s.gemm.m = 0),
        ("n is 4294967296", |s| s.gemm.n = 1 << 32),
        ("k is 0", |s| s.gemm.k = 0),
        ("the batch is 0", |s| s.gemm.batch = 0),
        ("A has 16 rows", |s| s.gemm.a.place.leading = 15),
        ("D has 8 rows", |s| s.gemm.d.leading = 7),
        ("D reaches beyond", |s| s.gemm.d.leading = u64::MAX),
        ("B reaches beyond", |s| s.gemm.b.place.leading = u64::MAX / 2),
        ("overlap", |s| s.gemm.batch = 2),
        ("A reaches beyond", |s| {
            s.gemm.batch = 3;
            s.gemm.d.step = 32;
            s.gemm.a.place.step = u64::MAX / 2;
        }),
        ("D takes 128 bytes", |s| {
            s.gemm.batch = 2;
            s.gemm.d.step = 32;
            s.inputs.residual = None;
            s.gemm.residual = false;
        }),
        ("C takes 128 bytes, input 3 has 64", |s| {
            s.gemm.batch = 2;
            s.gemm.d.step = 32;
        }),
        ("not i64", |s| s.gemm.dtype = DType::I64),
        ("not for f16", |s| s.gemm.tf32 = true),
        ("input 9 of 4", |s| s.inputs.a = 9),
        ("A takes 256 bytes, input 0 has 128", |s| s.inputs.a = 0),
        ("disagree", |s| s.inputs.bias = None),
        ("disagree", |s| s.gemm.residual = false),
        ("513 bytes of scratch", |s| s.algorithm.workspace = 513),
    ];
    for (want, damage) in cases {
        let mut s = step();
        damage(&mut s);
        let text = verdict(&s).unwrap_err();
        assert!(text.contains(want) && text.contains("cublaslt.matmul"), "{want}: {text}");
    }
}

#[test]
fn other_lengths_are_refused() {
    let s = step();
    assert!(s.check(&INPUTS[..3], &OUTPUTS, 512).unwrap_err().contains("input 3 of 3"));
    assert!(s.check(&INPUTS, &[], 512).unwrap_err().contains("one output"));
    assert!(s.check(&INPUTS, &[63], 512).unwrap_err().contains("the output has 63"));
}

#[test]
fn garbage_does_not_decode() {
    for n in 0..64 {
        let params: Vec<u8> = (0..n).map(|i| (i * 37 + 11) as u8).collect();
        let e = with(&params, |d| prepare(d, 0).map(|_| ()).unwrap_err());
        assert!(matches!(e, DeviceError::BadStep { .. }), "{e}");
    }
}

/// Without the library or a GPU: a message. With both: the made-up algorithm is refused.
#[test]
fn preparing_a_step_of_another_place_is_an_error() {
    let params = postcard::to_stdvec(&step()).unwrap();
    let text = with(&params, |d| prepare(d, 0).map(|_| ()).unwrap_err().to_string());
    let expected = ["loading cuBLASLt", "cublasLtCreate", "opening GPU", "build the plan again"];
    assert!(expected.iter().any(|e| text.contains(e)), "{text}");
}

#[test]
fn a_product_that_makes_no_sense_has_no_algorithm() {
    let info = CudaInfo::h100();
    assert!(algorithms(&Gemm { m: 0, ..step().gemm }, &info, 1 << 20).is_empty());
    // Whatever this machine has, asking is safe and repeats.
    let gemm = step().gemm;
    let ask = |alpha| algorithms(&Gemm { alpha, ..gemm }, &info, 1 << 20);
    assert_eq!(ask(1.0), ask(0.5));
}

#[test]
fn answers_are_recalled_for_the_gpu_that_they_are_about() {
    let (gemm, algorithm) = (step().gemm, step().algorithm);
    let info = CudaInfo { cublaslt: Some(1), memory_bytes: 1, ..CudaInfo::h100() };
    let question = super::enumerate::question(&gemm, &info, 512);
    recall(b"nothing that reads");
    recall(&postcard::to_stdvec(&vec![(question.clone(), vec![algorithm.clone()])]).unwrap());
    assert_eq!(&*algorithms(&gemm, &info, 512), std::slice::from_ref(&algorithm));
    assert!(algorithms(&gemm, &info, 513).is_empty());
    assert!(algorithms(&gemm, &CudaInfo { memory_bytes: 2, ..info }, 512).is_empty());
    // What was recalled is among what is kept; that there was nothing is not.
    let kept: Vec<((Vec<u8>, String), Vec<Algorithm>)> = postcard::from_bytes(&answers()).unwrap();
    assert!(kept.contains(&(question, vec![algorithm])) && kept.iter().all(|(_, found)| !found.is_empty()));
}

/// Descriptors are made where the library is there, GPU or not.
#[test]
fn every_kind_of_product_can_be_described() {
    let Ok(library) = tactician_cublaslt_sys::library() else { return };
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for activation in [Activation::Identity, Activation::Relu, Activation::Gelu] {
            for (bias, batch) in [(false, 1), (true, 3)] {
                let mut gemm = Gemm { dtype, activation, bias, batch, ..step().gemm };
                gemm.d.step = 32;
                gemm.tf32 = dtype == DType::F32;
                gemm.check().unwrap();
                descriptors::Descriptors::new(library, &gemm).unwrap();
            }
        }
    }
}

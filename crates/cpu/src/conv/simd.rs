//! Vectors of one instruction set, for kernels whose speed depends on what stays in registers.

use tactician_device::Isa;

use crate::level::Level;

/// A vector of `LANES` floats.
///
/// # Safety
/// Every method needs the instruction set of the type; pointers must be valid for `LANES` floats. They need no
/// alignment.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Floats in a vector.
    const LANES: usize;
    /// The vector.
    type V: Copy;
    /// All lanes `x`.
    unsafe fn splat(x: f32) -> Self::V;
    /// Reads a vector.
    unsafe fn load(p: *const f32) -> Self::V;
    /// Writes a vector.
    unsafe fn store(p: *mut f32, v: Self::V);
    /// `a·b + c`.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a + b`.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a − b`.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `min(max(x, lo), hi)`; NaN stays NaN.
    unsafe fn clamp(x: Self::V, lo: Self::V, hi: Self::V) -> Self::V;
    /// Calls a body compiled for this instruction set.
    unsafe fn enter<B: Body>(body: B);
}

/// Work to be compiled once for each instruction set.
pub(crate) trait Body {
    /// The work. Must be `#[inline(always)]`.
    ///
    /// # Safety
    /// The instruction set of `S` is there; otherwise as the implementor says.
    unsafe fn run<S: Simd>(self);
}

/// Plain loops over eight floats; the compiler makes of them what the target has.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// Eight plain floats.
#[derive(Clone, Copy)]
pub(crate) struct Eight([f32; 8]);

impl Eight {
    #[inline(always)]
    fn map2(self, o: Eight, f: impl Fn(f32, f32) -> f32) -> Eight {
        Eight(std::array::from_fn(|i| f(self.0[i], o.0[i])))
    }
}

impl Simd for Portable {
    const LANES: usize = 8;
    type V = Eight;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Eight {
        Eight([x; 8])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Eight {
        // SAFETY: by contract.
        Eight(unsafe { p.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Eight) {
        // SAFETY: by contract.
        unsafe { p.cast::<[f32; 8]>().write_unaligned(v.0) }
    }
    #[inline(always)]
    unsafe fn fma(a: Eight, b: Eight, c: Eight) -> Eight {
        // Fused where that is one instruction; a call for each lane would be far slower than two roundings.
        if cfg!(target_arch = "aarch64") {
            Eight(std::array::from_fn(|i| a.0[i].mul_add(b.0[i], c.0[i])))
        } else {
            Eight(std::array::from_fn(|i| a.0[i] * b.0[i] + c.0[i]))
        }
    }
    #[inline(always)]
    unsafe fn add(a: Eight, b: Eight) -> Eight {
        a.map2(b, |x, y| x + y)
    }
    #[inline(always)]
    unsafe fn sub(a: Eight, b: Eight) -> Eight {
        a.map2(b, |x, y| x - y)
    }
    #[inline(always)]
    unsafe fn clamp(x: Eight, lo: Eight, hi: Eight) -> Eight {
        let x = x.map2(lo, |x, l| if x < l { l } else { x });
        x.map2(hi, |x, h| if x > h { h } else { x })
    }
    #[inline(always)]
    unsafe fn enter<B: Body>(body: B) {
        // SAFETY: by contract.
        unsafe { body.run::<Portable>() }
    }
}

#[cfg(target_arch = "x86_64")]
macro_rules! x86 {
    ($(#[$doc:meta])* $name:ident, $lanes:literal, $v:ident, $features:literal,
     $set:ident $load:ident $store:ident $fma:ident $add:ident $sub:ident $max:ident $min:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name;

        // SAFETY (all blocks): the trait's contract gives the instruction set and valid pointers.
        #[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
        impl Simd for $name {
            const LANES: usize = $lanes;
            type V = std::arch::x86_64::$v;
            #[inline(always)]
            unsafe fn splat(x: f32) -> Self::V {
                unsafe { std::arch::x86_64::$set(x) }
            }
            #[inline(always)]
            unsafe fn load(p: *const f32) -> Self::V {
                unsafe { std::arch::x86_64::$load(p) }
            }
            #[inline(always)]
            unsafe fn store(p: *mut f32, v: Self::V) {
                unsafe { std::arch::x86_64::$store(p, v) }
            }
            #[inline(always)]
            unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
                unsafe { std::arch::x86_64::$fma(a, b, c) }
            }
            #[inline(always)]
            unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
                unsafe { std::arch::x86_64::$add(a, b) }
            }
            #[inline(always)]
            unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
                unsafe { std::arch::x86_64::$sub(a, b) }
            }
            #[inline(always)]
            unsafe fn clamp(x: Self::V, lo: Self::V, hi: Self::V) -> Self::V {
                // These return the second operand when one is NaN.
                unsafe { std::arch::x86_64::$min(hi, std::arch::x86_64::$max(lo, x)) }
            }
            #[inline(always)]
            unsafe fn enter<B: Body>(body: B) {
                #[target_feature(enable = $features)]
                unsafe fn inside<B: Body>(body: B) {
                    unsafe { body.run::<$name>() }
                }
                unsafe { inside(body) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
x86! {
    /// AVX-512: sixteen floats, 32 registers.
    Avx512, 16, __m512, "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma",
    _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_fmadd_ps _mm512_add_ps _mm512_sub_ps _mm512_max_ps _mm512_min_ps
}

#[cfg(target_arch = "x86_64")]
x86! {
    /// AVX2 with FMA: eight floats, 16 registers.
    Avx2, 8, __m256, "avx2,fma",
    _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_fmadd_ps _mm256_add_ps _mm256_sub_ps _mm256_max_ps _mm256_min_ps
}

/// Runs a body with vectors of `lanes` floats: 16 need AVX-512, 8 always work.
///
/// # Safety
/// As the body says. Panics when the level has no such vectors; kernels check that when they are prepared.
#[inline]
pub(crate) unsafe fn with_lanes<B: Body>(level: Level, lanes: usize, body: B) {
    #[cfg(target_arch = "x86_64")]
    {
        match (level.isa(), lanes) {
            // SAFETY: a `Level` exists only for instruction sets that were detected.
            (Isa::Avx512, 16) => return unsafe { Avx512::enter(body) },
            // SAFETY: as above; AVX-512 here includes AVX2 and FMA.
            (Isa::Avx512 | Isa::Avx2, 8) => return unsafe { Avx2::enter(body) },
            _ => {}
        }
    }
    assert!(lanes == 8, "vectors of {lanes} floats on {:?}", level.isa());
    // SAFETY: needs no special instructions.
    unsafe { Portable::enter(body) }
}

/// Whether vectors of `lanes` floats exist on an instruction set.
///
/// # Errors
/// A clause saying what is missing.
pub(crate) fn check_lanes(isa: Isa, lanes: usize) -> Result<(), String> {
    match (lanes, isa) {
        (16, Isa::Avx512) | (8, _) => Ok(()),
        (16, other) => Err(format!("blocks of 16 channels need AVX-512, this pool uses {other:?}")),
        (n, _) => Err(format!("blocks of {n} channels are not supported, only 8 and 16")),
    }
}

use tactician_device::Isa;

use crate::isa::available_isas;

/// An instruction set that this processor is known to have: the licence to call code compiled for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(Isa);

impl Level {
    /// `isa` if this processor has it, else plain loops.
    pub fn of(isa: Isa) -> Level {
        Level(if available_isas().contains(&isa) { isa } else { Isa::Portable })
    }

    /// The instruction set.
    pub fn isa(self) -> Isa {
        self.0
    }
}

impl Default for Level {
    fn default() -> Self {
        Level(Isa::Portable)
    }
}

/// Makes `fn name(level, arguments…)` from a generic `#[inline(always)] fn body<const FMA: bool>(arguments…)`: the
/// body compiled once for each instruction set, so that its plain loops become that set's vectors, and chosen by the
/// level. `FMA` tells the body whether a fused multiply-add is one instruction (see [`crate::vmath::fma`]).
macro_rules! per_level {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $([$($gen:tt)*])? ($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident $([$($use:tt)*])?) => {
        $(#[$meta])*
        $vis fn $name $(<$($gen)*>)? (level: $crate::level::Level, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                fn avx512 $(<$($gen)*>)? ($($arg: $ty),*) $(-> $ret)? {
                    $body::<true $(, $($use)*)?>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2 $(<$($gen)*>)? ($($arg: $ty),*) $(-> $ret)? {
                    $body::<true $(, $($use)*)?>($($arg),*)
                }
                match level.isa() {
                    // SAFETY: a `Level` exists only for instruction sets that were detected.
                    tactician_device::Isa::Avx512 => return unsafe { avx512 $(::<$($use)*>)? ($($arg),*) },
                    // SAFETY: as above.
                    tactician_device::Isa::Avx2 => return unsafe { avx2 $(::<$($use)*>)? ($($arg),*) },
                    _ => {}
                }
            }
            if level.isa() == tactician_device::Isa::Neon {
                return $body::<true $(, $($use)*)?>($($arg),*);
            }
            $body::<false $(, $($use)*)?>($($arg),*)
        }
    };
}
pub(crate) use per_level;

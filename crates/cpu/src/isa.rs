use tactician_device::Isa;

/// The best instruction set that this processor and the operating system offer.
pub fn detect_isa() -> Isa {
    #[cfg(target_arch = "x86_64")]
    {
        let has512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq");
        let has2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        if has512 && has2 {
            return Isa::Avx512;
        }
        if has2 {
            return Isa::Avx2;
        }
        Isa::Portable
    }
    #[cfg(target_arch = "aarch64")]
    {
        Isa::Neon
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        Isa::Portable
    }
}

/// Every instruction set that can be used here, weakest first; the last is [`detect_isa`]'s.
pub fn available_isas() -> &'static [Isa] {
    match detect_isa() {
        Isa::Portable => &[Isa::Portable],
        Isa::Neon => &[Isa::Portable, Isa::Neon],
        Isa::Avx2 => &[Isa::Portable, Isa::Avx2],
        Isa::Avx512 => &[Isa::Portable, Isa::Avx2, Isa::Avx512],
    }
}

//! Kernel parameters passed by value.

/// A C struct of 32-bit and 64-bit fields, filled in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments(Vec<u8>);

impl Arguments {
    /// A struct without fields.
    pub fn new() -> Arguments {
        Arguments::default()
    }

    /// With one more `u32`.
    pub fn u32(mut self, value: u32) -> Arguments {
        self.0.extend(value.to_ne_bytes());
        self
    }

    /// With one more `u64`, behind an even number of 32-bit fields.
    pub fn u64(mut self, value: u64) -> Arguments {
        debug_assert!(self.0.len().is_multiple_of(8), "the compiler would put padding before it");
        self.0.extend(value.to_ne_bytes());
        self
    }

    /// With one more `int`.
    pub fn i32(mut self, value: i32) -> Arguments {
        self.0.extend(value.to_ne_bytes());
        self
    }

    /// With one more `float`.
    pub fn f32(mut self, value: f32) -> Arguments {
        self.0.extend(value.to_ne_bytes());
        self
    }

    /// With one more `Divisor`.
    pub fn divisor(mut self, value: Divisor) -> Arguments {
        for field in value.words() {
            self.0.extend(field.to_ne_bytes());
        }
        self
    }

    /// With every field of another struct.
    pub fn all(mut self, other: &Arguments) -> Arguments {
        self.0.extend(&other.0);
        self
    }

    /// The bytes of the struct.
    pub fn bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Division by a number known at launch, as `Divisor` of `types.cuh` does it: for dividends below 2³¹,
/// `(⌊n·multiplier / 2³²⌋ + n) >> shift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Divisor {
    value: u32,
    multiplier: u32,
    shift: u32,
}

impl Divisor {
    /// Division by `value`; 0 and numbers above 2³¹ are taken as the nearest that can be divided by.
    pub fn new(value: u32) -> Divisor {
        let value = value.clamp(1, 1 << 31);
        // Granlund and Montgomery, "Division by Invariant Integers using Multiplication" (1994), figure 4.1.
        let shift = value.next_power_of_two().trailing_zeros();
        let multiplier = ((1u64 << 32) * ((1u64 << shift) - u64::from(value)) / u64::from(value) + 1) as u32;
        Divisor { value, multiplier, shift }
    }

    /// The fields of the struct on the device.
    pub fn words(self) -> [u32; 3] {
        [self.value, self.multiplier, self.shift]
    }

    /// What kernels compute.
    pub fn divide(self, n: u32) -> u32 {
        let high = (u64::from(n) * u64::from(self.multiplier)) >> 32;
        ((high + u64::from(n)) >> self.shift) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divides_as_processors_do() {
        let top = (1u32 << 31) - 1;
        for d in (1..200).chain([255, 256, 257, 1000, 12345, 65535, 65536, 1 << 20, top - 1, top]) {
            let divisor = Divisor::new(d);
            let near = |n: u32| [n.saturating_sub(1), n, n + 1];
            let numbers =
                (0..1000).chain([d, d.saturating_mul(7).min(top - 1), top / 2, top - 1].map(near).concat());
            for n in numbers.filter(|&n| n <= top) {
                assert_eq!(divisor.divide(n), n / d, "{n} / {d}");
                let sum = ((u64::from(n) * u64::from(divisor.multiplier)) >> 32) + u64::from(n);
                assert!(sum <= u64::from(u32::MAX), "{n} / {d} overflows");
            }
        }
    }

    #[test]
    fn fields_lie_as_in_c() {
        let bytes = Arguments::new().u32(1).i32(-1).f32(1.0).divisor(Divisor::new(3)).bytes();
        assert_eq!(bytes.len(), 24);
        assert_eq!(bytes[12..16], 3u32.to_ne_bytes());
    }
}

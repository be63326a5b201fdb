use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of bytes. Parses `64MiB`, `1.5 GiB`, `4096`; prints the largest binary unit that is exact enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = UNITS.into_iter().find(|&(_, s)| self.0 >= s).unwrap_or(("B", 1));
        let text = if self.0.is_multiple_of(size) {
            format!("{} {unit}", self.0 / size)
        } else {
            format!("{:.2} {unit}", self.0 as f64 / size as f64)
        };
        f.pad(&text)
    }
}

/// Text that is no size in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseBytesError(String);

impl fmt::Display for ParseBytesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a size: write a number with B, KiB, MiB or GiB, such as 64MiB", self.0)
    }
}

impl std::error::Error for ParseBytesError {}

impl FromStr for Bytes {
    type Err = ParseBytesError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let fail = || ParseBytesError(s.to_owned());
        let text = s.trim();
        let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = (&text[..split], text[split..].trim());
        let scale = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1u64 << 30,
            _ => return Err(fail()),
        };
        if let Ok(n) = number.parse::<u64>() {
            return n.checked_mul(scale).map(Bytes).ok_or_else(fail);
        }
        let n: f64 = number.parse().map_err(|_| fail())?;
        let bytes = n * scale as f64;
        if bytes.is_finite() && bytes <= 9e18 { Ok(Bytes(bytes as u64)) } else { Err(fail()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        for (text, n) in [("0", 0), ("4096", 4096), ("64MiB", 64 << 20), ("1.5 GiB", 3 << 29), ("2k", 2048)] {
            assert_eq!(text.parse::<Bytes>().unwrap().0, n, "{text}");
        }
        assert_eq!(Bytes(64 << 20).to_string(), "64 MiB");
        assert_eq!(Bytes(1000).to_string(), "1000 B");
        assert_eq!(Bytes(1536).to_string(), "1.50 KiB");
        for bad in ["", "MiB", "-1", "1TBx", "1e9999", "99999999999GiB"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }
}

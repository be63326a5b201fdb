//! What the operating system says of the processor.

use std::fs::read_to_string;
use std::path::Path;

/// The processor's model name; the architecture where it is not told.
pub(crate) fn model_name() -> String {
    let text = read_to_string("/proc/cpuinfo").unwrap_or_default();
    name_in(&text).unwrap_or_else(|| format!("{} processor", std::env::consts::ARCH))
}

fn name_in(cpuinfo: &str) -> Option<String> {
    let field = |key: &str| {
        cpuinfo.lines().find_map(|l| {
            let (k, v) = l.split_once(':')?;
            (k.trim() == key && !v.trim().is_empty()).then(|| v.trim().to_owned())
        })
    };
    field("model name").or_else(|| {
        // Arm kernels give numbers instead of a name.
        let (implementer, part) = (field("CPU implementer")?, field("CPU part")?);
        Some(format!("Arm implementer {implementer} part {part}"))
    })
}

/// Bytes of the first core's level 1 data, level 2 and last-level cache; usual sizes where they are not told.
pub(crate) fn caches() -> [u64; 3] {
    caches_in(Path::new("/sys/devices/system/cpu/cpu0/cache"))
}

fn caches_in(folder: &Path) -> [u64; 3] {
    let mut found = [None; 3];
    for index in 0..16 {
        let entry = folder.join(format!("index{index}"));
        let field = |name: &str| read_to_string(entry.join(name)).ok().map(|s| s.trim().to_owned());
        let Some(level) = field("level") else { break };
        if field("type").as_deref() == Some("Instruction") {
            continue;
        }
        let slot = match level.as_str() {
            "1" => 0,
            "2" => 1,
            _ => 2,
        };
        found[slot] = field("size").and_then(|s| size_of_text(&s)).or(found[slot]);
    }
    let [l1, l2, l3] = found;
    let l2 = l2.unwrap_or(1 << 20);
    [l1.unwrap_or(32 << 10), l2, l3.unwrap_or((8 << 20).max(l2))]
}

/// Reads `48K`, `2048K`, `32M`.
fn size_of_text(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let n: u64 = text[..split].parse().ok()?;
    let scale = match &text[split..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    n.checked_mul(scale).filter(|&n| n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        assert_eq!(
            name_in("processor : 0\nmodel name\t: Fast CPU @ 1GHz\nmodel name : Other\n").as_deref(),
            Some("Fast CPU @ 1GHz")
        );
        assert_eq!(
            name_in("CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n").as_deref(),
            Some("Arm implementer 0x41 part 0xd0c")
        );
        assert_eq!(name_in(""), None);
        assert!(!model_name().is_empty());
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(size_of_text("48K"), Some(48 << 10));
        assert_eq!(size_of_text("260M"), Some(260 << 20));
        assert_eq!(size_of_text("12"), Some(12));
        for bad in ["", "K", "0K", "1T", "-1K", "99999999999999999999", "18446744073709551615K"] {
            assert_eq!(size_of_text(bad), None, "{bad}");
        }
    }

    #[test]
    fn missing_caches_have_usual_sizes() {
        let [l1, l2, l3] = caches_in(Path::new("/nowhere"));
        assert!(0 < l1 && l1 <= l2 && l2 <= l3);
        assert!(caches().iter().all(|&c| c > 0));
    }
}

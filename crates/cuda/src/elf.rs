//! Checks on machine code from a file, before the driver reads it: the driver is given no length.

/// Refuses what is no 64-bit ELF file for NVIDIA GPUs whose parts all lie inside it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(code: &[u8]) -> Result<(), String> {
    const HEADER: usize = 64;
    /// The ELF number of NVIDIA's architecture.
    const CUDA: u64 = 190;
    let bad = |what: &str| Err(format!("its code is no CUBIN: {what}"));
    if code.len() < HEADER || code[..4] != *b"\x7fELF" {
        return bad("it does not begin as an ELF file");
    }
    if code[4..6] != [2, 1] {
        return bad("it is not 64-bit little-endian");
    }
    let field = |at: usize, len: usize| number(code, at as u64, len).unwrap_or(u64::MAX);
    if field(18, 2) != CUDA {
        return bad("it is for another kind of processor");
    }
    // Offset, entry size and count of the program headers, then of the section headers.
    let tables =
        [(field(32, 8), field(54, 2), field(56, 2), 56), (field(40, 8), field(58, 2), field(60, 2), 64)];
    for (kind, (offset, size, count, least)) in tables.into_iter().enumerate() {
        if count == 0 {
            continue;
        }
        let end = size.checked_mul(count).and_then(|n| n.checked_add(offset));
        if size < least || end.is_none_or(|e| e > code.len() as u64) {
            return bad("a table lies outside it");
        }
        for i in 0..count {
            let entry = offset + i * size;
            // Program headers hold offset and length at 8 and 32, sections at 24 and 32.
            let (start, len) = (number(code, entry + [8, 24][kind], 8), number(code, entry + 32, 8));
            // Sections of type 8 take no bytes of the file.
            let empty = kind == 1 && number(code, entry + 4, 4) == Some(8);
            let inside = start
                .zip(len)
                .and_then(|(s, n)| s.checked_add(n))
                .is_some_and(|end| end <= code.len() as u64);
            if !inside && !empty {
                return bad("a part lies outside it");
            }
        }
    }
    if tables[1].2 == 0 {
        return bad("it has no sections");
    }
    if field(62, 2) >= tables[1].2 {
        return bad("it has no names");
    }
    Ok(())
}

/// The little-endian number of `len` bytes at `at`.
fn number(code: &[u8], at: u64, len: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let bytes = code.get(at..at.checked_add(len)?)?;
    Some(bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header and two sections, the second with 8 bytes.
    fn sample() -> Vec<u8> {
        let mut f = vec![0u8; 64 + 2 * 64 + 8];
        f[..6].copy_from_slice(b"\x7fELF\x02\x01");
        f[18] = 190;
        f[40] = 64;
        f[58] = 64;
        f[60] = 2;
        f[62] = 1;
        f[64 + 64 + 4] = 1;
        f[64 + 64 + 24] = 192;
        f[64 + 64 + 32] = 8;
        f
    }

    #[test]
    fn sound_files_pass() {
        assert_eq!(check(&sample()), Ok(()));
    }

    #[test]
    fn damaged_files_are_refused() {
        let refused = |damage: &dyn Fn(&mut Vec<u8>), what: &str| {
            let mut f = sample();
            damage(&mut f);
            let e = check(&f).unwrap_err();
            assert!(e.contains(what), "{e}");
        };
        refused(&|f| f.truncate(10), "begin");
        refused(&|f| f[0] = 0, "begin");
        refused(&|f| f[4] = 1, "64-bit");
        refused(&|f| f[18] = 62, "processor");
        refused(&|f| f[40] = 255, "table");
        refused(&|f| f[58] = 8, "table");
        refused(&|f| f[128 + 32] = 9, "part");
        refused(&|f| f[128 + 24..128 + 32].fill(0xff), "part");
        refused(&|f| f[60] = 0, "no sections");
        refused(&|f| f[62] = 9, "no names");
        for n in 0..sample().len() {
            assert!(check(&sample()[..n]).is_err(), "{n}");
        }
    }
}

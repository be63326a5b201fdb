//! Rows split into register tiles.

/// Pixel counts that tiles are compiled for.
pub(crate) const WIDTHS: [usize; 11] = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14];

/// Most pixels of a tile of `kb` vectors of `lanes` floats: what the registers hold (32 with AVX-512, else 16).
pub(crate) const fn max_pixels(lanes: usize, kb: usize) -> usize {
    let table = if lanes == 16 { [14, 14, 8, 7] } else { [12, 6, 4, 2] };
    table[kb - 1]
}

/// Splits `n` pixels into tiles `(start, length)`, lengths among [`WIDTHS`], at most `most`, as even as that allows.
pub(crate) fn split_row(n: usize, most: usize) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < n {
        let left = n - at;
        let mut count = left.div_ceil(most);
        let width = loop {
            let even = left.div_ceil(count);
            let width = WIDTHS.into_iter().find(|&w| w >= even).unwrap_or(1);
            if width <= left && width <= most {
                break width;
            }
            count += 1;
        };
        out.push((at, width));
        at += width;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_covered_once_by_compiled_widths() {
        for most in [2, 4, 6, 7, 8, 12, 14] {
            for n in 1..200 {
                let tiles = split_row(n, most);
                let mut at = 0;
                for (start, len) in tiles {
                    assert_eq!(start, at);
                    assert!(len <= most && WIDTHS.contains(&len), "{len} of {n}, most {most}");
                    at += len;
                }
                assert_eq!(at, n);
            }
        }
        assert_eq!(split_row(56, 14).len(), 4);
        assert_eq!(split_row(13, 14), [(0, 7), (7, 6)]);
    }
}

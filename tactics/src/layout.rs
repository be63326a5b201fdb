//! Changing the layout of host tensors: the plain form, for packing constants and for checking tactics.

use tactician_types::Layout;

/// For each stored element of `layout` its index in plain order, `None` for padding.
fn plain_index(layout: Layout, sizes: &[usize]) -> Vec<Option<usize>> {
    let spatial: usize = sizes.iter().skip(2).product();
    match layout {
        Layout::Plain => (0..sizes.iter().product()).map(Some).collect(),
        Layout::ChannelsLast => {
            let (n, c) = (sizes[0], sizes[1]);
            let mut out = Vec::with_capacity(n * c * spatial);
            for i in 0..n {
                for s in 0..spatial {
                    out.extend((0..c).map(|k| Some((i * c + k) * spatial + s)));
                }
            }
            out
        }
        Layout::Blocked(b) => {
            let (n, c, b) = (sizes[0], sizes[1], b as usize);
            let mut out = Vec::new();
            for i in 0..n {
                for block in 0..c.div_ceil(b) {
                    for s in 0..spatial {
                        out.extend((0..b).map(|k| {
                            let k = block * b + k;
                            (k < c).then_some((i * c + k) * spatial + s)
                        }));
                    }
                }
            }
            out
        }
    }
}

/// Elements of `size` bytes in plain order, stored in `layout`; padding is zero.
///
/// Panics when `bytes` is not a plain tensor of these sizes or the layout does not fit the rank.
pub fn from_plain(bytes: &[u8], size: usize, sizes: &[usize], layout: Layout) -> Vec<u8> {
    from_plain_padded(bytes, size, sizes, layout, 0)
}

/// The same with every byte of the padding `fill`.
pub fn from_plain_padded(bytes: &[u8], size: usize, sizes: &[usize], layout: Layout, fill: u8) -> Vec<u8> {
    if layout == Layout::Plain {
        return bytes.to_vec();
    }
    let index = plain_index(layout, sizes);
    let mut out = vec![fill; index.len() * size];
    for (to, from) in out.chunks_exact_mut(size).zip(index) {
        if let Some(i) = from {
            to.copy_from_slice(&bytes[i * size..(i + 1) * size]);
        }
    }
    out
}

/// The inverse of [`from_plain`]; what the padding holds does not matter.
pub fn to_plain(bytes: &[u8], size: usize, sizes: &[usize], layout: Layout) -> Vec<u8> {
    let index = plain_index(layout, sizes);
    let mut out = vec![0; sizes.iter().product::<usize>() * size];
    for (from, to) in bytes.chunks_exact(size).zip(index) {
        if let Some(i) = to {
            out[i * size..(i + 1) * size].copy_from_slice(from);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_whatever_the_padding_holds() {
        let sizes = [2, 5, 2, 3];
        let plain: Vec<u8> = (1..=60).collect();
        for layout in [Layout::Plain, Layout::ChannelsLast, Layout::Blocked(4), Layout::Blocked(8)] {
            let stored = from_plain(&plain, 1, &sizes, layout);
            assert_eq!(Some(stored.len()), layout.storage_len(&sizes));
            assert_eq!(to_plain(&stored, 1, &sizes, layout), plain, "{layout}");
            let padded = from_plain_padded(&plain, 1, &sizes, layout, 0xFF);
            assert_eq!(to_plain(&padded, 1, &sizes, layout), plain, "{layout}");
            let pads = |of: &[u8], byte| of.iter().filter(|&&b| b == byte).count();
            assert_eq!(pads(&stored, 0), stored.len() - plain.len(), "{layout}");
            assert_eq!(pads(&padded, 0xFF), pads(&stored, 0), "{layout}");
        }
        let nhwc = from_plain(&plain, 1, &sizes, Layout::ChannelsLast);
        assert_eq!(nhwc[..6], [1, 7, 13, 19, 25, 2]);
    }
}

//! Changing the layout of host tensors: the plain form, for packing constants and for checking tactics.

use tactician_types::Layout;

/// Channels that are gone through together: as many streams as caches follow well.
const TOGETHER: usize = 16;

/// Calls `visit(stored, plain)` with the two places of every element, padding left out.
fn places(layout: Layout, sizes: &[usize], mut visit: impl FnMut(usize, usize)) {
    let all: usize = sizes.iter().product();
    if all == 0 || layout == Layout::Plain {
        (0..all).for_each(|i| visit(i, i));
        return;
    }
    let (n, c, spatial) = (sizes[0], sizes[1], sizes[2..].iter().product::<usize>());
    // Channels last is one block of all channels.
    let block = if let Layout::Blocked(b) = layout { b as usize } else { c };
    for image in 0..n {
        for first in (0..c).step_by(block) {
            let start = (image * c.div_ceil(block) + first / block) * spatial * block;
            let channels = block.min(c - first);
            for part in (0..channels).step_by(TOGETHER) {
                let end = (part + TOGETHER).min(channels);
                for s in 0..spatial {
                    for k in part..end {
                        visit(start + s * block + k, (image * c + first + k) * spatial + s);
                    }
                }
            }
        }
    }
}

/// Copies elements of `N` bytes; `out` is the stored form or, backwards, the plain one.
fn copy<const N: usize>(from: &[u8], out: &mut [u8], layout: Layout, sizes: &[usize], backwards: bool) {
    let (from, out) = (from.as_chunks::<N>().0, out.as_chunks_mut::<N>().0);
    if backwards {
        places(layout, sizes, |stored, plain| out[plain] = from[stored]);
    } else {
        places(layout, sizes, |stored, plain| out[stored] = from[plain]);
    }
}

fn copy_elements(from: &[u8], out: &mut [u8], size: usize, layout: Layout, sizes: &[usize], backwards: bool) {
    match size {
        1 => copy::<1>(from, out, layout, sizes, backwards),
        2 => copy::<2>(from, out, layout, sizes, backwards),
        4 => copy::<4>(from, out, layout, sizes, backwards),
        8 => copy::<8>(from, out, layout, sizes, backwards),
        _ => unreachable!("elements of {size} bytes"),
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
    let stored = layout.storage_len(sizes).expect("the layout fits the rank");
    let mut out = vec![fill; stored * size];
    copy_elements(bytes, &mut out, size, layout, sizes, false);
    out
}

/// The inverse of [`from_plain`]; what the padding holds does not matter.
pub fn to_plain(bytes: &[u8], size: usize, sizes: &[usize], layout: Layout) -> Vec<u8> {
    if layout == Layout::Plain {
        return bytes.to_vec();
    }
    let mut out = vec![0; sizes.iter().product::<usize>() * size];
    copy_elements(bytes, &mut out, size, layout, sizes, true);
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
        let wide: Vec<u8> = plain.iter().flat_map(|&v| [v, 0, 0, v]).collect();
        let stored = from_plain(&wide, 4, &sizes, Layout::ChannelsLast);
        assert_eq!(stored[..8], [1, 0, 0, 1, 7, 0, 0, 7]);
        assert_eq!(to_plain(&stored, 4, &sizes, Layout::ChannelsLast), wide);
        let nhwc = from_plain(&plain, 1, &sizes, Layout::ChannelsLast);
        assert_eq!(nhwc[..6], [1, 7, 13, 19, 25, 2]);
    }
}

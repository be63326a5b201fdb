use super::*;
use crate::movement::testing::{Random, check, hostile};

/// Place of an element, as the documentation of [`Layout`] has it.
fn place(layout: Layout, k: &Reformat, image: usize, channel: usize, pixel: usize) -> usize {
    match layout {
        Layout::Plain => (image * k.channels + channel) * k.pixels + pixel,
        Layout::ChannelsLast => (image * k.pixels + pixel) * k.channels + channel,
        Layout::Blocked(b) => {
            let b = b as usize;
            ((image * k.channels.div_ceil(b) + channel / b) * k.pixels + pixel) * b + channel % b
        }
    }
}

fn compare(k: &Reformat, random: &mut Random) {
    let e = k.element as usize;
    let len = |l: Layout| l.storage_len(&[k.n, k.channels, k.pixels]).unwrap() * e;
    let sizes = k.sizes(1).unwrap();
    assert_eq!((sizes.inputs[0], sizes.outputs[0]), (len(k.from) as u64, len(k.to) as u64));
    // Padding of the input is random, padding of the output zero.
    let x = random.bytes(len(k.from));
    let mut want = vec![0; len(k.to)];
    for i in 0..k.n {
        for c in 0..k.channels {
            for p in 0..k.pixels {
                let (from, to) = (place(k.from, k, i, c, p), place(k.to, k, i, c, p));
                want[to * e..][..e].copy_from_slice(&x[from * e..][..e]);
            }
        }
    }
    check(k, &[&x], &want, &format!("{k:?}"));
}

#[test]
fn changes_every_layout_into_every_other() {
    let mut random = Random::new(1);
    let layouts =
        [Layout::Plain, Layout::ChannelsLast, Layout::Blocked(8), Layout::Blocked(16), Layout::Blocked(3)];
    for from in layouts {
        for to in layouts {
            if from == to {
                continue;
            }
            for element in [1, 2, 4, 8] {
                for (n, channels, pixels) in [(1, 1, 1), (2, 16, 9), (1, 40, 49), (3, 5, 300)] {
                    compare(&Reformat { element, from, to, n, channels, pixels }, &mut random);
                }
                for _ in 0..4 {
                    let (n, channels, pixels) = (random.size(1, 2), random.size(1, 70), random.size(1, 90));
                    compare(&Reformat { element, from, to, n, channels, pixels }, &mut random);
                }
            }
        }
    }
}

#[test]
fn large_enough_for_several_threads() {
    let mut random = Random::new(2);
    for (from, to) in [
        (Layout::Plain, Layout::Blocked(16)),
        (Layout::Blocked(16), Layout::Plain),
        (Layout::Plain, Layout::ChannelsLast),
        (Layout::ChannelsLast, Layout::Plain),
        (Layout::ChannelsLast, Layout::Blocked(8)),
    ] {
        compare(&Reformat { element: 4, from, to, n: 2, channels: 100, pixels: 577 }, &mut random);
    }
}

#[test]
fn refuses_what_is_no_change() {
    let k =
        Reformat { element: 4, from: Layout::Plain, to: Layout::Blocked(0), n: 1, channels: 4, pixels: 4 };
    assert!(k.sizes(1).unwrap_err().contains("no channels"));
    assert!(Reformat { to: Layout::Plain, ..k.clone() }.sizes(1).is_err());
    let k = Reformat { to: Layout::Blocked(16), ..k };
    assert!(Reformat { channels: usize::MAX, ..k.clone() }.sizes(1).is_err());
    assert!(Reformat { n: 0, pixels: usize::MAX, ..k.clone() }.sizes(1).is_err());
    assert!(Reformat { element: 0, ..k }.sizes(1).is_err());
}

#[test]
fn survives_hostile_parameters() {
    for (from, to) in [
        (Layout::Plain, Layout::Blocked(16)),
        (Layout::Blocked(8), Layout::Plain),
        (Layout::Blocked(8), Layout::ChannelsLast),
    ] {
        hostile(&Reformat { element: 4, from, to, n: 2, channels: 5, pixels: 6 });
    }
}

use super::*;
use crate::movement::testing::{Random, check, hostile};

/// Every output element by its index, coordinates brought inside one step at a time.
fn naive(k: &Pad, x: &[u8]) -> Vec<u8> {
    let e = k.element as usize;
    let n: usize = k.axes.iter().map(|a| a.size + a.before + a.after).product();
    let mut out = Vec::with_capacity(n * e);
    for i in 0..n {
        let (mut rest, mut at, mut step, mut outside) = (i, 0, 1, false);
        for a in k.axes.iter().rev() {
            let whole = a.size + a.before + a.after;
            let mut p = (rest % whole) as i64 - a.before as i64;
            let size = a.size as i64;
            rest /= whole;
            outside |= p < 0 || p >= size;
            p = match k.fill {
                Fill::Constant(_) => p.clamp(0, (size - 1).max(0)),
                Fill::Edge => p.clamp(0, size - 1),
                Fill::Wrap => p.rem_euclid(size),
                Fill::Reflect if p < 0 => -p,
                Fill::Reflect if p >= size => 2 * size - 2 - p,
                Fill::Reflect => p,
            };
            at += p as usize * step;
            step *= a.size;
        }
        match k.fill {
            Fill::Constant(bits) if outside => out.extend_from_slice(&bits.to_le_bytes()[..e]),
            _ => out.extend_from_slice(&x[at * e..][..e]),
        }
    }
    out
}

#[test]
fn pads_like_an_index_loop() {
    let mut random = Random::new(1);
    for round in 0..400 {
        let element = [1, 2, 4, 8][round % 4];
        let fill = match round / 4 % 4 {
            0 => Fill::Constant(random.next()),
            1 => Fill::Reflect,
            2 => Fill::Edge,
            _ => Fill::Wrap,
        };
        let rank = random.size(0, 5);
        let axes = (0..rank)
            .map(|_| {
                let size = random.size(1, 7);
                let most = match fill {
                    Fill::Reflect => size - 1,
                    Fill::Wrap => size,
                    _ => 4,
                };
                let pads = random.next() % 2;
                let mut border = || if pads == 0 { 0 } else { random.size(0, most) };
                PadAxis { size, before: border(), after: border() }
            })
            .collect();
        let kernel = Pad { element, axes, fill };
        let n = kernel.sizes(1).unwrap().inputs[0] as usize;
        let x = random.bytes(n);
        check(&kernel, &[&x], &naive(&kernel, &x), &format!("{kernel:?}"));
    }
}

#[test]
fn large_and_empty_inputs() {
    let mut random = Random::new(2);
    for (size, outer) in [(70_000, 1), (90, 300), (0, 3)] {
        let axes = vec![
            PadAxis { size: outer, before: 1, after: 2 },
            PadAxis { size, before: 3, after: 5 },
            PadAxis { size: 2, before: 0, after: 0 },
        ];
        let kernel = Pad { element: 4, axes, fill: Fill::Constant(0x0403_0201) };
        let x = random.bytes(outer * size * 8);
        check(&kernel, &[&x], &naive(&kernel, &x), &format!("{kernel:?}"));
    }
}

#[test]
fn refuses_borders_longer_than_the_axis() {
    let of = |before, after, fill| {
        Pad { element: 4, axes: vec![PadAxis { size: 3, before, after }], fill }.sizes(1)
    };
    assert!(of(3, 0, Fill::Reflect).unwrap_err().contains("too short"));
    assert!(of(2, 2, Fill::Reflect).is_ok() && of(3, 3, Fill::Wrap).is_ok() && of(9, 9, Fill::Edge).is_ok());
    assert!(of(0, 4, Fill::Wrap).is_err());
    assert!(of(usize::MAX, 1, Fill::Constant(0)).is_err());
}

#[test]
fn survives_hostile_parameters() {
    let axes = vec![
        PadAxis { size: 3, before: 1, after: 1 },
        PadAxis { size: 4, before: 2, after: 0 },
        PadAxis { size: 2, before: 0, after: 0 },
    ];
    for fill in [Fill::Constant(7), Fill::Reflect, Fill::Edge, Fill::Wrap] {
        hostile(&Pad { element: 4, axes: axes.clone(), fill });
    }
}

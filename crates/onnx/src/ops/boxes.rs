//! Which of many boxes are kept: none that overlaps a better one too much.

use std::collections::BTreeMap;

/// A box by its corners.
pub(super) struct Corners {
    low: [f32; 2],
    high: [f32; 2],
}

impl Corners {
    /// Two opposite corners, or the middle and the sizes.
    pub(super) fn new(b: &[f32], middle: bool) -> Corners {
        let axis = |k: usize| match middle {
            true => (b[k] - b[k + 2] / 2.0, b[k] + b[k + 2] / 2.0),
            false => (b[k].min(b[k + 2]), b[k].max(b[k + 2])),
        };
        let ((a, b), (c, d)) = (axis(0), axis(1));
        Corners { low: [a, c], high: [b, d] }
    }

    fn area(&self) -> f32 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }

    /// Area in common over area together.
    fn overlap(&self, other: &Corners) -> f32 {
        let side = |k: usize| (self.high[k].min(other.high[k]) - self.low[k].max(other.low[k])).max(0.0);
        let common = side(0) * side(1);
        let together = self.area() + other.area() - common;
        if together > 0.0 { common / together } else { 0.0 }
    }
}

/// Of boxes in order those that overlap none kept before by more than `overlap`, up to `most`.
pub(super) fn suppressed(corners: &[Corners], order: &[usize], most: usize, overlap: f32) -> Vec<usize> {
    let is_plain =
        |c: &Corners| (0..2).all(|k| c.low[k].is_finite() && c.high[k].is_finite() && c.low[k] <= c.high[k]);
    // Boxes apart overlap by nothing, so that only those nearby need be looked at.
    match overlap >= 0.0 && corners.iter().all(is_plain) {
        true => by_place(corners, order, most, overlap),
        false => one_by_one(corners, order, most, overlap),
    }
}

fn one_by_one(corners: &[Corners], order: &[usize], most: usize, overlap: f32) -> Vec<usize> {
    let mut kept: Vec<usize> = Vec::new();
    for &k in order {
        if kept.len() == most {
            break;
        }
        if kept.iter().all(|&o| corners[o].overlap(&corners[k]) <= overlap) {
            kept.push(k);
        }
    }
    kept
}

/// As [`one_by_one`], the boxes that were kept found by where they begin along the first axis. Batches of many classes move each
/// class to a place of its own, where few others are.
fn by_place(corners: &[Corners], order: &[usize], most: usize, overlap: f32) -> Vec<usize> {
    let mut kept: Vec<usize> = Vec::new();
    let mut begins: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    let mut longest = 0.0f32;
    for &k in order {
        if kept.len() == most {
            break;
        }
        let c = &corners[k];
        let first = rank((c.low[0] - longest).next_down());
        let near = begins.range(first..=rank(c.high[0])).flat_map(|(_, list)| list);
        if near.into_iter().all(|&o| corners[o].overlap(c) <= overlap) {
            kept.push(k);
            begins.entry(rank(c.low[0])).or_default().push(k);
            longest = longest.max((c.high[0] - c.low[0]).next_up());
        }
    }
    kept
}

/// A number whose order is that of finite floats; both zeros are one.
fn rank(v: f32) -> u32 {
    let bits = (v + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn places_change_nothing(
            boxes in prop::collection::vec([-20i8..20, -20i8..20, 0i8..9, 0i8..9], 0..80),
            overlap in prop::sample::select(vec![0.0f32, 0.1, 0.3, 0.5, 1.0]),
            most in 0usize..100,
            scale in prop::sample::select(vec![0.1f32, 1.0, 37.5]),
        ) {
            let of = |b: &[i8; 4]| {
                let [y, x, h, w] = b.map(|v| f32::from(v) * scale);
                Corners::new(&[y, x, y + h, x + w], false)
            };
            let corners: Vec<Corners> = boxes.iter().map(of).collect();
            let order: Vec<usize> = (0..corners.len()).rev().collect();
            let want = one_by_one(&corners, &order, most, overlap);
            prop_assert_eq!(suppressed(&corners, &order, most, overlap), want);
        }
    }

    #[test]
    fn ranks_are_in_order() {
        let numbers = [f32::MIN, -3.5, -1e-40, 0.0, 1e-40, 2.0, f32::MAX];
        assert!(numbers.windows(2).all(|w| rank(w[0]) < rank(w[1])));
        assert_eq!(rank(-0.0), rank(0.0));
    }
}

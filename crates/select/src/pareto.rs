//! Which candidates of one layout signature are worth keeping.

/// Indices of the candidates that some budget should use: by ascending scratch, each faster than every one before it
/// by more than their measurement noise. Ties thus go to less scratch, then to the lower name, and the rule does not
/// depend on the budget, so a larger budget never predicts a slower choice.
///
/// Each candidate is `(time, noise, scratch, name)`; time and noise in the same unit.
pub fn useful<'a>(candidates: impl IntoIterator<Item = (f64, f64, u64, &'a str)>) -> Vec<usize> {
    let all: Vec<_> = candidates.into_iter().collect();
    let mut order: Vec<usize> = (0..all.len()).collect();
    // Among equal scratch the fastest first, so that the others must beat it.
    order.sort_by(|&a, &b| {
        let (ta, _, sa, na) = all[a];
        let (tb, _, sb, nb) = all[b];
        sa.cmp(&sb).then(ta.total_cmp(&tb)).then(na.cmp(nb))
    });
    let mut kept: Vec<usize> = Vec::new();
    for i in order {
        let (time, noise, scratch, name) = all[i];
        match kept.last().copied() {
            None => kept.push(i),
            Some(last) => {
                let (t, n, s, other) = all[last];
                let margin = noise.hypot(n);
                // One scratch size keeps one candidate: a tie there goes to the lower name.
                if s == scratch {
                    let first_of_size = kept.len() == 1 || {
                        let (tp, np, ..) = all[kept[kept.len() - 2]];
                        time < tp - noise.hypot(np)
                    };
                    if time <= t + margin && name < other && first_of_size {
                        *kept.last_mut().expect("not empty") = i;
                    }
                } else if time < t - margin {
                    kept.push(i);
                }
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_falling_curve() {
        let c = [
            (10.0, 0.1, 0, "a"),
            (12.0, 0.1, 0, "b"),
            (9.95, 0.1, 5, "c"),
            (8.0, 0.1, 9, "d"),
            (9.0, 0.1, 10, "e"),
        ];
        assert_eq!(useful(c), vec![0, 3]);
    }

    #[test]
    fn ties_go_to_the_lower_name_at_one_size() {
        assert_eq!(useful([(10.0, 0.1, 0, "b"), (10.05, 0.1, 0, "a")]), vec![1]);
        assert_eq!(useful([(10.0, 0.0, 0, "b"), (10.05, 0.0, 0, "a")]), vec![0]);
    }

    #[test]
    fn a_larger_budget_is_never_slower() {
        // Times after filtering fall with scratch, whatever the noise.
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as f64 / (1u64 << 31) as f64
        };
        for _ in 0..500 {
            let c: Vec<_> = (0..12).map(|_| (next() * 10.0, next(), (next() * 6.0) as u64, "x")).collect();
            let kept = useful(c.iter().copied());
            assert!(!kept.is_empty());
            for w in kept.windows(2) {
                assert!(c[w[0]].2 < c[w[1]].2 && c[w[0]].0 > c[w[1]].0);
            }
        }
    }
}

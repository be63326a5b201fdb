use super::*;

/// A pseudo-random number below `n`.
fn random(seed: &mut u64, n: usize) -> usize {
    *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*seed >> 33) as usize % n
}

/// No two boxes overlap, all lie inside, and every number is one.
fn check(sizes: &[(f64, f64)], p: &Picture) {
    assert_eq!(p.at.len(), sizes.len());
    for (i, (&(x, y), &(w, h))) in p.at.iter().zip(sizes).enumerate() {
        assert!(
            x >= -0.01 && y >= 0.0 && x + w <= p.size.0 + 0.01 && y + h <= p.size.1 + 0.01,
            "box {i} is outside"
        );
        for j in 0..i {
            let ((x2, y2), (w2, h2)) = (p.at[j], sizes[j]);
            let apart =
                x + w <= x2 + 0.01 || x2 + w2 <= x + 0.01 || y + h <= y2 + 0.01 || y2 + h2 <= y + 0.01;
            assert!(apart, "boxes {i} and {j} overlap");
        }
    }
    assert!(p.edges.iter().all(|e| !e.path.contains("NaN") && !e.path.contains("inf")));
}

#[test]
fn a_chain_is_folded_into_columns() {
    let sizes = vec![(200.0, 80.0); 60];
    let edges: Vec<_> = (0..59).map(|i| (i, i + 1)).collect();
    let p = draw(&sizes, &edges);
    check(&sizes, &p);
    assert_eq!(p.edges.len(), 59);
    let aspect = p.size.0 / p.size.1;
    assert!((1.2..2.4).contains(&aspect), "{aspect}");
}

#[test]
fn a_residual_passes_beside_its_block() {
    let sizes = vec![(200.0, 40.0); 5];
    let p = draw(&sizes, &[(0, 1), (1, 2), (2, 3), (0, 3), (3, 4)]);
    check(&sizes, &p);
    assert_eq!(p.edges.len(), 5);
}

#[test]
fn random_graphs_with_mistakes_have_a_picture() {
    let mut seed = 5;
    for round in 0..60 {
        let n = 1 + random(&mut seed, 60);
        let sizes: Vec<_> = (0..n)
            .map(|_| (20.0 + random(&mut seed, 200) as f64, 10.0 + random(&mut seed, 90) as f64))
            .collect();
        // Cycles, loops, repetitions and edges to nowhere among them.
        let edges: Vec<_> = (0..random(&mut seed, 3 * n))
            .map(|_| (random(&mut seed, n + 1), random(&mut seed, n + 1)))
            .collect();
        let p = draw(&sizes, &edges);
        check(&sizes, &p);
        assert!(p.edges.len() <= edges.len(), "round {round}");
    }
    assert!(draw(&[], &[(0, 1)]).at.is_empty());
}

#[test]
fn many_long_edges_do_not_take_long() {
    let n = 400;
    let sizes = vec![(100.0, 50.0); n];
    let edges: Vec<_> = (0..n).flat_map(|a| (a + 1..n).step_by(7).map(move |b| (a, b))).collect();
    let start = std::time::Instant::now();
    let p = draw(&sizes, &edges);
    assert_eq!(p.edges.len(), edges.len());
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

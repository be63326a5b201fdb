use super::*;

const H100: Limits = Limits { multiprocessors: 132, shared: 232_448, clusters: true, groups: true };

#[test]
fn plans_fill_the_device_without_scratch() {
    // ResNet-50 at batch 1: the last and the last but one stage.
    for (m, n, k) in [(49, 512, 4608), (49, 2048, 512), (196, 256, 2304), (3136, 64, 576)] {
        let p = Product { m, n, k, batches: 1, dtype: DType::F16 };
        let found = plans(&p, &H100, 16, |_| true);
        assert!(found.len() <= 16);
        let blocks = |p: &MmaPlan| {
            m.div_ceil(u64::from(p.tile.m)) * n.div_ceil(u64::from(p.tile.n)) * u64::from(p.split.parts())
        };
        let full = found.iter().any(|p| blocks(p) >= 96 && !matches!(p.split, Split::Scratch(_)));
        assert!(full, "{:?}", found.iter().map(|p| (p.name(DType::F16), blocks(p))).collect::<Vec<_>>());
    }
}

#[test]
fn every_part_has_stages() {
    for dtype in [DType::F16, DType::F32] {
        for k in [8, 64, 72, 512, 4608] {
            for m in [1, 7, 49, 12544] {
                let p = Product { m, n: 128, k, batches: 1, dtype };
                let found = plans(&p, &H100, 16, |_| true);
                assert!(found.iter().any(|p| !matches!(p.split, Split::Scratch(_))));
                for plan in found {
                    let (part, all) = plan.stages(k, dtype);
                    assert!(part * (u64::from(plan.split.parts()) - 1) < all, "{plan:?} for {k}");
                }
            }
        }
    }
}

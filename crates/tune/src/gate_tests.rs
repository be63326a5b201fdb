//! Tactics that write what is not theirs are found out, and spoil nothing for the others.

use std::ptr;

use tactician_device::Device;
use tactician_device::replay::ReplayDevice;
use tactician_ir::{Binary, Expr, Graph, Op, Problem, Region, TensorType};
use tactician_types::DType;

use crate::{TacticTable, TuneOptions, Verdict, facts, offered, tune};

fn sum() -> Problem {
    let mut g = Graph::new("g");
    let ty = TensorType::known(DType::F32, &[1, 16, 6, 6]);
    let inputs = ["a", "b"].map(|n| g.add_input(n, ty.clone()).unwrap());
    let y = g.add(Op::Pointwise(Expr::binary(Binary::Add)), &inputs, "y").unwrap();
    g.mark_output("y", y);
    Region::new("test", &g, &[y.node()]).unwrap().problem(&g)
}

/// Verdicts when steps add, and the first tactic's step also writes a byte so far from the beginning of its output as `spoil`
/// says for the output's length.
fn verdicts(spoil: impl Fn(usize) -> Option<isize> + Send + Sync + 'static) -> Vec<(String, Verdict)> {
    let (problem, options) = (sum(), TuneOptions::default());
    let all = offered(&problem, ReplayDevice::new().info(), &options);
    let first = all[0].emit(&[None, None]).unwrap().steps[0].clone();
    let device = ReplayDevice::new().compute(move |call, inputs, outputs| {
        let (a, b): (&[f32], &[f32]) = (bytemuck::cast_slice(inputs[0]), bytemuck::cast_slice(inputs[1]));
        for ((o, a), b) in outputs[0].as_chunks_mut::<4>().0.iter_mut().zip(a).zip(b) {
            *o = (a + b).to_ne_bytes();
        }
        if call.kernel == first.kernel
            && call.params == first.params
            && let Some(offset) = spoil(outputs[0].len())
        {
            let at = outputs[0].as_ptr().addr().wrapping_add_signed(offset);
            // SAFETY: a byte of a guard zone, which lies in the same allocation.
            unsafe { ptr::with_exposed_provenance_mut::<u8>(at).write(7) };
        }
    });
    let mut table = TacticTable::new();
    tune(&device, &[sum()], &mut table, &options, &mut |_| {}).unwrap();
    let context = table.context(&facts(&device));
    let rows = table.rows(&context, &problem.to_string()).unwrap();
    all.iter().map(|t| (t.id.clone(), rows[&t.id].verdict.clone())).collect()
}

#[test]
fn writing_outside_the_output_is_wrong_and_harms_no_other() {
    let places: [(&str, fn(usize) -> Option<isize>); 3] = [
        ("right behind it", |len| Some(len as isize)),
        ("at the end of the zone behind it", |len| Some(len as isize + 4095)),
        ("right before it", |_| Some(-1)),
    ];
    for (what, place) in places {
        let list = verdicts(place);
        assert!(list.len() > 1, "{list:?}");
        let (id, verdict) = &list[0];
        assert!(
            matches!(verdict, Verdict::Wrong { reason } if reason == "it wrote outside the output"),
            "{what}: {id} {verdict:?}"
        );
        for (id, verdict) in &list[1..] {
            assert!(matches!(verdict, Verdict::Timed(_)), "{what}: {id} {verdict:?}");
        }
    }
    assert!(verdicts(|_| None).iter().all(|(_, v)| matches!(v, Verdict::Timed(_))));
}

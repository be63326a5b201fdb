#!/usr/bin/env python3
"""Builds of which the table knows everything: seconds of the whole program, from its start to its end.

    warm.py --tactician bundle/tactician --out FILE... [--networks resnet50] [--batches 1] [--type f16] [--runs 5]

Networks are those of the program (`zoo:NAME`). One build fills the table; then each kind of build runs several times: as is;
with own kernels only; without what is kept next to the table, which each build finds out again; and with the plan run
beside its rivals, as `tactician build` does unless told otherwise.
"""
import argparse
import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from program import Failed, Program, gpu_facts, libraries  # noqa: E402
from record import Clock, Record, median  # noqa: E402

ABOUT = (
    "Builds from a table that has all measurements: ms is the median of the whole `tactician build`, runs_ms each run. "
    "warm: with `--no-check`, which leaves out running the plan beside its rivals; warm_own: with `--tactics own` too; "
    "warm_alone: without the folder next to the table; warm_checked: without `--no-check`. measured: tactics that were new "
    "to the table."
)
KINDS = {
    "warm": ("--no-check",),
    "warm_own": ("--no-check", "--tactics", "own"),
    "warm_alone": ("--no-check",),
    "warm_checked": (),
}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tactician", required=True)
    p.add_argument("--networks", nargs="+", default=["resnet50"])
    p.add_argument("--batches", nargs="+", type=int, default=[1])
    p.add_argument("--type", default="f16", choices=["f32", "tf32", "f16", "bf16"])
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--device", default="cuda")
    p.add_argument("--table", default="target/gpu/gpu.tac")
    p.add_argument("--out", nargs="+", required=True)
    a = p.parse_args()

    record = Record(a.out, ABOUT)
    program = Program(a.tactician, a.device, a.table, Clock(None))
    os.makedirs(os.path.dirname(os.path.abspath(a.table)), exist_ok=True)
    machine = record.machine({**gpu_facts(), **libraries(program)})
    plan = f"{a.table}.warm.plan"
    failed = 0
    for network in a.networks:
        for batch in a.batches:
            model = f"zoo:{network}@{batch}"
            for engine, options in KINDS.items():
                row = {"network": network, "type": a.type, "batch": batch, "engine": engine, "machine": machine}
                try:
                    program.build(model, plan, a.type, "512MiB", options=options)
                    runs, figures = [], {}
                    for _ in range(a.runs):
                        if engine == "warm_alone":
                            shutil.rmtree(f"{a.table}.cache", ignore_errors=True)
                        figures = program.build(model, plan, a.type, "512MiB", options=options)
                        runs.append(figures["build_s"] * 1e3)
                    row |= {"ms": median(runs), "runs_ms": runs, "steps": figures["steps"]}
                    row |= {"measured": figures["measured"], "reused": figures["reused"]}
                except Failed as e:
                    failed += 1
                    row["error"] = str(e)
                record.put(row)
                print(f"{model} {engine}: {row.get('ms', row.get('error'))}", flush=True)
    if os.path.exists(plan):
        os.remove(plan)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()

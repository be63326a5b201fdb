#!/usr/bin/env python3
"""What workspace buys: plans of one network for several workspaces from one measuring pass, timed in turns.

    knob.py --tactician bundle/tactician --out FILE... [--networks resnet50 vgg16] [--batches 1 8 32]

Networks are those of the program (`zoo:NAME`), so nothing but the program is needed. Every file of --out that exists is
read first and what it has is not measured again; all of them are written after each network and batch. With
--limit-seconds no build begins that would probably not end in time.
"""
import argparse
import os
import shutil
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from program import Failed, Program, bytes_of, gpu_facts, libraries  # noqa: E402
from record import Clock, Record  # noqa: E402

ABOUT = (
    "Plans of one network for several workspaces. Each network and batch is measured once (`tactician build`, the first "
    "with the largest workspace), the other plans come from the table alone (`--frozen`), and `tactician bench` times all "
    "of them in turns: ms is the median device time of a run, turns_ms the median of each turn, predicted_ms what the "
    "build expected. Weights are the zoo's, seeded."
)

# Seconds that a build which measures is guessed to take before there was one.
GUESS = 90.0


def engine(refine):
    return "tactician_refined" if refine else "tactician"


def measure(program, network, batch, precision, workspaces, folder, seconds, refine):
    """Rows of all workspaces of a network."""
    plans = {w: os.path.join(folder, f"{w}.plan") for w in workspaces}
    shared = {"network": network, "type": precision, "batch": batch, "engine": engine(refine)}
    built, rows = {}, []
    for w, figures in program.builds(f"zoo:{network}@{batch}", plans, precision, options=["--refine"] * refine):
        if isinstance(figures, Failed):
            rows.append({**shared, "workspace": w, "error": str(figures)})
        else:
            built[w] = figures
            print(f"  {w}: built in {figures['build_s']:.1f} s, {figures['measured']} measured", flush=True)
    wanted = [w for w in workspaces if w in built]
    for w, bench in zip(wanted, program.bench([plans[w] for w in wanted], seconds)):
        figures = built[w]
        rows.append({
            **shared,
            "workspace": w,
            "ms": bench["latency"]["median_us"] / 1e3,
            "turns_ms": [t / 1e3 for t in bench["turns_us"]],
            "runs": bench["latency"]["runs"],
            "predicted_ms": figures["predicted_us"] / 1e3,
            "workspace_used": figures["workspace_used"],
            "arena_bytes": figures["arena_bytes"],
            "weight_bytes": figures["weight_bytes"],
            "steps": figures["steps"],
            "build_s": figures["build_s"],
            "measured": figures["measured"],
            "reused": figures["reused"],
            **({"refined": figures["refined"]} if refine else {}),
        })
    return rows


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tactician", required=True)
    p.add_argument("--networks", nargs="+", default=["resnet50", "vgg16"])
    p.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    p.add_argument("--type", default="f16", choices=["f32", "tf32", "f16", "bf16"])
    p.add_argument("--workspaces", nargs="+", default=["0", "1MiB", "4MiB", "16MiB", "64MiB", "512MiB"])
    p.add_argument("--seconds", type=float, default=1.0, help="measuring time of each plan")
    p.add_argument("--refine", action="store_true", help="swap tactics inside each plan afterwards; slower builds")
    p.add_argument("--device", default="cuda")
    p.add_argument("--table", default="target/gpu/gpu.tac")
    p.add_argument("--work", default="target/gpu", help="folder for plans")
    p.add_argument("--out", nargs="+", required=True)
    p.add_argument("--redo", action="store_true", help="measure again what the files have")
    p.add_argument("--limit-seconds", type=float)
    a = p.parse_args()

    clock, record = Clock(a.limit_seconds), Record(a.out, ABOUT)
    program = Program(a.tactician, a.device, a.table, clock)
    os.makedirs(os.path.dirname(os.path.abspath(a.table)), exist_ok=True)
    machine = record.machine({**gpu_facts(), **libraries(program)})
    failed = 0
    # By batch first: the small ones are quick and say most.
    for batch in a.batches:
        for network in a.networks:
            known = {"network": network, "type": a.type, "batch": batch, "engine": engine(a.refine)}
            if not a.redo and all(record.has(**known, workspace=w) for w in a.workspaces):
                continue
            if not clock.enough(network, GUESS):
                print(f"{network} batch {batch}: not begun, {clock.left():.0f} s are left", flush=True)
                continue
            print(f"{network} batch {batch} {a.type}", flush=True)
            folder, start = os.path.join(a.work, f"knob-{network}-{batch}-{a.type}"), time.monotonic()
            os.makedirs(folder, exist_ok=True)
            try:
                for row in measure(program, network, batch, a.type, a.workspaces, folder, a.seconds, a.refine):
                    record.put({**row, "machine": machine})
                    print(f"  {row['workspace']}: {row.get('ms', row.get('error'))}", flush=True)
            except Failed as e:
                failed += 1
                record.put({**known, "workspace": max(a.workspaces, key=bytes_of), "error": str(e), "machine": machine})
                print(f"  {e}", file=sys.stderr, flush=True)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            clock.took(network, time.monotonic() - start)
    print(f"{len(record.rows)} rows, {failed} failures")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""What a budget buys, and what deciding costs: fronts, fusion policies and repeated builds of several networks.

    budget.py --tactician PROGRAM --out FILE... [--device cpu|cuda] [--threads N] [--precision f16] [--churn N]
              [--table FOLDER] [--parts sweep policies churn] NAME=MODEL[@INPUT=SHAPE]...

Each network is measured once, exhaustively, into FOLDER/NAME.tac; `sweep --measure --memory` and `policies --measure` read
it. A row is one network and part, as the program's `--json` says; rows that a file has are kept, so that a call that was cut
short can go on. `ms` is the best plan's latency.
"""
import argparse
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from program import Failed, Program, gpu_facts, libraries  # noqa: E402
from record import Clock, Record  # noqa: E402

ABOUT = (
    "`sweep`: the front of workspace, and of memory within a workspace of 1 GiB, from one exhaustive measuring of all regions; "
    "measured_us by running at most 12 plans of it in turns; *_seconds: how long the solver took. `policies`: each policy's "
    "best plan from the same measurements, predicted and run in turns; `heuristics alone` knows no times. `churn`: builds from "
    "nothing, `churn` the mean share of steps whose tactic differs from the first build's, `spread` slowest over fastest "
    "latency less one, all plans run in turns."
)


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("networks", nargs="+", metavar="NAME=MODEL[@INPUT=SHAPE]")
    p.add_argument("--tactician", required=True)
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int)
    p.add_argument("--precision", default="f32")
    p.add_argument("--parts", nargs="+", default=["sweep", "policies"], choices=["sweep", "policies", "churn"])
    p.add_argument("--churn", type=int, default=5, metavar="N", help="builds")
    p.add_argument("--table", default="target/budget", help="folder for tables")
    p.add_argument("--out", nargs="+", required=True)
    p.add_argument("--limit-seconds", type=float)
    return p.parse_args()


def cpu_facts(threads):
    with open("/proc/cpuinfo") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return {"cpu": names[0] if names else "unknown", "threads": threads or len(names)}


def main():
    a = arguments()
    clock = Clock(a.limit_seconds)
    record = Record(a.out, ABOUT)
    os.makedirs(a.table, exist_ok=True)
    program = Program(a.tactician, a.device, None, clock)
    machine = None
    failed = 0
    for network in a.networks:
        name, model = network.split("=", 1)
        model, _, shape = model.partition("@") if not model.startswith("zoo:") else (model, "", "")
        table = os.path.join(a.table, f"{name}.tac")
        common = [model, *([f"--shape={shape}"] if shape else []), "--precision", a.precision, "--device", a.device]
        common += ["--threads", a.threads] if a.threads else []
        for part in a.parts:
            row = {"network": name, "type": a.precision, "batch": 1, "engine": part, "workspace": None}
            if record.has(**row):
                continue
            if clock.left() < 5:
                print(f"{name} {part}: no time left", flush=True)
                failed += 1
                continue
            kept = ["--table", table, "--fusion", "exhaustive"]
            call = {
                "sweep": ["sweep", *common, *kept, "--measure", "--memory"],
                "policies": ["policies", *common, *kept, "--measure"],
                "churn": ["churn", *common, "--times", a.churn],
            }[part]
            start = time.monotonic()
            try:
                got = program.call(*call)
            except Failed as e:
                print(f"{name} {part}: {e}", flush=True)
                record.put({**row, "error": str(e)})
                failed += 1
                continue
            if machine is None:
                facts = cpu_facts(a.threads) if a.device == "cpu" else {**gpu_facts(), **libraries(program)}
                machine = record.machine(facts)
            if part == "policies":
                row |= {"policies": got, "ms": got[0]["measured_us"] / 1e3}
            elif part == "sweep":
                for front in ("workspace", "memory"):
                    for point in got[front]:
                        point["changes"] = point.get("changes", [])[:3]
                row |= {**got, "network": name, "workspace": None, "front": got["workspace"],
                        "ms": (got["workspace"][-1].get("measured_us") or 0) / 1e3}
            else:
                row |= {**got, "ms": min(b["measured_us"] for b in got["builds"]) / 1e3}
            row |= {"machine": machine, "seconds": time.monotonic() - start}
            record.put(row)
            print(f"{name} {part}: {row['ms']:.4f} ms in {row['seconds']:.0f} s", flush=True)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Times models in Tactician and in ONNX Runtime, in turns, with one thread and with two.

    cargo xtask models --time [--large FOLDER] [NAME...]

runs this after fetching models and packages. How long large ones take to import, and how much memory, is kept too. Each model is built for the first of its inputs in check.py (or of those that
export.py put beside it) and compared once. Then each engine runs for a share of a second, time and again in turns, so that
other load on the machine meets both; kept are the median of all turns' medians and the turns themselves. Rows go to a JSON
file as they are measured, each in the place of an older one of the same model, input and number of threads.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import time

import numpy as np
import onnxruntime as ort

import check


def cpu():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return f"{names[0]}, {len(names)} processors" if names else platform.processor()


def save(path, record):
    with open(path + ".part", "w", encoding="utf-8") as f:
        f.write(json.dumps(record, indent=1) + "\n")
    os.replace(path + ".part", path)


def key(row):
    return row["model"], row["threads"]


def turn_of_ort(session, inputs, seconds):
    """Milliseconds, the median of a turn."""
    session.run(None, inputs)
    times, start = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        session.run(None, inputs)
        times.append(time.perf_counter() - begin)
    return float(np.median(times)) * 1e3


def turn_of_ours(plan, inputs, seconds):
    done = check.run([plan.program, "bench", plan.path, *plan.save(inputs), "--seconds", str(seconds), "--steps", "0", "--json"])
    return json.loads(done)["latency"]["median_us"] / 1e3


def row_of(name, path, inputs, threads, allowed, a):
    session = check.ort_session(path, threads=threads)
    names = [o.name for o in session.get_outputs()]
    begin = time.perf_counter()
    options = ["--device", "cpu", *(["--threads", str(threads)] if threads else [])]
    with check.Plan(a.tactician, path, a.table, inputs, options) as plan:
        took = time.perf_counter() - begin
        error = check.worst_error(names, plan.run(inputs, names), session.run(None, inputs))
        if not error <= allowed:
            raise RuntimeError(f"relative L2 error {error:.2e}, allowed {allowed:.0e}")
        ours, theirs = [], []
        for _ in range(a.turns):
            ours.append(turn_of_ours(plan, inputs, a.seconds / a.turns))
            theirs.append(turn_of_ort(session, inputs, a.seconds / a.turns))
    row = {"model": name, "threads": threads,
           "inputs": {k: v.item() if k in check.VALUES else list(v.shape) for k, v in inputs.items()},
           "tactician_ms": float(np.median(ours)), "onnxruntime_ms": float(np.median(theirs))}
    # Of neighbouring turns, which other load meets alike.
    row["ratio"] = float(np.median([o / t for o, t in zip(ours, theirs)]))
    return {**row, "error": error, "build_s": round(took, 1), "load": round(os.getloadavg()[0], 1),
            "tactician_turns_ms": ours, "onnxruntime_turns_ms": theirs}


# Runs a command; prints seconds and the peak memory in KiB. A process of its own, for a new process counts the memory of
# the one that it is forked from.
MEASURE = """import os, subprocess, sys, time
begin = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
print(time.perf_counter() - begin, usage.ru_maxrss)
sys.exit(status != 0)"""


def imported(program, path, options):
    """Seconds and peak memory of a process that reads a model and shows what is in it: the best of three."""
    command = [sys.executable, "-S", "-c", MEASURE, program, "inspect", path, "--json", *options]
    best = min([float(v) for v in check.run(command).split()] for _ in range(3))
    return {"bytes": os.path.getsize(path), "seconds": best[0], "peak_bytes": int(best[1]) * 1024}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", required=True, help="what fetch.py fetched")
    p.add_argument("--large", help="what export.py made")
    p.add_argument("--tactician", required=True)
    p.add_argument("--table", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    p.add_argument("--turns", type=int, default=5)
    p.add_argument("--seconds", type=float, default=2.5, help="for each engine; 0 times imports alone")
    p.add_argument("names", nargs="*")
    a = p.parse_args()
    version = check.run([a.tactician, "--version"]).split()[-1]
    record = {"cpu": cpu(), "tactician": version, "onnxruntime": ort.__version__, "platform": platform.platform()}
    old = {}
    if os.path.exists(a.out):
        with open(a.out, encoding="utf-8") as f:
            old = json.load(f)
    # Rows of another machine or version do not belong here.
    same = all(old.get(k) == v for k, v in record.items())
    record.update({k: old[k] if same else empty for k, empty in (("imports", {}), ("rows", []))})
    sets = {**check.CASES, **{n: v for n, v in check.RUNS.items() if n not in check.STEPWISE}}
    models = [(n, os.path.join(a.models, n + ".onnx"), None, check.ALLOWED_QUANTISED.get(n, check.ALLOWED)) for n in sets]
    if a.large:
        exported = sorted(f.removesuffix(".npz") for f in os.listdir(a.large) if f.endswith(".npz"))
        paths = [(n, os.path.join(a.large, n + ".onnx")) for n in exported]
        models += [(n, path, check.large_cases(path), check.ALLOWED_LARGE) for n, path in paths]
    failed = 0
    for name, path, cases, allowed in models:
        if a.names and name not in a.names:
            continue
        inputs = (cases or sets[name])[0]
        if cases:
            record["imports"][name] = imported(a.tactician, path, check.given(inputs))
            save(a.out, record)
        for threads in a.threads if a.seconds else []:
            try:
                row = row_of(name, path, inputs, threads, allowed, a)
            except Exception as e:  # Every model is tried, whatever happens to the one before.
                print(f"{name}, {threads} threads: {e}", file=sys.stderr, flush=True)
                failed += 1
                continue
            record["rows"] = [r for r in record["rows"] if key(r) != key(row)] + [row]
            save(a.out, record)
            print(f"{name}, {threads} threads: {row['tactician_ms']:.3f} ms, ONNX Runtime {row['onnxruntime_ms']:.3f} ms, "
                  f"ratio {row['ratio']:.2f}, load {row['load']}", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()

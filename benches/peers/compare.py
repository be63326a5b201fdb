#!/usr/bin/env python3
"""Times models in Tactician, ONNX Runtime and tract side by side, and compares outputs with ONNX Runtime's.

    compare.py --tactician target/release/tactician [--tract benches/peers/target/release/tract-bench] \
               [--threads 1 2] [--out benches/results/peers.json] MODEL.onnx[:INPUT=1x3x224x224|INPUT=@FILE.npy]...

`relative_l2_to_ort` is the error against ONNX Runtime; `ort_own_relative_l2` is what its own optimisations change: a
network fed with noise far from what it was made for may amplify rounding, in any engine.

Needs: pip install onnxruntime numpy
"""
import argparse, json, os, platform, subprocess, sys, tempfile, time

import numpy as np
import onnxruntime as ort


def cpu():
    with open("/proc/cpuinfo") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return f"{names[0]}, {len(names)} processors" if names else platform.processor()


def session(model, threads, optimised=True):
    options = ort.SessionOptions()
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def feeds(s, shapes):
    rng = np.random.default_rng(1)
    out = {}
    for i in s.get_inputs():
        shape = shapes.get(i.name) or [d if isinstance(d, int) else 1 for d in i.shape]
        if isinstance(shape, str):
            out[i.name] = np.load(shape)
            continue
        out[i.name] = rng.standard_normal(shape).astype(np.float32)
    return out


def median_ort(s, x, seconds):
    for _ in range(3):
        s.run(None, x)
    times, start = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - start < seconds:
        t = time.perf_counter()
        s.run(None, x)
        times.append(time.perf_counter() - t)
    return float(np.median(times))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="+")
    p.add_argument("--tactician", required=True)
    p.add_argument("--tract")
    p.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    p.add_argument("--workspace", default="512MiB")
    p.add_argument("--seconds", type=float, default=3.0)
    p.add_argument("--table")
    p.add_argument("--out")
    a = p.parse_args()
    rows = []
    for entry in a.models:
        model, _, given = entry.partition(":")
        shapes = {}
        for part in filter(None, given.split(",")):
            name, _, sizes = part.partition("=")
            shapes[name] = sizes[1:] if sizes.startswith("@") else [int(d) for d in sizes.split("x")]
        for threads in a.threads:
            row = {"model": os.path.basename(model), "threads": threads, "workspace": a.workspace}
            s = session(model, threads)
            x = feeds(s, shapes)
            row["shapes"] = {k: list(v.shape) for k, v in x.items()}
            with tempfile.TemporaryDirectory() as d:
                plan = os.path.join(d, "m.plan")
                flags = [f"--shape={k}={'x'.join(map(str, v.shape))}" for k, v in x.items()]
                table = ["--table", a.table] if a.table else []
                t = time.perf_counter()
                subprocess.run([a.tactician, "build", model, *flags, *table, "--threads", str(threads), "--workspace", a.workspace,
                                "-o", plan, "--json"], check=True, stdout=subprocess.DEVNULL)
                row["build_s"] = time.perf_counter() - t
                inputs = []
                for k, v in x.items():
                    path = os.path.join(d, k.replace("/", "_") + ".npy")
                    np.save(path, v)
                    inputs += ["--input", f"{k}={path}"]
                out = os.path.join(d, "out")
                subprocess.run([a.tactician, "run", plan, *inputs, "--output-dir", out], check=True, stdout=subprocess.DEVNULL)
                error, own = 0.0, 0.0
                plain = session(model, threads, optimised=False).run(None, x)
                for o, want, other in zip(s.get_outputs(), s.run(None, x), plain):
                    got = np.load(os.path.join(out, o.name.replace("/", "_").replace(":", "_") + ".npy"))
                    if got.dtype.kind == "f":
                        norm = np.linalg.norm(want.astype(np.float64))
                        error = max(error, float(np.linalg.norm(got.astype(np.float64) - want) / max(norm, 1e-30)))
                        own = max(own, float(np.linalg.norm(other.astype(np.float64) - want) / max(norm, 1e-30)))
                row["relative_l2_to_ort"], row["ort_own_relative_l2"] = error, own
                # In turns, so that a busy machine harms both.
                ours, theirs = [], []
                for _ in range(3):
                    bench = subprocess.run([a.tactician, "bench", plan, "--seconds", str(a.seconds / 3), "--steps", "0", "--json"],
                                           check=True, capture_output=True, text=True)
                    ours.append(json.loads(bench.stdout)["latency"]["median_us"] / 1e3)
                    theirs.append(median_ort(s, x, a.seconds / 3) * 1e3)
                row["tactician_ms"], row["onnxruntime_ms"] = float(np.median(ours)), float(np.median(theirs))
                row["ratio_to_ort"] = row["tactician_ms"] / row["onnxruntime_ms"]
            if a.tract and threads == 1:
                flags = [f"{k}={'x'.join(map(str, v.shape))}" for k, v in x.items()]
                done = subprocess.run([a.tract, model, str(a.seconds), *flags], capture_output=True, text=True)
                row["tract_ms"] = float(done.stdout) * 1e3 if done.returncode == 0 else None
            rows.append(row)
            print(json.dumps(row), file=sys.stderr)
    report = {"cpu": cpu(), "onnxruntime": ort.__version__, "platform": platform.platform(), "rows": rows}
    text = json.dumps(report, indent=1)
    if a.out:
        with open(a.out, "w") as f:
            f.write(text + "\n")
    print(text)


if __name__ == "__main__":
    main()

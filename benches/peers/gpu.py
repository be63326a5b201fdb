#!/usr/bin/env python3
"""Times networks in Tactician, PyTorch, torch.compile and JAX/XLA on one GPU: the same weights, inputs and card.

    gpu.py --tactician bundle/tactician --out FILE... [--networks resnet50 vgg16] [--batches 1 8] [--types f16 tf32]
           [--engines torch_graph torch_compile jax tactician tactician_refined tactician_own] [--workspaces 512MiB 0] [--limit-seconds N]
    gpu.py --merge A.json B.json --out C.json

Engines of one call take turns at every configuration. Every file of --out that exists is read first and what it has is
not measured again, so peers and Tactician can be measured in one call or in several on the same machine; all files are
written after every engine and every turn. Whatever fails becomes a row that says so, and the rest goes on. With
--limit-seconds nothing begins that would probably not end in time.

Needs torch and torchvision, transformers for texts, and onnx for Tactician; jax for the engine jax. Batch norms are folded for every engine; the
error is the relative L2 distance from PyTorch's output in f32.
"""
import argparse
import gc
import os
import shutil
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
from program import Failed, Program, bytes_of, gpu_facts, libraries  # noqa: E402
from record import Clock, Record, load, median  # noqa: E402

ABOUT = (
    "ms is the median of a run's device time: of PyTorch by events over many runs in a row (replays of a captured graph, "
    "or calls of the compiled function), of Tactician by events around single launches of the recorded plan, each right "
    "behind another; of JAX by the host over twenty calls in a row. turns_ms: the median of each turn. build_s: seconds "
    "until the first output (Tactician: the whole `tactician build`; `measured` tactics were new to the table). "
    "relative_l2: distance from PyTorch's output in f32. Weights are seeded, batch norms folded for all."
)
OURS = {"tactician": (), "tactician_refined": ("--refine",), "tactician_own": ("--tactics", "own")}
ENGINES = ("torch_graph", "torch_compile", "torch_max_autotune", "jax", *OURS)

# Seconds that a build of Tactician is guessed to take before there was one: the first measures, the others find most of
# what they need in the table.
GUESS = {"tactician": 90.0, "tactician_refined": 40.0, "tactician_own": 40.0}


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tactician", help="the program")
    p.add_argument("--networks", nargs="+", default=["resnet50"],
                   choices=["resnet50", "vgg16", "mobilenet_v2", "efficientnet_b0", "vit_b_16", "bert_base", "gpt2", "lstm"])
    p.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    p.add_argument("--types", nargs="+", default=["f16"], choices=["f16", "tf32", "f32", "bf16"])
    p.add_argument("--engines", nargs="+", default=["torch_graph", "torch_compile", "jax", "tactician"], choices=ENGINES)
    p.add_argument("--workspaces", nargs="+", default=["512MiB"], help="a plan each, from one measuring pass")
    p.add_argument("--turns", type=int, default=3)
    p.add_argument("--seconds", type=float, default=1.0, help="measuring time of each plan of Tactician, all turns")
    p.add_argument("--profile", action="store_true", help="keep what every step of the largest workspace adds")
    p.add_argument("--device", default="cuda", help="of Tactician")
    p.add_argument("--table", default="target/gpu/gpu.tac")
    p.add_argument("--work", default="target/gpu", help="folder for models and plans")
    p.add_argument("--out", nargs="+", required=True)
    p.add_argument("--merge", nargs="+", help="only merge these files into --out")
    p.add_argument("--redo", action="store_true", help="measure again what the files have")
    p.add_argument("--limit-seconds", type=float)
    a = p.parse_args()
    if not a.merge and not a.tactician and any(e in OURS for e in a.engines):
        p.error(f"--tactician is needed for the engines {', '.join(OURS)}")
    return a


class Configuration:
    """One network, type and batch: what all engines get."""

    def __init__(self, a, name, kind, batch):
        import networks
        import torch
        from engines import DTYPES, double, set_tf32

        self.name, self.kind, self.batch = name, kind, batch
        cuda = "cuda" if torch.cuda.is_available() else "cpu"
        plain, self.model = networks.load(name, os.path.join(a.work, "models"))
        plain = plain.to(cuda)
        self.example = networks.example(name, batch, batch + 1)
        set_tf32(False)
        with torch.no_grad():
            self.want = double(plain(self.example.to(cuda)))
        set_tf32(kind == "tf32")
        # Peers run channels last, which is their fast layout for convolutions.
        last = {"dtype": DTYPES[kind], "memory_format": torch.channels_last}
        self.net, self.x = plain.to(**last), self.example.to(cuda)
        if self.x.is_floating_point():
            self.x = self.x.to(**last) if self.x.dim() == 4 else self.x.to(DTYPES[kind])
        self.row = {"network": name, "type": kind, "batch": batch}

    def error(self, output):
        import numpy as np

        return float(np.linalg.norm(output - self.want) / np.linalg.norm(self.want))


class Run:
    """Everything that is measured in one call."""

    def __init__(self, a):
        self.a, self.clock, self.record = a, Clock(a.limit_seconds), Record(a.out, ABOUT)
        self.program = Program(a.tactician, a.device, a.table, self.clock) if a.tactician else None
        os.makedirs(os.path.dirname(os.path.abspath(a.table)), exist_ok=True)
        self.machine = self.record.machine(self.facts())
        self.failed = 0

    def facts(self):
        import torch

        facts = {**gpu_facts(), "torch": torch.__version__, "torch_cuda": torch.version.cuda}
        facts["torch_cudnn"] = torch.backends.cudnn.version() if torch.cuda.is_available() else None
        if "jax" in self.a.engines:
            import importlib.metadata

            try:
                facts["jax"] = importlib.metadata.version("jax")
            except importlib.metadata.PackageNotFoundError:
                pass
        return {**facts, **(libraries(self.program) if self.program else {})}

    def put(self, row, **more):
        row.update(more)
        self.record.put({**row, "machine": self.machine})

    def fail(self, row, problem):
        self.failed += 1
        print(f"  {row['engine']}: {str(problem)[-400:]}", file=sys.stderr, flush=True)
        self.put({**row, "error": str(problem)[-1500:]})

    def missing(self, row, engine):
        """Workspaces (None for a peer) of an engine that have no time yet."""
        of = self.a.workspaces if engine in OURS else [None]
        return [w for w in of if self.a.redo or not self.record.has(**row, engine=engine, workspace=w)]

    def configuration(self, name, kind, batch):
        row = {"network": name, "type": kind, "batch": batch}
        wanted = {e: w for e in self.a.engines if (w := self.missing(row, e))}
        if not wanted or not self.clock.enough("configuration", 10):
            return
        print(f"{name} batch {batch} {kind}, {self.clock.left():.0f} s left", flush=True)
        folder = os.path.join(self.a.work, f"{name}-{batch}-{kind}")
        os.makedirs(folder, exist_ok=True)
        try:
            c = Configuration(self.a, name, kind, batch)
            # Samplers give milliseconds of one or several rows. Peers are prepared first: what they compile does not
            # disturb what is timed later.
            samplers = []
            for engine, workspaces in sorted(wanted.items(), key=lambda e: e[0] in OURS):
                begin = self.ours if engine in OURS else self.peer
                samplers.append(begin(c, engine, workspaces, folder))
            self.turns([s for s in samplers if s])
        except Exception as e:  # A configuration that fails as a whole, for want of memory say.
            self.fail({**row, "engine": "all", "workspace": None}, e)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self.clean()

    def peer(self, c, engine, _workspaces, _folder):
        from engines import GUESS as SECONDS
        from engines import PEERS

        row = {**c.row, "engine": engine, "workspace": None}
        if engine == "jax" and c.name != "resnet50":
            return None
        if not self.clock.enough(engine, SECONDS[engine]):
            print(f"  {engine}: not begun, {self.clock.left():.0f} s are left", flush=True)
            return None
        start = time.monotonic()
        try:
            ready = PEERS[engine](net=c.net, x=c.x, name=c.name, kind=c.kind)
            self.put(row, build_s=ready.build_s, relative_l2=c.error(ready.output))
            return [row], lambda: [ready.sample(10)]
        except Exception as e:  # A peer that fails is recorded, and the rest goes on.
            self.fail(row, e)
            return None
        finally:
            self.clock.took(engine, time.monotonic() - start)

    def ours(self, c, engine, workspaces, folder):
        import numpy as np

        if not self.clock.enough(f"{engine} {c.name}", GUESS[engine]):
            print(f"  {engine}: not begun, {self.clock.left():.0f} s are left", flush=True)
            return None
        shape, start = f"input={'x'.join(map(str, c.example.shape))}", time.monotonic()
        x = os.path.join(folder, "x.npy")
        np.save(x, c.example.numpy())
        plans = {w: os.path.join(folder, f"{engine}-{w}.plan") for w in workspaces}
        rows = []
        try:
            for w, figures in self.program.builds(c.model, plans, c.kind, shape, OURS[engine]):
                row = {**c.row, "engine": engine, "workspace": w}
                try:
                    if isinstance(figures, Failed):
                        raise figures
                    [y, *_] = self.program.run(plans[w], {"input": x}, os.path.join(folder, f"out-{engine}-{w}"))
                    keep = ("build_s", "tune_seconds", "compile_seconds", "reference_seconds", "check_seconds", "race_seconds",
                            "check_thread_seconds", "family_thread_seconds",
                            "measured", "reused", "rejected", "workspace_used", "steps")
                    row.update({"refined": figures["refined"]} if "refined" in figures else {})
                    self.put(row, **{k: figures[k] for k in keep}, predicted_ms=figures["predicted_us"] / 1e3,
                             relative_l2=c.error(np.load(y).astype(np.float64)))
                    rows.append(row)
                except Exception as e:  # One plan that fails leaves the others.
                    self.fail(row, e)
        except Failed as e:
            self.fail({**c.row, "engine": engine, "workspace": max(workspaces, key=bytes_of)}, e)
        self.clock.took(f"{engine} {c.name}", time.monotonic() - start)
        paths = [plans[r["workspace"]] for r in rows]
        if not rows:
            return None
        if self.a.profile and engine != "tactician_own":
            largest = max(range(len(rows)), key=lambda i: bytes_of(rows[i]["workspace"]))
            try:
                [report] = self.program.bench(paths[largest:largest + 1], 0.5, steps=1)
                rows[largest]["profile"] = {k: report[k] for k in ("how", "sum_us", "rounds", "steps")}
            except Failed as e:
                print(f"  no profile: {e}", file=sys.stderr, flush=True)
        seconds = self.a.seconds / self.a.turns
        return rows, lambda: [[r["latency"]["median_us"] / 1e3] for r in self.program.bench(paths, seconds)]

    def turns(self, samplers):
        """Times everything that is ready, turn by turn."""
        beside = sorted({r["engine"] for rows, _ in samplers for r in rows})
        samples = {}
        for turn in range(self.a.turns):
            for rows, sample in list(samplers):
                if self.clock.left() < 2 and turn:
                    continue
                try:
                    for row, got in zip(rows, sample()):
                        mine = samples.setdefault(id(row), ([], []))
                        mine[0].extend(got)
                        mine[1].append(median(got))
                        self.put(row, ms=median(mine[0]), turns_ms=mine[1], beside=beside)
                except Exception as e:  # As above.
                    samplers.remove((rows, sample))
                    for row in rows:
                        self.fail(row, e)
        for rows, _ in samplers:
            for r in rows:
                of = f" at {r['workspace']}" if r["workspace"] else ""
                print(f"  {r['engine']}{of}: {r['ms']:.4f} ms, error {r['relative_l2']:.1e}, build {r['build_s']:.1f} s",
                      flush=True)

    @staticmethod
    def clean():
        import torch

        torch._dynamo.reset()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def main():
    a = arguments()
    if a.merge:
        record = Record(a.out)
        for path in a.merge:
            record.merge(load(path))
        return record.save()
    import torch

    torch.backends.cudnn.benchmark = True
    run = Run(a)
    for kind in a.types:
        for batch in a.batches:
            for name in a.networks:
                run.configuration(name, kind, batch)
    print(f"{len(run.record.rows)} rows, {run.failed} failures")
    return run.failed > 0


if __name__ == "__main__":
    sys.exit(main())

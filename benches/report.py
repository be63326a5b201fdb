#!/usr/bin/env python3
"""Writes the figures of benches/results/ into the documents, so that none is typed by hand.

    report.py            fills the blocks `<!-- figures: NAME -->` ... `<!-- end -->` and draws the charts in docs/
    report.py --check    changes nothing, and fails when something would change
"""
import argparse
import glob
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import chart  # noqa: E402
from program import bytes_of  # noqa: E402
from record import load  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOCUMENTS = ("README.md", "docs/performance.md", "docs/research.md", "docs/selection.md",
             "docs/choosing-a-workspace.md", "docs/models.md", "docs/onnx.md")
BLOCK = re.compile(r"(<!-- figures: ([a-z0-9-]+) -->\n).*?(<!-- end -->)", re.S)

NETWORKS = {"resnet50": "ResNet-50", "vgg16": "VGG-16", "mobilenet_v2": "MobileNetV2", "efficientnet_b0": "EfficientNet-B0",
            "vit_b_16": "ViT-B/16", "bert_base": "BERT-base", "gpt2": "GPT-2", "lstm": "LSTM", "yolox_s": "YOLOX-S", "inception_v3": "Inception-v3", "densenet121": "DenseNet-121"}
PEERS = {
    "torch_compile": "torch.compile, reduce-overhead",
    "torch_max_autotune": "torch.compile, max-autotune",
    "torch_graph": "PyTorch, CUDA graph",
    "jax": "JAX/XLA",
}
OURS = {"tactician": "Tactician", "tactician_refined": "refined", "tactician_own": "own kernels only"}
# A file a card: rows of one table are compared only with rows of the same run.
GPU_PEERS = ("gpu-peers", "gpu-peers-h200")
TYPES = ("f16", "bf16", "tf32", "f32")
NOTHING = "Not measured yet.\n"


def ms(value):
    """Milliseconds with about three digits."""
    return f"{value:.3f}" if value < 10 else f"{value:.2f}" if value < 100 else f"{value:.1f}"


def title(network):
    return NETWORKS.get(network, network)


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


class Report:
    """The blocks and charts that the results in a folder give."""

    def __init__(self, results):
        self.results = results

    def data(self, name):
        path = os.path.join(self.results, name + ".json")
        return load(path) if os.path.exists(path) else None

    def blocks(self):
        return {
            "cpu-peers": self.cpu_peers(),
            "cpu-models": self.cpu_models(),
            "cpu-import": self.cpu_import(),
            "gpu-models": self.gpu_models(),
            "policies": self.policies(),
            "solver": self.solver(),
            "churn": self.churn(),
            "gpu-budget": self.front("gpu-budget"),
            "cpu-budget": self.front("cpu-budget", ("resnet50", "vgg16")),
            "fronts": self.fronts(),
            "cpu-workspace": self.cpu_workspace(),
            "gpu-machines": self.gpu_machines(),
            "gpu-peers": self.gpu_peers(),
            "gpu-builds": self.gpu_builds(),
            "gpu-warm": self.gpu_warm(),
            "gpu-steps": self.gpu_steps(),
            "gpu-tactics": self.gpu_tactics(),
            "gpu-workspace": self.gpu_workspace(),
            "onnx-suite": self.onnx_suite(),
        }

    def charts(self):
        """File name to SVG."""
        found = {"workspace-cpu.svg": self.cpu_chart(), "workspace-gpu.svg": self.gpu_chart()}
        return {name: text for name, text in found.items() if text}

    # The importer.

    def onnx_suite(self):
        data = self.data("onnx-suite")
        if not data:
            return NOTHING
        rows = []
        for run in filter(None, (data, self.data("onnx-suite-gpu"))):
            on = "CPU" if run["device"] == "cpu" else run["device"]
            for suite, counts in run["counts"].items():
                row = [counts.get(word, 0) for word in ("pass", "free", "unsupported")]
                rows.append([suite, f"{on}, {run['date']}", sum(counts.values()), *row])
        text = f"`{data['source']}`:\n\n"
        header = ["suite", "on", "cases", "pass", "numbers free, types and sizes right", "refused on purpose"]
        text += table(header, rows)
        reasons = sorted(data["unsupported"].items(), key=lambda r: (-r[1], r[0]))
        return text + "\n" + table(["refused because of", "cases"], reasons)

    # The CPU.

    def cpu_peers(self):
        data = self.data("cpu-peers")
        if not data:
            return NOTHING
        rows = []
        for r in data["rows"]:
            tract = f"{r['tract_ms']:.1f} ms" if r.get("tract_ms") else ""
            rows.append([r["model"].removesuffix(".onnx"), r["threads"], f"{r['tactician_ms']:.2f} ms",
                         f"{r['onnxruntime_ms']:.2f} ms", f"{r['ratio_to_ort']:.2f}", tract, f"{r['relative_l2_to_ort']:.0e}"])
        header = ["network", "threads", "Tactician", "ONNX Runtime", "ratio", "tract", "error against ONNX Runtime"]
        return table(header, rows)

    def models(self):
        """Model to number of threads to row."""
        found = {}
        for r in (self.data("cpu-models") or {"rows": []})["rows"]:
            found.setdefault(r["model"], {})[r["threads"]] = r
        return found

    def cpu_models(self):
        data = self.data("cpu-models")
        if not data:
            return NOTHING
        threads = sorted({r["threads"] for r in data["rows"]})
        rows = []
        for model, of in self.models().items():
            first = next(iter(of.values()))
            sizes = lambda v: "×".join(map(str, v)) if isinstance(v, list) else v  # noqa: E731
            cells = []
            for t in threads:
                r = of.get(t)
                cells += [ms(r["tactician_ms"]), ms(r["onnxruntime_ms"]), f"{r['ratio']:.2f}"] if r else ["", "", ""]
            error = max(r["error"] for r in of.values())
            rows.append([model, ", ".join(f"{k} {sizes(v)}" for k, v in first["inputs"].items()), *cells, f"{error:.0e}"])
        loads = [r["load"] for r in data["rows"]]
        header = ["model", "inputs"]
        for t in threads:
            on = "one thread" if t == 1 else f"{t} threads"
            header += [f"Tactician, {on}", "ONNX Runtime", "ratio"]
        text = f"Machine: {data['cpu']}. Tactician {data['tactician']}, ONNX Runtime {data['onnxruntime']}. Milliseconds. "
        text += f"Load of the machine (processes that wished to run) at the end of each row: {min(loads)} to {max(loads)}.\n\n"
        return text + table([*header, "error"], rows)

    def cpu_import(self):
        found = (self.data("cpu-models") or {}).get("imports", {})
        rows = [[model, f"{r['bytes'] / 1e6:.0f} MB", f"{r['seconds']:.2f} s", f"{r['peak_bytes'] / 1e6:.0f} MB",
                 f"{r['peak_bytes'] / r['bytes']:.2f}"] for model, r in sorted(found.items(), key=lambda f: -f[1]["bytes"])]
        header = ["model", "file", "read, imported and rewritten in", "peak memory of the process", "of the file's size"]
        return table(header, rows) if rows else NOTHING

    def gpu_models(self):
        data = self.data("gpu-models")
        if not data:
            return NOTHING
        found = {}
        for r in data["rows"]:
            found.setdefault((r["model"], r["type"]), []).append(r)
        rows = [[model, kind, "; ".join(r["inputs"] for r in of), f"{max(r['error'] for r in of):.0e}",
                 "; ".join(r["said"] for r in of if r["said"])] for (model, kind), of in sorted(found.items())]
        return f"{data['gpu']}.\n\n" + table(["model", "type", "inputs", "largest error", "what it says"], rows)

    def cpu_curves(self):
        """Network to budgets, as `tactician demo` reports them."""
        paths = sorted(glob.glob(os.path.join(self.results, "cpu-workspace-*.json")))
        return {d["network"]: d["budgets"] for d in map(load, paths)}

    def cpu_workspace(self):
        curves = self.cpu_curves()
        if not curves:
            return NOTHING
        rows = []
        for network, budgets in curves.items():
            cells = [f"{b['latency']['median_us'] / 1e3:.1f} ({b['predicted_us'] / 1e3:.1f})" for b in budgets]
            used = max(b["workspace_used"] for b in budgets)
            rows.append([title(network), *cells, f"{used / 2**20:.1f} MiB"])
        sizes = [b["workspace_limit"] >> 20 for b in next(iter(curves.values()))]
        header = ["ms (predicted)", *[f"{s} MiB" if s else "0" for s in sizes], "most that was used"]
        return table(header, rows) + "\n![Latency over workspace on the CPU](workspace-cpu.svg)\n"

    def cpu_chart(self):
        curves = self.cpu_curves()
        if not curves:
            return None
        panels, ticks = {}, []
        for network, budgets in curves.items():
            points = [(b["latency"]["median_us"], b["predicted_us"]) for b in budgets]
            ticks = [str(b["workspace_limit"] >> 20) for b in budgets]
            panels[title(network)] = [(f"{points[-1][0] / 1e3:.1f} ms", points)]
        return chart.svg(panels, ticks, "Latency, relative to the plan without workspace; batch 1, f32, two threads",
                         "Latency over workspace on a CPU")

    # The GPU.

    def gpu_machines(self):
        lines = []
        for name in (*GPU_PEERS, "gpu-workspace"):
            for m in (self.data(name) or {"machines": []})["machines"]:
                facts = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in m.items() if k != "gpu" and v)
                lines.append(f"- {m.get('gpu', 'a machine')}: {facts} (`{name}.json`)\n")
        return "".join(lines) or NOTHING

    def rows(self, name):
        """Rows with a time in a stable order."""
        data = self.data(name) or {"rows": []}
        order = list(NETWORKS)
        at = lambda r: (order.index(r["network"]) if r["network"] in order else 99, TYPES.index(r["type"]), r["batch"])  # noqa: E731
        return sorted((r for r in data["rows"] if "ms" in r), key=at)

    def peers(self):
        """Card, network, type and batch to engine to row; of Tactician the plan with the largest workspace."""
        found = {}
        for card, r in ((self.card(name, r), r) for name in GPU_PEERS for r in self.rows(name)):
            engines = found.setdefault((card, r["network"], r["type"], r["batch"]), {})
            old = engines.get(r["engine"])
            if not old or bytes_of(r["workspace"] or 0) >= bytes_of(old["workspace"] or 0):
                engines[r["engine"]] = r
        return found

    def card(self, name, row):
        """The GPU that a row was measured on, without its maker and memory."""
        gpu = self.data(name)["machines"][row["machine"]].get("gpu", "?")
        return gpu.removeprefix("NVIDIA ").split()[0]

    def gpu_peers(self):
        found = self.peers()
        if not found:
            return NOTHING
        peers = [p for p in PEERS if any(p in e for e in found.values())]
        own = [o for o in OURS if o == "tactician" or any(o in e for e in found.values())]
        header = ["card", "network", "type", "batch", *[OURS[o] for o in own], *[PEERS[p] for p in peers],
                  "ratio to the best peer", "error", "error of the best peer"]
        lines = []
        for (card, network, kind, batch), engines in found.items():
            cell = lambda e: f"{ms(engines[e]['ms'])} ms" if e in engines else ""  # noqa: E731
            error = lambda r: f"{r['relative_l2']:.1e}" if r and "relative_l2" in r else ""  # noqa: E731
            best = lambda names: min((engines[n] for n in names if n in engines), key=lambda r: r["ms"], default=None)  # noqa: E731
            peer, ours = best(peers), best(own)
            ratio = f"{ours['ms'] / peer['ms']:.2f}" if ours and peer else ""
            lines.append([card, title(network), kind, batch, *map(cell, own), *map(cell, peers), ratio, error(ours), error(peer)])
        return table(header, lines)

    def gpu_builds(self):
        found = self.peers()
        names = {**OURS, **PEERS}
        engines = [e for e in names if any("build_s" in f.get(e, {}) for f in found.values())]
        if not engines:
            return NOTHING
        lines = []
        for (card, network, kind, batch), rows in found.items():
            cells = []
            for e in engines:
                r = rows.get(e, {})
                new = f" ({r['measured']} tactics measured)" if r.get("measured") is not None else ""
                cells.append(f"{r['build_s']:.0f} s{new}" if "build_s" in r else "")
            lines.append([card, title(network), kind, batch, *cells])
        return table(["card", "network", "type", "batch", *[names[e] for e in engines]], lines)

    def gpu_warm(self):
        """Builds of which the table knows everything."""
        names = {"warm": "as is", "warm_own": "own kernels only", "warm_alone": "without the folder next to the table",
                 "warm_checked": "and running the plan beside its rivals"}
        found = {}
        for r in self.rows("gpu-warm"):
            of = (self.card("gpu-warm", r), title(r["network"]), r["type"], r["batch"])
            found.setdefault(of, {})[r["engine"]] = f"{r['ms'] / 1e3:.2f} s"
        if not found:
            return NOTHING
        lines = [[*of, *(row.get(e, "") for e in names)] for of, row in found.items()]
        return table(["card", "network", "type", "batch", *names.values()], lines)

    def gpu_steps(self):
        """Where the time inside a plan goes beyond what its steps took apart."""
        out = []
        for r in self.rows("gpu-peers"):
            profile = r.get("profile")
            if not profile or profile["how"] != "recorded":
                continue
            steps = profile["steps"]
            apart = sum(s["predicted_us"] for s in steps)
            engine = "" if r["engine"] == "tactician" else f", {OURS[r['engine']]}"
            out.append(f"{title(r['network'])}, {r['type']}, batch {r['batch']}{engine}: {r['ms'] * 1e3:.1f} us; what its "
                       f"{len(steps)} steps add to the recording sums to {profile['sum_us']:.1f} us, measured apart they "
                       f"took {apart:.1f} us. The largest differences:\n\n")
            worst = sorted(steps, key=lambda s: s["predicted_us"] - s["median_us"])[:5]
            out.append(table(["step", "tactic", "in the plan", "apart"],
                             [[f"{s['name']} ({s['op']})", f"`{s['tactic']}`", f"{s['median_us']:.1f} us",
                               f"{s['predicted_us']:.1f} us"] for s in worst]) + "\n")
        return "".join(out).rstrip("\n") + "\n" if out else NOTHING

    def curves(self):
        """Network to engine, type, batch and card to workspace to row, and all workspaces."""
        found, sizes = {}, set()
        for r in self.rows("gpu-workspace"):
            of = (r["engine"], r["type"], r["batch"], self.card("gpu-workspace", r))
            found.setdefault(r["network"], {}).setdefault(of, {})[r["workspace"]] = r
            sizes.add(r["workspace"])
        return found, sorted(sizes, key=bytes_of)

    def policies(self):
        """Fusion policies on the same measurements."""
        lines = []
        for name, where in (("gpu-budget", "GPU"), ("cpu-budget", "CPU")):
            for r in (r for r in self.rows(name) if "policies" in r):
                for p in r["policies"]:
                    lines.append([title(r["network"]), f"{where}, {r['type']}", p["policy"], f"{ms(p['predicted_us'] / 1e3)} ms",
                                  f"{p['ratio']:.3f}", f"{ms(p['measured_us'] / 1e3)} ms", p["launches"],
                                  f"{p['bytes_moved'] / 2**20:.0f} MiB", f"{p['workspace_bytes'] / 2**20:.1f} MiB"])
        header = ["network", "on", "policy", "predicted", "to `measured`", "run", "launches", "moved", "workspace"]
        return table(header, lines) if lines else NOTHING

    def solver(self):
        """How long selection takes."""
        rows = (self.data("solver") or {}).get("rows", [])
        lines = [[title(r["network"]), r["table"].upper(), r["nodes"], r["regions"], r["candidates"],
                  f"{r['select_seconds'] * 1e3:.1f} ms",
                  f"{r['workspace_front_seconds'] * 1e3:.1f} ms ({r['workspace_points']})",
                  f"{r['memory_front_seconds'] * 1e3:.0f} ms ({r['memory_points']})",
                  "proven" if r["largest_gap_us"] == 0 else f"gap {r['largest_gap_us']:.2f} us"] for r in rows]
        header = ["network", "table of a", "nodes", "regions", "candidates", "one selection", "front of workspace (points)",
                  "front of memory (points)", "optimal"]
        return table(header, lines) if lines else NOTHING

    def fronts(self):
        """What all of the curve is worth, and how far runs are from predictions along it."""
        lines = []
        for name, where in (("gpu-budget", "GPU"), ("cpu-budget", "CPU")):
            for r in (r for r in self.rows(name) if "front" in r):
                run = [p for p in r["front"] if p.get("measured_us")]
                if not run:
                    continue
                first, last = run[0], run[-1]
                off = max((p["measured_us"] / p["predicted_us"] - 1 for p in run), key=abs)
                lines.append([title(r["network"]), f"{where}, {r['type']}", len(r["front"]),
                              f"{ms(first['measured_us'] / 1e3)} ms", f"{ms(last['measured_us'] / 1e3)} ms",
                              f"{last['bytes'] / 2**20:.1f} MiB", len(run), f"{off * 100:+.1f} %"])
        header = ["network", "on", "budgets that matter", "without workspace", "with all", "which is", "plans that were run",
                  "largest difference of a run from its prediction"]
        return table(header, lines) if lines else NOTHING

    def front(self, name, networks=()):
        """Breakpoints of workspace, predicted and run, of some networks or all."""
        lines = []
        for r in (r for r in self.rows(name) if "front" in r and (not networks or r["network"] in networks)):
            for p in r["front"]:
                run = p.get("measured_us")
                lines.append([title(r["network"]), r["type"], f"{p['bytes'] / 2**10:.0f} KiB", f"{ms(p['predicted_us'] / 1e3)} ms",
                              f"{ms(run / 1e3)} ms" if run else ""])
        return table(["network", "type", "workspace from", "predicted", "run"], lines) if lines else NOTHING

    def churn(self):
        """Repeated builds from nothing."""
        lines = []
        for r in (self.data("churn") or {}).get("rows", []):
            times = [b["measured_us"] for b in r["builds"]]
            lines.append([title(r["network"]), r["machine"], r["type"], len(times), f"{r['churn'] * 100:.0f} %",
                          f"{ms(min(times) / 1e3)} to {ms(max(times) / 1e3)} ms", f"{r['spread'] * 100:.1f} %"])
        header = ["network", "on", "type", "builds", "steps that changed", "latency", "spread"]
        return table(header, lines) if lines else NOTHING

    def gpu_tactics(self):
        """Tactics of single convolutions by criterion, the fastest of each first."""
        data = self.data("gpu-tactics") or {"rows": []}
        lines, best = [], {}
        for r in data["rows"]:
            group = (r["machine"], r["type"], r["problem"])
            first = best.setdefault(group, r["us"])
            name = [data["machines"][r["machine"]]["gpu"].removeprefix("NVIDIA "), r["problem"], r["type"]]
            lines.append([*(name if first == r["us"] else ["", "", ""]), f"`{r['tactic']}`",
                          f"{r['workspace'] / 2**10:.0f} KiB", f"{r['us']:.2f} us",
                          f"{max(r['high_us'] - r['us'], r['us'] - r['low_us']):.2f}", f"{r['us'] / first:.2f}"])
        header = ["card", "convolution", "type", "tactic", "workspace", "a run", "±", "to the fastest"]
        return table(header, lines) if lines else NOTHING

    def gpu_workspace(self):
        found, sizes = self.curves()
        if not found:
            return NOTHING
        lines = []
        for network, batches in found.items():
            for (engine, kind, batch, card), rows in batches.items():
                name = title(network) + ("" if engine == "tactician" else f", {OURS[engine]}")
                cells = [f"{ms(rows[s]['ms'])} ({ms(rows[s]['predicted_ms'])})" if s in rows else "" for s in sizes]
                used = max(r["workspace_used"] for r in rows.values()) / 2**20
                lines.append([name, card, kind, batch, *cells, f"{used:.1f} MiB"])
        header = ["network", "card", "type", "batch", *sizes, "most that was used"]
        return ("Milliseconds, and predicted in brackets:\n\n" + table(header, lines)
                + "\n![Latency over workspace on the GPU](workspace-gpu.svg)\n")

    def gpu_chart(self):
        found, sizes = self.curves()
        if not found:
            return None
        panels = {}
        for network, batches in found.items():
            series = []
            # Plans as they are built by default, where there are both.
            plain = {k: v for k, v in batches.items() if k[0] == "tactician"} or batches
            for (_, _, batch, _), rows in plain.items():
                points = [(rows[s]["ms"], rows[s]["predicted_ms"]) if s in rows else None for s in sizes]
                last = next(p[0] for p in reversed(points) if p)
                series.append((f"batch {batch}: {ms(last)} ms", points))
            panels[title(network)] = series
        kinds = ", ".join(sorted({k for b in found.values() for _, k, _, _ in b}))
        ticks = [str(bytes_of(s) >> 20) for s in sizes]
        return chart.svg(panels, ticks, f"Latency, relative to the plan without workspace; {kinds}",
                         "Latency over workspace on a GPU")


def fill(text, blocks):
    def replace(m):
        if m[2] not in blocks:
            raise SystemExit(f"there is no block `{m[2]}`; known are {', '.join(blocks)}")
        return f"{m[1]}\n{blocks[m[2]]}\n{m[3]}"

    return BLOCK.sub(replace, text)


def update(root, results, check):
    """Names of the files that change; writes them unless it only checks."""
    report, changed = Report(results), []
    blocks = report.blocks()
    texts = {os.path.join("docs", name): text for name, text in report.charts().items()}
    for name in DOCUMENTS:
        path = os.path.join(root, name)
        if os.path.exists(path):
            with open(path) as f:
                texts[name] = fill(f.read(), blocks)
    for name, text in texts.items():
        path = os.path.join(root, name)
        old = None
        if os.path.exists(path):
            with open(path) as f:
                old = f.read()
        if old != text:
            changed.append(name)
            if not check:
                with open(path, "w") as f:
                    f.write(text)
    return changed


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--check", action="store_true")
    a = p.parse_args()
    changed = update(ROOT, os.path.join(ROOT, "benches", "results"), a.check)
    for name in changed:
        print(f"{name}: {'out of date, run benches/report.py' if a.check else 'written'}")
    sys.exit(bool(changed) and a.check)


if __name__ == "__main__":
    main()

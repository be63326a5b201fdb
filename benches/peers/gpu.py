#!/usr/bin/env python3
"""Times ResNet-50 in Tactician, PyTorch, torch.compile and JAX/XLA on one GPU: the same weights, inputs and card.

    gpu.py --tactician bundle/tactician [--batches 1 8 32] [--types f16 tf32 f32] [--max-autotune] [--out FILE]

Needs torch, torchvision, onnx and onnxscript; jax is optional. Times are GPU times by events over replays of a captured
graph where the engine has them, median of 30 samples. The batch normalisations are folded for every engine.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import torchvision

torch.backends.cudnn.benchmark = True


def network():
    """torchvision's ResNet-50 with seeded weights, batch norms folded."""
    torch.manual_seed(1)
    net = torchvision.models.resnet50(weights=None).eval()
    for m in net.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.uniform_(-0.1, 0.1)
            m.running_var.uniform_(0.8, 1.2)
    fuse = torch.nn.utils.fusion.fuse_conv_bn_eval
    for m in net.modules():
        for name, child in list(m.named_children()):
            if isinstance(child, torch.nn.BatchNorm2d) and name.startswith("bn"):
                conv = "conv" + name[2:]
                setattr(m, conv, fuse(getattr(m, conv), child))
                setattr(m, name, torch.nn.Identity())
            elif isinstance(child, torch.nn.Sequential) and name == "downsample":
                child[0], child[1] = fuse(child[0], child[1]), torch.nn.Identity()
    return net


def median_ms(launch, samples=30):
    """GPU milliseconds of one launch."""
    for _ in range(5):
        launch()
    torch.cuda.synchronize()
    start = time.perf_counter()
    launch()
    torch.cuda.synchronize()
    runs = max(1, min(100, int(0.02 / (time.perf_counter() - start))))
    times = []
    for _ in range(samples):
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record()
        for _ in range(runs):
            launch()
        b.record()
        torch.cuda.synchronize()
        times.append(a.elapsed_time(b) / runs)
    return float(np.median(times))


def set_tf32(on):
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = on


def torch_graph(net, x):
    with torch.no_grad():
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                net(x)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            net(x)
        return median_ms(graph.replay)


def torch_compiled(net, x, mode):
    torch._dynamo.reset()
    start = time.perf_counter()
    with torch.no_grad():
        compiled = torch.compile(net, mode=mode)
        for _ in range(3):
            compiled(x)
        torch.cuda.synchronize()
        build = time.perf_counter() - start
        return median_ms(lambda: compiled(x)), build


def jax_xla(net, x, kind):
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax
    import jax.numpy as jnp
    from jax import lax

    dtype = jnp.float16 if kind == "f16" else jnp.float32
    jax.config.update("jax_default_matmul_precision", "highest" if kind == "f32" else "default")

    def leaf(t, perm=None):
        a = t.detach().float().cpu().numpy()
        return jnp.asarray(a.transpose(perm) if perm else a, dtype)

    def conv(m):
        return leaf(m.weight, (2, 3, 1, 0)), leaf(m.bias), m.stride, m.padding

    def apply(c, x):
        w, b, stride, pad = c
        pads = [(p, p) for p in pad]
        dims = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, w, stride, pads, dimension_numbers=dims) + b

    stem = conv(net.conv1)
    blocks = []
    for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
        for b in layer:
            blocks.append(([conv(c) for c in (b.conv1, b.conv2, b.conv3)], conv(b.downsample[0]) if b.downsample else None))
    fc = leaf(net.fc.weight, (1, 0)), leaf(net.fc.bias)

    def forward(x):
        x = jax.nn.relu(apply(stem, x))
        window, steps, pads = (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))
        x = lax.reduce_window(x, jnp.array(-jnp.inf, dtype), lax.max, window, steps, pads)
        for (a, b, c), short in blocks:
            y = apply(c, jax.nn.relu(apply(b, jax.nn.relu(apply(a, x)))))
            x = jax.nn.relu(y + (apply(short, x) if short else x))
        return x.mean((1, 2)) @ fc[0] + fc[1]

    value = jnp.asarray(x.float().cpu().numpy().transpose(0, 2, 3, 1), dtype)
    run = jax.jit(forward)
    start = time.perf_counter()
    run(value).block_until_ready()
    build = time.perf_counter() - start
    for _ in range(5):
        run(value).block_until_ready()
    times = []
    for _ in range(15):
        start = time.perf_counter()
        for _ in range(20):
            last = run(value)
        last.block_until_ready()
        times.append((time.perf_counter() - start) / 20 * 1e3)
    return float(np.median(times)), build


def tactician(program, model, x, kind, table, want, folder, workspace):
    plan, out = os.path.join(folder, "m.plan"), os.path.join(folder, "out")
    shape = "x".join(map(str, x.shape))
    start = time.perf_counter()
    build = [program, "build", model, f"--shape=input={shape}", "--device", "cuda", "--precision", kind, "--table", table]
    done = subprocess.run([*build, "--workspace", workspace, "-o", plan, "--json"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    seconds = time.perf_counter() - start
    figures = json.loads(done.stdout)
    np.save(os.path.join(folder, "x.npy"), x.cpu().numpy())
    subprocess.run([program, "run", plan, "--input", f"input={folder}/x.npy", "--output-dir", out], check=True, capture_output=True)
    got = np.load(os.path.join(out, os.listdir(out)[0])).astype(np.float64)
    error = float(np.linalg.norm(got - want) / np.linalg.norm(want))
    done = subprocess.run([program, "bench", plan, "--seconds", "2", "--json"], check=True, capture_output=True, text=True)
    bench = json.loads(done.stdout)
    keys = ("measured", "rejected", "predicted_us", "workspace_used", "steps")
    return {
        "ms": bench["latency"]["median_us"] / 1e3,
        "build_s": seconds,
        "relative_l2_to_torch_f32": error,
        **{k: figures[k] for k in keys},
        "slowest_steps": sorted(bench["steps"], key=lambda s: -s["median_us"])[:20],
    }


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tactician", required=True)
    p.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    p.add_argument("--types", nargs="+", default=["f16", "tf32", "f32"])
    p.add_argument("--workspace", default="512MiB")
    p.add_argument("--max-autotune", action="store_true")
    p.add_argument("--no-peers", action="store_true")
    p.add_argument("--table", default="gpu.tac")
    p.add_argument("--out")
    a = p.parse_args()
    plain = network().cuda()
    report = {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": subprocess.run(["nvidia-smi", "--query-gpu=driver_version,clocks.sm", "--format=csv,noheader"],
                                 capture_output=True, text=True).stdout.strip(),
        "network": "torchvision resnet50, batch norms folded, seeded weights",
        "rows": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "resnet50.onnx")
        example = torch.zeros(2, 3, 224, 224).cuda()
        batch = {"x": {0: torch.export.Dim("batch")}}
        torch.onnx.export(plain, (example,), model, input_names=["input"], dynamo=True, dynamic_shapes=batch, verbose=False)
        for kind in a.types:
            for size in a.batches:
                row = {"type": kind, "batch": size}
                x = torch.randn(size, 3, 224, 224, generator=torch.Generator().manual_seed(size)).cuda()
                set_tf32(False)
                with torch.no_grad():
                    want = plain(x).double().cpu().numpy()
                set_tf32(kind == "tf32")
                half = torch.float16 if kind == "f16" else torch.float32
                net = network().cuda().to(half).to(memory_format=torch.channels_last)
                y = x.to(half).contiguous(memory_format=torch.channels_last)
                steps = {} if a.no_peers else {
                    "torch_graph": lambda: torch_graph(net, y),
                    "torch_compile_reduce_overhead": lambda: torch_compiled(net, y, "reduce-overhead"),
                    "jax_xla": lambda: jax_xla(plain, x, kind),
                }
                if a.max_autotune and not a.no_peers:
                    steps["torch_compile_max_autotune"] = lambda: torch_compiled(net, y, "max-autotune")
                for name, step in steps.items():
                    try:
                        got = step()
                        row[name] = {"ms": got[0], "build_s": got[1]} if isinstance(got, tuple) else {"ms": got}
                    except Exception as e:  # A peer that fails is recorded, and the rest goes on.
                        row[name] = {"error": str(e)[:300]}
                try:
                    row["tactician"] = tactician(a.tactician, model, x, kind, a.table, want, folder, a.workspace)
                except Exception as e:
                    row["tactician"] = {"error": str(e)[-1500:]}
                report["rows"].append(row)
                short = {k: (v.get("ms") or v.get("error")) if isinstance(v, dict) else v for k, v in row.items()}
                print(json.dumps(short), flush=True)
                if a.out:
                    with open(a.out, "w") as f:
                        json.dump(report, f, indent=1)


if __name__ == "__main__":
    main()

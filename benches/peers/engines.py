"""The peers: PyTorch in a CUDA graph, torch.compile, JAX/XLA. Each is prepared once and sampled in turns with others."""
import os
import time

import torch

DTYPES = {"f32": torch.float32, "tf32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}

# Least length of a sample.
SAMPLE_S = 0.02


def set_tf32(on):
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = on


def synchronize():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def device_ms(launch, count):
    """Samples of the device time of one launch: events around many launches in a row (host time without a GPU)."""
    launch()
    synchronize()
    start = time.perf_counter()
    launch()
    synchronize()
    runs = max(1, min(100, int(SAMPLE_S / (time.perf_counter() - start))))
    samples = []
    for _ in range(count):
        if not torch.cuda.is_available():
            start = time.perf_counter()
            for _ in range(runs):
                launch()
            samples.append((time.perf_counter() - start) / runs * 1e3)
            continue
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record()
        for _ in range(runs):
            launch()
        b.record()
        torch.cuda.synchronize()
        samples.append(a.elapsed_time(b) / runs)
    return samples


class Engine:
    """Ready to run: `sample(count)` gives milliseconds, `output` is what it computes for the input, as float64."""

    def __init__(self, sample, output, build_s):
        self.sample, self.output, self.build_s = sample, output, build_s


def double(t):
    return t.detach().double().cpu().numpy()


def torch_graph(net, x, **_):
    """PyTorch, one captured CUDA graph."""
    start = time.perf_counter()
    with torch.no_grad():
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                net(x)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = net(x)
        graph.replay()
        torch.cuda.synchronize()
    return Engine(lambda n: device_ms(graph.replay, n), double(y), time.perf_counter() - start)


def torch_compiled(mode):
    """torch.compile, called from Python as its users do."""

    def prepare(net, x, **_):
        start = time.perf_counter()

        def launch():
            with torch.no_grad():
                return compiled(x)

        compiled = torch.compile(net, mode=mode)
        for _ in range(3):
            y = launch()
        synchronize()
        return Engine(lambda n: device_ms(launch, n), double(y), time.perf_counter() - start)

    return prepare


def jax_xla(net, x, name, kind, **_):
    """ResNet-50 by hand in JAX, channels last, one jitted function. Timed by the host over twenty calls in a row."""
    if name != "resnet50":
        raise NotImplementedError("only ResNet-50 is written for JAX")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax
    import jax.numpy as jnp
    from jax import lax

    dtype = {"f16": jnp.float16, "bf16": jnp.bfloat16}.get(kind, jnp.float32)
    jax.config.update("jax_default_matmul_precision", "highest" if kind == "f32" else "default")

    def leaf(t, perm=None):
        a = t.detach().float().cpu().numpy()
        return jnp.asarray(a.transpose(perm) if perm else a, dtype)

    def conv(m):
        return leaf(m.weight, (2, 3, 1, 0)), leaf(m.bias), m.stride, m.padding

    def apply(c, x):
        w, b, stride, pad = c
        dims = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, w, stride, [(p, p) for p in pad], dimension_numbers=dims) + b

    stem = conv(net.conv1)
    blocks = []
    for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
        for b in layer:
            short = conv(b.downsample[0]) if b.downsample else None
            blocks.append(([conv(c) for c in (b.conv1, b.conv2, b.conv3)], short))
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
    y = run(value).block_until_ready()
    build = time.perf_counter() - start

    def sample(count):
        run(value).block_until_ready()
        samples = []
        for _ in range(count):
            start = time.perf_counter()
            for _ in range(20):
                last = run(value)
            last.block_until_ready()
            samples.append((time.perf_counter() - start) / 20 * 1e3)
        return samples

    return Engine(sample, jax.device_get(y.astype(jnp.float32)).astype("float64"), build)


PEERS = {
    "torch_graph": torch_graph,
    "torch_compile": torch_compiled("reduce-overhead"),
    "torch_max_autotune": torch_compiled("max-autotune"),
    "jax": jax_xla,
}
# Seconds that preparing one is guessed to take before there was one.
GUESS = {"torch_graph": 5, "torch_compile": 25, "torch_max_autotune": 260, "jax": 15}

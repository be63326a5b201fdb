#!/usr/bin/env python3
"""Builds trained models with Tactician and compares every output with ONNX Runtime's, at two input sizes each; where a model
can be open, also as one plan for all sizes between them.

    cargo xtask models

runs this after fetching models and packages. By hand: check.py --models FOLDER --tactician PROGRAM --table FILE [NAME...]
With --large the models are those that export.py made in the folder, and every output is compared with ONNX Runtime's both
with its optimisations and without. With --run they are those of architectures.py, each run at once, without a build that
measures; so are some of the trained ones, among them those whose sizes depend on data.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime as ort
from PIL import Image, ImageDraw, ImageFont

# Largest relative L2 error against ONNX Runtime, in f32; of large models, whose rounding errors grow over many layers, more.
ALLOWED, ALLOWED_LARGE = 1e-4, 1e-3
# The same of other types.
ALLOWED_SHORT = {"tf32": 2e-2, "f16": 2e-2, "bf16": 1e-1}

# Of quantised models, where a rounding that goes the other way is a step of 8 bits; ONNX Runtime's own optimisations change
# this one's results by 9e-4.
ALLOWED_QUANTISED = {"smart_turn": 5e-3}

LINE = "Hello World 2024"


def text_image(height, width, lines, size):
    """A white page with lines of black text, [1, 3, height, width], values between -1 and 1."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size)
    for i, line in enumerate(lines):
        draw.text((size // 3, size // 4 + int(i * size * 1.6)), line, "black", font)
    pixels = np.asarray(image, np.float32).transpose(2, 0, 1)[None]
    return (pixels / 255 - 0.5) / 0.5


def page(height, width):
    return {"x": text_image(height, width, [LINE, "TensorRT engine builder", "measured, not guessed"], 28)}


def line(width, batch=1):
    return {"x": np.repeat(text_image(48, width, [LINE], 32), batch, 0)}


def noise(name, *shape, scale=1.0):
    return {name: (np.random.default_rng(7).standard_normal(shape) * scale).astype(np.float32)}


RATE = 16000  # Samples a second.


def voice(seconds):
    """A synthesised voice: pulses of changing pitch through four resonances that glide from vowel to vowel, in
    syllables of 0.22 s. Nobody's recording, and a detector of speech takes it for speech."""
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 120 + 25 * np.sin(2 * np.pi * 0.7 * time) + 10 * np.sin(2 * np.pi * 2.3 * time)
    pulses = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0)
    breath = np.random.default_rng(3).standard_normal(time.size) * 0.01
    # Resonances in Hz of a, i, u, e, o for a man's voice: Peterson and Barney, "Control methods used in a study of
    # the vowels", 1952, rounded; the fourth is a usual one.
    vowels = np.array([[730, 1090, 2440, 3400], [270, 2290, 3010, 3600], [300, 870, 2240, 3300],
                       [530, 1840, 2480, 3500], [570, 840, 2410, 3300]], float)
    syllable = time / 0.22
    at, glide = syllable.astype(int), np.clip((syllable % 1 - 0.6) / 0.4, 0, 1)[:, None]
    resonances = vowels[at % 5] * (1 - glide) + vowels[(at + 1) % 5] * glide
    sound, last = np.zeros(time.size), 0.0
    for i, v in enumerate(pulses + breath):
        last = sound[i] = 0.96 * last + v
    for which, width in enumerate([80, 100, 140, 180]):
        radius = np.exp(-np.pi * width / RATE)
        turn = 2 * radius * np.cos(2 * np.pi * resonances[:, which] / RATE)
        one, two = 0.0, 0.0
        for i in range(time.size):
            sound[i] = (1 - turn[i] + radius**2) * sound[i] + turn[i] * one - radius**2 * two
            one, two = sound[i], one
    sound = np.diff(sound, prepend=0) * np.clip(np.sin(np.pi * (syllable % 1)) * 1.6, 0.08, 1)
    return (sound / np.abs(sound).max() * 0.5).astype(np.float32)


def windows(sound, size=512, before=64):
    """Pieces of `size` samples, each behind the last ones before it, [T, before + size]."""
    sound = np.concatenate([np.zeros(before, np.float32), sound])
    return np.stack([sound[i * size:(i + 1) * size + before] for i in range((sound.size - before) // size)])


def states(x, rate=None, **shapes):
    """Sound for a detector with states, all zero as at the start, and the sampling rate where it asks for one."""
    given = {} if rate is None else {"sr": np.array(rate, np.int64)}
    return {"input": x, **given, **{name: np.zeros(shape, np.float32) for name, shape in shapes.items()}}


def halved(sound):
    """Half the sampling rate: means of pairs."""
    return sound[:sound.size // 2 * 2].reshape(-1, 2).mean(1)


def vad(rate=RATE, batch=1, given=True):
    """One window, or several neighbours as a batch, for silero's current detectors."""
    x = windows(voice(1)) if rate == RATE else windows(halved(voice(1)), 256, 32)
    return states(x[8:8 + batch], rate if given else None, state=(2, batch, 128))


# Inputs that decide what the graph is: their values are given when it is built.
VALUES = {"sr"}

# Detectors of speech that hear one window at a time: its samples, how many before it, and which output is which state
# of the next.
STREAMS = {
    "silero_vad": (512, 64, {"stateN": "state"}),
    "silero_vad_16k_op15": (512, 64, {"stateN": "state"}),
    "silero_vad_half": (512, 64, {"stateN": "state"}),
    "silero_vad_op18_ifless": (512, 64, {"stateN": "state"}),
    "silero_vad_openvino_16k": (512, 64, {"stateN": "state"}),
    "oww_silero_vad_v3": (1536, 0, {"hn": "h", "cn": "c"}),
}


def contents(*texts):
    """The first and the last 1024 bytes of each text, white space around it left out, filled up with 256."""
    rows = []
    for text in texts:
        data = text.encode()
        first, last = data.lstrip()[:1024], data.rstrip()[-1024:]
        rows.append([*first, *[256] * (1024 - len(first)), *[256] * (1024 - len(last)), *last])
    return {"bytes": np.array(rows, np.int32)}


PYTHON = open(__file__, encoding="utf-8").read()
# Numbers of kinds of content: `target_labels_space` in magika/models/standard_v3_3/config.min.json.
KINDS = {87: "json", 143: "python"}
JSON = json.dumps([{"name": f"item {i}", "price": i * 3.5, "tags": ["a", "b"]} for i in range(60)], indent=1)

# Model: inputs at each size that it is built for.
CASES = {
    "ppocrv4_det": [page(160, 320), page(224, 256)],
    "ppocrv4_rec": [line(320), line(288, 2)],
    "ppocrv2_cls": [noise("x", 1, 3, 48, 192, scale=0.5), noise("x", 3, 3, 48, 256, scale=0.5)],
    "open_nsfw": [noise("input:0", 1, 224, 224, 3, scale=60), noise("input:0", 2, 224, 224, 3, scale=60)],
    "oww_embedding": [noise("input_1", 1, 76, 32, 1), noise("input_1", 3, 76, 32, 1)],
    "oww_melspectrogram": [noise("input", 1, 1280, scale=1000), noise("input", 1, 16000, scale=1000)],
    "oww_alexa": [noise("onnx::Flatten_0", 1, 16, 96, scale=0.1)],
    "oww_hey_jarvis": [noise("x.1", 1, 16, 96, scale=0.1)],
    "oww_hey_mycroft": [noise("onnx::Flatten_0", 1, 16, 96, scale=0.1)],
    "oww_hey_rhasspy": [noise("onnx::Flatten_0", 1, 16, 96, scale=0.1)],
    "oww_timer": [noise("onnx::Flatten_0", 1, 34, 96, scale=0.1)],
    "oww_weather": [noise("onnx::Flatten_0", 1, 22, 96, scale=0.1)],
    "silero_vad_16k_sequence": [
        states(windows(voice(2)), h=(1, 1, 128), c=(1, 1, 128)),
        states(windows(np.zeros(RATE, np.float32)), h=(1, 1, 128), c=(1, 1, 128)),
    ],
    "silero_vad": [vad(), vad(batch=3), vad(rate=8000)],
    "silero_vad_16k_op15": [vad(), vad(batch=3)],
    "silero_vad_half": [vad(given=False), vad(batch=3, given=False)],
    "silero_vad_op18_ifless": [vad(), vad(batch=3), vad(rate=8000)],
    "silero_vad_openvino_16k": [vad(given=False)],
    "oww_silero_vad_v3": [
        states(windows(voice(1), 1536, 0)[3:4], RATE, h=(2, 1, 64), c=(2, 1, 64)),
        states(windows(halved(voice(1)), 768, 0)[3:5], 8000, h=(2, 2, 64), c=(2, 2, 64)),
    ],
    "magika_v3_3": [contents(PYTHON), contents(JSON, PYTHON)],
}




def grid(size, rows, columns):
    """A page with a table: lines, and a word in each cell."""
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    font, step = ImageFont.load_default(18), (size - 40) // max(rows, columns)
    for i in range(rows + 1):
        draw.line([20, 20 + i * step, 20 + columns * step, 20 + i * step], "black", 2)
    for i in range(columns + 1):
        draw.line([20 + i * step, 20, 20 + i * step, 20 + rows * step], "black", 2)
    for r in range(rows):
        for c in range(columns):
            draw.text((30 + c * step, 20 + r * step + step // 3), f"{r}.{c}", "black", font)
    pixels = np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255
    return (pixels - 0.45) / 0.225


# Models that are run at once. The loops of both table models end when their values say: one decodes a table's structure until
# it has met the end.
RUNS = {
    "basic_pitch": [{"serving_default_input_2:0": voice(3)[None, :43844, None]}],
    "mtcnn_pnet": [noise("input_1", 1, 64, 48, 3), noise("input_1", 1, 33, 90, 3)],
    "mtcnn_rnet": [noise("input_2", 3, 24, 24, 3)],
    "mtcnn_onet": [noise("input_3", 2, 48, 48, 3)],
    "nudenet": [{"images": page(320, 320)["x"] / 2 + 0.5}],
    "picodet_layout": [{"image": page(800, 608)["x"]}],
    "pplcnet_orientation": [{"x": np.repeat(text_image(224, 224, [LINE] * 4, 24), 2, 0)}],
    "ppocrv6_det": [page(160, 320), page(224, 256)],
    "ppocrv6_rec": [line(320), line(288, 2)],
    "slanet": [{"x": grid(488, 3, 2)}, {"x": grid(488, 2, 4)}],
    "slanet_plus": [{"x": grid(488, 3, 2)}, {"x": grid(488, 2, 4)}],
    "smart_turn": [noise("input_features", 1, 80, 800), noise("input_features", 2, 80, 800)],
}

# Those of which no plan is built: their loops have hundreds of steps, or end by themselves.
STEPWISE = {"slanet", "slanet_plus"}

# What the photos that efficientnet_lite0 is given show, as numbers of ImageNet's classes.
CLASSES = {285: "Egyptian cat", 967: "espresso", 657: "missile"}


def large_cases(path):
    """The inputs that export.py put beside a model, `SET/INPUT` each."""
    sets = {}
    for key, value in np.load(path.removesuffix(".onnx") + ".npz").items():
        which, name = key.split("/", 1)
        sets.setdefault(which, {})[name] = value
    return list(sets.values())


def file_name(name):
    return re.sub(r"[/:]", "_", name)


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr.strip()}")
    return done.stdout


def given(inputs):
    """Options that tell the program about inputs."""
    return [f"--value={k}={','.join(map(str, v.ravel()))}" if k in VALUES else
            f"--shape={k}={'x'.join(map(str, v.shape))}" for k, v in inputs.items()]


class Plan:
    """A model built for the sizes of some inputs, in a folder of its own; `options` are the program's."""

    def __init__(self, program, model, table, inputs, options=("--device", "cpu")):
        self.program = program
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "m.plan")
        run([program, "build", model, *given(inputs), *options, "--table", table, "-o", self.path])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.folder.cleanup()

    def save(self, inputs):
        """Saves inputs; gives the options that name their files."""
        options = []
        for name, value in inputs.items():
            if name not in VALUES:
                path = os.path.join(self.folder.name, file_name(name) + ".npy")
                np.save(path, value)
                options += ["--input", f"{name}={path}"]
        return options

    def run(self, inputs, names):
        """The outputs of these names."""
        out = os.path.join(self.folder.name, "out")
        run([self.program, "run", self.path, *self.save(inputs), "--output-dir", out])
        return [np.load(os.path.join(out, file_name(n) + ".npy")) for n in names]


def read(session, scores):
    """The text in the recogniser's scores: the best class a column, repeats and blanks (class 0) dropped."""
    letters = session.get_modelmeta().custom_metadata_map["character"].splitlines() + [" "]
    best = scores.argmax(-1)
    kept = [c for i, c in enumerate(best) if c and (i == 0 or c != best[i - 1])]
    return "".join(letters[c - 1] for c in kept).strip()


def meaning(name, session, inputs, outputs):
    """What the model says, in words; fails when that is wrong."""
    if name in ("ppocrv4_rec", "ppocrv6_rec"):
        said = read(session, outputs[0][0])
        if said != LINE:
            raise RuntimeError(f"it reads `{said}` where the image says `{LINE}`")
        return f", reads `{said}`"
    if name == "silero_vad_16k_sequence":
        heard, speech = float(np.median(outputs[0])), bool(inputs["input"].any())
        if (heard > 0.5) != speech:
            raise RuntimeError(f"it hears speech with probability {heard:.2f} in {'a voice' if speech else 'silence'}")
        return f", hears {'speech' if speech else 'none'} ({heard:.2f})"
    if name == "magika_v3_3":
        said = [KINDS.get(int(k), f"kind {k}") for k in outputs[0].argmax(-1)]
        if said != (["python"] if len(said) == 1 else ["json", "python"]):
            raise RuntimeError(f"it takes JSON and Python, or Python alone, for {said}")
        return f", says {' and '.join(said)}"
    if name == "efficientnet_lite0":
        said = [CLASSES.get(int(k), f"class {k}") for k in outputs[0].argmax(-1)]
        if said != list(CLASSES.values())[:len(said)]:
            raise RuntimeError(f"it sees {said} in photos of a cat, a cup of coffee and a rocket")
        return f", sees {', '.join(said)}"
    if name == "all_minilm_l6_v2" and len(outputs[0]) > 1:
        mask = inputs["attention_mask"][..., None]
        meant = (outputs[0] * mask).sum(1) / mask.sum(1)
        meant /= np.linalg.norm(meant, axis=1, keepdims=True)
        alike = meant @ meant.T
        others = np.triu(alike, 1)
        others[0, 1] = -1
        if alike[0, 1] < others.max() + 0.1:
            raise RuntimeError(f"two sentences about cats are not the most alike: {alike.round(2).tolist()}")
        return f", two sentences about cats are the most alike ({alike[0, 1]:.2f})"
    return ""


def worst_error(names, got, want, least=1e-30):
    """The largest L2 error of any output, relative to the norm of what it should be, or to `least` where that is more."""
    worst = 0.0
    for name, value, right in zip(names, got, want, strict=True):
        if value.shape != right.shape or value.dtype != right.dtype:
            raise RuntimeError(f"output {name} is {value.dtype}{value.shape}, expected {right.dtype}{right.shape}")
        norm = max(float(np.linalg.norm(right.astype(np.float64))), least)
        worst = max(worst, float(np.linalg.norm(value.astype(np.float64) - right)) / norm)
    return worst


def listen(name, session, plan, inputs, names):
    """Lets a detector hear a voice and then silence, window by window, its states carried on; fails when it is wrong."""
    size, before, carried = STREAMS[name]
    said, worst = [], 0.0
    for sound, speech in [(voice(1), True), (np.zeros(RATE // 2, np.float32), False)]:
        heard = []
        for x in windows(sound, size, before):
            inputs = {**inputs, "input": x[None]}
            got = plan.run(inputs, names)
            # Of probabilities near 0 ONNX Runtime's own have few digits: they are compared with 1.
            worst = max(worst, worst_error(names, got, session.run(None, inputs), least=1.0))
            by_name = dict(zip(names, got))
            inputs.update({state: by_name[output] for output, state in carried.items()})
            heard.append(by_name["output"].item())
        likely = float(np.median(heard))
        if (likely > 0.5) != speech:
            raise RuntimeError(f"it hears speech with probability {likely:.2f} in {'a voice' if speech else 'silence'}")
        said.append(f"{likely:.2f} in {'a voice' if speech else 'silence'}")
    return worst, f", hears speech with probability {' and '.join(said)}"


def ort_session(path, optimised=True, threads=0):
    options = ort.SessionOptions()
    options.log_severity_level = 3  # Errors alone.
    options.intra_op_num_threads = threads
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def profile(sets):
    """Of every input that has several shapes the least, the first and the largest, as the program takes them; nothing where shapes
    are alike, ranks differ, or an input is given its value."""
    shapes = {}
    for inputs in sets:
        for name, value in inputs.items():
            shapes.setdefault(name, []).append(value.shape)
    if any(n in VALUES for n in shapes) or any(len({len(s) for s in of}) > 1 for of in shapes.values()):
        return {}
    text = lambda s: "x".join(map(str, s))  # noqa: E731
    ranges = {n: (tuple(map(min, zip(*of))), of[0], tuple(map(max, zip(*of)))) for n, of in shapes.items()}
    open_ = {n: r for n, r in ranges.items() if len(set(r)) > 1}
    return {n: f"{n}={':'.join(map(text, r))}" for n, r in open_.items()}


def check_profile(name, path, a, sets, session, names, options, allowed):
    """Builds one plan for the shapes of all inputs and runs it on each."""
    ranges = profile(sets)
    if not ranges:
        return
    fixed = given({k: v for k, v in sets[0].items() if k not in ranges})
    text, start, worst = ",".join(ranges.values()), time.perf_counter(), 0.0
    with Plan(a.tactician, path, a.table, {}, [*options, f"--profile={text}", *fixed]) as plan:
        for inputs in sets:
            worst = max(worst, worst_error(names, plan.run(inputs, names), session.run(None, inputs)))
    if not worst <= allowed:
        raise RuntimeError(f"one plan for all sizes: relative L2 error {worst:.2e}, allowed {allowed:.0e}")
    print(f"{name} one plan, {text}: relative L2 error {worst:.1e} ({time.perf_counter() - start:.1f} s)", flush=True)


def in_order(got, want):
    """Detections, a row of every output each: those of nearly equal scores may change places with a neighbour."""
    def table(arrays):
        return np.concatenate([a.reshape(len(a), -1).astype(np.float64) for a in arrays], 1)

    if any(g.shape != w.shape or not g.ndim or len(g) != len(want[0]) for g, w in zip(got, want)) or not len(want[0]):
        return got
    rows, right = table(got), table(want)
    order, free = [], set(range(len(rows)))
    for i, row in enumerate(right):
        near = [j for j in range(max(i - 2, 0), i + 3) if j in free] or [min(free)]
        order.append(min(near, key=lambda j: (np.linalg.norm(rows[j] - row), abs(i - j))))
        free.remove(order[-1])
    return [g[order] for g in got]


def check_run(name, path, a, sets):
    """Runs a model at once for each of its inputs and compares; the largest errors."""
    session, errors = ort_session(path, optimised=False), []
    names = [o.name for o in session.get_outputs()]
    for inputs in sets:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            options = []
            for i, (key, value) in enumerate(inputs.items()):
                np.save(os.path.join(folder, f"{i}.npy"), value)
                options += ["--input", f"{key}={folder}/{i}.npy"]
            run([a.tactician, "run", path, *options, "--output-dir", folder + "/out", "--device", a.device])
            got = [np.load(os.path.join(folder, "out", file_name(n) + ".npy")) for n in names]
        want = session.run(None, inputs)
        if a.run:
            got = in_order(got, want)
        worst = worst_error(names, got, want)
        errors.append(worst)
        shapes = ", ".join(f"{k} {list(v.shape)}" for k, v in inputs.items())
        allowed = ALLOWED_QUANTISED.get(name, ALLOWED)
        if not worst <= allowed:
            raise RuntimeError(f"{shapes}: relative L2 error {worst:.2e}, allowed {allowed:.0e}")
        said, took = meaning(name, session, inputs, got), time.perf_counter() - start
        print(f"{name} {shapes}: run at once, relative L2 error {worst:.1e}{said} ({took:.1f} s)", flush=True)
    return errors


def check(name, path, a):
    """Builds a model for all its inputs and compares; the largest errors."""
    program, table, large, errors = a.tactician, a.table, a.large, []
    session = ort_session(path)
    # What ONNX Runtime's own optimisations change is part of what an error can be told from.
    plain = ort_session(path, optimised=False) if large else None
    names = [o.name for o in session.get_outputs()]
    allowed = ALLOWED_SHORT.get(a.precision, ALLOWED_LARGE if large else ALLOWED)
    options = ["--device", a.device, "--precision", a.precision]
    if a.run or name in RUNS:
        return check_run(name, path, a, large_cases(path) if a.run else RUNS[name])
    sets = large_cases(path) if large else CASES[name]
    for i, inputs in enumerate(sets):
        start = time.perf_counter()
        # What is measured and chosen is the first size's; others are fused without measuring every way, which is quicker.
        with Plan(program, path, table, inputs, [*options, *(["--fusion", "greedy"] if i else [])]) as plan:
            got = plan.run(inputs, names)
            want = session.run(None, inputs)
            worst, against = worst_error(names, got, want), ""
            if plain:
                unoptimised = plain.run(None, inputs)
                other, own = worst_error(names, got, unoptimised), worst_error(names, want, unoptimised)
                against = f" ({worst:.1e} with optimisations, {other:.1e} without, which differ by {own:.1e})"
                worst = max(worst, other)
            said = meaning(name, session, inputs, got)
            if name in STREAMS and i == 0:
                streamed, said = listen(name, session, plan, inputs, names)
                worst = max(worst, streamed)
        shapes = ", ".join(f"{k} {v if k in VALUES else list(v.shape)}" for k, v in inputs.items())
        errors.append(worst)
        if not worst <= allowed:
            raise RuntimeError(f"{shapes}: relative L2 error {worst:.2e}{against}, allowed {allowed:.0e}")
        took = time.perf_counter() - start
        print(f"{name} {shapes}: relative L2 error {worst:.1e}{against}{said} ({took:.1f} s)", flush=True)
    check_profile(name, path, a, sets, session, names, options, allowed)
    return errors


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", required=True)
    p.add_argument("--tactician", required=True)
    p.add_argument("--table", required=True)
    p.add_argument("--large", action="store_true")
    p.add_argument("--run", action="store_true")
    p.add_argument("--device", default="cpu", help="of Tactician; ONNX Runtime computes on the CPU")
    p.add_argument("--precision", default="f32", choices=["f32", *ALLOWED_SHORT])
    p.add_argument("--json", help="keep the errors of every model in this file")
    p.add_argument("names", nargs="*")
    a = p.parse_args()
    passed, failed, kept = 0, 0, {}
    exported = sorted(f.removesuffix(".npz") for f in os.listdir(a.models) if f.endswith(".npz"))
    for name in a.names or (exported if a.large or a.run else [*CASES, *RUNS]):
        try:
            kept[name] = {"errors": check(name, os.path.join(a.models, name + ".onnx"), a)}
            passed += 1
        except Exception as e:  # Every model is tried, whatever happens to the one before.
            print(f"{name}: {e}", file=sys.stderr, flush=True)
            kept[name] = {"failed": str(e)}
            failed += 1
        if a.json:
            with open(a.json, "w", encoding="utf-8") as f:
                json.dump({"device": a.device, "precision": a.precision, "models": kept}, f, indent=1)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()

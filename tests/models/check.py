#!/usr/bin/env python3
"""Builds trained models with Tactician and compares every output with ONNX Runtime's, at two input sizes each.

    cargo xtask models

runs this after fetching models and packages. By hand: check.py --models FOLDER --tactician PROGRAM --table FILE [NAME...]
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

# Largest relative L2 error against ONNX Runtime, in f32.
ALLOWED = 1e-4

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


def windows(sound):
    """Pieces of 512 samples, each behind the last 64 of the one before, [T, 576]."""
    sound = np.concatenate([np.zeros(64, np.float32), sound])
    return np.stack([sound[i * 512:i * 512 + 576] for i in range((sound.size - 64) // 512)])


def states(x, **shapes):
    return {"input": x, **{name: np.zeros(shape, np.float32) for name, shape in shapes.items()}}


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
    "oww_hey_mycroft": [noise("onnx::Flatten_0", 1, 16, 96, scale=0.1)],
    "oww_hey_rhasspy": [noise("onnx::Flatten_0", 1, 16, 96, scale=0.1)],
    "oww_timer": [noise("onnx::Flatten_0", 1, 34, 96, scale=0.1)],
    "oww_weather": [noise("onnx::Flatten_0", 1, 22, 96, scale=0.1)],
    "silero_vad_16k_sequence": [
        states(windows(voice(2)), h=(1, 1, 128), c=(1, 1, 128)),
        states(windows(np.zeros(RATE, np.float32)), h=(1, 1, 128), c=(1, 1, 128)),
    ],
    "silero_vad_openvino_16k": [states(windows(voice(1))[8:9], state=(2, 1, 128))],
    "magika_v3_3": [contents(PYTHON), contents(JSON, PYTHON)],
}


def file_name(name):
    return re.sub(r"[/:]", "_", name)


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr.strip()}")


def tactician(program, model, table, inputs):
    """The outputs by name."""
    with tempfile.TemporaryDirectory() as folder:
        plan, out = os.path.join(folder, "m.plan"), os.path.join(folder, "out")
        shapes = [f"--shape={k}={'x'.join(map(str, v.shape))}" for k, v in inputs.items()]
        run([program, "build", model, *shapes, "--table", table, "-o", plan])
        given = []
        for name, value in inputs.items():
            path = os.path.join(folder, file_name(name) + ".npy")
            np.save(path, value)
            given += ["--input", f"{name}={path}"]
        run([program, "run", plan, *given, "--output-dir", out])
        return {f: np.load(os.path.join(out, f)) for f in os.listdir(out)}


def read(session, scores):
    """The text in the recogniser's scores: the best class a column, repeats and blanks (class 0) dropped."""
    letters = session.get_modelmeta().custom_metadata_map["character"].splitlines() + [" "]
    best = scores.argmax(-1)
    kept = [c for i, c in enumerate(best) if c and (i == 0 or c != best[i - 1])]
    return "".join(letters[c - 1] for c in kept).strip()


def meaning(name, session, inputs, outputs):
    """What the model says, in words; fails when that is wrong."""
    if name == "ppocrv4_rec":
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
    return ""


def check(name, path, program, table):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    for inputs in CASES[name]:
        start = time.perf_counter()
        got = tactician(program, path, table, inputs)
        worst = 0.0
        for output, want in zip(session.get_outputs(), session.run(None, inputs)):
            value = got[file_name(output.name) + ".npy"]
            if value.shape != want.shape or value.dtype != want.dtype:
                raise RuntimeError(f"output {output.name} is {value.dtype}{value.shape}, expected {want.dtype}{want.shape}")
            norm = max(float(np.linalg.norm(want.astype(np.float64))), 1e-30)
            worst = max(worst, float(np.linalg.norm(value.astype(np.float64) - want)) / norm)
        shapes = ", ".join(f"{k} {list(v.shape)}" for k, v in inputs.items())
        if not worst <= ALLOWED:
            raise RuntimeError(f"{shapes}: relative L2 error {worst:.2e}, allowed {ALLOWED:.0e}")
        said = meaning(name, session, inputs, [got[file_name(o.name) + ".npy"] for o in session.get_outputs()])
        print(f"{name} {shapes}: relative L2 error {worst:.1e}{said} ({time.perf_counter() - start:.1f} s)", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", required=True)
    p.add_argument("--tactician", required=True)
    p.add_argument("--table", required=True)
    p.add_argument("names", nargs="*")
    a = p.parse_args()
    passed, failed = 0, 0
    for name in a.names or CASES:
        try:
            check(name, os.path.join(a.models, name + ".onnx"), a.tactician, a.table)
            passed += 1
        except Exception as e:  # Every model is tried, whatever happens to the one before.
            print(f"{name}: {e}", file=sys.stderr, flush=True)
            failed += 1
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()

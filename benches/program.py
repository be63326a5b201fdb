"""The program `tactician`, driven from Python: build, run, bench."""
import concurrent.futures
import json
import os
import subprocess
import time


class Failed(Exception):
    """The program's own words."""


class Program:
    """The program, the device that it builds for, and the table that all its builds share."""

    def __init__(self, path, device, table, clock):
        self.path, self.device, self.table, self.clock = os.path.abspath(path), device, table, clock

    def call(self, *args):
        """Runs it and reads its JSON. It is ended a little after the time that is left."""
        limit = None if self.clock.limit is None else max(5.0, self.clock.left() + 20)
        try:
            done = subprocess.run([self.path, *map(str, args), "--json"], capture_output=True, text=True, timeout=limit)
        except subprocess.TimeoutExpired:
            raise Failed(f"{args[0]}: no time left") from None
        if done.returncode:
            raise Failed(f"{' '.join(map(str, args))}: {done.stderr[-1500:]}")
        return json.loads(done.stdout)

    def build(self, model, plan, precision, workspace, shape=None, options=()):
        """Figures of the build, and its seconds on the wall."""
        args = ["build", model, "--device", self.device, "--precision", precision, "--table", self.table]
        args += ["--workspace", workspace, "-o", plan]
        args += [f"--shape={shape}"] if shape else []
        args += options
        start = time.monotonic()
        figures = self.call(*args)
        figures["build_s"] = time.monotonic() - start
        return figures

    def builds(self, model, plans, precision, shape=None, options=()):
        """Plans for several workspaces (`plans`: workspace to path). The largest is built first and measures what the
        table lacks; the others find everything there, so they are built side by side, unless each is measured as a whole
        (`--refine`). Yields workspace and figures, or what failed."""
        order = sorted(plans, key=bytes_of, reverse=True)
        first, rest = order[0], order[1:]

        def build(workspace, more=()):
            return self.build(model, plans[workspace], precision, workspace, shape, [*options, *more])

        yield first, build(first)
        refine = "--refine" in options
        with concurrent.futures.ThreadPoolExecutor(max_workers=1 if refine else 3) as pool:
            jobs = {w: pool.submit(build, w, () if refine else ("--frozen",)) for w in rest}
            for w, job in jobs.items():
                try:
                    yield w, job.result()
                except Failed as e:
                    yield w, e

    def run(self, plan, inputs, folder):
        """Runs it on .npy files (name to path) and returns the paths of the outputs."""
        given = [f"--input={name}={path}" for name, path in inputs.items()]
        return [o["file"] for o in self.call("run", plan, *given, "--output-dir", folder)]

    def bench(self, plans, seconds, steps=0):
        """Reports of several plans that take turns."""
        got = self.call("bench", *plans, "--seconds", seconds, "--steps", steps)
        return got if isinstance(got, list) else [got]


def bytes_of(size):
    """`16MiB` in bytes."""
    for unit, factor in (("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)):
        if str(size).endswith(unit):
            return int(float(size[: -len(unit)]) * factor)
    return int(size)


def gpu_facts():
    """Name, driver and clock of the first GPU, as the driver's own tool tells them."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.max.sm", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30)
        name, driver, clock = [p.strip() for p in done.stdout.splitlines()[0].split(",")]
        return {"gpu": name, "driver": driver, "sm_clock": clock}
    except (OSError, IndexError, ValueError, subprocess.TimeoutExpired):
        return {}


def libraries(program):
    """Versions of the libraries that the program finds, without those that it does not."""
    try:
        found = [d for d in program.call("devices") if d["kind"] == "library"]
        return {d["name"]: d["facts"]["version"] for d in found if "version" in d["facts"]}
    except Failed:
        return {}

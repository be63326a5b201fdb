#!/usr/bin/env python3
"""Keeps what `cargo bench --bench tactics` measured: one JSON file of criterion's folder of many.

    criterion.py target/criterion --machine OUT/peers.json --out benches/results/gpu-tactics.json

Rows are tactics of one convolution each: median of the device time of a run in microseconds with criterion's interval of
95 % around it, and the workspace that the tactic takes. `--machine` names a file whose last machine is the one of the run; a
row that is measured again takes the place of the old one.
"""
import argparse
import json
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from record import load  # noqa: E402
from program import bytes_of  # noqa: E402

ABOUT = (
    "Tactics of single convolutions, each with the changes of layout that it asks for, by `cargo bench --bench tactics`: the "
    "fastest of every family, and whatever is fastest within some workspace. us is criterion's median of the device time "
    "of a run, low_us and high_us its interval of 95 %."
)
GROUP = re.compile(r"(?P<device>\S+) (?P<type>\S+) (?P<problem>.+)")
FUNCTION = re.compile(r"(?P<tactic>\S+) \((?P<workspace>[^)]+)\)")


def rows(folder):
    """What a folder of criterion's holds, by problem and time."""
    found = []
    for at, _, files in os.walk(folder):
        if os.path.basename(at) != "new" or not {"benchmark.json", "estimates.json"} <= set(files):
            continue
        names, median = load(os.path.join(at, "benchmark.json")), load(os.path.join(at, "estimates.json"))["median"]
        group, function = GROUP.fullmatch(names["group_id"]), FUNCTION.fullmatch(names["function_id"] or "")
        if not group or not function:
            continue
        between = median["confidence_interval"]
        found.append({
            **group.groupdict(),
            "tactic": function["tactic"],
            "workspace": bytes_of(function["workspace"].replace(" ", "")),
            "us": median["point_estimate"] / 1e3,
            "low_us": between["lower_bound"] / 1e3,
            "high_us": between["upper_bound"] / 1e3,
        })
    return sorted(found, key=lambda r: (r["device"], r["type"], r["problem"], r["us"]))


def merge(data, machine, new):
    """Rows of an earlier file and new ones, which take the place of equal ones of the same machine."""
    machines = list(data.get("machines", []))
    if machine not in machines:
        machines.append(machine)
    number = machines.index(machine)
    new = [{**r, "machine": number} for r in new]
    key = lambda r: (r["machine"], r["device"], r["type"], r["problem"])  # noqa: E731
    fresh = {key(r) for r in new}
    old = [r for r in data.get("rows", []) if key(r) not in fresh]
    return {"about": ABOUT, "machines": machines, "rows": old + new}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("--machine", required=True, help="a file of results of the same run")
    p.add_argument("--out", required=True)
    a = p.parse_args()
    found = rows(a.folder)
    if not found:
        sys.exit(f"{a.folder} holds no results of the bench `tactics`")
    data = merge(load(a.out) if os.path.exists(a.out) else {}, load(a.machine)["machines"][-1], found)
    with open(a.out, "w") as f:
        json.dump(data, f, indent=1)
        f.write("\n")
    print(f"{a.out}: {len(found)} of {len(data['rows'])} rows are new")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Keeps how many cases of the ONNX standard's test suite pass, for the documents.

    suite.py CASES --source ONNX          writes benches/results/onnx-suite.json
    suite.py CASES --source ONNX --check  fails when that says something else

CASES is what `cargo xtask onnx --json` writes, ONNX the package that the suite is from. `cargo xtask onnx [--record]` runs both.
"""
import argparse
import datetime
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from record import load  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.path.join(ROOT, "benches", "results", "onnx-suite.json")


def kept(cases, source):
    """What is kept of a run: no names of cases, which the list of unsupported ones has."""
    return {"source": source, "device": cases["device"], "counts": cases["counts"], "unsupported": cases["unsupported"]}


def differences(old, new):
    """Where a record differs from a run, in words; its date is none of its own."""
    found = []
    for part in ("source", "device"):
        if old.get(part) != new[part]:
            found.append(f"{part}: {old.get(part)} is recorded, it is {new[part]}")
    for part in ("counts", "unsupported"):
        before, now = old.get(part, {}), new[part]
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                found.append(f"{name}: {before.get(name, 0)} is recorded, it is {now.get(name, 0)}")
    return found


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("cases")
    p.add_argument("--source", required=True)
    p.add_argument("--check", action="store_true")
    a = p.parse_args()
    new = kept(load(a.cases), a.source)
    if a.check:
        found = differences(load(RESULTS) if os.path.exists(RESULTS) else {}, new)
        for line in found:
            print(f"benches/results/onnx-suite.json: {line}; `cargo xtask onnx --record` writes it", file=sys.stderr)
        sys.exit(bool(found))
    with open(RESULTS, "w") as f:
        json.dump({"date": datetime.date.today().isoformat(), **new}, f, indent=1)
        f.write("\n")
    print("benches/results/onnx-suite.json: written; benches/report.py writes it into the documents")


if __name__ == "__main__":
    main()

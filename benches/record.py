"""Measurements that are kept: JSON files that grow row by row, and the time that is left.

A row is one engine at one configuration; `KEY` tells rows apart. Files are merged row by row: a row with a time takes the
place of one without, a later one that of an earlier one.
"""
import json
import os
import time

KEY = ("network", "type", "batch", "engine", "workspace")


def key(row):
    return tuple(row.get(k) for k in KEY)


class Record:
    """Rows and the machines that they were measured on, in one or several equal files."""

    def __init__(self, paths=(), about=None):
        self.paths = list(paths)
        self.data = {"about": about or "", "machines": [], "rows": []}
        for path in self.paths:
            if os.path.exists(path):
                self.merge(load(path))
        if about:
            self.data["about"] = about

    @property
    def rows(self):
        return self.data["rows"]

    def machine(self, facts):
        """The number of a machine, which is added if it is new."""
        if facts not in self.data["machines"]:
            self.data["machines"].append(facts)
        return self.data["machines"].index(facts)

    def find(self, row):
        return next((r for r in self.rows if key(r) == key(row)), None)

    def has(self, **row):
        """Whether there is a time already."""
        return "ms" in (self.find(row) or {})

    def put(self, row):
        """Adds or replaces a row, and saves. A failure does not take the place of a time."""
        old = self.find(row)
        if old is None:
            self.rows.append(row)
        elif "ms" in row or "ms" not in old:
            self.rows[self.rows.index(old)] = row
        self.save()

    def merge(self, other):
        """Takes over what another record has."""
        numbers = [self.machine(m) for m in other["machines"]]
        for row in other["rows"]:
            row = dict(row)
            if row.get("machine") is not None:
                row["machine"] = numbers[row["machine"]]
            old = self.find(row)
            if old is None:
                self.rows.append(row)
            elif "ms" in row or "ms" not in old:
                self.rows[self.rows.index(old)] = row
        self.data["about"] = self.data["about"] or other.get("about", "")

    def save(self):
        for path in self.paths:
            folder = os.path.dirname(os.path.abspath(path))
            os.makedirs(folder, exist_ok=True)
            with open(path + ".part", "w") as f:
                json.dump(self.data, f, indent=1)
                f.write("\n")
            os.replace(path + ".part", path)


def load(path):
    with open(path) as f:
        return json.load(f)


class Clock:
    """The seconds that are left, and how long the work so far took."""

    def __init__(self, limit=None):
        self.start = time.monotonic()
        self.limit = limit
        self.longest = {}

    def left(self):
        return float("inf") if self.limit is None else self.limit - (time.monotonic() - self.start)

    def enough(self, kind, guess):
        """Whether there is time for work of a kind: as long as the longest so far, or `guess`."""
        return self.left() > self.longest.get(kind, guess)

    def took(self, kind, seconds):
        self.longest[kind] = max(seconds, self.longest.get(kind, 0))


def median(values):
    values = sorted(values)
    n = len(values)
    return (values[(n - 1) // 2] + values[n // 2]) / 2

#!/usr/bin/env python3
"""Tests of the benchmarks' scripts, without a GPU, a package or the program."""
import json
import os
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import chart  # noqa: E402
import criterion  # noqa: E402
import report  # noqa: E402
import suite  # noqa: E402
from program import bytes_of  # noqa: E402
from record import Clock, Record, load, median  # noqa: E402


def row(batch=1, workspace="0", **more):
    return {"network": "resnet50", "type": "f16", "batch": batch, "engine": "tactician", "workspace": workspace, **more}


class Records(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def test_rows_are_kept_in_every_file_and_found_again(self):
        paths = [self.path("a.json"), self.path("sub/b.json")]
        record = Record(paths, "what it is")
        record.put(row(ms=1.0, machine=record.machine({"gpu": "X"})))
        record.put(row(ms=2.0, machine=record.machine({"gpu": "X"})))
        self.assertEqual(load(paths[0]), load(paths[1]))
        again = Record(paths[1:])
        self.assertTrue(again.has(**row()))
        self.assertFalse(again.has(**row(batch=8)))
        self.assertEqual([r["ms"] for r in again.rows], [2.0])
        self.assertEqual(again.data["about"], "what it is")

    def test_a_failure_does_not_take_the_place_of_a_time(self):
        record = Record([self.path("a.json")])
        record.put(row(error="no"))
        record.put(row(ms=1.0))
        record.put(row(error="no more"))
        self.assertEqual(load(self.path("a.json"))["rows"], [row(ms=1.0)])

    def test_merging_renumbers_machines(self):
        one, two = Record([self.path("1.json")]), Record([self.path("2.json")])
        one.put(row(ms=1.0, machine=one.machine({"gpu": "X"})))
        two.machine({"gpu": "Y"})
        two.put(row(ms=3.0, batch=8, machine=two.machine({"gpu": "Z"})))
        two.put(row(ms=4.0, machine=two.machine({"gpu": "X"})))
        one.merge(two.data)
        found = {r["batch"]: (r["ms"], one.data["machines"][r["machine"]]["gpu"]) for r in one.rows}
        self.assertEqual(found, {1: (4.0, "X"), 8: (3.0, "Z")})

    def test_clocks_guess_from_what_was(self):
        clock = Clock(100)
        self.assertTrue(clock.enough("build", 50))
        clock.took("build", 120)
        self.assertFalse(clock.enough("build", 50))
        self.assertTrue(Clock().enough("build", 1e9))

    def test_numbers(self):
        self.assertEqual([bytes_of(s) for s in ("0", "64KiB", "1.5MiB", "1GiB", "7B")], [0, 65536, 3 << 19, 1 << 30, 7])
        self.assertEqual(median([3, 1, 2]), 2)
        self.assertEqual(median([4, 1, 2, 3]), 2.5)


class Criterion(unittest.TestCase):
    def test_a_folder_becomes_rows_and_newer_ones_replace(self):
        with tempfile.TemporaryDirectory() as folder:
            def keep(tactic, us, group="cuda:0 f16 conv 3x3 64->64 at 56"):
                at = os.path.join(folder, group.replace(":", "_"), tactic.replace("/", "_"), "new")
                os.makedirs(at, exist_ok=True)
                with open(os.path.join(at, "benchmark.json"), "w") as f:
                    json.dump({"group_id": group, "function_id": tactic}, f)
                with open(os.path.join(at, "estimates.json"), "w") as f:
                    interval = {"lower_bound": us * 1e3 - 10, "upper_bound": us * 1e3 + 20}
                    json.dump({"median": {"point_estimate": us * 1e3, "confidence_interval": interval}}, f)

            keep("conv.cuda.mma/64x64 (1.5 KiB)", 9.0)
            keep("conv.cudnn/e1 (0 B)", 8.0)
            keep("whatever", 1.0, group="other")
            found = criterion.rows(folder)
            self.assertEqual([(r["tactic"], r["workspace"], r["us"]) for r in found],
                             [("conv.cudnn/e1", 0, 8.0), ("conv.cuda.mma/64x64", 1536, 9.0)])
            self.assertEqual((found[0]["low_us"], found[0]["high_us"]), (7.99, 8.02))
            one = criterion.merge({}, {"gpu": "X"}, found)
            two = criterion.merge(one, {"gpu": "Y"}, found)
            self.assertEqual(len(criterion.merge(two, {"gpu": "X"}, found[:1])["rows"]), 3)
            results = os.path.join(folder, "results")
            os.makedirs(results)
            with open(os.path.join(results, "gpu-tactics.json"), "w") as f:
                json.dump(one, f)
            text = report.Report(results).gpu_tactics()
            self.assertIn("| X | conv 3x3 64->64 at 56 | f16 | `conv.cudnn/e1` | 0 KiB | 8.00 us | 0.02 | 1.00 |", text)
            self.assertIn("|  |  |  | `conv.cuda.mma/64x64` | 2 KiB | 9.00 us | 0.02 | 1.12 |", text)


class Reports(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root, self.results = folder.name, os.path.join(folder.name, "results")
        os.makedirs(os.path.join(self.root, "docs"))

    def keep(self, name, rows):
        record = Record([os.path.join(self.results, name)])
        record.machine({"gpu": "X", "driver": "1"})
        for r in rows:
            record.put({**r, "machine": 0})

    def document(self, text):
        with open(os.path.join(self.root, "docs", "performance.md"), "w") as f:
            f.write(text)

    def read(self, name):
        with open(os.path.join(self.root, "docs", name)) as f:
            return f.read()

    def test_documents_and_charts_follow_the_results(self):
        self.document("a\n<!-- figures: gpu-workspace -->\nold\n<!-- end -->\nz\n")
        self.keep("gpu-workspace.json", [
            row(b, w, ms=b * t, predicted_ms=b * t * 0.9, workspace_used=bytes_of(w))
            for b in (1, 8) for w, t in (("1MiB", 0.9), ("0", 1.0), ("512MiB", 0.75))
        ])
        self.assertEqual(report.update(self.root, self.results, True), ["docs/workspace-gpu.svg", "docs/performance.md"])
        self.assertFalse(os.path.exists(os.path.join(self.root, "docs", "workspace-gpu.svg")))
        report.update(self.root, self.results, False)
        self.assertEqual(report.update(self.root, self.results, True), [])
        text = self.read("performance.md")
        self.assertIn("| ResNet-50 | X | f16 | 8 | 8.000 (7.200) | 7.200 (6.480) | 6.000 (5.400) | 512.0 MiB |", text)
        self.assertTrue(text.startswith("a\n") and text.endswith("<!-- end -->\nz\n") and "old" not in text)
        root = xml.etree.ElementTree.fromstring(self.read("workspace-gpu.svg"))
        words = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
        self.assertIn("batch 8: 6.000 ms", words)
        self.assertIn("70 %", words)

    def test_the_largest_workspace_stands_beside_the_peers(self):
        self.keep("gpu-peers.json", [
            row(1, "0", ms=0.3, relative_l2=1e-3),
            row(1, "512MiB", ms=0.2, relative_l2=1e-3, build_s=9.0, measured=5),
            {**row(1, "512MiB", ms=0.16, relative_l2=3e-3), "engine": "tactician_refined"},
            {**row(1, None, ms=0.5, build_s=3.0), "engine": "torch_compile"},
            {**row(1, None, ms=0.4, relative_l2=2e-3), "engine": "torch_graph"},
            {**row(8, None, error="no memory"), "engine": "torch_graph"},
        ])
        made = report.Report(self.results)
        self.assertIn("| 0.200 ms | 0.160 ms | 0.500 ms | 0.400 ms | 0.40 | 3.0e-03 | 2.0e-03 |", made.gpu_peers())
        self.assertIn("| 9 s (5 tactics measured) | 3 s |", made.gpu_builds())
        self.assertNotIn("| 8 |", made.gpu_peers())
        self.assertIn("X: driver 1", made.gpu_machines())

    def test_steps_that_are_slower_in_the_plan_are_named(self):
        steps = [{"name": f"s{i}", "op": "conv", "tactic": "t", "median_us": 5.0 + i, "predicted_us": 5.0} for i in range(9)]
        self.keep("gpu-peers.json", [row(ms=0.1, profile={"how": "recorded", "sum_us": 81.0, "rounds": 9, "steps": steps})])
        text = report.Report(self.results).gpu_steps()
        self.assertIn("sums to 81.0 us, measured apart they took 45.0 us", text)
        self.assertLess(text.index("s8"), text.index("s7"))
        self.assertNotIn("s3", text)

    def test_nothing_is_said_of_what_was_not_measured(self):
        self.document("<!-- figures: gpu-peers -->\n<!-- end -->\n")
        report.update(self.root, self.results, False)
        self.assertIn("Not measured yet.", self.read("performance.md"))
        self.document("<!-- figures: nonsense -->\n<!-- end -->\n")
        with self.assertRaises(SystemExit):
            report.update(self.root, self.results, True)

    def test_labels_keep_apart(self):
        series = [(f"line {i}", [(1.0, 1.0), (0.9, 0.9)]) for i in range(3)]
        root = xml.etree.ElementTree.fromstring(chart.svg({"A & B": series}, ["0", "1"], "c", "d"))
        at = [float(t.get("y")) for t in root.iter("{http://www.w3.org/2000/svg}text") if t.text.startswith("line")]
        self.assertGreaterEqual(min(b - a for a, b in zip(at, at[1:])), 13.9)



class Suite(unittest.TestCase):
    CASES = {"device": "cpu", "counts": {"node": {"pass": 5, "free": 1, "unsupported": 2}}, "unsupported": {"strings": 2},
             "cases": {"node/test_add": "pass"}}

    def test_what_is_kept_differs_only_where_counts_do(self):
        new = suite.kept(self.CASES, "onnx==1")
        self.assertNotIn("cases", new)
        self.assertEqual(suite.differences({"date": "1999-01-01", **new}, new), [])
        self.assertEqual(len(suite.differences({**new, "source": "onnx==2"}, new)), 1)
        self.assertEqual(len(suite.differences({**new, "counts": {"node": {"pass": 4}}}, new)), 1)
        self.assertEqual(len(suite.differences({**new, "unsupported": {"strings": 2, "trees": 1}}, new)), 1)
        self.assertEqual(len(suite.differences({}, new)), 4)

    def test_the_report_has_a_row_for_a_suite_and_one_for_a_reason(self):
        with tempfile.TemporaryDirectory() as folder:
            record = {"date": "1999-01-01", **suite.kept(self.CASES, "onnx==1")}
            with open(os.path.join(folder, "onnx-suite.json"), "w") as f:
                json.dump(record, f)
            text = report.Report(folder).onnx_suite()
        self.assertIn("| node | CPU, 1999-01-01 | 8 | 5 | 1 | 2 |", text)
        self.assertIn("| strings | 2 |", text)
        self.assertIn("1999-01-01", text)


if __name__ == "__main__":
    unittest.main()

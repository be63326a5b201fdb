"""Draws a CSV of `tactician export` as an SVG: achieved GFLOP/s over arithmetic intensity, one colour a family.

    python3 docs/research/figure.py DATA.csv "CAPTION" > docs/research-figure.svg

Needs nothing but Python. Each dot is the fastest tactic of a family on a problem. The lines are the largest rates that
any dot reaches: of arithmetic (flat) and of memory traffic (rising), measured roofs and no specifications.
"""

import csv
import math
import sys
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 460, 64, 200, 64, 52
COLOURS = ["#0060a8", "#b54a00", "#00785a", "#8a3fa0", "#a3121f", "#6b6b00", "#3a4fd0", "#b0277b"]
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #333 }
.small { font-size: 11px; fill: #666 } .grid { stroke: #ddd } .roof { stroke: #888; stroke-dasharray: 5 4; fill: none }
.dot { opacity: .75 }
@media (prefers-color-scheme: dark) {
text { fill: #ddd } .small { fill: #aaa } .grid { stroke: #3a3a3a } .dot { filter: brightness(1.6) }
}"""


def fastest(rows):
    """(family, problem) to intensity and GFLOP/s of the fastest tactic that was right."""
    best = {}
    for r in rows:
        if r["verdict"] != "timed" or not r["flops"] or int(r["flops"]) == 0 or float(r["median_us"]) <= 0:
            continue
        point = (float(r["intensity"]), int(r["flops"]) / float(r["median_us"]) / 1e3)
        key = (r["family"], r["context"], r["problem"])
        if key not in best or point[1] > best[key][1]:
            best[key] = point
    return best


def families(best, most):
    """The families with most dots, then the rest under one name."""
    counts = {}
    for family, *_ in best:
        counts[family] = counts.get(family, 0) + 1
    order = sorted(counts, key=lambda f: (-counts[f], f))
    return order[:most], {f: ("others" if f in order[most:] else f) for f in counts}


def svg(best, caption):
    names, shown = families(best, len(COLOURS) - 1)
    names += ["others"] if "others" in shown.values() else []
    xs, ys = [p[0] for p in best.values()], [p[1] for p in best.values()]
    x0, x1 = math.floor(math.log10(min(xs))), math.ceil(math.log10(max(xs)))
    y0, y1 = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)))
    x = lambda v: LEFT + (math.log10(v) - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)  # noqa: E731
    y = lambda v: HEIGHT - BOTTOM - (math.log10(v) - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)  # noqa: E731
    title = "Achieved GFLOP/s over arithmetic intensity, the fastest tactic of each family on each problem"
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<text x="{LEFT}" y="22">{escape(title)}</text>',
        f'<text class="small" x="{LEFT}" y="40">{escape(caption)}</text>',
    ]
    for e in range(x0, x1 + 1):
        out.append(f'<path class="grid" d="M{x(10**e):.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        out.append(f'<text class="small" x="{x(10**e):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{10**e:g}</text>')
    for e in range(y0, y1 + 1):
        out.append(f'<path class="grid" d="M{LEFT} {y(10**e):.1f}H{WIDTH - RIGHT}"/>')
        out.append(f'<text class="small" x="{LEFT - 6}" y="{y(10**e) + 4:.1f}" text-anchor="end">{10**e:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    out.append(f'<text class="small" x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">operations a byte (log)</text>')
    out.append(f'<text class="small" x="{LEFT - 50}" y="{TOP - 10}">GFLOP/s (log)</text>')
    peak, rate = max(ys), max(b / a for a, b in best.values())
    ridge = min(max(peak / rate, 10**x0), 10**x1)
    low = max(10**x0, 10**y0 / rate)
    roof = [(low, low * rate), (ridge, ridge * rate), (10**x1, peak)]
    out.append('<path class="roof" d="M' + "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in roof) + '"/>')
    out.append(f'<text class="small" x="{x(ridge) + 6:.1f}" y="{y(peak) - 6:.1f}">{peak:.0f} GFLOP/s, {rate:.0f} GB/s</text>')
    for (family, *_), (a, b) in sorted(best.items()):
        colour = COLOURS[names.index(shown[family])]
        out.append(f'<circle class="dot" cx="{x(a):.1f}" cy="{y(b):.1f}" r="3.5" fill="{colour}"/>')
    for i, name in enumerate(names):
        top = TOP + 10 + 20 * i
        out.append(f'<circle class="dot" cx="{WIDTH - RIGHT + 20}" cy="{top}" r="5" fill="{COLOURS[i]}"/>')
        out.append(f'<text x="{WIDTH - RIGHT + 32}" y="{top + 4}">{escape(name)}</text>')
    return "\n".join([*out, "</svg>", ""])


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], newline="", encoding="utf-8") as file:
        best = fastest(csv.DictReader(file))
    if not best:
        sys.exit(f"{sys.argv[1]} has no timed row with features; build once more with the table, then export it again")
    sys.stdout.write(svg(best, sys.argv[2]))


if __name__ == "__main__":
    main()

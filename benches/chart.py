"""A chart of latency over workspace as SVG: small multiples, readable on light and dark pages, without dependencies."""
import math
from html import escape

WIDTH, HEIGHT, TOP, BOTTOM, LEFT, RIGHT = 430, 300, 64, 44, 48, 142
# Blue, orange and green that differ for colour-blind readers too, darker and lighter by page.
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #333 }
.small { font-size: 11px; fill: #666 } .title { font-size: 14px; font-weight: 600 }
.grid { stroke: #ddd } .axis { stroke: #888 }
.line { fill: none; stroke-width: 2 } .expected { stroke-dasharray: 4 4; stroke-width: 1.5; opacity: .8 }
.s0 { stroke: #0060a8 } .s1 { stroke: #b54a00 } .s2 { stroke: #00785a }
.f0 { fill: #0060a8 } .f1 { fill: #b54a00 } .f2 { fill: #00785a } .k { stroke: #666 }
@media (prefers-color-scheme: dark) {
text { fill: #ddd } .small { fill: #aaa } .grid { stroke: #3a3a3a } .axis { stroke: #888 } .k { stroke: #aaa }
.s0 { stroke: #62b6ff } .s1 { stroke: #ffa057 } .s2 { stroke: #4fd1a5 }
.f0 { fill: #62b6ff } .f1 { fill: #ffa057 } .f2 { fill: #4fd1a5 }
}
"""


def svg(panels, ticks, caption, description):
    """`panels`: title to series; a series is a label and points, one a tick (None where there is none): measured and
    predicted, in any unit. All are drawn relative to the series' first measured value."""
    width = WIDTH * len(panels)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" role="img" aria-label="{escape(description)}">',
        f"<title>{escape(description)}</title><style>{STYLE}</style>",
        f'<text class="small" x="{LEFT}" y="18">{escape(caption)}</text>',
        f'<path class="line k" d="M{LEFT} 32h24"/><text class="small" x="{LEFT + 30}" y="36">measured</text>',
        f'<path class="line expected k" d="M{LEFT + 100} 32h24"/><text class="small" x="{LEFT + 130}" y="36">predicted</text>',
    ]
    values = [v / base(points) for series in panels.values() for _, points in series for p in points if p for v in p]
    step = 0.05 if max(values) - min(values) < 0.5 else 0.1
    low, high = math.floor(min(values) / step) * step, math.ceil(max(values) / step) * step
    for i, (title, series) in enumerate(panels.items()):
        out += panel(i * WIDTH, title, series, ticks, low, high, step)
    return "\n".join([*out, "</svg>", ""])


def base(points):
    return next(p[0] for p in points if p)


def panel(x0, title, series, ticks, low, high, step):
    x = lambda i: x0 + LEFT + i * (WIDTH - LEFT - RIGHT) / max(1, len(ticks) - 1)  # noqa: E731
    y = lambda v: TOP + (high - v) / (high - low) * (HEIGHT - TOP - BOTTOM)  # noqa: E731
    out = [f'<text class="title" x="{x0 + LEFT}" y="{TOP - 10}">{escape(title)}</text>']
    lines = round((high - low) / step)
    every = max(1, -(-lines // 8))
    for i in range(0, lines + 1, every):
        v = low + i * step
        out.append(f'<path class="grid" d="M{x(0):.1f} {y(v):.1f}H{x(len(ticks) - 1):.1f}"/>')
        out.append(f'<text class="small" x="{x(0) - 6:.1f}" y="{y(v) + 4:.1f}" text-anchor="end">{v * 100:.0f} %</text>')
    out.append(f'<path class="axis" d="M{x(0):.1f} {y(low):.1f}H{x(len(ticks) - 1):.1f}"/>')
    for i, t in enumerate(ticks):
        out.append(f'<text class="small" x="{x(i):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{escape(t)}</text>')
    middle = (x(0) + x(len(ticks) - 1)) / 2
    out.append(f'<text class="small" x="{middle:.1f}" y="{HEIGHT - 10}" text-anchor="middle">workspace, MiB</text>')
    labels = []
    for n, (label, points) in enumerate(series):
        color, one = n % 3, base(points)
        for which, name in ((1, "line expected"), (0, "line")):
            at = [(x(i), y(p[which] / one)) for i, p in enumerate(points) if p]
            d = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in at)
            out.append(f'<path class="{name} s{color}" d="{d}"/>')
        out += [f'<circle class="f{color}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in at]
        labels.append([at[-1][1] + 4, color, label])
    # Labels at the ends of the lines, apart from each other.
    labels.sort()
    for before, this in zip(labels, labels[1:]):
        this[0] = max(this[0], before[0] + 14)
    over = labels[-1][0] - (HEIGHT - BOTTOM) if labels else 0
    for at, color, label in labels:
        out.append(f'<text class="f{color}" x="{x(len(ticks) - 1) + 8:.1f}" y="{at - max(0, over):.1f}">{escape(label)}</text>')
    return out

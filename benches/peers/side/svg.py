"""Small plots as SVG text: bars on a logarithmic scale, and lines. Colours and strokes hold on light and on dark pages."""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

COLOURS = ["#2f81f7", "#db6d28", "#3fb950", "#a371f7", "#e5534b", "#9a8700", "#14919b", "#8b949e"]
_STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #57606a }
.title { font-size: 14px; font-weight: 600 }
.grid { stroke: #8b949e; stroke-opacity: .3 }
.axis { stroke: #8b949e }
@media (prefers-color-scheme: dark) { text { fill: #9da7b3 } }
</style>"""


def _document(width: int, height: int, body: list[str], title: str) -> str:
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
            f"<title>{escape(title)}</title>{_STYLE}")
    return "\n".join([head, *body, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def figure(value: float) -> str:
    """A number with a unit's letter, as short as it can be read."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g} {letter}"
    return f"{value:.3g}"


def _decades(low: float, high: float) -> tuple[int, int]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high) - 1e-9)
    return first, max(last, first + 1)


def bars(title: str, unit: str, rows: list[tuple[str, float, int]]) -> str:
    """Horizontal bars, longest value scale in decades; a row is (label, value, colour)."""
    rows = [row for row in rows if row[1] > 0]
    if not rows:
        return _document(720, 60, [_text(10, 24, title, more=' class="title"'), _text(10, 46, "nothing was measured")], title)
    left, width, height = 230, 430, 22
    first, last = _decades(min(row[1] for row in rows) * 0.8, max(row[1] for row in rows))
    span = last - first
    bottom = 48 + height * len(rows)
    body = [_text(10, 22, title, more=' class="title"')]
    for decade in range(first, last + 1):
        x = left + width * (decade - first) / span
        body.append(f'<line class="grid" x1="{x:.1f}" y1="40" x2="{x:.1f}" y2="{bottom}"/>')
        body.append(_text(x, bottom + 16, figure(10.0 ** decade), "middle"))
    for at, (label, value, colour) in enumerate(rows):
        y = 46 + height * at
        length = width * (math.log10(value) - first) / span
        body.append(_text(left - 8, y + 13, label, "end"))
        body.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="16" rx="2" fill="{COLOURS[colour % len(COLOURS)]}"/>')
        body.append(_text(left + length + 6, y + 13, figure(value)))
    body.append(_text(left + width / 2, bottom + 36, f"{unit} (logarithmic)", "middle"))
    return _document(left + width + 70, bottom + 46, body, title)


def lines(title: str, x_name: str, y_name: str, series: list[tuple[str, list[tuple[float, float]], int, bool]], x_log: bool = True,
          y_log: bool = True) -> str:
    """Lines with points; a series is (label, points, colour, dashed)."""
    points = [point for _, row, _, _ in series for point in row if (point[0] > 0 or not x_log) and (point[1] > 0 or not y_log)]
    if not points:
        return _document(720, 60, [_text(10, 24, title, more=' class="title"'), _text(10, 46, "nothing was measured")], title)
    left, top, width, height = 74, 44, 430, 260
    x_of, x_ticks = _scale([p[0] for p in points], x_log, left, width)
    y_of, y_ticks = _scale([p[1] for p in points], y_log, top + height, -height)
    body = [_text(10, 22, title, more=' class="title"')]
    for tick in x_ticks:
        x = x_of(tick)
        body.append(f'<line class="grid" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{top + height}"/>')
        body.append(_text(x, top + height + 18, figure(tick), "middle"))
    for tick in y_ticks:
        y = y_of(tick)
        body.append(f'<line class="grid" x1="{left}" y1="{y:.1f}" x2="{left + width}" y2="{y:.1f}"/>')
        body.append(_text(left - 6, y + 4, figure(tick), "end"))
    body.append(f'<path class="axis" fill="none" d="M{left},{top} V{top + height} H{left + width}"/>')
    body.append(_text(left + width / 2, top + height + 40, x_name, "middle"))
    body.append(_text(16, top + height / 2, y_name, "middle", f' transform="rotate(-90 16 {top + height / 2:.0f})"'))
    for at, (label, row, colour, dashed) in enumerate(series):
        row = [p for p in row if (p[0] > 0 or not x_log) and (p[1] > 0 or not y_log)]
        if not row:
            continue
        paint = COLOURS[colour % len(COLOURS)]
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in row)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        body.append(f'<polyline fill="none" stroke="{paint}" stroke-width="2"{dash} points="{path}"/>')
        body += [f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3" fill="{paint}"/>' for x, y in row]
        y = top + 10 + 20 * at
        body.append(f'<line x1="{left + width + 18}" y1="{y}" x2="{left + width + 42}" y2="{y}" stroke="{paint}" stroke-width="2"{dash}/>')
        body.append(_text(left + width + 48, y + 4, label))
    return _document(left + width + 260, max(top + height + 52, top + 20 * len(series) + 20), body, title)


def _scale(values: list[float], log: bool, start: float, length: float):
    if log:
        first, last = _decades(min(values), max(values))
        return (lambda v: start + length * (math.log10(v) - first) / (last - first)), [10.0 ** d for d in range(first, last + 1)]
    high = max(values) or 1.0
    step = 10.0 ** math.floor(math.log10(high))
    step = next(step * part for part in (0.2, 0.25, 0.5, 1, 2) if high / (step * part) <= 6)
    top = math.ceil(high / step * 0.9999) * step
    return (lambda v: start + length * v / top), [step * n for n in range(int(round(top / step)) + 1)]

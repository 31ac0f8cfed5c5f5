"""Curves of a soak: one line of text each, and a small SVG."""

BARS = " ▁▂▃▄▅▆▇█"
WIDTH, HEIGHT, LEFT, GAP = 640, 90, 60, 34


def text(name, points, columns=80):
    """The largest value of each stretch of time, from 0 up."""
    top = max(y for _, y in points) or 1
    end = points[-1][0] or 1
    peaks = [0.0] * columns
    for x, y in points:
        column = min(columns - 1, int(x / end * columns))
        peaks[column] = max(peaks[column], y)
    return f"{name:12}" + "".join(BARS[round(peak / top * 8)] for peak in peaks) + f" {top:.0f}"


def _panel(title, points, top_at):
    end, top = points[-1][0] or 1, max(y for _, y in points) * 1.05 or 1
    line = " ".join(f"{LEFT + x / end * (WIDTH - LEFT - 10):.1f},{top_at + HEIGHT * (1 - y / top):.1f}" for x, y in points)
    return (f'<text x="{LEFT}" y="{top_at - 6}">{title}: {points[-1][1]:.4g} at the end, at most '
            f'{max(y for _, y in points):.4g}</text>\n'
            f'<path d="M{LEFT},{top_at} V{top_at + HEIGHT} H{WIDTH - 10}" fill="none" stroke="#888"/>\n'
            f'<text x="{LEFT - 6}" y="{top_at + HEIGHT}" text-anchor="end">0</text>\n'
            f'<text x="{LEFT - 6}" y="{top_at + 10}" text-anchor="end">{top:.3g}</text>\n'
            f'<polyline points="{line}" fill="none" stroke="#246" stroke-width="1"/>\n')


def svg(panels):
    """`panels`: title -> points (seconds, value)."""
    height = len(panels) * (HEIGHT + GAP) + 30
    end = max(points[-1][0] for points in panels.values())
    body = "".join(_panel(title, points, GAP + i * (HEIGHT + GAP)) for i, (title, points) in enumerate(panels.items()))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
            f'font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n{body}'
            f'<text x="{WIDTH - 10}" y="{height - 12}" text-anchor="end">{end / 60:.0f} minutes</text>\n</svg>\n')

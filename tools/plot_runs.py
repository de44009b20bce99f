#!/usr/bin/env python3
"""Training runs beside each other: plot_runs.py COLUMN LOG.csv… > picture.svg draws a column of the
tables that brisk's trainers write (brisk/train.h), smoothed, one line for each file, named after it.
"""
import csv
import math
import pathlib
import sys

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 400, 60, 30, 704, 360
COLOURS = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#e377c2"]
SMOOTHING = 0.97
POINTS = 300


def read(path, column):
    points, mean, weight = [], 0.0, 0.0
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            if not row[column]:
                continue
            mean = SMOOTHING * mean + (1 - SMOOTHING) * float(row[column])
            weight = SMOOTHING * weight + 1 - SMOOTHING
            points.append((int(row["step"]), mean / weight))
    return points[:: max(1, len(points) // POINTS)] + points[-1:]


def main():
    column, paths = sys.argv[1], [pathlib.Path(path) for path in sys.argv[2:]]
    runs = {path.stem: read(path, column) for path in paths}
    last = max(points[-1][0] for points in runs.values())
    low = min(y for points in runs.values() for _, y in points)
    high = max(y for points in runs.values() for _, y in points)

    def place(x, y):
        return (LEFT + (RIGHT - LEFT) * x / last,
                BOTTOM - (BOTTOM - TOP) * (y - low) / (high - low))

    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
          'font-family="sans-serif" font-size="12">')
    print('<rect width="100%" height="100%" fill="white"/>')
    print(f'<text x="{LEFT}" y="20" font-size="14">{column} by step</text>')
    for tick in range(math.ceil(low), math.floor(high) + 1):
        y = place(0, tick)[1]
        print(f'<path d="M{LEFT} {y:.1f}H{RIGHT}" stroke="#ddd"/>'
              f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick}</text>')
    print(f'<text x="{RIGHT}" y="{BOTTOM + 18}" text-anchor="end">{last + 1}</text>')
    for i, (name, points) in enumerate(runs.items()):
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        print(f'<polyline points="{line}" fill="none" stroke="{COLOURS[i % len(COLOURS)]}"/>')
        print(f'<text x="{RIGHT - 100}" y="{TOP + 20 + 16 * i}" '
              f'fill="{COLOURS[i % len(COLOURS)]}">{name}</text>')
    print("</svg>")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Fits the polynomials of src/floats.h: minimax, by Remez exchange on a grid, in Python's doubles.

Prints coefficients (highest power first, as Horner's scheme takes them) and the largest weighted error of each. Needs nothing but Python 3.
    python3 kernels/aie/fit.py
"""

from math import cos, erfc, log, pi, sqrt
from struct import pack, unpack


def solve(rows, right):
    """Gaussian elimination with pivoting."""
    n = len(right)
    rows = [row[:] + [value] for row, value in zip(rows, right)]
    for i in range(n):
        pivot = max(range(i, n), key=lambda j: abs(rows[j][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for j in range(i + 1, n):
            factor = rows[j][i] / rows[i][i]
            rows[j] = [x - factor * y for x, y in zip(rows[j], rows[i])]
    answer = [0.0] * n
    for i in reversed(range(n)):
        answer[i] = (rows[i][n] - sum(rows[i][j] * answer[j] for j in range(i + 1, n))) / rows[i][i]
    return answer


def horner(coefficients, x):
    """Lowest power first."""
    value = 0.0
    for c in reversed(coefficients):
        value = value * x + c
    return value


def minimax(function, weight, low, high, degree, points=6000):
    """The polynomial in u, u = -1 … 1 over low … high, with the least of max |weight · (polynomial − function)|."""
    grid = [-cos(pi * i / (points - 1)) for i in range(points)]
    xs = [low + (high - low) * (u + 1) / 2 for u in grid]
    values, weights = [function(x) for x in xs], [max(weight(x), 1e-9) for x in xs]
    nodes = [round((points - 1) * (i + 0.5) / (degree + 2)) for i in range(degree + 2)]
    best = None
    for _ in range(60):
        rows = [[grid[i] ** p for p in range(degree + 1)] + [(-1) ** k / weights[i]] for k, i in enumerate(nodes)]
        coefficients = solve(rows, [values[i] for i in nodes])[:-1]
        errors = [w * (horner(coefficients, u) - v) for u, v, w in zip(grid, values, weights)]
        worst = max(map(abs, errors))
        if best is None or worst < best[0]:
            best = (worst, coefficients)
        # The extremum of each run of one sign; then the best row of neighbours with alternating signs.
        runs = []
        for i, e in enumerate(errors):
            if runs and (errors[runs[-1]] > 0) == (e > 0):
                if abs(e) > abs(errors[runs[-1]]):
                    runs[-1] = i
            else:
                runs.append(i)
        while len(runs) > degree + 2:
            runs.pop(0 if abs(errors[runs[0]]) < abs(errors[runs[-1]]) else -1)
        if len(runs) < degree + 2 or runs == nodes:
            break
        nodes = runs
    return best


def show(name, fit):
    error, coefficients = fit
    print(f"{name}: {error:.3g}")
    print("   ", ", ".join(f"{c:.9e}f" for c in reversed(coefficients)))


def bf16(value):
    """The nearest bf16 number."""
    bits = unpack("<I", pack("<f", value))[0]
    return unpack("<f", pack("<I", (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000))[0]


def with_narrow_top(function, weight, low, high, degree):
    """The same with a highest coefficient that is a bf16 number: the others are fitted to what it leaves."""
    top = bf16(minimax(function, weight, low, high, degree)[1][-1])
    rest = minimax(lambda x: function(x) - top * (2 * (x - low) / (high - low) - 1) ** degree, weight, low, high, degree - 1)
    return rest[0], [*rest[1], top]


def scaled(fit, factor):
    """Coefficients for u / factor."""
    return fit[0], [c * factor**power for power, c in enumerate(fit[1])]


def chance(t):
    """Phi(-t)."""
    return erfc(t / sqrt(2)) / 2


# exp2(f) for |f| <= 1/2, in f; the error is relative. Of the precise one the constant is 1: powers of whole numbers are exact.
slope, rest = with_narrow_top(lambda f: (2.0**f - 1) / f if f else log(2), lambda f: abs(f) * 2.0**-f, -0.5, 0.5, 4)
show("exp2, degree 5, largest relative error", (slope, [1.0, *scaled((slope, rest), 2)[1]]))
show("exp2, degree 3, largest relative error", scaled(with_narrow_top(lambda f: 2.0**f, lambda f: 2.0**-f, -0.5, 0.5, 3), 2))

# The eighth root of Phi(-t), so that gelu(x) = relu(x) - |x| Phi(-|x|), in u = 13 t / 32 - 1; the error is that of t Phi(-t).
top = 64 / 13
root = with_narrow_top(lambda t: chance(t) ** 0.125, lambda t: 8 * t * chance(t) ** 0.875, 0.0, top, 5)
show("root of gelu's tail, degree 5, largest error", root)
print("    beyond:", top * chance(top))

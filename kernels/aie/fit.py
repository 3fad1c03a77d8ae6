#!/usr/bin/env python3
"""Fits the polynomials of src/polynomials.h: minimax, by Remez exchange on a grid, in Python's doubles.

Prints coefficients (highest power first, as Horner's scheme takes them) and the largest weighted error of each. Needs nothing but Python 3.
    python3 kernels/aie/fit.py
"""

from math import cos, erfc, pi, sqrt


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


# exp2(f) for |f| <= 1/2, in u = 2 f; the error is relative.
for degree in (3, 4, 5):
    show(f"exp2, degree {degree}, largest relative error", minimax(lambda f: 2.0**f, lambda f: 2.0**-f, -0.5, 0.5, degree))

# Q(t) = Phi(-t), so that gelu(x) = relu(x) - |x| Q(|x|), in u = 2 t / T - 1; the error is that of t Q(t).
for top in (4.0, 4.5, 5.0, 5.5):
    for degree in (7, 8, 9, 10, 11, 12):
        fit = minimax(lambda t: erfc(t / sqrt(2)) / 2, lambda t: t, 0.0, top, degree)
        show(f"gelu, up to {top}, degree {degree}, largest error", fit)
    print("    beyond:", top * erfc(top / sqrt(2)) / 2)

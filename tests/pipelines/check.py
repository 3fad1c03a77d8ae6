"""Whether results are as promised, and the figures that the table is made of."""

from __future__ import annotations

import re

# Of the words that an example writes without the provider, at most so many per cent may be others with it. f32 rounds as other
# libraries do: every recording's text is the same.
MOST_DIFFERENT = {"f32": 0.0, "bf16": 2.0, "int8": 6.0}
# Among few words one is many per cent: so many may differ all the same, but in f32.
FEW = 2
# What the library counts in a run on the host device.
COUNTERS = ("fused_nodes_executed", "kernel_calls.host")


def check(results):
    """Prints each pipeline's figures and what is wrong with them; gives the number of wrong ones."""
    wrong = 0
    for name in dict.fromkeys(line["pipeline"] for line in results):
        figures = of(results, name)
        for precision, most in MOST_DIFFERENT.items():
            one = figures[precision]
            problems = []
            if precision == "f32" and one["same"] < one["texts"]:
                problems.append("not every text is the same")
            if one["different"] > most and not (most and one["words"] <= FEW):
                problems.append(f"{one['different']:.2f} % of the words differ, {most} % may")
            if not one["grew"]:
                problems.append("the provider's counters did not grow")
            if figures["cpu"]["counted"]:
                problems.append("the provider counted work in the run without it")
            print(f"{name:18} {precision:5} same text {one['same']}/{one['texts']}, words that differ {one['different']:.2f} %, "
                  f"speed {number(one['speed'])}{''.join(f'; WRONG: {problem}' for problem in problems)}")
            wrong += len(problems)
    return wrong


def of(results, name):
    """A pipeline's figures, by precision; `share` is that of its encoder and its decoder."""
    lines = [line for line in results if line["pipeline"] == name]
    texts = [line for line in lines if "text" in line]
    # Others' times are of a machine that did other work.
    timed = [line for line in texts if line["timed"]]
    plain = {line["recording"]: line for line in texts if line["precision"] == "cpu"}
    figures = {"share": next(line["share"] for line in lines if "share" in line), "cpu": {"counted": counted(lines, "cpu") > 0, "errors": errors(plain.values())}}
    for precision in MOST_DIFFERENT:
        mine = {line["recording"]: line for line in texts if line["precision"] == precision}
        both = [(plain[name]["text"], mine[name]["text"]) for name in mine]
        words = [(spoken(one), spoken(other)) for one, other in both]
        figures[precision] = {
            "texts": len(both),
            "same": sum(one == other for one, other in both),
            "words": sum(distance(*pair) for pair in words),
            "different": 100 * sum(distance(*pair) for pair in words) / max(1, sum(len(pair[0]) for pair in words)),
            "grew": counted(lines, precision, least=True) > 0,
            "errors": errors(mine.values()),
            "speed": ratio(timed, precision, "sessions"),
            "whole": ratio(timed, precision, "seconds"),
        }
    return figures


def counted(lines, precision, least=False):
    """What the counters grew by, the most or the least of the runs; a run without the provider has them at 0 from its start."""
    runs = [line["counters"] for line in lines if "counters" in line and line["precision"] == precision]
    grown = [run[name][1] - run[name][0] for run in runs for name in COUNTERS]
    return (min if least else max)(grown, default=0)


def ratio(lines, precision, what):
    """How many times as fast as without the provider: each recording's best turn, added up. Other work only makes a turn longer.
    `None` where nothing was timed."""
    def total(of):
        seconds = {}
        for line in lines:
            if line["precision"] == of:
                seconds.setdefault(line["recording"], []).append(line[what])
        return sum(map(min, seconds.values()))

    return total("cpu") / total(precision) if total(precision) else None


def number(value):
    return "–" if value is None else f"{value:.2f}"


def errors(lines):
    """Word errors in per cent against what is said, where that is known."""
    known = [(spoken(line["said"]), spoken(line["text"])) for line in lines if line["said"]]
    return 100 * sum(distance(*pair) for pair in known) / sum(len(said) for said, _ in known) if known else None


def spoken(text):
    return re.sub(r"[^\w' ]", " ", text.lower()).split()


def distance(one, other):
    """The fewest words to be put in, left out or changed."""
    row = list(range(len(other) + 1))
    for i, word in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, second in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != second))
    return row[-1]

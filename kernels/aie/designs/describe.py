"""What an array design is, in plain Python: the same description as `kernels/src/npu/design.rs` has, from which the array is
built (`dataflow.py`) and its bundle written (`package.py`). Needs nothing but Python; a Rust test compares the two descriptions.

    python3 describe.py --target npu1 --operator linear_int8 --tile 64,64,64
"""

import argparse
import dataclasses
import json

OPERATORS = ("linear_int8", "linear_bf16", "attention_bf16", "attention_int8")
ROWS = 4
HEAD_WIDTH = 64
CONTROL_BYTES = 32
STACK_BYTES = 4096
CORE_MEMORY = 64 * 1024
MEMORY_TILE = 512 * 1024
# Objects wait in pairs everywhere, so that one is filled while the other is used.
DEPTH = 2

COLUMNS = {"npu1": 4, "npu4": 8}
# Shapes of the cores' products, r × s × t.
MICRO_TILES = {
    "npu1": {"int8": (4, 8, 8), "bf16": (4, 8, 4)},
    "npu4": {"int8": (8, 8, 8), "bf16": (4, 8, 8)},
}


class Refused(ValueError):
    """A design that can't be; says why."""


@dataclasses.dataclass(frozen=True)
class Design:
    """A target, an operator, and m × k × n: what one core computes at a time (attention: queries × 64 × keys of a block)."""

    target: str
    operator: str
    m: int
    k: int
    n: int

    def __post_init__(self):
        if self.target not in COLUMNS or self.operator not in OPERATORS:
            raise Refused(f"there is no {self.operator} for {self.target}")
        if min(self.m, self.k, self.n) < 1:
            raise Refused("a side of the tile is 0")
        if not self.linear and self.k != HEAD_WIDTH:
            raise Refused(f"heads are {HEAD_WIDTH} wide")
        for r, s, t in self.micro_tiles:
            if self.m % r or self.k % s or self.n % t or (not self.linear and self.n % s):
                raise Refused(f"{self.name} is not made of whole micro-tiles {r}×{s}×{t}")
        if self.core_memory > CORE_MEMORY:
            raise Refused(f"{self.name} takes {self.core_memory} bytes of a core's {CORE_MEMORY}")
        if self.memory_tile > MEMORY_TILE:
            raise Refused(f"{self.name} takes {self.memory_tile} bytes of a memory tile's {MEMORY_TILE}")

    @property
    def name(self):
        return f"{self.target}-{self.operator}-{self.m}x{self.k}x{self.n}"

    @property
    def linear(self):
        return self.operator.startswith("linear")

    @property
    def precision(self):
        return self.operator.rpartition("_")[2]

    @property
    def columns(self):
        return COLUMNS[self.target]

    @property
    def micro_tiles(self):
        shapes = MICRO_TILES[self.target]
        # Attention's second product has bf16 operands.
        return [shapes[self.precision]] + ([shapes["bf16"]] if self.operator == "attention_int8" else [])

    @property
    def result_micro_tile(self):
        """The micro-tile in whose order a core's results lie."""
        return self.micro_tiles[-1]

    @property
    def a_object(self):
        """Bytes of an object of A: operand, row scales where they are int8, control block."""
        int8 = self.precision == "int8"
        return CONTROL_BYTES + (self.m * self.k + 4 * self.m if int8 else 2 * self.m * self.k)

    @property
    def b_object(self):
        """Bytes of an object of B: weights with scales and bias, or a block's keys or values."""
        if not self.linear:
            return self.n * HEAD_WIDTH * 2
        return self.k * self.n + 8 * self.n if self.precision == "int8" else 2 * self.k * self.n + 4 * self.n

    @property
    def c_width(self):
        """Values in a row of a core's results."""
        return self.n if self.linear else HEAD_WIDTH

    @property
    def c_object(self):
        """Bytes of a core's results."""
        return 2 * self.m * self.c_width

    @property
    def core_state(self):
        """Bytes that a core keeps between objects."""
        if self.linear:
            return 4 * self.m * self.n
        # Sums, scores, probabilities, and four numbers of each row, in whole vectors of 16.
        rows = -(-self.m // 16) * 16
        return 4 * self.m * HEAD_WIDTH + 4 * self.m * self.n + 2 * self.m * self.n + 16 * rows

    @property
    def core_memory(self):
        return STACK_BYTES + self.core_state + DEPTH * (self.a_object + self.b_object + self.c_object)

    @property
    def memory_tile(self):
        a = self.a_object * (1 if self.linear else ROWS)
        return DEPTH * (a + self.b_object + ROWS * self.c_object)

    def a_column(self, index):
        """The column by whose shim A reaches core row (linear) or column (attention) `index`."""
        return index * self.columns // ROWS if self.linear else index

    def channels(self):
        """The shim channels of A, B and C where nothing else was extracted from a compiled array."""

        def channel(column, direction, number):
            return {"column": column, "direction": direction, "channel": number}

        streams = ROWS if self.linear else self.columns
        return {
            "a": [channel(self.a_column(index), "mm2s", 0) for index in range(streams)],
            "b": [channel(column, "mm2s", 1) for column in range(self.columns)],
            "c": [channel(column, "s2mm", 0) for column in range(self.columns)],
        }

    def json(self, channels=None):
        """As `bundle.json` has it."""
        tile = {"m": self.m, "k": self.k, "n": self.n}
        return {"target": self.target, "operator": self.operator, "tile": tile, **(channels or self.channels())}

    def summary(self):
        """The design with the sizes that follow from it."""
        measures = ("a_object", "b_object", "c_object", "core_memory", "memory_tile")
        return {"design": self.json(), **{name: getattr(self, name) for name in measures}}


def add_arguments(parser):
    """The options that name a design."""
    parser.add_argument("--target", required=True, choices=sorted(COLUMNS))
    parser.add_argument("--operator", required=True, choices=OPERATORS)
    parser.add_argument("--tile", required=True, help="m,k,n")


def from_arguments(arguments):
    """The design that the options name."""
    try:
        m, k, n = (int(side) for side in arguments.tile.split(","))
    except ValueError:
        raise Refused(f"--tile is {arguments.tile}; it has to be three numbers, as in 64,64,64") from None
    return Design(arguments.target, arguments.operator, m, k, n)


def main():
    parser = argparse.ArgumentParser(description="describes an array design")
    add_arguments(parser)
    try:
        design = from_arguments(parser.parse_args())
    except Refused as refused:
        parser.exit(1, f"{refused}\n")
    print(json.dumps(design.summary()))


if __name__ == "__main__":
    main()

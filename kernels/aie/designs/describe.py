"""What an array design is, in plain Python: the same description as `kernels/src/npu/design.rs` has, from which the array is
built (`dataflow.py`) and its bundle written (`package.py`). Needs nothing but Python; a Rust test compares the two descriptions.

    python3 describe.py --target npu1 --kernels int8 --tile 48,64,64
"""

import argparse
import dataclasses
import json

KERNELS = ("int8", "bf16")
ROWS = 4
HEAD_WIDTH = 64
# Bytes of AIE2P's widest access, which wants an address that is a multiple of it (mlir-aie's issue 2579). mlir-aie places a core's
# buffers one after another, so all are made of whole ones.
VECTOR_BYTES = 64
CONTROL_BYTES = 64
STACK_BYTES = 6144
# What is left for constants.
CONSTANT_BYTES = 1024
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


def whole(size):
    """Bytes rounded up to whole vectors."""
    return -(-size // VECTOR_BYTES) * VECTOR_BYTES


class Refused(ValueError):
    """A design that can't be; says why."""


@dataclasses.dataclass(frozen=True)
class Design:
    """A target, the number format of its cores' kernels, and m × k × n: what one core computes at a time. Of attention m are queries, k the columns of
    theirs in one object, n the head's width."""

    target: str
    kernels: str
    m: int
    k: int
    n: int

    def __post_init__(self):
        if self.target not in COLUMNS or self.kernels not in KERNELS:
            raise Refused(f"there are no {self.kernels} kernels for {self.target}")
        if min(self.m, self.k, self.n) < 1:
            raise Refused("a side of the tile is 0")
        if self.n != HEAD_WIDTH:
            raise Refused(f"results of attention are as wide as its heads, {HEAD_WIDTH}")
        for r, s, t in self.micro_tiles:
            if self.m % r or self.k % s or self.n % t or not self.block or self.block % s or self.block % t:
                raise Refused(f"{self.name} is not made of whole micro-tiles {r}×{s}×{t}, or its blocks of {self.block} keys are not")
        for size in (STACK_BYTES, self.a_object, self.b_object, self.c_object, self.core_state):
            if size % VECTOR_BYTES:
                raise Refused(f"{self.name} has {size} bytes of something in a core's memory, no multiple of {VECTOR_BYTES}")
        if self.core_memory > CORE_MEMORY:
            raise Refused(f"{self.name} takes {self.core_memory} bytes of a core's {CORE_MEMORY}")
        if self.memory_tile > MEMORY_TILE:
            raise Refused(f"{self.name} takes {self.memory_tile} bytes of a memory tile's {MEMORY_TILE}")

    @property
    def name(self):
        return f"{self.target}-{self.kernels}-{self.m}x{self.k}x{self.n}"

    @property
    def operand_bytes(self):
        return 1 if self.kernels == "int8" else 2

    @property
    def columns(self):
        return COLUMNS[self.target]

    @property
    def micro_tile(self):
        """The shape of the operands' products, in whose order results lie, too."""
        return MICRO_TILES[self.target][self.kernels]

    @property
    def micro_tiles(self):
        # Attention's second product has bf16 operands.
        return [self.micro_tile, MICRO_TILES[self.target]["bf16"]]

    @property
    def block(self):
        """Keys of a block: as many as an object of B holds in bf16."""
        return self.k * self.operand_bytes // 2

    @property
    def a_object(self):
        """Bytes of an object of A: operand, row scales where they are int8, control block."""
        scales = 4 * self.m if self.kernels == "int8" else 0
        return whole(self.m * self.k * self.operand_bytes + scales) + CONTROL_BYTES

    @property
    def b_object(self):
        """Bytes of an object of B: weights with scales and bias, or a block's keys or values."""
        floats = 2 * self.n if self.kernels == "int8" else self.n
        return self.k * self.n * self.operand_bytes + 4 * floats

    @property
    def c_object(self):
        """Bytes of a core's results."""
        return 2 * self.m * self.n

    @property
    def core_state(self):
        """Bytes that a core keeps between objects: sums, scores, probabilities, four numbers of each row in whole vectors of 16, queries with
        their scales and four words; all in whole vectors. A linear layer's sums lie in the same place."""
        rows = -(-self.m // 16) * 16
        scales = 4 * self.m if self.kernels == "int8" else 0
        queries = self.m * HEAD_WIDTH * self.operand_bytes + scales + 16
        return whole(4 * self.m * HEAD_WIDTH + 6 * self.m * self.block + 16 * rows + queries)

    @property
    def core_memory(self):
        objects = self.a_object + self.b_object + self.c_object
        return STACK_BYTES + CONSTANT_BYTES + self.core_state + DEPTH * objects

    @property
    def memory_tile(self):
        return DEPTH * (self.a_object + self.b_object + ROWS * self.c_object)

    def a_column(self, row):
        """The column by whose shim the A of a row of cores comes."""
        return row * self.columns // ROWS

    def channels(self):
        """The shim channels of A, B and C where nothing else was extracted from a compiled array."""

        def channel(column, direction, number):
            return {"column": column, "direction": direction, "channel": number}

        return {
            "a": [channel(self.a_column(row), "mm2s", 0) for row in range(ROWS)],
            "b": [channel(column, "mm2s", 1) for column in range(self.columns)],
            "c": [channel(column, "s2mm", 0) for column in range(self.columns)],
        }

    def objects(self):
        """What the three streams' objects are, as `bundle.json` says it: words, and number formats in their order."""
        r, s, t = self.micro_tile
        _, second_s, second_t = self.micro_tiles[1]
        operand, int8 = self.kernels, self.kernels == "int8"

        def right(numbers, s, t, rows, columns):
            return f"{numbers}[{columns // t}][{rows // s}][{s}][{t}]"

        def scales(count):
            return f" fp32[{count}]" if int8 else ""

        used = self.m * self.k * self.operand_bytes + (4 * self.m if int8 else 0)
        unused = (self.a_object - CONTROL_BYTES - used) // 4
        between = f" unused[{unused}]" if unused else ""
        rows = f"{operand}[{self.m // r}][{self.k // s}][{r}][{s}]{scales(self.m)}{between} control[{CONTROL_BYTES // 4}]"
        b = {
            "keys": right(operand, s, t, HEAD_WIDTH, self.block) + scales(self.block),
            "values": right("bf16", second_s, second_t, self.block, HEAD_WIDTH),
            "weights": right(operand, s, t, self.k, self.n) + scales(self.n) + f" fp32[{self.n}]",
        }
        return {
            "a": {"words": self.a_object // 4, "layouts": {"queries": rows, "rows": rows}},
            "b": {"words": self.b_object // 4, "layouts": b},
            "c": {"words": self.c_object // 4, "layouts": {"results": f"bf16[{self.m // r}][{self.n // t}][{r}][{t}]"}},
        }

    def json(self, channels=None):
        """As `bundle.json` has it."""
        tile = {"m": self.m, "k": self.k, "n": self.n}
        return {"target": self.target, "kernels": self.kernels, "tile": tile, **(channels or self.channels())}

    def summary(self):
        """The design with the sizes that follow from it."""
        measures = ("a_object", "b_object", "c_object", "core_memory", "memory_tile")
        return {"design": self.json(), "objects": self.objects(), **{name: getattr(self, name) for name in measures}}


def add_arguments(parser):
    """The options that name a design."""
    parser.add_argument("--target", required=True, choices=sorted(COLUMNS))
    parser.add_argument("--kernels", required=True, choices=KERNELS)
    parser.add_argument("--tile", required=True, help="m,k,n")


def from_arguments(arguments):
    """The design that the options name."""
    try:
        m, k, n = (int(side) for side in arguments.tile.split(","))
    except ValueError:
        raise Refused(f"--tile is {arguments.tile}; it has to be three numbers, as in 48,64,64") from None
    return Design(arguments.target, arguments.kernels, m, k, n)


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

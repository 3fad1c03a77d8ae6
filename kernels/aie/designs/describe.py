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
# Trial arrays, with the bytes of their objects: of a core's a question or its answer, 64 bytes of control before 4 KB.
TRIALS = {"pass_through": 1024, "core": 64 + 4096}
# Bytes of the transfer from A to C that a pass-through has a stream of aiecc's own for.
MADE_BYTES = 16 * 1024
# Shapes of the cores' products, r × s × t.
MICRO_TILES = {
    "npu1": {"int8": (4, 8, 8), "bf16": (4, 8, 4)},
    "npu4": {"int8": (8, 8, 8), "bf16": (4, 8, 8)},
}


def whole(size):
    """Bytes rounded up to whole vectors."""
    return -(-size // VECTOR_BYTES) * VECTOR_BYTES


def channel(column, direction, number):
    """A shim tile's DMA channel, as bundles have it."""
    return {"column": column, "direction": direction, "channel": number}


class Refused(ValueError):
    """A design that can't be; says why."""


@dataclasses.dataclass(frozen=True)
class Design:
    """A target, the number format of its cores' kernels, and m × k × n: what one core computes at a time. Of attention m are queries, k the columns of
    theirs in one object, n the head's width. With `cores`, (rows, columns), only the first ones of the array: one core, or a column, for a new
    NPU's first steps."""

    target: str
    kernels: str
    m: int
    k: int
    n: int
    cores: tuple = None

    def __post_init__(self):
        if self.target not in COLUMNS or self.kernels not in KERNELS:
            raise Refused(f"there are no {self.kernels} kernels for {self.target}")
        if not (1 <= self.rows <= ROWS and 1 <= self.columns <= COLUMNS[self.target]):
            raise Refused(f"{self.target} has {ROWS} rows and {COLUMNS[self.target]} columns of cores, not {self.rows} and {self.columns}")
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
        whole = (self.rows, self.columns) == (ROWS, COLUMNS[self.target])
        part = "" if whole else f"-{self.rows}x{self.columns}"
        return f"{self.target}-{self.kernels}-{self.m}x{self.k}x{self.n}{part}"

    @property
    def operand_bytes(self):
        return 1 if self.kernels == "int8" else 2

    @property
    def rows(self):
        """Rows of cores."""
        return self.cores[0] if self.cores else ROWS

    @property
    def columns(self):
        """Columns of cores."""
        return self.cores[1] if self.cores else COLUMNS[self.target]

    @property
    def width(self):
        """Columns that the array takes of the NPU: all, since A comes through those of the whole array."""
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
        return DEPTH * (self.a_object + self.b_object + self.rows * self.c_object)

    def a_column(self, row):
        """The column by whose shim the A of a row of cores comes."""
        return row * self.width // ROWS

    def channels(self):
        """The shim channels of A, B and C where nothing else was extracted from a compiled array."""

        return {
            "a": [channel(self.a_column(row), "mm2s", 0) for row in range(self.rows)],
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


@dataclasses.dataclass(frozen=True)
class Trial:
    """An array that computes no layers, in column 0, as `kernels/src/npu/trial.rs` has it: what a new NPU is tried with. `pass_through` gives back what
    comes, A through one channel and B through the other; of `core` a core answers questions (`../src/trial.h`)."""

    target: str
    kind: str

    def __post_init__(self):
        if self.target not in COLUMNS or self.kind not in TRIALS:
            raise Refused(f"there is no trial array {self.kind} for {self.target}")

    @property
    def name(self):
        return f"{self.target}-{self.kind}"

    @property
    def width(self):
        """Columns that the array takes of the NPU."""
        return COLUMNS[self.target]

    @property
    def object(self):
        """Bytes of what it takes, and of what it gives."""
        return TRIALS[self.kind]

    def channels(self):
        """The shim channels of A, B and C where nothing else was extracted from a compiled array."""
        lanes = 2 if self.kind == "pass_through" else 1
        return {
            "a": [channel(0, "mm2s", 0)],
            "b": [channel(0, "mm2s", 1)][: lanes - 1],
            "c": [channel(0, "s2mm", lane) for lane in range(lanes)],
        }

    def json(self, channels=None):
        """As `trial.json` has it."""
        found = channels or self.channels()
        return {"target": self.target, "kind": self.kind, "a": found["a"][0], "b": next(iter(found["b"]), None), "c": found["c"]}

    def summary(self):
        """The trial array with what follows from it."""
        return {"trial": self.json(), "object": self.object, "made_bytes": MADE_BYTES, "name": self.name}


def add_arguments(parser):
    """The options that name a design, or a trial array."""
    parser.add_argument("--target", required=True, choices=sorted(COLUMNS))
    parser.add_argument("--kernels", choices=KERNELS)
    parser.add_argument("--tile", help="m,k,n")
    parser.add_argument("--cores", help="rows,columns: the first cores only; without it all")
    parser.add_argument("--trial", choices=sorted(TRIALS), help="a trial array instead of a design")


def numbers(option, text, count, example):
    """The numbers of an option."""
    try:
        found = tuple(int(number) for number in text.split(","))
        if len(found) == count:
            return found
    except ValueError:
        pass
    raise Refused(f"{option} is {text}; it has to be {count} numbers, as in {example}")


def from_arguments(arguments):
    """The design, or the trial array, that the options name."""
    if arguments.trial:
        return Trial(arguments.target, arguments.trial)
    if not arguments.kernels or not arguments.tile:
        raise Refused("--kernels and --tile are missing, or --trial")
    cores = numbers("--cores", arguments.cores, 2, "1,1") if arguments.cores else None
    return Design(arguments.target, arguments.kernels, *numbers("--tile", arguments.tile, 3, "48,64,64"), cores)


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

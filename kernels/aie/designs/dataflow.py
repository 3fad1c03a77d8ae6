"""Builds an array design with mlir-aie's Python bindings and prints its MLIR, for aiecc to compile.

    python3 dataflow.py --target npu1 --operator linear_int8 --tile 64,64,64 --object linear_int8.o > array.mlir

Which core gets what is said in `docs/npu-streams.md`. There are no run-time parameters: each object of A ends with a control block, which
the cores' code reads, so that they run for ever and one binary serves every shape. The streams named `a_…`, `b_…`, `c_…` begin or
end in shim tiles; instruction streams feed them (`kernels/src/npu/stream`), which is why no runtime sequence stands here.

Written for mlir-aie 1.4.2. It was never compiled where this project is made, since mlir-aie can't be had there: what was checked is
in `test_designs.py`, against a stand-in that records what is built.
"""

import argparse
import sys

import describe
import moves


class Bindings:
    """What is used of mlir-aie and numpy, in one place."""

    def __init__(self):
        import numpy as np
        from aie.dialects import aie
        from aie.dialects import arith as standard_arith
        from aie.extras.context import mlir_mod_ctx
        from aie.extras.dialects import arith
        from aie.helpers.dialects.scf import _for, else_, if_
        from aie.helpers.util import np_dtype_to_mlir_type

        self.np, self.aie, self.arith, self.standard_arith = np, aie, arith, standard_arith
        self.context, self.for_, self.if_, self.else_ = mlir_mod_ctx, _for, if_, else_
        self.to_mlir = np_dtype_to_mlir_type

    def object(self, size):
        """The type of an object: words, whatever they hold. Entries take pointers, so no kernel sees the difference."""
        return self.np.ndarray[(moves.words(size),), self.np.dtype[self.np.int32]]

    def positive(self, value):
        """Whether a 32-bit integer is greater than 0."""
        arith = self.standard_arith
        nothing = arith.constant(self.to_mlir(self.np.int32), 0)
        return arith.cmpi(arith.CmpIPredicate.sgt, value, nothing)


class Array:
    """The array's tiles and streams; to be made inside a device."""

    def __init__(self, bindings, design):
        self.bindings, self.design = bindings, design
        columns = range(design.columns)
        tile = bindings.aie.tile
        self.shims = [tile(column, 0) for column in columns]
        self.memories = [tile(column, 1) for column in columns]
        # cores[row][column]; rows of cores are rows 2 to 5 of the array.
        self.cores = [[tile(column, 2 + row) for column in columns] for row in range(describe.ROWS)]
        self.a = {}
        self.b = {}
        self.c = {}
        (self.linear_rows if design.linear else self.attention_rows)()
        self.down_columns()
        self.results()

    def stream(self, name, source, targets, size, walk=None):
        """A queue of objects from a tile to one or several."""
        fifo = self.bindings.aie.object_fifo
        return fifo(name, source, targets, describe.DEPTH, self.bindings.object(size), walk or [])

    def linear_rows(self):
        """A for a row of cores: through one column's shim and memory tile, to all cores of the row."""
        size = self.design.a_object
        for row, cores in enumerate(self.cores):
            column = self.design.a_column(row)
            outside = self.stream(f"a_{row}", self.shims[column], self.memories[column], size)
            inside = self.stream(f"rows_{row}", self.memories[column], cores, size)
            self.bindings.aie.object_fifo_link(outside, inside)
            for column in range(self.design.columns):
                self.a[row, column] = inside

    def attention_rows(self):
        """A for a column: four objects at a time, one for each of its cores."""
        size = self.design.a_object
        for column in range(self.design.columns):
            memory = self.memories[column]
            outside = self.stream(f"a_{column}", self.shims[column], memory, describe.ROWS * size)
            inside = []
            for row in range(describe.ROWS):
                self.a[row, column] = self.stream(f"queries_{column}_{row}", memory, self.cores[row][column], size)
                inside.append(self.a[row, column])
            self.bindings.aie.object_fifo_link(outside, inside, [], moves.offsets(size))

    def down_columns(self):
        """B for a column, to all its cores."""
        size = self.design.b_object
        for column in range(self.design.columns):
            memory = self.memories[column]
            outside = self.stream(f"b_{column}", self.shims[column], memory, size)
            inside = self.stream(f"columns_{column}", memory, [row[column] for row in self.cores], size)
            self.bindings.aie.object_fifo_link(outside, inside)
            for row in range(describe.ROWS):
                self.b[row, column] = inside

    def results(self):
        """C of a column: four cores' objects put together in the memory tile, and row by row to the shim."""
        size = self.design.c_object
        for column in range(self.design.columns):
            memory, inside = self.memories[column], []
            for row in range(describe.ROWS):
                self.c[row, column] = self.stream(f"results_{column}_{row}", self.cores[row][column], memory, size)
                inside.append(self.c[row, column])
            walk = moves.result_walk(self.design)
            outside = self.stream(f"c_{column}", memory, self.shims[column], describe.ROWS * size, walk)
            self.bindings.aie.object_fifo_link(inside, outside, moves.offsets(size), [])


def functions(bindings, design, file):
    """The entries of the design's C++ (`../src`), by name without their prefix."""
    a, b, c = (bindings.object(size) for size in (design.a_object, design.b_object, design.c_object))
    state = bindings.object(design.core_state)
    number = bindings.np.int32
    if design.linear:
        entries = {"_is_last": ([a], [number]), "_step": ([a, b, state], []), "": ([a, b, state, c], [number])}
    else:
        entries = {
            "_blocks": ([a], [number]),
            "_begin": ([a, state], []),
            "_keys": ([a, b, state, number], []),
            "_values": ([b, state], []),
            "_end": ([state, c], []),
        }
    external = bindings.aie.external_func
    return {
        name: external(f"undertone_{design.operator}{name}", inputs=inputs, outputs=outputs, link_with=file)
        for name, (inputs, outputs) in entries.items()
    }


def linear_core(bindings, call, a, b, c, state):
    """Step after step; the last of a row tile has the results written."""
    consume, produce = bindings.aie.ObjectFifoPort.Consume, bindings.aie.ObjectFifoPort.Produce
    for _ in bindings.for_(sys.maxsize):
        left, right = a.acquire(consume, 1), b.acquire(consume, 1)
        with bindings.if_(bindings.positive(call["_is_last"](left)), hasElse=True) as last:
            result = c.acquire(produce, 1)
            call[""](left, right, state, result)
            c.release(produce, 1)
        with bindings.else_(last):
            call["_step"](left, right, state)
        a.release(consume, 1)
        b.release(consume, 1)


def attention_core(bindings, call, a, b, c, state):
    """A tile of queries, then all blocks of keys and of values, then the results."""
    consume, produce = bindings.aie.ObjectFifoPort.Consume, bindings.aie.ObjectFifoPort.Produce
    number = bindings.to_mlir(bindings.np.int32)
    for _ in bindings.for_(sys.maxsize):
        queries = a.acquire(consume, 1)
        call["_begin"](queries, state)
        for block in bindings.for_(call["_blocks"](queries)):
            keys = b.acquire(consume, 1)
            call["_keys"](queries, keys, state, bindings.arith.index_cast(block, to=number))
            b.release(consume, 1)
            values = b.acquire(consume, 1)
            call["_values"](values, state)
            b.release(consume, 1)
        result = c.acquire(produce, 1)
        call["_end"](state, result)
        c.release(produce, 1)
        a.release(consume, 1)


def build(design, file):
    """The MLIR of a design whose entries are in an object file."""
    bindings = Bindings()
    aie = bindings.aie
    device = {"npu1": aie.AIEDevice.npu1, "npu4": aie.AIEDevice.npu2}[design.target]
    program = linear_core if design.linear else attention_core
    with bindings.context() as context:

        @aie.device(device)
        def array():
            call = functions(bindings, design, file)
            parts = Array(bindings, design)
            for row, cores in enumerate(parts.cores):
                for column, tile in enumerate(cores):
                    state = aie.buffer(tile, bindings.object(design.core_state), f"state_{column}_{row}")
                    streams = [streams[row, column] for streams in (parts.a, parts.b, parts.c)]

                    # Which of its two objects a core is at depends on the data, so that is kept at run time.
                    @aie.core(tile, stack_size=describe.STACK_BYTES, dynamic_objfifo_lowering=True)
                    def body():
                        program(bindings, call, *streams, state)

        return str(context.module)


def main():
    parser = argparse.ArgumentParser(description="prints the MLIR of an array design")
    describe.add_arguments(parser)
    parser.add_argument("--object", required=True, help="the object file with the cores' entries")
    arguments = parser.parse_args()
    try:
        print(build(describe.from_arguments(arguments), arguments.object))
    except describe.Refused as refused:
        parser.exit(1, f"dataflow.py: {refused}\n")


if __name__ == "__main__":
    main()

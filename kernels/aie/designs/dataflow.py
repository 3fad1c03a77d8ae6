"""Builds an array design with mlir-aie's Python bindings and prints its MLIR, for aiecc to compile.

    python3 dataflow.py --target npu1 --kernels int8 --tile 48,64,64 --object int8.o > array.mlir

Which core gets what is said in `docs/npu-streams.md`. There are no run-time parameters: each object of A ends with a control block, which
the cores' code reads, so that they run for ever and one binary serves every shape. The streams named `a_…`, `b_…`, `c_…` begin or
end in shim tiles; instruction streams feed them (`kernels/src/npu/stream`), which is why no runtime sequence stands here.

Written for mlir-aie 1.4.2 (its package `aie.extras` is another project's, see build.sh). It was never compiled where this project is made, since mlir-aie can't be had there: what was checked is
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

    def number(self, value):
        """A constant of 32 bits."""
        return self.standard_arith.constant(self.to_mlir(self.np.int32), value)

    def more(self, value, than):
        """Whether a 32-bit integer is greater than a constant."""
        arith = self.standard_arith
        return arith.cmpi(arith.CmpIPredicate.sgt, value, self.number(than))


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
        self.along_rows()
        self.down_columns()
        self.results()

    def stream(self, name, source, targets, size, walk=None):
        """A queue of objects from a tile to one or several."""
        fifo = self.bindings.aie.object_fifo
        return fifo(name, source, targets, describe.DEPTH, self.bindings.object(size), walk or [])

    def along_rows(self):
        """A for a row of cores: through one column's shim and memory tile, to all cores of the row."""
        size = self.design.a_object
        for row, cores in enumerate(self.cores):
            column = self.design.a_column(row)
            outside = self.stream(f"a_{row}", self.shims[column], self.memories[column], size)
            inside = self.stream(f"rows_{row}", self.memories[column], cores, size)
            self.bindings.aie.object_fifo_link(outside, inside)
            for column in range(self.design.columns):
                self.a[row, column] = inside

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
        """C of a column: four cores' objects put together in the memory tile, and each row by row to the shim."""
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
    """The entries of the design's C++ (`../src/matrix.h`), by name without their prefix."""
    a, b, c = (bindings.object(size) for size in (design.a_object, design.b_object, design.c_object))
    state = bindings.object(design.core_state)
    number = bindings.np.int32
    entries = {
        "kind": ([a], [number]),
        "step": ([a, b, state], []),
        "finish": ([a, b, state, c], []),
        "queries": ([a, state, number], [number]),
        "blocks": ([state], [number]),
        "keys": ([b, state, number], []),
        "values": ([b, state], []),
        "end": ([state, c], []),
    }
    external = bindings.aie.external_func
    return {
        name: external(f"undertone_{design.kernels}_{name}", inputs=inputs, outputs=outputs, link_with=file)
        for name, (inputs, outputs) in entries.items()
    }


class Core:
    """The program of a core: object after object of A, each of which says what it is for."""

    def __init__(self, bindings, call, streams, state, column):
        self.bindings, self.call, self.state, self.column = bindings, call, state, column
        self.a, self.b, self.c = streams
        self.consume, self.produce = bindings.aie.ObjectFifoPort.Consume, bindings.aie.ObjectFifoPort.Produce

    def run(self):
        bindings = self.bindings
        for _ in bindings.for_(sys.maxsize):
            left = self.a.acquire(self.consume, 1)
            kind = self.call["kind"](left)
            with bindings.if_(bindings.more(kind, 1), hasElse=True) as queries:
                self.attend(left)
            with bindings.else_(queries):
                self.multiply(left, kind)
            # Once, behind the branches: mlir-aie adds up acquires and releases of all branches of a loop's body, and refuses more
            # releases than acquires (`verifyOverRelease` of its AIEObjectFifoVerify.cpp).
            self.a.release(self.consume, 1)

    def multiply(self, left, kind):
        """A step of a linear layer; the last of a row tile has the results written."""
        bindings, call, state = self.bindings, self.call, self.state
        right = self.b.acquire(self.consume, 1)
        call["step"](left, right, state)
        with bindings.if_(bindings.more(kind, 0), hasElse=False):
            result = self.c.acquire(self.produce, 1)
            call["finish"](left, right, state, result)
            self.c.release(self.produce, 1)
        self.b.release(self.consume, 1)

    def attend(self, left):
        """Queries of this row; with the last of them all blocks of keys and of values of this core's own come, then the results."""
        bindings, call, state = self.bindings, self.call, self.state
        number = bindings.to_mlir(bindings.np.int32)
        ready = call["queries"](left, state, bindings.number(self.column))
        with bindings.if_(bindings.more(ready, 0), hasElse=False):
            for block in bindings.for_(call["blocks"](state)):
                keys = self.b.acquire(self.consume, 1)
                call["keys"](keys, state, bindings.arith.index_cast(block, to=number))
                self.b.release(self.consume, 1)
                values = self.b.acquire(self.consume, 1)
                call["values"](values, state)
                self.b.release(self.consume, 1)
            result = self.c.acquire(self.produce, 1)
            call["end"](state, result)
            self.c.release(self.produce, 1)


def build(design, file):
    """The MLIR of a design whose entries are in an object file."""
    bindings = Bindings()
    aie = bindings.aie
    device = {"npu1": aie.AIEDevice.npu1, "npu4": aie.AIEDevice.npu2}[design.target]
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
                        Core(bindings, call, streams, state, column).run()

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

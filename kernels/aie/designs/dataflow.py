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
        from aie.dialects import aie, aiex
        from aie.dialects import arith as standard_arith
        from aie.extras.context import mlir_mod_ctx
        from aie.extras.dialects import arith
        from aie.helpers.dialects.scf import _for, else_, if_
        from aie.helpers.util import np_dtype_to_mlir_type

        self.np, self.aie, self.aiex, self.arith, self.standard_arith = np, aie, aiex, arith, standard_arith
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
        tile = bindings.aie.tile
        used = sorted({*range(design.columns), *(design.a_column(row) for row in range(design.rows))})
        self.shims = {column: tile(column, 0) for column in used}
        self.memories = {column: tile(column, 1) for column in used}
        # cores[row][column]; rows of cores are rows 2 to 5 of the array.
        self.cores = [[tile(column, 2 + row) for column in range(design.columns)] for row in range(design.rows)]
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
            for row in range(self.design.rows):
                self.b[row, column] = inside

    def results(self):
        """C of a column: its cores' objects put together in the memory tile, and each row by row to the shim."""
        size = self.design.c_object
        for column in range(self.design.columns):
            memory, inside = self.memories[column], []
            for row in range(self.design.rows):
                self.c[row, column] = self.stream(f"results_{column}_{row}", self.cores[row][column], memory, size)
                inside.append(self.c[row, column])
            walk = moves.result_walk(self.design)
            outside = self.stream(f"c_{column}", memory, self.shims[column], self.design.rows * size, walk)
            # mlir-aie takes offsets of several sources only.
            offsets = moves.offsets(self.design, size) if len(inside) > 1 else []
            self.bindings.aie.object_fifo_link(inside, outside, offsets, [])


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


def trial(bindings, design, file):
    """The tiles and streams of a trial array; to be made inside a device."""
    aie, words = bindings.aie, bindings.object(design.object)
    shim = aie.tile(0, 0)

    def stream(name, source, target):
        return aie.object_fifo(name, source, target, describe.DEPTH, words, [])

    if design.kind == "pass_through":
        memory = aie.tile(0, 1)
        lanes = [(stream(name, shim, memory), stream(f"c_{lane}", memory, shim)) for lane, name in enumerate(("a_0", "b_0"))]
        for inside, outside in lanes:
            aie.object_fifo_link(inside, outside)
        made(bindings, lanes[0])
        return
    tile = aie.tile(0, 2)
    question, answer = stream("a_0", shim, tile), stream("c_0", tile, shim)
    call = aie.external_func("undertone_trial_answer", inputs=[words, words], outputs=[], link_with=file)

    # Its queues are counted when it is compiled, as in most programs for these cores: what fails here is the core, not how queues are lowered.
    @aie.core(tile, stack_size=describe.STACK_BYTES)
    def body():
        for _ in bindings.for_(sys.maxsize):
            asked = question.acquire(aie.ObjectFifoPort.Consume, 1)
            said = answer.acquire(aie.ObjectFifoPort.Produce, 1)
            call(asked, said)
            answer.release(aie.ObjectFifoPort.Produce, 1)
            question.release(aie.ObjectFifoPort.Consume, 1)


def made(bindings, lane):
    """A runtime sequence, of which aiecc makes an instruction stream of its own: from A to C, with B unused."""
    aiex, count = bindings.aiex, moves.words(describe.MADE_BYTES)
    kind = bindings.object(describe.MADE_BYTES)

    @aiex.runtime_sequence(kind, kind, kind)
    def sequence(a, _b, c):
        inside, outside = lane
        tasks = [aiex.shim_dma_single_bd_task(inside, a, sizes=[1, 1, 1, count])]
        tasks.append(aiex.shim_dma_single_bd_task(outside, c, sizes=[1, 1, 1, count], issue_token=True))
        aiex.dma_start_task(*tasks)
        aiex.dma_await_task(tasks[1])


def build(design, file):
    """The MLIR of a design whose entries are in an object file."""
    bindings = Bindings()
    aie = bindings.aie
    device = {"npu1": aie.AIEDevice.npu1, "npu4": aie.AIEDevice.npu2}[design.target]
    with bindings.context() as context:
        if isinstance(design, describe.Trial):

            @aie.device(device)
            def trial_array():
                trial(bindings, design, file)

            return str(context.module)

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

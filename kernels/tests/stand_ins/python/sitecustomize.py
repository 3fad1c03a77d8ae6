"""Has every Python that finds this folder take the recorder for mlir-aie's bindings, and print what it recorded as MLIR in which buffers have
addresses and streams have shim channels, as aiecc leaves it."""

import os
import sys

sys.path.insert(0, os.environ["UNDERTONE_DESIGNS"])

import recorder  # noqa: E402

STACK = 6144


class Printed(recorder.Recording):
    """A recording whose module is text."""

    @property
    def module(self):
        return "module {\n" + f"  aie.device({self.device}) {{\n" + "".join(f"    {line}\n" for line in self.lines()) + "  }\n}\n"

    @module.setter
    def module(self, _):
        pass

    def lines(self):
        ends = [[fifo.source, *fifo.targets] for fifo in self.fifos.values()]
        for column, row in sorted({tile for tiles in ends for tile in tiles}):
            yield f"%tile_{column}_{row} = aie.tile({column}, {row})"
        for tile in self.cores:
            address = STACK
            of_core = [(words, name) for name, (of, words) in self.buffers.items() if of == tile and not name.startswith("stack")]
            for fifo in self.fifos.values():
                of_core += [(fifo.words, f"{fifo.name}_buff_{turn}") for turn in range(fifo.depth) if tile in [fifo.source, *fifo.targets]]
            for words, name in sorted(of_core, reverse=True):
                yield f'%{name}_{tile[0]}_{tile[1]} = aie.buffer(%tile_{tile[0]}_{tile[1]}) {{address = {address} : i32, sym_name = "{name}"}} : memref<{words}xi32>'
                address += 4 * words
            yield f"%core_{tile[0]}_{tile[1]} = aie.core(%tile_{tile[0]}_{tile[1]}) {{"
            yield f"}} {{stack_size = {STACK} : i32}}"
        for name, fifo in self.fifos.items():
            shim, direction = (fifo.source, "MM2S") if fifo.source[1] == 0 else (fifo.targets[0], "S2MM")
            # B, and what a pass-through makes of it.
            number = int(name.startswith("b") or (name, shim[0]) == ("c_1", 0))
            if shim[1] == 0:
                yield f"aie.shim_dma_allocation @{name}_shim_alloc(%tile_{shim[0]}_0, {direction}, {number})"


sys.modules.update(Printed().modules())

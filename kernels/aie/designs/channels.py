"""Which shim channels mlir-aie gave to a design's streams: from the MLIR after it lowered the object FIFOs, where each stream
that ends in a shim tile has a line like one of

    aie.shim_dma_allocation @a_0_shim_alloc(%shim_noc_tile_0_0, MM2S, 0)
    aie.shim_dma_allocation @a_0(MM2S, 0, 0)

(direction, channel; in the older form the column follows). And whether the buffers that it placed lie where AIE2P's vectors want them:

    %state_0_0 = aie.buffer(%tile_0_2) {address = 6144 : i32, sym_name = "state_0_0"} : memref<10000xi32>
"""

import re

import describe

TILE = re.compile(r"(%[\w.$-]+)\s*=\s*aie\.(?:logical_)?tile\w*\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)")
NEW = re.compile(r"aie\.shim_dma_allocation\s+@(\w+)\s*\(\s*(%[\w.$-]+)\s*,\s*(\w+)\s*,\s*(\d+)")
OLD = re.compile(r"aie\.shim_dma_allocation\s+@(\w+)\s*\(\s*(MM2S|S2MM)\s*,\s*(\d+)\s*,\s*(\d+)\s*\)")
BUFFER = re.compile(r"aie\.buffer\(%[\w.$-]+\)\s*\{[^}]*?address = (\d+)[^}]*?sym_name = \"([\w.$-]+)\"[^}]*\}\s*:\s*memref<(\d+)xi32>")
STREAM = re.compile(r"([abc])_(\d+)(?:_shim_alloc)?$")


class Unclear(ValueError):
    """The MLIR does not say where a stream enters or leaves, or what it says can't be used."""


def check_addresses(mlir):
    """Refuses buffers that do not lie at a multiple of the widest vector. mlir-aie's own counters are smaller than one, and no vector reads them."""
    buffers = BUFFER.findall(mlir)
    if not buffers:
        raise Unclear("it has no buffers with addresses")
    for address, name, words in buffers:
        if 4 * int(words) >= describe.VECTOR_BYTES and int(address) % describe.VECTOR_BYTES:
            raise Unclear(f"the buffer {name} lies at {address}, no multiple of {describe.VECTOR_BYTES}: AIE2P's vectors would read and write wrong data")


def extract(design, mlir):
    """The channels of A, B and C, as `Design.channels` has them."""
    columns = {}
    for name, column, row in TILE.findall(mlir):
        if row == "0":
            columns[name] = int(column)
    found = {}
    allocations = [(name, columns.get(tile), direction, number) for name, tile, direction, number in NEW.findall(mlir)]
    allocations += [(name, int(column), direction, number) for name, direction, number, column in OLD.findall(mlir)]
    for name, column, direction, number in allocations:
        stream = STREAM.match(name)
        if stream is None:
            raise Unclear(f"the shim allocation {name} belongs to no stream of the design")
        if column is None:
            raise Unclear(f"the shim allocation {name} names a tile that is not in row 0")
        key = (stream[1], int(stream[2]))
        if key in found:
            raise Unclear(f"the stream {name} has two shim allocations")
        found[key] = {"column": column, "direction": direction.lower(), "channel": int(number)}
    expected = design.channels()
    wanted = {(stream, index) for stream, places in expected.items() for index in range(len(places))}
    if set(found) != wanted:
        missing = ", ".join(f"{stream}_{index}" for stream, index in sorted(wanted - set(found)))
        surplus = ", ".join(f"{stream}_{index}" for stream, index in sorted(set(found) - wanted))
        raise Unclear(f"shim allocations: missing {missing or 'none'}; unexpected {surplus or 'none'}")
    for (stream, index), channel in found.items():
        must = expected[stream][index]
        if (channel["column"], channel["direction"]) != (must["column"], must["direction"]):
            raise Unclear(f"{stream}_{index} is at {channel}, and the design puts it at column {must['column']}, {must['direction']}")
    return {stream: [found[stream, index] for index in range(len(places))] for stream, places in expected.items()}

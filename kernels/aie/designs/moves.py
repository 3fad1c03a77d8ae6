"""How the memory tiles' DMAs move objects, in plain Python, so that it can be tested by moving numbered words. All counts are in
words of 4 bytes.

A memory tile passes A and B on as they are. Results lie one core's behind the other's, each in the order of the cores' instructions, and leave row by row: for each core's part the
DMA has a descriptor, which walks through it in four dimensions.
"""

import describe

# Limits of a memory tile's DMA: entries of the three inner dimensions, words of a step.
MOST_WRAP = 1023
MOST_STEP = 1 << 17
# DMA channels into and out of a tile.
CHANNELS = {"shim": 2, "memory": 6, "core": 2}


def words(size):
    """Bytes as words; objects are whole words."""
    if size % 4:
        raise describe.Refused(f"an object of {size} bytes is not made of whole words")
    return size // 4


def result_walk(design):
    """(entries, step) of the walk through one core's results, outermost first: rows of micro-tiles, rows in them, micro-tiles of a row,
    words of their rows."""
    r, _, t = design.micro_tile
    width = words(2 * design.n)
    micro = words(2 * t)
    walk = [(design.m // r, r * width), (r, micro), (design.n // t, r * micro), (micro, 1)]
    for entries, step in walk[1:]:
        if entries > MOST_WRAP or step > MOST_STEP:
            raise describe.Refused(f"{design.name}: a memory tile's DMA can't take {entries} entries, {step} words apart")
    if walk[0][1] > MOST_STEP:
        raise describe.Refused(f"{design.name}: a memory tile's DMA can't take steps of {walk[0][1]} words")
    return walk


def addresses(walk):
    """The words that a walk passes, in order."""
    if not walk:
        yield 0
        return
    (entries, step), rest = walk[0], walk[1:]
    inner = list(addresses(rest))
    for entry in range(entries):
        for address in inner:
            yield entry * step + address


def offsets(design, object_bytes):
    """Where a column's cores' objects lie in a memory tile's object."""
    return [row * words(object_bytes) for row in range(design.rows)]

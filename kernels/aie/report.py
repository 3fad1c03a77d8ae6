"""Prints what a compiled array takes: of each core its program, its constants, its stack and where its buffers lie, and the shim channels of its
streams. Says what is too large, and ends with 1 then.

    python3 report.py FOLDER… --size llvm-size

FOLDER is one that `build.sh --work` leaves for a design: `input_with_addresses.mlir`, the cores' programs (*.elf) and, of our C++, what
clang's -fstack-usage and -emit-llvm say (*.su, *.ll), where they are there. Reads whatever design it is: no name of a stream or of an entry is known here.
"""

import argparse
import collections
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "designs"))

import channels  # noqa: E402
import describe  # noqa: E402

# Bytes of a core's program memory.
PROGRAM_MEMORY = 16384
CORE = re.compile(r"(%[\w.$-]+)\s*=\s*aie\.core\(\s*(%[\w.$-]+)\s*\)")
STACK = re.compile(r"stack_size = (\d+)")
BUFFER = re.compile(r"aie\.buffer\(\s*(%[\w.$-]+)\s*\)\s*\{([^}]*)\}\s*:\s*memref<([\dx]+)x(?:i|f|bf|ui|si)(\d+)>")
ADDRESS = re.compile(r"address = (\d+)")
NAME = re.compile(r'sym_name = "([^"]+)"')


def sections(text):
    """Sizes by section, from what `llvm-size --format=sysv` prints."""
    found = collections.Counter()
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[0].startswith(".") and words[1].isdigit():
            found[words[0]] += int(words[1])
    return found


def programs(folder, size):
    """Of each core's program: bytes of code, and of constants and variables."""
    found = {}
    for elf in sorted(folder.rglob("*.elf")):
        said = subprocess.run([size, "--format=sysv", str(elf)], capture_output=True, text=True, check=True).stdout
        parts = sections(said)
        data = sum(count for name, count in parts.items() if name.startswith((".rodata", ".data", ".bss")))
        found[elf.relative_to(folder).as_posix()] = (sum(count for name, count in parts.items() if name.startswith(".text")), data)
    if not any(code for code, _ in found.values()):
        raise channels.Unclear(f"{folder} has no cores' programs with code")
    return found


def buffers(mlir):
    """(column, row, address, bytes, name) of all buffers that have an address."""
    tiles = {name: (int(column), int(row)) for name, column, row in channels.TILE.findall(mlir)}
    found = []
    for tile, attributes, sides, bits in BUFFER.findall(mlir):
        address, name = ADDRESS.search(attributes), NAME.search(attributes)
        if address and tile in tiles:
            count = 1
            for side in sides.split("x"):
                count *= int(side)
            found.append((*tiles[tile], int(address[1]), count * int(bits) // 8, name[1] if name else "?"))
    if not found:
        raise channels.Unclear("the MLIR has no buffers with addresses")
    return sorted(found)


def shims(mlir):
    """(stream, column, direction, channel) of all shim allocations. Newer compilers add a word to the stream's name."""
    tiles = {name: int(column) for name, column, row in channels.TILE.findall(mlir) if row == "0"}
    found = [(name, tiles.get(tile, "?"), direction, number) for name, tile, direction, number in channels.NEW.findall(mlir)]
    found += [(name, int(column), direction, number) for name, direction, number, column in channels.OLD.findall(mlir)]
    if not found:
        raise channels.Unclear("the MLIR has no shim allocations")
    return sorted((re.sub("_shim_alloc$", "", name), *place) for name, *place in found)


def frames(folder):
    """The deepest stack below an entry of our C++ as the core's compiler has it, where it said so (`check/calls.py` follows the calls)."""
    deepest = {}
    for code in sorted(folder.glob("*.ll")):
        usage = code.with_suffix(".su")
        if usage.exists():
            done = subprocess.run([sys.executable, "-B", str(HERE / "check" / "calls.py"), code, usage], capture_output=True, text=True, check=False)
            for name, size in re.findall(r"^\s+(\w+): (\d+) bytes of stack", done.stdout, re.M):
                deepest[name] = int(size)
    return deepest


def report(folder, size):
    """The lines about one folder, and what is wrong."""
    mlir = (folder / "input_with_addresses.mlir").read_text()
    lines, wrong = [folder.name], []
    found = programs(folder, size)
    largest = max(code for code, _ in found.values())
    lines.append(f"  program: at most {largest} of {PROGRAM_MEMORY} bytes; constants and variables: at most {max(data for _, data in found.values())}")
    for (code, data), names in sorted(by_value(found).items(), reverse=True):
        lines.append(f"    {code:6} code {data:6} data  {len(names)} cores, {names[0]}")
    if largest > PROGRAM_MEMORY:
        wrong.append(f"a core's program takes {largest} of {PROGRAM_MEMORY} bytes: try CXXFLAGS=-Os")
    stacks = sorted({int(stack) for stack in STACK.findall(mlir)})
    lines.append(f"  stack: {', '.join(map(str, stacks)) or 'the default'} bytes for each of {len(CORE.findall(mlir))} cores")
    for name, deep in sorted(frames(folder).items(), key=lambda entry: -entry[1]):
        lines.append(f"    {deep:6} below {name}")
        if stacks and deep > stacks[0]:
            wrong.append(f"{name} takes {deep} bytes of stack, and a core has {stacks[0]}")
    places = buffers(mlir)
    lines.append("  buffers, by tile: bytes at address (its rest by 64)")
    shapes = collections.defaultdict(list)
    for tile in sorted({place[:2] for place in places}):
        of_tile = [f"{count} at {address} ({address % 64})" for *of, address, count, _ in places if tuple(of) == tile]
        shapes[", ".join(of_tile)].append(tile)
    for shape, tiles in shapes.items():
        lines.append(f"    {len(tiles)} tiles from {tiles[0]}: {shape}")
    for column, row, address, count, name in places:
        if row > 1 and count >= describe.VECTOR_BYTES and address % describe.VECTOR_BYTES:
            wrong.append(f"{name} of the core ({column}, {row}) lies at {address}, no multiple of {describe.VECTOR_BYTES}")
    lines.append("  shim channels: " + ", ".join(f"{name} {column}.{direction.lower()}.{number}" for name, column, direction, number in shims(mlir)))
    return lines, wrong


def by_value(found):
    """Keys by what they have."""
    turned = collections.defaultdict(list)
    for name, value in found.items():
        turned[value].append(name)
    return turned


def main():
    parser = argparse.ArgumentParser(description="prints what compiled arrays take")
    parser.add_argument("folders", nargs="+", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--size", default="llvm-size", help="llvm-size, of Peano")
    arguments = parser.parse_args()
    bad = False
    for folder in arguments.folders:
        try:
            lines, wrong = report(folder, arguments.size)
        except (channels.Unclear, OSError, subprocess.CalledProcessError) as error:
            lines, wrong = [folder.name], [str(error)]
        print("\n".join(lines))
        for line in wrong:
            print(f"report.py: {folder.name}: {line}", file=sys.stderr)
            bad = True
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

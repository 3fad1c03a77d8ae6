"""Holds an instruction stream of ours against the one that aiecc writes for the same transfers.

    python3 compare_streams.py FOLDER STREAM.bin --aiecc aiecc [--peano FOLDER]

FOLDER is one that `build.sh --work` leaves for a design. The stream is taken apart, its transfers are written as a runtime sequence
(`aiex.npu.dma_memcpy_nd`) into the array's MLIR, aiecc makes a stream of that, and both are compared: which words each DMA channel moves, in which
order, which transfers give a token, which channels are waited for. Fields that move nothing (burst length, cache bits) are printed where they
differ. `cargo run -p undertone-kernels --example npu_streams BUNDLES STREAMS` writes our streams.
"""

import argparse
import collections
import dataclasses
import pathlib
import struct
import subprocess
import sys

import report

# Words of an operation by its code; those from 0x80 on say it in their second word, in bytes.
WRITE, BLOCK_WRITE, MASK_WRITE, SYNC, PATCH = 0, 1, 3, 0x80, 0x81
HEADER_WORDS = 4
# Registers of a shim tile's DMA: sixteen descriptors of eight words, a queue for each channel.
DESCRIPTORS, DESCRIPTOR_BYTES = 0x1D000, 0x20
QUEUES = {0x1D204: ("s2mm", 0), 0x1D20C: ("s2mm", 1), 0x1D214: ("mm2s", 0), 0x1D21C: ("mm2s", 1)}
# Most entries of a dimension.
MOST_WRAP = 1023


class Unclear(ValueError):
    """A stream that can't be read, or a transfer that can't be written so."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A transfer as a descriptor and a queue's entry say it; lengths and steps in words."""

    column: int
    direction: str
    channel: int
    argument: int
    offset: int
    words: tuple
    repeats: int
    token: bool

    def field(self, word, shift, bits):
        return self.words[word] >> shift & ((1 << bits) - 1)

    @property
    def place(self):
        return self.column, self.direction, self.channel

    def dimensions(self):
        """(entries, step) of the three dimensions, outermost first; of the iteration before them."""
        length, wraps = self.words[0], (self.field(3, 20, 10), self.field(4, 20, 10))
        steps = (self.field(3, 0, 20) + 1, self.field(4, 0, 20) + 1, self.field(5, 0, 20) + 1)
        row = wraps[0] or length
        plane = wraps[1] or -(-length // row)
        return (self.field(6, 20, 6) + 1, self.field(6, 0, 20) + 1), (-(-length // (row * plane)), steps[2]), (plane, steps[1]), (row, steps[0])

    def moved(self):
        """The words that it moves, by their numbers in the argument, in order."""
        (iterations, step), *inner = self.dimensions()
        places = [0]
        for entries, inner_step in inner:
            places = [place + entry * inner_step for place in places for entry in range(entries)]
        places = places[: self.words[0]]
        first = self.offset // 4
        return [first + use % iterations * step + place for use in range(self.repeats + 1) for place in places]

    def idle(self):
        """Bits of the descriptor that move nothing: all but length, address, steps and wraps."""
        masks = (0, 0, 0, 0, 3 << 30, 0xFFF << 20, 0x3F << 26, 0xFFFFFFFF)
        return tuple(word & mask for word, mask in zip(self.words, masks))


def read(content):
    """The tasks and the waits of a stream, in its order."""
    words = struct.unpack(f"<{len(content) // 4}I", content[: len(content) // 4 * 4])
    if len(words) < HEADER_WORDS or words[3] != len(content):
        raise Unclear("it is no stream: its header has another length than the file")
    at, blocks, patches, tasks, waits, others = HEADER_WORDS, {}, {}, [], [], collections.Counter()
    for _ in range(words[2]):
        code = words[at] & 0xFF
        if code == WRITE:
            address, value = words[at + 2], words[at + 4]
            column, register = address >> 25, address & 0x1FFFFFF
            if register in QUEUES:
                block = column, value & 15
                if block not in blocks or block not in patches:
                    raise Unclear(f"column {column} uses its descriptor {value & 15} before it is written and patched")
                direction, channel = QUEUES[register]
                tasks.append(Task(column, direction, channel, *patches[block], blocks[block], value >> 16 & 0xFF, bool(value >> 31)))
            else:
                others[f"write to {register:#x}"] += 1
            size = words[at + 5]
        elif code == BLOCK_WRITE:
            address, size = words[at + 2], words[at + 3]
            column, register = address >> 25, address & 0x1FFFFFF
            number, rest = divmod(register - DESCRIPTORS, DESCRIPTOR_BYTES)
            if rest or not 0 <= number < 16 or size != 48:
                others[f"block write to {register:#x}"] += 1
            else:
                blocks[column, number] = words[at + 4 : at + 12]
        elif code == MASK_WRITE:
            others[f"mask write to {words[at + 2] & 0x1FFFFFF:#x}"] += 1
            size = words[at + 6]
        elif code == SYNC:
            place, how = words[at + 2], words[at + 3]
            columns, rows = how >> 16 & 0xFF, how >> 8 & 0xFF
            direction = ("s2mm", "mm2s")[place & 0xFF]
            waits += [((place >> 16 & 0xFF) + column, direction, how >> 24 & 0xFF) for column in range(columns) for _ in range(rows)]
            size = words[at + 1]
        elif code == PATCH:
            register = words[at + 6] & 0x1FFFFFF
            patches[words[at + 6] >> 25, (register - DESCRIPTORS) // DESCRIPTOR_BYTES] = words[at + 8], words[at + 10]
            size = words[at + 1]
        elif code > PATCH:
            others[f"operation {code:#x}"] += 1
            size = words[at + 1]
        else:
            raise Unclear(f"the operation at word {at} has the unknown code {code:#x}")
        at += size // 4
    if at != len(words):
        raise Unclear(f"its operations end at word {at} of {len(words)}")
    return tasks, waits, others


def by_place(tasks):
    found = collections.defaultdict(list)
    for task in tasks:
        found[task.place].append(task)
    return found


def compare(ours, theirs):
    """What differs: (what matters, what moves nothing)."""
    (our_tasks, our_waits, our_others), (their_tasks, their_waits, their_others) = ours, theirs
    wrong, idle, differing = [], [], collections.defaultdict(list)
    mine, other = by_place(our_tasks), by_place(their_tasks)
    for place in sorted(mine.keys() | other.keys()):
        name = "column {} {} {}".format(*place)
        for what, of in (("argument", lambda task: [task.argument]), ("words moved", Task.moved)):
            us, them = ([value for task in side[place] for value in of(task)] for side in (mine, other))
            if what == "argument":
                us, them = sorted(set(us)), sorted(set(them))
            if us != them:
                first = next((at for at, pair in enumerate(zip(us, them)) if pair[0] != pair[1]), min(len(us), len(them)))
                wrong.append(f"{name}: {what}: ours {len(us)}, theirs {len(them)}, the first that differs is number {first}: {us[first : first + 4]}, {them[first : first + 4]}")
        tokens = [sum(task.token for task in side[place]) for side in (mine, other)]
        if tokens[0] != tokens[1]:
            wrong.append(f"{name}: tokens: ours {tokens[0]}, theirs {tokens[1]}")
        bits = [{task.idle() for task in side[place]} for side in (mine, other)]
        if bits[0] != bits[1]:
            differing[tuple(" ".join(",".join(f"{word:x}" for word in words) for words in sorted(side)) for side in bits)].append(name)
    idle += [f"ours {us}, theirs {them}: {', '.join(names)}" for (us, them), names in differing.items()]
    if collections.Counter(our_waits) != collections.Counter(their_waits):
        wrong.append(f"waits: ours {sorted(our_waits)}, theirs {sorted(their_waits)}")
    if our_others != their_others:
        idle.append(f"other operations: ours {dict(our_others)}, theirs {dict(their_others)}")
    return wrong, idle


def split(length):
    """A length as two dimensions that the hardware can count."""
    inner = next(size for size in range(min(length, MOST_WRAP), 0, -1) if length % size == 0)
    if length // inner > MOST_WRAP:
        raise Unclear(f"{length} words can't be counted in two dimensions")
    return [(length // inner, inner), (inner, 1)]


def sequence(stream, shims):
    """Our stream as a runtime sequence; `shims` are the streams' names by their places."""
    tasks, waits, _ = stream
    sizes = collections.Counter()
    for task in tasks:
        sizes[task.argument] = max(sizes[task.argument], max(task.moved()) + 1)
    lines = []
    used = collections.Counter()
    for task in tasks:
        (iterations, step), *inner = task.dimensions()
        if inner[0][0] == inner[1][0] == 1 and inner[2][1] == 1:
            inner = [(1, 0), *split(inner[2][0])]
        if task.repeats + 1 != iterations and iterations != 1:
            raise Unclear(f"{task.place} goes through {iterations} places in {task.repeats + 1} turns, which a sequence can't say")
        outer = (task.repeats + 1, step if iterations > 1 else 0)
        inner = [(entries, 0 if entries == 1 else step) for entries, step in inner[:2]] + inner[2:]
        name = shims[task.place]
        counts, steps = ([pair[part] for pair in [outer, *inner]] for part in (0, 1))
        memory = f"%{'abc'[task.argument]}[0, 0, 0, {task.offset // 4}]{counts}{steps}"
        token = ", issue_token = true" if task.token else ""
        kind = f"memref<{sizes[task.argument]}xi32>"
        lines.append(f"aiex.npu.dma_memcpy_nd({memory}) {{id = {used[task.column]} : i64, metadata = @{name}{token}}} : {kind}")
        used[task.column] += 1
    # Their waits are for a stream, ours for each token.
    lines += [f"aiex.npu.dma_wait {{symbol = @{shims[place]}}}" for place in waits]
    arguments = ", ".join(f"%{'abc'[number]}: memref<{sizes[number]}xi32>" for number in sorted(sizes))
    return "\n".join([f"    aie.runtime_sequence @compared({arguments}) {{", *(f"      {line}" for line in lines), "    }"])


def names(placed):
    """The streams' names by the places of their shim channels."""
    return {(column, direction.lower(), int(number)): name for name, column, direction, number in report.shims(placed)}


def within_device(mlir, text):
    """Puts a sequence at the end of the array's device: before the last but one closing brace."""
    inner = mlir.rstrip().rstrip("}").rstrip().rfind("}")
    if inner < 0:
        raise Unclear("the array's MLIR has no device")
    return f"{mlir[:inner].rstrip()}\n{text}\n  {mlir[inner:]}"


def main():
    parser = argparse.ArgumentParser(description="holds an instruction stream of ours against aiecc's")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("stream", type=pathlib.Path)
    parser.add_argument("--aiecc", default="aiecc")
    parser.add_argument("--peano", default="")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    work = folder / "compared"
    work.mkdir(exist_ok=True)
    try:
        ours = read(arguments.stream.read_bytes())
        text = sequence(ours, names((folder / "input_with_addresses.mlir").read_text()))
        (work / "array.mlir").write_text(within_device((folder / "array.mlir").read_text(), text))
        command = [arguments.aiecc, f"--peano={arguments.peano}", "--alloc-scheme=basic-sequential", f"--tmpdir={work / 'aiecc'}", f"--output-dir={work}"]
        command += ["--get-npu-insts", "--npu-insts-name=insts.bin", "array.mlir"]
        # The cores' object is looked for where aiecc runs.
        for file in folder.glob("*.o"):
            (work / file.name).write_bytes(file.read_bytes())
        subprocess.run(command, cwd=work, check=True)
        wrong, idle = compare(ours, read((work / "insts.bin").read_bytes()))
    except (Unclear, report.Unclear, OSError, subprocess.CalledProcessError, KeyError, IndexError) as error:
        sys.exit(f"compare_streams.py: {folder.name}: {type(error).__name__}: {error}")
    print(f"{folder.name}: {len(ours[0])} transfers")
    for line in idle:
        print(f"  differs, moves nothing: {line}")
    for line in wrong:
        print(f"compare_streams.py: {folder.name}: {line}", file=sys.stderr)
    print("  the same words move" if not wrong else "  OTHER WORDS MOVE")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

"""What can be checked of the array designs without the tools that compile them. `kernels/tests/array_designs.rs` runs it:

    python3 -B -m unittest discover --start-directory kernels/aie/designs
"""

import collections
import pathlib
import re
import tempfile
import unittest
import unittest.mock

import channels
import dataflow
import describe
import flow
import moves
import package
import recorder

DESIGNS = [
    describe.Design(target, kernels, m, k, 64)
    for target in describe.COLUMNS
    for kernels, tiles in {
        "int8": [(48, 64), (16, 16), (32, 112)],
        "bf16": [(48, 32), (16, 8), (32, 48)],
    }.items()
    for m, k in tiles
]
# One core, and a column.
DESIGNS += [
    describe.Design(target, kernels, 48, k, 64, cores)
    for target in describe.COLUMNS
    for kernels, k in {"int8": 64, "bf16": 32}.items()
    for cores in ((1, 1), (4, 1))
]
TRIALS = [describe.Trial(target, kind) for target in describe.COLUMNS for kind in describe.TRIALS]


def record(design):
    with recorder.Recording().in_place() as recording:
        assert dataflow.build(design, "entries.o") == "recorded"
    return recording


def joined(parts):
    """What leaves a column: its cores' objects put together, where there are several."""
    return parts if len(parts) > 1 else parts[0]


def kind(tile):
    return ("shim", "memory")[tile[1]] if tile[1] < 2 else "core"


class Description(unittest.TestCase):
    def test_what_cannot_be_is_refused(self):
        for target, kernels, tile, reason in (
            ("npu1", "bf16", (64, 64, 64), "of a core's 65536"),
            ("npu4", "int8", (60, 64, 64), "whole micro-tiles 8×8×8"),
            ("npu1", "int8", (32, 24, 64), "blocks of 12 keys"),
            ("npu1", "bf16", (32, 32, 32), "as wide as its heads, 64"),
            ("npu1", "int8", (0, 64, 64), "0"),
            ("npu9", "int8", (48, 64, 64), "npu9"),
            ("npu1", "fp32", (48, 64, 64), "no fp32 kernels"),
        ):
            with self.assertRaisesRegex(describe.Refused, reason):
                describe.Design(target, kernels, *tile)


class Moves(unittest.TestCase):
    def test_results_leave_row_by_row(self):
        """Numbered values in four cores' objects, laid out by the contract's formula, come out in the order of the rows: each core's part by a
        descriptor of its own, which stays within it."""
        for design in DESIGNS:
            r, _, t = design.micro_tile
            m, width = design.m, design.n
            memory = {}
            for core in range(design.rows):
                for row in range(m):
                    for column in range(width):
                        micro = (row // r) * (width // t) + column // t
                        place = core * m * width + micro * r * t + (row % r) * t + column % t
                        memory[place] = (core * m + row, column)
            self.assertEqual(sorted(memory), list(range(design.rows * m * width)))
            # A word is two values.
            part = list(moves.addresses(moves.result_walk(design)))
            self.assertEqual(sorted(part), list(range(moves.words(design.c_object))), design.name)
            walked = [start + word for start in moves.offsets(design, design.c_object) for word in part]
            out = [memory[2 * word + half] for word in walked for half in range(2)]
            self.assertEqual(out, [(row, column) for row in range(design.rows * m) for column in range(width)], design.name)

    def test_offsets_neither_overlap_nor_leave_gaps(self):
        for design in DESIGNS:
            size = design.c_object
            places = [word for start in moves.offsets(design, size) for word in range(start, start + moves.words(size))]
            self.assertEqual(places, list(range(design.rows * moves.words(size))))

    def test_what_a_dma_cannot_do_is_refused(self):
        with self.assertRaisesRegex(describe.Refused, "whole words"):
            moves.words(6)


class Dataflow(unittest.TestCase):
    def test_tiles_have_the_channels_and_the_memory(self):
        for design in DESIGNS:
            recording = record(design)
            into, out_of, memory = collections.Counter(), collections.Counter(), collections.Counter()
            # Of linked streams only one end keeps objects in the memory tile: the larger.
            linked = {}
            for sources, targets, _, _ in recording.links:
                whole = max(sources + targets, key=lambda fifo: fifo.words)
                for fifo in sources + targets:
                    linked[fifo.name] = whole.name
            for fifo in recording.fifos.values():
                out_of[fifo.source] += 1
                for tile in fifo.targets:
                    into[tile] += 1
                for tile in [fifo.source] + fifo.targets:
                    if kind(tile) == "core":
                        memory[tile] += fifo.depth * fifo.words * 4
            for name in set(linked.values()):
                fifo = recording.fifos[name]
                (tile,) = [tile for tile in [fifo.source] + fifo.targets if kind(tile) == "memory"]
                memory[tile] += fifo.depth * fifo.words * 4
            for tile in memory:
                memory[tile] += describe.CONSTANT_BYTES if kind(tile) == "core" else 0
            for tile, words in recording.buffers.values():
                memory[tile] += words * 4
            for used in (into, out_of):
                for tile, count in used.items():
                    self.assertLessEqual(count, moves.CHANNELS[kind(tile)], f"{design.name} {tile}")
            cores = [tile for tile in memory if kind(tile) == "core"]
            self.assertEqual(len(cores), design.rows * design.columns)
            self.assertEqual({memory[tile] for tile in cores}, {design.core_memory})
            self.assertEqual(max(memory[tile] for tile in memory if kind(tile) == "memory"), design.memory_tile)

    def test_vectors_in_a_cores_memory_are_aligned(self):
        """As mlir-aie places them (AIEAssignBuffers.cpp, basic-sequential): behind the stack, the largest first, without gaps. What it adds itself,
        counters of a queue's objects, is smaller."""
        for design in DESIGNS:
            recording = record(design)
            for tile in recording.cores:
                sizes = [words * 4 for name, (of, words) in recording.buffers.items() if of == tile and not name.startswith("stack")]
                for fifo in recording.fifos.values():
                    sizes += [fifo.words * 4] * fifo.depth if tile in [fifo.source, *fifo.targets] else []
                address = describe.STACK_BYTES
                for size in sorted(sizes, reverse=True):
                    self.assertEqual(address % 64, 0, f"{design.name} {tile}: {size} bytes at {address}")
                    address += size

    def test_links_pass_everything_on(self):
        for design in DESIGNS:
            for sources, targets, source_offsets, target_offsets in record(design).links:
                many, offsets = (sources, source_offsets) if len(sources) > 1 else (targets, target_offsets)
                (one,) = targets if len(sources) > 1 else sources
                self.assertEqual(sum(fifo.words for fifo in many), one.words)
                if len(many) > 1:
                    self.assertEqual(offsets, [row * many[0].words for row in range(design.rows)])
                    # In the order of the rows.
                    ends = [fifo.source if many is sources else fifo.targets[0] for fifo in many]
                    self.assertEqual([tile[1] for tile in ends], [2, 3, 4, 5][: design.rows])

    def test_streams_go_where_the_description_says(self):
        for design in DESIGNS:
            recording = record(design)
            for stream, places in design.channels().items():
                for index, place in enumerate(places):
                    fifo = recording.fifos[f"{stream}_{index}"]
                    shim = fifo.source if place["direction"] == "mm2s" else fifo.targets[0]
                    self.assertEqual(shim, (place["column"], 0))
            for row in range(design.rows):
                targets = recording.fifos[f"rows_{row}"].targets
                self.assertEqual(targets, [(column, 2 + row) for column in range(design.columns)])
            for column in range(design.columns):
                targets = recording.fifos[f"columns_{column}"].targets
                self.assertEqual(targets, [(column, 2 + row) for row in range(design.rows)])

    def test_cores_take_and_give_in_turn(self):
        for design in DESIGNS:
            recording = record(design)
            entry = f"undertone_{design.kernels}_"
            # What is taken depends on the data.
            self.assertEqual(set(recording.counted_at_run_time.values()), {True})
            for (column, row), program in recording.cores.items():
                row -= 2
                state = f"state_{column}_{row}"
                a, b, c = f"rows_{row}", f"columns_{column}", f"results_{column}_{row}"
                expected = [
                    ("loop", dataflow.sys.maxsize), ("acquire", a), ("call", f"{entry}kind", a),
                    ("if", f"{entry}kind", 1),
                    ("call", f"{entry}queries", a, state, column), ("if", f"{entry}queries", 0),
                    ("call", f"{entry}blocks", state), ("loop", f"{entry}blocks"),
                    ("acquire", b), ("call", f"{entry}keys", b, state), ("release", b),
                    ("acquire", b), ("call", f"{entry}values", b, state), ("release", b), ("end",),
                    ("acquire", c), ("call", f"{entry}end", state, c), ("release", c), ("end",), ("end",),
                    ("else",), ("acquire", b), ("call", f"{entry}step", a, b, state),
                    ("if", f"{entry}kind", 0), ("acquire", c), ("call", f"{entry}finish", a, b, state, c), ("release", c), ("end",),
                    ("release", b), ("end",), ("release", a), ("end",),
                ]  # fmt: skip
                self.assertEqual(program, expected)

    def test_more_releases_than_acquires_over_all_branches_are_refused(self):
        """As mlir-aie does: a release in each of two branches is two, whichever is taken."""

        class InBothBranches(dataflow.Core):
            def attend(self, left):
                super().attend(left)
                self.a.release(self.consume, 1)

        with unittest.mock.patch.object(dataflow, "Core", InBothBranches):
            with self.assertRaisesRegex(recorder.Refused, "rows_0: cannot release more elements"):
                record(DESIGNS[0])
        loop, end, take, give = ("loop", 9), ("end",), ("acquire", "a"), ("release", "a")
        either = [("if", "kind", 0), give, end, ("else",), give, end]
        for refused in ([loop, take, *either, end], [loop, give, end], [loop, ("loop", 2), take, give, give, end, end]):
            with self.assertRaises(recorder.Refused):
                recorder.check_releases(refused)
        # Outside loops, and where an inner loop has its part, mlir-aie counts nothing.
        for passed in ([take, *either], [loop, take, take, *either, end], [loop, ("loop", 2), take, end, *either, end]):
            recorder.check_releases(passed)

    def test_entries_are_those_of_the_kernels(self):
        """Names, what goes in (memory or a number) and what comes out, as the C++ has them."""
        entry = re.compile(r"^(void|int32_t) UNDERTONE_NAME\((\w+)\)\(([^)]*)\)", re.MULTILINE)
        sources = pathlib.Path(__file__).parent.parent / "src"
        for design in DESIGNS:
            own = (sources / f"{design.kernels}.cc").read_text()
            self.assertIn(f"UNDERTONE_ENTRY({design.kernels}_##entry)", own)
            written = {}
            for result, name, parameters in entry.findall((sources / "matrix.h").read_text()):
                kinds = ["memory" if "*" in parameter else parameter.split()[0] for parameter in parameters.split(",")]
                written[name] = (kinds, [] if result == "void" else [result])
            self.assertTrue(written)
            called = {
                name: (["int32_t" if kind == "int32" else "memory" for kind in inputs], ["int32_t"] * len(outputs))
                for name, (inputs, outputs) in record(design).functions.items()
            }
            self.assertEqual(called, {f"undertone_{design.kernels}_{name}": kinds for name, kinds in written.items()})


class Flow(unittest.TestCase):
    """Objects in the order of the instruction streams go in at the shims; what comes out is looked at."""

    ROUNDS, WIDE, STEPS = 3, 2, 5
    BLOCKS = 3

    def linear_feed(self, design):
        """A: row tiles, repeated for each column tile; B: column tiles, again for each round."""
        steps = range(self.STEPS)
        turns = [(turn, wide) for turn in range(self.ROUNDS) for wide in range(self.WIDE)]
        feed = {}
        for row in range(design.rows):
            feed[f"a_{row}"] = [(design.rows * turn + row, self.STEPS, step) for turn, _ in turns for step in steps]
        for column in range(design.columns):
            feed[f"b_{column}"] = [(wide * design.columns + column, step) for _, wide in turns for step in steps]
        return feed

    def products(self, design):
        """What comes out of each column."""
        expected = {}
        for column in range(design.columns):
            blocks = expected[f"c_{column}"] = []
            for turn in range(self.ROUNDS):
                for wide in range(self.WIDE):
                    tile = wide * design.columns + column
                    rows = range(design.rows * turn, design.rows * (turn + 1))
                    blocks.append(joined([tuple((row, step, (tile, step)) for step in range(self.STEPS)) for row in rows]))
        return expected

    def attention_feed(self, design, blocks, jobs):
        """Stages of a job for each column, the last of them not full; with what comes out."""
        feed = {f"a_{row}": [] for row in range(design.rows)} | {f"b_{column}": [] for column in range(design.columns)}
        expected = {}
        slices = -(-64 // design.k)
        for first in range(0, jobs, design.columns):
            stage = range(first, min(jobs, first + design.columns))
            for job in stage:
                column = job - first
                for row in range(design.rows):
                    last = job == stage[-1]
                    feed[f"a_{row}"] += [((job, row), column, blocks, last and piece + 1 == slices) for piece in range(slices)]
                seen = [(kind, job, block) for block in range(blocks) for kind in "kv"]
                feed[f"b_{column}"] += seen
                expected.setdefault(f"c_{column}", []).append(joined([((job, row), *seen) for row in range(design.rows)]))
        return feed, expected

    def test_products_of_the_right_tiles_come_out(self):
        for design in DESIGNS:
            out = flow.Flow(record(design), self.linear_feed(design)).run()
            self.assertEqual(dict(out), self.products(design))

    def test_each_tile_of_queries_sees_all_of_its_keys_and_values(self):
        for design in DESIGNS:
            for blocks, jobs in ((self.BLOCKS, 2 * design.columns + 1), (1, design.columns), (0, design.columns + 3), (2, 1)):
                feed, expected = self.attention_feed(design, blocks, jobs)
                self.assertEqual(dict(flow.Flow(record(design), feed).run()), expected)

    def test_an_array_goes_from_one_kind_of_work_to_the_other(self):
        for design in DESIGNS:
            linear, products = self.linear_feed(design), self.products(design)
            attention, results = self.attention_feed(design, self.BLOCKS, design.columns + 1)
            feed = {name: linear[name] + attention[name] + linear[name] for name in linear}
            expected = {name: products[name] + results[name] + products[name] for name in products}
            self.assertEqual(dict(flow.Flow(record(design), feed).run()), expected)

    def test_what_is_missing_or_left_over_is_noticed(self):
        design = DESIGNS[0]
        feed = self.linear_feed(design)
        feed["b_1"].pop()
        with self.assertRaises(flow.Stuck):
            flow.Flow(record(design), feed).run()
        feed = self.linear_feed(design)
        feed["a_1"].append((99, self.STEPS, 0))
        with self.assertRaises(flow.Stuck):
            flow.Flow(record(design), feed).run()


class Trial(unittest.TestCase):
    def test_a_pass_through_gives_back_what_comes_by_either_way(self):
        for target in describe.COLUMNS:
            recording = record(describe.Trial(target, "pass_through"))
            self.assertEqual(recording.cores, {})
            things = {"a_0": [("a", index) for index in range(9)], "b_0": [("b", index) for index in range(5)]}
            out = flow.Flow(recording, things).run()
            self.assertEqual(dict(out), {"c_0": things["a_0"], "c_1": things["b_0"]})

    def test_its_sequence_moves_a_to_c_and_waits_for_c(self):
        for target in describe.COLUMNS:
            recording = record(describe.Trial(target, "pass_through"))
            words = describe.MADE_BYTES // 4
            self.assertEqual(recording.started, [("a_0", "argument 0", words, False), ("c_0", "argument 2", words, True)])
            self.assertEqual(recording.awaited, recording.started[1:])

    def test_a_core_answers_each_question(self):
        for target in describe.COLUMNS:
            recording = record(describe.Trial(target, "core"))
            self.assertEqual(set(recording.counted_at_run_time.values()), {False})
            things = [("question", index) for index in range(7)]
            self.assertEqual(dict(flow.Flow(recording, {"a_0": things}).run()), {"c_0": [("answer", *thing) for thing in things]})
            source = (pathlib.Path(__file__).parent.parent / "src" / "trial.cc").read_text()
            self.assertIn("void UNDERTONE_ENTRY(trial_answer)(const int32_t *a, int32_t *c)", source)
            self.assertEqual(recording.functions["undertone_trial_answer"][1], [])

    def test_buffers_and_channels_fit(self):
        for trial in TRIALS:
            recording = record(trial)
            into, out_of = collections.Counter(), collections.Counter()
            for fifo in recording.fifos.values():
                out_of[fifo.source] += 1
                into.update(fifo.targets)
            for used in (into, out_of):
                for tile, count in used.items():
                    self.assertLessEqual(count, moves.CHANNELS[kind(tile)], f"{trial.name} {tile}")
            self.assertEqual(trial.object % describe.VECTOR_BYTES, 0)
            for stream, places in trial.channels().items():
                for index, place in enumerate(places):
                    fifo = recording.fifos[f"{stream}_{index}"]
                    shim = fifo.source if place["direction"] == "mm2s" else fifo.targets[0]
                    self.assertEqual(shim, (place["column"], 0))

    def test_what_cannot_be_is_refused(self):
        with self.assertRaisesRegex(describe.Refused, "no trial array other"):
            describe.Trial("npu1", "other")
        for cores in ((5, 1), (1, 5), (0, 1)):
            with self.assertRaisesRegex(describe.Refused, "4 rows and 4 columns"):
                describe.Design("npu1", "int8", 48, 64, 64, cores)

    def test_its_bundle_says_what_it_is(self):
        for trial in TRIALS:
            with tempfile.TemporaryDirectory() as folder:
                file, made = pathlib.Path(folder) / "design.xclbin", pathlib.Path(folder) / "insts.bin"
                file.write_bytes(b"container")
                made.write_bytes(b"made")
                said = package.manifest(trial, file, None, {"tool": "1"}, made)
                self.assertEqual(said["trial"], trial.json())
                self.assertEqual((said["xclbin"]["bytes"], said["instructions"]["bytes"]), (9, 4))
                self.assertIsNone(package.manifest(trial, file, None, {})["instructions"])


class Container(unittest.TestCase):
    def test_the_kernel_declares_the_five_buffers_that_a_run_list_needs(self):
        (kernel,) = package.kernel()["ps-kernels"]["kernels"]
        buffers = [(one["name"], int(one["offset"], 16)) for one in kernel["arguments"] if one.get("memory-connection") == "HOST"]
        self.assertEqual(buffers, [("a", 0x14), ("b", 0x1C), ("c", 0x24), ("bo3", 0x2C), ("bo4", 0x34)])


class Channels(unittest.TestCase):
    def mlir(self, design, old=False, change=lambda stream, index, place: place):
        lines = []
        for column in range(design.width):
            lines.append(f"    %shim_noc_tile_{column}_0 = aie.tile({column}, 0)")
            lines.append(f"    %mem_tile_{column}_1 = aie.tile({column}, 1)")
        for stream, places in design.channels().items():
            for index, place in enumerate(places):
                place = change(stream, index, dict(place))
                direction = place["direction"].upper()
                if old:
                    what = f"@{stream}_{index}({direction}, {place['channel']}, {place['column']})"
                else:
                    what = f"@{stream}_{index}_shim_alloc(%shim_noc_tile_{place['column']}_0, {direction}, {place['channel']})"
                lines.append(f"    aie.shim_dma_allocation {what}")
        return "\n".join(lines)

    def test_they_are_found_in_either_form(self):
        for design in DESIGNS + TRIALS:
            for old in (False, True):
                self.assertEqual(channels.extract(design, self.mlir(design, old)), design.channels())

    def test_others_than_the_usual_are_taken_over(self):
        design = describe.Design("npu4", "int8", 48, 64, 64)

        def first(stream, index, place):
            # Where no A comes through a column, the compiler gives B its first channel.
            return {**place, "channel": 0} if stream == "b" and index % 2 else place

        found = channels.extract(design, self.mlir(design, change=first))
        self.assertEqual([channel["channel"] for channel in found["b"]], [1, 0] * 4)

    def test_buffers_at_odd_addresses_are_refused(self):
        def buffer(name, address, words):
            return f'    %{name} = aie.buffer(%tile_0_2) {{address = {address} : i32, mem_bank = 0 : i32, sym_name = "{name}"}} : memref<{words}xi32>\n'

        good = buffer("state_0_0", 6144, 1000) + buffer("counters", 10148, 3)
        channels.check_addresses(good)
        with self.assertRaisesRegex(channels.Unclear, "rows_0_cons_buff_1 lies at 9440"):
            channels.check_addresses(good + buffer("rows_0_cons_buff_1", 9440, 824))
        with self.assertRaisesRegex(channels.Unclear, "no buffers"):
            channels.check_addresses(self.mlir(DESIGNS[0]))

    def test_what_is_unclear_is_refused(self):
        design = DESIGNS[0]
        mlir = self.mlir(design)
        with self.assertRaisesRegex(channels.Unclear, "missing a_0"):
            channels.extract(design, mlir.replace("@a_0_shim", "@a_9_shim"))
        with self.assertRaisesRegex(channels.Unclear, "no stream"):
            channels.extract(design, mlir.replace("@a_0_shim_alloc", "@trace"))
        with self.assertRaisesRegex(channels.Unclear, "column"):
            channels.extract(design, self.mlir(design, change=lambda stream, index, place: {**place, "column": 0}))


if __name__ == "__main__":
    unittest.main()

"""A stand-in for the parts of mlir-aie that `dataflow.py` uses: it records what is built. It knows mlir-aie's names and argument
orders from its sources; that it accepts a design is no proof that mlir-aie does.
"""

import collections
import contextlib
import dataclasses
import sys
import types


@dataclasses.dataclass(frozen=True)
class Value:
    """A number that is known when the array runs."""

    kind: str = "i32"


@dataclasses.dataclass(frozen=True)
class Constant:
    """A number that is known when the array is built."""

    value: int


@dataclasses.dataclass(frozen=True)
class Said:
    """What an entry returned when it was last called."""

    entry: str


@dataclasses.dataclass(frozen=True)
class More:
    """Whether that is more than a number."""

    said: Said
    than: int


@dataclasses.dataclass
class Fifo:
    name: str
    source: tuple
    targets: list
    depth: int
    words: int
    walk: list
    recording: "Recording"

    def acquire(self, port, count):
        assert count == 1 and self.recording.core is not None
        tile = self.recording.core
        assert (tile == self.source) if port == "produce" else (tile in self.targets)
        self.recording.log("acquire", self.name)
        return Memory(self.words, self.name)

    def release(self, port, count):
        assert count == 1
        self.recording.log("release", self.name)


@dataclasses.dataclass(frozen=True)
class Memory:
    words: int
    name: str


class Refused(Exception):
    """What mlir-aie would refuse."""


def check_releases(program):
    """mlir-aie's `verifyOverRelease` (AIEObjectFifoVerify.cpp): of each loop's body the acquires and the releases of a queue are added up, those
    of all branches, for the check does not know that only one of them is taken. A queue that an inner loop uses as well is left out."""
    loops, open_blocks = [], []
    for entry in program:
        match entry:
            case ("loop" | "if" | "else" as block, *_):
                open_blocks.append(block)
                if block == "loop":
                    loops.append(({"acquire": collections.Counter(), "release": collections.Counter()}, set()))
            case ("acquire" | "release" as what, name) if loops:
                loops[-1][0][what][name] += 1
                for _, inner in loops[:-1]:
                    inner.add(name)
            case ("end",) if open_blocks.pop() == "loop":
                counts, inner = loops.pop()
                for name, released in counts["release"].items():
                    if name not in inner and released > counts["acquire"][name]:
                        raise Refused(f"{name}: cannot release more elements than are already acquired")


class Recording:
    """All that was built."""

    def __init__(self):
        self.device = None
        self.fifos = {}
        self.links = []
        self.buffers = {}
        self.functions = {}
        self.cores = {}
        # Whether each core's queues are.
        self.counted_at_run_time = {}
        self.core = None
        # Of a runtime sequence: the transfers that it starts, and those that it waits for.
        self.started, self.awaited = [], []
        self.module = "recorded"

    def log(self, *entry):
        self.cores[self.core].append(entry)

    def modules(self):
        """The stand-ins, by module name."""

        class Shaped(type):
            def __getitem__(cls, what):
                return what

        class Array(metaclass=Shaped):
            """numpy.ndarray[shape, type]"""

        class Type(metaclass=Shaped):
            """numpy.dtype[type]"""

        def words(kind):
            (count,), element = kind
            assert element == "int32"
            return count

        def fifo(name, source, targets, depth, kind, walk=None):
            assert name not in self.fifos
            targets = targets if isinstance(targets, list) else [targets]
            self.fifos[name] = Fifo(name, source, targets, depth, words(kind), walk or [], self)
            return self.fifos[name]

        def link(sources, targets, source_offsets=(), target_offsets=()):
            def several(one):
                return one if isinstance(one, list) else [one]

            self.links.append((several(sources), several(targets), list(source_offsets), list(target_offsets)))

        def external(name, inputs, outputs=None, visibility="private", link_with=None):
            assert link_with and name not in self.functions
            self.functions[name] = (inputs, outputs or [])

            def call(*arguments):
                assert len(arguments) == len(inputs), name
                for argument, kind in zip(arguments, inputs):
                    if kind == "int32":
                        assert argument == Value("i32") or isinstance(argument, Constant), name
                    else:
                        assert argument.words == words(kind), name
                said = (argument.value if isinstance(argument, Constant) else argument.name for argument in arguments if argument != Value("i32"))
                self.log("call", name, *said)
                return Said(name) if outputs else None

            return call

        def buffer(tile, kind, name):
            assert name not in self.buffers
            self.buffers[name] = (tile, words(kind))
            return Memory(words(kind), name)

        def device(kind):
            self.device = kind
            return lambda body: body()

        def core(tile, stack_size, dynamic_objfifo_lowering=False):
            assert tile not in self.cores
            self.counted_at_run_time[tile] = dynamic_objfifo_lowering
            self.buffers[f"stack_{tile}"] = (tile, stack_size // 4)

            def run(body):
                self.core, self.cores[tile] = tile, []
                body()
                check_releases(self.cores[tile])
                self.core = None

            return run

        def loop(count):
            self.log("loop", count if isinstance(count, int) else count.entry)
            yield Value("index")
            self.log("end")

        @contextlib.contextmanager
        def if_(condition, hasElse):
            assert isinstance(condition, More)
            self.log("if", condition.said.entry, condition.than)
            yield "branch" if hasElse else None
            self.log("end")

        @contextlib.contextmanager
        def else_(branch):
            assert branch == "branch"
            self.log("else")
            yield
            self.log("end")

        @contextlib.contextmanager
        def context():
            yield self

        def index_cast(value, to):
            assert value == Value("index") and to == "i32"
            return Value("i32")

        def constant(kind, value):
            assert kind == "i32"
            return Constant(value)

        def cmpi(predicate, left, right):
            assert predicate == "sgt" and isinstance(left, Said)
            return More(left, right.value)

        def module(name, **content):
            made = types.ModuleType(name)
            made.__dict__.update(content)
            return made

        port = types.SimpleNamespace(Consume="consume", Produce="produce")
        kinds = types.SimpleNamespace(npu1="npu1", npu2="npu2")
        parts = {"tile": lambda column, row: (column, row), "object_fifo": fifo, "object_fifo_link": link, "buffer": buffer}
        parts |= {"external_func": external, "device": device, "core": core, "ObjectFifoPort": port, "AIEDevice": kinds}

        def runtime_sequence(*kinds):
            return lambda body: body(*(Memory(words(kind), f"argument {index}") for index, kind in enumerate(kinds)))

        def transfer(fifo, memory, sizes, issue_token=False):
            assert self.fifos[fifo.name] is fifo and 0 in [tile[1] for tile in [fifo.source, *fifo.targets]]
            assert len(sizes) == 4 and sizes[:3] == [1, 1, 1] and sizes[3] <= memory.words and sizes[3] % fifo.words == 0
            return (fifo.name, memory.name, sizes[3], issue_token)

        def awaited(task):
            # mlir-aie waits by a task's token.
            assert task in self.started and task[3]
            self.awaited.append(task)

        sequences = {"runtime_sequence": runtime_sequence, "shim_dma_single_bd_task": transfer}
        sequences |= {"dma_start_task": lambda *tasks: self.started.extend(tasks), "dma_await_task": awaited}
        aiex = module("aie.dialects.aiex", **sequences)
        dialect, arith = module("aie.dialects.aie", **parts), module("arith", index_cast=index_cast)
        predicates = types.SimpleNamespace(sgt="sgt")
        standard = module("aie.dialects.arith", cmpi=cmpi, constant=constant, CmpIPredicate=predicates)
        return {
            "numpy": module("numpy", ndarray=Array, dtype=Type, int32="int32"),
            "aie": module("aie"),
            "aie.dialects": module("aie.dialects", aie=dialect, aiex=aiex, arith=standard),
            "aie.dialects.aiex": aiex,
            "aie.dialects.arith": standard,
            "aie.dialects.aie": dialect,
            "aie.extras": module("aie.extras"),
            "aie.extras.context": module("aie.extras.context", mlir_mod_ctx=context),
            "aie.extras.dialects": module("aie.extras.dialects", arith=arith),
            "aie.helpers": module("aie.helpers"),
            "aie.helpers.dialects": module("aie.helpers.dialects"),
            "aie.helpers.dialects.scf": module("aie.helpers.dialects.scf", _for=loop, if_=if_, else_=else_),
            "aie.helpers.util": module("aie.helpers.util", np_dtype_to_mlir_type=lambda kind: "i32"),
        }

    @contextlib.contextmanager
    def in_place(self):
        """Has `import` find the stand-ins."""
        modules = self.modules()
        before = {name: sys.modules.get(name) for name in modules}
        sys.modules.update(modules)
        try:
            yield self
        finally:
            for name, old in before.items():
                if old is None:
                    del sys.modules[name]
                else:
                    sys.modules[name] = old

"""Lets objects flow through a recorded array (`recorder.py`): queues of two, cores that do what was recorded, memory tiles that pass on,
split and put together. Objects are labels, so what comes out says what went into it. Slow and obvious; for tests.
"""

import collections

import describe


def tree(program):
    """A recorded program with its loops and branches as lists."""
    entries = iter(program)

    def block():
        body = []
        for entry in entries:
            if entry[0] == "end":
                break
            body.append((*entry, block()) if entry[0] in ("loop", "if", "else") else entry)
        return body

    return block()


class Stuck(RuntimeError):
    """Nothing can move, and not everything came out."""


class Flow:
    """An array at work. `feed` has the objects of every stream that begins in a shim tile."""

    def __init__(self, recording, feed):
        self.recording = recording
        self.queues = {
            (fifo.name, tile): collections.deque() for fifo in recording.fifos.values() for tile in fifo.targets
        }
        self.feed = {name: collections.deque(objects) for name, objects in feed.items()}
        self.out = collections.defaultdict(list)
        self.processes = [self.core(tile, tree(program)) for tile, program in recording.cores.items()]
        self.processes += [self.link(*link) for link in recording.links]
        self.processes += [self.source(recording.fifos[name]) for name in feed]
        drains = [fifo for fifo in recording.fifos.values() if fifo.targets[0][1] == 0]
        self.processes += [self.drain(fifo) for fifo in drains]
        self.moves = 0

    def room(self, fifo):
        return all(len(self.queues[fifo.name, tile]) < describe.DEPTH for tile in fifo.targets)

    def put(self, fifo, thing):
        self.moves += 1
        for tile in fifo.targets:
            self.queues[fifo.name, tile].append(thing)

    def source(self, fifo):
        objects = self.feed[fifo.name]
        while objects:
            while not self.room(fifo):
                yield
            self.put(fifo, objects.popleft())

    def drain(self, fifo):
        queue = self.queues[fifo.name, fifo.targets[0]]
        while True:
            while not queue:
                yield
            self.moves += 1
            self.out[fifo.name].append(queue.popleft())

    def link(self, sources, targets, _source_offsets, _target_offsets):
        """One to one as it is; one to four: an object is a list, shared out; four to one: put into a list."""
        queues = [self.queues[fifo.name, targets[0].source] for fifo in sources]
        while True:
            while not all(queues) or not all(self.room(fifo) for fifo in targets):
                yield
            things = [queue.popleft() for queue in queues]
            for index, fifo in enumerate(targets):
                whole = things if len(sources) > 1 else things[0]
                self.put(fifo, whole[index] if len(targets) > 1 else whole)

    def core(self, tile, program):
        memory = {"state": [], "own": None}
        said = {}
        held = {}

        def run(body):
            for entry in body:
                match entry:
                    case ("acquire", name):
                        fifo = self.recording.fifos[name]
                        if fifo.source == tile:
                            while not self.room(fifo):
                                yield
                            held[name] = None
                        else:
                            while not self.queues[name, tile]:
                                yield
                            held[name] = self.queues[name, tile][0]
                    case ("release", name):
                        fifo = self.recording.fifos[name]
                        thing = held.pop(name)
                        if fifo.source == tile:
                            self.put(fifo, thing)
                        else:
                            self.moves += 1
                            self.queues[name, tile].popleft()
                    case ("call", entry_name, *names):
                        said[entry_name] = self.call(entry_name.rpartition("_")[2], names, memory, held)
                    case ("loop", count, inner):
                        turn = 0
                        count = said.get(count, count)
                        while turn < count:
                            yield from run(inner)
                            turn += 1
                    case ("if", entry_name, than, inner):
                        condition = said[entry_name] > than
                        if condition:
                            yield from run(inner)
                    case ("else", inner):
                        if not condition:
                            yield from run(inner)

        yield from run(program)

    def call(self, entry, names, memory, held):
        """What the C++ does, on labels: an object of A is (label, steps, step) of a linear layer, or
        (label, column, blocks, last) of queries."""
        things = [held.get(name) for name in names]
        match entry:
            case "kind":
                if len(things[0]) == 4:
                    return 2
                _, steps, step = things[0]
                return int(step + 1 == steps)
            case "step":
                (a, _, step), b = things[:2]
                # FIRST: sums begin anew.
                memory["state"] = [*([] if step == 0 else memory["state"]), (a, step, b)]
            case "queries":
                label, column, blocks, last = things[0]
                if column == names[-1]:
                    memory["state"], memory["own"] = [label], blocks
                ready = last and memory["own"] is not None
                return int(ready)
            case "blocks":
                blocks, memory["own"] = memory["own"], None
                return blocks
            case "answer":
                held[names[1]] = ("answer", *things[0])
            case "keys" | "values":
                memory["state"].append(things[0])
            case "finish" | "end":
                held[names[-1]] = tuple(memory["state"])
        return None

    def run(self):
        """Until nothing moves any more.

        Raises Stuck if something is left inside."""
        moved = -1
        while moved != self.moves:
            moved = self.moves
            for process in self.processes:
                next(process, None)
        left = [name for (name, _), queue in self.queues.items() if queue] + [name for name, queue in self.feed.items() if queue]
        if left:
            raise Stuck(f"left in {sorted(set(left))}")
        return self.out

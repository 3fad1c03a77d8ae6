"""What the kernels may not do, read from clang's LLVM code of one entry file: double, division, exceptions, heap, initialisers, recursion,
a soft-max of several widths, calls to anything but memcpy, memmove and memset. Prints the deepest stack of each entry.

    python3 calls.py CODE.ll STACK.su

The stack is the host's: frames along the deepest chain of calls. On the NPU vectors live in other registers and frames differ, so it is a proxy
that shows what grows, no measurement.
"""

import re
import sys

LIMIT = 8192
ALLOWED = re.compile(r"^(llvm\.(memcpy|memset|memmove|lifetime|assume|experimental\.noalias|v|u|s|f|x86|fshl|ctpop|abs|threadlocal)|mem(cpy|set|move)$|llvm\.dbg)")


def main(code_path, stack_path):
    with open(code_path) as file:
        code = file.read()
    with open(stack_path) as file:
        frames = {line.split("\t")[0].rsplit(":", 1)[1]: int(line.split("\t")[1]) for line in file}
    wrong = []
    for pattern, what in [
        (r"\bdouble\b", "a double"),
        (r"\bfdiv\b", "a division of floats"),
        (r"\bfrem\b", "a remainder of floats"),
        (r"\b(invoke|landingpad|resume)\b", "an exception"),
        (r"llvm\.fma|llvm\.fmuladd", "a fused multiply-add"),
        (r"@llvm\.global_ctors", "an initialiser that runs before the program"),
    ]:
        lines = [line.strip() for line in code.splitlines() if not line.startswith((";", "source_filename", "!")) and re.search(pattern, line)]
        if lines:
            wrong.append(f"{what}: {lines[0]}")
    calls, entries = {}, []
    for header, body in re.findall(r"^define (.*?) \{\n(.*?)^\}", code, re.S | re.M):
        name = re.search(r'@"?([\w.$]+)"?\(', header)[1]
        calls[name] = set(re.findall(r'\bcall\b[^@\n]*@"?([\w.$]+)"?\(', body))
        if re.search(r"\bcall\b[^@\n]*%\w+\(", body):
            wrong.append(f"{name}: a call through a pointer")
        if name.startswith("undertone_"):
            entries.append(name)
    for name, called in calls.items():
        for other in sorted(called - calls.keys()):
            if not ALLOWED.match(other):
                wrong.append(f"{name}: it calls {other}")
    # A core's program memory is small, and a tile has rows of scores of one length.
    widths = [name for name in calls if "attention_softmax" in name]
    if len(widths) > 1:
        wrong.append(f"the soft-max is there {len(widths)} times: {' '.join(widths)}")
    depths = {}

    def depth(name, path):
        if name in path:
            wrong.append(f"recursion: {' calls '.join([*path, name])}")
            return 0
        if name not in depths:
            # 8 bytes for the return address.
            below = [depth(other, [*path, name]) for other in calls[name] if other in calls]
            depths[name] = frames.get(name, 0) + 8 + max(below, default=0)
        return depths[name]

    if not entries:
        wrong.append("there is no entry")
    for name in entries:
        deep = depth(name, [])
        print(f"    {name}: {deep} bytes of stack on the host")
        if deep > LIMIT:
            wrong.append(f"{name}: {deep} bytes of stack on the host, at most {LIMIT}")
    for line in wrong:
        print(f"  {code_path}: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

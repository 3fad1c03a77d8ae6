"""Gives numpy for Windows the functions of complex numbers that Wine's C library (10 and before) lacks.

    python3 complex.py FOLDER_OF_PACKAGES UCRTBASE.DLL

numpy's own library asks the C library's part for mathematics for them, and would end at its start. It is made to ask a
library beside it instead, which has them and hands everything else on to the C library.
"""

import pathlib
import re
import subprocess
import sys

ASKED, GIVEN = "api-ms-win-crt-math-l1-1-0.dll", "crt-math-for-wine.dll"
# Microsoft's complex numbers are structures of two.
FUNCTIONS = {
    name + suffix: f"{real} {name}{suffix}(struct {{ {real} re, im; }} z) {{ return z.{part}; }}"
    for name, part in (("creal", "re"), ("cimag", "im"))
    for suffix, real in (("", "double"), ("f", "float"), ("l", "double"))
}


def main(packages, library):
    module = next(pathlib.Path(packages, "numpy/_core").glob("_multiarray_umath*.pyd"))
    listed = subprocess.run(["x86_64-w64-mingw32-objdump", "-p", library], capture_output=True, text=True, errors="replace", check=True)
    names = re.findall(r"^\t\[ *\d+\] (\w+)$", listed.stdout.split("[Ordinal/Name Pointer] Table")[1], re.MULTILINE)
    exports = [name if name in FUNCTIONS else f"{name} = ucrtbase.{name}" for name in names]
    source, definition = module.with_name("complex.c"), module.with_name("complex.def")
    source.write_text("\n".join(FUNCTIONS.values()))
    definition.write_text("\n".join([f"LIBRARY {GIVEN}", "EXPORTS", *exports]))
    compiler = ["x86_64-w64-mingw32-gcc", "-w", "-O2", "-fno-builtin", "-shared", "-o", module.with_name(GIVEN)]
    subprocess.run([*compiler, source, definition], check=True)
    code = module.read_bytes()
    assert code.count(ASKED.encode()) == 1, f"{module} asks {ASKED} {code.count(ASKED.encode())} times"
    module.write_bytes(code.replace(ASKED.encode(), GIVEN.encode().ljust(len(ASKED), b"\0")))


if __name__ == "__main__":
    main(*sys.argv[1:])

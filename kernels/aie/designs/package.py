"""Puts a compiled array into a bundle: the container that XRT loads (by AMD's xclbinutil) and `bundle.json` (read by
`kernels/src/npu/bundle.rs`).

    python3 package.py --target npu1 --kernels int8 --tile 48,64,64 --pdi design.pdi --out FOLDER
"""

import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import uuid

import channels
import describe

FORMAT = 2
TRIAL_FORMAT = 1
KERNEL = "MLIR_AIE"
ARGUMENTS = ("a", "b", "c")
# Buffers that the container has to declare, as aiecc does (`kMinHostBOs` of mlir-aie's tools/aiecc/SidecarFiles.h): with fewer the firmware's
# command slot is too small, and a run list aborts. Those after C stay unbound.
BUFFERS = 5
# mlir-aie's packet id for the shim tile of every column.
TOKEN_CONTROLLER = 15
KERNEL_ID = "0x901"


def memory():
    """Where a command's buffers may lie: data in the host's memory, instructions where the NPU's processor reads them."""

    def bank(tag, kilobytes):
        return {"m_type": "MEM_DRAM", "m_used": "1", "m_sizeKB": kilobytes, "m_tag": tag, "m_base_address": "0x4000000"}

    banks = [bank("HOST", "0x10000"), bank("SRAM", "0xc000")]
    return {"mem_topology": {"m_count": str(len(banks)), "m_mem_data": banks}}


def kernel():
    """The kernel's arguments: operation code, instructions, their number, then the buffers."""
    arguments = [
        {"name": "opcode", "address-qualifier": "SCALAR", "type": "uint64_t", "offset": "0x00"},
        {"name": "instr", "memory-connection": "SRAM", "address-qualifier": "GLOBAL", "type": "char *", "offset": "0x08"},
        {"name": "ninstr", "address-qualifier": "SCALAR", "type": "uint32_t", "offset": "0x10"},
    ]
    for index in range(BUFFERS):
        name = ARGUMENTS[index] if index < len(ARGUMENTS) else f"bo{index}"
        place = {"memory-connection": "HOST", "address-qualifier": "GLOBAL", "type": "void*"}
        arguments.append({"name": name, **place, "offset": hex(0x14 + 8 * index)})
    extended = {"subtype": "DPU", "functional": "0", "dpu_kernel_id": KERNEL_ID}
    one = {"name": KERNEL, "type": "dpu", "extended-data": extended, "arguments": arguments}
    return {"ps-kernels": {"kernels": [{**one, "instances": [{"name": "MLIRAIE"}]}]}}


def partition(design, pdi):
    """Which columns the array takes (all of them, from the first) and what configures them."""
    # The same array has the same identity, so that the driver knows it again.
    identity = uuid.uuid5(uuid.NAMESPACE_OID, hashlib.sha256(pdi.read_bytes()).hexdigest())
    group = {"name": "DPU", "type": "PRIMARY", "pdi_id": "0x01", "dpu_kernel_ids": [KERNEL_ID], "pre_cdo_groups": ["0xC1"]}
    return {
        "aie_partition": {
            "name": "QoS",
            "operations_per_cycle": "2048",
            "inference_fingerprint": "23423",
            "pre_post_fingerprint": "12345",
            "partition": {"column_width": str(design.width), "start_columns": ["0"]},
            "PDIs": [{"uuid": str(identity), "file_name": str(pdi), "cdo_groups": [group]}],
        }
    }


def container(design, pdi, xclbinutil, target):
    """Makes the container with xclbinutil."""
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for name, content in (("memory", memory()), ("kernel", kernel()), ("partition", partition(design, pdi.resolve()))):
            files[name] = pathlib.Path(folder) / f"{name}.json"
            files[name].write_text(json.dumps(content))
        command = [xclbinutil, "--quiet", "--force", "--output", str(target)]
        command += ["--add-replace-section", f"MEM_TOPOLOGY:JSON:{files['memory']}"]
        command += ["--add-kernel", str(files["kernel"])]
        command += ["--add-replace-section", f"AIE_PARTITION:JSON:{files['partition']}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0 or not target.exists():
            sys.exit(f"package.py: {xclbinutil} made no container (exit code {done.returncode}):\n{done.stdout}")


def checked(file):
    """A file of a bundle, as its description has it."""
    content = file.read_bytes()
    return {"name": file.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def manifest(design, file, found, tools, instructions=None):
    """What `bundle.json` says; of a trial array, `trial.json` (read by `kernels/src/npu/bundle/trial.rs`)."""
    if isinstance(design, describe.Trial):
        made = checked(instructions) if instructions else None
        return {"format": TRIAL_FORMAT, "trial": design.json(found), "xclbin": checked(file), "instructions": made, "tools": tools}
    return {
        "format": FORMAT,
        "design": design.json(found),
        "objects": design.objects(),
        "kernel": KERNEL,
        "arguments": list(ARGUMENTS),
        "token_controller": TOKEN_CONTROLLER,
        "xclbin": checked(file),
        "tools": tools,
    }


def main():
    parser = argparse.ArgumentParser(description="puts a compiled array into a bundle")
    describe.add_arguments(parser)
    parser.add_argument("--pdi", required=True, type=pathlib.Path, help="the array's configuration, from aiecc")
    parser.add_argument("--mlir", type=pathlib.Path, help="the array after mlir-aie placed its streams: shim channels are taken from it")
    parser.add_argument("--instructions", type=pathlib.Path, help="the stream that aiecc made of a runtime sequence")
    parser.add_argument("--xclbinutil", default="xclbinutil")
    parser.add_argument("--tool", action="append", default=[], metavar="NAME=VERSION", help="what made it; repeat for each")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="the folder of bundles")
    arguments = parser.parse_args()
    try:
        design = describe.from_arguments(arguments)
        found = None
        if arguments.mlir:
            placed = arguments.mlir.read_text()
            # Where a core has vectors.
            if getattr(design, "kind", "") != "pass_through":
                channels.check_addresses(placed)
            found = channels.extract(design, placed)
    except (describe.Refused, channels.Unclear) as error:
        parser.exit(1, f"package.py: {error}\n")
    folder = arguments.out / design.name
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "design.xclbin"
    container(design, arguments.pdi, arguments.xclbinutil, file)
    tools = dict(tool.split("=", 1) for tool in arguments.tool)
    instructions = None
    if arguments.instructions:
        instructions = folder / "insts.bin"
        instructions.write_bytes(arguments.instructions.read_bytes())
    name = "trial.json" if isinstance(design, describe.Trial) else "bundle.json"
    (folder / name).write_text(json.dumps(manifest(design, file, found, tools, instructions), indent=2) + "\n")
    print(folder)


if __name__ == "__main__":
    main()

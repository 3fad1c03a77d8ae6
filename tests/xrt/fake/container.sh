#!/bin/sh
# A container (xclbin) around a stand-in for a configuration (PDI), made by AMD's own xclbinutil: what XRT needs to register it, open a
# context and start its one kernel, MLIR_AIE (opcode, instruction stream, its words, A, B, C, and what BUFFERS has beyond them: 5 where it is not said).
#
#   container.sh SID_ROOT COLUMNS PDI CONTAINER [BUFFERS]
set -eu
root=$1 columns=$2 pdi=$(realpath "$3") container=$(realpath -m "$4") buffers=${5:-5}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >memory.json <<'JSON'
{"mem_topology": {"m_count": "2", "m_mem_data": [
  {"m_type": "MEM_DRAM", "m_used": "1", "m_sizeKB": "0x10000", "m_tag": "HOST", "m_base_address": "0x4000000"},
  {"m_type": "MEM_DRAM", "m_used": "1", "m_sizeKB": "0xc000", "m_tag": "SRAM", "m_base_address": "0x4000000"}]}}
JSON
arguments=
for index in $(seq 0 $((buffers - 1))); do
    arguments="$arguments,
    {\"name\": \"bo$index\", \"memory-connection\": \"HOST\", \"address-qualifier\": \"GLOBAL\", \"type\": \"void *\", \"offset\": \"$(printf 0x%x $((20 + 8 * index)))\"}"
done
cat >kernel.json <<JSON
{"ps-kernels": {"kernels": [{"name": "MLIR_AIE", "type": "dpu",
  "extended-data": {"subtype": "DPU", "functional": "0", "dpu_kernel_id": "0x901"},
  "arguments": [
    {"name": "opcode", "address-qualifier": "SCALAR", "type": "uint64_t", "offset": "0x00"},
    {"name": "instr", "memory-connection": "SRAM", "address-qualifier": "GLOBAL", "type": "char *", "offset": "0x08"},
    {"name": "ninstr", "address-qualifier": "SCALAR", "type": "uint32_t", "offset": "0x10"}$arguments],
  "instances": [{"name": "MLIRAIE"}]}]}}
JSON
cp "$pdi" stand_in.pdi
cat >partition.json <<JSON
{"aie_partition": {"name": "QoS", "operations_per_cycle": "2048", "inference_fingerprint": "1", "pre_post_fingerprint": "1",
  "partition": {"column_width": $columns, "start_columns": [0]},
  "PDIs": [{"uuid": "00000000-0000-0000-0000-000000000000", "file_name": "./stand_in.pdi",
    "cdo_groups": [{"name": "DPU", "type": "PRIMARY", "pdi_id": "0x01", "dpu_kernel_ids": ["0x901"], "pre_cdo_groups": ["0xC1"]}]}]}}
JSON
"$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu" "$root/usr/bin/xclbinutil" --quiet --force --add-replace-section MEM_TOPOLOGY:JSON:memory.json --add-kernel kernel.json \
  --add-replace-section AIE_PARTITION:JSON:partition.json --output "$container"

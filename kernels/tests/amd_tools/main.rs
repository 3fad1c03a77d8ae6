//! Streams and bundles as AMD's own tools read them: `aiebu-asm` makes an ELF of a stream, `aiebu-dump` takes that
//! apart again, and `xclbinutil` makes a container and takes it apart. What they say is held against what was meant, by
//! code that shares nothing with the code that wrote it. No NPU takes part.
//!
//! Started by `tests/xrt/tools.sh`, which names the tools' folder in `UNDERTONE_AMD_TOOLS`; plain `cargo test` leaves
//! it out.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use undertone_kernels::npu::{
    Argument, Bundles, Channel, Design, Direction, Kernels, Problem, Target, Tile, Transfer,
    stream::{DmaTask, Stage, stages, write},
};

mod elf;
mod text;

/// A tool of AMD's, ready to be given arguments.
fn tool(name: &str) -> Command {
    let folder = std::env::var_os("UNDERTONE_AMD_TOOLS").expect("run this through tests/xrt/tools.sh");
    Command::new(Path::new(&folder).join(name))
}

/// What a command prints; it has to succeed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

fn design(target: Target, kernels: Kernels) -> Design {
    Design::shipped(target, kernels).unwrap()
}

/// Streams of both targets, of small, large, odd and split shapes.
fn cases() -> Vec<(Design, Problem)> {
    let linear = [(1, 1, 1), (1500, 384, 1536), (1500, 1280, 5120), (300, 100, 51_865), (333, 64 * 120, 1030)]
        .map(|(rows, inputs, outputs)| Problem::Linear { rows, inputs, outputs });
    let attention = [(1, 1, 1), (6, 1500, 1500), (20, 1500, 1500), (3, 5, 0)]
        .map(|(heads, queries, keys)| Problem::Attention { heads, queries, keys });
    let mut cases = Vec::new();
    for target in Target::ALL {
        for kernels in Kernels::ALL {
            let problems = linear.into_iter().chain(attention);
            cases.extend(problems.map(|problem| (design(target, kernels), problem)));
        }
    }
    cases
}

/// The tasks of a stream, as the tools' text has them: each with the descriptor it uses, and whether it gives a token.
fn tasks(ops: &[text::Op]) -> Vec<(DmaTask, bool)> {
    let mut tasks = Vec::new();
    let mut blocks = std::collections::HashMap::new();
    let mut patches = std::collections::HashMap::new();
    for op in ops {
        match op {
            text::Op::Block { address, words } => {
                assert_eq!(words.len(), 8);
                blocks.insert(*address, words.clone());
            }
            text::Op::Patch { address, argument, offset } => {
                // Bit 2: the second word of the descriptor.
                assert_eq!(address & 0x1f, 4);
                patches.insert(address - 4, (*argument, *offset));
            }
            text::Op::Write { address, value } => {
                let (column, register) = (address >> 25, address & 0x1ff_ffff);
                let (direction, channel) = match register {
                    0x1d204 => (Direction::S2mm, 0),
                    0x1d20c => (Direction::S2mm, 1),
                    0x1d214 => (Direction::Mm2s, 0),
                    0x1d21c => (Direction::Mm2s, 1),
                    other => panic!("a write to {other:#x}"),
                };
                let block = column << 25 | (0x1d000 + 0x20 * (value & 15));
                let (words, (argument, offset)) = (&blocks[&block], patches[&block]);
                let field = |word: usize, shift: u32, bits: u32| words[word] >> shift & ((1 << bits) - 1);
                assert_eq!((words[1], words[2], words[7]), (0, 0, 1 << 25), "no address, packet or lock of its own");
                let transfer = Transfer {
                    argument: Argument::ALL[argument as usize],
                    offset: offset.into(),
                    length: words[0],
                    wraps: [field(3, 20, 10), field(4, 20, 10)],
                    steps: [field(3, 0, 20) + 1, field(4, 0, 20) + 1, field(5, 0, 20) + 1],
                    iterations: field(6, 20, 6) + 1,
                    iteration_step: field(6, 0, 20) + 1,
                };
                let channel = Channel { column: column as usize, direction, channel };
                tasks.push((DmaTask { channel, transfer, repeats: value >> 16 & 0xff }, value >> 31 == 1));
            }
            text::Op::Mask { address, mask, value } => {
                assert_eq!((address & 0x1ff_ffff, *mask, *value), (0x1d200, 0x1f00, 0xf00));
            }
            text::Op::Sync { .. } => {}
        }
    }
    tasks
}

/// Columns whose results are waited for, in order.
fn waits(ops: &[text::Op]) -> Vec<u32> {
    ops.iter()
        .filter_map(|op| match op {
            text::Op::Sync { column, row: 0, columns: 1, rows: 1, direction, channel: 0 } if direction == "S2MM" => {
                Some(*column)
            }
            text::Op::Sync { .. } => panic!("{op:?}"),
            _ => None,
        })
        .collect()
}

#[test]
fn streams_come_back_as_they_were_meant() {
    let folder = tempfile::tempdir().unwrap();
    for (design, problem) in cases() {
        let what = format!("{design}, {problem}");
        let words = write(&design, &problem).unwrap();
        let (stream, object) = (folder.path().join("stream.bin"), folder.path().join("stream.elf"));
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        std::fs::write(&stream, &bytes).unwrap();
        run(tool("aiebu-asm").args(["-t", "aie2txn", "-c"]).arg(&stream).arg("-o").arg(&object));

        // The ELF holds the words, and where XRT is to put which argument's address.
        let elf = elf::read(&std::fs::read(&object).unwrap());
        assert_eq!(elf.text, bytes, "{what}");
        let stages = stages(&design, &problem).unwrap();
        let meant: Vec<&DmaTask> = stages.iter().flat_map(|stage: &Stage| &stage.tasks).collect();
        assert_eq!(elf.patches.len(), meant.len(), "{what}");
        for (patch, task) in elf.patches.iter().zip(&meant) {
            // The kernel's first three arguments are opcode, instructions and their number.
            assert_eq!(patch.symbol, (task.transfer.argument as u32 + 3).to_string(), "{what}");
            assert_eq!(u64::from(patch.addend), task.transfer.offset, "{what}");
            let length = &elf.text[patch.place as usize..][..4];
            assert_eq!(u32::from_le_bytes(length.try_into().unwrap()), task.transfer.length, "{what}");
        }

        // The disassembler reads the same transfers, in the same order.
        let printed = run(tool("aiebu-dump").arg("-d").arg(&object));
        let ops = text::read(&printed);
        let read = tasks(&ops);
        assert_eq!(read.len(), meant.len(), "{what}");
        for ((task, token), meant) in read.iter().zip(&meant) {
            assert_eq!(task, *meant, "{what}");
            assert_eq!(*token, task.transfer.argument == Argument::C, "{what}");
        }
        let results: Vec<u32> = stages.iter().flat_map(Stage::results).map(|task| task.channel.column as u32).collect();
        assert_eq!(waits(&ops), results, "{what}");

        // And it agrees about the array, and about how many operations there are.
        let summary = run(tool("aiebu-dump").arg("-p").arg(&object));
        let generation = if design.target == Target::Npu1 { "v0.1, gen3" } else { "v0.1, gen4" };
        assert!(summary.contains(generation), "{summary}");
        assert!(summary.contains(&format!("6x{} M1", design.target.columns())), "{summary}");
        assert!(summary.contains(&format!("{}B, {}ops", bytes.len(), ops.len())), "{summary}");
    }
}

/// A tool that takes anything would prove nothing.
#[test]
fn the_assembler_refuses_a_spoilt_stream() {
    let folder = tempfile::tempdir().unwrap();
    let mut words =
        write(&design(Target::Npu1, Kernels::Int8), &Problem::Linear { rows: 9, inputs: 9, outputs: 9 }).unwrap();
    // A patch before the block write that it belongs to.
    let patch = words.iter().position(|word| *word == 0x81).unwrap();
    words[patch + 6] += 0x20;
    let stream = folder.path().join("stream.bin");
    std::fs::write(&stream, words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    let output = tool("aiebu-asm")
        .args(["-t", "aie2txn", "-c"])
        .arg(&stream)
        .arg("-o")
        .arg(folder.path().join("o"))
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success() && said.contains("block-write"), "{said}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Bundles as `build.sh` packs them, around a configuration that is none: what the container says is what the bundle
/// says.
#[test]
fn containers_say_what_the_bundle_says() {
    let folder = tempfile::tempdir().unwrap();
    let pdi = folder.path().join("stand-in.pdi");
    let content: Vec<u8> = (0..4099u32).map(|index| (index * 31 % 251) as u8).collect();
    std::fs::write(&pdi, &content).unwrap();
    let bundles = folder.path().join("bundles");
    for target in Target::ALL {
        for kernels in Kernels::ALL {
            let Tile { m, k, n } = design(target, kernels).tile;
            run(Command::new("python3")
                .arg("-B")
                .arg(root().join("aie/designs/package.py"))
                .args(["--target", &target.to_string(), "--kernels", &kernels.to_string()])
                .args(["--tile", &format!("{m},{k},{n}"), "--tool", "stand-in=1"])
                .arg("--pdi")
                .arg(&pdi)
                .arg("--xclbinutil")
                .arg(tool("xclbinutil").get_program())
                .arg("--out")
                .arg(&bundles));
        }
    }
    let found = Bundles::open(&bundles).unwrap();
    assert_eq!((found.list().len(), found.broken()), (Target::ALL.len() * Kernels::ALL.len(), &[][..]));
    for target in Target::ALL {
        for kernels in Kernels::ALL {
            let design = design(target, kernels);
            let bundle = found.find(&design).unwrap();
            assert_eq!(bundle.design(), &design);
            bundle.xclbin().unwrap();
            let section = |name: &str| {
                let out = bundle.folder().join(format!("{name}.out"));
                let format = if name == "EMBEDDED_METADATA" { "RAW" } else { "JSON" };
                run(tool("xclbinutil")
                    .current_dir(bundle.folder())
                    .args(["--quiet", "--force", "--input"])
                    .arg(bundle.xclbin_path())
                    .arg("--dump-section")
                    .arg(format!("{name}:{format}:{}", out.display())));
                std::fs::read_to_string(out).unwrap()
            };
            let json = |name: &str| -> serde_json::Value { serde_json::from_str(&section(name)).unwrap() };
            let partition = &json("AIE_PARTITION")["aie_partition"];
            assert_eq!(partition["partition"]["column_width"], target.columns().to_string());
            assert_eq!(partition["partition"]["start_columns"], serde_json::json!(["0"]));
            let image = partition["PDIs"][0]["file_name"].as_str().unwrap();
            assert_eq!(std::fs::read(bundle.folder().join(image)).unwrap(), content);
            let layout = json("IP_LAYOUT");
            let name = layout["ip_layout"]["m_ip_data"][0]["m_name"].as_str().unwrap();
            assert!(name.starts_with(&format!("{}:", bundle.manifest().kernel)), "{name}");
            // Arguments 3, 4 and 5 of the kernel are the bundle's, in its order. Two more make the five that the
            // firmware wants of a kernel in a run list.
            let metadata = section("EMBEDDED_METADATA");
            let arguments = bundle.manifest().arguments.iter().map(|argument| format!("{argument:?}").to_lowercase());
            for (index, name) in arguments.chain(["bo3".to_owned(), "bo4".to_owned()]).enumerate() {
                assert!(
                    metadata.contains(&format!("<arg name=\"{name}\" addressQualifier=\"1\" id=\"{}\"", index + 3)),
                    "{metadata}"
                );
            }
        }
    }
}

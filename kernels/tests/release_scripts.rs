//! The scripts that make a release, from `build.sh` to the comparison of streams, run whole, with stand-ins for the
//! compilers that can't be had where this is tested (`stand_ins/`): mlir-aie's bindings are the recorder, aiecc and
//! Peano leave files. What comes out is read by the code that uses bundles.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use undertone_kernels::npu::{Bundles, Design, Kernels, Problem, Target, Tile, Trial, TrialBundle, TrialKind, stream};

/// A version that `requirements.txt` pins.
fn pinned(package: &str) -> String {
    let pins = fs::read_to_string(aie().join("requirements.txt")).unwrap();
    let version = pins.lines().find_map(|line| line.strip_prefix(package)?.strip_prefix("=="));
    version.unwrap().split(' ').next().unwrap().to_owned()
}

fn aie() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("aie")
}

/// A place where the compilers seem to be installed.
struct Tools(tempfile::TempDir);

impl Tools {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let of = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stand_ins");
        for part in ["bin", "python"] {
            fs::create_dir(place(part)).unwrap();
            for entry in fs::read_dir(of.join(part)).unwrap().flatten().filter(|entry| entry.path().is_file()) {
                fs::copy(entry.path(), place(part).join(entry.file_name())).unwrap();
            }
        }
        let version = pinned("mlir_aie");
        let about = place(&format!("python/mlir_aie-{version}.dist-info"));
        fs::create_dir(&about).unwrap();
        fs::write(about.join("METADATA"), format!("Metadata-Version: 2.1\nName: mlir_aie\nVersion: {version}\n"))
            .unwrap();
        fs::create_dir_all(place("include/aie_api")).unwrap();
        fs::write(place("include/aie_api/aie.hpp"), "").unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `number` is what a stand-in is told: bytes of a program, or words by which it is wrong.
    fn run(&self, program: &str, script: &str, arguments: &[&Path], number: &str) -> Output {
        self.command(self.0.path(), program, script, arguments, number).output().unwrap()
    }

    /// `home` is what names this place: its path, or nothing for a command that is started in it.
    fn command(&self, home: &Path, program: &str, script: &str, arguments: &[&Path], number: &str) -> Command {
        let peano = pinned("llvm-aie");
        let path = std::env::join_paths(
            [home.join("bin")].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        let mut command = Command::new(program);
        command
            .arg(aie().join(script))
            .args(arguments)
            .envs([("PATH", path.unwrap().as_os_str()), ("PYTHONPATH", self.path("python").as_os_str())])
            .env("UNDERTONE_DESIGNS", aie().join("designs"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PEANO_INSTALL_DIR", home.join("."))
            .env("MLIR_AIE_INCLUDE_DIR", home.join("include"))
            .env("UNDERTONE_STREAMS", self.path("bin/npu_streams"))
            .env("UNDERTONE_PEANO_COMMIT", peano.rsplit_once('+').unwrap().1)
            .envs([("UNDERTONE_TEXT", number), ("UNDERTONE_WRONG", number)]);
        command
    }
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The stream that is compared, of each shipped design, by the name of its bundle's folder.
fn streams() -> Vec<(String, Vec<u32>)> {
    let designs = Target::ALL.into_iter().flat_map(|target| Kernels::ALL.map(|kernels| (target, kernels)));
    let streams = designs.map(|(target, kernels)| {
        let design = Design::shipped(target, kernels).unwrap();
        let Tile { m, k, n } = design.tile;
        let (rows, outputs) = (2 * Target::ROWS * m, 2 * n * target.columns());
        let words = stream::write(&design, &Problem::Linear { rows, inputs: 2 * k, outputs }).unwrap();
        (format!("{target}-{kernels}-{m}x{k}x{n}"), words)
    });
    streams.collect()
}

#[test]
fn a_release_is_made_and_read() {
    let tools = Tools::new();
    let work = tools.path("release");
    for (name, words) in streams() {
        fs::write(tools.path(&format!("{name}.bin")), bytes(&words)).unwrap();
    }
    let made = tools.run("bash", "release.sh", &[&work], "9000");
    // What aiecc wrote moves other words: it was told to be wrong by so many.
    let text = said(&made);
    assert!(!made.status.success() && text.contains("release.sh: failed: compare"), "{text}");
    let bundles = Bundles::open(&work.join("bundles")).unwrap();
    // Both kernels for both NPUs, on all cores, on one, and on a column; each has two files.
    assert_eq!((bundles.list().len(), bundles.broken()), (12, &[][..]));
    let trials = Target::ALL.into_iter().flat_map(|target| TrialKind::ALL.map(|kind| Trial::new(target, kind)));
    for trial in trials {
        let bundle = TrialBundle::find(&work.join("bundles"), &trial).unwrap();
        assert_eq!((bundle.made.is_some(), &bundle.trial), (trial.kind == TrialKind::PassThrough, &trial));
    }
    let list = fs::read_to_string(work.join("bundles/SHA256SUMS")).unwrap();
    assert_eq!(list.lines().count(), 2 * 12 + 2 * (2 + 3), "{list}");
    assert!(work.join("bundles.zip").is_file());
    for words in [
        "npu4-bf16-48x32x64",
        "program: at most 9000 of 16384 bytes; constants and variables: at most 640",
        "stack: 6144 bytes for each of 32 cores",
        "at 6144 (0)",
        "a_0 0.mm2s.0",
        "c_7 7.s2mm.0",
    ] {
        assert!(text.contains(words), "{words} is not in:\n{text}");
    }
    let large = tools.run("bash", "release.sh", &[&work], "17000");
    assert!(!large.status.success() && said(&large).contains("takes 17000 of 16384 bytes"), "{}", said(&large));
}

/// As docs/npu.md names the tools, whose virtual environment lies beside the sources.
#[test]
fn tools_may_be_named_by_relative_paths() {
    let tools = Tools::new();
    let arguments = ["--target", "npu4", "--kernels", "int8", "--out", "bundles"].map(Path::new);
    let mut command = tools.command(Path::new(""), "bash", "build.sh", &arguments, "9000");
    let built = command.current_dir(tools.0.path()).output().unwrap();
    assert!(built.status.success(), "{}", said(&built));
    assert_eq!(Bundles::open(&tools.path("bundles")).unwrap().list().len(), 1);
}

#[test]
fn streams_are_compared() {
    let tools = Tools::new();
    let (out, work) = (tools.path("bundles"), tools.path("work"));
    for target in ["npu1", "npu4"] {
        let arguments: [&Path; 6] =
            ["--target".as_ref(), target.as_ref(), "--out".as_ref(), &out, "--work".as_ref(), &work];
        let built = tools.run("bash", "build.sh", &arguments, "9000");
        assert!(built.status.success(), "{}", said(&built));
    }
    for (name, words) in streams() {
        let (folder, file) = (work.join(&name), tools.path("stream"));
        let compare = |words: &[u32], wrong: &str| {
            fs::write(&file, bytes(words)).unwrap();
            let output = tools.run("python3", "compare_streams.py", &[&folder, &file], wrong);
            (output.status.success(), said(&output))
        };
        let (same, text) = compare(&words, "0");
        assert!(same && text.contains("the same words move") && text.contains("differs, moves nothing"), "{text}");
        // What aiecc wrote is another stream.
        assert_ne!(fs::read(folder.join("compared/insts.bin")).unwrap(), bytes(&words));
        let (same, text) = compare(&words, "1");
        assert!(!same && text.contains("OTHER WORDS MOVE") && text.contains("column 0 mm2s 0: words moved"), "{text}");
        let (same, text) = compare(&words[..20], "0");
        assert!(!same && text.contains("another length"), "{text}");
    }
}

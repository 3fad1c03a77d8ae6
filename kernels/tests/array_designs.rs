//! The array designs in `kernels/aie/designs` are Python; here they are held against the Rust that packs and moves data
//! for them. They were never compiled: the compilers can't be had where this is tested.

use std::{path::PathBuf, process::Command};

use undertone_kernels::npu::{Design, Kernels, Objects, Target, Tile, Trial, TrialBundle, TrialKind};

fn aie() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("aie")
}

fn python() -> Command {
    let mut command = Command::new("python3");
    command.arg("-B");
    command
}

#[test]
fn their_own_tests_pass() {
    let output =
        python().args(["-m", "unittest", "discover", "--start-directory"]).arg(aie().join("designs")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("OK") && !said.contains("Ran 0"), "{said}");
}

/// Prints what the designs given as arguments (`target kernels m k n rows columns`, …) are; `null` for one that is
/// refused.
const DESCRIBE: &str = r#"
import json, sys, describe
said = []
for words in zip(*[iter(sys.argv[1:])] * 7):
    try:
        m, k, n, *cores = map(int, words[2:])
        said.append(describe.Design(*words[:2], m, k, n, tuple(cores)).summary())
    except describe.Refused:
        said.append(None)
print(json.dumps(said))
"#;

#[test]
fn both_descriptions_say_the_same() {
    let sides = [
        (48, 64, 64),
        (48, 32, 64),
        (32, 64, 64),
        (16, 128, 64),
        (8, 16, 64),
        (40, 24, 64),
        (64, 48, 64),
        (48, 64, 96),
        (144, 72, 64),
        (12, 64, 64),
        (16, 32, 64),
        (24, 48, 64),
    ];
    let mut designs = Vec::new();
    for target in Target::ALL {
        for kernels in Kernels::ALL {
            let whole = [Target::ROWS, target.columns()];
            designs.extend(sides.map(|(m, k, n)| (target, kernels, Tile { m, k, n }, whole)));
            let tile = Design::shipped(target, kernels).unwrap().tile;
            let parts = [[1, 1], [4, 1], [1, 4], [2, 3], [5, 1], [0, 1], [1, 9]];
            designs.extend(parts.map(|cores| (target, kernels, tile, cores)));
        }
    }
    let words = designs.iter().flat_map(|(target, kernels, Tile { m, k, n }, cores)| {
        let numbers = [m, k, n].into_iter().chain(cores).map(usize::to_string);
        [target.to_string(), kernels.to_string()].into_iter().chain(numbers)
    });
    let output = python().args(["-c", DESCRIBE]).args(words).env("PYTHONPATH", aie().join("designs")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said.len(), designs.len());
    let meant: Vec<serde_json::Value> = designs
        .iter()
        .map(|&(target, kernels, tile, cores)| match Design::of_cores(target, kernels, tile, cores) {
            Ok(design) => serde_json::json!({
                "design": design,
                "objects": Objects::of(&design),
                "a_object": design.a_object(),
                "b_object": design.b_object(),
                "c_object": design.c_object(),
                "core_memory": design.core_memory(),
                "memory_tile": design.memory_tile(),
            }),
            Err(_) => serde_json::Value::Null,
        })
        .collect();
    assert_eq!(said, meant);
    let refused = meant.iter().filter(|design| design.is_null()).count();
    assert!(refused > 10 && meant.len() - refused > 20, "{refused} of {}", meant.len());
}

#[test]
fn both_descriptions_of_trial_arrays_say_the_same() {
    const DESCRIBE: &str = "import json, describe\n\
        print(json.dumps([describe.Trial(t, k).summary() for t in describe.COLUMNS for k in describe.TRIALS]))";
    let output = python().args(["-c", DESCRIBE]).env("PYTHONPATH", aie().join("designs")).output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let all = Target::ALL.into_iter().flat_map(|target| TrialKind::ALL.map(|kind| Trial::new(target, kind)));
    let meant: Vec<serde_json::Value> = all
        .map(|trial| {
            serde_json::json!({
                "trial": trial,
                "object": Trial::object(trial.kind),
                "made_bytes": Trial::MADE_BYTES,
                "name": trial.name(),
            })
        })
        .collect();
    assert_eq!(said, serde_json::json!(meant));
}

/// What `package.py` writes of a trial array is read here.
#[test]
fn bundles_of_trial_arrays_are_read_as_they_are_written() {
    const WRITE: &str = r#"
import json, pathlib, sys, describe, package
for target in describe.COLUMNS:
    for kind in describe.TRIALS:
        trial = describe.Trial(target, kind)
        folder = pathlib.Path(sys.argv[1]) / trial.name
        folder.mkdir()
        container, made = folder / "design.xclbin", folder / "insts.bin"
        container.write_bytes(b"container")
        made.write_bytes(bytes(range(8)))
        said = package.manifest(trial, container, None, {"mlir_aie": "1"}, made if kind == "pass_through" else None)
        (folder / "trial.json").write_text(json.dumps(said))
"#;
    let folder = tempfile::tempdir().unwrap();
    let output =
        python().args(["-c", WRITE]).arg(folder.path()).env("PYTHONPATH", aie().join("designs")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for trial in Target::ALL.into_iter().flat_map(|target| TrialKind::ALL.map(|kind| Trial::new(target, kind))) {
        let bundle = TrialBundle::find(folder.path(), &trial).unwrap();
        let made = (trial.kind == TrialKind::PassThrough).then(|| vec![0x0302_0100, 0x0706_0504]);
        assert_eq!(bundle, TrialBundle { trial, xclbin: b"container".to_vec(), made });
    }
}

/// Without its tools the build script says all that is missing at once, and makes nothing.
#[cfg(unix)]
#[test]
fn the_build_script_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bundles");
    let build = |arguments: &[&str]| {
        let output = Command::new("bash")
            .arg(aie().join("build.sh"))
            .args(arguments)
            // Of these tools no machine has the one in an empty folder.
            .env("PEANO_INSTALL_DIR", folder.path())
            .env("MLIR_AIE_INCLUDE_DIR", folder.path())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = build(&["--target", "npu1", "--out", out.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("nothing was built") && said.contains("Peano in") && said.contains("AIE API"), "{said}");
    assert!(said.contains("kernels/aie/setup.sh"), "{said}");
    assert!(!out.exists());
    // A Peano of another version is refused as none is; the pinned one is known by its commit.
    let (compiler, pins) = (folder.path().join("bin/clang++"), std::fs::read_to_string(aie().join("requirements.txt")));
    let pins = pins.unwrap();
    let version = pins.lines().find_map(|line| line.strip_prefix("llvm-aie==")).unwrap();
    let commit = version.rsplit_once('+').unwrap().1;
    std::fs::create_dir(compiler.parent().unwrap()).unwrap();
    for (words, refused) in
        [("clang version 21.0.0", true), (&format!("clang version 22 (llvm-aie {commit}01)"), false)]
    {
        std::fs::write(&compiler, format!("#!/bin/sh\necho '{words}'\n")).unwrap();
        std::fs::set_permissions(&compiler, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let (code, said) = build(&["--target", "npu1", "--out", out.to_str().unwrap()]);
        assert_eq!((code, said.contains(&format!("Peano {version} (found: {words})"))), (Some(2), refused), "{said}");
    }
    std::fs::remove_file(&compiler).unwrap();
    for (arguments, reason) in [
        (&["--target", "npu2"][..], "use npu1"),
        (&["--target", "npu1"][..], "--out is missing"),
        (&["--target", "npu1", "--out", "x", "--kernels", "fp32"][..], "unknown kernels fp32"),
        (&["--target", "npu1", "--out", "x", "--tile", "1,1,1"][..], "goes with one --kernels"),
        (&["--target", "npu1", "--out", "x", "--kernels", "int8", "--tile", "63,64,64"][..], "whole micro-tiles"),
        (&["--target", "npu1", "--out", "x", "--kernels", "bf16", "--tile", "64,64,64"][..], "of a core's 65536"),
        (&["--target", "npu1", "--out", "x", "--kernels", "bf16"][..], "nothing was built"),
        (&["--target", "npu1", "--out", "x", "--ladder", "--tile", "48,64,64"][..], "--ladder goes alone"),
        (&["--target", "npu1", "--out", "x", "--ladder"][..], "nothing was built"),
        (&["--out"][..], "wants a value"),
        (&["--bundle", "x"][..], "unknown option"),
    ] {
        let (code, said) = build(arguments);
        assert!(code == Some(2) && said.contains(reason), "{said}");
    }
}

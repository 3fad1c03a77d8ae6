//! The array designs in `kernels/aie/designs` are Python; here they are held against the Rust that packs and moves data
//! for them. They were never compiled: the compilers can't be had where this is tested.

use std::{path::PathBuf, process::Command};

use undertone_kernels::npu::{Design, Kernels, Objects, Target, Tile};

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

/// Prints what the designs given as arguments (`target kernels m k n`, …) are; `null` for one that is refused.
const DESCRIBE: &str = r#"
import json, sys, describe
said = []
for words in zip(*[iter(sys.argv[1:])] * 5):
    try:
        said.append(describe.Design(*words[:2], *map(int, words[2:])).summary())
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
            designs.extend(sides.map(|(m, k, n)| (target, kernels, Tile { m, k, n })));
        }
    }
    let words = designs.iter().flat_map(|(target, kernels, Tile { m, k, n })| {
        [target.to_string(), kernels.to_string(), m.to_string(), k.to_string(), n.to_string()]
    });
    let output = python().args(["-c", DESCRIBE]).args(words).env("PYTHONPATH", aie().join("designs")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said.len(), designs.len());
    let meant: Vec<serde_json::Value> = designs
        .iter()
        .map(|&(target, kernels, tile)| match Design::new(target, kernels, tile) {
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
        (&["--out"][..], "wants a value"),
        (&["--bundle", "x"][..], "unknown option"),
    ] {
        let (code, said) = build(arguments);
        assert!(code == Some(2) && said.contains(reason), "{said}");
    }
}

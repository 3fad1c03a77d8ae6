//! The Python wheel in `ep/python`, built from the library that cargo built, installed by pip and used with stock ONNX
//! Runtime. What the installed package promises is checked in `python/check_wheel.py` and `python/check_sessions.py`; here
//! is building and installing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::{env, fs};

mod common;
use common::python;

const LIBRARY_VARIABLE: &str = "ONNXRUNTIME_EP_XDNA_LIBRARY";

fn source() -> PathBuf {
    common::root().join("ep/python")
}

/// What `pyproject.toml` says that the build needs, and nothing else: so a run is as good as pip's isolated build, and
/// every one after the first needs no network.
fn build_requirements() -> PathBuf {
    let pyproject = fs::read_to_string(source().join("pyproject.toml")).unwrap();
    let (_, rest) = pyproject.split_once("requires = [").unwrap();
    let (list, _) = rest.split_once(']').unwrap();
    let wanted: Vec<_> = list.split(',').map(|name| name.trim().trim_matches('"')).collect();
    python::packages(&wanted)
}

/// Builds the wheel of the package in `source` into `into`, with the library that is named or found.
fn pip_wheel(source: &Path, into: &Path, library: Option<&Path>) -> Output {
    let mut command = python::with(&build_requirements());
    command.args(["-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir"]);
    command.arg(into).arg(source).env_remove(LIBRARY_VARIABLE);
    if let Some(library) = library {
        command.env(LIBRARY_VARIABLE, library);
    }
    common::run(&mut command)
}

fn wheels_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "whl")).collect()
}

/// Exactly one wheel lies in the folder.
fn the_wheel_in(folder: &Path, built: &Output) -> PathBuf {
    assert!(built.status.success(), "{}{}", common::text(&built.stdout), common::text(&built.stderr));
    let wheels = wheels_in(folder);
    assert_eq!(wheels.len(), 1, "{wheels:?}");
    wheels[0].clone()
}

/// The wheel of the library under test, and the folder that it is installed in; made once for each run of the tests.
fn installed() -> &'static (PathBuf, PathBuf) {
    static INSTALLED: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-wheel");
        let _ = fs::remove_dir_all(&home);
        let (dist, site) = (home.join("dist"), home.join("site"));
        fs::create_dir_all(&dist).unwrap();
        let wheel = the_wheel_in(&dist, &pip_wheel(&source(), &dist, Some(&common::ep_library())));
        // pip takes no wheel that is tagged for another platform or Python.
        common::stdout_of(
            Command::new(python::interpreter())
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"])
                .arg("--target")
                .arg(&site)
                .arg(&wheel),
        );
        (wheel, site)
    })
}

/// The interpreter with the installed wheel, ONNX Runtime and numpy.
fn with_the_wheel() -> Command {
    with_onnxruntime("1.32.0")
}

fn with_onnxruntime(version: &str) -> Command {
    with_the_wheel_and(&python::packages(&[&format!("onnxruntime=={version}"), "numpy"]))
}

fn with_the_wheel_and(packages: &Path) -> Command {
    let (_, site) = installed();
    let mut command = python::with(packages);
    command.env("PYTHONPATH", env::join_paths([site.as_path(), packages]).unwrap());
    command
}

/// *N* of the newest `GLIBC_2.N` that the library under test needs a symbol of, as the linker wrote it into the file.
fn newest_glibc() -> u32 {
    let library = fs::read(common::ep_library()).unwrap();
    let names = library.split(|&byte| byte == 0).filter_map(|name| str::from_utf8(name).ok());
    let versions = names.filter_map(|name| name.strip_prefix("GLIBC_2.")?.split('.').next()?.parse().ok());
    versions.fold(17, u32::max)
}

#[test]
fn the_wheel_is_of_this_version_and_platform() {
    let (wheel, _) = installed();
    let name = wheel.file_name().unwrap().to_str().unwrap();
    let start = format!("onnxruntime_ep_xdna-{}-py3-none-", env!("CARGO_PKG_VERSION"));
    let platform = name.strip_prefix(&start).unwrap_or_else(|| panic!("{name} does not begin with {start}"));
    match env::consts::OS {
        "linux" => assert_eq!(platform, format!("manylinux_2_{}_{}.whl", newest_glibc(), env::consts::ARCH)),
        "macos" => assert!(platform.starts_with("macosx_"), "{platform}"),
        "windows" => assert!(platform.starts_with("win"), "{platform}"),
        other => panic!("what is a wheel called on {other}?"),
    }
}

#[test]
fn the_installed_wheel_runs_the_encoder() {
    let root = common::root();
    let (_, site) = installed();
    let printed = common::stdout_of(
        with_the_wheel()
            .arg(root.join("tests/python/check_wheel.py"))
            .arg(site)
            .arg(env!("CARGO_PKG_VERSION"))
            .arg(root.join("models/reference"))
            .arg(root.join("tests/vectors/mel-short-000-en.npy")),
    );
    println!("{printed}");
    assert!(printed.contains("cosine"), "{printed}");
    // It carried the library under test, not one that lay somewhere else.
    let library = common::ep_library();
    let carried = site.join("onnxruntime_ep_xdna").join(library.file_name().unwrap());
    assert!(fs::read(&carried).unwrap() == fs::read(&library).unwrap(), "{carried:?} is not {library:?}");
}

/// The functions of the package do what they promise with this ONNX Runtime, and `python -m` says so.
fn check_sessions(version: &str) {
    let root = common::root();
    let printed = common::stdout_of(
        with_onnxruntime(version)
            .arg(root.join("tests/python/check_sessions.py"))
            .arg(root.join("models/reference"))
            .arg(root.join("tests/vectors/mel-short-000-en.npy"))
            .arg(version),
    );
    assert_eq!(printed.lines().count(), 6, "{printed}");
    let printed = common::stdout_of(with_onnxruntime(version).args(["-m", "onnxruntime_ep_xdna"]));
    let lines: Vec<&str> = printed.lines().collect();
    let package = format!("onnxruntime-ep-xdna  {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines.first(), Some(&package.as_str()), "{printed}");
    assert_eq!(lines.last(), Some(&"XdnaExecutionProvider can be used"), "{printed}");
    assert!(printed.contains(&format!("ONNX Runtime         {version} in ")), "{printed}");
    assert!(printed.contains("\ndevices              host, sim"), "{printed}");
}

#[test]
fn its_functions_with_onnxruntime_1_23() {
    check_sessions("1.23.2");
}

#[test]
fn its_functions_with_onnxruntime_1_26() {
    check_sessions("1.26.0");
}

#[test]
fn its_functions_with_onnxruntime_1_32() {
    check_sessions("1.32.0");
}

#[test]
fn a_program_that_is_left_as_it_is_runs_with_the_provider() {
    let home = tempfile::tempdir().unwrap();
    let code = "import sys, onnxruntime, beside\n\
        providers = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider']).get_providers()\n\
        print(__name__, len(sys.argv), beside.WORD, providers)\nsys.exit(7)\n";
    fs::write(home.path().join("program.py"), code).unwrap();
    fs::write(home.path().join("beside.py"), "WORD = 'found'\n").unwrap();
    let model = common::reference().join("encoder_model.onnx");
    let run = |arguments: &[&str]| {
        let mut command = with_the_wheel();
        command.current_dir(&home).args(["-m", "onnxruntime_ep_xdna", "run"]).args(arguments).arg(&model);
        let output = common::run(&mut command);
        (output.status.code(), common::text(&output.stdout), common::text(&output.stderr))
    };
    for arguments in [&["-o", "precision=bf16", "program.py"][..], &["-m", "program"]] {
        let (code, printed, said) = run(arguments);
        let expected = "__main__ 2 found ['XdnaExecutionProvider', 'CPUExecutionProvider']";
        assert_eq!((code, printed.trim()), (Some(7), expected), "{said}");
    }
    let (code, _, said) = run(&["-o", "precision=int7", "program.py"]);
    assert!(code == Some(1) && said.starts_with("error: EP option precision=\"int7\""), "{said}");
    let (code, _, said) = run(&["-x", "program.py"]);
    assert!(code == Some(2) && said.starts_with("usage: "), "{said}");
}

#[test]
fn an_old_onnxruntime_and_none_are_said() {
    let home = tempfile::tempdir().unwrap();
    let say = |expected: &str| {
        let printed = common::run(with_the_wheel_and(home.path()).args(["-m", "onnxruntime_ep_xdna"]));
        let said = common::text(&printed.stdout) + &common::text(&printed.stderr);
        assert_eq!(printed.status.code(), Some(1), "{said}");
        let problems: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("problem: ")).collect();
        assert!(problems.len() == 1 && problems[0].contains(expected), "{said}");
        let code = "import onnxruntime_ep_xdna as ep\nfor f in (ep.register, ep.providers, ep.everywhere, \
                    lambda: ep.session('a.onnx')):\n try: f()\n except ep.OnnxRuntimeError as e: print(e)";
        let printed = common::stdout_of(with_the_wheel_and(home.path()).args(["-c", code]));
        assert!(printed.lines().count() == 4 && printed.lines().all(|line| line == problems[0]), "{printed}");
    };
    say("install version 1.23 or newer");
    // What is asked of it is its version alone: the interface that the library needs came with 1.23.
    let old = home.path().join("onnxruntime");
    fs::create_dir(&old).unwrap();
    fs::write(old.join("__init__.py"), "__version__ = '1.22.1'\nregister_execution_provider_library = print\n")
        .unwrap();
    say("ONNX Runtime 1.22.1 in ");
}

#[test]
fn its_types_are_checked_and_catch_what_is_misspelt() {
    let (_, site) = installed();
    let mypy = python::packages(&["mypy==2.4.1"]);
    let mut command = python::with(&mypy);
    command.args(["-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", "/dev/null"]);
    // ONNX Runtime has no types.
    command.args(["--ignore-missing-imports", "--config-file", ""]).env("MYPYPATH", site);
    let said = common::stdout_of(
        command.arg(site.join("onnxruntime_ep_xdna")).arg(common::root().join("tests/python/typed_use.py")),
    );
    assert_eq!(said, "");
}

#[test]
fn the_readme_s_example_runs() {
    let readme = fs::read_to_string(source().join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```python\n").expect("the README has a Python example");
    let (example, _) = rest.split_once("```").unwrap();
    let printed = common::stdout_of(with_the_wheel().arg("-c").arg(format!("{example}print(hidden.shape)")));
    assert_eq!(printed.trim(), "(1, 1500, 192)");
}

#[test]
fn the_source_without_its_library_says_so() {
    // A program that finds the source folder before an installed package.
    let code = "import onnxruntime_ep_xdna as ep\ntry: ep.get_library_path()\nexcept FileNotFoundError as e: print(e)";
    let printed = common::stdout_of(python::with(&source()).env("PYTHONDONTWRITEBYTECODE", "1").args(["-c", code]));
    assert!(printed.contains("is not there") && printed.contains("build its wheel"), "{printed}");
}

#[test]
fn the_library_is_found_where_cargo_leaves_it_or_its_absence_is_one_line() {
    // A repository of this package alone, so that what the real one has in `target/release` has no say.
    let home = tempfile::tempdir().unwrap();
    let root = home.path().canonicalize().unwrap();
    let package = root.join("ep/python");
    fs::create_dir_all(package.join("onnxruntime_ep_xdna")).unwrap();
    fs::copy(common::root().join("Cargo.toml"), root.join("Cargo.toml")).unwrap();
    for folder in ["", "onnxruntime_ep_xdna"] {
        for entry in fs::read_dir(source().join(folder)).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), package.join(folder).join(entry.file_name())).unwrap();
            }
        }
    }
    let dist = root.join("dist");
    fs::create_dir_all(&dist).unwrap();
    let left_by_cargo = root.join("target/release").join(common::ep_library().file_name().unwrap());
    let fails_naming = |library: &Path, named: Option<&Path>| {
        let output = pip_wheel(&package, &dist, named);
        let said = common::text(&output.stdout) + &common::text(&output.stderr);
        assert!(!output.status.success(), "{said}");
        assert!(!said.contains("Traceback"), "{said}");
        let wanted = format!("error: {} is not there: ", library.display());
        let line = said.lines().find_map(|line| line.trim().strip_prefix(&wanted)).unwrap_or_else(|| panic!("{said}"));
        assert!(line.contains("cargo build --release -p onnxruntime-ep-xdna"), "{line}");
        assert!(line.contains(LIBRARY_VARIABLE), "{line}");
        assert!(wheels_in(&dist).is_empty(), "{:?}", wheels_in(&dist));
    };

    fails_naming(&left_by_cargo, None);
    fs::create_dir_all(left_by_cargo.parent().unwrap()).unwrap();
    fs::copy(common::ep_library(), &left_by_cargo).unwrap();
    // A name that leads nowhere is an error even where another library could be found.
    let nowhere = root.join("nowhere.so");
    fails_naming(&nowhere, Some(&nowhere));
    the_wheel_in(&dist, &pip_wheel(&package, &dist, None));
}

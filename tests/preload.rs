//! The preloaded library with a program that is linked with ONNX Runtime and knows nothing of the provider.
#![cfg(target_os = "linux")]

use std::mem::offset_of;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use ort::sys::OrtApi;

mod common;

/// The built library: cargo leaves it beside the test binaries, being a dev-dependency.
fn preload() -> PathBuf {
    common::ep_library().with_file_name("libundertone_preload.so")
}

/// Compiles a file of `tests/preload`.
fn compile(source: &str, into: &Path, arguments: &[&str]) {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let mut command = Command::new(compiler);
    command.arg("-O1").arg(common::root().join("tests/preload").join(source)).arg("-o").arg(into).args(arguments);
    common::stdout_of(&mut command);
}

/// The program; beside it `libonnxruntime.so.1`, which it is linked with. Made once for each run of the tests.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("preload");
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(&home).unwrap();
        symlink(env!("UNDERTONE_ORT_DYLIB"), home.join("libonnxruntime.so.1")).unwrap();
        macro_rules! places {
            ($($name:literal = $member:ident),+ $(,)?) => {
                [$(format!("-D{}={}", $name, offset_of!(OrtApi, $member) / size_of::<usize>())),+]
            };
        }
        let places = places![
            "GET_ERROR_MESSAGE" = GetErrorMessage,
            "CREATE_ENV" = CreateEnv,
            "CREATE_SESSION" = CreateSession,
            "CREATE_SESSION_FROM_ARRAY" = CreateSessionFromArray,
            "CREATE_SESSION_WITH_CONTAINER" = CreateSessionWithPrepackedWeightsContainer,
            "CREATE_SESSION_FROM_ARRAY_WITH_CONTAINER" = CreateSessionFromArrayWithPrepackedWeightsContainer,
            "CREATE_CONTAINER" = CreatePrepackedWeightsContainer,
            "CREATE_SESSION_OPTIONS" = CreateSessionOptions,
            "CREATE_CPU_MEMORY_INFO" = CreateCpuMemoryInfo,
            "CREATE_TENSOR" = CreateTensorWithDataAsOrtValue,
            "GET_TENSOR_MUTABLE_DATA" = GetTensorMutableData,
            "RUN" = Run,
        ];
        let folder = format!("-L{}", home.display());
        let mut arguments: Vec<&str> = places.iter().map(String::as_str).collect();
        arguments.extend([&*folder, "-l:libonnxruntime.so.1", "-Wl,-rpath,$ORIGIN"]);
        let program = home.join("program");
        compile("program.c", &program, &arguments);
        program
    })
}

/// What the program prints, and what is said on standard error, with this environment.
fn run(environment: &[(&str, &str)]) -> (Vec<String>, String) {
    let mut command = Command::new(program());
    for name in ["UNDERTONE_EP", "UNDERTONE_EP_COUNTERS"] {
        command.env_remove(name);
    }
    command.arg(common::reference().join("encoder_model.onnx")).env("LD_PRELOAD", preload());
    command.env("UNDERTONE_EP_LIBRARY", common::ep_library()).envs(environment.iter().copied());
    let output = common::run(&mut command);
    let said = common::text(&output.stderr);
    assert!(output.status.success(), "{said}");
    (common::text(&output.stdout).lines().map(str::to_owned).collect(), said)
}

/// What it prints when nothing is preloaded.
fn without() -> &'static Vec<String> {
    static EXPECTED: OnceLock<Vec<String>> = OnceLock::new();
    EXPECTED.get_or_init(|| {
        let (expected, said) = run(&[("LD_PRELOAD", "")]);
        assert_eq!(expected.len(), 5, "{expected:?}");
        assert!(!said.contains("undertone-preload"), "{said}");
        expected
    })
}

/// The numbers of a line.
fn numbers(line: &str) -> Vec<f64> {
    line.split(' ').filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn a_program_gets_the_provider_where_the_variable_says_so_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("counters.json");
    let counters = file.to_str().unwrap();

    // Off: to the last digit what ONNX Runtime gives.
    let expected = without();
    let (printed, said) = run(&[("UNDERTONE_EP_COUNTERS", counters)]);
    assert_eq!(&printed, expected);
    assert!(!said.contains("undertone-preload") && !file.exists(), "{said}");

    for (value, allowed) in [("1", 0.001), ("device=host,precision=int8", 0.1)] {
        let (printed, said) = run(&[("UNDERTONE_EP", value), ("UNDERTONE_EP_COUNTERS", counters)]);
        assert!(!said.contains("undertone-preload"), "{said}");
        assert_eq!(printed.len(), expected.len(), "{printed:?}");
        for (line, wanted) in printed.iter().zip(expected) {
            let off = numbers(line).iter().zip(numbers(wanted)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off < allowed, "{value}: {line} instead of {wanted}");
        }
        let counted = common::json(&file);
        assert_eq!((&counted["sessions"], &counted["sessions_without"]), (&4.into(), &0.into()), "{counted}");
        assert_eq!(counted["fused_nodes_executed"], 4, "{counted}");
        assert!(counted["kernel_calls.host"].as_u64().unwrap() >= 100, "{counted}");
        std::fs::remove_file(&file).unwrap();
    }
}

#[test]
fn what_cannot_be_done_is_said_once_and_the_program_goes_on() {
    let expected = without();
    for (environment, words) in [
        ([("UNDERTONE_EP", "devce=host"), ("_", "")], "unknown EP option \"devce\""),
        ([("UNDERTONE_EP", "device=npu"), ("_", "")], "no NPU can be used"),
        ([("UNDERTONE_EP", "precision"), ("_", "")], "UNDERTONE_EP has \"precision\": write 1, or options"),
        ([("UNDERTONE_EP", "1"), ("UNDERTONE_EP_LIBRARY", "/nowhere.so")], "/nowhere.so is not there"),
    ] {
        let (printed, said) = run(&environment);
        assert_eq!(&printed, expected, "{environment:?}");
        let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("undertone-preload: ")).collect();
        assert!(lines.len() == 1 && lines[0].contains(words), "{environment:?}: {said}");
    }
}

#[test]
fn an_old_onnxruntime_is_left_alone_and_that_is_said() {
    let home = tempfile::tempdir().unwrap();
    let library = home.path().join("libonnxruntime.so.1");
    compile("old.c", &library, &["-shared", "-fPIC"]);
    let mut command = Command::new(program());
    command
        .env("LD_LIBRARY_PATH", home.path())
        .env("LD_PRELOAD", format!("{} {}", preload().display(), library.display()));
    let output = common::run(command.env("UNDERTONE_EP", "1"));
    let said = common::text(&output.stderr);
    // The program's own code for a version that it cannot use.
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("program: ONNX Runtime 1.22.1"), "{said}");
    assert!(said.contains("undertone-preload: UNDERTONE_EP changes nothing: ONNX Runtime 1.22.1 is too old"), "{said}");
}

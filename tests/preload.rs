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

/// Which program is run.
#[derive(Clone, Copy, PartialEq)]
enum Linked {
    /// It is linked with ONNX Runtime itself.
    Directly,
    /// It loads a library that is.
    ThroughALibrary,
}

/// The folder of both programs, with `libonnxruntime.so.1`. Made once for each run of the tests.
fn programs() -> &'static PathBuf {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
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
            "ENABLE_PROFILING" = EnableProfiling,
            "CREATE_SESSION_OPTIONS" = CreateSessionOptions,
            "CREATE_CPU_MEMORY_INFO" = CreateCpuMemoryInfo,
            "CREATE_TENSOR" = CreateTensorWithDataAsOrtValue,
            "GET_TENSOR_MUTABLE_DATA" = GetTensorMutableData,
            "RUN" = Run,
        ];
        let folder = format!("-L{}", home.display());
        let mut arguments: Vec<&str> = places.iter().map(String::as_str).collect();
        arguments.extend([&*folder, "-l:libonnxruntime.so.1", "-Wl,-rpath,$ORIGIN", "-ldl"]);
        // Another name than the real one's, or the linker takes the one for the other.
        compile("old.c", &home.join("libother.so"), &["-shared", "-fPIC"]);
        compile("program.c", &home.join("directly"), &[&arguments[..], &["-DMAIN=main"]].concat());
        let library = home.join("libprogram.so");
        compile("program.c", &library, &[&arguments[..], &["-DMAIN=run_program", "-shared", "-fPIC"]].concat());
        let defined = format!("-DPROGRAM=\"{}\"", library.display());
        compile("host.c", &home.join("through"), &[&*defined, "-ldl"]);
        home
    })
}

/// What the program prints, and what is said on standard error, with this environment. Its own options have been
/// followed: three profiles lie where it wants them.
fn run(linked: Linked, environment: &[(&str, &str)]) -> (Vec<String>, String) {
    let name = if linked == Linked::Directly { "directly" } else { "through" };
    let mut command = Command::new(programs().join(name));
    for name in ["UNDERTONE_EP", "UNDERTONE_EP_COUNTERS"] {
        command.env_remove(name);
    }
    let home = tempfile::tempdir().unwrap();
    let other = programs().join("libother.so");
    command.arg(common::reference().join("encoder_model.onnx")).arg(home.path().join("profile")).arg(other);
    command.env("LD_PRELOAD", preload());
    command.env("UNDERTONE_EP_LIBRARY", common::ep_library()).envs(environment.iter().copied());
    let output = common::run(&mut command);
    let said = common::text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(home.path().read_dir().unwrap().count() >= 3, "profiles are missing");
    (common::text(&output.stdout).lines().map(str::to_owned).collect(), said)
}

/// What it prints when nothing is preloaded.
fn without(linked: Linked) -> &'static Vec<String> {
    static EXPECTED: [OnceLock<Vec<String>>; 2] = [OnceLock::new(), OnceLock::new()];
    EXPECTED[linked as usize].get_or_init(|| {
        let (expected, said) = run(linked, &[("LD_PRELOAD", "")]);
        assert_eq!(expected.len(), 6, "{expected:?}");
        // The linker looks at what the program is linked with first, whoever calls.
        let other = if linked == Linked::Directly { "other 1.32.0" } else { "other 1.22.1" };
        assert_eq!(&expected[4..], ["no such model", other], "{expected:?}");
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
    for linked in [Linked::Directly, Linked::ThroughALibrary] {
        let (printed, said) = run(linked, &[("UNDERTONE_EP_COUNTERS", counters)]);
        assert_eq!(&printed, without(linked));
        assert!(!said.contains("undertone-preload") && !file.exists(), "{said}");
    }

    for (linked, value, allowed, old) in [
        (Linked::Directly, "1", 0.001, 0),
        // The other one in the process is too old.
        (Linked::ThroughALibrary, "device=host,precision=int8", 0.1, 1),
    ] {
        let expected = without(linked);
        let (printed, said) = run(linked, &[("UNDERTONE_EP", value), ("UNDERTONE_EP_COUNTERS", counters)]);
        assert_eq!(said.matches("undertone-preload: ").count(), old, "{said}");
        assert_eq!(said.matches("ONNX Runtime 1.22.1 is too old").count(), old, "{said}");
        assert_eq!(printed.len(), expected.len(), "{printed:?}");
        assert_eq!(printed[4..], expected[4..]);
        for (line, wanted) in printed.iter().zip(expected).take(4) {
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
    let expected = without(Linked::Directly);
    for (environment, words) in [
        ([("UNDERTONE_EP", "devce=host"), ("_", "")], "unknown EP option \"devce\""),
        ([("UNDERTONE_EP", "device=npu"), ("_", "")], "no NPU can be used"),
        ([("UNDERTONE_EP", "precision"), ("_", "")], "UNDERTONE_EP has \"precision\": write 1, or options"),
        ([("UNDERTONE_EP", "1"), ("UNDERTONE_EP_LIBRARY", "/nowhere.so")], "/nowhere.so is not there"),
    ] {
        let (printed, said) = run(Linked::Directly, &environment);
        assert_eq!(&printed, expected, "{environment:?}");
        let ours = |line: &&str| line.starts_with("undertone-preload: ");
        let lines: Vec<&str> = said.lines().filter(ours).collect();
        assert!(lines.len() == 1 && lines[0].contains(words), "{environment:?}: {said}");
    }
}

#[test]
fn an_old_onnxruntime_is_left_alone_and_that_is_said() {
    let home = tempfile::tempdir().unwrap();
    let library = home.path().join("libonnxruntime.so.1");
    compile("old.c", &library, &["-shared", "-fPIC"]);
    let mut command = Command::new(programs().join("directly"));
    command.env("LD_PRELOAD", format!("{} {}", preload().display(), library.display()));
    let output = common::run(command.env("UNDERTONE_EP", "1"));
    let said = common::text(&output.stderr);
    // The program's own code for a version that it cannot use.
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("program: ONNX Runtime 1.22.1"), "{said}");
    assert!(said.contains("undertone-preload: UNDERTONE_EP changes nothing: ONNX Runtime 1.22.1 is too old"), "{said}");
}

//! The inputs that fuzzing has kept (`fuzz/corpus`), once each, with what is asked of the library in `fuzz/src`.

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use std::{fs, path::Path};

/// The kept inputs of a target, each with its file's name.
fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    let read =
        |path: &std::path::PathBuf| (path.file_name().unwrap().to_string_lossy().into(), fs::read(path).unwrap());
    files.iter().map(read).collect()
}

/// Tries each, and says which one fails.
fn replay<T>(target: &str, mut what: impl FnMut(&[u8]) -> T) -> Vec<(String, T)> {
    let one = |(name, data): (String, Vec<u8>)| {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| what(&data)));
        let result = result.unwrap_or_else(|_| panic!("fuzz/corpus/{target}/{name} fails"));
        (name, result)
    };
    kept(target).into_iter().map(one).collect()
}

#[test]
fn options() {
    replay("options", fuzz::options);
}

#[test]
fn entry_points() {
    replay("entry_points", fuzz::calls);
}

#[test]
fn graphs() {
    let outcomes = replay("graph", fuzz::graph);
    let completed = outcomes.iter().filter(|(_, outcome)| outcome.completed > 0).count();
    println!("{} graphs, {completed} of them run", outcomes.len());
    for (name, outcome) in &outcomes {
        // Those that a person wrote say what becomes of them.
        if name.starts_with("runs-") {
            assert!(outcome.claimed > 0 && outcome.completed > 0 && outcome.errors.is_empty(), "{name}: {outcome:?}");
        }
    }
    assert!(completed * 3 > outcomes.len(), "only {completed} of {} graphs were run", outcomes.len());
}

#[test]
fn containers() {
    let outcomes = replay("container", fuzz::container);
    assert!(outcomes.iter().any(|(name, outcome)| name == "whole" && outcome.completed > 0), "{outcomes:?}");
}

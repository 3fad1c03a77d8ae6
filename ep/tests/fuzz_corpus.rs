//! The inputs that fuzzing has kept (`fuzz/corpus`), once each, with what is asked of the library in `fuzz/src`; and
//! some that are made of them by chance, the same ones each time. `MUTANTS=100000` makes more, for a compiler that has no
//! fuzzer.

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

/// Numbers that look like chance, and are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most.max(1)
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}

const NUMBERS: [&str; 14] =
    ["0", "1", "-1", "2", "3", "7", "8", "64", "-9", "1000000", "4294967296", "9223372036854775807", "[0,1]", "0.5"];

/// A text with some words, or lines, in other places, or those of another text.
fn mutant(texts: &[&str], chance: &mut Chance) -> String {
    let mut lines: Vec<Vec<&str>> =
        texts[chance.below(texts.len())].lines().map(|line| line.split_ascii_whitespace().collect()).collect();
    let other: Vec<Vec<&str>> =
        texts[chance.below(texts.len())].lines().map(|line| line.split_ascii_whitespace().collect()).collect();
    for _ in 0..1 + chance.below(4) {
        let (at, from) = (chance.below(lines.len()), chance.below(other.len()));
        match chance.below(8) {
            0 => lines.insert(at, other[from].clone()),
            1 => lines.truncate(lines.len().max(2) - 1),
            2 => {
                let to = chance.below(lines.len());
                lines.swap(at, to);
            }
            kind => {
                let all: Vec<&str> = lines.iter().flatten().copied().collect();
                let line = &mut lines[at];
                let (place, theirs) = (chance.below(line.len()), chance.below(other[from].len()));
                let word = match kind {
                    3 => chance.one_of(&NUMBERS),
                    4 | 5 => chance.one_of(&all),
                    _ => other[from].get(theirs).copied().unwrap_or("_"),
                };
                match line.get_mut(place) {
                    Some(old) if chance.below(4) > 0 => *old = word,
                    Some(_) if chance.below(2) > 0 => line.insert(place, word),
                    Some(_) => drop(line.remove(place)),
                    None => line.push(word),
                }
            }
        }
    }
    lines.iter().map(|line| line.join(" ") + "\n").collect()
}

#[test]
fn mutants_of_graphs() {
    let wanted = std::env::var("MUTANTS").ok().and_then(|count| count.parse().ok()).unwrap_or(1500);
    let kept: Vec<String> =
        kept("graph").into_iter().map(|(_, data)| String::from_utf8_lossy(&data).into_owned()).collect();
    let texts: Vec<&str> = kept.iter().map(String::as_str).collect();
    let (mut chance, mut claimed, mut completed, mut failed) = (Chance(1), 0, 0, 0);
    for _ in 0..wanted {
        let text = mutant(&texts, &mut chance);
        match std::panic::catch_unwind(|| fuzz::graph(text.as_bytes())) {
            Ok(outcome) => {
                claimed += usize::from(outcome.claimed > 0);
                completed += usize::from(outcome.completed > 0);
            }
            // All of them, when many are asked for.
            Err(_) => {
                println!("{text}# fails\n");
                failed += 1;
            }
        }
    }
    println!("{wanted} mutants, {claimed} claimed, {completed} run");
    assert_eq!(failed, 0, "each is printed above with what it failed on");
    assert!(completed * 5 > wanted, "few are run");
}

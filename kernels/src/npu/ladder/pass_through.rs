//! Rung 2: bytes through an array without cores, from A to C, by one transfer: by the compiler's own stream where the
//! bundle has one. Then neither the transfer nor the words are ours: what fails is below them. A single command first,
//! then lists.

use super::{
    Climber,
    bench::{Bench, Operands, bytes},
    copies::{compare, linear},
};
use crate::npu::{
    array::Array,
    device::Commands,
    trial::{Trial, TrialKind},
};

const LOADING: &str = "The container is not what this driver and XRT take, or they do not fit each other: compare \
     their versions with docs/npu.md, and AMD's own programs with xrt-smi validate.";
const SINGLE: &str = "Nothing of it is written here where the stream is the compiler's: compare versions of kernel, \
     driver, firmware and XRT with docs/npu.md, and report it.";
const LISTS: &str = "Lists of commands fail with this driver and XRT where single commands do not: start commands \
     singly (--npu-commands single), and report the versions.";

/// Commands that are tried, how they are given, and how often each is executed for its time.
const TRIED: [(usize, Commands, usize); 4] =
    [(1, Commands::Single, 11), (1, Commands::Lists, 11), (2, Commands::Lists, 11), (64, Commands::Lists, 5)];

const STAND_IN: &str = "there is no compiler's stream here: our own writer's of the same transfer stands in for it";

/// How the compiler's stream differs from ours of the same transfer. Others than ours may be right as well.
fn other_words(made: &[u32], ours: &[u32]) -> Option<String> {
    let place = (0..made.len().max(ours.len())).find(|place| made.get(*place) != ours.get(*place))?;
    let word = |words: &[u32]| words.get(place).map_or("none".to_owned(), |word| format!("{word:#010x}"));
    let (theirs, own) = (word(made), word(ours));
    Some(format!(
        "the compiler's own has {} words, ours {}; the first that differs is word {place}: {theirs}, and {own}",
        made.len(),
        ours.len()
    ))
}

pub(super) fn climb<A: Array>(climber: &mut Climber<'_, A>) -> Option<()> {
    let (array, timed) = (climber.array, climber.is_timed());
    let bench = climber.check("the array that passes bytes on is loaded", LOADING, |_| {
        Ok((Bench::open(array, TrialKind::PassThrough)?, None))
    })?;
    let ours = climber.check("whose stream it is", SINGLE, |_| {
        let words = bench.stream(&linear(bench.trial(), Trial::MADE_BYTES))?;
        let fact = bench.made().map_or_else(|| Some(STAND_IN.to_owned()), |made| other_words(made, &words));
        Ok((words, fact))
    })?;
    let words = bench.made().unwrap_or(&ours);
    for (index, (commands, by, times)) in TRIED.into_iter().enumerate() {
        if by == Commands::Lists && array.commands() == Commands::Single {
            return climber.check("lists of commands", LISTS, |_| {
                Ok(((), Some("not tried: commands are to be started singly".to_owned())))
            });
        }
        let seed = index as u32 + 1;
        let operands = Operands { a: bytes(Trial::MADE_BYTES, seed), b: Vec::new(), c: Trial::MADE_BYTES };
        let (name, advice) = match (by, commands) {
            (Commands::Single, _) => ("a single command".to_owned(), SINGLE),
            (Commands::Lists, 1) => ("a list of 1 command".to_owned(), LISTS),
            (Commands::Lists, _) => (format!("a list of {commands} commands"), LISTS),
        };
        climber.check(&name, advice, |figures| {
            let (results, walls) = bench.run(words, &operands, (commands, by), if timed { times } else { 1 })?;
            for (index, result) in results.iter().enumerate() {
                compare(&operands.a, result, || format!("of command {index} "), &[])?;
            }
            if timed {
                let median = super::median_us(walls);
                figures.insert("median_us".to_owned(), median);
                figures.insert("us_per_command".to_owned(), median / commands as f64);
            }
            Ok(((), None))
        })?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_that_differs_is_told() {
        assert_eq!(other_words(&[1, 2], &[1, 2]), None);
        let said = |made: &[u32]| other_words(made, &[1, 2, 3]).unwrap();
        assert!(said(&[1, 5, 3]).contains("word 1: 0x00000005, and 0x00000002"), "{}", said(&[1, 5, 3]));
        assert!(said(&[1, 2]).contains("has 2 words, ours 3; the first that differs is word 2: none, and 0x00000003"));
    }
}

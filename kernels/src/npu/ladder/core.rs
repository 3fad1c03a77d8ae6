//! Rung 4: what one core computes, beside this machine's bits, and how long it takes. The kernels rest on each of these:
//! what they would not survive fails; what differs and does them no harm is told.

use super::{
    Climber, Fact, Wrong,
    bench::{Bench, Operands, bytes},
    numbers::{self, words},
};
use crate::npu::{
    access::Transfer,
    array::Array,
    design::Argument,
    question::Question,
    stream::{DmaTask, Step},
    trial::{Trial, TrialKind},
};

/// How often a question is computed to find out what one turn takes.
const TURNS: u32 = 2001;
/// Times of each, of which the middle one counts.
const TIMES: usize = 3;
const VALUES: usize = Question::VALUES;

/// Widths of loads and stores: those that the kernels use, in bytes.
const WIDTHS: [usize; 3] = [16, 32, 64];

const ALIGNMENT: &str = "The kernels load and store vectors at multiples of their own size: as it is, they read wrong \
     data. Report the offsets.";

pub(super) fn climb<A: Array>(climber: &mut Climber<'_, A>) -> Option<()> {
    let (array, timed) = (climber.array, climber.is_timed());
    let loading = "Rung 3 has shown that streams arrive: this container has a core's program, which Peano made. Make \
         the ladder's bundles again with the pinned versions, and report what build.sh prints.";
    let bench = climber.check("one core is loaded", loading, |_| {
        let bench = Bench::open(array, TrialKind::Core)?;
        // A question that no core knows: its control comes back.
        let asked = Question::Larger.object(1, 0, &[]);
        let said = ask(&bench, &asked)?;
        match said[..12] == asked[..12] {
            true => Ok((bench, None)),
            false => {
                Err(Wrong::Found(format!("it answers {:?} where its question was {:?}", &said[..12], &asked[..12])))
            }
        }
    })?;
    for width in WIDTHS {
        climber.check(&format!("loads of {width} bytes at each offset"), ALIGNMENT, |_| loads(&bench, width))?;
        climber.check(&format!("stores of {width} bytes at each offset"), ALIGNMENT, |_| stores(&bench, width))?;
    }
    for numbers in numbers::all() {
        climber.check(numbers.name, numbers.advice, |figures| {
            let data = numbers.data();
            let said = ask(&bench, &numbers.question.object(1, 0, &data))?;
            let fact = numbers.hold(&said[Question::CONTROL..], figures)?;
            if timed && numbers.timed {
                time(&bench, numbers.question, &data, array.target().clock(), figures)?;
            }
            Ok(((), fact))
        })?;
    }
    Some(())
}

/// The answer to a question.
fn ask<A: Array>(bench: &Bench<'_, A>, question: &[u8]) -> Result<Vec<u8>, Wrong> {
    let operands = Operands { a: question.to_vec(), b: Vec::new(), c: Question::BYTES };
    let (mut results, _) = bench.run(&stream(bench)?, &operands, (1, bench.commands()), 1)?;
    results.pop().ok_or_else(|| Wrong::Found("no answer came".to_owned()))
}

/// The stream of one question and its answer.
fn stream<A: Array>(bench: &Bench<'_, A>) -> Result<Vec<u32>, Wrong> {
    let trial: &Trial = bench.trial();
    let to = trial.lanes()[0].to;
    let task = |channel, argument, descriptor| Step::Task {
        task: DmaTask { channel, transfer: Transfer::linear(argument, 0, Question::BYTES as u32 / 4), repeats: 0 },
        descriptor,
        token: argument == Argument::C,
    };
    bench.stream(&[task(to, Argument::C, 0), task(trial.a, Argument::A, 1), Step::Wait(to)])
}

/// What a value of a question takes: the difference of many turns and one, so that all else about a command falls out.
/// The clock is the published one; a power mode that lowers it makes cycles look more.
fn time<A: Array>(
    bench: &Bench<'_, A>,
    question: Question,
    data: &[u32],
    clock: f64,
    figures: &mut super::Figures,
) -> Result<(), Wrong> {
    let words = stream(bench)?;
    let mut took = [0.0; 2];
    for (took, turns) in took.iter_mut().zip([1, TURNS]) {
        let operands = Operands { a: question.object(turns, 0, data), b: Vec::new(), c: Question::BYTES };
        let (_, walls) = bench.run(&words, &operands, (1, bench.commands()), TIMES)?;
        *took = super::median_us(walls);
    }
    let each = (took[1] - took[0]) * 1e-6 / f64::from(TURNS - 1) / VALUES as f64;
    // On a busy machine one turn can take longer than many.
    if each > 0.0 {
        figures.insert("ns_per_value".to_owned(), each * 1e9);
        figures.insert("cycles_per_value".to_owned(), each * clock);
    }
    Ok(())
}

/// Offsets as text: the first few.
fn listed(offsets: &[usize]) -> String {
    let shown: Vec<String> = offsets.iter().take(6).map(usize::to_string).collect();
    let more = if offsets.len() > 6 { " and more" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// What wrong offsets mean: those at multiples of the width are needed.
fn offsets(what: &str, width: usize, wrong: &[usize]) -> Result<((), Fact), Wrong> {
    let needed: Vec<usize> = wrong.iter().copied().filter(|offset| offset % width == 0).collect();
    if !needed.is_empty() {
        return Err(Wrong::Found(format!("{what} of {width} bytes are wrong at offsets {} of 64", listed(&needed))));
    }
    let fact = format!("right at multiples of {width}, which is all that kernels use; wrong at {}", listed(wrong));
    Ok(((), (!wrong.is_empty()).then_some(fact)))
}

fn loads<A: Array>(bench: &Bench<'_, A>, width: usize) -> Result<((), Fact), Wrong> {
    let data = words(&bytes(4 * VALUES, 3));
    let question = Question::Loads(width).object(1, 0, &data);
    let said = ask(bench, &question)?;
    let (data, said) = (&question[Question::CONTROL..], &said[Question::CONTROL..]);
    let wrong: Vec<usize> =
        (0..64).filter(|offset| said[offset * width..][..width] != data[*offset..][..width]).collect();
    offsets("loads", width, &wrong)
}

fn stores<A: Array>(bench: &Bench<'_, A>, width: usize) -> Result<((), Fact), Wrong> {
    let data = words(&bytes(64, 4));
    let mut wrong = Vec::new();
    for first in [0, Question::STORES] {
        let question = Question::Stores(width).object(1, first as u32, &data);
        let said = ask(bench, &question)?;
        let vector = &question[Question::CONTROL..][..width];
        for (index, window) in said[Question::CONTROL..].chunks_exact(Question::WINDOW).enumerate() {
            let mut meant = [0; Question::WINDOW];
            meant[first + index..][..width].copy_from_slice(vector);
            if window != meant {
                wrong.push(first + index);
            }
        }
    }
    offsets("stores", width, &wrong)
}

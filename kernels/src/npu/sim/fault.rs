//! Faults that a simulated array can be given, for tests of what has to find them. One set of words serves the
//! simulator and the pretended driver (`tests/xrt/fake`).

use std::str::FromStr;

use super::network::{CoreWork, Schedule};
use crate::npu::{access::Transfer, array::ArrayError, design::Design, question::Question, stream::Event};

/// What is wrong with an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `lists`: a list of more than one command fails.
    Lists,
    /// `strides`: transfers go on word by word, whatever steps their descriptors have.
    Strides,
    /// `patches`: transfers begin at the first byte of their buffer.
    Patches,
    /// `repeats`: tasks are done once.
    Repeats,
    /// `alignment`: vectors that do not lie at a multiple of 64 bytes are read from the one before.
    Alignment,
    /// `rounding`: sums and conversions are cut off.
    Rounding,
    /// `ties`: what lies in the middle of two numbers is rounded up. Nothing of ours depends on it.
    Ties,
    /// `denormals`: sums and products below every normal number are zeros. Nothing of ours depends on it.
    Denormals,
    /// `product`: an fp32 product is one of bf16 values.
    Product,
    /// `exp2`: powers of two are half of what they are from 2¹ on.
    Exp2,
    /// `dead-core ROW COLUMN`: a core gives zeros.
    DeadCore(usize, usize),
    /// `wrong-core ROW COLUMN`: each of a core's results has a wrong bit.
    WrongCore(usize, usize),
    /// `dead-column COLUMN`: its cores give zeros.
    DeadColumn(usize),
    /// `long`: streams of more than 150 tasks and waits give wrong results.
    Long,
    /// `attention`: its results are wrong, those of products right.
    Attention,
    /// `hang`: no command ends.
    Hang,
    /// `error`: each command fails.
    Error,
}

/// Tasks and waits beyond which a stream is long.
const LONG: usize = 150;

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let word = words.next().unwrap_or_default();
        let mut number = || {
            let number = words.next().and_then(|number| number.parse().ok());
            number.ok_or_else(|| format!("\"{text}\": a number is missing"))
        };
        let fault = match word {
            "lists" => Fault::Lists,
            "strides" => Fault::Strides,
            "patches" => Fault::Patches,
            "repeats" => Fault::Repeats,
            "alignment" => Fault::Alignment,
            "rounding" => Fault::Rounding,
            "ties" => Fault::Ties,
            "denormals" => Fault::Denormals,
            "product" => Fault::Product,
            "exp2" => Fault::Exp2,
            "dead-core" => Fault::DeadCore(number()?, number()?),
            "wrong-core" => Fault::WrongCore(number()?, number()?),
            "dead-column" => Fault::DeadColumn(number()?),
            "long" => Fault::Long,
            "attention" => Fault::Attention,
            "hang" => Fault::Hang,
            "error" => Fault::Error,
            _ => return Err(format!("\"{text}\" is no fault")),
        };
        words.next().map_or(Ok(fault), |word| Err(format!("\"{text}\": {word} is too much")))
    }
}

impl Fault {
    /// What commands end in, in a simulated array: several in a list, or others.
    pub(super) fn strike(self, listed: bool) -> Result<(), ArrayError> {
        match self {
            Fault::Lists if listed => Err(ArrayError::Failed("a list of commands was aborted".into())),
            Fault::Error => Err(ArrayError::Failed("its state is an error".into())),
            Fault::Hang => Err(ArrayError::Timeout {
                limit: std::time::Duration::from_secs(10),
                reason: "the simulated array was told to hang".into(),
            }),
            _ => Ok(()),
        }
    }

    /// What becomes of a task.
    pub(super) fn spoil_event(self, event: &mut Event) {
        if let Event::Push { transfer, repeats, .. } = event {
            match self {
                Fault::Strides => {
                    let linear = Transfer::linear(transfer.argument, transfer.offset, transfer.length);
                    let Transfer { iterations, iteration_step, .. } = *transfer;
                    *transfer = Transfer { iterations, iteration_step, ..linear };
                }
                Fault::Patches => transfer.offset = 0,
                Fault::Repeats => *repeats = 0,
                _ => {}
            }
        }
    }

    /// What becomes of the results of each core of a design.
    pub(super) fn spoil_results(self, design: &Design, schedule: &Schedule, events: usize, results: &mut [Vec<u8>]) {
        let columns = design.columns();
        for (index, (results, outputs)) in results.iter_mut().zip(&schedule.cores).enumerate() {
            let place = (index / columns, index % columns);
            let attention = outputs.first().is_some_and(|output| output.work == CoreWork::Attention);
            let wrong = match self {
                Fault::DeadCore(row, column) if place == (row, column) => Some(true),
                Fault::DeadColumn(column) if place.1 == column => Some(true),
                Fault::WrongCore(row, column) if place == (row, column) => Some(false),
                Fault::Long if events > LONG => Some(false),
                Fault::Attention if attention => Some(false),
                _ => None,
            };
            match wrong {
                Some(true) => results.fill(0),
                // A bit of each value's exponent.
                Some(false) => results.iter_mut().skip(1).step_by(2).for_each(|byte| *byte ^= 0x02),
                None => {}
            }
        }
    }

    /// What becomes of the answer of a trial array's core.
    pub(super) fn spoil_answer(self, question: &[u8], answer: &mut [u8]) {
        let Some(asked) = Question::of(question) else { return };
        let (data, said) = (&question[Question::CONTROL..], &mut answer[Question::CONTROL..]);
        let value = |index: usize| f32::from_bits(word(data, index));
        let mut each = |new: &dyn Fn(usize, f32) -> f32| {
            for index in 0..Question::VALUES {
                let old = f32::from_bits(word(said, index));
                said[4 * index..][..4].copy_from_slice(&new(index, old).to_le_bytes());
            }
        };
        let cut = |value: f64| {
            let nearest = value as f32;
            let over = f64::from(nearest).abs() > value.abs();
            if over { f32::from_bits(nearest.to_bits() - 1) } else { nearest }
        };
        match (self, asked) {
            (Fault::Alignment, Question::Loads(width)) => {
                for (offset, place) in said.chunks_exact_mut(width).take(64).enumerate() {
                    place.copy_from_slice(&data[offset / 64 * 64..][..width]);
                }
            }
            (Fault::Rounding, Question::Sum) => {
                each(&|index, _| cut(f64::from(value(index)) + f64::from(value(Question::VALUES + index))));
            }
            (Fault::Rounding, Question::ToBf16) => {
                for index in 0..Question::VALUES {
                    said[2 * index..][..2].copy_from_slice(&((value(index).to_bits() >> 16) as u16).to_le_bytes());
                }
            }
            (Fault::Ties, Question::Sum) => {
                each(&|index, _| half_up(f64::from(value(index)) + f64::from(value(Question::VALUES + index))));
            }
            (Fault::Ties, Question::ToBf16) => {
                for index in 0..Question::VALUES {
                    let up = value(index).to_bits().wrapping_add(0x8000) >> 16;
                    said[2 * index..][..2].copy_from_slice(&(up as u16).to_le_bytes());
                }
            }
            (Fault::Denormals, Question::Sum | Question::Product) => {
                each(&|_, old| if old.is_subnormal() { 0.0 } else { old });
            }
            (Fault::Product, Question::Product) => {
                let bf16 = |value: f32| f32::from_bits(value.to_bits() & 0xffff_0000);
                each(&|index, _| bf16(value(index)) * bf16(value(Question::VALUES + index)));
            }
            (Fault::Exp2, Question::Exp2) => each(&|_, old| if old >= 2.0 { old / 2.0 } else { old }),
            _ => {}
        }
    }
}

/// The nearest fp32 number; the upper one of two that are as near.
fn half_up(value: f64) -> f32 {
    let nearest = value as f32;
    let above = nearest.next_up();
    let in_the_middle = f64::from(above) - value == value - f64::from(nearest);
    if in_the_middle { above } else { nearest }
}

fn word(bytes: &[u8], index: usize) -> u32 {
    super::core::word(bytes, index)
}

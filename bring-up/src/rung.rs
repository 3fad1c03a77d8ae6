//! The rungs by name: what each is about, how long it may take, and what its failure means.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A rung, from the bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// What is installed, and what is in the way.
    Installation,
    /// AMD's own tests of the NPU.
    Amd,
    /// Bytes through an array without cores.
    PassThrough,
    /// Instruction streams of ours over that array.
    Stream,
    /// What one core computes, and in how many cycles.
    Core,
    /// Products, of one core up to the whole array.
    Product,
    /// Attention, and the encoders of whole models.
    Whisper,
}

impl Rung {
    /// All, from the bottom.
    pub const ALL: [Rung; 7] =
        [Rung::Installation, Rung::Amd, Rung::PassThrough, Rung::Stream, Rung::Core, Rung::Product, Rung::Whisper];

    /// Its number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The rung of a number.
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// What it is about, as its headline.
    pub fn title(self) -> &'static str {
        match self {
            Rung::Installation => "the installation",
            Rung::Amd => "AMD's own tests",
            Rung::PassThrough => "bytes through the array, without a core",
            Rung::Stream => "Undertone's instruction streams",
            Rung::Core => "what one core computes",
            Rung::Product => "products",
            Rung::Whisper => "attention and Whisper",
        }
    }

    /// How long it may take. AMD's tests run for a minute, models are loaded and packed first.
    pub fn limit(self) -> Duration {
        Duration::from_secs(match self {
            Rung::Installation => 60,
            Rung::PassThrough | Rung::Stream => 120,
            Rung::Core | Rung::Product => 240,
            Rung::Amd | Rung::Whisper => 600,
        })
    }

    /// Where the fault lies if this rung fails and those below it did not.
    pub fn blame(self) -> &'static str {
        match self {
            Rung::Installation => {
                "The installation has to be mended first; docs/npu.md lists versions that work together."
            }
            Rung::Amd => {
                "AMD's own test fails, so the fault lies below Undertone: in the driver, the firmware or XRT. docs/npu.md \
                 lists versions that work together. `--from 2` climbs on without this rung."
            }
            Rung::PassThrough => {
                "Nothing of Undertone's runs on a core yet: look at the bundle, and at how XRT and the driver take commands."
            }
            Rung::Stream => "The array moves bytes as AMD's compiler asks: Undertone's instruction streams are wrong.",
            Rung::Core => {
                "The array moves bytes as it is asked: the cores compute otherwise than Undertone takes them to."
            }
            Rung::Product => "One core computes as it should: cores together, or long streams, do not.",
            Rung::Whisper => "Products are right: attention is not, or what the execution provider makes of kernels.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_and_are_those_of_the_kernels_ladder() {
        use undertone_kernels::npu::ladder;
        for rung in Rung::ALL {
            assert_eq!(Rung::of_number(rung.number()), Some(rung));
        }
        assert_eq!(Rung::of_number(7), None);
        let numbers = ladder::Rung::ALL.map(|rung| rung.number());
        assert_eq!(numbers, [2, 3, 4, 5, 6]);
    }
}

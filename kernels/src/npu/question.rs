//! What the core of a trial array is asked (`kernels/aie/src/trial.h` has the answers): one object for a question, one
//! for its answer, each with 16 words of control before 4096 bytes.

use super::trial::{Trial, TrialKind};

/// What can be asked. Arithmetic is of 512 values a, and as many b where there are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Vectors of 16, 32 or 64 bytes at each of 64 offsets of the data.
    Loads(usize),
    /// The first vector of the data, stored at 32 offsets, each in a window of 128 bytes of zeros.
    Stores(usize),
    /// `a · b` in fp32.
    Product,
    /// `a · b` of bf16 values, added to fp32: 512 of two bytes and 512 more in the place of a, the sums in that of b.
    Mac,
    /// `a · b` of two bf16 parts of each.
    LowProduct,
    /// `a · b` of three bf16 parts of each.
    SplitProduct,
    /// `a + b` in fp32.
    Sum,
    /// `a − b` in fp32.
    Difference,
    /// `2ᵃ`.
    Exp2,
    /// `2ᵃ` by products of bf16, as bf16.
    Probability,
    /// `a Φ(a)`.
    Gelu,
    /// `1 / a`.
    Reciprocal,
    /// The larger of a and b.
    Larger,
    /// 1 where a < b, else 0.
    Less,
    /// a rounded to bf16; 1024 bytes.
    ToBf16,
    /// int32 to fp32.
    ToFloat,
    /// fp32 to int32, by adding 1.5 · 2²³.
    ToInt32,
    /// The same, and from there to int8; 512 bytes.
    ToInt8,
}

impl Question {
    /// Bytes of control before the data.
    pub const CONTROL: usize = 64;
    /// Values a, and values b.
    pub const VALUES: usize = 512;
    /// Bytes of an object.
    pub const BYTES: usize = Trial::object(TrialKind::Core);
    /// Bytes of the window of a stored vector, and stores of one question.
    pub const WINDOW: usize = 128;
    pub const STORES: usize = 32;

    /// All of them, in the order of their numbers.
    const ALL: [Question; 22] = [
        Question::Loads(16),
        Question::Loads(32),
        Question::Loads(64),
        Question::Stores(16),
        Question::Stores(32),
        Question::Stores(64),
        Question::Product,
        Question::Mac,
        Question::LowProduct,
        Question::SplitProduct,
        Question::Sum,
        Question::Difference,
        Question::Exp2,
        Question::Probability,
        Question::Gelu,
        Question::Reciprocal,
        Question::Larger,
        Question::Less,
        Question::ToBf16,
        Question::ToFloat,
        Question::ToInt32,
        Question::ToInt8,
    ];

    /// What an object asks.
    pub fn of(object: &[u8]) -> Option<Self> {
        let number = u32::from_le_bytes(object.first_chunk().copied()?);
        Self::ALL.get(number as usize).copied()
    }

    /// The object that asks it: `turns` is how often it is computed, `first` the first offset of stores, `data` what it
    /// is about.
    pub fn object(self, turns: u32, first: u32, data: &[u32]) -> Vec<u8> {
        let number = Self::ALL.iter().position(|other| *other == self).unwrap_or_default();
        let mut words = vec![0; Self::CONTROL / 4];
        words[..3].copy_from_slice(&[number as u32, turns, first]);
        words.extend_from_slice(data);
        words.resize(Self::BYTES / 4, 0);
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

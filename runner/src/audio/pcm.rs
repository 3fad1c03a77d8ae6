//! Plain samples: integers, floating point, and the two companded laws of ITU-T G.711.

/// How plain samples stand in a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pcm {
    pub(super) sample: Sample,
    pub(super) big_endian: bool,
    pub(super) rate: u32,
    /// What each channel counts in the mix; as many as there are channels.
    pub(super) weights: Vec<f32>,
}

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sample {
    /// From 1 to 8 bytes, the value in the uppermost bits.
    Signed(usize),
    /// From 1 to 8 bytes, silence in the middle.
    Unsigned(usize),
    /// Of 4 or 8 bytes.
    Float(usize),
    ALaw,
    MuLaw,
}

impl Sample {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Signed(bytes) | Self::Unsigned(bytes) | Self::Float(bytes) => bytes,
            Self::ALaw | Self::MuLaw => 1,
        }
    }
}

impl Pcm {
    /// Bytes of a frame: a sample of each channel.
    pub(super) fn frame(&self) -> usize {
        self.sample.bytes() * self.weights.len()
    }

    /// The samples in `data`, in −1…1, to the end of `out`; bytes that make no whole sample are left out.
    pub(super) fn decode(&self, data: &[u8], out: &mut Vec<f32>) {
        let big = self.big_endian;
        let samples = data.chunks_exact(self.sample.bytes());
        match self.sample {
            Sample::Signed(_) => out.extend(samples.map(|bytes| unit(upper(bytes, big)))),
            Sample::Unsigned(_) => out.extend(samples.map(|bytes| unit(upper(bytes, big) ^ i32::MIN))),
            Sample::Float(4) => out.extend(samples.map(|bytes| f32::from_bits(upper(bytes, big).cast_unsigned()))),
            Sample::Float(_) => out.extend(samples.map(|bytes| f64::from_bits(word(bytes, big)) as f32)),
            Sample::ALaw => out.extend(data.iter().map(|byte| f32::from(a_law(*byte)) / 32_768.0)),
            Sample::MuLaw => out.extend(data.iter().map(|byte| f32::from(mu_law(*byte)) / 32_768.0)),
        }
    }
}

/// Up to 8 bytes in the uppermost ones of a word.
fn word(bytes: &[u8], big_endian: bool) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(0..bytes.len()) {
        *to = bytes[if big_endian { from } else { bytes.len() - 1 - from }];
    }
    u64::from_be_bytes(word)
}

/// The uppermost 32 bits.
fn upper(bytes: &[u8], big_endian: bool) -> i32 {
    ((word(bytes, big_endian) >> 32) as u32).cast_signed()
}

fn unit(value: i32) -> f32 {
    value as f32 / (1u32 << 31) as f32
}

/// ITU-T G.711, table 1a, scaled to 16 bits.
fn a_law(byte: u8) -> i16 {
    let code = byte ^ 0x55;
    let (exponent, mantissa) = ((code >> 4) & 7, i16::from(code & 15));
    let step = mantissa * 16 + 8;
    let magnitude = if exponent == 0 { step } else { (step + 256) << (exponent - 1) };
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}

/// ITU-T G.711, table 2a, scaled to 16 bits.
fn mu_law(byte: u8) -> i16 {
    let code = !byte;
    let magnitude = (((i16::from(code & 15) << 3) + 132) << ((code >> 4) & 7)) - 132;
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(sample: Sample, big_endian: bool, data: &[u8]) -> Vec<f32> {
        let mut out = Vec::new();
        Pcm { sample, big_endian, rate: 16_000, weights: vec![1.0] }.decode(data, &mut out);
        out
    }

    #[test]
    fn every_width_and_order() {
        for bytes in 1..=8usize {
            for (value, expected) in [(0i64, 0.0), (1 << (bytes * 8 - 2), 0.5), (-1 << (bytes * 8 - 2), -0.5)] {
                let le = &value.to_le_bytes()[..bytes];
                let be = &value.to_be_bytes()[8 - bytes..];
                assert_eq!(decode(Sample::Signed(bytes), false, le), [expected], "{bytes}");
                assert_eq!(decode(Sample::Signed(bytes), true, be), [expected], "{bytes}");
                let mut unsigned = le.to_vec();
                unsigned[bytes - 1] ^= 0x80;
                assert_eq!(decode(Sample::Unsigned(bytes), false, &unsigned), [expected], "{bytes}");
            }
        }
        assert_eq!(decode(Sample::Float(4), false, &0.1f32.to_le_bytes()), [0.1]);
        assert_eq!(decode(Sample::Float(8), true, &0.1f64.to_be_bytes()), [0.1]);
        assert_eq!(decode(Sample::Signed(2), false, &[0, 0x80, 1]), [-1.0]);
    }

    #[test]
    fn the_laws_are_those_of_the_tables() {
        // The ends and the middle of the recommendation's tables, in 16 bits.
        assert_eq!([0x80, 0x00, 0xff, 0x7f, 0xfe].map(mu_law), [32_124, -32_124, 0, 0, 8]);
        assert_eq!([0xaa, 0x2a, 0xd5, 0x55].map(a_law), [32_256, -32_256, 8, -8]);
        // Both grow with their codes.
        assert!((0x80..0xff).all(|code| mu_law(code) > mu_law(code + 1)));
        assert!((0x80u8..0xff).all(|code| a_law(code ^ 0x55) < a_law((code + 1) ^ 0x55)));
    }
}

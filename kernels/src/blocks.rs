//! Weight matrices of small integers in blocks, as `MatMulNBits` of ONNX Runtime has them: each block of inputs of an
//! output has a scale, and perhaps a zero point.

use std::borrow::Cow;

/// How a matrix of small integers is stored: what a kernel must know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockForm {
    /// Bits of a code: 2, 4 or 8.
    pub bits: u32,
    /// Inputs of a block: a multiple of 16.
    pub block: usize,
    /// Blocks have zero points of their own.
    pub zeros: bool,
}

impl BlockForm {
    /// The zero point where none is given: half of what a code may be.
    pub fn middle(&self) -> u8 {
        1 << (self.bits - 1)
    }
}

/// A weight matrix of integers of a few bits: a weight is `(code − zero) · scale`, with the scale and zero point of its
/// output and block.
#[derive(Clone, Debug)]
pub struct BlockWeights<'a> {
    /// Inputs of the matrix; those of the last block beyond them count for nothing.
    pub inputs: usize,
    /// Outputs of the matrix.
    pub outputs: usize,
    /// Bits of a code, inputs of a block, and whether `zeros` are there.
    pub form: BlockForm,
    /// Unsigned integers, `[outputs, blocks, block · bits / 8]`, an earlier input in lower bits.
    pub codes: &'a [u8],
    /// `[outputs, blocks]`.
    pub scales: Cow<'a, [f32]>,
    /// `[outputs, blocks]`; absent where each is [`BlockForm::middle`].
    pub zeros: Option<Cow<'a, [f32]>>,
}

impl BlockWeights<'_> {
    /// Blocks of an output.
    pub fn blocks(&self) -> usize {
        self.inputs.div_ceil(self.form.block.max(1))
    }

    /// What does not fit, in words.
    ///
    /// # Errors
    /// If bits or block are not among those that are defined, or a list has another length.
    pub fn check(&self) -> Result<(), String> {
        let BlockForm { bits, block, zeros } = self.form;
        if ![2, 4, 8].contains(&bits) || block == 0 || !block.is_multiple_of(16) {
            return Err(format!("{bits} bits in blocks of {block}"));
        }
        let entries = self.blocks() * self.outputs;
        let wanted = [entries * block * bits as usize / 8, entries, if zeros { entries } else { 0 }];
        let found = [self.codes.len(), self.scales.len(), self.zeros.as_ref().map_or(0, |zeros| zeros.len())];
        if wanted == found { Ok(()) } else { Err(format!("codes, scales and zeros of {found:?}, not {wanted:?}")) }
    }

    /// The code of an output and input.
    #[inline]
    pub fn code(&self, output: usize, input: usize) -> u8 {
        let BlockForm { bits, block, .. } = self.form;
        let bit = (output * self.blocks() * block + input) * bits as usize;
        let mask = ((1u16 << bits) - 1) as u8;
        self.codes[bit / 8] >> (bit % 8) & mask
    }

    /// The zero point of an output's block.
    #[inline]
    pub fn zero(&self, output: usize, block: usize) -> f32 {
        match &self.zeros {
            Some(zeros) => zeros[output * self.blocks() + block],
            None => f32::from(self.form.middle()),
        }
    }

    /// The scale of an output's block.
    #[inline]
    pub fn scale(&self, output: usize, block: usize) -> f32 {
        self.scales[output * self.blocks() + block]
    }

    /// All weights, `[outputs, inputs]`: the slow, obvious version.
    pub fn real(&self) -> Vec<f32> {
        let mut real = Vec::with_capacity(self.outputs * self.inputs);
        for output in 0..self.outputs {
            real.extend((0..self.inputs).map(|input| {
                let block = input / self.form.block;
                (f32::from(self.code(output, input)) - self.zero(output, block)) * self.scale(output, block)
            }));
        }
        real
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_lie_in_order_of_their_bits() {
        let of = |bits, codes: &[u8], zeros: Option<Vec<f32>>| {
            let weights = BlockWeights {
                inputs: 17,
                outputs: 1,
                form: BlockForm { bits, block: 16, zeros: zeros.is_some() },
                codes,
                scales: vec![0.5, 2.0].into(),
                zeros: zeros.map(Cow::Owned),
            };
            weights.check().unwrap();
            weights.real()
        };
        let mut four = [0u8; 16];
        (four[0], four[1], four[8]) = (0x21, 0xf8, 0x03);
        let real = of(4, &four, None);
        assert_eq!(real[..5], [-3.5, -3.0, 0.0, 3.5, -4.0]);
        assert_eq!(real[16], -10.0);
        assert_eq!(of(4, &four, Some(vec![1.0, 3.5]))[..2], [0.0, 0.5]);
        assert_eq!(of(2, &[0b11_10_01_00, 0, 0, 0, 1, 0, 0, 0], None)[..4], [-1.0, -0.5, 0.0, 0.5]);
        let mut eight = [128u8; 32];
        (eight[0], eight[16]) = (0, 255);
        let real = of(8, &eight, None);
        assert_eq!((real[0], real[1], real[16]), (-64.0, 0.0, 254.0));
    }

    #[test]
    fn lists_of_other_lengths_do_not_fit() {
        let form = BlockForm { bits: 4, block: 16, zeros: false };
        let weights =
            BlockWeights { inputs: 32, outputs: 2, form, codes: &[0; 32], scales: vec![1.0; 4].into(), zeros: None };
        assert!(weights.check().is_ok());
        assert!(BlockWeights { scales: vec![1.0; 3].into(), ..weights.clone() }.check().is_err());
        assert!(BlockWeights { zeros: Some(vec![1.0; 5].into()), ..weights.clone() }.check().is_err());
        assert!(BlockWeights { form: BlockForm { bits: 3, ..form }, ..weights.clone() }.check().is_err());
        assert!(BlockWeights { form: BlockForm { block: 0, ..form }, ..weights.clone() }.check().is_err());
        assert!(BlockWeights { codes: &[0; 31], ..weights }.check().is_err());
    }
}

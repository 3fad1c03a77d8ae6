//! Rows of a constant table whose entries are codes of a few bits, as `GatherBlockQuantized` of ONNX Runtime reads
//! them: token embeddings. A row becomes numbers when it is read.

use std::ops::Range;

use undertone_kernels::Context;

use super::{
    Computed, Entry, Inferred, Lowered, Lowering, Op, Operands, Operator, Role, StepRun, microsoft, node::name,
    operator::TOO_MANY_AXES,
};
use crate::{
    graph::DataType,
    memory::{Shape, shape_of},
};

pub const OPERATORS: &[Entry] = &[microsoft("GatherBlockQuantized", Role::Movement, gather)];

/// `table, indices, scales` and perhaps `zero points`: a number is `(code − zero point) · scale`, with those of its row
/// and block. All but the indices are constants of two axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodedRows {
    bits: usize,
    /// Codes are in two's complement.
    signed: bool,
    /// Entries of a row.
    width: usize,
    /// Entries of a block.
    block: usize,
    /// The zero point where none is given.
    zero: u8,
}

fn gather(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    let of = node.node;
    let (bits, signed, zero) = match (node.dtype(0), of.int("bits", 4)) {
        (Some(DataType::U8), bits @ (2 | 4 | 8)) => (bits as usize, false, 1 << (bits - 1)),
        (Some(DataType::U4), _) => (4, false, 0),
        (Some(DataType::I4), _) => (4, true, 0),
        (other, bits) => return Err(format!("GatherBlockQuantized of {bits} bits in {}", name(other))),
    };
    let along_rows = of.int("gather_axis", 0) == 0 && matches!(of.int("quantize_axis", 1), 1 | -1);
    let (Some(&[rows, stored]), true) = (node.constant_shape(0), along_rows) else {
        return Err("GatherBlockQuantized other than of rows of a constant table".into());
    };
    let width = if node.dtype(0) == Some(DataType::U8) { stored.saturating_mul(8 / bits) } else { stored };
    let block = usize::try_from(of.int("block_size", 128)).ok().filter(|block| *block >= 16);
    let Some(block) = block.filter(|_| width.is_multiple_of(8 / bits)) else {
        return Err("GatherBlockQuantized with blocks of less than 16, or rows that end within a byte".into());
    };
    let blocks = width.div_ceil(block);
    let of_zeros = if node.dtype(0) == Some(DataType::U8) { blocks.div_ceil(8 / bits) } else { blocks };
    let fits = |index: usize, blocks: usize| node.constant_shape(index) == Some(&[rows, blocks]);
    let scaled = matches!(node.dtype(2), Some(DataType::F32 | DataType::F16)) && fits(2, blocks);
    let zeroed = node.input(3).is_none() || (node.dtype(3) == node.dtype(0) && fits(3, of_zeros));
    // Zero points of an odd number of blocks, of a type of four bits, do not begin a byte with each row.
    let whole = node.input(3).is_none() || node.dtype(0) == Some(DataType::U8) || blocks.is_multiple_of(2);
    if !scaled || !zeroed || !whole {
        return Err("GatherBlockQuantized with scales or zero points of another shape, or not constant".into());
    }
    match node.dtype(1) {
        Some(DataType::I32 | DataType::I64) => Ok(Op::CodedRows(CodedRows { bits, signed, width, block, zero })),
        other => Err(format!("GatherBlockQuantized with indices of {}", name(other))),
    }
}

impl CodedRows {
    /// The code of an entry of a row of bytes, an earlier entry in lower bits.
    fn code(&self, row: &[u8], entry: usize) -> f32 {
        let bit = entry * self.bits;
        let code = row[bit / 8] >> (bit % 8);
        if self.signed { f32::from((code << 4) as i8 >> 4) } else { f32::from(code & (0xff >> (8 - self.bits))) }
    }

    /// Writes rows of the table to `out`.
    fn read(&self, operands: Operands<'_, '_, '_>, rows: &[i64], out: &mut [f32]) -> Computed<()> {
        let (codes, scales): (&[u8], &[f32]) = (operands.data(0)?, operands.data(2)?);
        let zeros = operands.optional::<u8>(3)?;
        let (row_bytes, blocks) = (self.width * self.bits / 8, self.width.div_ceil(self.block));
        let zero_bytes = (blocks * self.bits).div_ceil(8);
        let count = codes.len().checked_div(row_bytes).unwrap_or(0) as i64;
        for (index, out) in rows.iter().zip(out.chunks_exact_mut(self.width.max(1))) {
            let row = if *index < 0 { index + count } else { *index };
            let Some(row) = usize::try_from(row).ok().filter(|row| (*row as i64) < count) else {
                return Err(format!("index {index} of {count} rows").into());
            };
            let codes = &codes[row * row_bytes..][..row_bytes];
            for (block, out) in out.chunks_mut(self.block).enumerate() {
                let zero = match zeros {
                    Some(zeros) => self.code(&zeros[row * zero_bytes..][..zero_bytes], block),
                    None => f32::from(self.zero),
                };
                let scale = scales[row * blocks + block];
                for (at, out) in out.iter_mut().enumerate() {
                    *out = (self.code(codes, block * self.block + at) - zero) * scale;
                }
            }
        }
        Ok(())
    }
}

impl Operator for CodedRows {
    fn class(&self) -> (&'static str, Role) {
        ("movement", Role::Movement)
    }

    fn data(&self) -> Range<usize> {
        0..1
    }

    fn shape(&self, operands: Operands<'_, '_, '_>) -> Inferred<Shape> {
        let indices = operands.shape(1)?;
        shape_of(indices.iter().copied().chain([self.width])).ok_or_else(|| TOO_MANY_AXES.into())
    }

    fn run(&self, run: &mut StepRun<'_, '_, '_>, _: &mut Context<'_>) -> Computed<()> {
        run.fp32()?;
        let operands = run.operands;
        if operands.dtype(1)? == DataType::I64 {
            return self.read(operands, operands.data(1)?, run.elements()?);
        }
        let rows: Vec<i64> = operands.data::<i32>(1)?.iter().copied().map(i64::from).collect();
        self.read(operands, &rows, run.elements()?)
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        error::RunError,
        graph::{Attribute, DataType, Graph},
        testing::{Builder, alone, exact, integers, refusal, run, unfused},
    };

    /// Two rows of 32 entries in two blocks.
    fn table(dtype: DataType, zeros: &[&str], block: i64) -> Graph<'static> {
        let mut codes = [0u8; 32];
        (codes[0], codes[8], codes[16], codes[31]) = (0xf1, 0x02, 0x30, 0x80);
        let columns = if dtype == DataType::U8 { 16 } else { 32 };
        Builder::default()
            .input("rows", DataType::I64, &[2])
            .bytes("table", dtype, &[2, columns], &codes)
            .constant("scales", &[2, 2], &[1.0, 10.0, 100.0, 1000.0])
            .bytes("zeros", dtype, &[2, if dtype == DataType::U8 { 1 } else { 2 }], &[0x21, 0x00])
            .node_of(
                "GatherBlockQuantized",
                &[&["table", "rows", "scales"], zeros].concat(),
                &[("y", DataType::F32)],
                &[("block_size", Attribute::Int(block))],
            )
            .of_microsoft()
            .build(&["y"])
    }

    /// Entries 0, 1 and 16 of the first row, 1 and 31 of the second.
    fn entries(dtype: DataType, zeros: &[&str]) -> [f32; 5] {
        let made = alone(&table(dtype, zeros, 16), &[integers(&[2], &[0, -1])]);
        assert_eq!(made.shape, [2, 32]);
        let y = made.floats();
        [y[0], y[1], y[16], y[33], y[63]]
    }

    #[test]
    fn rows_become_numbers_block_by_block() {
        assert_eq!(entries(DataType::I4, &[]), [1.0, -1.0, 20.0, 300.0, -8000.0]);
        assert_eq!(entries(DataType::U4, &[]), [1.0, 15.0, 20.0, 300.0, 8000.0]);
        assert_eq!(entries(DataType::U8, &[]), [-7.0, 7.0, -60.0, -500.0, 0.0]);
        assert_eq!(entries(DataType::U4, &["zeros"]), [0.0, 14.0, 0.0, 300.0, 8000.0]);
        assert_eq!(entries(DataType::U8, &["zeros"]), [0.0, 14.0, 0.0, 300.0, 8000.0]);
    }

    #[test]
    fn a_row_that_is_not_there_is_an_error_and_other_tables_have_a_reason() {
        let graph = table(DataType::I4, &[], 16);
        let plan = unfused(&graph, &exact());
        for index in [2, -3] {
            let error = run(&plan, &graph, &[integers(&[2], &[0, index])], 1 << 10).err().expect("an error");
            assert!(matches!(&error, RunError::Step { reason, .. } if reason.contains("of 2 rows")), "{error}");
        }
        assert!(refusal(&table(DataType::I8, &[], 16)).contains("bits in int8"));
        assert!(refusal(&table(DataType::U4, &[], 8)).contains("blocks of less than 16"));
        assert!(refusal(&table(DataType::U4, &[], 32)).contains("another shape"));
        assert!(refusal(&table(DataType::U4, &["rows"], 16)).contains("another shape"));
    }
}

//! Products with a constant matrix whose entries are codes of a few bits, as ONNX Runtime's weight-only quantisation
//! writes them: integers in blocks with a scale each (`MatMulNBits`), and the four-bit numbers of bitsandbytes
//! (`MatMulBnb4`). They are linear layers with weights that are stored in another way.

use std::borrow::Cow;

use undertone_kernels::{BlockForm, BlockWeights};

use super::{Entry, Linear, Lowered, Lowering, Op, Preparing, Role, Weights, microsoft, node::name};
use crate::{
    error::PlanError,
    graph::{Constant, DataType, ValueId},
    memory::floats,
};

pub const OPERATORS: &[Entry] =
    &[microsoft("MatMulNBits", Role::Product, matmul_nbits), microsoft("MatMulBnb4", Role::Product, matmul_bnb4)];

/// How the entries of a matrix `[outputs, inputs]` are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Unsigned integers of so many bits; each output's inputs are in blocks, which begin anew with each output.
    Blocks(BlockForm),
    /// Numbers of a table of sixteen, two in a byte, the earlier in the higher bits; all entries in one list of blocks.
    Table { table: Table, block: usize },
}

/// The numbers that four bits stand for, relative to the largest magnitude of their block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// A sign, two bits of exponent, one of mantissa.
    Fp4,
    /// Quantiles of a normal distribution (Dettmers et al., QLoRA, 2023).
    Nf4,
}

impl Table {
    fn values(self) -> [f32; 16] {
        match self {
            Table::Fp4 => {
                let half = [0.0, 1.0 / 192.0, 2.0 / 3.0, 1.0, 1.0 / 3.0, 0.5, 1.0 / 6.0, 0.25];
                std::array::from_fn(|code| if code < 8 { half[code] } else { -half[code - 8] })
            }
            Table::Nf4 => [
                -1.0,
                -0.696_192_8,
                -0.525_073_05,
                -0.394_917_5,
                -0.284_441_38,
                -0.184_773_43,
                -0.091_050_036,
                0.0,
                0.079_580_3,
                0.160_930_2,
                0.246_112_3,
                0.337_915_24,
                0.440_709_83,
                0.562_617,
                0.722_956_84,
                1.0,
            ],
        }
    }
}

/// `A, B, scales` and perhaps `zero_points, g_idx, bias`, with attributes `K`, `N`, `bits` and `block_size`.
pub fn matmul_nbits(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    node.floats()?;
    let [inputs, outputs] = sizes(node)?;
    let (bits, block) = (node.node.int("bits", 4), node.node.int("block_size", 0));
    let bits = u32::try_from(bits).ok().filter(|bits| matches!(bits, 2 | 4 | 8));
    let block = usize::try_from(block).ok().filter(|block| *block >= 16 && block.is_power_of_two());
    let (Some(bits), Some(block)) = (bits, block) else {
        return Err("MatMulNBits with bits other than 2, 4 and 8, or blocks other than powers of two from 16".into());
    };
    if node.input(4).is_some() {
        return Err("MatMulNBits with an index of groups".into());
    }
    if node.node.int("weight_prepacked", 0) != 0 {
        return Err("MatMulNBits with weights packed for another device".into());
    }
    let blocks = inputs.div_ceil(block);
    let entries = outputs.saturating_mul(blocks);
    constant(node, 1, &[DataType::U8], entries.saturating_mul(block * bits as usize / 8))?;
    constant(node, 2, &[DataType::F32, DataType::F16], entries)?;
    let zeros = node.input(3);
    if zeros.is_some() {
        match node.dtype(3) {
            Some(DataType::U8) => {
                constant(node, 3, &[DataType::U8], outputs * (blocks * bits as usize).div_ceil(8))?;
            }
            _ => constant(node, 3, &[DataType::F32, DataType::F16], entries)?,
        }
    }
    let bias = node.input(5);
    if bias.is_some() {
        constant(node, 5, &[DataType::F32, DataType::F16], outputs)?;
    }
    let form = BlockForm { bits, block, zeros: zeros.is_some() };
    let linear = linear(node, Coding::Blocks(form), zeros, [inputs, outputs])?;
    Ok(Op::Linear(Linear { bias, ..linear }))
}

/// `A, B, absmax`, with attributes `K`, `N`, `block_size` and `quant_type`.
pub fn matmul_bnb4(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    node.floats()?;
    let [inputs, outputs] = sizes(node)?;
    let of = node.node;
    let block = usize::try_from(of.int("block_size", 0)).ok().filter(|block| *block > 0);
    let table = match of.int("quant_type", 1) {
        0 => Some(Table::Fp4),
        1 => Some(Table::Nf4),
        _ => None,
    };
    let plain = of.int("training_mode", 0) == 0 && of.int("transB", 1) == 1;
    let (Some(block), Some(table), true) = (block, table, plain) else {
        return Err("MatMulBnb4 with other numbers than FP4 and NF4, for training, or with transB of 0".into());
    };
    let entries = inputs.saturating_mul(outputs);
    constant(node, 1, &[DataType::U8], entries.div_ceil(2))?;
    constant(node, 2, &[DataType::F32, DataType::F16], entries.div_ceil(block))?;
    linear(node, Coding::Table { table, block }, None, [inputs, outputs]).map(Op::Linear)
}

/// Inputs and outputs, from the attributes.
fn sizes(node: &Lowering<'_, '_>) -> Lowered<[usize; 2]> {
    let of = |attribute: &str| usize::try_from(node.node.int(attribute, 0)).ok().filter(|size| *size > 0);
    match (of("K"), of("N")) {
        // The limit keeps counts of bits from overflowing.
        (Some(k), Some(n)) if k.checked_mul(n).is_some_and(|entries| entries < 1 << 40) => Ok([k, n]),
        _ => Err(format!("{} without sizes", node.node.op_type)),
    }
}

/// Operand `index` is a constant of one of these types with so many entries. An error if it is not.
fn constant(node: &Lowering<'_, '_>, index: usize, types: &[DataType], entries: usize) -> Lowered<()> {
    let (dtype, shape) = (node.dtype(index), node.constant_shape(index));
    let fits = dtype.is_some_and(|dtype| types.contains(&dtype));
    match shape {
        Some(shape) if fits && shape.iter().product::<usize>() == entries => Ok(()),
        Some(shape) => {
            let (operator, dtype) = (&node.node.op_type, name(dtype));
            Err(format!("{operator} whose operand {index} is {dtype} {shape:?}, not {entries} entries"))
        }
        None => Err(format!("{} whose operand {index} is not constant", node.node.op_type)),
    }
}

fn linear(
    node: &mut Lowering<'_, '_>,
    coding: Coding,
    zeros: Option<ValueId>,
    [inputs, outputs]: [usize; 2],
) -> Lowered<Linear> {
    let (Some(value), Some(scales)) = (node.input(1), node.input(2)) else {
        return Err(format!("{} without weights", node.node.op_type));
    };
    let quantised = Some((scales, zeros));
    let weights = Weights { transposed: true, quantised, coding: Some(coding), ..Weights::plain(value) };
    node.reads(&[0]);
    Ok(Linear::new(weights, [outputs, inputs]))
}

impl Coding {
    /// The form of blocks, which kernels know.
    pub fn form(self) -> Option<BlockForm> {
        match self {
            Coding::Blocks(form) => Some(form),
            Coding::Table { .. } => None,
        }
    }

    /// The real values of a matrix, `[outputs, inputs]`. An error if a constant is missing or damaged.
    pub fn real(
        self,
        weights: &Weights,
        from: &Preparing<'_>,
        [inputs, outputs]: [usize; 2],
    ) -> Result<Vec<f32>, PlanError> {
        match self {
            Coding::Blocks(form) => Ok(blocks(weights, from, [inputs, outputs], form)?.real()),
            Coding::Table { table, block } => {
                let (codes, scales) = (bytes(from, weights.value)?, scales(weights, from)?);
                let (table, entries) = (table.values(), inputs * outputs);
                if codes.len() < entries.div_ceil(2) || scales.len() < entries.div_ceil(block) {
                    return Err(from.invalid(weights.value)("fewer codes or scales than entries".into()));
                }
                let code = |at: usize| codes[at / 2] >> (if at.is_multiple_of(2) { 4 } else { 0 }) & 15;
                Ok((0..entries).map(|at| table[usize::from(code(at))] * scales[at / block]).collect())
            }
        }
    }
}

/// A matrix in blocks as the kernels read it. An error if a constant is missing or damaged.
pub fn blocks<'p>(
    weights: &Weights,
    from: &Preparing<'p>,
    [inputs, outputs]: [usize; 2],
    form: BlockForm,
) -> Result<BlockWeights<'p>, PlanError> {
    let zeros = weights.quantised.and_then(|(_, zeros)| zeros);
    let mut coded = BlockWeights {
        inputs,
        outputs,
        form,
        codes: bytes(from, weights.value)?,
        scales: scales(weights, from)?,
        zeros: None,
    };
    coded.zeros = match zeros {
        None => None,
        Some(value) => {
            let stored = from.constant(value)?;
            Some(if stored.dtype == DataType::U8 {
                unpacked(stored, form.bits, coded.blocks()).into()
            } else {
                floats(stored).map_err(from.invalid(value))?
            })
        }
    };
    coded.check().map_err(from.invalid(weights.value))?;
    Ok(coded)
}

/// Zero points of so many bits, which begin a new byte with each row of `width`.
fn unpacked(stored: &Constant<'_>, bits: u32, width: usize) -> Vec<f32> {
    let each = 8 / bits as usize;
    let mask = ((1u16 << bits) - 1) as u8;
    let rows = stored.bytes.chunks_exact(width.div_ceil(each).max(1));
    rows.flat_map(|row| (0..width).map(move |at| row[at / each] >> (at % each * bits as usize) & mask))
        .map(f32::from)
        .collect()
}

/// A constant's bytes. An error if it is damaged.
fn bytes<'p>(from: &Preparing<'p>, value: ValueId) -> Result<&'p [u8], PlanError> {
    let stored = from.constant(value)?;
    if stored.bytes.len() == stored.size() {
        return Ok(&stored.bytes);
    }
    Err(from.invalid(value)(format!("{} bytes for {:?}", stored.bytes.len(), stored.shape)))
}

fn scales<'p>(weights: &Weights, from: &Preparing<'p>) -> Result<Cow<'p, [f32]>, PlanError> {
    let missing = || from.invalid(weights.value)("it has no scales".into());
    let (value, _) = weights.quantised.ok_or_else(missing)?;
    floats(from.constant(value)?).map_err(from.invalid(value))
}

#[cfg(test)]
mod tests {
    use undertone_kernels::Precision;

    use super::*;
    use crate::{
        graph::{Attribute, Graph},
        ops::ProductOp,
        options::Options,
        plan::Plan,
        testing::{Builder, alone, assert_close, floats, fused, noise, refusal, run},
    };

    const F: DataType = DataType::F32;

    fn int(name: &'static str, value: i64) -> (&'static str, Attribute<'static>) {
        (name, Attribute::Int(value))
    }

    /// Two outputs of twenty inputs, in blocks of sixteen.
    fn nbits(zeros: &[&str], more: &[(&'static str, Attribute<'static>)]) -> Graph<'static> {
        let mut codes = [0x88; 32];
        // Codes 9 and 7 of the first output, and, after its first block, 15.
        (codes[0], codes[8], codes[16]) = (0x79, 0x8f, 0x0a);
        let attributes = [int("K", 20), int("N", 2), int("bits", 4), int("block_size", 16)];
        Builder::default()
            .input("x", F, &[1, 20])
            .bytes("w", DataType::U8, &[2, 2, 8], &codes)
            .constant("scales", &[4], &[0.5, 2.0, 1.0, 1.0])
            .bytes("zeros", DataType::U8, &[2], &[0x98, 0x88])
            .bytes("groups", DataType::I32, &[20], &[0; 80])
            .constant("bias", &[2], &[0.0, 100.0])
            .node_of(
                "MatMulNBits",
                &[&["x", "w", "scales"], zeros].concat(),
                &[("y", F)],
                &[&attributes[..], more].concat(),
            )
            .of_microsoft()
            .build(&["y"])
    }

    #[test]
    fn codes_are_distances_from_zero_points_in_blocks() {
        let mut x = [0.0; 20];
        (x[0], x[1], x[16]) = (1.0, 10.0, 100.0);
        let of = |zeros: &[&str]| alone(&nbits(zeros, &[]), &[floats(&[1, 20], &x)]).floats();
        assert_close(&of(&[]), &[0.5 - 5.0 + 1400.0, 2.0 - 80.0]);
        // The second block's zero point is 9.
        assert_close(&of(&["zeros"]), &[0.5 - 5.0 + 1200.0, 2.0 - 80.0]);
        assert_close(&of(&["", "", "bias"]), &[0.5 - 5.0 + 1400.0, 2.0 - 80.0 + 100.0]);
    }

    #[test]
    fn what_is_not_carried_out_has_a_reason() {
        assert!(refusal(&nbits(&["", "groups"], &[])).contains("index of groups"));
        assert!(refusal(&nbits(&[], &[int("bits", 3)])).contains("bits other than"));
        assert!(refusal(&nbits(&[], &[int("block_size", 24)])).contains("powers of two"));
        assert!(refusal(&nbits(&[], &[int("weight_prepacked", 1)])).contains("packed for another device"));
        assert!(refusal(&nbits(&[], &[int("N", 3)])).contains("operand 1 is uint8 [2, 2, 8], not 48 entries"));
        assert!(refusal(&nbits(&[], &[int("K", 0)])).contains("without sizes"));
        assert!(refusal(&nbits(&["groups"], &[])).contains("operand 3 is int32"));
        assert!(refusal(&nbits(&["x"], &[])).contains("operand 3 is not constant"));
    }

    #[test]
    fn numbers_of_a_table_are_scaled_by_their_blocks() {
        let bnb4 = |kind: i64| {
            let attributes = [int("K", 3), int("N", 2), int("block_size", 4), int("quant_type", kind)];
            let graph = Builder::default()
                .input("x", F, &[1, 3])
                .bytes("w", DataType::U8, &[3], &[0x3b, 0x02, 0xf7])
                .constant("absmax", &[2], &[1.0, 10.0])
                .node_of("MatMulBnb4", &["x", "w", "absmax"], &[("y", F)], &attributes)
                .of_microsoft()
                .build(&["y"]);
            alone(&graph, &[floats(&[1, 3], &[1.0, 10.0, 100.0])]).floats()
        };
        // The codes 3, 11, 0; 2, 15, 7, of which the last two are in the second block.
        assert_close(&bnb4(0), &[1.0 - 10.0, 2.0 / 3.0 - 25.0 + 250.0]);
        assert_close(&bnb4(1), &[-0.394_917_5 + 3.379_152_4 - 100.0, -0.525_073_05 + 100.0]);
    }

    /// In int8 rows are of 16 bits, and codes lose nothing: the decoder's products of four bits are those of fp32.
    #[test]
    fn few_rows_lose_nothing_to_speak_of_in_int8() {
        let (inputs, outputs) = (256, 96);
        let codes: Vec<u8> = noise(outputs * inputs / 2, 1).iter().map(|value| (value.to_bits() >> 3) as u8).collect();
        let attributes = [int("K", inputs as i64), int("N", outputs as i64), int("bits", 4), int("block_size", 32)];
        let graph = Builder::default()
            .input("x", F, &[1, inputs])
            .bytes("w", DataType::U8, &[outputs, 8, 16], &codes)
            .constant("scales", &[outputs, 8], &noise(outputs * 8, 2))
            .node_of("MatMulNBits", &["x", "w", "scales"], &[("y", F)], &attributes)
            .of_microsoft()
            .build(&["y"]);
        let mut x = noise(inputs, 3);
        x[7] = 60.0;
        let of = |precision| {
            let plan: Plan = fused(&graph, &Options { precision, ..Options::default() });
            run(&plan, &graph, &[floats(&[1, inputs], &x)], 1 << 12).expect("a run").pop().expect("a result").floats()
        };
        let (exact, int8) = (of(Precision::F32), of(Precision::Int8));
        let norm = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>().sqrt();
        let error = norm(&exact.iter().zip(&int8).map(|(a, b)| a - b).collect::<Vec<_>>()) / norm(&exact);
        assert!(error < 5e-4, "{error}");
        let step = crate::lower::lower(&graph).steps.pop().expect("a step");
        assert!(matches!(step.op.product(), Some(ProductOp::Linear(_))), "what an NPU and a report know");
    }
}

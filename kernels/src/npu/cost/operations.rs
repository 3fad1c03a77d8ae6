//! What a core's vector unit does beside the products of micro-tiles, as the cores' code (`kernels/aie/src`) asks: counts,
//! which a test compares with those of the code as it runs, and what an operation takes.

use super::super::{
    design::{HEAD_WIDTH, Kernels, Tile},
    target::Target,
};

/// How many values go through each kind of operation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Operations {
    /// fp32 products.
    pub products: f64,
    /// bf16 products, by themselves or added to an fp32 sum.
    pub macs: f64,
    /// Additions, subtractions and shifts.
    pub additions: f64,
    /// The larger or smaller of two, comparisons, selections.
    pub comparisons: f64,
    /// fp32 to bf16.
    pub conversions: f64,
}

const fn operations(products: u32, macs: u32, additions: u32, comparisons: u32, conversions: u32) -> Operations {
    let [products, macs, additions, comparisons, conversions] =
        [products as f64, macs as f64, additions as f64, comparisons as f64, conversions as f64];
    Operations { products, macs, additions, comparisons, conversions }
}

/// For each output of an int8 layer: its sum as fp32, two scales, bias, rounding.
pub const INT8_OUTPUT: Operations = operations(2, 0, 6, 0, 1);
/// For each output of a bf16 layer: bias, rounding.
pub const BF16_OUTPUT: Operations = operations(0, 0, 1, 0, 1);
/// For each output with GELU, beside that.
pub const GELU: Operations = operations(0, 46, 2, 4, 20);
/// A probability from its score: `exp2` as bf16.
pub const PROBABILITY: Operations = operations(0, 3, 6, 3, 4);
/// For each int8 score beside that: two products by parts, the largest, the distance to it, the sum.
pub const INT8_SCORE: Operations = operations(0, 11, 4, 1, 6);
/// For each bf16 score beside that: one product by parts.
pub const BF16_SCORE: Operations = operations(0, 5, 2, 1, 2);
/// For each query and block of keys: its statistics.
pub const QUERY: Operations = operations(0, 28, 10, 4, 14);
/// For each result that has to be scaled when a block's values come.
pub const RESULT: Operations = operations(0, 3, 0, 0, 3);
/// For each result in the end.
pub const LAST: Operations = operations(0, 5, 0, 0, 3);

/// For each query and block of keys, and each lane of the vectors that its row consists of: its scale's parts, and what
/// reduces a vector to one number.
fn lane(keys: usize) -> (Operations, f64) {
    let lanes = [32, 16, 8].into_iter().find(|lanes| keys.is_multiple_of(*lanes)).unwrap_or(8);
    let halvings = (lanes as f64).log2();
    (
        Operations { macs: 1.0, additions: halvings, comparisons: halvings, conversions: 2.0, ..Operations::default() },
        lanes as f64,
    )
}

impl Operations {
    /// So many times these, and those.
    pub fn plus(self, times: f64, other: Operations) -> Self {
        Self {
            products: self.products + times * other.products,
            macs: self.macs + times * other.macs,
            additions: self.additions + times * other.additions,
            comparisons: self.comparisons + times * other.comparisons,
            conversions: self.conversions + times * other.conversions,
        }
    }
}

/// What a core does in the epilogue of a tile, GELU left out.
pub fn epilogue(kernels: Kernels, tile: Tile) -> Operations {
    let output = match kernels {
        Kernels::Int8 => INT8_OUTPUT,
        Kernels::Bf16 => BF16_OUTPUT,
    };
    Operations::default().plus((tile.m * tile.n) as f64, output)
}

/// What a core does when a block of keys comes, its probabilities left out.
pub fn keys(kernels: Kernels, queries: usize, keys: usize) -> Operations {
    let score = match kernels {
        Kernels::Int8 => INT8_SCORE,
        Kernels::Bf16 => BF16_SCORE,
    };
    let (lane, lanes) = lane(keys);
    // Statistics are worked on in vectors of 16 queries.
    let statistics = queries.next_multiple_of(16) as f64;
    Operations::default()
        .plus((queries * keys) as f64, score)
        .plus(statistics, QUERY)
        .plus(queries as f64 * lanes, lane)
}

/// What a core does for all results of its queries, each so.
pub fn results(queries: usize, each: Operations) -> Operations {
    Operations::default().plus((queries * HEAD_WIDTH) as f64, each)
}

/// What operations take: cycles for one value, where vectors follow each other without waiting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// An fp32 product.
    pub product: f64,
    /// A bf16 product.
    pub mac: f64,
    /// An addition.
    pub add: f64,
    /// A comparison.
    pub compare: f64,
    /// A conversion: it has a slot of its own in each instruction.
    pub convert: f64,
    /// How many times as long dependent operations take as their slots: see [`WAITING`].
    pub waiting: f64,
}

/// Slots of the vector unit that an fp32 product of one vector takes: 9 products of bf16 parts and 4 subtractions that
/// make the parts (`aiev2_core.h` of llvm-aie, `mul_elem_16_accuracy_safe`).
pub const PRODUCT_SLOTS: f64 = 13.0;

/// Cycles until the result of a product by parts is there: a conversion (3), a product whose result is a factor of the
/// next (6), another conversion, and a chain of four (each 3 after the one before, the last 6). Peano's schedule has 6
/// and 3 for `vmac.f` on npu1; that of a conversion, and npu4's, are assumed.
const CHAIN: f64 = 3.0 + 6.0 + 3.0 + 3.0 * 3.0 + 6.0;
/// Slots of it.
const CHAIN_SLOTS: f64 = 5.0;
/// Vectors that the compiler has in work at once; assumed. A core has 16 accumulators for vectors of 16, and each vector
/// in work needs one to four.
const IN_WORK: f64 = 4.0;
/// How many times as long code of products by parts takes as its slots say.
pub const WAITING: f64 = CHAIN / CHAIN_SLOTS / IN_WORK;

impl Costs {
    /// By slots of a vector unit that works on `lanes` values at once.
    pub const fn by_slots(lanes: f64) -> Self {
        let slot = 1.0 / lanes;
        Self { product: PRODUCT_SLOTS * slot, mac: slot, add: slot, compare: slot, convert: slot, waiting: WAITING }
    }

    /// fp32 values in one operation of a target's vector unit.
    pub const fn lanes(target: Target) -> f64 {
        match target {
            Target::Npu1 => 16.0,
            Target::Npu4 => 32.0,
        }
    }

    /// Cycles of operations.
    pub fn cycles(&self, operations: &Operations) -> f64 {
        let Operations { products, macs, additions, comparisons, conversions } = *operations;
        let vector = products * self.product + macs * self.mac + additions * self.add + comparisons * self.compare;
        self.waiting * vector.max(conversions * self.convert)
    }
}

#[cfg(test)]
mod tests {
    use undertone_aie::{
        self as aie, Precision,
        counts::{self, Counts, Stage},
    };

    use super::*;

    fn counted(counts: Counts) -> Operations {
        let Counts { products, macs, additions, comparisons, conversions } = counts;
        Operations {
            products: products as f64,
            macs: macs as f64,
            additions: additions as f64,
            comparisons: comparisons as f64,
            conversions: conversions as f64,
        }
    }

    const TARGETS: [aie::Target; 2] = aie::Target::ALL;
    const BOTH: [(Kernels, Precision); 2] = [(Kernels::Int8, Precision::Int8), (Kernels::Bf16, Precision::Bf16)];

    /// Tiles whose rows of scores are vectors of 32, 16 and 8.
    const TILES: [(usize, usize); 3] = [(48, 64), (32, 96), (24, 48)];

    #[test]
    fn counts_are_those_of_the_cores_code() {
        for (target, (kernels, precision), (m, k)) in TARGETS
            .into_iter()
            .flat_map(|target| BOTH.into_iter().flat_map(move |both| TILES.map(|tile| (target, both, tile))))
        {
            let k = if kernels == Kernels::Int8 { k } else { k / 2 };
            let (own, tile) = (Tile { m, k, n: 64 }, aie::Tile { m, k, n: 64 });
            let what = format!("{target:?} {kernels} {m}×{k}");
            let plain = counted(counts::epilogue(target, precision, tile, false).unwrap());
            assert_eq!(plain, epilogue(kernels, own), "{what}");
            let gelu = counted(counts::epilogue(target, precision, tile, true).unwrap());
            assert_eq!(gelu, epilogue(kernels, own).plus((m * 64) as f64, GELU), "{what}");
            let stage = |stage| counted(counts::attention(target, precision, tile, stage).unwrap());
            let block = k * kernels.operand_bytes() / 2;
            let scores = (m * block) as f64;
            assert_eq!(stage(Stage::Keys), keys(kernels, m, block).plus(scores, PROBABILITY), "{what}");
            assert_eq!(stage(Stage::Values), results(m, RESULT), "{what}");
            // Once for each query there are reciprocals too.
            let end = stage(Stage::End);
            assert!(end.macs >= results(m, LAST).macs && end.conversions >= results(m, LAST).conversions, "{what}");
        }
    }

    /// What an issue of this project counted by hand when all products were fp32 ones: no less is charged for that code.
    #[test]
    fn products_of_fp32_cost_what_their_slots_say() {
        for (target, [score, output]) in [(Target::Npu1, [6.5, 11.4]), (Target::Npu4, [3.3, 5.7])] {
            let costs = Costs { waiting: 1.0, ..Costs::by_slots(Costs::lanes(target)) };
            let products = |products| costs.cycles(&Operations { products, ..Operations::default() });
            // A score: two scales, four of exp2, two results to scale; an output: two scales, twelve of GELU.
            assert!((products(8.0) - score).abs() < 0.06 && (products(14.0) - output).abs() < 0.06, "{target}");
        }
    }
}

//! Which arithmetic a linear layer gets where the session's precision is int8, and why: rows of 8 bits, or wide ones of
//! up to 16 ([`LinearSpec::wide_rows`]).
//!
//! [`LinearSpec::wide_rows`]: undertone_kernels::LinearSpec::wide_rows

use std::fmt;

use undertone_kernels::{BlockForm, Precision};

/// Rows up to which reading a layer's weights takes about as long as multiplying them, twice for wide rows.
pub const FEW_ROWS: usize = 16;
/// Outputs to an input from which a layer is the projection to a vocabulary: no other layer of a Whisper has more than
/// four.
const VOCABULARY: usize = 16;

/// A linear layer's rows, as far as they are known, and its sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerSizes {
    pub rows: Option<usize>,
    pub inputs: usize,
    pub outputs: usize,
}

impl fmt::Display for LayerSizes {
    /// `1×512×51865`, rows that are not known as `?`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rows {
            Some(rows) => write!(f, "{rows}×{}×{}", self.inputs, self.outputs),
            None => write!(f, "?×{}×{}", self.inputs, self.outputs),
        }
    }
}

/// Whether a layer's rows are wide, and why.
///
/// Two thirds of what int8 changes in a decoder's distributions come from the activations of two layers, measured on
/// whisper-base with real recordings (`docs/int8.md`): the projection to the vocabulary, one channel of whose input is
/// fifteen times as large as the others, and fc2, whose rows have outliers. The others stay narrow, which where bytes
/// are multiplied is half the products. An unknown number of rows counts as many.
///
/// Weights that are stored in blocks of a few bits are multiplied as they are with wide rows, and lose nothing; with few
/// rows that is the fastest too, since it reads the fewest bytes.
pub fn wide_rows(precision: Precision, sizes: LayerSizes, form: Option<BlockForm>) -> (bool, &'static str) {
    if precision != Precision::Int8 {
        return (false, "as asked");
    }
    let LayerSizes { rows, inputs, outputs } = sizes;
    match rows {
        _ if outputs >= VOCABULARY * inputs => (true, "its results are logits, and their errors the distribution's"),
        None => (false, "how many is not known"),
        Some(rows) if rows > FEW_ROWS => (false, "many of them: the products take the time, and an NPU's are the same"),
        Some(_) if form.is_some_and(|form| form.bits < 8) => {
            (true, "few of them, by weights of a few bits as they are")
        }
        Some(_) if inputs > outputs => (true, "few of them, with outliers"),
        Some(_) => (false, "few outliers: wider ones would change little"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fusion::fuse,
        graph::DataType,
        lower::lower,
        ops::Op,
        options::Options,
        plan::Estimate,
        program::Step,
        testing::{Builder, floats, fused, noise, run},
    };

    const WIDTH: usize = 32;

    /// Bits of the rows of layers like q, fc1, fc2 and the projection to the vocabulary, by their shape.
    fn bits(rows: usize) -> Vec<(String, usize)> {
        let graph = Builder::default()
            .input("x", DataType::F32, &[1, rows, WIDTH])
            .constant("q", &[WIDTH, WIDTH], &noise(WIDTH * WIDTH, 1))
            .constant("fc1", &[WIDTH, 4 * WIDTH], &noise(4 * WIDTH * WIDTH, 2))
            .constant("fc2", &[4 * WIDTH, WIDTH], &noise(4 * WIDTH * WIDTH, 3))
            .constant("vocabulary", &[WIDTH, 64 * WIDTH], &noise(64 * WIDTH * WIDTH, 4))
            .node("MatMul", &["x", "q"], "a")
            .node("MatMul", &["a", "fc1"], "b")
            .node("MatMul", &["b", "fc2"], "c")
            .node("MatMul", &["c", "vocabulary"], "y")
            .build(&["y"]);
        let program = fuse(&graph, lower(&graph));
        let shapes = Estimate::of(&graph, &program).shapes;
        let of = |step: &Step| {
            let Op::Linear(linear) = &step.op else { panic!("a linear step") };
            let sizes = linear.sizes(step.input(0).and_then(|x| shapes[x]));
            let (wide, _) = wide_rows(Precision::Int8, sizes, None);
            (sizes.to_string(), if wide { 16 } else { 8 })
        };
        program.steps.iter().map(of).collect()
    }

    #[test]
    fn outliers_of_few_rows_and_logits_get_wide_rows() {
        let named = |rows: usize, bits: [usize; 4]| {
            let shapes = [[32, 32], [32, 128], [128, 32], [32, 2048]];
            let shapes = shapes.map(|[inputs, outputs]| format!("{rows}×{inputs}×{outputs}"));
            shapes.into_iter().zip(bits).collect::<Vec<_>>()
        };
        assert_eq!(bits(1), named(1, [8, 8, 16, 16]));
        assert_eq!(bits(FEW_ROWS), named(FEW_ROWS, [8, 8, 16, 16]));
        assert_eq!(bits(1500), named(1500, [8, 8, 8, 16]));
    }

    #[test]
    fn what_is_not_known_and_other_precisions_are_narrow() {
        let sizes = |inputs, outputs| LayerSizes { rows: None, inputs, outputs };
        let wide = |precision, sizes| wide_rows(precision, sizes, None).0;
        assert!(!wide(Precision::Int8, sizes(2048, 512)));
        assert!(wide(Precision::Int8, sizes(512, 51_865)));
        assert!(!wide(Precision::F32, sizes(512, 51_865)) && !wide(Precision::Bf16, sizes(512, 51_865)));
    }

    #[test]
    fn few_rows_are_wide_where_weights_are_of_a_few_bits() {
        let wide = |bits, rows| {
            let form = Some(BlockForm { bits, block: 32, zeros: false });
            wide_rows(Precision::Int8, LayerSizes { rows, inputs: 512, outputs: 512 }, form).0
        };
        assert!(wide(4, Some(1)) && wide(2, Some(FEW_ROWS)));
        assert!(!wide(8, Some(1)) && !wide(4, Some(FEW_ROWS + 1)) && !wide(4, None));
    }

    /// One value is four hundred times as large as any other: rows of 8 bits would round those to zero, and the logits
    /// with them.
    #[test]
    fn an_outlier_hides_nothing_from_the_logits() {
        const OUTPUTS: usize = 64 * WIDTH;
        // Whole numbers, and in each column the largest: these weights are exact in int8.
        let mut weights: Vec<f32> = noise(OUTPUTS * WIDTH, 4).iter().map(|w| (w * 126.0).round()).collect();
        weights[..OUTPUTS].fill(127.0);
        let graph = Builder::default()
            .input("x", DataType::F32, &[1, 1, WIDTH])
            .constant("vocabulary", &[WIDTH, OUTPUTS], &weights)
            .node("MatMul", &["x", "vocabulary"], "y")
            .build(&["y"]);
        let mut x = noise(WIDTH, 9);
        x[5] = 400.0;
        let made = run(&fused(&graph, &Options::default()), &graph, &[floats(&[1, 1, WIDTH], &x)], 4 * OUTPUTS);
        let step = 400.0 / undertone_kernels::numbers::wide_limit(WIDTH);
        let mut hidden = 0;
        for (column, y) in made.expect("a run")[0].floats().iter().enumerate() {
            let term = |input: usize| x[input] * weights[input * OUTPUTS + column];
            let exact: f32 = (0..WIDTH).map(term).sum();
            let largest: f32 = (0..WIDTH).map(|input| weights[input * OUTPUTS + column].abs() * step / 2.0).sum();
            assert!((y - exact).abs() <= 1.01 * largest, "{column}: {y} for {exact}, up to {largest} off");
            hidden += usize::from((exact - term(5)).abs() > 2.0 * largest);
        }
        // Most results are far from what the outlier alone would make of them.
        assert!(hidden > OUTPUTS / 2, "{hidden} of {OUTPUTS}");
    }
}

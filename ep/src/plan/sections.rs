//! Which steps of a plan are carried out together: linear layers that read the same rows (q, k and v), two linear
//! layers that follow one another (fc1 and fc2), beside an NPU attention with the layers around it, and the layer norm
//! before either.
//!
//! A section's inner results (normed rows, hidden activations) are read by nobody outside it and are never made; the
//! device keeps them in whatever form its kernels read. The program stays as fusion left it: a report counts single
//! steps.

mod attention;

use std::ops::Range;

use crate::{
    graph::{Graph, ValueId},
    ops::{Linear, Normalisation, Op, ProductOp},
    program::{Program, Step},
};

/// Steps that follow one another in the plan and are carried out together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Places of its steps.
    pub steps: Range<usize>,
    /// What they are to one another.
    pub kind: Kind,
}

/// What the steps of a section are to one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Single,
    /// Linear layers that read the same rows, perhaps after the layer norm that makes them.
    Readers,
    /// A linear layer and the one that reads its result, perhaps after a layer norm.
    Mlp,
    /// Perhaps a layer norm, and steps that make sizes; three linear layers of the same rows; views of their results,
    /// which are queries, keys and values; attention; views of its result, and the linear layer that reads it.
    SelfAttention,
}

/// Each step of a program by itself.
pub fn singles(steps: usize) -> Vec<Section> {
    (0..steps).map(|at| Section { steps: at..at + 1, kind: Kind::Single }).collect()
}

/// Finds a program's sections, and moves the steps of each next to its first. Attention and the layers around it are one
/// only `beside_npu`: the host device gains nothing by it.
pub fn arrange(graph: &Graph<'_>, program: Program, beside_npu: bool) -> (Program, Vec<Section>) {
    let mut arranger = Arranger { beside_npu, ..Arranger::new(graph, &program) };
    for first in 0..program.steps.len() {
        if !arranger.placed[first] {
            let (kind, members) = arranger.section(first);
            arranger.place(kind, members);
        }
    }
    let Arranger { order, sections, .. } = arranger;
    let mut steps: Vec<Option<Step>> = program.steps.into_iter().map(Some).collect();
    (Program { steps: order.into_iter().filter_map(|id| steps[id].take()).collect() }, sections)
}

type StepId = usize;

struct Arranger<'p> {
    steps: &'p [Step],
    /// The step that makes a value.
    producer: Vec<Option<StepId>>,
    /// Reads of a value's elements, a graph's output counting as one; its shape is there whether it is made or not.
    uses: Vec<usize>,
    is_output: Vec<bool>,
    placed: Vec<bool>,
    order: Vec<StepId>,
    sections: Vec<Section>,
    beside_npu: bool,
}

impl<'p> Arranger<'p> {
    fn new(graph: &Graph<'_>, program: &'p Program) -> Self {
        let mut arranger = Self {
            steps: &program.steps,
            producer: vec![None; graph.values.len()],
            uses: vec![0; graph.values.len()],
            is_output: vec![false; graph.values.len()],
            placed: vec![false; program.steps.len()],
            order: Vec::with_capacity(program.steps.len()),
            sections: Vec::new(),
            beside_npu: false,
        };
        for (id, step) in program.steps.iter().enumerate() {
            step.outputs.iter().for_each(|output| arranger.producer[*output] = Some(id));
            if !step.op.reads_shape_only() {
                step.operands().for_each(|value| arranger.uses[value] += 1);
            }
        }
        graph.outputs.iter().for_each(|output| {
            arranger.is_output[*output] = true;
            arranger.uses[*output] += 1;
        });
        arranger
    }

    fn place(&mut self, kind: Kind, members: Vec<StepId>) {
        let start = self.order.len();
        members.iter().for_each(|member| self.placed[*member] = true);
        self.order.extend(members);
        self.sections.push(Section { steps: start..self.order.len(), kind });
    }

    /// The section that begins with a step.
    fn section(&self, first: StepId) -> (Kind, Vec<StepId>) {
        let Step { op, inputs, outputs, .. } = &self.steps[first];
        let norm = matches!(op, Op::Normalisation(Normalisation::LayerNorm { .. })).then_some(first);
        let rows = match norm {
            Some(_) => outputs.first().copied(),
            None => inputs.first().copied().flatten().filter(|_| is_layer(op)),
        };
        let Some(rows) = rows else { return (Kind::Single, vec![first]) };
        let readers = self.readers(rows, first);
        // Normed rows that others read too must be made.
        if norm.is_some() && (readers.len() != self.uses[rows] || readers.is_empty()) {
            return (Kind::Single, vec![first]);
        }
        if self.beside_npu
            && let Some(attended) = self.attended(rows, &readers)
        {
            return (Kind::SelfAttention, norm.into_iter().chain(attended).collect());
        }
        let follower = match readers[..] {
            [only] => self.follower(only),
            _ => None,
        };
        let kind = if follower.is_some() { Kind::Mlp } else { Kind::Readers };
        let members: Vec<StepId> = norm.into_iter().chain(readers).chain(follower).collect();
        if members.len() > 1 { (kind, members) } else { (Kind::Single, vec![first]) }
    }

    /// Linear layers from step `first` on that read `rows` and whose other operands are made by then. They end at the
    /// next attention: a decoder's layers all read the encoder's result, and to compute all of their keys and values at
    /// once would only keep them all in memory.
    fn readers(&self, rows: ValueId, first: StepId) -> Vec<StepId> {
        let attends = |step: &Step| match step.op.product() {
            Some(ProductOp::Attention(_) | ProductOp::MatMul) => true,
            Some(ProductOp::Linear(_) | ProductOp::Conv1d(_)) | None => false,
        };
        let until = self.steps[first..].iter().position(attends);
        let until = until.map_or(self.steps.len(), |distance| first + distance);
        (first..until).filter(|id| !self.placed[*id] && self.reads(*id, rows)).collect()
    }

    /// The linear layer that alone reads this one's result.
    fn follower(&self, first: StepId) -> Option<StepId> {
        let step = &self.steps[first];
        let hidden = *step.outputs.first()?;
        let inner = step.inputs.len() == 1 && self.uses[hidden] == 1;
        (first..self.steps.len()).find(|id| inner && self.reads(*id, hidden))
    }

    /// Whether an operand is made by now.
    fn is_ready(&self, value: Option<ValueId>) -> bool {
        value.is_none_or(|value| self.producer[value].is_none_or(|producer| self.placed[producer]))
    }

    /// Whether a step is a linear layer of `rows` that could be carried out as soon as those are made. Results that
    /// leave the graph have places of their own, and their steps stay single.
    fn reads(&self, id: StepId, rows: ValueId) -> bool {
        let step = &self.steps[id];
        is_layer(&step.op)
            && step.inputs[0] == Some(rows)
            && step.inputs[1..].iter().all(|value| *value != Some(rows) && self.is_ready(*value))
            && step.outputs.iter().all(|output| !self.is_output[*output])
    }
}

/// Whether an operation is a linear layer of rows as they are.
fn is_layer(op: &Op) -> bool {
    matches!(op, Op::Linear(Linear { quantised: false, .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fusion::fuse,
        graph::DataType,
        lower::lower,
        options::Options,
        testing::{Builder, floats, fused, fused_singly, noise, run},
    };
    use undertone_kernels::Precision;

    /// Sections of the fused graph: kinds of their steps.
    fn sections(graph: &Graph<'_>) -> Vec<(Kind, Vec<&'static str>)> {
        let (program, sections) = arrange(graph, fuse(graph, lower(graph)), true);
        assert_eq!(sections.iter().map(|section| section.steps.len()).sum::<usize>(), program.steps.len());
        let kinds =
            |section: &Section| program.steps[section.steps.clone()].iter().map(|step| step.op.kind()).collect();
        sections.iter().map(|section| (section.kind, kinds(section))).collect()
    }

    fn normed() -> Builder {
        Builder::default()
            .input("x", DataType::F32, &[1, 3, 4])
            .constant("gain", &[4], &noise(4, 1))
            .constant("bias", &[4], &noise(4, 2))
            .constant("a", &[4, 4], &noise(16, 3))
            .constant("b", &[4, 4], &noise(16, 4))
            .constant("c", &[4, 4], &noise(16, 5))
            .node("LayerNormalization", &["x", "gain", "bias"], "n")
            .shape("n", &[1, 3, 4])
    }

    #[test]
    fn readers_of_a_norm_move_up_to_it() {
        let graph = normed()
            .node("MatMul", &["n", "a"], "q")
            .node("Erf", &["q"], "between")
            .node("MatMul", &["n", "b"], "k")
            .node("MatMul", &["n", "c"], "v")
            .node("Add", &["between", "k"], "sum")
            .node("Sub", &["sum", "v"], "y")
            .build(&["y"]);
        let found = sections(&graph);
        assert_eq!(found[0], (Kind::Readers, vec!["layer norm", "linear", "linear", "linear"]));
        assert!(found[1..].iter().all(|(kind, steps)| *kind == Kind::Single && steps.len() == 1));
    }

    #[test]
    fn two_linear_layers_and_a_norm() {
        let graph = normed()
            .node("MatMul", &["n", "a"], "hidden")
            .node("MatMul", &["hidden", "b"], "made")
            .shape("made", &[1, 3, 4])
            .node("Add", &["made", "x"], "sum")
            .node("Erf", &["sum"], "y")
            .build(&["y"]);
        let found = sections(&graph);
        assert_eq!(found[0], (Kind::Mlp, vec!["layer norm", "linear", "linear"]));
    }

    #[test]
    fn a_shape_is_read_without_the_rows() {
        let graph = normed()
            .node_of("Shape", &["n"], &[("shape", DataType::I64)], &[])
            .node("MatMul", &["n", "a"], "q")
            .node("Reshape", &["q", "shape"], "y")
            .build(&["y"]);
        assert_eq!(sections(&graph)[0], (Kind::Readers, vec!["layer norm", "linear"]));
        let x = noise(12, 9);
        let [got, want] = [fused(&graph, &Options::default()), fused_singly(&graph, &Options::default())]
            .map(|plan| run(&plan, &graph, &[floats(&[1, 3, 4], &x)], 1 << 10).expect("a run"));
        assert_eq!((&got[0].shape, &got[0].bytes), (&want[0].shape, &want[0].bytes));
    }

    #[test]
    fn what_others_read_too_is_made() {
        // The normed rows are read by an addition, the hidden ones leave the graph.
        let graph = normed()
            .node("MatMul", &["n", "a"], "hidden")
            .node("MatMul", &["hidden", "b"], "made")
            .node("Sub", &["made", "n"], "y")
            .build(&["y", "hidden"]);
        assert!(sections(&graph).iter().all(|(kind, _)| *kind == Kind::Single));
    }

    #[test]
    fn a_residual_that_is_made_later_keeps_its_layer_back() {
        let graph = normed()
            .node("MatMul", &["n", "a"], "q")
            .node("Erf", &["q"], "later")
            .shape("later", &[1, 3, 4])
            .node("MatMul", &["n", "b"], "k")
            .shape("k", &[1, 3, 4])
            .node("Add", &["k", "later"], "sum")
            .node("Erf", &["sum"], "y")
            .build(&["y"]);
        assert!(sections(&graph).iter().all(|(kind, _)| *kind == Kind::Single), "{:?}", sections(&graph));
    }

    /// A transformer layer but for its attention, which is `q · k + v`: reads `x`, of `width` columns, and makes
    /// `{name}y`.
    fn layer(graph: Builder, name: &str, x: &str, width: usize) -> Builder {
        let of = |part: &str| format!("{name}{part}");
        let seed = name.bytes().map(u64::from).sum::<u64>() * 16;
        let mut graph = graph
            .constant(&of("gain"), &[width], &noise(width, seed))
            .constant(&of("bias"), &[width], &noise(width, seed + 1))
            .constant(&of("fc1"), &[width, 3 * width], &noise(3 * width * width, seed + 2))
            .constant(&of("fc2"), &[3 * width, width], &noise(3 * width * width, seed + 3));
        for (at, part) in ["wq", "wk", "wv", "wo"].iter().enumerate() {
            graph = graph.constant(&of(part), &[width, width], &noise(width * width, seed + 4 + at as u64));
        }
        let add = |graph: Builder, a: &str, b: &str, sum: &str| {
            let graph = graph.shape(a, &[1, 1, width]).shape(b, &[1, 1, width]);
            graph.node("Add", &[a, b], sum)
        };
        let graph = graph
            .node("LayerNormalization", &[x, &of("gain"), &of("bias")], &of("n"))
            .node("MatMul", &[&of("n"), &of("wq")], &of("q"))
            .node("MatMul", &[&of("n"), &of("wk")], &of("k"))
            .node("Mul", &[&of("q"), &of("k")], &of("qk"))
            .node("MatMul", &[&of("n"), &of("wv")], &of("v"))
            .node("Sub", &[&of("qk"), &of("v")], &of("mixed"))
            .node("MatMul", &[&of("mixed"), &of("wo")], &of("o"));
        let graph = add(graph, &of("o"), x, &of("x"))
            .node("LayerNormalization", &[&of("x"), &of("gain")], &of("m"))
            .node("MatMul", &[&of("m"), &of("fc1")], &of("h"))
            .node("MatMul", &[&of("h"), &of("fc2")], &of("f"));
        add(graph, &of("f"), &of("x"), &of("y"))
    }

    /// Attention of rows to one another; `others` are nodes that read something of it too.
    fn attention(others: &[(&str, &[&str])]) -> Graph<'static> {
        const WIDTH: usize = 128;
        let shape = [1, 3, WIDTH];
        let mut graph = Builder::default()
            .input("x", DataType::F32, &shape)
            .constant("gain", &[WIDTH], &noise(WIDTH, 1))
            .constant("bias", &[WIDTH], &noise(WIDTH, 2))
            .integers("as it is", &[0, 0, -1])
            .node("LayerNormalization", &["x", "gain", "bias"], "n");
        for (at, part) in ["v", "k", "q", "o"].into_iter().enumerate() {
            let weights = noise(WIDTH * WIDTH, 3 + at as u64);
            graph = graph.constant(&format!("w{part}"), &[WIDTH, WIDTH], &weights);
        }
        graph = graph.node_of("Shape", &["n"], &[("sizes", DataType::I64)], &[]);
        for (part, sizes) in [("v", "as it is"), ("k", "sizes"), ("q", "sizes")] {
            graph = graph.node("MatMul", &["n", &format!("w{part}")], &format!("{part} of n"));
            graph = graph.node("Reshape", &[&format!("{part} of n"), sizes], part).shape(part, &shape);
        }
        graph = graph
            .two_heads("mixed")
            .node("Reshape", &["mixed", "as it is"], "rows")
            .shape("rows", &shape)
            .node("MatMul", &["rows", "wo"], "o")
            .shape("o", &shape)
            .node("Add", &["o", "x"], "sum")
            .node("Erf", &["sum"], "last");
        let mut outputs = vec!["last".to_owned()];
        for (at, (op, operands)) in others.iter().enumerate() {
            outputs.push(format!("other {at}"));
            graph = graph.node(op, operands, &format!("other {at}"));
        }
        graph.build(&outputs.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[test]
    fn attention_beside_an_npu_is_one_with_its_layers() {
        let whole = sections(&attention(&[]));
        let linear = ["linear"; 3];
        let steps = ["layer norm", "shape"].into_iter().chain(linear).chain(["movement"; 3]);
        let steps: Vec<_> = steps.chain(["attention", "movement", "linear"]).collect();
        assert_eq!(whole[0], (Kind::SelfAttention, steps));
        for read in ["q of n", "k", "v", "mixed", "rows"] {
            let found = sections(&attention(&[("Erf", &[read])]));
            assert_eq!(found[0].0, Kind::Readers, "{read} is read twice");
            assert!(found.iter().all(|(kind, _)| *kind != Kind::SelfAttention), "{read} is read twice");
        }
        let graph = attention(&[]);
        let (_, alone) = arrange(&graph, fuse(&graph, lower(&graph)), false);
        assert_eq!(alone[0].kind, Kind::Readers, "the host alone gains nothing");
    }

    #[test]
    fn a_section_gives_what_its_steps_give_to_the_bit() {
        const WIDTH: usize = 40;
        let graph = Builder::default().input("x", DataType::F32, &[1, 1, WIDTH]);
        let graph = layer(layer(graph, "a", "x", WIDTH), "b", "ay", WIDTH).node("Erf", &["by"], "y").build(&["y"]);
        let kinds: Vec<Kind> = sections(&graph).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == Kind::Readers).count(), 2);
        assert_eq!(kinds.iter().filter(|kind| **kind == Kind::Mlp).count(), 2);
        for precision in Precision::ALL {
            let options = Options { precision, ..Options::default() };
            let (together, singly) = (fused(&graph, &options), fused_singly(&graph, &options));
            for rows in [1, 7, 300, 0, 2] {
                let x = noise(rows * WIDTH, rows as u64 + 1);
                let [got, want] = [&together, &singly]
                    .map(|plan| run(plan, &graph, &[floats(&[1, rows, WIDTH], &x)], 1 << 17).expect("a run"));
                assert_eq!(got[0].shape, want[0].shape);
                assert_eq!(got[0].bytes, want[0].bytes, "{precision} {rows}");
            }
        }
    }
}

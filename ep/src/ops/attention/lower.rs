//! From ONNX's and ONNX Runtime's attention operators to [`Attention`]: what a graph must tell of their operands, and
//! what is refused.

use super::{
    super::{Linear, Lowered, Lowering, Movement, Op, Parts, View, Weights},
    Append, Attention, Causal, HeadLayout,
};
use crate::graph::{DataType, Dim, Node};

/// An operand that no node has.
const NOT_GIVEN: usize = usize::MAX;

/// `Attention` of ONNX (opset 23).
pub fn attention(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    const KNOWN: [&str; 9] = [
        "is_causal",
        "kv_num_heads",
        "left_window_size",
        "q_num_heads",
        "qk_matmul_output_mode",
        "right_window_size",
        "scale",
        "softcap",
        "softmax_precision",
    ];
    let of = node.node;
    if let Some(name) = of.attributes.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(format!("Attention with {name}"));
    }
    if of.int("left_window_size", -1) != -1 || of.int("right_window_size", -1) != -1 {
        return Err("Attention with a window".into());
    }
    if of.float("softcap", 0.0) != 0.0 || !matches!(of.int("softmax_precision", 1), 0 | 1) {
        return Err("Attention with softcap or another softmax_precision than float".into());
    }
    if (6..of.inputs.len()).any(|index| node.input(index).is_some()) {
        return Err("Attention with lengths of its keys".into());
    }
    let (q_heads, kv_heads) = (of.int("q_num_heads", 0), of.int("kv_num_heads", 0));
    let layouts = match [0, 1, 2].map(|index| node.rank(index)) {
        [Some(4), Some(4), Some(4)] => [HeadLayout::HeadsFirst; 3],
        [Some(3), Some(3), Some(3)] => [q_heads, kv_heads, kv_heads].map(HeadLayout::packed),
        _ => return Err("Attention of operands that have not three axes or four".into()),
    };
    // A mask of integers is added to the scores, as one of floats is; one of bools tells what is seen.
    let op = Attention::lower(node, layouts, 3, DataType::Bool)?.with_past(node, [4, 5])?;
    node.reads(&[0, 1, 2, 3, NOT_GIVEN, 4, 5]);
    Ok(Op::Attention(op))
}

/// `MultiHeadAttention` of com.microsoft.
pub fn multi_head_attention(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    let of = node.node;
    let packed = HeadLayout::packed(of.int("num_heads", 0));
    // Keys and values of four axes are those that a cross-attention's cache has.
    let layouts = match [0, 1, 2].map(|index| node.rank(index)) {
        [Some(3), Some(3), Some(3)] => [packed; 3],
        [Some(3), Some(4), Some(4)] => [packed, HeadLayout::HeadsFirst, HeadLayout::HeadsFirst],
        _ => return Err("MultiHeadAttention of packed keys and values, or of unknown shapes".into()),
    };
    let is_padded = node.input(4).is_some();
    if is_padded && (node.input(5).is_some() || node.rank(4) != Some(2) || node.dtype(4) != Some(DataType::I32)) {
        return Err("MultiHeadAttention with a key_padding_mask of lengths, or beside attention_bias".into());
    }
    if (8..of.inputs.len()).any(|index| node.input(index).is_some()) {
        return Err("MultiHeadAttention with a cache that beams share".into());
    }
    if node.input(3).is_some() && (node.dtype(3) != node.dtype(0) || node.rank(3) != Some(1)) {
        return Err("MultiHeadAttention with a bias that is no row".into());
    }
    if node.input(5).is_some() && node.rank(5) != Some(4) {
        return Err("MultiHeadAttention with an attention_bias that has not four axes".into());
    }
    let mask = if is_padded { 4 } else { 5 };
    let op = Attention::lower(node, layouts, mask, DataType::I32)?.with_past(node, [6, 7])?;
    node.reads(&[0, 1, 2, mask, 3, 6, 7]);
    Ok(Op::Attention(Attention { hidden: of.float("mask_filter_value", -10_000.0), ..op }))
}

/// `Attention` of com.microsoft: `x`, the weights of queries, keys and values side by side, and perhaps their bias and
/// a mask. It is a linear layer, and attention of what that makes.
pub fn with_projections(node: &Lowering<'_, '_>, mut parts: Parts) -> Lowered<Parts> {
    const KNOWN: [&str; 5] = ["mask_filter_value", "num_heads", "qkv_hidden_sizes", "scale", "unidirectional"];
    let of = node.node;
    let refused = |what: &str| Err(format!("Attention {what}"));
    let is_known = |name: &str| KNOWN.contains(&name) || of.int(name, 0) == 0;
    if let Some(name) = of.attributes.keys().find(|name| !is_known(name)) {
        return refused(&format!("with {name}"));
    }
    node.floats()?;
    let (Some(x), Some(w), Some(y), Some(&[rows, columns])) =
        (node.input(0), node.input(1), node.output(0), node.constant_shape(1))
    else {
        return refused("whose weights are not constant");
    };
    let heads = usize::try_from(of.int("num_heads", 0)).unwrap_or(0);
    let sizes = of.ints("qkv_hidden_sizes").unwrap_or_default();
    if heads == 0 || columns % (3 * heads) != 0 || sizes.iter().any(|size| *size as usize * 3 != columns) {
        return refused("whose queries, keys and values are not of one width");
    }
    if node.input(2).is_some() && node.constant_shape(2) != Some(&[columns]) {
        return refused("whose bias is not a constant row");
    }
    let is_padded = node.input(3).is_some();
    let is_row = node.rank(3) == Some(2) && node.dtype(3) == Some(DataType::I32);
    if is_padded && (node.input(5).is_some() || !is_row) {
        return refused("with a mask of lengths or of three axes, or beside attention_bias");
    }
    if node.input(5).is_some() && (node.rank(5) != Some(4) || node.dtype(5) != node.dtype(0)) {
        return refused("with an attention_bias that has not four axes");
    }
    let past = node.input(4);
    if node.input(6).is_some() || past.is_some() && (node.rank(4) != Some(5) || node.output(1).is_none()) {
        return refused("with a past of other axes, or of which the present is not wanted");
    }

    let shape = match node.dims(0) {
        Some([batch, length, _]) => vec![batch.clone(), length.clone(), Dim::Fixed(columns)],
        _ => return refused("of an operand that has not three axes"),
    };
    let rows_of_three = parts.value(node.dtype(0), Some(shape));
    let linear = Linear { bias: node.input(2), ..Linear::new(Weights::plain(w), [rows, columns]) };
    parts.step(Op::Linear(linear), [Some(x)], rows_of_three);
    let width = columns / (3 * heads);
    let [q, mut k, mut v] = [0, 1, 2].map(|part| HeadLayout::Third { heads, part });
    let (mut keys, mut values) = (rows_of_three, rows_of_three);
    let causal = if of.int("unidirectional", 0) != 0 { Causal::Last } else { Causal::No };
    if let Some(present) = node.output(1) {
        let mut halves = [rows_of_three; 2];
        for (at, half) in halves.iter_mut().enumerate() {
            let cached = past.map(|past| {
                let (cached, index) = (parts.value(node.dtype(0), None), parts.integers(&[at as i64], &[]));
                parts.step(Op::Movement(Movement::Gather { axis: 0 }), [Some(past), Some(index)], cached);
                cached
            });
            *half = parts.value(node.dtype(0), None);
            let append = Append { new: [k, v][at], part: at + 1 };
            parts.step(Op::Append(append), [cached, Some(rows_of_three)], *half);
        }
        if past.is_some() {
            [keys, values] = halves;
            (k, v) = (HeadLayout::HeadsFirst, HeadLayout::HeadsFirst);
        }
        let first = parts.integers(&[0], &[1]);
        let both = halves.map(|half| {
            let one = parts.value(node.dtype(0), None);
            parts.step(Op::View(View::Unsqueeze), [Some(half), Some(first)], one);
            Some(one)
        });
        parts.step(Op::Movement(Movement::Concat { axis: 0 }), both, present);
    }
    let op = Attention {
        head_width: Some(width),
        scale: scale(of, width),
        causal,
        hidden: of.float("mask_filter_value", -10_000.0),
        q,
        k,
        v,
        out: HeadLayout::Packed { heads },
        shared_by: 1,
        appends: None,
    };
    let mask = node.input(3).or(node.input(5));
    let operands = [Some(rows_of_three), Some(keys), Some(values), mask];
    parts.step(Op::Attention(op), operands, y);
    Ok(parts)
}

/// The factor of the scores: the attribute, or that of heads of this width.
fn scale(node: &Node<'_>, width: usize) -> f32 {
    match node.float("scale", 0.0) {
        0.0 => (width as f32).sqrt().recip(),
        scale => scale,
    }
}

impl Attention {
    /// What a node's first three operands ask for; the result lies as the queries do. `mask` is the place of a mask,
    /// which is added to the scores, or, if it is of the type `hides`, hides keys.
    fn lower(node: &Lowering<'_, '_>, [q, k, v]: [HeadLayout; 3], mask: usize, hides: DataType) -> Lowered<Self> {
        let refused = |what: &str| format!("{} {what}", node.node.op_type);
        node.floats()?;
        let is_masked = node.input(mask).is_some();
        let is_hiding = is_masked && node.dtype(mask) == Some(hides);
        let is_padding = is_hiding && hides == DataType::I32;
        let alike = |index: &usize| node.input(*index).is_none() || node.dtype(*index) == node.dtype(0);
        if ![1, 2].iter().all(alike) || !(is_hiding || alike(&mask)) {
            return Err(refused("of operands of several types"));
        }
        let heads = |index: usize, layout: HeadLayout| layout.declared(node.dims(index)?);
        let (Some(queries), Some(keys), Some(values)) = (heads(0, q), heads(1, k), heads(2, v)) else {
            return Err(refused("of heads that the graph does not tell"));
        };
        let [width, each] = [queries.width, queries.heads];
        if width == 0 || [keys.width, values.width] != [width; 2] {
            return Err(refused("whose values are of another width than its queries"));
        }
        let (one_for_each, one_for_all) = (keys.heads == each, keys.heads == 1);
        let shares = !one_for_each && !one_for_all && keys.heads > 0 && each % keys.heads == 0;
        if !(one_for_each || one_for_all || shares) || values.heads != keys.heads {
            return Err(refused("whose heads of keys or values are not as many as those of its queries"));
        }
        let axes = if is_padding { 2..=2 } else { 1..=4 };
        if is_masked && !node.rank(mask).is_some_and(|rank| axes.contains(&rank)) {
            return Err(refused("with a mask of other axes than it has scores"));
        }
        let is_causal = ["is_causal", "unidirectional"].into_iter().any(|name| node.node.int(name, 0) != 0);
        let causal = match is_causal {
            false => Causal::No,
            true if *keys.length != Dim::Unknown && queries.length == keys.length => Causal::Last,
            true => Causal::New { layout: k, last_sees_all: node.node.domain == "com.microsoft" },
        };
        let (scale, hidden) = (scale(node.node, width), f32::NEG_INFINITY);
        let shared_by = if shares { each / keys.heads } else { 1 };
        Ok(Self { head_width: Some(width), scale, causal, hidden, q, k, v, out: q, shared_by, appends: None })
    }

    /// The same behind the keys and values of the operands `past`, if the node gives back what they make together.
    fn with_past(self, node: &Lowering<'_, '_>, past: [usize; 2]) -> Lowered<Self> {
        let refused = |what: &str| Err(format!("{} {what}", node.node.op_type));
        let given = past.map(|index| node.input(index).is_some());
        match node.node.outputs.iter().flatten().count() {
            1 if given == [false; 2] => return Ok(self),
            3 if given[0] == given[1] => {}
            _ => return refused("with a past of which not both presents are wanted"),
        }
        let sizes = |dims: &[Dim], layout: HeadLayout| layout.declared(dims).map(|of| [of.heads, of.width]);
        for (index, (past, layout)) in past.into_iter().zip([self.k, self.v]).enumerate() {
            let new = node.dims(index + 1).and_then(|dims| sizes(dims, layout));
            let fits = node.dims(past).is_some_and(|dims| sizes(dims, HeadLayout::HeadsFirst) == new);
            if given[0] && !(fits && node.dtype(past) == node.dtype(0)) {
                return refused("with a past of other heads");
            }
        }
        if self.k != self.v {
            return refused("of keys that lie otherwise than its values");
        }
        let heads_first = HeadLayout::HeadsFirst;
        Ok(Self { k: heads_first, v: heads_first, appends: Some(self.k), ..self })
    }
}

/// What a graph tells of an operand of attention.
struct Declared<'g> {
    heads: usize,
    length: &'g Dim,
    width: usize,
}

impl HeadLayout {
    /// Rows of so many heads; of none, where an attribute is no such number.
    fn packed(heads: i64) -> Self {
        HeadLayout::Packed { heads: usize::try_from(heads).unwrap_or(0) }
    }

    /// What a declared shape tells, if it tells heads and width.
    fn declared(self, dims: &[Dim]) -> Option<Declared<'_>> {
        match (dims, self) {
            ([_, Dim::Fixed(heads), length, Dim::Fixed(width)], HeadLayout::HeadsFirst)
            | ([_, length, Dim::Fixed(heads), Dim::Fixed(width)], HeadLayout::LengthFirst) => {
                Some(Declared { heads: *heads, length, width: *width })
            }
            ([_, length, Dim::Fixed(row)], HeadLayout::Packed { heads }) if heads > 0 && row % heads == 0 => {
                Some(Declared { heads, length, width: row / heads })
            }
            ([_, length, Dim::Fixed(row)], HeadLayout::Third { heads, .. }) if heads > 0 && row % (3 * heads) == 0 => {
                Some(Declared { heads, length, width: row / (3 * heads) })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::{Attribute, Graph},
        testing::{Builder, alone, assert_close, exact, floats, fused, noise, refusal, run},
    };

    const F: DataType = DataType::F32;
    const HEADS: [(&str, Attribute<'static>); 1] = [("num_heads", Attribute::Int(2))];
    const ROWS: [usize; 3] = [1, 3, 8];

    fn operands() -> Builder {
        ["q", "k", "v"].into_iter().fold(Builder::default(), |graph, name| graph.input(name, F, &ROWS))
    }

    fn multi_head(graph: Builder, inputs: &[&str], attributes: &[(&str, Attribute<'static>)]) -> Graph<'static> {
        let attributes: Vec<_> = HEADS.into_iter().chain(attributes.iter().cloned()).collect();
        graph.node_of("MultiHeadAttention", inputs, &[("y", F)], &attributes).of_microsoft().build(&["y"])
    }

    /// The same by heads of four axes, as ONNX's operator has them, with a bias added by itself.
    fn by_heads(graph: Builder, attributes: &[(&str, Attribute<'static>)]) -> Graph<'static> {
        let swap = [0, 2, 1, 3];
        let mut graph = graph.integers("split", &[1, 3, 2, 4]).integers("joined", &[1, 3, 8]);
        for (name, at) in ["q", "k", "v"].into_iter().zip(0..) {
            let [sum, rows, heads] = ["sum", "rows", "heads"].map(|part| format!("{name}{part}"));
            graph = graph
                .constant(&format!("{name}bias"), &[8], &noise(24, 5)[at * 8..(at + 1) * 8])
                .node("Add", &[name, &format!("{name}bias")], &sum)
                .node("Reshape", &[&sum, "split"], &rows)
                .transpose(&rows, &swap, &heads)
                .shape(&heads, &[1, 2, 3, 4]);
        }
        graph
            .node_of("Attention", &["qheads", "kheads", "vheads"], &[("made", F)], attributes)
            .transpose("made", &swap, "back")
            .node("Reshape", &["back", "joined"], "y")
            .build(&["y"])
    }

    #[test]
    fn rows_of_heads_with_a_bias_are_heads_of_sums() {
        let data = [1, 2, 3].map(|seed| noise(24, seed));
        let inputs: Vec<_> = data.iter().map(|data| floats(&ROWS, data)).collect();
        for causal in [0, 1].map(Attribute::Int) {
            let graph = operands().constant("bias", &[24], &noise(24, 5));
            let got = multi_head(graph, &["q", "k", "v", "bias"], &[("unidirectional", causal.clone())]);
            let want = by_heads(operands(), &[("is_causal", causal)]);
            assert_close(&alone(&got, &inputs).floats(), &alone(&want, &inputs).floats());
        }
    }

    #[test]
    fn new_keys_come_behind_a_past_and_are_given_back() {
        const PAST: [usize; 4] = [1, 2, 5, 4];
        let names = ["y", "keys", "values"];
        let outputs = names.map(|name| (name, F));
        let graph =
            operands().constant("bias", &[24], &noise(24, 5)).input("past k", F, &PAST).input("past v", F, &PAST);
        let inputs = ["q", "k", "v", "bias", "", "", "past k", "past v"];
        let graph = graph.node_of("MultiHeadAttention", &inputs, &outputs, &HEADS).of_microsoft().build(&names);
        let (rows, past) = ([1, 2, 3].map(|seed| noise(24, seed)), [6, 7].map(|seed| noise(40, seed)));
        let given = rows.iter().map(|rows| floats(&ROWS, rows)).chain(past.iter().map(|past| floats(&PAST, past)));
        let made = run(&fused(&graph, &exact()), &graph, &given.collect::<Vec<_>>(), 1 << 10).expect("a run");

        let bias = noise(24, 5);
        let biased = |at: usize| -> Vec<f32> { (0..24).map(|i| rows[at][i] + bias[at * 8 + i % 8]).collect() };
        for (result, part) in [1, 2].into_iter().enumerate() {
            let (new, together) = (biased(part), made[part].floats());
            assert_eq!(made[part].shape, [1, 2, 8, 4]);
            for (head, together) in together.chunks(32).enumerate() {
                assert_eq!(together[..20], past[result][head * 20..][..20]);
                let rows = together[20..].chunks(4).enumerate();
                rows.for_each(|(row, values)| assert_eq!(values, &new[row * 8 + head * 4..][..4]));
            }
        }
        let cached = ["keys", "values"]
            .into_iter()
            .fold(Builder::default().input("q", F, &ROWS), |graph, name| graph.input(name, F, &[1, 2, 8, 4]));
        let [queries, keys, values] = [biased(0), made[1].floats(), made[2].floats()];
        let inputs = [floats(&ROWS, &queries), floats(&[1, 2, 8, 4], &keys), floats(&[1, 2, 8, 4], &values)];
        let want = alone(&multi_head(cached, &["q", "keys", "values"], &[]), &inputs);
        assert_close(&made[0].floats(), &want.floats());
    }

    /// `Attention` of com.microsoft, and the same as a product, sums of a row's thirds, and heads of four axes.
    #[test]
    fn projections_and_attention_in_one_operator() {
        const WIDTH: usize = 8;
        let (weights, bias) = (noise(WIDTH * 24, 4), noise(24, 5));
        let graph = Builder::default().input("x", F, &[2, 3, WIDTH]);
        let graph = graph.constant("w", &[WIDTH, 24], &weights).constant("bias", &[24], &bias);
        let graph = graph.bytes("seen", DataType::I32, &[2, 3], bytemuck::cast_slice(&[1i32, 1, 0, 0, 1, 1]));
        let x = noise(2 * 3 * WIDTH, 1);
        let third = |part: usize| -> Vec<f32> {
            let rows = x.chunks(WIDTH);
            let value =
                |row: &[f32], at: usize| bias[at] + (0..WIDTH).map(|i| row[i] * weights[i * 24 + at]).sum::<f32>();
            rows.flat_map(|row| (part * 8..part * 8 + 8).map(move |at| value(row, at))).collect()
        };
        let thirds = [0, 1, 2].map(third);
        for (causal, masked) in [(0, false), (1, false), (0, true), (1, true)] {
            let operands = if masked { vec!["x", "w", "bias", "seen"] } else { vec!["x", "w", "bias"] };
            let attributes = [("num_heads", Attribute::Int(2)), ("unidirectional", Attribute::Int(causal))];
            let graph = graph.clone().node_of("Attention", &operands, &[("y", F)], &attributes).of_microsoft();
            let graph = graph.build(&["y"]);
            let inputs = [floats(&[2, 3, WIDTH], &x)];
            let made = run(&fused(&graph, &exact()), &graph, &inputs, 1 << 10).expect("a run");

            // The slow obvious way, with a mask of four axes that hides what both hide.
            let hidden = |item: usize, query: usize, key: usize| {
                let seen = [[1, 1, 0], [0, 1, 1]][item][key] == 1 || !masked;
                (if seen { 0.0f32 } else { -10_000.0 }) + if causal == 1 && key > query { -1e30 } else { 0.0 }
            };
            let at = |index: usize| hidden(index / 9, index / 3 % 3, index % 3);
            let mask: Vec<f32> = (0..18).map(at).collect();
            let plain =
                ["q", "k", "v"].into_iter().fold(Builder::default(), |graph, name| graph.input(name, F, &[2, 3, 8]));
            let plain = plain.input("mask", F, &[2, 1, 3, 3]);
            let plain = multi_head(plain, &["q", "k", "v", "", "", "mask"], &[]);
            let rows = thirds.each_ref().map(|third| floats(&[2, 3, 8], third));
            let want = alone(&plain, &[rows[0], rows[1], rows[2], floats(&[2, 1, 3, 3], &mask)]);
            assert_eq!(made[0].shape, want.shape);
            assert_close(&made[0].floats(), &want.floats());
        }
        let graph = graph.input("w2", F, &[WIDTH, 24]);
        let graph = graph.node_of("Attention", &["x", "w2"], &[("y", F)], &HEADS).of_microsoft().build(&["y"]);
        assert!(refusal(&graph).contains("not constant"));
    }

    #[test]
    fn what_would_give_another_result_is_refused() {
        let mask = || operands().input("mask", F, &[1, 1, 1, 3, 3]);
        let refused = |graph, inputs: &[&str]| refusal(&multi_head(graph, inputs, &[]));
        assert!(refused(mask(), &["q", "k", "v", "", "", "mask"]).contains("four axes"));
        assert!(refused(mask(), &["q", "k", "v", "", "mask"]).contains("key_padding_mask"));
        assert!(refused(mask(), &["q", "k", "v", "", "", "", "mask"]).contains("past"));
        assert!(refused(operands(), &["q"]).contains("packed"));
        let narrow = operands().input("narrow", F, &[1, 3, 4]);
        assert!(refused(narrow, &["q", "k", "narrow"]).contains("another width"));
        // ONNX adds integers to the scores; only MultiHeadAttention takes them for padding.
        let heads =
            ["q", "k", "v"].into_iter().fold(Builder::default(), |graph, name| graph.input(name, F, &[1, 2, 3, 4]));
        let graph = heads.input("mask", DataType::I32, &[3, 3]).node("Attention", &["q", "k", "v", "mask"], "y");
        assert!(refusal(&graph.build(&["y"])).contains("several types"));
        let attributes = [("softcap", Attribute::Float(2.0))];
        let graph = operands().node_of("Attention", &["q", "k", "v"], &[("y", F)], &attributes).build(&["y"]);
        assert!(refusal(&graph).contains("softcap"));
    }
}

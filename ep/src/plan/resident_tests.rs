//! Caches that stay in the EP against caches that the program carries: the same graph, run both ways.

use undertone_kernels::Precision;

use super::Plan;
use crate::{
    error::RunError,
    graph::{Attribute, DataType, Graph},
    kv::{KvState, Question, Slot},
    memory::Input,
    options::Options,
    testing::{Builder, Output, assert_close, exact, floats, fused, noise, run, run_with},
};

const F: DataType = DataType::F32;
const HEADS: usize = 2;
const WIDTH: usize = 4;
const VOCABULARY: usize = 7;

/// What else the graph does with its cache.
#[derive(Clone, Copy, PartialEq)]
enum Also {
    Nothing,
    /// A past key is read by an addition.
    ReadsPast,
    /// A present value is read by an addition.
    ReadsPresent,
}

const NEW: [usize; 4] = [1, HEADS, 1, WIDTH];
const Q: [usize; 4] = [1, HEADS, 1, WIDTH];

/// One layer of a decoder step: `present = Concat(past, new)`, self-attention over it and cross-attention over a past
/// that does not grow, and logits.
fn step_graph(also: Also) -> Graph<'static> {
    let axis = |axis| [("axis", Attribute::Int(axis))];
    let mut builder = Builder::default();
    for (name, shape) in [("q", Q), ("new_key", NEW), ("new_value", NEW)] {
        builder = builder.input(name, F, &shape);
    }
    for of in ["decoder.key", "decoder.value", "encoder.key", "encoder.value"] {
        builder = builder.input(&format!("past_key_values.0.{of}"), F, &[1, HEADS, 0, WIDTH]);
    }
    builder = builder
        .node_of("Concat", &["past_key_values.0.decoder.key", "new_key"], &[("present.0.decoder.key", F)], &axis(2))
        .node_of(
            "Concat",
            &["past_key_values.0.decoder.value", "new_value"],
            &[("present.0.decoder.value", F)],
            &axis(-2),
        );
    let mut q = "q".to_owned();
    for (key, value, of) in [
        ("present.0.decoder.key", "present.0.decoder.value", "self"),
        ("past_key_values.0.encoder.key", "past_key_values.0.encoder.value", "cross"),
    ] {
        let name = |what: &str| format!("{of}_{what}");
        builder = builder
            .transpose(key, &[0, 1, 3, 2], &name("kt"))
            .node("MatMul", &[&q, &name("kt")], &name("scores"))
            .node_of("Softmax", &[&name("scores")], &[(&name("p"), F)], &axis(-1))
            .node("MatMul", &[&name("p"), value], &name("out"));
        q = name("out");
    }
    builder = builder
        .constant("flat_w", &[WIDTH, VOCABULARY], &noise(WIDTH * VOCABULARY, 9))
        .integers("rows", &[1, HEADS as i64, WIDTH as i64])
        .node("Reshape", &[&q, "rows"], "hidden")
        .node("MatMul", &["hidden", "flat_w"], "logits");
    let mut outputs = vec!["logits", "present.0.decoder.key", "present.0.decoder.value"];
    if also != Also::Nothing {
        let read = if also == Also::ReadsPast { "past_key_values.0.encoder.key" } else { "present.0.decoder.value" };
        builder = builder.node("Add", &[read, read], "twice");
        outputs.push("twice");
    }
    builder.build(&outputs)
}

/// A first step: its inputs, doubled, are what is kept.
fn first_graph() -> Graph<'static> {
    let mut builder = Builder::default();
    let names = ["decoder.key", "decoder.value", "encoder.key", "encoder.value"];
    for of in names {
        builder = builder.input(of, F, &[1, HEADS, 1, WIDTH]).node("Add", &[of, of], &format!("present.0.{of}"));
    }
    builder.build(&names.map(|of| format!("present.0.{of}")).each_ref().map(String::as_str))
}

struct Both {
    graph: Graph<'static>,
    plan: Plan,
    state: KvState,
}

impl Both {
    /// Begins with three entries of self-attention and five of cross-attention.
    fn new(also: Also, options: &Options) -> (Self, [Vec<f32>; 4]) {
        let first = first_graph();
        let mut state = KvState::default();
        let halves: Vec<Vec<f32>> =
            [3, 3, 5, 5].iter().zip(1..).map(|(n, seed)| noise(n * HEADS * WIDTH, seed)).collect();
        let shapes = [3, 3, 5, 5].map(|length| [1, HEADS, length, WIDTH]);
        let inputs: Vec<Input<'_>> = shapes.iter().zip(&halves).map(|(shape, half)| floats(shape, half)).collect();
        let made = run_with(&fused(&first, options), &first, &inputs, 1 << 12, Some(&mut state)).expect("a first step");
        assert!(made.iter().all(|made| made.shape == [1, HEADS, 0, WIDTH]), "nothing is given out");
        let pasts: Vec<Vec<f32>> = halves.iter().map(|half| half.iter().map(|x| x + x).collect()).collect();
        let graph = step_graph(also);
        let plan = fused(&graph, options);
        (Self { graph, plan, state }, pasts.try_into().expect("four"))
    }

    fn inputs<'a>(q: &'a [f32], new: &'a [Vec<f32>; 2], pasts: [(&'a [usize], &'a [f32]); 4]) -> Vec<Input<'a>> {
        let mut inputs = vec![floats(&Q, q), floats(&NEW, &new[0]), floats(&NEW, &new[1])];
        inputs.extend(pasts.map(|(shape, data)| floats(shape, data)));
        inputs
    }

    fn resident(&mut self, q: &[f32], new: &[Vec<f32>; 2]) -> Result<Vec<Output>, RunError> {
        let nothing: (&[usize], &[f32]) = (&[1, HEADS, 0, WIDTH], &[]);
        let inputs = Self::inputs(q, new, [nothing; 4]);
        run_with(&self.plan, &self.graph, &inputs, 1 << 12, Some(&mut self.state))
    }
}

fn noise_of(seed: u64) -> (Vec<f32>, [Vec<f32>; 2]) {
    (noise(HEADS * WIDTH, seed), [noise(HEADS * WIDTH, seed + 1), noise(HEADS * WIDTH, seed + 2)])
}

#[test]
fn a_resident_cache_gives_what_a_carried_one_gives() {
    for also in [Also::Nothing, Also::ReadsPast, Also::ReadsPresent] {
        let (mut both, mut pasts) = Both::new(also, &exact());
        for step in 0..40 {
            let (q, new) = noise_of(100 + 3 * step);
            let length = |data: &[f32]| data.len() / (HEADS * WIDTH);
            let shapes = pasts.each_ref().map(|past| [1, HEADS, length(past), WIDTH]);
            let carried = [0, 1, 2, 3].map(|at| (&shapes[at][..], &pasts[at][..]));
            let plain = run(&both.plan, &both.graph, &Both::inputs(&q, &new, carried), 1 << 13).expect("a carried run");
            let resident = both.resident(&q, &new).expect("a resident run");
            assert_eq!(plain[0].shape, resident[0].shape);
            assert_close(&resident[0].floats(), &plain[0].floats());
            assert_eq!(resident[1].shape, [1, HEADS, 0, WIDTH]);
            if also != Also::Nothing {
                assert_close(&resident[3].floats(), &plain[3].floats());
            }
            pasts[0] = plain[1].floats();
            pasts[1] = plain[2].floats();
        }
        let kept = both.state.get(Slot::of("present.0.decoder.key").unwrap()).unwrap();
        assert_eq!(kept.shape(), [1, HEADS, 43, WIDTH]);
    }
}

#[test]
fn narrow_caches_are_near() {
    for precision in [Precision::Bf16, Precision::Int8] {
        let (mut narrow, _) = Both::new(Also::Nothing, &Options { precision, ..Options::default() });
        let (mut exact, _) = Both::new(Also::Nothing, &exact());
        let (q, new) = noise_of(5);
        let (a, b) = (narrow.resident(&q, &new).unwrap()[0].floats(), exact.resident(&q, &new).unwrap()[0].floats());
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 0.05), "{precision}: {a:?} for {b:?}");
        assert!(narrow.state.bytes() < exact.state.bytes());
    }
}

#[test]
fn a_choice_takes_the_place_of_logits() {
    let (mut both, _) = Both::new(Also::Nothing, &exact());
    let (mut other, _) = Both::new(Also::Nothing, &exact());
    let (q, new) = noise_of(8);
    let logits = both.resident(&q, &new).unwrap()[0].floats();
    let last = &logits[VOCABULARY..];
    let best = (0..5).filter(|token| *token != 2).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap();

    let ask = |question: &mut Question| {
        question.forbidden.push(2..3);
        question.ends.push(1);
        (question.split, question.count) = (5, 3);
    };
    other.state.ask(ask);
    let made = other.resident(&q, &new).unwrap();
    assert_eq!(made[0].shape, [1, 0, VOCABULARY]);
    assert!(other.state.answers(3, 1).is_none() && other.state.answers(1, 1).is_none());
    let ranks = other.state.answers(1, 3).unwrap();
    assert!(ranks.windows(2).all(|pair| pair[0][0].unwrap().logit >= pair[1][0].unwrap().logit));
    let [text, timestamps] = ranks[0];
    assert_eq!(text.map(|best| (best.index as usize, best.logit)), Some((best, last[best])));
    assert!(timestamps.is_some_and(|best| best.index >= 5));

    other.state.ask(|question| question.ends.extend([0, 0]));
    assert!(other.resident(&q, &new).err().unwrap().to_string().contains("2 rows"));
    other.state.end_run();
    assert_eq!(other.resident(&q, &new).unwrap()[0].shape, [1, HEADS, VOCABULARY], "asked once");
}

#[test]
fn what_does_not_fit_is_an_error() {
    let (both, _) = Both::new(Also::Nothing, &exact());
    let mut empty = Both { state: KvState::default(), ..both };
    let (q, new) = noise_of(1);
    let error = empty.resident(&q, &new).err().unwrap().to_string();
    assert!(error.starts_with("input 3") && error.contains("first step"), "{error}");

    let (mut both, _) = Both::new(Also::Nothing, &exact());
    both.state.select(&[0, 0]).unwrap();
    let error = both.resident(&q, &new).err().unwrap().to_string();
    assert!(error.contains("Concat") && error.contains("[2, 2, 3, 4]"), "{error}");
    assert!(both.state.select(&[2]).is_err());
}

#[test]
fn scores_of_cross_attention_are_those_that_the_result_is_made_of() {
    for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::Bf16, 0.05), (Precision::Int8, 0.05)] {
        let (mut both, pasts) = Both::new(Also::Nothing, &Options { precision, ..exact() });
        let (q, new) = noise_of(21);
        let silent = both.resident(&q, &new).unwrap();
        assert!(both.state.attended.scores().is_empty(), "nothing is kept unasked");

        let (mut both, _) = Both::new(Also::Nothing, &Options { precision, ..exact() });
        both.state.attended.ask(&[[0, 1], [0, 0]]);
        let logits = both.resident(&q, &new).unwrap()[0].floats();
        assert_eq!(logits, silent[0].floats(), "what is kept changes nothing");
        let scores = both.state.attended.scores().to_vec();
        assert_eq!(scores.len(), HEADS * 5);

        // The logits, out of the scores: soft-max, values, and the last layer.
        let heads: [&[f32]; HEADS] = [&scores[5..], &scores[..5]];
        let mixed: Vec<f32> = (0..HEADS * WIDTH)
            .map(|at| {
                let (head, column) = (at / WIDTH, at % WIDTH);
                let sum: f32 = heads[head].iter().map(|score| score.exp()).sum();
                let value = |key: usize| pasts[3][(head * 5 + key) * WIDTH + column];
                heads[head].iter().enumerate().map(|(key, score)| score.exp() / sum * value(key)).sum()
            })
            .collect();
        let weights = noise(WIDTH * VOCABULARY, 9);
        let expected: Vec<f32> = (0..HEADS * VOCABULARY)
            .map(|at| {
                (0..WIDTH).map(|k| mixed[at / VOCABULARY * WIDTH + k] * weights[k * VOCABULARY + at % VOCABULARY]).sum()
            })
            .collect();
        let far = logits.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < tolerance, "{precision}: {logits:?} for {expected:?}");

        both.state.end_run();
        both.resident(&q, &new).unwrap();
        assert_eq!(both.state.attended.scores(), scores, "the next run is not asked and keeps what there was");
        both.state.attended.ask(&[[1, 0]]);
        both.resident(&q, &new).unwrap();
        assert!(both.state.attended.scores().is_empty(), "there is no second layer");
        both.state.attended.ask(&[[0, 2]]);
        let error = both.resident(&q, &new).err().unwrap().to_string();
        assert!(error.contains("head 2") && error.contains("there are 2"), "{error}");
    }
}

/// Cross-attention of a first step: keys are made of the encoder's result, which is read as it lies.
#[test]
fn a_first_step_s_cross_attention_is_found_and_self_attention_is_not() {
    let graph = Builder::default()
        .input("encoder_hidden_states", F, &[1, 3, HEADS * WIDTH])
        .input("q", F, &Q)
        .constant("w", &[HEADS * WIDTH, HEADS * WIDTH], &noise(HEADS * WIDTH * HEADS * WIDTH, 4))
        .integers("split", &[0, 0, HEADS as i64, WIDTH as i64])
        .node("MatMul", &["encoder_hidden_states", "w"], "k")
        .node("Reshape", &["k", "split"], "k4")
        .transpose("k4", &[0, 2, 1, 3], "keys")
        .transpose("keys", &[0, 1, 3, 2], "kt")
        .node("MatMul", &["q", "kt"], "scores")
        .node_of("Softmax", &["scores"], &[("p", F)], &[("axis", Attribute::Int(-1))])
        .node("MatMul", &["p", "keys"], "mixed")
        .transpose("q", &[0, 1, 3, 2], "qt")
        .node("MatMul", &["mixed", "qt"], "own scores")
        .node_of("Softmax", &["own scores"], &[("own p", F)], &[("axis", Attribute::Int(-1))])
        .node("MatMul", &["own p", "q"], "y")
        .build(&["y", "scores"]);
    // With its scores as an output the attention is not fused; without, it is.
    let fused_graph = Graph { outputs: graph.outputs[..1].to_vec(), ..graph };
    let (hidden, q) = (noise(3 * HEADS * WIDTH, 1), noise(HEADS * WIDTH, 2));
    let inputs = [floats(&[1, 3, HEADS * WIDTH], &hidden), floats(&Q, &q)];
    let mut state = KvState::default();
    state.attended.ask(&[[0, 0], [0, 1]]);
    run_with(&fused(&fused_graph, &exact()), &fused_graph, &inputs, 1 << 10, Some(&mut state)).unwrap();
    let scores = state.attended.scores().to_vec();
    let wanted: Vec<f32> = (0..HEADS * 3)
        .map(|at| {
            let (head, key) = (at / 3, at % 3);
            let weights = noise(HEADS * WIDTH * HEADS * WIDTH, 4);
            let column = |column: usize| -> f32 {
                (0..HEADS * WIDTH).map(|i| hidden[key * HEADS * WIDTH + i] * weights[i * HEADS * WIDTH + column]).sum()
            };
            (0..WIDTH).map(|i| q[head * WIDTH + i] * column(head * WIDTH + i)).sum()
        })
        .collect();
    assert_eq!(scores.len(), wanted.len());
    assert_close(&scores, &wanted);
    // The other attention's keys are its queries: it is no second layer.
    state.attended.ask(&[[1, 0]]);
    run_with(&fused(&fused_graph, &exact()), &fused_graph, &inputs, 1 << 10, Some(&mut state)).unwrap();
    assert!(state.attended.scores().is_empty());
}

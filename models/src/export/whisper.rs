//! Whisper's three graphs, with optimum's names of inputs and outputs.

use super::{
    data::{DataFile, Layout},
    graph::{Attribute, Axis, Builder},
    layers::{Attention, Cache},
    proto::ModelProto,
};
use crate::weights::{Checkpoint, ConvertError, PROJECTION, TOKENS};

/// Frames of mel features in a position of the encoder.
const FRAMES: usize = 2;

/// `input_features [batch, mel bins, 3000]` → `last_hidden_state [batch, 1500, width]`.
pub(super) fn encoder(checkpoint: &Checkpoint, data: &mut DataFile<'_>) -> Result<ModelProto, ConvertError> {
    let sizes = checkpoint.dimensions;
    let mut graph = Builder::new(checkpoint, data);
    let frames = FRAMES * sizes.encoder_positions;
    let axes = vec!["batch_size".into(), sizes.mel_bins.into(), frames.into()];
    let x = graph.input("input_features", Builder::FLOAT, axes);
    let x = graph.convolution("model.encoder.conv1", &x, 1)?;
    let x = graph.convolution("model.encoder.conv2", &x, 2)?;
    let perm = vec![("perm", Attribute::Ints(vec![0, 2, 1]))];
    let x = graph.node("Transpose", "/model/encoder/Transpose", &[&x], perm);
    let positions = graph.weight("model.encoder.embed_positions.weight", Layout::Plain)?;
    let mut x = graph.node("Add", "/model/encoder/Add", &[&x, &positions], Vec::new());
    for layer in 0..sizes.encoder_layers {
        let layer = format!("model.encoder.layers.{layer}");
        x = graph.attention_block(Attention {
            path: &format!("{layer}.self_attn"),
            heads: sizes.encoder_heads,
            x: &x,
            memory: &x,
            mask: None,
            cache: Cache::None,
        })?;
        x = graph.feed_forward(&layer, &x)?;
    }
    let out = graph.layer_norm_to("model.encoder.layer_norm", &x, "last_hidden_state")?;
    graph.output(&out, vec!["batch_size".into(), sizes.encoder_positions.into(), sizes.width.into()]);
    Ok(graph.finish())
}

/// The first step, `input_ids, encoder_hidden_states` → `logits, present.*`; with `past` each step after it, in which
/// keys and values of what was before are inputs, and those of the audio are no outputs.
pub(super) fn decoder(
    checkpoint: &Checkpoint,
    data: &mut DataFile<'_>,
    past: bool,
) -> Result<ModelProto, ConvertError> {
    const BATCH: &str = "batch_size";
    const LENGTH: &str = "decoder_sequence_length";
    const PAST: &str = "past_decoder_sequence_length";
    const ALL: &str = "past_decoder_sequence_length + decoder_sequence_length";
    const AUDIO: &str = "encoder_sequence_length";
    let sizes = checkpoint.dimensions;
    let mut graph = Builder::new(checkpoint, data);
    let ids = graph.input("input_ids", Builder::INT64, vec![BATCH.into(), LENGTH.into()]);
    let cached = |length: &'static str| -> Vec<Axis> {
        vec![BATCH.into(), sizes.decoder_heads.into(), length.into(), (sizes.width / sizes.decoder_heads).into()]
    };
    let mut audio = String::new();
    if past {
        for layer in 0..sizes.decoder_layers {
            for (of, length) in [("decoder", PAST), ("encoder", AUDIO)] {
                for kind in ["key", "value"] {
                    graph.input(&format!("past_key_values.{layer}.{of}.{kind}"), Builder::FLOAT, cached(length));
                }
            }
        }
    } else {
        let axes = vec![BATCH.into(), AUDIO.into(), sizes.width.into()];
        audio = graph.input("encoder_hidden_states", Builder::FLOAT, axes);
    }
    let (mut x, mask) = embedded(&mut graph, &ids, past)?;
    let mut outputs = Vec::new();
    for layer in 0..sizes.decoder_layers {
        let path = format!("model.decoder.layers.{layer}");
        let [past_key, past_value, past_audio_key, past_audio_value] = names(&format!("past_key_values.{layer}"));
        let [key, value, audio_key, audio_value] = names(&format!("present.{layer}"));
        let cache = match past {
            true => Cache::Append { past_key: &past_key, past_value: &past_value, key: &key, value: &value },
            false => Cache::Out { key: &key, value: &value },
        };
        x = graph.attention_block(Attention {
            path: &format!("{path}.self_attn"),
            heads: sizes.decoder_heads,
            x: &x,
            memory: &x,
            mask: Some(&mask),
            cache,
        })?;
        let cache = match past {
            true => Cache::In { key: &past_audio_key, value: &past_audio_value },
            false => Cache::Out { key: &audio_key, value: &audio_value },
        };
        x = graph.attention_block(Attention {
            path: &format!("{path}.encoder_attn"),
            heads: sizes.decoder_heads,
            x: &x,
            memory: &audio,
            mask: None,
            cache,
        })?;
        x = graph.feed_forward(&path, &x)?;
        outputs.extend([(key, ALL), (value, ALL)]);
        if !past {
            outputs.extend([(audio_key, AUDIO), (audio_value, AUDIO)]);
        }
    }
    let x = graph.layer_norm("model.decoder.layer_norm", &x)?;
    let logits = logits(&mut graph, &ids, &x)?;
    graph.output(&logits, vec![BATCH.into(), LENGTH.into(), sizes.vocabulary.into()]);
    for (name, length) in outputs {
        graph.output(&name, cached(length));
    }
    Ok(graph.finish())
}

fn names(prefix: &str) -> [String; 4] {
    ["decoder.key", "decoder.value", "encoder.key", "encoder.value"].map(|name| format!("{prefix}.{name}"))
}

/// Tokens and their positions, `[batch, length, width]`, and the mask `[1, 1, length, past + length]`: nobody sees what
/// comes later.
fn embedded(graph: &mut Builder<'_, '_>, ids: &str, past: bool) -> Result<(String, String), ConvertError> {
    let at = |name: &str| format!("/model/decoder/{name}");
    let tokens = graph.weight(TOKENS, Layout::Rows)?;
    let rows = || vec![("axis", Attribute::Int(0))];
    let x = graph.node("Gather", &at("embed_tokens/Gather"), &[&tokens, ids], rows());
    let length = graph.size_of(&at("length"), ids, 1);
    let (zero, one) = (graph.index("axis_0", 0), graph.index("axis_1", 1));
    let (first, end) = if past {
        let first = graph.size_of(&at("past"), "past_key_values.0.decoder.key", 2);
        let end = graph.node("Add", &at("past/Add"), &[&first, &length], Vec::new());
        (first, end)
    } else {
        (zero.clone(), length)
    };
    let positions = graph.node("Range", &at("positions/Range"), &[&first, &end, &one], Vec::new());
    let front = graph.sizes("axes_0", &[0]);
    let indices = graph.node("Unsqueeze", &at("positions/Unsqueeze"), &[&positions, &front], Vec::new());
    let table = graph.weight("model.decoder.embed_positions.weight", Layout::Plain)?;
    let embedded = graph.node("Gather", &at("embed_positions/Gather"), &[&table, &indices], rows());
    let x = graph.node("Add", &at("Add"), &[&x, &embedded], Vec::new());

    let queries = graph.sizes("axes_0_1_3", &[0, 1, 3]);
    let queries = graph.node("Unsqueeze", &at("mask/Unsqueeze"), &[&positions, &queries], Vec::new());
    let keys = if past { graph.node("Range", &at("mask/Range"), &[&zero, &end, &one], Vec::new()) } else { positions };
    let sees = graph.node("LessOrEqual", &at("mask/LessOrEqual"), &[&keys, &queries], Vec::new());
    let (seen, unseen) = (graph.scalar("seen", 0.0), graph.scalar("unseen", f32::NEG_INFINITY));
    Ok((x, graph.node("Where", &at("mask/Where"), &[&sees, &seen, &unseen], Vec::new())))
}

/// The product with the token embedding, as a Gemm: it reads the matrix as the embedding does, so that there is one
/// copy.
fn logits(graph: &mut Builder<'_, '_>, ids: &str, x: &str) -> Result<String, ConvertError> {
    let sizes = graph.checkpoint.dimensions;
    let matrix = if graph.checkpoint.has_own_projection() { PROJECTION } else { TOKENS };
    let matrix = graph.weight(matrix, Layout::Rows)?;
    let flat = graph.sizes("flat", &[-1, sizes.width as i64]);
    let x = graph.node("Reshape", "/proj_out/flat/Reshape", &[x, &flat], Vec::new());
    let product = graph.node("Gemm", "/proj_out/Gemm", &[&x, &matrix], vec![("transB", Attribute::Int(1))]);
    let vocabulary = graph.sizes("vocabulary", &[sizes.vocabulary as i64]);
    let shape = graph.node("Shape", "/proj_out/Shape", &[ids], Vec::new());
    let axis = vec![("axis", Attribute::Int(0))];
    let shape = graph.node("Concat", "/proj_out/Concat", &[&shape, &vocabulary], axis);
    Ok(graph.node_to("Reshape", "/proj_out/Reshape", &[&product, &shape], Vec::new(), "logits"))
}

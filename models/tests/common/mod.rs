//! A small seeded Whisper, and writers of every container that are independent of the readers: each writes what the
//! format's own tools write.
#![allow(dead_code, reason = "each test binary uses its share")]

pub mod blocks;
pub mod pickles;

use std::collections::BTreeMap;
use std::path::Path;

use fastrand::Rng;
use half::{bf16, f16};

/// Name, shape, values.
pub type Model = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Sizes of the small model. Rows are whole blocks of ggml's.
pub const WIDTH: usize = 64;
pub const INNER: usize = 96;
pub const MEL_BINS: usize = 80;
pub const AUDIO: usize = 12;
pub const TOKENS: usize = 10;
pub const ENCODER_LAYERS: usize = 1;
pub const DECODER_LAYERS: usize = 2;

/// From −1 to 1.
pub fn float(random: &mut Rng) -> f32 {
    2.0 * random.f32() - 1.0
}

/// Under Hugging Face's names; every value is exact in f16, bf16 and f32 (few bits).
pub fn model(vocabulary: usize, seed: u64) -> Model {
    let mut random = Rng::with_seed(seed);
    let mut model = Model::new();
    let mut add = |name: String, shape: &[usize]| {
        let values = (0..shape.iter().product()).map(|_| (float(&mut random) * 64.0).round() / 128.0).collect();
        model.insert(name, (shape.to_vec(), values));
    };
    add("model.decoder.embed_tokens.weight".to_owned(), &[vocabulary, WIDTH]);
    add("model.decoder.embed_positions.weight".to_owned(), &[TOKENS, WIDTH]);
    add("model.encoder.embed_positions.weight".to_owned(), &[AUDIO, WIDTH]);
    for (i, inputs) in [(1, MEL_BINS), (2, WIDTH)] {
        add(format!("model.encoder.conv{i}.weight"), &[WIDTH, inputs, 3]);
        add(format!("model.encoder.conv{i}.bias"), &[WIDTH]);
    }
    for (side, layers) in [("encoder", ENCODER_LAYERS), ("decoder", DECODER_LAYERS)] {
        let mut norm = |path: String| {
            add(format!("{path}.weight"), &[WIDTH]);
            add(format!("{path}.bias"), &[WIDTH]);
        };
        norm(format!("model.{side}.layer_norm"));
        for layer in 0..layers {
            let layer = format!("model.{side}.layers.{layer}");
            let attentions: &[&str] = if side == "encoder" { &["self_attn"] } else { &["self_attn", "encoder_attn"] };
            norm(format!("{layer}.final_layer_norm"));
            attentions.iter().for_each(|attention| norm(format!("{layer}.{attention}_layer_norm")));
        }
        for layer in 0..layers {
            let layer = format!("model.{side}.layers.{layer}");
            let attentions: &[&str] = if side == "encoder" { &["self_attn"] } else { &["self_attn", "encoder_attn"] };
            for attention in attentions {
                for part in ["q", "k", "v", "out"] {
                    add(format!("{layer}.{attention}.{part}_proj.weight"), &[WIDTH, WIDTH]);
                    if part != "k" {
                        add(format!("{layer}.{attention}.{part}_proj.bias"), &[WIDTH]);
                    }
                }
            }
            add(format!("{layer}.fc1.weight"), &[INNER, WIDTH]);
            add(format!("{layer}.fc1.bias"), &[INNER]);
            add(format!("{layer}.fc2.weight"), &[WIDTH, INNER]);
            add(format!("{layer}.fc2.bias"), &[WIDTH]);
        }
    }
    model
}

/// OpenAI's name of a tensor (openai/whisper, `model.py`).
pub fn openai_name(name: &str) -> String {
    let mut name = name.strip_prefix("model.").unwrap_or(name).to_owned();
    for (hugging_face, openai) in [
        ("encoder.embed_positions.weight", "encoder.positional_embedding"),
        ("decoder.embed_positions.weight", "decoder.positional_embedding"),
        ("embed_tokens", "token_embedding"),
        ("encoder.layer_norm.", "encoder.ln_post."),
        ("decoder.layer_norm.", "decoder.ln."),
        ("layers.", "blocks."),
        ("self_attn_layer_norm", "attn_ln"),
        ("encoder_attn_layer_norm", "cross_attn_ln"),
        ("final_layer_norm", "mlp_ln"),
        ("self_attn.", "attn."),
        ("encoder_attn.", "cross_attn."),
        ("q_proj", "query"),
        ("k_proj", "key"),
        ("v_proj", "value"),
        ("out_proj", "out"),
        ("fc1", "mlp.0"),
        ("fc2", "mlp.2"),
    ] {
        name = name.replace(hugging_face, openai);
    }
    name
}

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    F64,
    F32,
    F16,
    BF16,
}

pub fn bytes(values: &[f32], kind: Kind) -> Vec<u8> {
    let each = |value: &f32| match kind {
        Kind::F64 => f64::from(*value).to_le_bytes().to_vec(),
        Kind::F32 => value.to_le_bytes().to_vec(),
        Kind::F16 => f16::from_f32(*value).to_le_bytes().to_vec(),
        Kind::BF16 => bf16::from_f32(*value).to_le_bytes().to_vec(),
    };
    values.iter().flat_map(each).collect()
}

/// A safetensors file.
pub fn safetensors<'m>(
    tensors: impl IntoIterator<Item = (&'m String, &'m (Vec<usize>, Vec<f32>))>,
    kind: Kind,
) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), serde_json::json!({"format": "pt"}));
    let mut data = Vec::new();
    for (name, (shape, values)) in tensors {
        let start = data.len();
        data.extend(bytes(values, kind));
        let entry =
            serde_json::json!({"dtype": format!("{kind:?}"), "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    [(header.len() as u64).to_le_bytes().to_vec(), header, data].concat()
}

/// A Hugging Face configuration of the small model.
pub fn config(vocabulary: usize) -> serde_json::Value {
    serde_json::json!({
        "model_type": "whisper", "d_model": WIDTH, "encoder_layers": ENCODER_LAYERS, "decoder_layers": DECODER_LAYERS,
        "encoder_attention_heads": 2, "decoder_attention_heads": 4, "encoder_ffn_dim": INNER, "decoder_ffn_dim": INNER,
        "num_mel_bins": MEL_BINS, "vocab_size": vocabulary, "max_source_positions": AUDIO,
        "max_target_positions": TOKENS, "activation_function": "gelu", "scale_embedding": false,
    })
}

pub fn write_json(path: &Path, value: &serde_json::Value) {
    std::fs::write(path, value.to_string()).unwrap();
}

/// CTranslate2's `model.bin`: what of the model is stacked, and integers with their scales.
pub struct CTranslate2 {
    pub version: u32,
    out: Vec<u8>,
    count: u32,
}

/// How CTranslate2 stores matrices; all else is f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matrices {
    Plain(Kind),
    Int8,
    Int16,
}

impl CTranslate2 {
    /// The whole file.
    pub fn file(model: &Model, version: u32, matrices: Matrices, heads: [i16; 2]) -> Vec<u8> {
        let mut this = Self { version, out: Vec::new(), count: 0 };
        let get = |name: &str| model.get(name);
        let mut linear = |from: &[String], to: String| {
            let all: Vec<_> = from.iter().map(|name| get(&format!("{name}.weight")).unwrap()).collect();
            let mut shape = all[0].0.clone();
            shape[0] *= all.len();
            let weight: Vec<f32> = all.iter().flat_map(|(_, values)| values.iter().copied()).collect();
            this.matrix(&format!("{to}/weight"), &shape, &weight, matrices);
            let zero = vec![0.0; shape[0] / all.len()];
            let bias = |name: &String| get(&format!("{name}.bias")).map_or(zero.clone(), |(_, values)| values.clone());
            let bias: Vec<f32> = from.iter().flat_map(bias).collect();
            this.floats(&format!("{to}/bias"), &[bias.len()], &bias, Kind::F32);
        };
        for i in [1, 2] {
            linear(&[format!("model.encoder.conv{i}")], format!("encoder/conv{i}"));
        }
        for (side, layers) in [("encoder", ENCODER_LAYERS), ("decoder", DECODER_LAYERS)] {
            for i in 0..layers {
                let (from, to) = (format!("model.{side}.layers.{i}"), format!("{side}/layer_{i}"));
                let parts = |attention: &str, parts: &[&str]| -> Vec<String> {
                    parts.iter().map(|part| format!("{from}.{attention}.{part}_proj")).collect()
                };
                linear(&parts("self_attn", &["q", "k", "v"]), format!("{to}/self_attention/linear_0"));
                linear(&parts("self_attn", &["out"]), format!("{to}/self_attention/linear_1"));
                if side == "decoder" {
                    linear(&parts("encoder_attn", &["q"]), format!("{to}/attention/linear_0"));
                    linear(&parts("encoder_attn", &["k", "v"]), format!("{to}/attention/linear_1"));
                    linear(&parts("encoder_attn", &["out"]), format!("{to}/attention/linear_2"));
                }
                linear(&[format!("{from}.fc1")], format!("{to}/ffn/linear_0"));
                linear(&[format!("{from}.fc2")], format!("{to}/ffn/linear_1"));
            }
        }
        for (side, layers, heads) in [("encoder", ENCODER_LAYERS, heads[0]), ("decoder", DECODER_LAYERS, heads[1])] {
            let mut norm = |from: String, to: String| {
                for (part, name) in [("weight", "gamma"), ("bias", "beta")] {
                    let (shape, values) = get(&format!("{from}.{part}")).unwrap();
                    this.floats(&format!("{to}/{name}"), shape, values, Kind::F32);
                }
            };
            norm(format!("model.{side}.layer_norm"), format!("{side}/layer_norm"));
            for i in 0..layers {
                let (from, to) = (format!("model.{side}.layers.{i}"), format!("{side}/layer_{i}"));
                norm(format!("{from}.self_attn_layer_norm"), format!("{to}/self_attention/layer_norm"));
                norm(format!("{from}.final_layer_norm"), format!("{to}/ffn/layer_norm"));
                if side == "decoder" {
                    norm(format!("{from}.encoder_attn_layer_norm"), format!("{to}/attention/layer_norm"));
                }
            }
            let (shape, values) = get(&format!("model.{side}.embed_positions.weight")).unwrap();
            this.floats(&format!("{side}/position_encodings/encodings"), shape, values, Kind::F32);
            this.variable(&format!("{side}/num_heads"), &[], 2, 2, &heads.to_le_bytes());
        }
        let (shape, values) = get("model.decoder.embed_tokens.weight").unwrap();
        this.matrix("decoder/embeddings/weight", shape, values, matrices);
        this.variable("decoder/scale_embeddings", &[], 1, 1, &[0]);
        this.variable("decoder/pre_norm", &[], 1, 1, &[1]);
        let mut file = version.to_le_bytes().to_vec();
        string(&mut file, "WhisperSpec");
        file.extend(3_u32.to_le_bytes());
        file.extend(this.count.to_le_bytes());
        file.append(&mut this.out);
        if version >= 3 {
            file.extend(1_u32.to_le_bytes());
            string(&mut file, "decoder/projection/weight");
            string(&mut file, "decoder/embeddings/weight");
        }
        file
    }

    fn variable(&mut self, name: &str, shape: &[usize], kind: u8, size: u8, data: &[u8]) {
        self.count += 1;
        string(&mut self.out, name);
        self.out.push(shape.len() as u8);
        shape.iter().for_each(|size| self.out.extend((*size as u32).to_le_bytes()));
        if self.version >= 4 {
            self.out.push(kind);
            self.out.extend((data.len() as u32).to_le_bytes());
        } else {
            self.out.push(size);
            self.out.extend((data.len() as u32 / u32::from(size)).to_le_bytes());
        }
        self.out.extend(data);
    }

    fn floats(&mut self, name: &str, shape: &[usize], values: &[f32], kind: Kind) {
        let (id, size) = match kind {
            Kind::F32 => (0, 4),
            Kind::F16 => (4, 2),
            Kind::BF16 => (5, 2),
            Kind::F64 => panic!("CTranslate2 has no f64"),
        };
        self.variable(name, shape, id, size, &bytes(values, kind));
    }

    fn matrix(&mut self, name: &str, shape: &[usize], values: &[f32], matrices: Matrices) {
        let width = values.len() / shape[0];
        match matrices {
            Matrices::Plain(kind) => self.floats(name, shape, values, kind),
            Matrices::Int8 => {
                let scales: Vec<f32> = values.chunks(width).map(ctranslate2_scale).collect();
                let rows = values.chunks(width).zip(&scales);
                let data: Vec<u8> = rows
                    .flat_map(|(row, scale)| row.iter().map(move |value| (value * scale).round_ties_even() as i8 as u8))
                    .collect();
                self.variable(name, shape, 1, 1, &data);
                self.floats(&format!("{name}_scale"), &[shape[0]], &scales, Kind::F32);
            }
            Matrices::Int16 => {
                let scale = 1024.0 / values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
                let data: Vec<u8> =
                    values.iter().flat_map(|value| ((value * scale).round_ties_even() as i16).to_le_bytes()).collect();
                self.variable(name, shape, 2, 2, &data);
                self.floats(&format!("{name}_scale"), &[], &[scale], Kind::F32);
            }
        }
    }
}

/// What CTranslate2 multiplies a row by.
pub fn ctranslate2_scale(row: &[f32]) -> f32 {
    let largest = row.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    127.0 / if largest == 0.0 { 127.0 } else { largest }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16 + 1).to_le_bytes());
    out.extend(text.as_bytes());
    out.push(0);
}

//! Whisper as openai/whisper's `model.py` says it, in the plainest way: f64, a position at a time, no cache. What
//! graphs are held against.

use crate::common::Model;

/// Rows of numbers.
pub type Rows = Vec<Vec<f64>>;

/// A model of these tensors.
pub struct Slow<'m> {
    pub model: &'m Model,
    pub encoder_heads: usize,
    pub decoder_heads: usize,
}

impl Slow<'_> {
    fn tensor(&self, name: &str) -> (&[usize], &[f32]) {
        let (shape, values) = &self.model[name];
        (shape, values)
    }

    fn row(&self, name: &str, row: usize) -> Vec<f64> {
        let (shape, values) = self.tensor(name);
        let width: usize = shape[1..].iter().product();
        values[row * width..][..width].iter().copied().map(f64::from).collect()
    }

    fn vector(&self, name: &str) -> Vec<f64> {
        self.tensor(name).1.iter().copied().map(f64::from).collect()
    }

    fn linear(&self, path: &str, x: &Rows) -> Rows {
        let outputs = self.tensor(&format!("{path}.weight")).0[0];
        let bias = format!("{path}.bias");
        let bias = if self.model.contains_key(&bias) { self.vector(&bias) } else { vec![0.0; outputs] };
        let weights: Rows = (0..outputs).map(|i| self.row(&format!("{path}.weight"), i)).collect();
        x.iter().map(|x| weights.iter().zip(&bias).map(|(w, b)| dot(w, x) + b).collect()).collect()
    }

    fn layer_norm(&self, path: &str, x: &Rows) -> Rows {
        let (gain, bias) = (self.vector(&format!("{path}.weight")), self.vector(&format!("{path}.bias")));
        let normed = |x: &Vec<f64>| {
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
            let scale = (variance + 1e-5).sqrt().recip();
            x.iter().zip(&gain).zip(&bias).map(|((x, g), b)| (x - mean) * scale * g + b).collect()
        };
        x.iter().map(normed).collect()
    }

    /// Over three frames; `x` and the result have a row for each frame.
    fn convolution(&self, path: &str, x: &Rows, stride: usize) -> Rows {
        let (shape, weights) = self.tensor(&format!("{path}.weight"));
        let (outputs, inputs) = (shape[0], shape[1]);
        let bias = self.vector(&format!("{path}.bias"));
        let at = |frame: usize, output: usize| {
            let mut sum = bias[output];
            for tap in 0..3 {
                let Some(row) = (frame * stride + tap).checked_sub(1).and_then(|frame| x.get(frame)) else { continue };
                sum += (0..inputs).map(|i| row[i] * f64::from(weights[(output * inputs + i) * 3 + tap])).sum::<f64>();
            }
            gelu(sum)
        };
        (0..x.len().div_ceil(stride)).map(|frame| (0..outputs).map(|output| at(frame, output)).collect()).collect()
    }

    fn attention(&self, path: &str, heads: usize, x: &Rows, memory: &Rows, causal: bool) -> Rows {
        let [q, k, v] =
            [("q", x), ("k", memory), ("v", memory)].map(|(part, of)| self.linear(&format!("{path}.{part}_proj"), of));
        let width = q[0].len() / heads;
        let mixed = q.iter().enumerate().map(|(position, q)| {
            let head = |head: usize| -> Vec<f64> {
                let part = |row: &Vec<f64>| row[head * width..][..width].to_vec();
                let seen = if causal { position + 1 } else { k.len() };
                let scores: Vec<f64> =
                    k[..seen].iter().map(|k| dot(&part(q), &part(k)) / (width as f64).sqrt()).collect();
                let most = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
                let sum: f64 = weights.iter().sum();
                (0..width).map(|i| weights.iter().zip(&v).map(|(w, v)| w / sum * part(v)[i]).sum()).collect()
            };
            (0..heads).flat_map(head).collect()
        });
        self.linear(&format!("{path}.out_proj"), &mixed.collect())
    }

    fn feed_forward(&self, layer: &str, x: &Rows) -> Rows {
        let inner = self.linear(&format!("{layer}.fc1"), &self.layer_norm(&format!("{layer}.final_layer_norm"), x));
        let inner = inner.into_iter().map(|row| row.into_iter().map(gelu).collect()).collect();
        self.linear(&format!("{layer}.fc2"), &inner)
    }

    /// `mel` has a row for each frame.
    pub fn encoder(&self, mel: &Rows, layers: usize) -> Rows {
        let x = self.convolution("model.encoder.conv1", mel, 1);
        let x = self.convolution("model.encoder.conv2", &x, 2);
        let positions: Rows = (0..x.len()).map(|i| self.row("model.encoder.embed_positions.weight", i)).collect();
        let mut x = sum(&x, &positions);
        for layer in 0..layers {
            let layer = format!("model.encoder.layers.{layer}");
            let attention = format!("{layer}.self_attn");
            let norm = self.layer_norm(&format!("{attention}_layer_norm"), &x);
            x = sum(&x, &self.attention(&attention, self.encoder_heads, &norm, &norm, false));
            x = sum(&x, &self.feed_forward(&layer, &x));
        }
        self.layer_norm("model.encoder.layer_norm", &x)
    }

    /// Logits at every position.
    pub fn decoder(&self, tokens: &[usize], audio: &Rows, layers: usize) -> Rows {
        let embedded = tokens.iter().enumerate().map(|(position, token)| {
            let token = self.row("model.decoder.embed_tokens.weight", *token);
            let position = self.row("model.decoder.embed_positions.weight", position);
            token.iter().zip(&position).map(|(a, b)| a + b).collect()
        });
        let mut x: Rows = embedded.collect();
        for layer in 0..layers {
            let layer = format!("model.decoder.layers.{layer}");
            let own = format!("{layer}.self_attn");
            let norm = self.layer_norm(&format!("{own}_layer_norm"), &x);
            x = sum(&x, &self.attention(&own, self.decoder_heads, &norm, &norm, true));
            let cross = format!("{layer}.encoder_attn");
            let norm = self.layer_norm(&format!("{cross}_layer_norm"), &x);
            x = sum(&x, &self.attention(&cross, self.decoder_heads, &norm, audio, false));
            x = sum(&x, &self.feed_forward(&layer, &x));
        }
        let x = self.layer_norm("model.decoder.layer_norm", &x);
        let own = self.model.contains_key("proj_out.weight");
        let matrix = if own { "proj_out.weight" } else { "model.decoder.embed_tokens.weight" };
        let rows: Rows = (0..self.tensor(matrix).0[0]).map(|i| self.row(matrix, i)).collect();
        x.iter().map(|x| rows.iter().map(|row| dot(row, x)).collect()).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sum(a: &Rows, b: &Rows) -> Rows {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect()).collect()
}

fn gelu(x: f64) -> f64 {
    x * (1.0 + erf(x / std::f64::consts::SQRT_2)) / 2.0
}

/// `2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (2n+1)!!`, whose terms all have one sign.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    sum * (-x * x).exp() * 2.0 / std::f64::consts::PI.sqrt()
}

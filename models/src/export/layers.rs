//! Whisper's layers in plain ONNX operators, in the forms that ONNX Runtime and the execution provider know how to
//! fuse: the same as PyTorch's exporter writes, without its arithmetic on shapes.

use super::{
    data::Layout,
    graph::{Attribute, Builder},
    proto::TensorProto,
};
use crate::weights::ConvertError;

/// Whisper's, in every layer norm.
const EPSILON: f32 = 1e-5;

/// What is between the four linear layers of an attention: where its keys and values come from, and where they go.
pub(super) enum Cache<'n> {
    /// They are computed, and used here only.
    None,
    /// They are computed, and given out under these names.
    Out { key: &'n str, value: &'n str },
    /// They are computed, appended to inputs, and given out.
    Append { past_key: &'n str, past_value: &'n str, key: &'n str, value: &'n str },
    /// They are inputs.
    In { key: &'n str, value: &'n str },
}

/// Sizes and operands of an attention.
pub(super) struct Attention<'n> {
    /// Path of the module in the model, which is that of its tensors.
    pub(super) path: &'n str,
    pub(super) heads: usize,
    /// Queries come from it, `[batch, length, width]`.
    pub(super) x: &'n str,
    /// Keys and values do.
    pub(super) memory: &'n str,
    /// Added to the scores.
    pub(super) mask: Option<&'n str>,
    pub(super) cache: Cache<'n>,
}

impl Builder<'_, '_> {
    /// Name of a node in a module.
    fn at(path: &str, name: &str) -> String {
        format!("/{}/{name}", path.replace('.', "/").replace("/layers/", "/layers."))
    }

    /// `x · w + bias`.
    pub(super) fn linear(&mut self, path: &str, x: &str, bias: bool) -> Result<String, ConvertError> {
        let weight = self.weight(&format!("{path}.weight"), Layout::Transposed)?;
        let product = self.node("MatMul", &Self::at(path, "MatMul"), &[x, &weight], Vec::new());
        if !bias {
            return Ok(product);
        }
        let bias = self.weight(&format!("{path}.bias"), Layout::Plain)?;
        Ok(self.node("Add", &Self::at(path, "Add"), &[&bias, &product], Vec::new()))
    }

    pub(super) fn layer_norm(&mut self, path: &str, x: &str) -> Result<String, ConvertError> {
        self.layer_norm_to(path, x, &format!("{}_output_0", Self::at(path, "LayerNormalization")))
    }

    /// A layer norm whose result has a name of its own.
    pub(super) fn layer_norm_to(&mut self, path: &str, x: &str, to: &str) -> Result<String, ConvertError> {
        let gain = self.weight(&format!("{path}.weight"), Layout::Plain)?;
        let bias = self.weight(&format!("{path}.bias"), Layout::Plain)?;
        let attributes = vec![("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(EPSILON))];
        let name = Self::at(path, "LayerNormalization");
        Ok(self.node_to("LayerNormalization", &name, &[x, &gain, &bias], attributes, to))
    }

    /// `x · (1 + erf(x / √2)) / 2`.
    pub(super) fn gelu(&mut self, path: &str, x: &str) -> String {
        let root = self.scalar("root_of_two", std::f32::consts::SQRT_2);
        let one = self.scalar("one", 1.0);
        let half = self.scalar("half", 0.5);
        let divided = self.node("Div", &Self::at(path, "gelu/Div"), &[x, &root], Vec::new());
        let erf = self.node("Erf", &Self::at(path, "gelu/Erf"), &[&divided], Vec::new());
        let sum = self.node("Add", &Self::at(path, "gelu/Add"), &[&erf, &one], Vec::new());
        let product = self.node("Mul", &Self::at(path, "gelu/Mul"), &[x, &sum], Vec::new());
        self.node("Mul", &Self::at(path, "gelu/Mul_1"), &[&product, &half], Vec::new())
    }

    /// A convolution over three frames, and GELU.
    pub(super) fn convolution(&mut self, path: &str, x: &str, stride: i64) -> Result<String, ConvertError> {
        let weight = self.weight(&format!("{path}.weight"), Layout::Plain)?;
        let bias = self.weight(&format!("{path}.bias"), Layout::Plain)?;
        let attributes = vec![
            ("dilations", Attribute::Ints(vec![1])),
            ("group", Attribute::Int(1)),
            ("kernel_shape", Attribute::Ints(vec![3])),
            ("pads", Attribute::Ints(vec![1, 1])),
            ("strides", Attribute::Ints(vec![stride])),
        ];
        let convolved = self.node("Conv", &Self::at(path, "Conv"), &[x, &weight, &bias], attributes);
        Ok(self.gelu(path, &convolved))
    }

    pub(super) fn transpose(&mut self, name: &str, x: &str, perm: [i64; 4]) -> String {
        self.node("Transpose", name, &[x], vec![("perm", Attribute::Ints(perm.to_vec()))])
    }

    /// Norm, attention, residual.
    pub(super) fn attention_block(&mut self, attention: Attention<'_>) -> Result<String, ConvertError> {
        let residual = attention.x;
        let norm = self.layer_norm(&format!("{}_layer_norm", attention.path), attention.x)?;
        // Self-attention: the memory is the normed input too.
        let memory = if attention.memory == attention.x { norm.clone() } else { attention.memory.to_owned() };
        let name = Self::at(attention.path, "residual/Add");
        let out = self.attention(Attention { x: &norm, memory: &memory, ..attention })?;
        Ok(self.node("Add", &name, &[residual, &out], Vec::new()))
    }

    fn attention(&mut self, attention: Attention<'_>) -> Result<String, ConvertError> {
        let Attention { path, heads, x, memory, mask, cache } = attention;
        let width = self.checkpoint.dimensions.width;
        let head = width / heads;
        let at = |name: &str| Self::at(path, name);
        // Zero is the axis of the operand.
        let split = self.sizes(&format!("split_in_{heads}_heads"), &[0, 0, heads as i64, head as i64]);
        let joined = self.sizes("join_heads", &[0, 0, width as i64]);
        let q = self.linear(&format!("{path}.q_proj"), x, true)?;
        let scale = self.scalar("scale_of_scores", (head as f32).powf(-0.5));
        let q = self.node("Mul", &at("scale/Mul"), &[&q, &scale], Vec::new());
        let q = self.node("Reshape", &at("q/Reshape"), &[&q, &split], Vec::new());
        let q = self.transpose(&at("q/Transpose"), &q, [0, 2, 1, 3]);
        let (k, v) = match cache {
            Cache::In { key, value } => (self.transpose(&at("k/Transpose"), key, [0, 1, 3, 2]), value.to_owned()),
            cache => {
                let k = self.linear(&format!("{path}.k_proj"), memory, false)?;
                let k = self.node("Reshape", &at("k/Reshape"), &[&k, &split], Vec::new());
                let v = self.linear(&format!("{path}.v_proj"), memory, true)?;
                let v = self.node("Reshape", &at("v/Reshape"), &[&v, &split], Vec::new());
                self.keys_and_values(path, &k, &v, &cache)
            }
        };
        let mut scores = self.node("MatMul", &at("scores/MatMul"), &[&q, &k], Vec::new());
        if let Some(mask) = mask {
            scores = self.node("Add", &at("mask/Add"), &[&scores, mask], Vec::new());
        }
        let weights = self.node("Softmax", &at("Softmax"), &[&scores], vec![("axis", Attribute::Int(-1))]);
        let mixed = self.node("MatMul", &at("mix/MatMul"), &[&weights, &v], Vec::new());
        let mixed = self.transpose(&at("mix/Transpose"), &mixed, [0, 2, 1, 3]);
        let mixed = self.node("Reshape", &at("mix/Reshape"), &[&mixed, &joined], Vec::new());
        self.linear(&format!("{path}.out_proj"), &mixed, true)
    }

    /// Keys transposed and values, `[batch, heads, …]`, of what was projected, and by the cache's inputs and outputs.
    fn keys_and_values(&mut self, path: &str, k: &str, v: &str, cache: &Cache<'_>) -> (String, String) {
        let at = |name: &str| Self::at(path, name);
        let swap = || vec![("perm", Attribute::Ints(vec![0, 2, 1, 3]))];
        match *cache {
            Cache::Out { key, value } => {
                self.node_to("Transpose", &at("key/Transpose"), &[k], swap(), key);
                self.node_to("Transpose", &at("value/Transpose"), &[v], swap(), value);
                (self.transpose(&at("k/Transpose"), k, [0, 2, 3, 1]), value.to_owned())
            }
            Cache::Append { past_key, past_value, key, value } => {
                let axis = || vec![("axis", Attribute::Int(-2))];
                let new = self.transpose(&at("key/Transpose"), k, [0, 2, 1, 3]);
                self.node_to("Concat", &at("key/Concat"), &[past_key, &new], axis(), key);
                let new = self.transpose(&at("value/Transpose"), v, [0, 2, 1, 3]);
                self.node_to("Concat", &at("value/Concat"), &[past_value, &new], axis(), value);
                (self.transpose(&at("k/Transpose"), key, [0, 1, 3, 2]), value.to_owned())
            }
            Cache::None | Cache::In { .. } => {
                let transposed = self.transpose(&at("k/Transpose"), k, [0, 2, 3, 1]);
                (transposed, self.transpose(&at("v/Transpose"), v, [0, 2, 1, 3]))
            }
        }
    }

    /// Norm, two linear layers with GELU between them, residual.
    pub(super) fn feed_forward(&mut self, layer: &str, x: &str) -> Result<String, ConvertError> {
        let norm = self.layer_norm(&format!("{layer}.final_layer_norm"), x)?;
        let inner = self.linear(&format!("{layer}.fc1"), &norm, true)?;
        let inner = self.gelu(layer, &inner);
        let out = self.linear(&format!("{layer}.fc2"), &inner, true)?;
        Ok(self.node("Add", &Self::at(layer, "residual/Add"), &[x, &out], Vec::new()))
    }

    /// An axis of a value as a number.
    pub(super) fn size_of(&mut self, name: &str, value: &str, axis: i64) -> String {
        let shape = self.node("Shape", &format!("{name}/Shape"), &[value], Vec::new());
        let axis = self.index(&format!("axis_{axis}"), axis);
        self.node("Gather", &format!("{name}/Gather"), &[&shape, &axis], vec![("axis", Attribute::Int(0))])
    }

    pub(super) const FLOAT: i32 = TensorProto::FLOAT;
    pub(super) const INT64: i32 = TensorProto::INT64;
}

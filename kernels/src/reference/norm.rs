//! Layer norm, soft-max and the activations, slowly and obviously: fp64 inside.

/// `(x − mean) / √(variance + epsilon) · gain + bias` over each row of `width`.
pub fn layer_norm(width: usize, x: &[f32], gain: &[f32], bias: Option<&[f32]>, epsilon: f32) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(width.max(1)) {
        let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / width as f64;
        let variance = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / width as f64;
        for (i, &value) in row.iter().enumerate() {
            let unit = (f64::from(value) - mean) / (variance + f64::from(epsilon)).sqrt();
            out.push((unit * f64::from(gain[i]) + bias.map_or(0.0, |b| f64::from(b[i]))) as f32);
        }
    }
    out
}

/// `exp(x − max) / Σ exp(x − max)` over each row of `width`; NaN where a row is all `-inf`.
pub fn softmax(width: usize, x: &[f32]) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(width.max(1)) {
        let max = row.iter().fold(f64::NEG_INFINITY, |max, &v| max.max(f64::from(v)));
        let sum: f64 = row.iter().map(|&v| (f64::from(v) - max).exp()).sum();
        out.extend(row.iter().map(|&v| ((f64::from(v) - max).exp() / sum) as f32));
    }
    out
}

/// The error function, by its Maclaurin series near 0 and the continued fraction of its complement elsewhere
/// (Abramowitz and Stegun 7.1.6, 7.1.14); exact to about 1e-15.
pub fn erf(x: f64) -> f64 {
    let magnitude = x.abs();
    if magnitude < 3.0 {
        // erf(x) = 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (1·3·…·(2n+1))
        let mut term = x;
        let mut sum = x;
        for n in 1..200 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        return std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum;
    }
    let mut fraction = magnitude;
    for n in (1..100).rev() {
        fraction = magnitude + f64::from(n) / 2.0 / fraction;
    }
    let complement = (-x * x).exp() / fraction / std::f64::consts::PI.sqrt();
    (1.0 - complement).copysign(x)
}

/// GELU by a hyperbolic tangent: `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`.
pub fn gelu_tanh(x: f64) -> f64 {
    x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
}

/// Exact GELU, `x/2 · (1 + erf(x/√2))`.
pub fn gelu(x: f64) -> f64 {
    x / 2.0 * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2))
}

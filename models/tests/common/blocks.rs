//! ggml's files, and its quantised blocks number by number, as its reference functions make and read them
//! (`quantize_row_q*_ref`, `dequantize_row_q*`).

use half::f16;

use super::{AUDIO, DECODER_LAYERS, ENCODER_LAYERS, Kind, MEL_BINS, Model, TOKENS, WIDTH, bytes, openai_name};

/// Kinds of blocks, by ggml's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
}

pub const ALL: [Block; 5] = [Block::Q4_0, Block::Q4_1, Block::Q5_0, Block::Q5_1, Block::Q8_0];

/// 32 numbers as ggml stores them, and what it reads back from them.
pub fn quantise(block: Block, x: &[f32]) -> (Vec<u8>, Vec<f32>) {
    assert_eq!(x.len(), 32);
    let by_size = x.iter().copied().fold(0.0_f32, |most, value| if value.abs() > most.abs() { value } else { most });
    let (least, most) = x.iter().fold((f32::MAX, f32::MIN), |(a, b), value| (a.min(*value), b.max(*value)));
    let round = |value: f32| f16::from_f32(value);
    let (levels, d, m) = match block {
        Block::Q4_0 => (16, by_size / -8.0, None),
        Block::Q5_0 => (32, by_size / -16.0, None),
        Block::Q4_1 => (16, (most - least) / 15.0, Some(least)),
        Block::Q5_1 => (32, (most - least) / 31.0, Some(least)),
        Block::Q8_0 => (256, by_size.abs() / 127.0, None),
    };
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let mut stored = round(d).to_le_bytes().to_vec();
    if let Some(m) = m {
        stored.extend(round(m).to_le_bytes());
    }
    let d = round(d).to_f32();
    if block == Block::Q8_0 {
        let q: Vec<i8> = x.iter().map(|value| (value * inverse).round() as i8).collect();
        stored.extend(q.iter().map(|q| *q as u8));
        return (stored, q.iter().map(|q| f32::from(*q) * d).collect());
    }
    let q: Vec<u32> = x
        .iter()
        .map(|value| match m {
            None => ((value * inverse + levels as f32 / 2.0 + 0.5) as u32).min(levels - 1),
            Some(m) => (((value - m) * inverse + 0.5) as u32).min(levels - 1),
        })
        .collect();
    if levels == 32 {
        let high: u32 = q.iter().enumerate().map(|(j, q)| (q >> 4) << j).sum();
        stored.extend(high.to_le_bytes());
    }
    stored.extend((0..16).map(|j| ((q[j] & 15) | ((q[j + 16] & 15) << 4)) as u8));
    let real = |q: &u32| match m {
        None => (*q as f32 - levels as f32 / 2.0) * d,
        Some(m) => *q as f32 * d + round(m).to_f32(),
    };
    (stored, q.iter().map(real).collect())
}

/// What a file holds of matrices; all else is f32, as `convert-pt-to-ggml.py` and `quantize` leave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matrices {
    F32,
    F16,
    Blocks(Block),
}

/// A whole file, and the model with the values that are in it.
pub fn ggml(model: &Model, tokens: &[Vec<u8>], matrices: Matrices, heads: [u32; 2]) -> (Vec<u8>, Model) {
    let vocabulary = model["model.decoder.embed_tokens.weight"].0[0];
    let kind = match matrices {
        Matrices::F32 => 0,
        Matrices::F16 => 1,
        Matrices::Blocks(block) => 2000 + block as u32,
    };
    let sizes = [
        vocabulary as u32,
        AUDIO as u32,
        WIDTH as u32,
        heads[0],
        ENCODER_LAYERS as u32,
        TOKENS as u32,
        WIDTH as u32,
        heads[1],
        DECODER_LAYERS as u32,
        MEL_BINS as u32,
        kind,
    ];
    let mut file = 0x6767_6d6c_u32.to_le_bytes().to_vec();
    sizes.iter().for_each(|size| file.extend(size.to_le_bytes()));
    // Filters that are not read.
    file.extend([2_u32.to_le_bytes(), 3_u32.to_le_bytes()].concat());
    file.extend(bytes(&[0.5; 6], Kind::F32));
    file.extend((tokens.len() as u32).to_le_bytes());
    for token in tokens {
        file.extend((token.len() as u32).to_le_bytes());
        file.extend(token);
    }
    let mut stored = Model::new();
    for (name, (shape, values)) in model {
        let mut shape = shape.clone();
        if name.starts_with("model.encoder.conv") && name.ends_with("bias") {
            shape.push(1);
        }
        let openai = openai_name(name);
        let narrow = shape.len() > 1 && !name.ends_with("embed_positions.weight") && !name.ends_with("bias");
        let (kind, data, read): (u32, Vec<u8>, Vec<f32>) = match matrices {
            Matrices::F16 if narrow => (1, bytes(values, Kind::F16), values.clone()),
            Matrices::Blocks(block) if narrow && shape.len() == 2 => {
                let blocks: Vec<_> = values.chunks(32).map(|x| quantise(block, x)).collect();
                let (data, read): (Vec<_>, Vec<_>) = blocks.into_iter().unzip();
                (block as u32, data.concat(), read.concat())
            }
            _ => (0, bytes(values, Kind::F32), values.clone()),
        };
        for number in [shape.len() as u32, openai.len() as u32, kind] {
            file.extend(number.to_le_bytes());
        }
        shape.iter().rev().for_each(|size| file.extend((*size as u32).to_le_bytes()));
        file.extend(openai.as_bytes());
        file.extend(data);
        stored.insert(name.clone(), (model[name].0.clone(), read));
    }
    (file, stored)
}

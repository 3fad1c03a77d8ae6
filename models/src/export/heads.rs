//! Attention heads that follow the audio in OpenAI's models, `[layer, head]`: what word times are read from.
//! Source: openai/whisper, `_ALIGNMENT_HEADS`, as whisper.cpp and the models' `generation_config.json` write them out.

use std::path::Path;

use crate::weights::Dimensions;

/// The heads of OpenAI's model that has this width, these numbers of encoder and decoder layers, and these mel bins;
/// `None` for sizes that are not OpenAI's, and for those of `large-v1` and `large-v2`, which are the same.
pub fn alignment_heads(sizes: [usize; 4], english: bool) -> Option<Vec<[usize; 2]>> {
    let heads = table(sizes, english, "")?;
    Some(heads.iter().map(|head| head.map(|number| number as usize)).collect())
}

/// The heads of the published model that has these sizes; `None` for a size that is not OpenAI's. The two large ones of
/// 80 mel bins differ only in their weights: which it is must be in the name of the file.
pub(super) fn known(sizes: &Dimensions, english: bool, path: &Path) -> Option<Vec<[u32; 2]>> {
    let of = [sizes.width, sizes.encoder_layers, sizes.decoder_layers, sizes.mel_bins];
    table(of, english, &path.to_string_lossy()).map(<[_]>::to_vec)
}

fn table(sizes: [usize; 4], english: bool, name: &str) -> Option<&'static [[u32; 2]]> {
    let [width, encoder_layers, decoder_layers, mel_bins] = sizes;
    #[rustfmt::skip] // several to a line
    let heads: &[[u32; 2]] = match (width, encoder_layers, decoder_layers, english) {
        (384, 4, 4, true) => &[[1, 0], [2, 0], [2, 5], [3, 0], [3, 1], [3, 2], [3, 3], [3, 4]],
        (384, 4, 4, false) => &[[2, 2], [3, 0], [3, 2], [3, 3], [3, 4], [3, 5]],
        (512, 6, 6, true) => &[[3, 3], [4, 7], [5, 1], [5, 5], [5, 7]],
        (512, 6, 6, false) => &[[3, 1], [4, 2], [4, 3], [4, 7], [5, 1], [5, 2], [5, 4], [5, 6]],
        (768, 12, 12, true) => &[
            [6, 6], [7, 0], [7, 3], [7, 8], [8, 2], [8, 5], [8, 7], [9, 0], [9, 4], [9, 8], [9, 10], [10, 0],
            [10, 1], [10, 2], [10, 3], [10, 6], [10, 11], [11, 2], [11, 4],
        ],
        (768, 12, 12, false) => &[[5, 3], [5, 9], [8, 0], [8, 4], [8, 7], [8, 8], [9, 0], [9, 7], [9, 9], [10, 5]],
        (1024, 24, 24, true) => &[
            [11, 4], [14, 1], [14, 12], [14, 14], [15, 4], [16, 0], [16, 4], [16, 9], [17, 12], [17, 14], [18, 7],
            [18, 10], [18, 15], [20, 0], [20, 3], [20, 9], [20, 14], [21, 12],
        ],
        (1024, 24, 24, false) => &[[13, 15], [15, 4], [15, 15], [16, 1], [20, 0], [23, 4]],
        (1280, 32, 4, false) => &[[2, 4], [2, 11], [3, 3], [3, 6], [3, 11], [3, 14]],
        (1280, 32, 32, false) if mel_bins == 128 => {
            &[[7, 0], [10, 17], [12, 18], [13, 12], [16, 1], [17, 14], [19, 11], [21, 4], [24, 1], [25, 6]]
        }
        (1280, 32, 32, false) if name.contains("large-v1") => {
            &[[9, 19], [11, 2], [11, 4], [11, 17], [22, 7], [22, 11], [22, 17], [23, 2], [23, 15]]
        }
        (1280, 32, 32, false) if name.contains("large-v2") => &[
            [10, 12], [13, 17], [16, 11], [16, 12], [16, 13], [17, 15], [17, 16], [18, 4], [18, 11], [18, 19],
            [19, 11], [21, 2], [21, 3], [22, 3], [22, 9], [22, 12], [23, 5], [23, 7], [23, 13], [25, 5], [26, 1],
            [26, 12], [27, 15],
        ],
        _ => return None,
    };
    Some(heads)
}

//! The small files beside the graphs: configurations as optimum's folders have them. What the source has is taken over;
//! what it has not is as OpenAI's models of the kind have it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{heads, tokenizer};
use crate::{
    vocabulary::{LANGUAGES, Vocabulary},
    weights::{Checkpoint, ConvertError},
};

/// All of them, by name.
pub(super) fn all(checkpoint: &Checkpoint) -> Result<BTreeMap<String, Vec<u8>>, ConvertError> {
    let mut files = checkpoint.details.files.clone();
    let sizes = checkpoint.dimensions;
    let vocabulary = Vocabulary::of(sizes.vocabulary, sizes.mel_bins);
    let has_tokenizer =
        files.contains_key("tokenizer.json") || (files.contains_key("vocab.json") && files.contains_key("merges.txt"));
    if vocabulary.is_none() && !has_tokenizer {
        let reason = format!(
            "it has {} token ids, which is no vocabulary of OpenAI's (51864 to 51866), and no tokenizer.json",
            sizes.vocabulary
        );
        return Err(ConvertError::not_whisper(&checkpoint.path, reason));
    }
    match files.get("tokenizer.json") {
        Some(file) => {
            if let Some(mended) = tokenizer::mended(file) {
                tracing::debug!("tokenizer.json lacked its first merge");
                files.insert("tokenizer.json".to_owned(), mended);
            }
        }
        None if has_tokenizer => {}
        None => {
            let own = checkpoint.details.vocabulary.as_deref();
            let made = vocabulary.map(|vocabulary| tokenizer::tokenizer(vocabulary, own));
            files.extend(made.map(|made| ("tokenizer.json".to_owned(), made)));
        }
    }
    let mut make = |name: &str, contents: Value| {
        files.entry(name.to_owned()).or_insert_with(|| format!("{contents:#}\n").into_bytes());
    };
    make("config.json", config(checkpoint, vocabulary));
    // A model with a vocabulary of its own has the steering tokens in its tokenizer.
    if let Some(vocabulary) = vocabulary {
        make("generation_config.json", generation(checkpoint, vocabulary));
    }
    make("preprocessor_config.json", preprocessor(sizes.mel_bins));
    Ok(files)
}

fn config(checkpoint: &Checkpoint, vocabulary: Option<Vocabulary>) -> Value {
    let sizes = checkpoint.dimensions;
    let mut config = json!({
        "activation_dropout": 0.0,
        "activation_function": "gelu",
        "architectures": ["WhisperForConditionalGeneration"],
        "attention_dropout": 0.0,
        "d_model": sizes.width,
        "decoder_attention_heads": sizes.decoder_heads,
        "decoder_ffn_dim": sizes.decoder_inner,
        "decoder_layerdrop": 0.0,
        "decoder_layers": sizes.decoder_layers,
        "dropout": 0.0,
        "encoder_attention_heads": sizes.encoder_heads,
        "encoder_ffn_dim": sizes.encoder_inner,
        "encoder_layerdrop": 0.0,
        "encoder_layers": sizes.encoder_layers,
        "init_std": 0.02,
        "is_encoder_decoder": true,
        "max_source_positions": sizes.encoder_positions,
        "max_target_positions": sizes.decoder_positions,
        "model_type": "whisper",
        "num_hidden_layers": sizes.encoder_layers,
        "num_mel_bins": sizes.mel_bins,
        "scale_embedding": false,
        "tie_word_embeddings": !checkpoint.has_own_projection(),
        "use_cache": true,
        "vocab_size": sizes.vocabulary,
    });
    if let Some(vocabulary) = vocabulary {
        config["begin_suppress_tokens"] = json!(vocabulary.suppressed_first());
        config["decoder_start_token_id"] = json!(vocabulary.sot());
        for name in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            config[name] = json!(vocabulary.eot());
        }
    }
    config
}

fn generation(checkpoint: &Checkpoint, vocabulary: Vocabulary) -> Value {
    let details = &checkpoint.details;
    let sizes = checkpoint.dimensions;
    let mut generation = json!({
        "begin_suppress_tokens":
            details.begin_suppress_tokens.clone().unwrap_or_else(|| vocabulary.suppressed_first()),
        "bos_token_id": vocabulary.eot(),
        "decoder_start_token_id": vocabulary.sot(),
        "eos_token_id": vocabulary.eot(),
        "is_multilingual": vocabulary.multilingual,
        "max_initial_timestamp_index": 50,
        "max_length": sizes.decoder_positions,
        "no_timestamps_token_id": vocabulary.notimestamps(),
        "pad_token_id": vocabulary.eot(),
        "prev_sot_token_id": vocabulary.startofprev(),
        "return_timestamps": false,
        "suppress_tokens": details.suppress_tokens.clone().unwrap_or_else(|| vocabulary.suppressed()),
    });
    let known = || heads::known(&sizes, !vocabulary.multilingual, &checkpoint.path);
    if let Some(heads) = details.alignment_heads.clone().or_else(known) {
        generation["alignment_heads"] = json!(heads);
    }
    if vocabulary.multilingual {
        let languages = LANGUAGES.iter().take(vocabulary.languages).enumerate();
        generation["lang_to_id"] =
            languages.map(|(i, (code, _))| (format!("<|{code}|>"), json!(vocabulary.language(i)))).collect::<Value>();
        generation["task_to_id"] = json!({"transcribe": vocabulary.transcribe(), "translate": vocabulary.translate()});
    }
    generation
}

/// Features for 30 s at 16 kHz (openai/whisper, `audio.py`).
fn preprocessor(mel_bins: usize) -> Value {
    json!({
        "chunk_length": 30,
        "dither": 0.0,
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": mel_bins,
        "hop_length": 160,
        "n_fft": 400,
        "n_samples": 480_000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "processor_class": "WhisperProcessor",
        "return_attention_mask": false,
        "sampling_rate": 16_000,
    })
}

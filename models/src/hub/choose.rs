//! Which of a repository's files are needed: one set of ONNX graphs where there is one, else one kind of weights, and
//! the small files that the runner or the converter reads. Never all that is there: repositories hold the same model
//! many times.

/// Ends of graphs' names that tell how the weights are stored, in the order in which they are preferred.
pub const SUFFIXES: [&str; 9] = ["", "_fp16", "_quantized", "_int8", "_uint8", "_q4", "_q4f16", "_bnb4", "_q8"];

/// Folders in which graphs stand.
const FOLDERS: [&str; 2] = ["", "onnx/"];

/// Files that are read where they are there, in the order in which they are fetched.
const SMALL: [&str; 12] = [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "normalizer.json",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "vocabulary.json",
    "vocabulary.txt",
];

/// Small files that `tokenizer.json` makes needless.
const REPLACED: [&str; 4] = ["vocab.json", "merges.txt", "vocabulary.json", "vocabulary.txt"];

/// What is wished for among a repository's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish<'a> {
    /// ONNX graphs where there are some, else weights.
    Best,
    /// ONNX graphs of a variant: one suffix (`fp16`), or one for each graph (`encoder=fp16,decoder=q4`).
    Variant(&'a str),
    /// Weights, to be converted.
    Weights,
    /// The weights in this file, to be converted.
    File(&'a str),
}

impl<'a> From<Option<&'a str>> for Wish<'a> {
    fn from(variant: Option<&'a str>) -> Self {
        variant.map_or(Self::Best, Self::Variant)
    }
}

/// What is needed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Files, small ones first.
    pub(crate) files: Vec<String>,
    /// Whether they have graphs.
    pub(crate) is_onnx: bool,
}

/// The needed files of `listing`.
///
/// # Errors
/// What is lacking, in words.
pub(crate) fn choose(listing: &[String], wish: Wish<'_>) -> Result<Choice, String> {
    let has = |name: &str| listing.iter().any(|file| file == name);
    let graphs = match wish {
        Wish::Best => graphs(listing, None),
        Wish::Variant(words) => graphs(listing, Some(words)),
        Wish::Weights | Wish::File(_) => None,
    };
    let (large, is_onnx) = match graphs {
        Some(graphs) => {
            // What a graph keeps outside is known for sure when it is there; these names are usual.
            let beside = |file: &&String| {
                graphs.iter().any(|g| file.starts_with(&format!("{g}_data")) || file.starts_with(&format!("{g}.data")))
            };
            (graphs.iter().chain(listing.iter().filter(beside)).cloned().collect::<Vec<_>>(), true)
        }
        None => {
            match (weights(listing), wish) {
                (_, Wish::File(file)) if has(file) => (vec![file.to_owned()], false),
                (_, Wish::File(file)) => {
                    let others: Vec<&str> =
                        listing.iter().filter(|other| is_weights(other)).map(String::as_str).collect();
                    let others = if others.is_empty() { "none".into() } else { others.join(", ") };
                    return Err(format!("{file} (its files of weights: {others})"));
                }
                (_, Wish::Variant(word)) => {
                    return Err(format!("ONNX graphs of the variant '{word}' (an encoder with its decoder)"));
                }
                (Some(files), _) => (files, false),
                (None, Wish::Best | Wish::Weights) if listing.iter().any(|file| is_alone(file)) => {
                    let files: Vec<&str> = listing.iter().filter(|f| is_alone(f)).map(String::as_str).collect();
                    return Err(format!(
                        "a file that is meant where none is named: name one behind a colon, as in owner/name:{} (there are {})",
                        files[0],
                        files.join(", ")
                    ));
                }
                (None, Wish::Best) => {
                    return Err("an encoder_model.onnx with its decoder, and model.safetensors, model.bin and other known weights".into());
                }
                (None, Wish::Weights) => return Err("model.safetensors, model.bin and other known weights".into()),
            }
        }
    };
    // ggml files, and OpenAI's own, hold everything.
    let alone = large.iter().all(|file| is_alone(file));
    if !alone && !has("config.json") {
        return Err("config.json".into());
    }
    let replaced = |name: &str| has("tokenizer.json") && REPLACED.contains(&name);
    let words = has("tokenizer.json") || (has("vocab.json") && has("merges.txt"));
    // A CTranslate2 folder may have its own list of words in their place; whether that is enough, the converter says.
    let listed = !is_onnx && (has("vocabulary.json") || has("vocabulary.txt"));
    if !(alone || words || listed) {
        return Err("tokenizer.json".into());
    }
    let small = SMALL.iter().filter(|name| has(name) && !replaced(name) && !alone);
    let files = small.map(|name| (*name).to_owned()).chain(large).collect();
    Ok(Choice { files, is_onnx })
}

/// One set of graphs: an encoder, and a decoder split, merged, or without a cache.
fn graphs(listing: &[String], variant: Option<&str>) -> Option<Vec<String>> {
    let has = |name: &String| listing.contains(name);
    let sets: Vec<(String, String)> = match variant {
        None => SUFFIXES.iter().map(|suffix| ((*suffix).to_owned(), (*suffix).to_owned())).collect(),
        Some(words) => vec![(suffix_of(words, "encoder"), suffix_of(words, "decoder"))],
    };
    let decoders: [&[&str]; 3] =
        [&["decoder_model", "decoder_with_past_model"], &["decoder_model_merged"], &["decoder_model"]];
    // Without a cache decoding is slow: any set with one comes first.
    for decoders in [&decoders[..2], &decoders[2..]] {
        for (encoder, decoder) in &sets {
            for folder in FOLDERS {
                for names in decoders {
                    let encoder = format!("{folder}encoder_model{encoder}.onnx");
                    let decoders = names.iter().map(|name| format!("{folder}{name}{decoder}.onnx"));
                    let graphs: Vec<String> = std::iter::once(encoder).chain(decoders).collect();
                    if graphs.iter().all(has) {
                        return Some(graphs);
                    }
                }
            }
        }
    }
    None
}

/// The end of the names of `graph` that a variant means.
fn suffix_of(variant: &str, graph: &str) -> String {
    let named = variant.split(',').find_map(|part| part.trim().strip_prefix(graph)?.strip_prefix('='));
    let word = match named {
        Some(word) => word,
        None if variant.contains('=') => "",
        None => variant,
    };
    match word.trim().trim_start_matches('_') {
        "" | "f32" | "fp32" => String::new(),
        "q8" => "_quantized".to_owned(),
        word => format!("_{word}"),
    }
}

/// One kind of weights, the one that is read soonest and has the fewest bytes where there is a choice.
fn weights(listing: &[String]) -> Option<Vec<String>> {
    let has = |name: &str| listing.iter().any(|file| file == name);
    let only = |end: &str| {
        let mut found = listing.iter().filter(|file| file.ends_with(end) && !file.contains('/'));
        found.next().filter(|_| found.next().is_none())
    };
    for whole in ["model.safetensors", "model.bin"] {
        if has(whole) {
            return Some(vec![whole.to_owned()]);
        }
    }
    for (index, first, end) in [
        ("model.safetensors.index.json", "model-", ".safetensors"),
        ("pytorch_model.bin.index.json", "pytorch_model-", ".bin"),
    ] {
        if index.starts_with("pytorch") && has("pytorch_model.bin") {
            return Some(vec!["pytorch_model.bin".to_owned()]);
        }
        if has(index) {
            let shards = listing.iter().filter(|file| file.starts_with(first) && file.ends_with(end));
            return Some(std::iter::once(index.to_owned()).chain(shards.cloned()).collect());
        }
    }
    [".safetensors", ".pt", ".bin"].iter().find_map(|end| only(end)).map(|file| vec![file.clone()])
}

fn is_weights(file: &str) -> bool {
    super::WEIGHTS.iter().any(|end| file.ends_with(end))
}

/// Whether a file of weights holds the configuration and the words too.
fn is_alone(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.ends_with(".pt") || (name.starts_with("ggml") && name.ends_with(".bin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The large files that are chosen.
    fn large(names: &[&str], variant: Option<&str>) -> Result<Vec<String>, String> {
        let listing = list(&[&["config.json", "tokenizer.json", "README.md"], names].concat());
        let choice = choose(&listing, variant.into())?;
        assert!(!choice.files.contains(&"README.md".to_owned()));
        Ok(choice.files.into_iter().filter(|file| !SMALL.contains(&file.as_str())).collect())
    }

    const HUB: [&str; 8] = [
        "onnx/decoder_model.onnx",
        "onnx/decoder_model_merged.onnx",
        "onnx/decoder_with_past_model.onnx",
        "onnx/encoder_model.onnx",
        "onnx/encoder_model.onnx_data",
        "onnx/encoder_model_fp16.onnx",
        "onnx/decoder_model_merged_fp16.onnx",
        "model.safetensors",
    ];

    #[test]
    fn split_comes_before_merged_and_external_weights_with_their_graph() {
        let split =
            ["encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx", "encoder_model.onnx_data"];
        assert_eq!(large(&HUB, None).unwrap(), split.map(|name| format!("onnx/{name}")));
        let fp16 = ["onnx/encoder_model_fp16.onnx", "onnx/decoder_model_merged_fp16.onnx"];
        assert_eq!(large(&HUB, Some("fp16")).unwrap(), fp16);
        let mixed = ["onnx/encoder_model.onnx", "onnx/decoder_model_merged_fp16.onnx", "onnx/encoder_model.onnx_data"];
        assert_eq!(large(&HUB, Some("encoder=f32,decoder=fp16")).unwrap(), mixed);
        assert_eq!(large(&HUB, Some("decoder=fp16")).unwrap(), mixed);
        assert!(large(&HUB, Some("q4")).unwrap_err().contains("q4"));
        let q8 = ["encoder_model_quantized.onnx", "decoder_model_merged_quantized.onnx"];
        assert_eq!(large(&q8, Some("q8")).unwrap(), q8);
    }

    #[test]
    fn a_decoder_without_a_cache_is_the_last_choice_among_graphs() {
        let names =
            ["encoder_model.onnx", "decoder_model.onnx", "encoder_model_int8.onnx", "decoder_model_merged_int8.onnx"];
        assert_eq!(large(&names, None).unwrap(), names[2..]);
        assert_eq!(large(&names[..2], None).unwrap(), names[..2]);
        assert_eq!(
            large(&["encoder_model.onnx", "decoder_model.onnx.data", "model.safetensors"], None).unwrap(),
            ["model.safetensors"]
        );
    }

    #[test]
    fn of_weights_one_kind_is_taken() {
        let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        let index = "model.safetensors.index.json";
        let others = ["flax_model.msgpack", "tf_model.h5", "pytorch_model.bin", "model.fp32.safetensors"];
        let sharded = [&[index], &shards[..], &others].concat();
        assert_eq!(large(&sharded, None).unwrap(), [index, shards[0], shards[1]]);
        assert_eq!(large(&[&["model.safetensors"], &others[..]].concat(), None).unwrap(), ["model.safetensors"]);
        assert_eq!(large(&others[..3], None).unwrap(), ["pytorch_model.bin"]);
        let both = list(&[&HUB[..], &["config.json", "tokenizer.json"]].concat());
        assert_eq!(choose(&both, Wish::Weights).unwrap().files, ["config.json", "tokenizer.json", "model.safetensors"]);
        assert_eq!(large(&["model.bin", "vocabulary.txt"], None).unwrap(), ["model.bin"]);
        let bare = list(&["config.json", "model.bin", "vocabulary.txt"]);
        assert_eq!(choose(&bare, Wish::Best).unwrap().files, ["config.json", "vocabulary.txt", "model.bin"]);
        assert!(large(&["tf_model.h5"], None).unwrap_err().contains("encoder_model.onnx"));
    }

    #[test]
    fn small_files_come_first_and_none_twice() {
        let listing = list(&["merges.txt", "vocab.json", "tokenizer.json", "model.safetensors", "config.json"]);
        assert_eq!(choose(&listing, Wish::Best).unwrap().files, ["config.json", "tokenizer.json", "model.safetensors"]);
        let old = list(&["merges.txt", "vocab.json", "model.safetensors", "config.json"]);
        assert_eq!(
            choose(&old, Wish::Best).unwrap().files,
            ["config.json", "vocab.json", "merges.txt", "model.safetensors"]
        );
        for lacking in ["config.json", "tokenizer.json"] {
            let rest: Vec<_> =
                listing.iter().filter(|file| *file != lacking && *file != "vocab.json").cloned().collect();
            assert_eq!(choose(&rest, Wish::Best).unwrap_err(), lacking);
        }
        let ggml = list(&["ggml-base.bin", "README.md"]);
        assert_eq!(choose(&ggml, Wish::Best), Ok(Choice { files: list(&["ggml-base.bin"]), is_onnx: false }));
    }

    #[test]
    fn one_file_of_many_is_the_named_one() {
        let many = list(&["README.md", "ggml-base.bin", "ggml-tiny.en.bin", "old/ggml-base.bin"]);
        for file in ["ggml-base.bin", "old/ggml-base.bin"] {
            assert_eq!(choose(&many, Wish::File(file)).unwrap().files, [file]);
        }
        let lacking = choose(&many, Wish::File("ggml-small.bin")).unwrap_err();
        assert!(lacking.starts_with("ggml-small.bin") && lacking.contains("ggml-tiny.en.bin"), "{lacking}");
        let which = choose(&many, Wish::Best).unwrap_err();
        assert!(which.contains("owner/name:ggml-base.bin") && which.contains("ggml-tiny.en.bin"), "{which}");
        let beside = list(&["config.json", "tokenizer.json", "model.safetensors", "other.safetensors"]);
        let files = ["config.json", "tokenizer.json", "other.safetensors"];
        assert_eq!(choose(&beside, Wish::File("other.safetensors")).unwrap().files, files);
    }
}

//! Which files of a directory make a model: graphs of optimum's names, with any mixture of suffixes, or of the names of
//! other exporters; and a tokenizer's.

use super::variants::{candidates, word};
use super::{DecoderFiles, Layout, VARIANTS, Variants};
use std::path::{Path, PathBuf};

/// The folders in which graphs stand, relative to the model's directory.
pub(crate) const FOLDERS: [&str; 2] = ["", "onnx"];

/// Main files of tokenizers: one of them, with the files that belong to it, is enough.
pub(crate) const TOKENIZERS: [&str; 2] = ["tokenizer.json", "vocab.json"];
/// Ends of the names of lists of tokens in base64 with their numbers: sherpa-onnx's, and openai/whisper's own.
const TOKEN_LISTS: [&str; 2] = ["tokens.txt", ".tiktoken"];

/// Whether a directory has the files of a tokenizer.
pub(super) fn has_tokenizer(directory: &Path) -> bool {
    TOKENIZERS.iter().any(|name| directory.join(name).is_file()) || token_list(directory).is_some()
}

/// The first list of tokens in a directory.
pub(crate) fn token_list(directory: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).ok()?.flatten();
    let is_list = |name: &str| TOKEN_LISTS.iter().any(|end| name.ends_with(end));
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_list)).map(|entry| entry.path()).min()
}

/// The graphs of a model.
pub(super) struct Graphs {
    pub(super) encoder: PathBuf,
    pub(super) decoder: DecoderFiles,
    /// Suffixes of the encoder and of the decoder.
    pub(super) suffixes: [String; 2],
}

/// A graph of optimum's name with a suffix.
pub(super) fn graph(directory: &Path, name: &str, suffix: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| directory.join(folder).join(format!("{name}{suffix}.onnx"))).find(|p| p.is_file())
}

/// Whether there is any graph at all.
pub(super) fn has_graphs(directory: &Path) -> bool {
    let entries = FOLDERS.iter().filter_map(|folder| std::fs::read_dir(directory.join(folder)).ok()).flatten();
    entries.flatten().any(|entry| entry.path().extension().is_some_and(|extension| extension == "onnx"))
}

/// Finds the graphs that serve a wish best: with a cache before without, of one suffix before a mixture, optimum's
/// names before others.
pub(super) fn find(directory: &Path, wish: &Variants, layout: Option<Layout>) -> Option<Graphs> {
    // Without a wish, an unknown suffix serves too, last.
    let suffixes = |wish: Option<&str>| {
        let mut all = candidates(wish);
        let others = named(directory, "encoder").into_iter().map(|named| named.suffix);
        all.extend(others.filter(|suffix| wish.is_none() && !VARIANTS.contains(&suffix.as_str())));
        all
    };
    let encoders: Vec<(String, PathBuf)> = suffixes(wish.encoder.as_deref())
        .into_iter()
        .filter_map(|suffix| Some((suffix.clone(), graph(directory, "encoder_model", &suffix)?)))
        .collect();
    let decoders = |make: &dyn Fn(&str) -> Option<DecoderFiles>| -> Vec<(String, DecoderFiles)> {
        let all = suffixes(wish.decoder.as_deref()).into_iter();
        all.filter_map(|suffix| Some((suffix.clone(), make(&suffix)?))).collect()
    };
    let split = |suffix: &str| {
        let first = graph(directory, "decoder_model", suffix)?;
        Some(DecoderFiles::Split { first, with_past: graph(directory, "decoder_with_past_model", suffix)? })
    };
    let merged = |suffix: &str| graph(directory, "decoder_model_merged", suffix).map(DecoderFiles::Merged);
    let cached = |suffix: &str| match layout {
        Some(Layout::Split) => split(suffix),
        Some(Layout::Merged) => merged(suffix),
        None => split(suffix).or_else(|| merged(suffix)),
    };
    // Who asks for one graph's suffix leaves the other's to the order of preference.
    let alike = wish.encoder.is_none() == wish.decoder.is_none();
    if let Some(found) = together(&encoders, &decoders(&cached), alike) {
        return Some(found);
    }
    if layout.is_some() {
        return None;
    }
    let alone = |suffix: &str| graph(directory, "decoder_model", suffix).map(DecoderFiles::Alone);
    together(&encoders, &decoders(&alone), alike).or_else(|| of_other_names(directory, wish, alike))
}

/// The first encoder that has a decoder of its suffix, if they are to be alike; else the first of each.
fn together(encoders: &[(String, PathBuf)], decoders: &[(String, DecoderFiles)], alike: bool) -> Option<Graphs> {
    let same = encoders.iter().filter(|_| alike).find_map(|encoder| {
        let decoder = decoders.iter().find(|decoder| decoder.0 == encoder.0)?;
        Some((encoder, decoder))
    });
    let (encoder, decoder) = same.or_else(|| Some((encoders.first()?, decoders.first()?)))?;
    let suffixes = [encoder.0.clone(), decoder.0.clone()];
    Some(Graphs { encoder: encoder.1.clone(), decoder: decoder.1.clone(), suffixes })
}

/// A graph of another exporter's name: `tiny.en-encoder.int8.onnx`, `whisper-tiny_encoder.onnx`, `encoder.onnx`.
struct Named {
    path: PathBuf,
    /// What stands before `encoder` or `decoder`, its folder included.
    before: PathBuf,
    /// What stands after it, as a suffix.
    suffix: String,
}

fn named(directory: &Path, part: &str) -> Vec<Named> {
    let mut found = Vec::new();
    for folder in FOLDERS.map(|folder| directory.join(folder)) {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        // A pipe would be waited for.
        let is_graph = |path: &PathBuf| path.extension().is_some_and(|e| e == "onnx") && path.is_file();
        for path in entries.map(|entry| entry.path()).filter(is_graph) {
            let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
            // Graphs of several parts have both words.
            let Some((before, after)) = stem.split_once(part).filter(|_| stem.matches("coder").count() == 1) else {
                continue;
            };
            let after = after.trim_start_matches(['_', '-', '.']);
            let after = after.strip_prefix("model").unwrap_or(after).trim_start_matches(['_', '-', '.']);
            if after.contains("past") || after.contains("merged") || after.contains("init") {
                continue;
            }
            let suffix = if after.is_empty() { String::new() } else { format!("_{}", after.to_lowercase()) };
            let before = folder.join(before);
            found.push(Named { path, before, suffix });
        }
    }
    let place = |suffix: &str| VARIANTS.iter().position(|variant| *variant == suffix).unwrap_or(VARIANTS.len());
    found.sort_by(|a, b| (place(&a.suffix), &a.path).cmp(&(place(&b.suffix), &b.path)));
    found
}

fn of_other_names(directory: &Path, wish: &Variants, alike: bool) -> Option<Graphs> {
    let fits =
        |wish: Option<&str>, named: &Named| wish.is_none_or(|wish| candidates(Some(wish)).contains(&named.suffix));
    let mut encoders = named(directory, "encoder");
    let mut decoders = named(directory, "decoder");
    encoders.retain(|found| fits(wish.encoder.as_deref(), found));
    decoders.retain(|found| fits(wish.decoder.as_deref(), found));
    let pair = |same_suffix: bool| {
        encoders.iter().find_map(|encoder| {
            let of_it = |decoder: &&Named| {
                decoder.before == encoder.before && (!same_suffix || decoder.suffix == encoder.suffix)
            };
            Some((encoder, decoders.iter().find(of_it)?))
        })
    };
    let (encoder, decoder) = if alike { pair(true) } else { None }.or_else(|| pair(false))?;
    Some(Graphs {
        encoder: encoder.path.clone(),
        decoder: DecoderFiles::Alone(decoder.path.clone()),
        suffixes: [encoder.suffix.clone(), decoder.suffix.clone()],
    })
}

/// The variants that a directory has all graphs of, as people write them.
pub(super) fn available(directory: &Path, layout: Option<Layout>) -> Vec<String> {
    let has = |wish: &str| {
        let both = Variants { encoder: Some(wish.to_owned()), decoder: Some(wish.to_owned()) };
        find(directory, &both, layout).is_some_and(|found| found.suffixes.iter().all(|suffix| word(suffix) == wish))
    };
    let others = named(directory, "encoder").into_iter().map(|named| named.suffix);
    let mut all: Vec<String> = VARIANTS.iter().map(|&variant| variant.to_owned()).chain(others).collect();
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|suffix| seen.insert(suffix.clone()));
    all.into_iter().map(|suffix| word(&suffix).to_owned()).filter(|word| has(word)).collect()
}

/// Says which graph is missing, for the variant that has most of them.
pub(super) fn first_missing(directory: &Path, wish: &Variants, layout: Option<Layout>) -> String {
    let has = |name: &str, suffix: &str| graph(directory, name, suffix).is_some();
    let encoders = candidates(wish.encoder.as_deref());
    let Some(encoder) = encoders.iter().find(|suffix| has("encoder_model", suffix)) else {
        if let Some(search) = whole_search(directory) {
            return format!(
                "an encoder and a decoder: '{search}' holds a whole search in one graph, which can be asked neither for \
                 times nor for languages"
            );
        }
        let suffix = if wish.encoder.is_some() { encoders[0].as_str() } else { "" };
        let other = if wish.encoder.is_none() { " (or one with a suffix such as _fp16 or _quantized)" } else { "" };
        return format!("encoder_model{suffix}.onnx{other}, at the top or in onnx/");
    };
    let decoders = candidates(wish.decoder.as_deref());
    let of_decoder = |suffix: &&String| has("decoder_model", suffix) || has("decoder_with_past_model", suffix);
    let v =
        decoders.iter().find(of_decoder).or_else(|| decoders.iter().find(|v| *v == encoder)).unwrap_or(&decoders[0]);
    let merged = format!("decoder_model_merged{v}.onnx");
    let (first, past) = (format!("decoder_model{v}.onnx"), format!("decoder_with_past_model{v}.onnx"));
    match (layout, has("decoder_model", v), has("decoder_with_past_model", v)) {
        (Some(Layout::Merged), ..) => merged,
        (Some(Layout::Split), true, _) => past,
        (Some(Layout::Split), false, _) => first,
        (None, false, true) => format!("{first} (or {merged} in its place)"),
        (None, ..) => format!("a decoder: {first} and {past}, or {merged}"),
    }
}

/// ONNX Runtime's export of the encoder, the decoder and a beam search in one graph.
fn whole_search(directory: &Path) -> Option<String> {
    let names = FOLDERS.iter().filter_map(|folder| std::fs::read_dir(directory.join(folder)).ok()).flatten().flatten();
    let mut names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.find(|name| name.ends_with(".onnx") && name.replace(['_', '-'], "").contains("beamsearch"))
}

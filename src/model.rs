//! `undertone model`: models on this machine. Lists them, fetches one, tells where it is, removes it and what is left
//! over of others, and converts weights into ONNX graphs. The work itself is in the crate `undertone-models`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use undertone_models::inventory::{self, Entry, Kept};
use undertone_models::names::NAMES;
use undertone_models::{ConvertOptions, WeightFormat};

use crate::choices::PackedChoice;
use crate::output;
use crate::steps::Steps;

/// Look at, fetch, remove and convert models
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Show which models are on this machine, and which names there are
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        packed: PackedChoice,
    },
    /// Fetch a model, or compare one that is here with the hub's or with its checksums and mend what is damaged; prints
    /// its folder
    Get(Named),
    /// Print the folder of a model that is here; fetches nothing
    Path(Named),
    /// Remove what is kept of a model, and what is packed of it. The hub's cache is shared with other programs
    Rm {
        /// A name, a repository or a path, as `model list` shows it
        #[arg(value_name = "MODEL")]
        model: String,
        #[command(flatten)]
        packed: PackedChoice,
    },
    /// Remove what serves nothing any more: unfinished downloads, and what was packed of models that are gone
    Prune {
        #[command(flatten)]
        packed: PackedChoice,
    },
    /// Write ONNX graphs, which any ONNX Runtime loads, from weights
    Convert {
        /// Weights: a folder or file (safetensors, CTranslate2, .pt, ggml), a name, or a Hugging Face repository
        #[arg(value_name = "SOURCE")]
        source: String,
        /// The folder to write, which must not be there yet
        #[arg(value_name = "OUT")]
        out: PathBuf,
        /// How weights are stored [default: f16 where the source has nothing finer, else f32]
        #[arg(long, value_enum, value_name = "FORMAT")]
        weights: Option<WeightWord>,
    },
}

#[derive(Args)]
struct Named {
    /// A name such as base or large-v3, a Hugging Face repository, or a path
    #[arg(value_name = "MODEL")]
    model: String,
    /// Which set of ONNX files, by the end of their names
    #[arg(long, value_name = "SUFFIX")]
    variant: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum WeightWord {
    /// 32-bit floating point: loads fastest
    F32,
    /// 16-bit floating point: half the size, widened when loaded
    F16,
    /// 8-bit integers with a scale for each output: a quarter of the size
    Int8,
}

impl From<WeightWord> for WeightFormat {
    fn from(word: WeightWord) -> Self {
        match word {
            WeightWord::F32 => Self::F32,
            WeightWord::F16 => Self::F16,
            WeightWord::Int8 => Self::Int8,
        }
    }
}

/// Carries it out.
///
/// # Errors
/// If a model is not there, cannot be had, or cannot be written.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.what {
        What::List { json, packed } => list(*json, packed)?,
        What::Get(named) => {
            let steps = Steps::new();
            let provided = undertone_models::get(&named.model, named.variant.as_deref(), &mut |step| steps.show(step))?;
            steps.end();
            output::print(&format!("{}\n", provided.folder.display()))?;
        }
        What::Path(named) => match undertone_models::present(&named.model, named.variant.as_deref())? {
            Some(provided) => output::print(&format!("{}\n", provided.folder.display()))?,
            None => bail!("'{0}' is not on this machine: `undertone model get {0}` fetches it", named.model),
        },
        What::Rm { model, packed } => remove(model, packed)?,
        What::Prune { packed } => prune(packed)?,
        What::Convert { source, out, weights } => convert(source, out, *weights)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A model as `--json` prints it.
#[derive(Serialize)]
struct EntryAnswer<'a> {
    name: &'a str,
    from: &'a str,
    kept: &'static str,
    folder: &'a Path,
    bytes: u64,
    packed_bytes: u64,
    licence: Option<&'a str>,
}

fn kept_word(kept: Kept) -> &'static str {
    match kept {
        Kept::HubCache => "hub cache",
        Kept::Converted => "converted",
        Kept::Folder => "a folder of yours",
        Kept::Unfinished => "unfinished",
        Kept::LeftOver => "left over",
    }
}

fn list(json: bool, packed: &PackedChoice) -> Result<()> {
    let entries = inventory::list(packed.folder().as_deref());
    if json {
        let answer: Vec<EntryAnswer<'_>> = entries
            .iter()
            .map(|entry| EntryAnswer {
                name: &entry.name,
                from: &entry.from,
                kept: kept_word(entry.kept),
                folder: &entry.folder,
                bytes: entry.bytes,
                packed_bytes: entry.packed_bytes(),
                licence: entry.licence.as_deref(),
            })
            .collect();
        return output::print(&format!("{}\n", serde_json::to_string_pretty(&answer)?));
    }
    let mut text = String::new();
    let (left_over, rest): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(Entry::is_left_over);
    let (folders, models): (Vec<Entry>, Vec<Entry>) = rest.into_iter().partition(|entry| entry.kept == Kept::Folder);
    if models.is_empty() {
        text.push_str("No model is on this machine yet.\n");
    }
    for (title, entries) in [
        ("On this machine:", models),
        ("\nPacked of folders of yours:", folders),
        ("\nLeft over, and removed by `undertone model prune`:", left_over),
    ] {
        if !entries.is_empty() {
            let _ = writeln!(text, "{title}");
            text.push_str(&table(&entries.iter().map(row).collect::<Vec<_>>()));
        }
    }
    text.push_str("\nNames, and where they are fetched from when first used:\n");
    let rows = NAMES.iter().map(|known| {
        let name = [&[known.name], known.aliases].concat().join(", ");
        let size = format!("about {}", size(u64::from(known.megabytes) * 1_000_000));
        [name, size, known.licence.into(), format!("{}; {}", known.repository, known.languages)]
    });
    text.push_str(&table(&rows.collect::<Vec<_>>()));
    output::print(&text)
}

/// A model's line of the table.
fn row(entry: &Entry) -> [String; 4] {
    let packed = entry.packed_bytes();
    let size = match (entry.bytes, packed) {
        (bytes, 0) => size(bytes),
        (0, packed) => format!("{} packed", size(packed)),
        (bytes, packed) => format!("{} and {} packed", size(bytes), size(packed)),
    };
    let licence = match (&entry.licence, entry.kept) {
        (Some(licence), _) => licence.clone(),
        (None, Kept::HubCache | Kept::Converted) => "licence not known".to_owned(),
        // There are no weights.
        (None, _) => "-".to_owned(),
    };
    [entry.name.clone(), size, licence, format!("{}, {}", kept_word(entry.kept), entry.from)]
}

/// Columns side by side; sizes stand at the right.
fn table(rows: &[[String; 4]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second, third) = (width(0), width(1), width(2));
    let mut text = String::new();
    for [name, size, licence, from] in rows {
        let _ = writeln!(text, "  {name:first$}  {size:>second$}  {licence:third$}  {from}");
    }
    text
}

/// Bytes in the unit that people buy disks in.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{} MB", bytes.div_ceil(1_000_000)),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

fn remove(model: &str, packed: &PackedChoice) -> Result<()> {
    let removed = inventory::remove(model, packed.folder().as_deref());
    let removed = removed.with_context(|| format!("cannot remove '{model}'"))?;
    if removed.is_empty() {
        bail!("nothing is kept of '{model}': `undertone model list` shows what is");
    }
    report_removed(&removed)
}

fn prune(packed: &PackedChoice) -> Result<()> {
    let removed = inventory::prune(packed.folder().as_deref()).context("cannot remove what is left over")?;
    if removed.is_empty() {
        return output::print("nothing is left over\n");
    }
    report_removed(&removed)
}

/// A line for each folder that is gone.
fn report_removed(removed: &[Entry]) -> Result<()> {
    let mut text = String::new();
    for entry in removed {
        match entry.kept {
            Kept::Folder => {
                let _ = writeln!(text, "{} is a folder of yours, and stays", entry.folder.display());
            }
            Kept::LeftOver => {}
            kept => {
                let folder = entry.folder.display();
                let _ = writeln!(text, "removed {folder} ({}, {})", kept_word(kept), size(entry.bytes));
            }
        }
        for packed in &entry.packed {
            let _ = writeln!(text, "removed {} (packed, {})", packed.folder.display(), size(packed.bytes));
        }
    }
    output::print(&text)
}

fn convert(source: &str, out: &Path, weights: Option<WeightWord>) -> Result<()> {
    let options = ConvertOptions { weights: weights.map(WeightFormat::from) };
    let steps = Steps::new();
    let converted = undertone_models::convert_source(source, out, &options, &mut |step| steps.show(step))?;
    steps.end();
    output::print(&format!(
        "{}: {} from {}, weights in {}\n",
        converted.directory.display(),
        size(converted.bytes),
        converted.kind,
        converted.weights
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use undertone_models::Source;

    #[test]
    fn sizes_as_people_read_them() {
        assert_eq!(size(1), "1 kB");
        assert_eq!(size(145_217_532), "146 MB");
        assert_eq!(size(3_090_000_000), "3.09 GB");
    }

    #[test]
    fn rows_stand_under_each_other() {
        let row = |name: &str, size: &str| [name.to_owned(), size.to_owned(), "MIT".into(), "here".into()];
        assert_eq!(
            table(&[row("a", "10 MB"), row("long", "1 kB")]),
            "  a     10 MB  MIT  here\n  long   1 kB  MIT  here\n"
        );
    }

    #[test]
    fn a_name_is_no_path() {
        assert!(matches!(Source::parse("base").unwrap(), Source::Named(_)));
    }
}

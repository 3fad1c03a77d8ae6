//! What a folder of bundles holds, told to programs: `undertone npu fetch` asks before it puts bundles in their place.

use std::{collections::BTreeSet, path::Path};

use undertone_boundary::{
    bundles::{self, Contents, Entry},
    npu::TileReport,
};

use super::{
    bundle::{BundleError, Bundles, TrialBundle},
    design::{Design, Kernels, Tile},
    ladder,
    probe::probe,
    target::Target,
    trial::TrialKind,
};

/// The bundles in a folder's folders, their files compared with their checksums.
///
/// # Errors
/// If the folder can't be read.
pub fn bundles_in(folder: &Path) -> Result<Contents, BundleError> {
    let found = Bundles::open(folder)?;
    let mut contents = Contents { machine: probe().target().map(|target| target.to_string()), ..Contents::default() };
    contents.broken = found.broken().iter().map(BundleError::to_string).collect();
    let mut present = BTreeSet::new();
    for bundle in found.list() {
        match bundle.xclbin() {
            Err(error) => contents.broken.push(error.to_string()),
            Ok(_) => {
                let (design, Tile { m, k, n }) = (bundle.design(), bundle.design().tile);
                present.insert((design.target.to_string(), product(design)));
                contents.bundles.push(Entry {
                    folder: bundle.folder().to_path_buf(),
                    target: design.target.to_string(),
                    kernels: design.kernels.to_string(),
                    tile: TileReport { m, k, n },
                    cores: [design.rows(), design.columns()],
                });
            }
        }
    }
    for folder in TrialBundle::folders(folder)? {
        match TrialBundle::read(&folder).map(|bundle| bundle.trial) {
            Err(error) => contents.broken.push(error.to_string()),
            // It is looked for by this name.
            Ok(trial) if !folder.ends_with(trial.name()) => {
                contents.broken.push(format!("{}: it is {trial}: call the folder {}", folder.display(), trial.name()));
            }
            Ok(trial) => {
                let (target, kind) = (trial.target.to_string(), trial.kind.to_string());
                present.insert((target.clone(), kind.clone()));
                contents.trials.push(bundles::Trial { folder, target, kind });
            }
        }
    }
    for target in Target::ALL {
        let word = target.to_string();
        let is_there = |name: &String| present.contains(&(word.clone(), name.clone()));
        if present.iter().any(|(of, _)| *of == word) {
            let lacks = needed(target).into_iter().filter(|name| !is_there(name)).collect();
            contents.lacking.insert(word, lacks);
        }
    }
    Ok(contents)
}

/// What the ladder climbs with, in words.
fn needed(target: Target) -> Vec<String> {
    let trials = TrialKind::ALL.iter().map(ToString::to_string);
    let designs = Kernels::ALL.into_iter().flat_map(|kernels| ladder::designs(target, kernels));
    trials.chain(designs.map(|design| product(&design))).collect()
}

/// What an array of products is, in words.
fn product(design: &Design) -> String {
    let Tile { m, k, n } = design.tile;
    format!("{} {m}×{k}×{n} on {}×{} cores", design.kernels, design.rows(), design.columns())
}

//! Which tiles to compile: candidates that fit the array, what they waste on padding, and the best ones by predicted
//! time.

use super::{
    cost,
    design::{Design, DesignError, HEAD_WIDTH, Kernels, Problem, Tile},
    stream,
    target::Target,
};

/// No tile serves the problems.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no tiles of {kernels} kernels for {target} serve {problems} problems: {reason}")]
pub struct NoTiles {
    /// For which silicon.
    pub target: Target,
    /// What the cores hold.
    pub kernels: Kernels,
    /// How many there are.
    pub problems: usize,
    /// Why.
    pub reason: String,
}

/// Sides of tiles that are tried: whole pairs of every micro-tile's sides, as the kernels take two of them at a time,
/// and blocks of keys that are whole vectors.
const STEP: usize = 16;
const MOST_SIDE: usize = 160;
const MOST_INPUTS: usize = 256;

/// All designs of some kernels whose tiles fit the cores and memory tiles.
pub fn candidates(target: Target, kernels: Kernels) -> Vec<Design> {
    let step = STEP * 2 / kernels.operand_bytes();
    let tiles = (STEP..=MOST_SIDE).step_by(STEP).flat_map(|m| (step..=MOST_INPUTS).step_by(step).map(move |k| (m, k)));
    tiles.filter_map(|(m, k)| Design::new(target, kernels, Tile { m, k, n: HEAD_WIDTH }).ok()).collect()
}

/// The share of a design's multiply-accumulates that goes to padding.
pub fn waste(design: &Design, problem: &Problem) -> f64 {
    1.0 - cost::predict(design, problem).useful
}

/// The design whose predicted time for all problems, each as often as it is said to occur, is least. It stays loaded
/// for all of them: changing designs costs milliseconds.
///
/// # Errors
/// If there are no problems, or no candidate has instruction streams for all of them.
pub fn choose(target: Target, kernels: Kernels, problems: &[(Problem, usize)]) -> Result<Design, NoTiles> {
    let none = |reason: &str| NoTiles { target, kernels, problems: problems.len(), reason: reason.into() };
    if problems.is_empty() {
        return Err(none("there are none"));
    }
    let mut ranked: Vec<(f64, Design)> =
        candidates(target, kernels).into_iter().map(|design| (seconds(&design, problems), design)).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    // What a transfer can describe is known only when the stream is written; the best few are tried.
    let writable = |design: &Design| problems.iter().all(|(problem, _)| stream::write(design, problem).is_ok());
    ranked
        .into_iter()
        .map(|(_, design)| design)
        .find(writable)
        .ok_or_else(|| none("their instruction streams cannot be written"))
}

/// Predicted seconds of all problems, each as often as it occurs.
pub fn seconds(design: &Design, problems: &[(Problem, usize)]) -> f64 {
    problems.iter().map(|(problem, count)| cost::predict(design, problem).total * *count as f64).sum()
}

/// The design that devices open and bundles are built with by default: one for each number format, for every Whisper
/// model.
///
/// # Errors
/// As [`Design::new`]; a test makes all of them.
pub fn shipped(target: Target, kernels: Kernels) -> Result<Design, DesignError> {
    let tile = match kernels {
        Kernels::Int8 => Tile { m: 48, k: 64, n: HEAD_WIDTH },
        Kernels::Bf16 => Tile { m: 48, k: 32, n: HEAD_WIDTH },
    };
    Design::new(target, kernels, tile)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::cost::whisper::MODELS, *};

    fn of(kernels: Kernels, models: &[&str]) -> Vec<(Problem, usize)> {
        let all = MODELS.iter().filter(|model| models.contains(&model.name));
        all.flat_map(|model| model.encoder(kernels)).map(|(_, problem, count)| (problem, count)).collect()
    }

    #[test]
    fn chosen_tiles_waste_little_and_are_the_fastest() {
        for target in Target::ALL {
            for kernels in Kernels::ALL {
                for models in [&["tiny", "small"][..], &["base", "medium"], &["large-v3-turbo"]] {
                    let problems = of(kernels, models);
                    let chosen = choose(target, kernels, &problems).unwrap();
                    let best = seconds(&chosen, &problems);
                    for design in candidates(target, kernels) {
                        assert!(seconds(&design, &problems) >= best, "{:?} beats {:?}", design.tile, chosen.tile);
                    }
                    // One design serves all models: little is lost by it.
                    let shipped = seconds(&shipped(target, kernels).unwrap(), &problems);
                    assert!(
                        shipped >= best && shipped < 1.15 * best,
                        "{target} {kernels} {models:?}: {shipped} against {best} with {:?}",
                        chosen.tile
                    );
                    let macs = |problem: &Problem, count: usize| (count as u64 * problem.macs()) as f64;
                    let total: f64 = problems.iter().map(|(problem, count)| macs(problem, *count)).sum();
                    let wasted: f64 =
                        problems.iter().map(|(problem, count)| waste(&chosen, problem) * macs(problem, *count)).sum();
                    assert!(
                        wasted / total < 0.15,
                        "{target} {kernels} {models:?} {:?}: {}",
                        chosen.tile,
                        wasted / total
                    );
                }
            }
        }
    }

    #[test]
    fn odd_sizes_have_tiles_too() {
        for (rows, inputs, outputs) in [(1, 1, 1), (1, 384, 51_865), (7, 4099, 13), (12_288, 5120, 1280)] {
            let problem = Problem::Linear { rows, inputs, outputs };
            let design = choose(Target::Npu4, Kernels::Int8, &[(problem, 1)]).unwrap();
            assert!(cost::predict(&design, &problem).total.is_finite());
        }
        assert!(choose(Target::Npu1, Kernels::Int8, &[]).unwrap_err().to_string().contains("there are none"));
    }

    proptest! {
        #[test]
        fn nothing_is_faster_than_the_peak(
            rows in 0usize..5000, inputs in 0usize..5000, outputs in 0usize..5000, tile in 0usize..1000, npu4: bool, attention: bool, int8: bool,
        ) {
            let target = if npu4 { Target::Npu4 } else { Target::Npu1 };
            let kernels = if int8 { Kernels::Int8 } else { Kernels::Bf16 };
            let all = candidates(target, kernels);
            let design = &all[tile % all.len()];
            let problem = if attention {
                Problem::Attention { heads: rows % 40, queries: inputs, keys: outputs }
            } else {
                Problem::Linear { rows, inputs, outputs }
            };
            let prediction = cost::predict(design, &problem);
            prop_assert!(prediction.total >= prediction.dispatch && prediction.total.is_finite());
            prop_assert!((0.0..=1.0).contains(&prediction.utilisation), "{}", prediction.utilisation);
            prop_assert!((0.0..=1.0).contains(&waste(design, &problem)));
            prop_assert!(prediction.listed(target) < prediction.total);
        }
    }
}

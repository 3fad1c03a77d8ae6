//! Which tiles to compile: candidates that fit the array, and the best ones by predicted time.

use undertone_kernels::npu::{
    Design, HEAD_WIDTH, Kernels, Target, Tile,
    cost::{self, Work},
    stream,
};

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

/// The design whose predicted time for all that work, each as often as it is said to occur, is least. It stays loaded
/// for all of them: changing designs costs milliseconds. `None` if there is none, or no candidate has
/// instruction streams for all of them.
pub fn choose(target: Target, kernels: Kernels, work: &[(Work, usize)]) -> Option<Design> {
    if work.is_empty() {
        return None;
    }
    let mut ranked = candidates(target, kernels);
    ranked.sort_by(|a, b| seconds(a, work).total_cmp(&seconds(b, work)));
    // What a transfer can describe is known only when the stream is written; the best few are tried.
    let writable = |design: &Design| work.iter().all(|(work, _)| stream::write(design, &work.problem).is_ok());
    ranked.into_iter().find(writable)
}

/// Predicted seconds of all that work, each as often as it occurs.
pub fn seconds(design: &Design, work: &[(Work, usize)]) -> f64 {
    work.iter().map(|(work, count)| cost::predict(design, *work).total * *count as f64).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use undertone_kernels::npu::Problem;

    use super::*;
    use crate::{FAMILIES, work};

    /// The share of a design's multiply-accumulates that goes to padding.
    fn waste(design: &Design, problem: &Problem) -> f64 {
        1.0 - cost::predict(design, problem).useful
    }

    #[test]
    fn chosen_tiles_waste_little_and_are_the_fastest() {
        for target in Target::ALL {
            for kernels in Kernels::ALL {
                for models in FAMILIES {
                    let work = work(models);
                    let chosen = choose(target, kernels, &work).unwrap();
                    let best = seconds(&chosen, &work);
                    for design in candidates(target, kernels) {
                        assert!(seconds(&design, &work) >= best, "{:?} beats {:?}", design.tile, chosen.tile);
                    }
                    // One design serves all models: little is lost by it.
                    let shipped = seconds(&Design::shipped(target, kernels).unwrap(), &work);
                    assert!(
                        shipped >= best && shipped < 1.15 * best,
                        "{target} {kernels} {models:?}: {shipped} against {best} with {:?}",
                        chosen.tile
                    );
                    let macs = |problem: &Problem, count: usize| (count as u64 * problem.macs()) as f64;
                    let total: f64 = work.iter().map(|(work, count)| macs(&work.problem, *count)).sum();
                    let wasted: f64 = work
                        .iter()
                        .map(|(work, count)| waste(&chosen, &work.problem) * macs(&work.problem, *count))
                        .sum();
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
            let design = choose(Target::Npu4, Kernels::Int8, &[(problem.into(), 1)]).unwrap();
            assert!(cost::predict(&design, problem).total.is_finite());
        }
        assert_eq!(choose(Target::Npu1, Kernels::Int8, &[]), None);
    }

    proptest! {
        #[test]
        fn nothing_is_faster_than_the_peak(
            rows in 0usize..5000, inputs in 0usize..5000, outputs in 0usize..5000, tile in 0usize..1000, npu4: bool, attention: bool, int8: bool, gelu: bool,
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
            let prediction = cost::predict(design, Work { problem, gelu });
            prop_assert!(prediction.total >= prediction.dispatch && prediction.total.is_finite());
            let peak = (target.macs(kernels) * target.cores()) as f64 * target.clock();
            let utilisation = problem.macs() as f64 / (peak * prediction.total);
            prop_assert!((0.0..=1.0).contains(&utilisation), "{utilisation}");
            prop_assert!((0.0..=1.0).contains(&waste(design, &problem)));
            prop_assert!(prediction.listed < prediction.total);
        }
    }
}

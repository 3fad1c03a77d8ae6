//! Figures of the rungs as the cost model takes them.

use std::path::Path;

use undertone_boundary::npu::CoreCosts;

use crate::{Check, RungReport};

/// A figure of a check, by the check's name and its key, and where it goes.
type Place = (&'static str, &'static str, fn(&mut CoreCosts) -> &mut Option<f64>);

/// The key of what a core takes.
const CYCLES: &str = "cycles_per_value";

/// Cycles of a core.
const OF_A_CORE: [Place; 6] = [
    ("fp32 products", CYCLES, |costs| &mut costs.product),
    ("fp32 sums", CYCLES, |costs| &mut costs.add),
    ("the larger of two", CYCLES, |costs| &mut costs.compare),
    ("fp32 to bf16", CYCLES, |costs| &mut costs.convert),
    ("probabilities", CYCLES, |costs| &mut costs.exp2),
    ("GELU", CYCLES, |costs| &mut costs.gelu),
];

/// A sixth of it is a bf16 product: each factor gives two parts by one, and they are multiplied by four. Unlike products
/// that wait for nothing, it has the waiting of the kernels' own.
const BY_PARTS: Place = ("products of two bf16 parts", CYCLES, |costs| &mut costs.mac);

/// Microseconds of commands.
const OF_COMMANDS: [Place; 2] = [
    ("a single command", "us_per_command", |costs| &mut costs.dispatch),
    ("a list of 64 commands", "us_per_command", |costs| &mut costs.listed),
];

/// Whether a file holds costs that were measured.
///
/// # Errors
/// In words, which begin with what is wrong.
pub fn check_core_costs(path: &Path) -> Result<(), String> {
    undertone_kernels::npu::cost::read(path).map(drop)
}

/// What was measured of the NPU `target`; nothing on a simulator, whose checks have no such figures.
pub(crate) fn measured(target: &str, rungs: &[RungReport]) -> Option<CoreCosts> {
    let mut costs = CoreCosts { target: target.to_owned(), ..CoreCosts::default() };
    let checks = || rungs.iter().flat_map(|rung| &rung.checks);
    let figure = |(name, key, _): &Place| {
        let named = |check: &&Check| check.name == *name;
        let found = checks().find(named).and_then(|check| check.figures.get(*key).copied());
        // A difference of two times that noise has turned around says nothing.
        found.filter(|figure| *figure > 0.0)
    };
    for (places, unit) in [(&OF_A_CORE[..], 1.0), (&[BY_PARTS][..], 1.0 / 6.0), (&OF_COMMANDS[..], 1e-6)] {
        for place in places {
            *(place.2)(&mut costs) = figure(place).map(|figure| figure * unit);
        }
    }
    let any = costs.given().next().is_some();
    any.then_some(costs)
}

#[cfg(test)]
mod tests {
    use undertone_kernels::npu::sim::{Mode, SimArray};
    use undertone_kernels::npu::{Target, ladder};

    use super::*;
    use crate::{Outcome, Rung, not_reached};

    #[test]
    fn figures_are_taken_by_the_names_that_the_ladder_gives_its_checks() {
        let array = SimArray::new(Target::Npu1, Mode::Fast);
        let mut names = Vec::new();
        for rung in [ladder::Rung::PassThrough, ladder::Rung::Core] {
            assert!(ladder::climb(&array, rung, &mut |check| names.push(check.name)));
        }
        for (name, ..) in OF_A_CORE.iter().chain(&[BY_PARTS]).chain(&OF_COMMANDS) {
            assert!(names.iter().any(|found| found == name), "{name} is none of {names:?}");
        }
    }

    #[test]
    fn commands_are_in_seconds_and_cores_in_cycles() {
        let check = |name: &str, key: &str, figure| Check::new(name, Outcome::Passed).with(key, figure);
        let checks = vec![
            check("a single command", "us_per_command", 82.0),
            check("GELU", CYCLES, 3.5),
            check("products of two bf16 parts", CYCLES, 3.0),
        ];
        let rung = RungReport { checks, ..not_reached(Rung::Core) };
        let costs = measured("npu1", &[rung]).unwrap();
        assert_eq!((costs.target.as_str(), costs.gelu, costs.exp2), ("npu1", Some(3.5), None));
        assert_eq!(costs.mac, Some(0.5));
        assert!((costs.dispatch.unwrap() - 82e-6).abs() < 1e-12);
        let noise = RungReport { checks: vec![check("GELU", CYCLES, -0.1)], ..not_reached(Rung::Core) };
        for nothing in [noise, not_reached(Rung::Core)] {
            assert_eq!(measured("npu1", &[nothing]), None);
        }
    }
}

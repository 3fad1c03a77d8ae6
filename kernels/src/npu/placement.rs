//! Which kernels have their place on an NPU, by cost: what the array is predicted to take, with packing, beside what
//! the host device takes.

use std::fmt;

use super::{
    cost::{self, Machine},
    design::{Design, Kernels, Problem},
    engine::LONGEST_LIST,
    rates::Rates,
    target::Target,
};
use crate::Precision;

/// How many times the host's time the NPU may take for a kernel that fills its tiles: twice for what calibration, done
/// once on a busy machine, may be off, so that the same kernel does not change places from run to run; and twice again
/// because what the NPU does leaves the CPU to others, which is what an NPU is asked for.
///
/// A kernel that fills only a part of its tiles' rows is asked for that part only: an array that mostly multiplies
/// zeros leaves little to others, and has to be sooner by as much.
pub const MARGIN: f64 = 4.0;

/// What decides where kernels go: a machine's rates and an NPU's designs.
#[derive(Clone, Debug)]
pub struct Placement {
    rates: Rates,
    machine: Machine,
    /// By number format.
    designs: Vec<Design>,
}

/// A kernel's two times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighed {
    /// What it computes.
    pub problem: Problem,
    /// Predicted seconds of the NPU: the array with its dispatch, and packing and unpacking here.
    pub npu: f64,
    /// Predicted seconds of the host device.
    pub host: f64,
    /// Share of the rows (or queries) that the NPU computes that are not padding.
    pub filled: f64,
}

impl Placement {
    /// On an NPU of `target` of which nothing was measured, beside a host of these rates.
    pub fn new(target: Target, rates: Rates) -> Self {
        Self::on(Machine::of(target), rates)
    }

    /// On an NPU of these numbers.
    pub fn on(machine: Machine, rates: Rates) -> Self {
        let shipped = |kernels| Design::shipped(machine.target, kernels).ok();
        Self { rates, machine, designs: Kernels::ALL.into_iter().filter_map(shipped).collect() }
    }

    /// The host's rates.
    pub fn rates(&self) -> &Rates {
        &self.rates
    }

    /// The times of a kernel; `None` for one that an NPU has no design for, as for all of fp32. A closed formula, for
    /// each call of a kernel.
    pub fn weigh(&self, precision: Precision, problem: Problem) -> Option<Weighed> {
        let kernels = Kernels::of(precision)?;
        let design = self.designs.iter().find(|design| design.kernels == kernels)?;
        Some(Weighed {
            problem,
            npu: self.machine.predict(design, problem).total + cost::packing(&problem, self.rates.packing),
            host: self.rates.host_seconds(kernels, &problem),
            filled: rows(&problem) as f64 / rows(&design.padded(&problem)).max(1) as f64,
        })
    }

    /// Whether a kernel has its place on the NPU.
    pub fn on_npu(&self, precision: Precision, problem: Problem) -> bool {
        self.weigh(precision, problem).is_some_and(|weighed| weighed.on_npu())
    }
}

/// Rows; of attention queries.
fn rows(problem: &Problem) -> usize {
    match *problem {
        Problem::Linear { rows, .. } => rows,
        Problem::Attention { queries, .. } => queries,
    }
}

impl Weighed {
    /// Whether the kernel has its place on the NPU: unless the host device is clearly sooner ([`MARGIN`]), or the driver
    /// would end it.
    pub fn on_npu(&self) -> bool {
        !self.too_long() && self.npu <= MARGIN * self.filled * self.host
    }

    /// Whether it is one command that takes longer than the driver may wait. Layers are cut.
    fn too_long(&self) -> bool {
        matches!(self.problem, Problem::Attention { .. }) && self.npu > LONGEST_LIST
    }
}

impl fmt::Display for Weighed {
    /// `1×384×1536: predicted 0.105 ms on the NPU, 0.018 ms here`; what of a tile's rows is empty is said where it
    /// decides.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { problem, npu, host, filled } = self;
        write!(f, "{problem}: predicted {:.3} ms on the NPU, {:.3} ms here", npu * 1e3, host * 1e3)?;
        if self.too_long() {
            f.write_str(", and the driver would end so long a command")?;
        } else if !self.on_npu() && *npu <= MARGIN * host {
            write!(f, ", and {:.0} % of its rows would be padding", (1.0 - filled) * 100.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use undertone_boundary::npu::CoreCosts;

    use super::*;
    use crate::reference::whisper::{MODELS, POSITIONS};

    const PRECISIONS: [Precision; 2] = [Precision::Int8, Precision::Bf16];

    /// Products, attention, memory and packing each so many times as fast as assumed.
    fn scaled([products, attention, memory, packing]: [f64; 4]) -> Rates {
        let assumed = Rates::ASSUMED;
        Rates {
            measured: false,
            products_int8: products * assumed.products_int8,
            products_bf16: products * assumed.products_bf16,
            attention_int8: attention * assumed.attention_int8,
            attention_bf16: attention * assumed.attention_bf16,
            memory: memory * assumed.memory,
            packing: packing * assumed.packing,
        }
    }

    /// All rates within a factor of two, by their corners and middles.
    fn nearby() -> impl Iterator<Item = Rates> {
        let factors = |index: usize| [0.5, 1.0, 2.0][index % 3];
        (0..81).map(move |at| scaled([at, at / 3, at / 9, at / 27].map(factors)))
    }

    #[test]
    fn every_kernel_of_every_encoder_is_the_npu_s() {
        for target in Target::ALL {
            let placement = Placement::new(target, Rates::ASSUMED);
            for model in MODELS {
                for kernels in Kernels::ALL {
                    let precision = kernels.precision();
                    for (work, _) in model.encoder() {
                        let weighed = placement.weigh(precision, work.problem).unwrap();
                        assert!(weighed.on_npu(), "{target} {precision} {}, {weighed}", model.name);
                    }
                }
            }
        }
    }

    /// Each row fills one of 128 or 256: what a decoder's step asks is not worth a dispatch, whatever the machine.
    #[test]
    fn no_kernel_of_a_decoder_s_step_is() {
        for (target, rates) in Target::ALL.into_iter().flat_map(|target| nearby().map(move |rates| (target, rates))) {
            let placement = Placement::new(target, rates);
            for precision in PRECISIONS {
                for model in MODELS {
                    let width = model.width;
                    let products = [[width, width], [width, 4 * width], [4 * width, width], [width, 51_865]];
                    for rows in [1, 4, 8] {
                        let products = products.map(|[inputs, outputs]| Problem::Linear { rows, inputs, outputs });
                        let heads = Problem::Attention { heads: width / 64, queries: rows, keys: POSITIONS };
                        for problem in products.into_iter().chain([heads]) {
                            let weighed = placement.weigh(precision, problem).unwrap();
                            assert!(!weighed.on_npu(), "{target} {precision} {}, {weighed} {rates:?}", model.name);
                        }
                    }
                }
            }
        }
    }

    /// Between the two the formula decides: the wider a product, the fewer rows it needs, and from there on it has its
    /// place.
    #[test]
    fn sizes_between_are_decided_by_the_formula() {
        for target in Target::ALL {
            let placement = Placement::new(target, Rates::ASSUMED);
            for precision in PRECISIONS {
                let mut before = POSITIONS;
                for width in [384, 512, 768, 1024, 1280] {
                    let on_npu = |rows: usize| {
                        placement.on_npu(precision, Problem::Linear { rows, inputs: width, outputs: 4 * width })
                    };
                    let least = (1..POSITIONS).find(|rows| on_npu(*rows)).unwrap_or(POSITIONS);
                    assert!((16..=256).contains(&least) && least <= before, "{target} {precision} {width}: {least}");
                    before = least;
                }
            }
        }
        let on_npu = |target, precision, rows| {
            let problem = Problem::Linear { rows, inputs: 512, outputs: 2048 };
            Placement::new(target, Rates::ASSUMED).on_npu(precision, problem)
        };
        // A window's half, a batch of prompts, a beam.
        assert!(Target::ALL.iter().all(|target| PRECISIONS.iter().all(|precision| on_npu(*target, *precision, 750))));
        assert!(on_npu(Target::Npu4, Precision::Bf16, 64) && !on_npu(Target::Npu1, Precision::Int8, 64));
        assert!(!on_npu(Target::Npu4, Precision::Bf16, 16) && !on_npu(Target::Npu4, Precision::Int8, 16));
    }

    /// What was measured on an NPU decides in place of the model's own numbers: cores that are much slower are not worth
    /// it, dispatches that are much shorter are, and numbers of another NPU change nothing.
    #[test]
    fn measured_costs_change_predictions_and_places() {
        let costs = |of: fn(&mut CoreCosts)| {
            let mut costs = CoreCosts { target: "npu4".into(), ..CoreCosts::default() };
            of(&mut costs);
            costs
        };
        let weigh = |costs: Option<&CoreCosts>, problem| {
            let placement = Placement::on(Machine::measured(Target::Npu4, costs), Rates::ASSUMED);
            placement.weigh(Precision::Int8, problem).unwrap()
        };
        let attention = Problem::Attention { heads: 6, queries: POSITIONS, keys: POSITIONS };
        let slow = costs(|costs| (costs.mac, costs.exp2) = (Some(20.0), Some(200.0)));
        let (own, measured) = (weigh(None, attention), weigh(Some(&slow), attention));
        assert!(own.on_npu() && !measured.on_npu() && measured.npu > 10.0 * own.npu, "{own}, {measured}");
        let few = Problem::Linear { rows: 24, inputs: 384, outputs: 1536 };
        let quick = costs(|costs| costs.dispatch = Some(1e-6));
        let (own, measured) = (weigh(None, few), weigh(Some(&quick), few));
        assert!(!own.on_npu() && own.npu - measured.npu > 70e-6, "{own}, {measured}");
        assert_eq!(weigh(Some(&CoreCosts { target: "npu1".into(), ..slow }), attention), weigh(None, attention));
    }

    #[test]
    fn nothing_and_fp32_are_the_host_s() {
        let placement = Placement::new(Target::Npu4, Rates::ASSUMED);
        let nothing = Problem::Linear { rows: 0, inputs: 384, outputs: 384 };
        assert!(!placement.on_npu(Precision::Int8, nothing));
        assert!(!placement.on_npu(Precision::Bf16, Problem::Attention { heads: 0, queries: 1500, keys: 1500 }));
        let large = Problem::Linear { rows: 1500, inputs: 1280, outputs: 5120 };
        assert!(placement.on_npu(Precision::Int8, large) && !placement.on_npu(Precision::F32, large));
    }

    #[test]
    fn attention_that_the_driver_would_end_is_the_host_s() {
        let placement = Placement::new(Target::Npu1, Rates::ASSUMED);
        let of = |queries| {
            let problem = Problem::Attention { heads: 20, queries, keys: queries };
            placement.weigh(Precision::Int8, problem).unwrap()
        };
        assert!(of(POSITIONS).on_npu());
        assert!(!of(40_000).on_npu() && of(40_000).to_string().ends_with("the driver would end so long a command"));
    }

    #[test]
    fn reasons_are_words() {
        let placement = Placement::new(Target::Npu4, Rates::ASSUMED);
        let of = |rows, precision| {
            placement.weigh(precision, Problem::Linear { rows, inputs: 1280, outputs: 5120 }).unwrap().to_string()
        };
        assert!(of(1, Precision::Int8).starts_with("1×1280×5120: predicted 0."), "{}", of(1, Precision::Int8));
        assert!(of(1, Precision::Bf16).ends_with("ms here, and 99 % of its rows would be padding"));
        assert!(of(1500, Precision::Int8).ends_with("ms here"));
    }
}

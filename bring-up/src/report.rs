//! What a tester sends: the report, whose JSON is described in `docs/npu.md`. All its types are here.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use undertone_boundary::npu::CoreCosts;
use undertone_kernels::npu::{Software, Target, ladder, probe};
use undertone_runner::{self as options, Device};

use crate::{KernelLog, Rung, Scrub, costs, file, text};

/// The version of the report's form; it changes where a reader of an older one would be misled.
pub const FORMAT: u32 = 1;

/// How to send it, as its last words.
const SEND: &str = "Please look it through, then attach this file to an issue of the project's repository. Names, folders \
                    and addresses of yours were taken out where they were recognised.";

/// The whole report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// Undertone's version.
    pub undertone: String,
    /// `npu`, or `sim`: then nothing of it is about silicon.
    pub device: String,
    /// Which silicon it is, or which the simulator plays; empty where none was found.
    pub target: String,
    /// The machine and its versions.
    pub machine: Machine,
    /// The rungs that were asked for, from the bottom.
    pub rungs: Vec<RungReport>,
    /// What single operations and commands take, where rungs 2 and 4 measured it: the cost model takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core_costs: Option<CoreCosts>,
    /// What the kernel says about the driver.
    pub kernel_log: KernelLog,
    /// How to send it; nobody needs one of the simulator.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub send: String,
}

/// Versions; those that nothing shows are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// The distribution's name and version.
    pub distribution: String,
    /// The kernel's release.
    pub kernel: String,
    /// Where the driver comes from, and its version.
    pub driver: String,
    /// The firmware that runs on the NPU, or the one in its file.
    pub firmware: String,
    /// The installed XRT.
    pub xrt: String,
}

/// A rung, and how it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RungReport {
    /// Its number.
    pub rung: u8,
    /// What it is about.
    pub title: String,
    /// How it ended.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How long it took.
    pub seconds: f64,
    /// How long it may take.
    pub limit_seconds: f64,
    /// Its checks, in order, up to the first that failed.
    pub checks: Vec<Check>,
}

/// How a rung ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing failed.
    Passed,
    /// A check failed: the last one.
    Failed,
    /// It did not end within its limit.
    TimedOut {
        /// What is known of it, and what to do.
        found: String,
    },
    /// The process that climbed it ended without an answer.
    Broken {
        /// How it ended, and its last words.
        found: String,
    },
    /// It does not apply, or there is nothing to do it with.
    Skipped {
        /// Why.
        why: String,
    },
    /// A rung below it failed.
    NotReached,
    /// It had not ended when the report was written.
    Begun,
}

impl Verdict {
    /// Whether the ladder goes on.
    pub fn is_well(&self) -> bool {
        matches!(self, Verdict::Passed | Verdict::Skipped { .. })
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What was measured; the unit is in the key: `median_us`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, f64>,
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// As it has to be.
    Passed,
    /// A fact.
    Told {
        /// The fact.
        found: String,
    },
    /// Something that may matter above.
    Warned {
        /// What.
        found: String,
        /// What to do, unless the words before say it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        advice: String,
    },
    /// Something is wrong: the ladder stops.
    Failed {
        /// What was found instead of what has to be.
        found: String,
        /// What to do, unless the words before say it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        advice: String,
    },
}

impl Check {
    /// Without figures.
    pub fn new(name: impl Into<String>, outcome: Outcome) -> Self {
        Self { name: name.into(), outcome, figures: BTreeMap::new() }
    }

    /// A fact.
    pub fn told(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(name, Outcome::Told { found: found.into() })
    }

    /// Something that may matter above.
    pub fn warned(name: impl Into<String>, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(name, Outcome::Warned { found: found.into(), advice: advice.into() })
    }

    /// Something wrong.
    pub fn failed(name: impl Into<String>, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(name, Outcome::Failed { found: found.into(), advice: advice.into() })
    }

    /// With a figure; one that is no number is left out.
    pub fn with(mut self, key: &str, figure: impl Into<Option<f64>>) -> Self {
        if let Some(figure) = figure.into().filter(|figure| figure.is_finite()) {
            self.figures.insert(key.to_owned(), figure);
        }
        self
    }

    /// With words that do nothing to a terminal, and are no longer than somebody reads.
    pub(crate) fn plain(mut self) -> Self {
        let plain = |words: &mut String, most| *words = text::cut(&text::plain(words), most);
        plain(&mut self.name, text::MOST_OF_A_LINE);
        match &mut self.outcome {
            Outcome::Passed => {}
            Outcome::Told { found } => plain(found, text::MOST_FOUND),
            Outcome::Warned { found, advice } | Outcome::Failed { found, advice } => {
                plain(found, text::MOST_FOUND);
                plain(advice, text::MOST_FOUND);
            }
        }
        self
    }

    /// Whether the ladder stops at it.
    pub fn is_failure(&self) -> bool {
        matches!(self.outcome, Outcome::Failed { .. })
    }
}

impl From<ladder::Check> for Check {
    fn from(check: ladder::Check) -> Self {
        let outcome = match check.outcome {
            ladder::Outcome::Passed => Outcome::Passed,
            ladder::Outcome::Told(found) => Outcome::Told { found },
            ladder::Outcome::Failed { found, advice } => Outcome::Failed { found, advice },
        };
        let figures = check.figures.into_iter().filter(|(_, figure)| figure.is_finite()).collect();
        Self { name: check.name, outcome, figures }
    }
}

impl Machine {
    /// What is shown below `root`.
    pub fn below(root: &Path, processor: String, software: &Software) -> Self {
        let release = std::fs::read_to_string(root.join("etc/os-release")).unwrap_or_default();
        let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        let words = |parts: &[&Option<String>]| {
            let parts: Vec<&str> = parts.iter().filter_map(|part| part.as_deref()).collect();
            parts.join(" ")
        };
        let file = software.firmware_file.as_ref().map(|version| format!("{version} (file npu.sbin)"));
        Self {
            processor,
            distribution: text::plain(name.unwrap_or_default().trim_matches('"')),
            kernel: words(&[&software.kernel]),
            driver: words(&[&software.driver_version, &software.driver.map(|origin| origin.to_string())]),
            firmware: words(&[&software.firmware, &file]),
            xrt: words(&[&software.xrt]),
        }
    }
}

impl Report {
    /// Of a ladder that was not climbed yet.
    pub fn new(device: &str, target: String, machine: Machine) -> Self {
        Self {
            format: FORMAT,
            undertone: env!("CARGO_PKG_VERSION").to_owned(),
            device: device.to_owned(),
            target,
            machine,
            rungs: Vec::new(),
            core_costs: None,
            kernel_log: KernelLog::default(),
            send: if device == Device::Sim.word() { String::new() } else { SEND.to_owned() },
        }
    }

    /// A rung begins: until it is added, this stands for it.
    pub fn begin(&mut self, rung: Rung, limit: Duration) {
        self.rungs.push(rung_report(rung, Verdict::Begun, limit.as_secs_f64()));
    }

    /// A check of the rung that has begun.
    pub fn tell(&mut self, check: &Check) {
        if let Some(rung) = self.rungs.last_mut() {
            rung.checks.push(check.clone());
        }
    }

    /// A rung has ended.
    pub fn add(&mut self, rung: RungReport) {
        self.rungs.retain(|begun| begun.verdict != Verdict::Begun);
        self.rungs.push(rung);
        self.core_costs = costs::measured(&self.target, &self.rungs);
    }

    /// The rung that the ladder stopped at.
    pub fn stopped_at(&self) -> Option<&RungReport> {
        self.rungs.iter().find(|rung| !rung.verdict.is_well())
    }

    /// Writes it whole, scrubbed of all that is personal, in the place of an earlier one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path, scrub: &Scrub) -> io::Result<()> {
        let mut scrubbed = self.clone();
        scrub.report(&mut scrubbed);
        let text = serde_json::to_string_pretty(&scrubbed).map_err(io::Error::other)?;
        file::write(path, &format!("{text}\n"))
    }
}

/// A report of the NPU of `device` (`npu`, or `sim`, which plays `target`), before the first rung.
pub fn begin(device: Device, target: Option<options::Target>, processor: String) -> Report {
    let probe = probe();
    let target = match device {
        Device::Sim => Some(target.map_or(Target::Npu4, Target::from)),
        _ => probe.target(),
    };
    let target = target.map(|target| target.to_string()).unwrap_or_default();
    Report::new(device.word(), target, Machine::below(Path::new("/"), processor, &probe.software))
}

/// A rung above one that failed.
pub fn not_reached(rung: Rung) -> RungReport {
    rung_report(rung, Verdict::NotReached, rung.limit().as_secs_f64())
}

/// A rung before its checks.
pub(crate) fn rung_report(rung: Rung, verdict: Verdict, limit_seconds: f64) -> RungReport {
    let title = rung.title().to_owned();
    RungReport { rung: rung.number(), title, verdict, seconds: 0.0, limit_seconds, checks: Vec::new() }
}

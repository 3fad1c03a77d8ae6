//! What a person can choose for one session of the EP: the EP options, read from words and checked.
//!
//! This is the one place that turns the word `device` into a device. How the words travel from ONNX Runtime to here is not
//! its business.

use std::{fmt, path::PathBuf, str::FromStr};

use undertone_kernels::{
    DeviceKind, Precision,
    npu::{self, Settings, Target, sim::Mode},
};

/// The options' names, in the order in which documents list them.
pub const KEYS: [&str; 8] = ["device", "target", "sim", "bundle_dir", "precision", "claim", "threads", "report"];

/// Most threads that a session may ask for: far above any machine, far below what overflows.
const MOST_THREADS: usize = 4096;

/// The choices for one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The device that was asked for.
    pub asked: DeviceChoice,
    /// The device that runs the claimed nodes.
    pub device: DeviceKind,
    /// Which NPU is simulated, or has to be there; `None` leaves it to the hardware, and to the simulator's default.
    pub target: Option<Target>,
    /// How the simulator computes.
    pub sim: Mode,
    /// Number format of the operands of products inside transformer layers and the convolutional stem before them; all others are computed
    /// in fp32.
    pub precision: Precision,
    /// Which nodes to claim.
    pub claim: Claim,
    /// Tasks that may run at the same moment; `None` leaves it to ONNX Runtime's intra-op pool.
    pub threads: Option<usize>,
    /// Where compiled NPU kernels lie. Only the NPU reads it.
    pub bundle_dir: Option<PathBuf>,
    /// File that gets the partition as JSON.
    pub report: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            asked: DeviceChoice::Auto,
            device: DeviceKind::Host,
            target: None,
            sim: Mode::Fast,
            precision: Precision::Int8,
            claim: Claim::All,
            threads: None,
            bundle_dir: None,
            report: None,
        }
    }
}

impl Options {
    /// Reads options from pairs of key and value; what is not named keeps its default.
    ///
    /// # Errors
    /// A key or a value that is not known, a device that is not there, or one that does not compute what is asked.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, OptionsError> {
        let mut options = Self::default();
        for (key, value) in pairs {
            options.set(key, value)?;
        }
        options.device = options.asked.resolve()?;
        options.check()?;
        Ok(options)
    }

    /// Whether the device computes what is asked.
    fn check(&mut self) -> Result<(), OptionsError> {
        if self.device != DeviceKind::Host && self.precision == Precision::F32 {
            if self.asked != DeviceChoice::Auto {
                return Err(OptionsError::NoF32 { device: self.device });
            }
            self.device = DeviceKind::Host;
        }
        let found = if self.device == DeviceKind::Npu { npu::probe().target() } else { None };
        match (self.target, found) {
            (Some(wanted), Some(found)) if wanted != found => Err(OptionsError::OtherTarget { wanted, found }),
            _ => {
                self.target = self.target.or(found);
                Ok(())
            }
        }
    }

    /// Which NPU to open. A simulated one says whether there are bundles, and needs none.
    pub fn npu_settings(&self) -> Settings {
        let target = self.target.unwrap_or(Settings::default().target);
        Settings { target, bundle_dir: self.bundle_dir.clone(), mode: self.sim }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), OptionsError> {
        match key {
            "device" => self.asked = word(key, value, &DeviceChoice::ALL)?,
            "target" => self.target = Some(word(key, value, &Target::ALL)?),
            "sim" => self.sim = word(key, value, &Mode::ALL)?,
            "precision" => self.precision = word(key, value, &[Precision::Int8, Precision::Bf16, Precision::F32])?,
            "claim" => self.claim = word(key, value, &Claim::ALL)?,
            "threads" => self.threads = Some(threads(value)?),
            "bundle_dir" => self.bundle_dir = Some(path(key, value)?),
            "report" => self.report = Some(path(key, value)?),
            _ => return Err(OptionsError::UnknownKey { key: key.to_owned() }),
        }
        Ok(())
    }
}

/// The word given for `device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceChoice {
    /// The NPU if this build and this machine have one that can be used, and the host device for what fails on it; else the host device.
    Auto,
    /// This machine's CPU, with the NPU's arithmetic.
    Host,
    /// A simulated NPU.
    Sim,
    /// An AMD NPU, or an error: never anything else in its place.
    Npu,
}

impl DeviceChoice {
    /// All of them.
    pub const ALL: [DeviceChoice; 4] = [DeviceChoice::Auto, DeviceChoice::Host, DeviceChoice::Sim, DeviceChoice::Npu];

    /// The device that this word means here.
    ///
    /// # Errors
    /// The build has no NPU device.
    pub fn resolve(self) -> Result<DeviceKind, OptionsError> {
        match self {
            DeviceChoice::Host => Ok(DeviceKind::Host),
            DeviceChoice::Sim => Ok(DeviceKind::Sim),
            DeviceChoice::Auto if npu::probe().usable() => Ok(DeviceKind::Npu),
            DeviceChoice::Auto => Ok(DeviceKind::Host),
            // Whether there is one is said when it is opened, in XRT's words too.
            DeviceChoice::Npu if cfg!(feature = "xrt") => Ok(DeviceKind::Npu),
            DeviceChoice::Npu => Err(OptionsError::NoNpu { reason: npu::probe().to_string() }),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceChoice::Auto => "auto",
            DeviceChoice::Host => "host",
            DeviceChoice::Sim => "sim",
            DeviceChoice::Npu => "npu",
        })
    }
}

impl FromStr for DeviceChoice {
    type Err = OptionsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        word("device", text, &Self::ALL)
    }
}

/// Which nodes of a graph the EP claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    /// Every node that it can execute, in as few groups as possible.
    All,
    /// Scaled-dot-product attention only.
    Attention,
    /// Matrix products with constant weights only, with the bias and activation that follow them.
    MatMul,
}

impl Claim {
    /// All of them.
    pub const ALL: [Claim; 3] = [Claim::All, Claim::Attention, Claim::MatMul];
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Claim::All => "all",
            Claim::Attention => "attention",
            Claim::MatMul => "matmul",
        })
    }
}

impl FromStr for Claim {
    type Err = OptionsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        word("claim", text, &Self::ALL)
    }
}

/// Options that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// No option has this name.
    #[error("unknown EP option \"{key}\": the options are {}", KEYS.join(", "))]
    UnknownKey {
        /// The name.
        key: String,
    },
    /// The option does not take this word.
    #[error("EP option {key}=\"{value}\": use {accepted}")]
    UnknownValue {
        /// The option.
        key: String,
        /// What it was given.
        value: String,
        /// What it takes.
        accepted: String,
    },
    /// `device=npu` where no NPU can be used.
    #[error(
        "EP option device=\"npu\": no NPU can be used: {reason}; or use \"host\", \"sim\", or \"auto\" to take what there is"
    )]
    NoNpu {
        /// What is in the way, and what to do.
        reason: String,
    },
    /// The NPU is another one.
    #[error("EP option target=\"{wanted}\": this machine's NPU is {found}; leave the option out")]
    OtherTarget {
        /// What was asked for.
        wanted: Target,
        /// What there is.
        found: Target,
    },
    /// NPUs have no fp32 products.
    #[error(
        "EP option precision=\"f32\": device=\"{device}\" computes int8 and bf16; use one of these, or device=\"host\""
    )]
    NoF32 {
        /// The device.
        device: DeviceKind,
    },
    /// A file that the session is to write cannot be written.
    #[error("EP option {key}: cannot write {}: {reason}", path.display())]
    Unwritable {
        /// The option.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// The one of `choices` that displays as `value`.
fn word<T: Copy + fmt::Display>(key: &str, value: &str, choices: &[T]) -> Result<T, OptionsError> {
    choices.iter().copied().find(|choice| choice.to_string() == value).ok_or_else(|| {
        let accepted: Vec<String> = choices.iter().map(T::to_string).collect();
        unknown(key, value, &accepted.join(", "))
    })
}

fn threads(value: &str) -> Result<usize, OptionsError> {
    match value.parse() {
        Ok(count) if (1..=MOST_THREADS).contains(&count) => Ok(count),
        _ => Err(unknown("threads", value, &format!("a whole number from 1 to {MOST_THREADS}"))),
    }
}

fn path(key: &str, value: &str) -> Result<PathBuf, OptionsError> {
    if value.is_empty() {
        return Err(unknown(key, value, "a path, or leave the option out"));
    }
    Ok(PathBuf::from(value))
}

fn unknown(key: &str, value: &str, accepted: &str) -> OptionsError {
    OptionsError::UnknownValue { key: key.to_owned(), value: value.to_owned(), accepted: accepted.to_owned() }
}

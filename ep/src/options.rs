//! What a person can choose for one session of the EP: the EP options, read from words and checked.
//!
//! This is the one place that turns the word `device` into a device. How the words travel from ONNX Runtime to here is
//! not its business.

use std::{path::PathBuf, str::FromStr};

pub use undertone_boundary::options::{Claim, Commands, DeviceChoice, Key};
use undertone_boundary::{npu::CoreCosts, options, words::UnknownWord};
use undertone_kernels::{
    DeviceKind, Precision,
    npu::{self, Settings, Target, cost, sim::Mode},
};

/// Most threads that a session may ask for: far above any machine, far below what overflows.
const MOST_THREADS: usize = 4096;

/// The choices for one session.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The device that was asked for.
    pub asked: DeviceChoice,
    /// The device that runs the claimed nodes.
    pub device: DeviceKind,
    /// Which NPU is simulated, or has to be there; `None` leaves it to the hardware, and to the simulator's default.
    pub target: Option<Target>,
    /// How the simulator computes.
    pub sim: Mode,
    /// Number format of the operands of products inside transformer layers and the convolutional stem before them; all
    /// others are computed in fp32.
    pub precision: Precision,
    /// Which nodes to claim.
    pub claim: Claim,
    /// Nobody said which nodes to claim: groups without a product are left alone, and graphs of which the EP would
    /// compute the smaller part.
    pub sparing: bool,
    /// Tasks that may run at the same moment; `None` leaves it to ONNX Runtime's intra-op pool.
    pub threads: Option<usize>,
    /// Where compiled NPU kernels lie. Only the NPU reads it.
    pub bundle_dir: Option<PathBuf>,
    /// How commands are given to an NPU.
    pub commands: Commands,
    /// What was measured on the NPU, in place of the cost model's own numbers.
    pub core_costs: Option<CoreCosts>,
    /// File that gets the partition as JSON.
    pub report: Option<PathBuf>,
    /// File that gets what runs did when.
    pub trace: Option<PathBuf>,
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
            sparing: false,
            threads: None,
            bundle_dir: None,
            commands: Commands::default(),
            core_costs: None,
            report: None,
            trace: None,
        }
    }
}

impl Options {
    /// Reads options from pairs of key and value; what is not named keeps its default. Whoever names neither a device
    /// nor a precision gets fp32 on the host device: the provider may have been chosen by one of ONNX Runtime's
    /// automatic policies, and an answer must not become less exact because this library is registered.
    ///
    /// # Errors
    /// A key or a value that is not known, a device that is not there, or one that does not compute what is asked.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, OptionsError> {
        let mut options = Self { sparing: true, ..Self::default() };
        let mut asks_for_arithmetic = false;
        for (key, value) in pairs {
            options.set(key, value)?;
            asks_for_arithmetic |= [Key::Device.word(), Key::Precision.word()].contains(&key);
        }
        if !asks_for_arithmetic {
            options.precision = Precision::F32;
        }
        options.device = resolve(options.asked)?;
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
                self.check_costs()
            }
        }
    }

    /// Whether what was measured is of this NPU.
    fn check_costs(&self) -> Result<(), OptionsError> {
        let target = self.npu_settings().target;
        match &self.core_costs {
            Some(costs) if self.device != DeviceKind::Host && costs.target != target.to_string() => {
                Err(OptionsError::OtherCosts { measured: costs.target.clone(), target })
            }
            _ => Ok(()),
        }
    }

    /// Which NPU to open. A simulated one says whether there are bundles, and needs none.
    pub fn npu_settings(&self) -> Settings {
        let target = self.target.unwrap_or(Settings::default().target);
        let (bundle_dir, core_costs) = (self.bundle_dir.clone(), self.core_costs.clone());
        Settings { target, bundle_dir, mode: self.sim, commands: self.commands, core_costs }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), OptionsError> {
        match key.parse().map_err(|UnknownWord { word, .. }| OptionsError::UnknownKey { key: word })? {
            Key::Device => self.asked = word(key, value)?,
            Key::Target => self.target = Some(word::<options::Target>(key, value)?.into()),
            Key::Sim => self.sim = word(key, value)?,
            Key::BundleDir => self.bundle_dir = Some(path(key, value)?),
            Key::NpuCommands => self.commands = word(key, value)?,
            Key::CoreCosts => self.core_costs = Some(costs(path(key, value)?)?),
            Key::Precision => self.precision = word(key, value)?,
            Key::Claim => (self.claim, self.sparing) = (word(key, value)?, false),
            Key::Threads => self.threads = Some(threads(value)?),
            Key::Report => self.report = Some(path(key, value)?),
            Key::Trace => self.trace = Some(path(key, value)?),
        }
        Ok(())
    }
}

/// The device that a choice means here.
///
/// # Errors
/// The build has no NPU device.
pub fn resolve(choice: DeviceChoice) -> Result<DeviceKind, OptionsError> {
    match choice {
        DeviceChoice::Host => Ok(DeviceKind::Host),
        DeviceChoice::Sim => Ok(DeviceKind::Sim),
        DeviceChoice::Auto if npu::probe().usable() => Ok(DeviceKind::Npu),
        DeviceChoice::Auto => Ok(DeviceKind::Host),
        // Whether there is one is said when it is opened, in XRT's words too.
        DeviceChoice::Npu if cfg!(feature = "xrt") => Ok(DeviceKind::Npu),
        DeviceChoice::Npu => Err(OptionsError::NoNpu { reason: npu::probe().to_string() }),
    }
}

/// Options that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "a field is what its message says of it")]
pub enum OptionsError {
    /// No option has this name.
    #[error("unknown EP option \"{key}\": the options are {}", Key::ALL.map(Key::word).join(", "))]
    UnknownKey { key: String },
    /// The option does not take this word.
    #[error("EP option {key}=\"{value}\": use {accepted}")]
    UnknownValue { key: String, value: String, accepted: String },
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
    OtherTarget { wanted: Target, found: Target },
    /// Costs that were measured on another NPU.
    #[error("EP option core_costs: they were measured on {measured}, and this NPU is {target}: leave the option out")]
    OtherCosts { measured: String, target: Target },
    /// A file that the session is to read cannot be used.
    #[error("EP option {key}: cannot use {}: {reason}", path.display())]
    Unreadable { key: &'static str, path: PathBuf, reason: String },
    /// NPUs have no fp32 products.
    #[error(
        "EP option precision=\"f32\": device=\"{device}\" computes int8 and bf16; use one of these, or device=\"host\""
    )]
    NoF32 { device: DeviceKind },
    /// A file that the session is to write cannot be written.
    #[error("EP option {key}: cannot write {}: {reason}", path.display())]
    Unwritable { key: &'static str, path: PathBuf, reason: String },
}

fn word<T: FromStr<Err = UnknownWord>>(key: &str, value: &str) -> Result<T, OptionsError> {
    value.parse().map_err(|UnknownWord { accepted, .. }| unknown(key, value, &accepted))
}

fn threads(value: &str) -> Result<usize, OptionsError> {
    match value.parse() {
        Ok(count) if (1..=MOST_THREADS).contains(&count) => Ok(count),
        _ => Err(unknown(Key::Threads.word(), value, &format!("a whole number from 1 to {MOST_THREADS}"))),
    }
}

fn path(key: &str, value: &str) -> Result<PathBuf, OptionsError> {
    if value.is_empty() {
        return Err(unknown(key, value, "a path, or leave the option out"));
    }
    Ok(PathBuf::from(value))
}

fn costs(path: PathBuf) -> Result<CoreCosts, OptionsError> {
    cost::read(&path).map_err(|reason| OptionsError::Unreadable { key: Key::CoreCosts.word(), path, reason })
}

fn unknown(key: &str, value: &str, accepted: &str) -> OptionsError {
    OptionsError::UnknownValue { key: key.to_owned(), value: value.to_owned(), accepted: accepted.to_owned() }
}

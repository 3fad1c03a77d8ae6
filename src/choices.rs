//! The options that several subcommands share, and what they come to: the model, the device, the libraries. Decides
//! nothing that the runner decides.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Result, anyhow, bail, ensure};
use clap::Args;
use clap::builder::{OsStringValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use undertone_models::ProvideError;
use undertone_runner::audio::DecoderChoice;
use undertone_runner::options::UnknownWord;
use undertone_runner::{Claim, Commands, Device, EngineOptions, Model, Precision, Simulation, Target, Task};

use crate::given::Given;
use crate::locate;
use crate::output::say;
use crate::steps::Steps;

/// Where the shared libraries are; both have defaults that need no help.
#[derive(Args, Clone)]
pub struct Libraries {
    /// ONNX Runtime's shared library, 1.24 or newer [default: lib/ beside the command, else the one that the build
    /// found]
    #[arg(long, value_name = "FILE", env = "ORT_DYLIB_PATH", hide_env_values = true, help_heading = "Libraries",
        value_parser = path_or_nothing())]
    pub ort_library: Option<PathBuf>,
    /// The execution provider's shared library [default: beside the command or in ../lib]
    #[arg(long, value_name = "FILE", env = "UNDERTONE_EP_LIBRARY", hide_env_values = true, help_heading = "Libraries",
        value_parser = path_or_nothing())]
    pub ep_library: Option<PathBuf>,
}

impl Libraries {
    /// Options for `device` with the libraries found; the execution provider's only if the device needs it.
    ///
    /// # Errors
    /// If a library that the device needs is not there.
    pub fn options(&self, device: Device) -> Result<EngineOptions> {
        let mut options = EngineOptions::new(locate::ort_library(named(self.ort_library.as_ref()))?);
        options.device = device;
        tracing::info!("ONNX Runtime: {}", options.ort_library.display());
        options.ep_library = match locate::ep_library(named(self.ep_library.as_ref())) {
            Ok(path) => Some(path),
            Err(_) if device == Device::Cpu => None,
            // With `auto` the runner goes on without it, and says so in its result; not where somebody named one.
            Err(_) if device == Device::Auto && named(self.ep_library.as_ref()).is_none() => None,
            Err(error) => return Err(error),
        };
        if let Some(path) = &options.ep_library {
            tracing::info!("execution provider: {}", path.display());
        }
        Ok(options)
    }

    /// Why there is no execution provider, if there is none.
    pub fn missing_ep(&self) -> Option<anyhow::Error> {
        locate::ep_library(named(self.ep_library.as_ref())).err()
    }
}

/// A path that may be empty, which clap's own parser refuses.
fn path_or_nothing() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// An environment variable that is set to nothing counts as not set.
fn named(path: Option<&PathBuf>) -> Option<&Path> {
    path.map(PathBuf::as_path).filter(|path| !path.as_os_str().is_empty())
}

/// Where models are kept as they are computed with.
#[derive(Args, Clone)]
pub struct PackedChoice {
    /// Folder in which models are kept as they are computed with, so that the next start is quick; `off` keeps none
    /// [default: undertone/packed in the user's cache folder]
    #[arg(
        long,
        value_name = "DIR|off",
        env = "UNDERTONE_PACKED",
        hide_env_values = true,
        help_heading = "Libraries",
        value_parser = path_or_nothing()
    )]
    packed: Option<PathBuf>,
}

impl PackedChoice {
    /// The folder, if there is to be one.
    pub fn folder(&self) -> Option<PathBuf> {
        match named(self.packed.as_ref()) {
            Some(word) if word == "off" => None,
            Some(folder) => Some(folder.to_owned()),
            None => locate::packed_folder(),
        }
    }
}

/// Which model.
#[derive(Args, Clone)]
pub struct ModelChoice {
    /// A model: a name such as tiny, base, small.en, large-v3 or turbo; a Hugging Face repository; a folder or a file.
    /// What is not here is fetched, and weights are converted, once (`undertone model list`) [default: base]
    #[arg(short, long, value_name = "MODEL", env = "UNDERTONE_MODEL", hide_env_values = true)]
    pub model: Option<String>,
    /// Which set of files, by the end of their names: fp16 takes encoder_model_fp16.onnx, and encoder=fp16,decoder=q4
    /// one for each [default: full precision, else what is there]
    #[arg(long, value_name = "SUFFIX")]
    pub variant: Option<String>,
}

impl ModelChoice {
    /// Opens the model, fetched and converted if it is not here. Without a name it is the default one; where that
    /// cannot be had for want of a network, the reference model, with a warning.
    ///
    /// # Errors
    /// If it cannot be found, fetched or understood; an error in what an environment variable names says that it does.
    pub fn open(&self, given: &Given<'_>) -> Result<Model> {
        let model = self.opened();
        if given.in_environment("model") && self.name().is_some() {
            return model.map_err(|error| anyhow!("{} (from UNDERTONE_MODEL)", crate::words(&error)));
        }
        model
    }

    /// What the person calls it.
    pub fn shown(&self) -> &str {
        self.name().unwrap_or(undertone_models::DEFAULT)
    }

    fn name(&self) -> Option<&str> {
        self.model.as_deref().filter(|name| !name.is_empty())
    }

    fn opened(&self) -> Result<Model> {
        let folder = match self.name() {
            Some(name) => self.folder_of(name)?,
            None => match self.folder_of(undertone_models::DEFAULT) {
                Err(error) if error.is_for_want_of_a_network() => reference_instead(&error)?,
                other => other?,
            },
        };
        let model = Model::from_directory(&folder, self.variant.as_deref())?;
        tracing::info!("model: {}, {}", model.directory().display(), model.variant());
        Ok(model)
    }

    fn folder_of(&self, name: &str) -> Result<PathBuf, ProvideError> {
        let steps = Steps::new();
        let provided = undertone_models::provide(name, self.variant.as_deref(), &mut |step| steps.show(step))?;
        tracing::info!("model '{name}' from {}", provided.from);
        Ok(provided.folder)
    }
}

/// The last resort.
fn reference_instead(error: &ProvideError) -> Result<PathBuf> {
    let reference = locate::reference_model()?;
    say(&format!(
        "warning: no transcript of a person comes out: the small reference model takes the place of the default one. It knows synthesised \
         speech and understands no person. '{}' is not here: {error}",
        undertone_models::DEFAULT
    ));
    Ok(reference)
}

/// Warns of options that stand on the command line and do nothing with `devices`.
pub fn warn_of_options_without_effect(given: &Given<'_>, devices: &[Device], precisions: &[Precision]) {
    use Device::{Auto, Host, Npu, Sim};
    // What has an effect on which devices, and why on no other.
    let mut options: Vec<(&str, &[Device], &str)> = vec![
        ("target", &[Auto, Sim, Npu], "it says which NPU is there or is simulated"),
        ("bundle_dir", &[Auto, Sim, Npu], "it holds kernels for an NPU"),
        ("npu_commands", &[Auto, Sim, Npu], "it says how an NPU is given its commands"),
        ("core_costs", &[Auto, Sim, Npu], "it holds what was measured on an NPU"),
        ("sim", &[Sim], "it says how the device sim computes"),
        ("packed", &[Auto, Host], "only the host device's models are packed"),
    ];
    // Whoever asks for f32 mostly gets it from the CPU provider, which computes in the model's own types.
    if precisions.iter().any(|precision| *precision != Precision::F32) {
        options.push(("precision", &[Auto, Host, Sim, Npu], "it computes in the model's own types"));
    }
    let names = devices.iter().map(|device| device.word()).collect::<Vec<_>>().join(" and ");
    for (option, works_with, reason) in options {
        if given.on_command_line(option) && !devices.iter().any(|device| works_with.contains(device)) {
            say(&format!("warning: --{} has no effect with device {names}: {reason}", option.replace('_', "-")));
        }
    }
}

/// `--threads`, checked: zero threads would mean something else to each layer below.
pub fn threads(text: &str) -> Result<usize> {
    match text.parse() {
        Ok(0) => bail!("0 threads cannot work: leave the option out to use all cores"),
        Ok(count) if count <= 1024 => Ok(count),
        _ => bail!("use a number from 1 to 1024"),
    }
}

/// `--batch`, checked: each window takes memory.
pub fn batch(text: &str) -> Result<usize> {
    match text.parse() {
        Ok(count) if (1..=256).contains(&count) => Ok(count),
        _ => bail!("use a number from 1 to 256"),
    }
}

/// Takes one of some words of the runner's or the provider's, with what the help says of each.
fn one_of<T, const N: usize>(words: [(&'static str, &'static str); N]) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = UnknownWord> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words.map(|(word, help)| PossibleValue::new(word).help(help)))
        .try_map(|word| word.parse::<T>())
}

/// `--precision`.
pub fn precision() -> impl TypedValueParser<Value = Precision> {
    one_of([
        (Precision::Int8.word(), "8-bit integer products: fastest"),
        (Precision::Bf16.word(), "bfloat16 products"),
        (Precision::F32.word(), "32-bit floating point: for comparison"),
    ])
}

/// `--precision` where only kernels for NPUs do.
pub fn npu_precision() -> impl TypedValueParser<Value = Precision> {
    one_of([(Precision::Int8.word(), "8-bit integer products: fastest"), (Precision::Bf16.word(), "bfloat16 products")])
}

/// The devices that are compared where none are named.
pub const DEVICES: &str = "cpu,host";

/// `--device`.
pub fn device() -> impl TypedValueParser<Value = Device> {
    one_of([
        (Device::Auto.word(), "The best device there is; if it fails, the CPU provider, and that is said"),
        (Device::Cpu.word(), "ONNX Runtime's own CPU provider, without Undertone's execution provider: the reference"),
        (Device::Host.word(), "The NPU kernels' arithmetic on the CPU"),
        (
            Device::Sim.word(),
            "The NPU's simulator: what an NPU would compute, slowly, and what it is predicted to take",
        ),
        (Device::Npu.word(), "The NPU; an error where there is none: `undertone devices` says what is missing"),
    ])
}

/// `--device` of what is about NPUs alone.
pub fn npu_device() -> impl TypedValueParser<Value = Device> {
    one_of([(Device::Npu.word(), "The NPU of this machine"), (Device::Sim.word(), "The simulator in its place")])
}

/// `--target`.
pub fn target() -> impl TypedValueParser<Value = Target> {
    one_of(Target::ALL.map(|target| {
        let silicon = match target {
            Target::Npu1 => "XDNA: Phoenix, Hawk Point",
            Target::Npu4 => "XDNA2: Strix, Strix Halo, Krackan",
        };
        (target.word(), silicon)
    }))
}

/// `--sim`. Counting computes nothing, so it is no choice of a person's.
fn simulation() -> impl TypedValueParser<Value = Simulation> {
    one_of([
        (Simulation::Fast.word(), "With this machine's vectors"),
        (Simulation::Exact.word(), "By the NPU's own C++ code on a model of its instructions: a hundred times slower"),
    ])
}

/// `--npu-commands`.
fn commands() -> impl TypedValueParser<Value = Commands> {
    one_of([
        (Commands::Lists.word(), "Those that belong together in one list"),
        (Commands::Single.word(), "Each by itself: slower, for drivers that let lists time out"),
    ])
}

/// `--claim`.
pub fn claim() -> impl TypedValueParser<Value = Claim> {
    one_of([
        (Claim::All.word(), "All that it knows"),
        (Claim::Attention.word(), "Attention only"),
        (Claim::MatMul.word(), "Matrix products only"),
    ])
}

/// `--decoder`.
pub fn decoder() -> impl TypedValueParser<Value = DecoderChoice> {
    one_of([
        (
            DecoderChoice::Auto.word(),
            "The command's own decoders, and ffmpeg for what they do not know, if it is installed",
        ),
        (DecoderChoice::Builtin.word(), "The command's own alone"),
        (DecoderChoice::Ffmpeg.word(), "ffmpeg for everything"),
    ])
}

/// `--task`.
pub fn task() -> impl TypedValueParser<Value = Task> {
    one_of([(Task::Transcribe.word(), "In the spoken language"), (Task::Translate.word(), "Into English")])
}

/// Whether a report's measurements can be used, for an NPU that is known or not.
pub fn check_core_costs(report: Option<&Path>, target: Option<Target>) -> Result<()> {
    let Some(report) = report else { return Ok(()) };
    let costs =
        undertone_bench::core_costs(report).map_err(|reason| anyhow!("--core-costs {}: {reason}", report.display()))?;
    match target {
        Some(target) if costs.target != target.word() => bail!(
            "--core-costs {}: it was measured on {}, and this NPU is {target}: leave the option out, or name that \
             --target",
            report.display(),
            costs.target
        ),
        _ => Ok(()),
    }
}

/// Whether devices that are NPUs are asked for what they compute.
pub fn check_precision(device: Device, precision: Precision) -> Result<()> {
    ensure!(
        precision != Precision::F32 || !matches!(device, Device::Sim | Device::Npu),
        "--precision f32: device {device} computes int8 and bf16; use one of these, or --device host"
    );
    Ok(())
}

/// Which NPU, simulated or real, and where its kernels are.
#[derive(Args, Clone)]
pub struct NpuChoice {
    /// The NPU that sim plays, or that has to be there: npu1 is XDNA (Phoenix, Hawk Point), npu4 XDNA2 (Strix, Krackan)
    /// [default: the one that is there; sim plays npu4]
    #[arg(long, value_parser = target(), value_name = "NPU", help_heading = "NPU")]
    pub target: Option<Target>,
    /// Folder of compiled NPU kernels; sim needs none [default: what `undertone npu fetch` put in place]
    #[arg(long, value_name = "DIR", help_heading = "NPU")]
    pub bundle_dir: Option<PathBuf>,
    /// How commands are given to the NPU; the results are the same
    #[arg(long, value_parser = commands(), default_value_t = Commands::Lists, value_name = "HOW", help_heading = "NPU")]
    pub npu_commands: Commands,
    /// Report of `undertone npu bring-up`: its measurements decide what goes to the NPU, and predict its times
    #[arg(long, value_name = "FILE", help_heading = "NPU")]
    pub core_costs: Option<PathBuf>,
    /// How sim computes; the results are the same
    #[arg(long, value_parser = simulation(), default_value_t = Simulation::Fast, value_name = "HOW", help_heading = "NPU")]
    pub sim: Simulation,
}

impl NpuChoice {
    /// Looks at what is named for an NPU before a model is opened.
    ///
    /// # Errors
    /// If it cannot be used on one of the devices.
    pub fn check(&self, devices: &[Device]) -> Result<()> {
        if !devices.iter().any(|device| matches!(device, Device::Auto | Device::Sim | Device::Npu)) {
            return Ok(());
        }
        let simulated = devices.contains(&Device::Sim).then_some(Target::Npu4);
        check_core_costs(self.core_costs.as_deref(), self.target.or(simulated))?;
        if let Some(folder) = self.bundle_dir.as_ref().filter(|folder| !folder.is_dir()) {
            let missing = format!("--bundle-dir {}: there is no such folder", folder.display());
            ensure!(!devices.contains(&Device::Npu), missing);
            say(&format!("warning: {missing}; without an NPU none is needed"));
        }
        Ok(())
    }

    /// Says it to the runner.
    pub fn apply(&self, options: &mut EngineOptions) {
        options.target = self.target;
        options.bundle_dir.clone_from(&self.bundle_dir);
        options.npu_commands = self.npu_commands;
        options.core_costs.clone_from(&self.core_costs);
        options.simulation = self.sim;
    }
}

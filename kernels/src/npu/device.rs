//! An NPU as a [`Device`]: which design each kernel gets, over any [`Array`].

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use undertone_boundary::npu::{BundleReport, CoreCosts, NpuReport};
pub use undertone_boundary::options::Commands;

use super::{
    array::Array,
    attention::NpuAttention,
    bundle::Bundles,
    chain,
    design::{Design, HEAD_WIDTH, Kernels},
    engine::Engines,
    linear::NpuLinear,
    sim::{Mode, SimArray},
    target::Target,
};
use crate::{
    Activation, Attention, AttentionSpec, Context, Conv1d, Conv1dSpec, Device, DeviceKind, Failed, Linear, LinearSpec,
    Precision, Product, Rows, SelfAttention, Unsupported, WeightLayout,
    device::{one_by_one, part_by_part},
    host::{HostDevice, conv},
    numbers::INT8_MAX_INPUTS,
};

/// Output positions of a convolution in one dispatch: all of a window.
const CONVOLUTION_ROWS: usize = 3072;

/// Which NPU is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Which silicon.
    pub target: Target,
    /// Where bundles lie; `None` for where `undertone npu fetch` puts them. The simulator needs none.
    pub bundle_dir: Option<PathBuf>,
    /// How the simulator computes.
    pub mode: Mode,
    /// How commands are given to the array.
    pub commands: Commands,
    /// What was measured of this NPU, for predictions and for where kernels have their place.
    pub core_costs: Option<CoreCosts>,
}

impl Settings {
    /// Where bundles are looked for: in the folder that is named, or in the one where `undertone npu fetch` puts them,
    /// if it is there.
    pub(super) fn bundles(&self) -> Option<PathBuf> {
        self.bundle_dir.clone().or_else(|| undertone_boundary::bundles::folder().filter(|folder| folder.is_dir()))
    }
}

impl Default for Settings {
    fn default() -> Self {
        let (mode, commands) = (Mode::default(), Commands::default());
        Self { target: Target::Npu4, bundle_dir: None, mode, commands, core_costs: None }
    }
}

/// A device that counts what its array did.
pub trait NpuDevice: Device {
    /// Which silicon it is, or plays.
    fn target(&self) -> Target;

    /// What was executed so far.
    fn statistics(&self) -> NpuReport;
}

/// A simulated NPU.
pub fn simulator(settings: &Settings) -> Arc<dyn NpuDevice> {
    let array = SimArray::new(settings.target, settings.mode).with_commands(settings.commands);
    Arc::new(Npu { bundle_dir: settings.bundles(), ..Npu::with_costs(array, settings.core_costs.as_ref()) })
}

/// An NPU over an array.
pub struct Npu<A: Array> {
    engines: Arc<Engines<A>>,
    host: HostDevice,
    /// Where bundles are looked for by a simulator, which needs none and says whether there are.
    bundle_dir: Option<PathBuf>,
}

impl<A: Array> Npu<A> {
    /// A device without open designs.
    pub fn new(array: A) -> Self {
        Self::with_costs(array, None)
    }

    /// The same of an NPU of which these costs were measured.
    pub fn with_costs(array: A, costs: Option<&CoreCosts>) -> Self {
        Self { engines: Arc::new(Engines::new(array, costs)), host: HostDevice::new(), bundle_dir: None }
    }

    /// The array below.
    pub fn array(&self) -> &A {
        &self.engines.array
    }

    fn unsupported(&self, operator: &'static str, reason: impl Into<String>) -> Unsupported {
        Unsupported { device: self.kind(), operator, reason: reason.into() }
    }

    /// The design of a number format, or why there is none.
    fn design(&self, precision: Precision) -> Result<Design, String> {
        let kernels = Kernels::of(precision).ok_or("it has no fp32 products")?;
        Design::shipped(self.engines.array.target(), kernels).map_err(|error| error.to_string())
    }
}

impl<A: Array> Device for Npu<A> {
    fn kind(&self) -> DeviceKind {
        self.engines.array.kind()
    }

    fn linear(
        &self,
        spec: &LinearSpec,
        weights: &[f32],
        layout: WeightLayout,
        bias: Option<&[f32]>,
    ) -> Result<Box<dyn Linear>, Unsupported> {
        let refuse = |reason: &str| Err(self.unsupported("linear", reason));
        if spec.precision == Precision::Int8 && spec.inputs > INT8_MAX_INPUTS {
            return refuse("int32 does not hold sums of so many inputs");
        }
        if spec.wide_rows {
            return refuse("its rows are of 8 bits");
        }
        if spec.activation == Activation::GeluTanh {
            return refuse("its GELU is the exact one");
        }
        if spec.inputs == 0 || spec.outputs == 0 {
            return refuse("it has no inputs or no outputs");
        }
        let design = self.design(spec.precision).map_err(|reason| self.unsupported("linear", reason))?;
        match NpuLinear::new(&self.engines, &design, spec, weights, layout, bias) {
            Ok(kernel) => Ok(Box::new(kernel)),
            Err(error) => refuse(&error.to_string()),
        }
    }

    fn attention(&self, spec: &AttentionSpec) -> Result<Box<dyn Attention>, Unsupported> {
        let refuse = |reason: &str| Err(self.unsupported("attention", reason));
        if spec.head_width != HEAD_WIDTH {
            return refuse(&format!("its heads are {HEAD_WIDTH} wide, not {}", spec.head_width));
        }
        let design = self.design(spec.precision).map_err(|reason| self.unsupported("attention", reason))?;
        let engine = match self.engines.engine(&design) {
            Ok(engine) => engine,
            Err(error) => return refuse(&error.to_string()),
        };
        let host = self.host.attention(spec)?;
        Ok(Box::new(NpuAttention { engines: Arc::clone(&self.engines), engine, spec: spec.clone(), host }))
    }

    /// A product of windows, which the host gathers.
    fn conv1d(&self, spec: &Conv1dSpec, weights: &[f32], bias: Option<&[f32]>) -> Result<Box<dyn Conv1d>, Unsupported> {
        conv::over(spec, weights, CONVOLUTION_ROWS, |spec, weights| {
            self.linear(spec, weights, WeightLayout::OutputsByInputs, bias)
        })
        .map_err(|error| Unsupported { operator: "convolution", ..error })
    }

    fn products(&self, context: &mut Context<'_>, rows: &Rows<'_>, products: &mut [Product<'_>]) -> Result<(), Failed> {
        self.host.after_norm(context, rows, |context, x| {
            NpuLinear::<A>::together(context, rows.rows, x, products)
                .unwrap_or_else(|| one_by_one(context, rows.rows, x, products))
        })
    }

    fn mlp(
        &self,
        context: &mut Context<'_>,
        rows: &Rows<'_>,
        first: &(dyn Linear + 'static),
        hidden: usize,
        mut second: Product<'_>,
    ) -> Result<(), Failed> {
        self.host.after_norm(context, rows, |context, x| {
            let rows = Rows { x, norm: None, ..*rows };
            chain::mlp::<A>(context, &rows, first, &mut second)
                .unwrap_or_else(|| self.host.mlp(context, &rows, first, hidden, second))
        })
    }

    fn self_attention(
        &self,
        context: &mut Context<'_>,
        rows: &Rows<'_>,
        mut block: SelfAttention<'_>,
    ) -> Result<(), Failed> {
        self.host.after_norm(context, rows, |context, x| {
            let rows = Rows { x, norm: None, ..*rows };
            chain::self_attention::<A>(context, &rows, &mut block)
                .unwrap_or_else(|| part_by_part(self, context, &rows, block))
        })
    }
}

impl<A: Array> NpuDevice for Npu<A> {
    fn target(&self) -> Target {
        self.engines.array.target()
    }

    fn statistics(&self) -> NpuReport {
        self.engines.counted.get(|design| self.bundle_dir.as_ref().map(|folder| bundled(folder, design)))
    }
}

/// Whether a folder has a design's bundle, whole.
fn bundled(folder: &Path, design: &Design) -> BundleReport {
    let found = Bundles::open(folder).and_then(|bundles| {
        let bundle = bundles.find(design)?;
        bundle.xclbin()?;
        Ok(bundle.folder().to_path_buf())
    });
    found.map_or_else(|error| BundleReport::Missing(error.to_string()), BundleReport::Present)
}

//! An NPU and the host device beside it as one device: what pays goes to the NPU, by
//! [`Placement`](super::placement::Placement)'s one formula, each time a kernel runs. The rest stays on the host
//! device, which where that was asked for (`device=auto`) also takes over what fails, and all of that is counted
//! ([`OpenNpu::fallbacks`]).
//!
//! The host's layer is made when it is first wanted, of the weights as the NPU holds them: until then, and for ever in
//! a model whose encoder is on the NPU and whose decoder is not, no weight is in memory twice.

mod attention;
#[cfg(test)]
mod chain_tests;
mod conv;
mod linear;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use smallvec::SmallVec;

use self::{attention::PlacedAttention, conv::PlacedConv1d, linear::PlacedLinear};
use super::{NpuDevice, OpenNpu, Problem};
use crate::{
    Attention, AttentionSpec, Context, Conv1d, Conv1dSpec, Device, DeviceKind, Failed, Linear, LinearSpec, Precision,
    Product, Rows, SelfAttention, Unsupported, WeightLayout,
    device::{one_by_one, part_by_part},
    host::HostDevice,
};

/// Layers of one command that are remembered without allocation.
const INLINE: usize = 8;

/// An NPU with the host device beside it.
#[derive(Clone)]
pub struct PlacedDevice {
    npu: Arc<OpenNpu>,
    host: HostDevice,
    falls_back: bool,
}

impl PlacedDevice {
    /// Places kernels on an NPU; with `falls_back` the host device takes over what fails.
    pub fn new(npu: Arc<OpenNpu>, host: HostDevice, falls_back: bool) -> Self {
        Self { npu, host, falls_back }
    }

    /// The NPU.
    pub fn npu(&self) -> &OpenNpu {
        &self.npu
    }

    /// Whether a kernel has its place on the NPU.
    fn pays(&self, precision: Precision, problem: Problem) -> bool {
        self.npu.placement().on_npu(precision, problem)
    }

    /// Whether the host device is to compute without the NPU being tried.
    fn leaves(&self) -> bool {
        self.falls_back && self.npu.is_given_up()
    }

    /// A call that has its place on the NPU if it `pays`: tried there, and else, or if it fails and the host device
    /// takes over, done by the host's kernel, if there is one.
    fn call<C>(
        &self,
        pays: bool,
        call: &mut C,
        npu: impl FnOnce(&mut C) -> Result<(), Failed>,
        host: impl Fn(&mut C) -> Option<Result<(), Failed>>,
    ) -> Result<(), Failed> {
        if (!pays || self.leaves())
            && let Some(done) = host(call)
        {
            if pays {
                self.npu.fell_back(None);
            }
            return done;
        }
        let Err(failure) = npu(call) else {
            self.npu.succeeded();
            return Ok(());
        };
        match self.falls_back.then(|| host(call)).flatten() {
            Some(done) => {
                self.npu.fell_back(Some(&failure));
                done
            }
            None => Err(failure),
        }
    }

    /// The NPU's kernel, or, where it refuses one and the host device may take it, the host's: on the simulator, and on
    /// hardware with `falls_back`.
    fn prepare<T>(
        &self,
        take: impl Fn(&dyn Device) -> Result<T, Unsupported>,
        placed: impl FnOnce(T) -> Result<T, Unsupported>,
    ) -> Result<T, Unsupported> {
        match take(self.npu.device()) {
            Ok(kernel) => placed(kernel),
            // What was asked for is not what would be done.
            Err(refusal) if self.kind() == DeviceKind::Npu && !self.falls_back => Err(refusal),
            Err(refusal) => {
                self.npu.refused(refusal.to_string());
                take(&self.host)
            }
        }
    }

    /// The layer that computes `rows` rows of `layer` on the host device, if that is its place and nothing falls back.
    fn on_host<'a>(&self, layer: &'a (dyn Linear + 'static), rows: usize) -> Option<&'a (dyn Linear + 'static)> {
        match layer.as_own::<PlacedLinear>() {
            Some(placed) if placed.pays(rows) => None,
            Some(placed) => placed.host(),
            None => Some(layer),
        }
    }

    /// The layer that computes `rows` rows of `layer` on the NPU, if that is its place and the NPU is not left alone.
    fn on_npu<'a>(&self, layer: &'a (dyn Linear + 'static), rows: usize) -> Option<&'a (dyn Linear + 'static)> {
        let placed: &PlacedLinear = layer.as_own()?;
        (placed.pays(rows) && !self.leaves()).then(|| placed.npu())
    }

    /// The kernels that compute a block of attention on the NPU, if that is the place of all of them.
    fn attended_on_npu<'a>(&self, block: &SelfAttention<'a>, rows: usize) -> Option<OnNpu<'a>> {
        let [q, k, v] = block.layers;
        let [q, k, v, out] = [q, k, v, block.out.layer].map(|layer| self.on_npu(layer, rows));
        let attention: &PlacedAttention = block.attention.as_own()?;
        let heads = rows.checked_div(block.length)? * block.heads;
        attention.pays(heads, [block.length; 2]).then_some(([q?, k?, v?], attention.npu(), out?))
    }

    /// Has the NPU carry out a group of kernels; `None` if that failed and they are to be tried one by one, each with
    /// the host's in its place.
    fn as_group(&self, group: impl FnOnce(&dyn NpuDevice) -> Result<(), Failed>) -> Option<Result<(), Failed>> {
        match group(self.npu.device()) {
            Ok(()) => self.npu.succeeded(),
            Err(failure) if self.falls_back => {
                self.npu.retried(&failure);
                return None;
            }
            Err(failure) => return Some(Err(failure)),
        }
        Some(Ok(()))
    }
}

/// Layers that make queries, keys and values; attention; and the layer behind it.
type OnNpu<'a> = ([&'a (dyn Linear + 'static); 3], &'a (dyn Attention + 'static), &'a (dyn Linear + 'static));

impl Device for PlacedDevice {
    fn kind(&self) -> DeviceKind {
        self.npu.device().kind()
    }

    fn form(&self) -> String {
        format!(" {} {:?} {}", self.kind(), self.npu.settings(), self.falls_back)
    }

    fn linear(
        &self,
        spec: &LinearSpec,
        weights: &[f32],
        layout: WeightLayout,
        bias: Option<&[f32]>,
    ) -> Result<Box<dyn Linear>, Unsupported> {
        let npu_s = LinearSpec { wide_rows: false, ..spec.clone() };
        self.prepare(
            |device| {
                let spec = if device.kind() == DeviceKind::Host { spec } else { &npu_s };
                device.linear(spec, weights, layout, bias)
            },
            |kernel| Ok(Box::new(PlacedLinear::new(kernel, spec, self.clone()))),
        )
    }

    fn attention(&self, spec: &AttentionSpec) -> Result<Box<dyn Attention>, Unsupported> {
        self.prepare(
            |device| device.attention(spec),
            |kernel| Ok(Box::new(PlacedAttention::new(kernel, self.host.attention(spec)?, self.clone()))),
        )
    }

    fn conv1d(&self, spec: &Conv1dSpec, weights: &[f32], bias: Option<&[f32]>) -> Result<Box<dyn Conv1d>, Unsupported> {
        self.prepare(
            |device| device.conv1d(spec, weights, bias),
            |kernel| Ok(Box::new(PlacedConv1d::new(kernel, spec, self.clone()))),
        )
    }

    /// Together where all layers have their place on one of the two devices; a command of the NPU that fails is tried
    /// again layer by layer, each with the host's in its place.
    fn products(&self, context: &mut Context<'_>, rows: &Rows<'_>, products: &mut [Product<'_>]) -> Result<(), Failed> {
        let hosts: Option<SmallVec<[_; INLINE]>> =
            products.iter().map(|product| self.on_host(product.layer, rows.rows)).collect();
        if let Some(hosts) = hosts {
            let mut inner: SmallVec<[Product<'_>; INLINE]> =
                products.iter_mut().zip(hosts).map(|(product, host)| product.with(host)).collect();
            return self.host.products(context, rows, &mut inner);
        }
        let npus: Option<SmallVec<[_; INLINE]>> =
            products.iter().map(|product| self.on_npu(product.layer, rows.rows)).collect();
        if let Some(npus) = npus {
            let mut inner: SmallVec<[Product<'_>; INLINE]> =
                products.iter_mut().zip(npus).map(|(product, npu)| product.with(npu)).collect();
            if let Some(done) = self.as_group(|device| device.products(context, rows, &mut inner)) {
                return done;
            }
        }
        self.host.after_norm(context, rows, |context, x| one_by_one(context, rows.rows, x, products))
    }

    fn mlp(
        &self,
        context: &mut Context<'_>,
        rows: &Rows<'_>,
        first: &(dyn Linear + 'static),
        hidden: usize,
        mut second: Product<'_>,
    ) -> Result<(), Failed> {
        let hosts = self.on_host(first, rows.rows).zip(self.on_host(second.layer, rows.rows));
        if let Some((first, host)) = hosts {
            return self.host.mlp(context, rows, first, hidden, second.with(host));
        }
        if let Some((first, npu)) = self.on_npu(first, rows.rows).zip(self.on_npu(second.layer, rows.rows))
            && let Some(done) = self.as_group(|device| device.mlp(context, rows, first, hidden, second.with(npu)))
        {
            return done;
        }
        // No layer is the host's own: it norms the rows and runs one after the other.
        self.host.mlp(context, rows, first, hidden, second)
    }

    fn self_attention(
        &self,
        context: &mut Context<'_>,
        rows: &Rows<'_>,
        mut block: SelfAttention<'_>,
    ) -> Result<(), Failed> {
        if let Some((layers, attention, out)) = self.attended_on_npu(&block, rows.rows) {
            let out = block.out.with(out);
            let inner = SelfAttention { layers, attention, out, ..block };
            if let Some(done) = self.as_group(|device| device.self_attention(context, rows, inner)) {
                return done;
            }
        }
        part_by_part(self, context, rows, block)
    }
}

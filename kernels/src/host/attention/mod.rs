//! Attention on the host: [`cached`] over a key-value cache, [`streamed`] for few queries elsewhere, [`blocked`] for
//! all others.
//!
//! Both are written once over `host::simd`, which has one file per instruction set.

mod blocked;
pub(super) mod cache;
mod cached;
mod operand;
mod pages;
mod streamed;
mod tile;
mod view;

use self::{
    cache::Side,
    operand::{Bf16, F32, Int8, Int8Pairs},
    view::{Call, Frame},
};
use super::{
    isa::Isa,
    simd::{Simd, Task, dispatch},
};
use crate::{Attention, AttentionArgs, AttentionSpec, CachedArgs, Context, DeviceKind, Failed, Precision};

struct HostAttention {
    isa: Isa,
    spec: AttentionSpec,
}

/// Attention has no weights: preparing only chooses.
pub(super) fn prepare(isa: Isa, spec: &AttentionSpec) -> Box<dyn Attention> {
    Box::new(HostAttention { isa, spec: spec.clone() })
}

impl Attention for HostAttention {
    fn device(&self) -> DeviceKind {
        DeviceKind::Host
    }

    fn precision(&self) -> Precision {
        self.spec.precision
    }

    fn precision_for(&self, queries: usize) -> Precision {
        if queries <= streamed::MAX_QUERIES { Precision::F32 } else { self.spec.precision }
    }

    fn run(&self, context: &mut Context<'_>, args: AttentionArgs<'_>) -> Result<(), Failed> {
        let call = Call::new(&self.spec, args);
        if call.batch * call.heads * call.queries * call.width > 0 {
            match self.spec.precision {
                _ if call.queries <= streamed::MAX_QUERIES => streamed::run(self.isa, &call, context),
                Precision::F32 => blocked::run::<F32>(self.isa, &call, context),
                Precision::Bf16 => blocked::run::<Bf16>(self.isa, &call, context),
                Precision::Int8 => run_int8(self.isa, &call, context),
            }
        }
        context.counters.executed(DeviceKind::Host);
        Ok(())
    }

    fn run_cached(&self, context: &mut Context<'_>, args: CachedArgs<'_>) -> Result<(), Failed> {
        let CachedArgs { queries, q, keys, values, mask, out } = args;
        let shape @ [batch, heads, length, width] = keys.shape();
        assert_eq!(shape, values.shape(), "keys and values of different shapes");
        assert_eq!(width, self.spec.head_width, "a cache of heads of another width");
        assert_eq!((keys.side(), values.side()), (Side::Keys, Side::Values), "keys, and then values");
        let frame = Frame::new(&self.spec, [batch, heads, queries, length], q, mask, out);
        if batch * heads * queries * width > 0 {
            cached::run(self.isa, &frame, keys, values, context);
        }
        context.counters.executed(DeviceKind::Host);
        Ok(())
    }
}

/// Many queries in int8, in the words that the CPU multiplies fastest; the results are the same.
fn run_int8(isa: Isa, call: &Call<'_>, context: &mut Context<'_>) {
    match dispatch(isa, Int8Group) {
        2 => blocked::run::<Int8Pairs>(isa, call, context),
        _ => blocked::run::<Int8>(isa, call, context),
    }
}

/// [`Simd::INT8_GROUP`] of an instruction set.
struct Int8Group;

impl Task for Int8Group {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        S::INT8_GROUP
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Heads, HeadsMut, Mask, Serial,
        reference::{self, cosine, noise::Noise},
    };

    /// One query on 1500 keys goes the streamed way, in fp32; here its int8 arithmetic is held too.
    #[test]
    fn the_blocked_way_is_right_for_one_query() {
        const KEYS: usize = 1500;
        const WIDTH: usize = 64;
        let mut noise = Noise::new(9);
        let mut noise =
            |count: usize, deviation: f32| -> Vec<f32> { (0..count).map(|_| noise.normal() * deviation).collect() };
        for deviation in [0.5, 1.0, 2.0] {
            let (q, k) = (noise(WIDTH, deviation), noise(KEYS * WIDTH, deviation));
            // Values have a mean of their own in each channel, as real ones have.
            let mean = noise(WIDTH, 1.0);
            let v: Vec<f32> = noise(KEYS * WIDTH, 1.0).iter().zip(mean.iter().cycle()).map(|(v, m)| v + m).collect();
            let spec = AttentionSpec { head_width: WIDTH, scale: 0.125, precision: Precision::Int8 };
            let run = |work: &mut dyn FnMut(AttentionArgs<'_>)| {
                let mut out = vec![f32::NAN; WIDTH];
                let view = |data| Heads::new(data, [0, 0, WIDTH]);
                work(AttentionArgs {
                    batch: 1,
                    heads: 1,
                    queries: 1,
                    keys: KEYS,
                    q: view(&q),
                    k: view(&k),
                    v: view(&v),
                    mask: Mask::None,
                    out: HeadsMut::new(&mut out, [0, 0, WIDTH]),
                });
                out
            };
            let expected = run(&mut |args| reference::attention::attention(&spec, args));
            for isa in Isa::available() {
                let blocked = |work: fn(Isa, &Call<'_>, &mut Context<'_>)| {
                    run(&mut |args| {
                        Context::fresh(&Serial, |context| work(isa, &Call::new(&spec, args), context));
                    })
                };
                let got = blocked(blocked::run::<Int8>);
                assert_eq!(got, blocked(blocked::run::<Int8Pairs>), "{isa}: bytes and pairs of 16 bits");
                let cosine = cosine(&expected, &got);
                assert!(cosine > 0.995, "{isa}, deviation {deviation}: cosine {cosine}");
            }
        }
    }
}

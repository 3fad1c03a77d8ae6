//! Element-wise operators with ONNX's broadcasting: fp32 arithmetic, int64 arithmetic of shapes, comparisons, logic on
//! masks (one byte an element, 0 or 1), selection.
//!
//! Only the fp32 operators are kernels and are counted. Nothing allocates; a few elements cost nanoseconds.

use std::cmp::Ordering;

use super::{
    HostDevice,
    movement::{broadcast_strides, walk},
    simd::{Simd, Task, dispatch},
    split, vecmath,
};
use crate::{Context, DeviceKind};

/// An fp32 function of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// The error function; at most 1e-6 from the exact value.
    Erf,
    /// Exact GELU, `x/2 · (1 + erf(x/√2))`; at most `1e-6 · max(1, |x|)` from the exact value.
    Gelu,
    /// GELU by a hyperbolic tangent, `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`; at most `1e-6 · max(1, |x|)` from
    /// the exact value.
    GeluTanh,
    /// `eˣ`; at most 2 units in the last place from the exact value.
    Exp,
    /// Square root; NaN below 0.
    Sqrt,
    /// Negation.
    Neg,
    /// Absolute value.
    Abs,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// The larger of `x` and 0; NaN stays NaN.
    Relu,
    /// `1 / x`.
    Reciprocal,
    /// Natural logarithm.
    Log,
}

/// A function of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a − b`.
    Sub,
    /// `a · b`.
    Mul,
    /// `a / b`.
    Div,
    /// The smaller; NaN if either is NaN.
    Min,
    /// The larger; NaN if either is NaN.
    Max,
    /// `aᵇ`.
    Pow,
}

/// An order relation; false if either value is NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compare {
    /// `a = b`.
    Equal,
    /// `a < b`.
    Less,
    /// `a ≤ b`.
    LessOrEqual,
    /// `a > b`.
    Greater,
    /// `a ≥ b`.
    GreaterOrEqual,
}

/// A function of two truth values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Logic {
    /// Both.
    And,
    /// Either or both.
    Or,
}

impl HostDevice {
    /// Applies `op` to each element.
    ///
    /// # Panics
    /// If `x` and `out` differ in length.
    pub fn unary(&self, context: &mut Context<'_>, op: Unary, x: &[f32], out: &mut [f32]) {
        assert!(x.len() == out.len(), "{op:?}: {} values into {}", x.len(), out.len());
        split::rows(context.pool, 1, out, &|range, out| dispatch(self.isa, Map { op, x: &x[range], out }));
        context.counters.executed(DeviceKind::Host);
    }
}

struct Map<'a> {
    op: Unary,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Map<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { op, x, out } = self;
        let one = s.splat(1.0);
        let minus = |v| s.mul(v, s.splat(-1.0));
        match op {
            Unary::Erf => s.map(x, out, |v| vecmath::erf(s, v)),
            Unary::Gelu => s.map(x, out, |v| vecmath::gelu(s, v)),
            Unary::GeluTanh => s.map(x, out, |v| vecmath::gelu_tanh(s, v)),
            Unary::Exp => s.map(x, out, |v| vecmath::exp(s, v)),
            Unary::Sqrt => s.map(x, out, |v| s.sqrt(v)),
            Unary::Neg => s.map(x, out, minus),
            Unary::Abs => s.map(x, out, |v| s.abs(v)),
            Unary::Sigmoid => s.map(x, out, |v| s.div(one, s.add(one, vecmath::exp(s, minus(v))))),
            Unary::Relu => s.map(x, out, |v| s.max(s.splat(0.0), v)),
            Unary::Reciprocal => s.map(x, out, |v| s.div(one, v)),
            // Whisper has neither: the standard library's are exact enough, and fast enough.
            Unary::Tanh => out.iter_mut().zip(x).for_each(|(o, v)| *o = v.tanh()),
            Unary::Log => out.iter_mut().zip(x).for_each(|(o, v)| *o = v.ln()),
        }
    }
}

/// `out = f(a, b)` with `a` and `b` broadcast to `out_shape`.
fn zip<A: Copy, B: Copy, O>(
    a: &[A],
    a_shape: &[usize],
    b: &[B],
    b_shape: &[usize],
    out_shape: &[usize],
    out: &mut [O],
    f: impl Fn(A, B) -> O + Copy,
) {
    check_lengths(&[(a.len(), a_shape), (b.len(), b_shape), (out.len(), out_shape)]);
    if a_shape == b_shape {
        return zip_run(a, b, out, f);
    }
    let strides = [broadcast_strides(a_shape, out_shape), broadcast_strides(b_shape, out_shape)];
    walk(out_shape, &strides, [0, 0], |[a_at, b_at], range, inner| {
        let out = &mut out[range];
        let (a, b, n) = (&a[a_at as usize..], &b[b_at as usize..], out.len());
        match inner {
            [1, 1] => zip_run(&a[..n], &b[..n], out, f),
            [1, _] => out.iter_mut().zip(&a[..n]).for_each(|(o, &a)| *o = f(a, b[0])),
            [_, 1] => out.iter_mut().zip(&b[..n]).for_each(|(o, &b)| *o = f(a[0], b)),
            _ => out.iter_mut().for_each(|o| *o = f(a[0], b[0])),
        }
    });
}

#[inline]
fn zip_run<A: Copy, B: Copy, O>(a: &[A], b: &[B], out: &mut [O], f: impl Fn(A, B) -> O) {
    for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *o = f(a, b);
    }
}

fn check_lengths(operands: &[(usize, &[usize])]) {
    for &(length, shape) in operands {
        assert!(length == shape.iter().product::<usize>(), "an operand has {length} values for shape {shape:?}");
    }
}

impl HostDevice {
    /// Applies `op` to fp32 tensors, broadcast to `out_shape`.
    ///
    /// # Panics
    /// If a shape does not broadcast to `out_shape`, or a slice's length is not its shape's.
    pub fn binary(
        &self,
        context: &mut Context<'_>,
        op: Binary,
        [(a, a_shape), (b, b_shape)]: [(&[f32], &[usize]); 2],
        out_shape: &[usize],
        out: &mut [f32],
    ) {
        check_lengths(&[(a.len(), a_shape), (b.len(), b_shape), (out.len(), out_shape)]);
        if a_shape == out_shape && (b_shape == out_shape || b.len() == 1) {
            // Element by element: any cut will do.
            let b_step = isize::from(b_shape == out_shape);
            split::rows(context.pool, 1, out, &|range, out| {
                let b = if b_step == 0 { b } else { &b[range.clone()] };
                dispatch(self.isa, Zip { op, a: &a[range], b, steps: [1, b_step], out });
            });
        } else {
            let strides = [broadcast_strides(a_shape, out_shape), broadcast_strides(b_shape, out_shape)];
            walk(out_shape, &strides, [0, 0], |[a_at, b_at], range, steps| {
                let (a, b) = (&a[a_at as usize..], &b[b_at as usize..]);
                dispatch(self.isa, Zip { op, a, b, steps, out: &mut out[range] });
            });
        }
        context.counters.executed(DeviceKind::Host);
    }
}

/// One run of a binary operator: an operand whose step is 0 stays at its first value.
struct Zip<'a> {
    op: Binary,
    a: &'a [f32],
    b: &'a [f32],
    steps: [isize; 2],
    out: &'a mut [f32],
}

impl Zip<'_> {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, f: impl Fn(S::F, S::F) -> S::F) {
        let Self { a, b, steps, out, .. } = self;
        let n = out.len();
        match steps {
            [1, 1] => s.zip(&a[..n], &b[..n], out, f),
            [1, _] => {
                let b = s.splat(b[0]);
                s.map(&a[..n], out, |a| f(a, b));
            }
            [_, 1] => {
                let a = s.splat(a[0]);
                s.map(&b[..n], out, |b| f(a, b));
            }
            _ => {
                let mut value = [0.0];
                s.store_slice(&mut value, f(s.splat(a[0]), s.splat(b[0])));
                out.fill(value[0]);
            }
        }
    }
}

impl Task for Zip<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.op {
            Binary::Add => self.apply(s, |a, b| s.add(a, b)),
            Binary::Sub => self.apply(s, |a, b| s.sub(a, b)),
            Binary::Mul => self.apply(s, |a, b| s.mul(a, b)),
            Binary::Div => self.apply(s, |a, b| s.div(a, b)),
            // The vectors' minimum and maximum give `b` where either is NaN.
            Binary::Min => self.apply(s, |a, b| s.keep_nan(a, s.min(a, b))),
            Binary::Max => self.apply(s, |a, b| s.keep_nan(a, s.max(a, b))),
            Binary::Pow => self.apply(s, |a, b| s.each(a, b, f32::powf)),
        }
    }
}

/// Applies `op` to int64 tensors, broadcast to `out_shape`. Overflow wraps; division truncates toward zero, and
/// **division by zero gives 0**; a negative exponent gives the truncated quotient (0, or ±1 for a base of ±1).
///
/// # Panics
/// If a shape does not broadcast to `out_shape`, or a slice's length is not its shape's.
pub fn binary_i64(
    op: Binary,
    a: &[i64],
    a_shape: &[usize],
    b: &[i64],
    b_shape: &[usize],
    out_shape: &[usize],
    out: &mut [i64],
) {
    match op {
        Binary::Add => zip(a, a_shape, b, b_shape, out_shape, out, i64::wrapping_add),
        Binary::Sub => zip(a, a_shape, b, b_shape, out_shape, out, i64::wrapping_sub),
        Binary::Mul => zip(a, a_shape, b, b_shape, out_shape, out, i64::wrapping_mul),
        Binary::Div => {
            zip(a, a_shape, b, b_shape, out_shape, out, |a, b| if b == 0 { 0 } else { a.wrapping_div(b) });
        }
        Binary::Min => zip(a, a_shape, b, b_shape, out_shape, out, i64::min),
        Binary::Max => zip(a, a_shape, b, b_shape, out_shape, out, i64::max),
        Binary::Pow => zip(a, a_shape, b, b_shape, out_shape, out, power_i64),
    }
}

fn power_i64(mut base: i64, exponent: i64) -> i64 {
    if exponent < 0 {
        return match base {
            1 => 1,
            -1 => 1 - 2 * (exponent & 1),
            _ => 0,
        };
    }
    let (mut exponent, mut product) = (exponent, 1i64);
    while exponent > 0 {
        if exponent & 1 == 1 {
            product = product.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
        exponent >>= 1;
    }
    product
}

/// Compares two tensors, broadcast to `out_shape`; 1 where `op` holds, else 0.
///
/// # Panics
/// If a shape does not broadcast to `out_shape`, or a slice's length is not its shape's.
pub fn compare<T: PartialOrd + Copy>(
    op: Compare,
    a: &[T],
    a_shape: &[usize],
    b: &[T],
    b_shape: &[usize],
    out_shape: &[usize],
    out: &mut [u8],
) {
    let holds = |order: Ordering| match op {
        Compare::Equal => order.is_eq(),
        Compare::Less => order.is_lt(),
        Compare::LessOrEqual => order.is_le(),
        Compare::Greater => order.is_gt(),
        Compare::GreaterOrEqual => order.is_ge(),
    };
    zip(a, a_shape, b, b_shape, out_shape, out, |a, b| u8::from(a.partial_cmp(&b).is_some_and(holds)));
}

/// Applies `op` to masks, broadcast to `out_shape`. Any value but 0 is true; results are 0 or 1.
///
/// # Panics
/// If a shape does not broadcast to `out_shape`, or a slice's length is not its shape's.
pub fn logic(op: Logic, a: &[u8], a_shape: &[usize], b: &[u8], b_shape: &[usize], out_shape: &[usize], out: &mut [u8]) {
    match op {
        Logic::And => zip(a, a_shape, b, b_shape, out_shape, out, |a, b| u8::from(a != 0 && b != 0)),
        Logic::Or => zip(a, a_shape, b, b_shape, out_shape, out, |a, b| u8::from(a != 0 || b != 0)),
    }
}

/// 1 where `x` is 0, else 0.
///
/// # Panics
/// If `x` and `out` differ in length.
pub fn not(x: &[u8], out: &mut [u8]) {
    assert!(x.len() == out.len(), "not: {} values into {}", x.len(), out.len());
    out.iter_mut().zip(x).for_each(|(o, &v)| *o = u8::from(v == 0));
}

/// 1 where `x` is NaN, else 0.
///
/// # Panics
/// If `x` and `out` differ in length.
pub fn is_nan(x: &[f32], out: &mut [u8]) {
    assert!(x.len() == out.len(), "is_nan: {} values into {}", x.len(), out.len());
    out.iter_mut().zip(x).for_each(|(o, v)| *o = u8::from(v.is_nan()));
}

/// `a` where `cond` is not 0, else `b`; all three broadcast to `out_shape` (ONNX `Where`).
///
/// # Panics
/// If a shape does not broadcast to `out_shape`, or a slice's length is not its shape's.
#[allow(clippy::too_many_arguments, reason = "four tensors, each with its shape")]
pub fn select<T: Copy>(
    cond: &[u8],
    cond_shape: &[usize],
    a: &[T],
    a_shape: &[usize],
    b: &[T],
    b_shape: &[usize],
    out_shape: &[usize],
    out: &mut [T],
) {
    check_lengths(&[(cond.len(), cond_shape), (a.len(), a_shape), (b.len(), b_shape), (out.len(), out_shape)]);
    let strides = [cond_shape, a_shape, b_shape].map(|shape| broadcast_strides(shape, out_shape));
    walk(out_shape, &strides, [0; 3], |at, range, inner| {
        let out = &mut out[range];
        let [cond_at, a_at, b_at] = at.map(|offset| offset as usize);
        match inner {
            // One condition for the whole run: a copy.
            [0, a_step, b_step] => {
                let (from, start, step) = if cond[cond_at] != 0 { (a, a_at, a_step) } else { (b, b_at, b_step) };
                if step == 0 {
                    out.fill(from[start]);
                } else {
                    out.copy_from_slice(&from[start..start + out.len()]);
                }
            }
            [_, a_step, b_step] => {
                let (a_step, b_step) = (a_step as usize, b_step as usize);
                for (i, (o, &cond)) in out.iter_mut().zip(&cond[cond_at..]).enumerate() {
                    *o = if cond != 0 { a[a_at + i * a_step] } else { b[b_at + i * b_step] };
                }
            }
        }
    });
}

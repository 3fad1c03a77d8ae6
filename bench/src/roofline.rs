//! The roofline figure of `undertone bench`: every kernel's speed over its arithmetic intensity, beneath what the
//! machine can do. An SVG file written as text; where things stand is computed here, what they are was measured
//! elsewhere.
//!
//! Source of the idea: Williams, Waterman, Patterson, *Roofline: an insightful visual performance model* (2009).

mod labels;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use undertone_boundary::options::Precision;

use crate::{Kernel, KernelReport};
use labels::{Box2, place};

const WIDTH: f64 = 1380.0;
/// The plot's edges.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 800.0;
const TOP: f64 = 70.0;
const BOTTOM: f64 = 700.0;
/// Where the list of kernels begins, and the distance of its lines.
const LIST: f64 = 840.0;
const LINE: f64 = 19.0;
const DOT: f64 = 4.0;

/// Precisions, as the report names them, with the class of their colour.
const PRECISIONS: [&str; 3] = [Precision::Int8.word(), Precision::Bf16.word(), Precision::F32.word()];

/// Mid-tones that stand out on white and on black; everything else follows the viewer's scheme.
const STYLE: &str = "\
text { font: 13px sans-serif; fill: #333 } .axis { stroke: #888; fill: none } .grid { stroke: #8884; fill: none }
.title { font-size: 18px; font-weight: bold } .small { font-size: 11px } .end { text-anchor: end } .middle { text-anchor: middle }
.roof { fill: none; stroke-width: 2.5 } .slope { stroke: #888 } .leader { stroke: #8889; stroke-width: 0.8 }
.number { font-size: 11px; font-weight: bold; text-anchor: middle }
.int8 { stroke: #3b82d6; fill: #3b82d6 } .bf16 { stroke: #d97a1e; fill: #d97a1e } .f32 { stroke: #2f9e62; fill: #2f9e62 }
text.int8, text.bf16, text.f32 { stroke: none } .roof.int8, .roof.bf16, .roof.f32 { fill: none }
@media (prefers-color-scheme: dark) { text { fill: #ccc } }
";

/// A logarithmic axis: `from` … `to` (powers of ten) onto `start` … `end`.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    /// Whole decades around `values`.
    fn around(values: impl Iterator<Item = f64>, start: f64, end: f64) -> Self {
        let (low, high) = values
            .filter(|value| *value > 0.0 && value.is_finite())
            .fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low <= high { (low, high) } else { (1.0, 1.0) };
        let (from, to) = (low.log10().floor(), high.log10().ceil());
        Self { from, to: if to > from { to } else { from + 1.0 }, start, end }
    }

    fn at(&self, value: f64) -> f64 {
        self.start + (value.log10() - self.from) / (self.to - self.from) * (self.end - self.start)
    }

    fn decades(&self) -> impl Iterator<Item = i32> {
        self.from as i32..=self.to as i32
    }
}

/// One kernel of one precision.
struct Point<'a> {
    kernel: &'a Kernel,
    number: usize,
    /// Operations for each byte from memory.
    intensity: f64,
    gops: f64,
}

/// The figure.
pub fn draw(cpu: &str, kernels: &KernelReport) -> String {
    let limits = &kernels.limits;
    let peaks = [limits.int8_gops, limits.bf16_gflops, limits.f32_gflops];
    let rows = rows(&kernels.kernels);
    let points: Vec<Point<'_>> = rows
        .iter()
        .enumerate()
        .flat_map(|(row, kernels)| kernels.values().map(move |kernel| point(kernel, row + 1)))
        .collect();
    let ridges = peaks.iter().flatten().map(|peak| peak / limits.read_gbps);
    let x = Axis::around(points.iter().map(|point| point.intensity).chain(ridges), LEFT, RIGHT);
    let y = Axis::around(points.iter().map(|point| point.gops).chain(peaks.into_iter().flatten()), BOTTOM, TOP);

    let height = (TOP + LINE * (rows.len() + 4) as f64).max(BOTTOM + 90.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<style>{STYLE}</style>\n"
    );
    let title =
        format!("Kernels beneath the limits of {cpu}, {} threads, {}", kernels.threads, kernels.instruction_set);
    let _ =
        writeln!(svg, "<title>{0}</title>\n<text class=\"title\" x=\"{LEFT}\" y=\"34\">{0}</text>", escaped(&title));
    axes(&mut svg, &x, &y);
    let mut taken = roofs(&mut svg, &x, &y, peaks, limits.read_gbps);
    dots(&mut svg, &x, &y, &points, &mut taken);
    list(&mut svg, &rows);
    let notes = [
        "Each kernel at its median time; its bytes are those that cross memory once. Peaks and bandwidth were measured in the same run.",
        "Attention also computes an exponential for each score, so that its own limit lies beneath the roof: the shares count that.",
        "Made by: undertone bench --roofline --svg FILE",
    ];
    for (line, note) in notes.into_iter().enumerate() {
        let y = BOTTOM + 50.0 + 16.0 * line as f64;
        let _ = writeln!(svg, "<text class=\"small\" x=\"{LEFT}\" y=\"{y}\">{note}</text>");
    }
    svg + "</svg>\n"
}

/// Kernels of the same name and shape together, by precision, in the order of their first.
fn rows(kernels: &[Kernel]) -> Vec<BTreeMap<&str, &Kernel>> {
    let mut rows: Vec<BTreeMap<&str, &Kernel>> = Vec::new();
    for kernel in kernels {
        let alike = |row: &&mut BTreeMap<&str, &Kernel>| {
            row.values().all(|other| other.name == kernel.name && other.shape == kernel.shape)
        };
        match rows.iter_mut().find(alike) {
            Some(row) => {
                row.insert(kernel.precision, kernel);
            }
            None => rows.push(BTreeMap::from([(kernel.precision, kernel)])),
        }
    }
    rows
}

fn point(kernel: &Kernel, number: usize) -> Point<'_> {
    Point { kernel, number, intensity: kernel.operations / kernel.bytes, gops: kernel.operations / kernel.ms / 1e6 }
}

fn axes(svg: &mut String, x: &Axis, y: &Axis) {
    for decade in x.decades() {
        let at = x.at(10f64.powi(decade));
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{at:.1} {TOP}V{BOTTOM}\"/>");
        let label = BOTTOM + 18.0;
        let _ = writeln!(svg, "<text class=\"middle\" x=\"{at:.1}\" y=\"{label}\">{}</text>", power(decade));
    }
    for decade in y.decades() {
        let at = y.at(10f64.powi(decade));
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>");
        let _ =
            writeln!(svg, "<text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>", LEFT - 8.0, at + 4.5, power(decade));
    }
    let _ = writeln!(svg, "<path class=\"axis\" d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\"/>");
    let _ = writeln!(
        svg,
        "<text class=\"end\" x=\"{RIGHT}\" y=\"{:.1}\">operations for each byte from memory</text>",
        BOTTOM + 34.0
    );
    let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">10⁹ operations a second</text>", 14.0, TOP - 12.0);
}

/// The slope of the bandwidth and the roof of each precision; gives where their words stand.
fn roofs(svg: &mut String, x: &Axis, y: &Axis, peaks: [Option<f64>; 3], bandwidth: f64) -> Vec<Box2> {
    let mut words = Vec::new();
    let highest = peaks.into_iter().flatten().fold(0.0, f64::max);
    let lowest = 10f64.powf(x.from).max(10f64.powf(y.from) / bandwidth);
    let top = if highest > 0.0 { highest / bandwidth } else { 10f64.powf(x.to) };
    let (x1, y1) = (x.at(lowest), y.at(lowest * bandwidth));
    let (x2, y2) = (x.at(top), y.at(top * bandwidth));
    let _ = writeln!(svg, "<path class=\"roof slope\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>");
    // Beneath the slope, along it, where hardly any kernel is.
    let angle = (y2 - y1).atan2(x2 - x1);
    let (at_x, at_y) = (x1 + 0.04 * (x2 - x1) + 14.0, y1 + 0.04 * (y2 - y1) + 10.0);
    let _ = writeln!(
        svg,
        "<text x=\"{at_x:.1}\" y=\"{at_y:.1}\" transform=\"rotate({:.1} {at_x:.1} {at_y:.1})\">memory {bandwidth:.1} GB/s</text>",
        angle.to_degrees()
    );
    for step in 0..6 {
        let along = 24.0 * f64::from(step);
        words.push(Box2::centred(at_x + along * angle.cos(), at_y - 4.0 + along * angle.sin(), 26.0, 16.0));
    }
    for (precision, peak) in PRECISIONS.into_iter().zip(peaks) {
        let Some(peak) = peak else { continue };
        let (from, at) = (x.at(peak / bandwidth), y.at(peak));
        let _ = writeln!(svg, "<path class=\"roof {precision}\" d=\"M{from:.1} {at:.1}H{RIGHT}\"/>");
        let text = format!("{precision} {peak:.0}");
        let _ = writeln!(svg, "<text class=\"{precision} end\" x=\"{RIGHT}\" y=\"{:.1}\">{text}</text>", at - 6.0);
        let width = 7.5 * text.len() as f64;
        words.push(Box2::centred(RIGHT - width / 2.0, at - 10.0, width, 16.0));
    }
    words
}

fn dots(svg: &mut String, x: &Axis, y: &Axis, points: &[Point<'_>], taken: &mut Vec<Box2>) {
    let at = |point: &Point<'_>| (x.at(point.intensity), y.at(point.gops));
    for point in points {
        let (x, y) = at(point);
        taken.push(Box2::centred(x, y, 2.0 * DOT, 2.0 * DOT));
    }
    let within = Box2 { left: LEFT, right: RIGHT, top: TOP, bottom: BOTTOM };
    for point in points {
        let (x, y) = at(point);
        let size = (7.0 * point.number.to_string().len() as f64 + 3.0, 12.0);
        let label = place((x, y), size, &within, taken);
        let (label_x, label_y) = label.centre();
        if (label_x - x).hypot(label_y - y) > 16.0 {
            let _ = writeln!(svg, "<path class=\"leader\" d=\"M{x:.1} {y:.1}L{label_x:.1} {label_y:.1}\"/>");
        }
        let kernel = point.kernel;
        let told = escaped(&format!("{} {} {}: {:.4} ms", kernel.name, kernel.shape, kernel.precision, kernel.ms));
        let class = kernel.precision;
        let _ = writeln!(
            svg,
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{DOT}\"><title>{told}</title></circle>"
        );
        let _ = writeln!(
            svg,
            "<text class=\"number {class}\" x=\"{label_x:.1}\" y=\"{:.1}\">{}</text>",
            label_y + 4.0,
            point.number
        );
        taken.push(label);
    }
}

/// What the numbers mean, and each kernel's share of its own limit.
fn list(svg: &mut String, rows: &[BTreeMap<&str, &Kernel>]) {
    let shares = [1235.0, 1295.0, 1355.0];
    let _ = writeln!(svg, "<text x=\"{LIST}\" y=\"{:.1}\">kernel, and its share of its limit</text>", TOP - 6.0);
    for (precision, x) in PRECISIONS.into_iter().zip(shares) {
        let _ = writeln!(svg, "<text class=\"{precision} end\" x=\"{x}\" y=\"{:.1}\">{precision}</text>", TOP - 6.0);
    }
    for (row, kernels) in rows.iter().enumerate() {
        let Some(first) = kernels.values().next() else { continue };
        let y = TOP + LINE * (row + 1) as f64;
        let _ = writeln!(svg, "<text class=\"number\" x=\"{:.1}\" y=\"{y:.1}\">{}</text>", LIST + 8.0, row + 1);
        let text = escaped(&format!("{} {}", first.name, first.shape));
        let _ = writeln!(svg, "<text class=\"small\" x=\"{:.1}\" y=\"{y:.1}\">{text}</text>", LIST + 24.0);
        for (precision, x) in PRECISIONS.into_iter().zip(shares) {
            let share = kernels.get(precision).and_then(|kernel| kernel.share_of_limit);
            let Some(share) = share else { continue };
            let _ = writeln!(
                svg,
                "<text class=\"{precision} small end\" x=\"{x}\" y=\"{y:.1}\">{:.0} %</text>",
                share * 100.0
            );
        }
    }
}

/// 10 to the power of `exponent`, as people write it.
fn power(exponent: i32) -> String {
    match exponent {
        0..=4 => 10i64.pow(exponent.unsigned_abs()).to_string(),
        -3..=-1 => format!("{:.*}", exponent.unsigned_abs() as usize, 10f64.powi(exponent)),
        _ => format!("1e{exponent}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn kernel(name: &str, precision: &'static str, operations: f64, bytes: f64, ms: f64) -> Kernel {
        Kernel {
            name: name.to_owned(),
            shape: "1x2".to_owned(),
            precision,
            ms,
            best_ms: ms,
            share_of_limit: Some(0.5),
            limit_ms: Some(ms / 2.0),
            arithmetic_ms: None,
            memory_ms: ms / 2.0,
            operations,
            bytes,
        }
    }

    fn kernels(kernels: Vec<Kernel>, int8_gops: Option<f64>) -> KernelReport {
        let limits =
            Limits { int8_gops, f32_gflops: Some(200.0), read_gbps: 30.0, exponentials_gps: 1.0, ..Limits::default() };
        KernelReport { instruction_set: "avx2".to_owned(), threads: 2, limits, kernels, batched_products: Vec::new() }
    }

    #[test]
    fn an_axis_has_whole_decades() {
        let axis = Axis::around([3.0, 500.0].into_iter(), 0.0, 300.0);
        assert_eq!((axis.from, axis.to), (0.0, 3.0));
        assert!((axis.at(10.0) - 100.0).abs() < 1e-9);
        let empty = Axis::around([0.0, f64::NAN].into_iter(), 0.0, 1.0);
        assert!(empty.to > empty.from);
    }

    #[test]
    fn every_kernel_is_a_dot_with_its_number() {
        let fast = kernel("a & b", "int8", 1e9, 1e6, 1.0);
        let slow = kernel("a & b", "f32", 1e9, 4e6, 5.0);
        let other = kernel("c", "f32", 1e6, 4e6, 0.2);
        let svg = draw("CPU <x>", &kernels(vec![fast, slow, other], Some(800.0)));
        assert_eq!(svg.matches("<circle").count(), 3);
        assert_eq!(svg.matches("class=\"roof ").count(), 3, "two peaks and the slope");
        assert!(svg.contains("CPU &lt;x&gt;") && svg.contains("a &amp; b 1x2") && !svg.contains("NaN"));
        // The same kernel in two precisions has one number.
        assert_eq!(svg.matches("class=\"number\"").count(), 2);
    }

    #[test]
    fn a_figure_without_kernels_and_peaks_is_still_a_figure() {
        let mut none = kernels(Vec::new(), None);
        none.limits.f32_gflops = None;
        let svg = draw("CPU", &none);
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn powers_of_ten() {
        assert_eq!([-2, -1, 0, 3].map(power), ["0.01", "0.1", "1", "1000"]);
        assert_eq!(power(7), "1e7");
    }
}

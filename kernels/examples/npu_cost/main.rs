//! Prints `docs/npu-cost.md`: the cost model beside what was published, and predictions for Whisper's encoders.

mod calibrate;
mod held_out;
mod packing;
mod published;
mod tiling;

use std::fmt::Write as _;

use undertone_kernels::{
    npu::{
        Design, Kernels, Target, Tile,
        cost::{
            Machine, STREAM_BYTES, Work,
            operations::{self, Operations},
            predict,
        },
    },
    reference::whisper::{MODELS, Model},
};

use published::{ARRAYS, CORES, Figure, Kind, NOT_COMPARABLE, Products, Use};

fn main() {
    print!("{}", document());
}

/// Models that have tiles of their own in the search.
const FAMILIES: [&[&str]; 3] = [&["tiny", "small"], &["base", "medium"], &["large-v3-turbo"]];

/// The work of a window of each of the models.
fn work(names: &[&str]) -> Vec<(Work, usize)> {
    MODELS.iter().filter(|model| names.contains(&model.name)).flat_map(Model::encoder).collect()
}

/// Milliseconds that others measured on npu1 for the encoder, bf16 (drakosha/whisper-xdna).
const OTHERS: [(&str, f64); 3] = [("tiny", 484.0), ("small", 1507.0), ("large-v3-turbo", 3346.0)];

/// Milliseconds of a window through an encoder: products and attention, each a command of its own; the same with the
/// commands in lists; packing and unpacking on the host.
fn window(model: &Model, design: &Design) -> [f64; 3] {
    let mut window = [0.0, 0.0, packing::milliseconds(model, design, packing::Results::HandedOn)];
    for (work, count) in model.encoder() {
        let prediction = predict(design, work);
        let times = [prediction.total, prediction.listed];
        window.iter_mut().zip(times).for_each(|(sum, seconds)| *sum += 1e3 * count as f64 * seconds);
    }
    window
}

/// The shipped design; the tests make all of them.
fn shipped(target: Target, kernels: Kernels) -> Design {
    Design::shipped(target, kernels).unwrap_or_else(|error| panic!("{error}"))
}

/// The whole document.
fn document() -> String {
    let mut text = String::from(INTRODUCTION);
    numbers(&mut text);
    vector_unit(&mut text);
    figures(&mut text);
    held_out::write(&mut text);
    windows(&mut text);
    packing::section(&mut text, shipped);
    text.push_str(ROWS);
    tiles(&mut text);
    text
}

const INTRODUCTION: &str = "\
# What the NPU is predicted to take

Made by `cargo run --release -p undertone-kernels --example npu_cost > docs/npu-cost.md`; a test holds that it still is. **Every time here is
predicted, none was measured by this project: it has not run on an NPU.** What is published was measured by others.

The model (`kernels/src/npu/cost/`): cores compute, streams carry 4 bytes a cycle, and memory is read and written, all at once. A step of a core takes
`m·k·n / rate + m·n · per output` cycles, or what its operands take to arrive, if that is more; a round ends with the epilogue. Epilogue and soft-max take what
their operations take, which are counted in the cores' code as it runs ([below](#what-the-vector-unit-does)). Memory takes
`(A + B + C) / bandwidth`, where A is read once for each round of columns and B once for each round of rows, with the scales and control blocks that our objects carry.
`time = dispatch + longer + exposed · shorter`. Rates, bandwidth and the exposed share are fitted to the figures marked \"fit\" (least squares of relative errors);
the figures marked \"check\" were left out of the fit.

";

fn numbers(text: &mut String) {
    text.push_str("## Numbers\n\n| | npu1 | npu4 | from |\n|---|---|---|---|\n");
    let [one, four] = &Target::ALL.map(Machine::of);
    let mut row = |what: &str, of: &dyn Fn(&Machine) -> String, from: &str| {
        let _ = writeln!(text, "| {what} | {} | {} | {from} |", of(one), of(four));
    };
    for products in Products::ALL {
        let core = |machine: &Machine| {
            let core = calibrate::core(machine.target, products);
            format!("{} / {}", core.rate, core.per_output)
        };
        row(&format!("{}: products a cycle / cycles per output", products.name()), &core, "fitted");
    }
    row("memory, GB/s", &|machine| format!("{:.1}", machine.bandwidth / 1e9), "fitted");
    row("exposed share", &|machine| format!("{}", machine.exposed), "fitted");
    row("dispatch, µs", &|machine| format!("{:.0}", machine.dispatch * 1e6), "published for npu4, assumed for npu1");
    row("in a list, µs", &|machine| format!("{:.0}", machine.listed * 1e6), "published for npu4, assumed for npu1");
    row(
        "change of design, ms",
        &|machine| format!("{:.2}", machine.switch * 1e3),
        "published; npu4: full reconfiguration",
    );
    row("a stream, bytes a cycle", &|_| format!("{STREAM_BYTES}"), "architecture");
    text.push_str(
        "\nOur kernels keep sums of 4 bytes, so they are predicted with the rate of int8→int32; those of bf16 pay as much for each sum. The published cores were compiled\nwith AMD's own compiler; ours are for Peano, whose schedules may be worse: that is not in the numbers. bf16 on npu4 was published by way of bfp16, which ours does\nnot use.\n\n\
         A report of `undertone npu bring-up` (`core_costs` in its JSON) takes the place of these numbers where it measured: option `--core-costs FILE` of the command,\n`core_costs` of the provider.\n\n",
    );
}

/// What epilogue and soft-max do, and what that takes.
fn vector_unit(text: &mut String) {
    let _ = writeln!(
        text,
        "## What the vector unit does\n\nBeside the products of tiles. Counts are of the cores' code (`kernels/aie/src`), made by the header that it runs with on a CPU; a test compares them with the\n\
         model's (`kernels/src/npu/cost/operations.rs`). Cores have no fp32 product: a compiler builds one from three bf16 parts of each factor, 9 products and 4\n\
         subtractions, {} slots of the vector unit for 16 values on npu1 and 32 on npu4 (`aiev2_core.h` of llvm-aie). Products by parts take two parts of each factor: 4 products\n\
         and 1 subtraction for each factor that is new, with a relative error below 1.5e-5. Every other operation is a slot; conversions have a slot of their own beside.\n\
         Dependent operations wait for each other: {:.2} times the slots, if 4 vectors are in work at once (`vmac.f`: 6 cycles, 3 to the next sum; a conversion 3, assumed).\n\n\
         | | fp32 products | bf16 products | additions | comparisons | conversions | npu1, cycles | npu4, cycles |\n|---|---|---|---|---|---|---|---|",
        operations::PRODUCT_SLOTS,
        operations::WAITING,
    );
    let machines = Target::ALL.map(Machine::of);
    let attention = |kernels| {
        let Tile { m, .. } = shipped(Target::Npu1, kernels).tile;
        let keys = shipped(Target::Npu1, kernels).block();
        let scores = (m * keys) as f64;
        let all = operations::keys(kernels, m, keys).plus(scores, operations::PROBABILITY);
        Operations::default().plus(1.0 / scores, all.plus(1.0, operations::results(m, operations::RESULT)))
    };
    let output = |kernels| operations::epilogue(kernels, Tile { m: 1, k: 1, n: 1 });
    for (what, operations) in [
        ("an int8 output: two scales, bias", output(Kernels::Int8)),
        ("a bf16 output: bias", output(Kernels::Bf16)),
        ("GELU, beside that", operations::GELU),
        ("a probability", operations::PROBABILITY),
        ("a score of int8, its probability, its share of all else for a block", attention(Kernels::Int8)),
        ("the same of bf16", attention(Kernels::Bf16)),
    ] {
        let Operations { products, macs, additions, comparisons, conversions } = operations;
        let [one, four] = machines.map(|machine| machine.costs.cycles(&operations));
        let _ = writeln!(
            text,
            "| {what} | {products:.1} | {macs:.1} | {additions:.1} | {comparisons:.1} | {conversions:.1} | {one:.2} | {four:.2} |"
        );
    }
    text.push_str(DEARER);
}

/// What the cheaper forms replaced.
const DEARER: &str = "
With fp32 products throughout, as this code was before, a score of int8 took 8 of them and an output with GELU 14: at least 6.5 and 11.4 cycles on npu1, 3.3 and 5.7 on npu4,
without the additions and without waiting. What took their place, and what it costs in accuracy:

- GELU: the eighth root of Φ(−t) needs a polynomial of degree 5 in place of 10, and products by parts, as the error of Φ is then relative. Error below 1.1e-5 for every bf16, the
  bound that held before; 1.6e-5 for any fp32.
- Scores: products by parts. Probabilities: products of bf16 and degree 3. They become bf16 anyway: the root of the mean square of their relative error is 1.71e-3, where rounding alone makes 1.66e-3; the
  largest 4.2e-3, where rounding alone makes 3.9e-3.
- Rows are scaled against a whole number, so what was summed up before is multiplied by powers of two: two bf16 products for each result.
- The two scales of an int8 output stay fp32 products: with parts, one output in 800 rounds to the other neighbour in bf16, and it would no longer be the oracle bit for bit.

";

fn figures(text: &mut String) {
    text.push_str("## Beside what was published\n\narXiv 2512.13282 unless said otherwise. One core, multiply-accumulates a cycle:\n\n");
    text.push_str("| target | products | tile | published | model | off | |\n|---|---|---|---|---|---|---|\n");
    for figure in &CORES {
        let model = calibrate::predicted_core(figure);
        let [m, k, n] = figure.tile;
        let (published, off) = (figure.macs_per_cycle, 100.0 * (model / figure.macs_per_cycle - 1.0));
        let (target, products, purpose) = (figure.target, figure.products.name(), purpose(figure.purpose));
        let _ = writeln!(
            text,
            "| {target} | {products} | {m}×{k}×{n} | {published} | {model:.1} | {off:+.1} % | {purpose} |"
        );
    }
    text.push_str("\nWhole arrays, 10¹² operations a second:\n\n| target | products | tile | shape | published | model | off | | where |\n|---|---|---|---|---|---|---|---|---|\n");
    for figure in &ARRAYS {
        let model = calibrate::predicted(figure);
        let Figure { target, tile: [m, k, n], shape: [rows, inputs, outputs], tops, source, .. } = *figure;
        let off = 100.0 * (model / tops - 1.0);
        let double = if figure.kind == Kind::DoubleC { "; two C objects" } else { "" };
        let _ = writeln!(
            text,
            "| {target} | {} | {m}×{k}×{n} | {rows}×{inputs}×{outputs} | {tops} | {model:.2} | {off:+.1} % | {} | {source}{double} |",
            figure.products.name(),
            purpose(figure.purpose),
        );
    }
    text.push_str("\nThe stock design reads short runs of memory and is given a bandwidth of its own, fitted to two reports of it.\n\nNot comparable:\n\n");
    for (what, why) in NOT_COMPARABLE {
        let _ = writeln!(text, "- {what}: {why}.");
    }
}

fn purpose(purpose: Use) -> &'static str {
    match purpose {
        Use::Fit => "fit",
        Use::Check => "check",
    }
}

fn windows(text: &mut String) {
    text.push_str("\n## Whisper's encoders: predicted milliseconds for a window of 30 s\n\nWith the designs that are shipped. \"array\" is all products, convolutions and attention, each a command; \"listed\" the same in run lists; \"packing\" the host's, as below. One\ndesign serves all of a model, so the array is never changed. Layer norms, which the host does, are not in it.\n\n| model | target | precision | array | listed | packing | both, × real time | measured by others, npu1 bf16 |\n|---|---|---|---|---|---|---|---|\n");
    for model in MODELS.iter().filter(|model| model.name != "medium") {
        for target in Target::ALL {
            for kernels in Kernels::ALL {
                let [array, listed, packing] = window(model, &shipped(target, kernels));
                let factor = 30e3 / (array + packing);
                let comparable = target == Target::Npu1 && kernels == Kernels::Bf16;
                let others = OTHERS.iter().find(|(name, _)| comparable && *name == model.name);
                let others = others.map_or(String::new(), |(_, ms)| format!("{ms:.0} ms"));
                let _ = writeln!(
                    text,
                    "| {} | {target} | {kernels} | {array:.1} | {listed:.1} | {packing:.1} | {factor:.0} | {others} |",
                    model.name
                );
            }
        }
    }
    text.push_str("\nThe measured ones are of drakosha/whisper-xdna on XDNA1. Theirs is a whole program that ran; ours are sums of predictions of a design that has run nowhere, without layer norms, residual sums,\nwaiting between commands, or what our kernels lose against those that the model is fitted to. Where ours is the smaller number, that is no evidence that it is faster.\n\n");
}

/// What is known of an array that this project had and took out again.
const ROWS: &str = "\
## Soft-max, layer norm and GELU by themselves

There was an array for them: four cores of a column, each with its own rows, through one stream of 4 bytes a cycle. It was taken out,
because no model gains by it. For one layer of an encoder it was predicted to take, beside two cores of the host at 32 GB/s:

- layer norm: tiny 0.22 ms on npu1 and 0.12 ms on npu4 (host 0.14), large-v3-turbo 0.63 and 0.23 ms (host 0.48);
- soft-max: tiny 4.87 and 1.01 ms (host 3.38), large-v3-turbo 16.03 and 3.20 ms (host 11.25);
- GELU: tiny 0.95 and 0.23 ms (host 0.58), large-v3-turbo 2.99 and 0.60 ms (host 1.92).

Packing alone took longer than the host takes for all of it (three times as long), and the change to that array and back another 2.81 ms
on npu1 and 9.80 ms on npu4. Inside the arrays of the products they need no transfer: soft-max is part of attention, GELU of the linear
layer's epilogue. (These times were predicted with fp32 products that were taken to be nearly free; they would be longer.) An array of their own would pay only for rows that are on the NPU already.

";

fn tiles(text: &mut String) {
    text.push_str("## Tiles\n\nWhat the search (`tiling::choose`) finds best for a family of models, beside the shipped design (one for each number format, for all models), in predicted milliseconds for one window of each\nmodel of the family.\n\n| target | kernels | models | best tile | ms | shipped tile | ms |\n|---|---|---|---|---|---|---|\n");
    let mut most = 1.0f64;
    for target in Target::ALL {
        for kernels in Kernels::ALL {
            for names in FAMILIES {
                let work = work(names);
                let Some(best) = tiling::choose(target, kernels, &work) else { continue };
                let cell = |design: &Design| {
                    let Tile { m, k, n } = design.tile;
                    format!("{m}×{k}×{n} | {:.1}", 1e3 * tiling::seconds(design, &work))
                };
                let shipped = shipped(target, kernels);
                most = most.max(tiling::seconds(&shipped, &work) / tiling::seconds(&best, &work));
                let (names, best, shipped) = (names.join(", "), cell(&best), cell(&shipped));
                let _ = writeln!(text, "| {target} | {kernels} | {names} | {best} | {shipped} |");
            }
        }
    }
    let _ = writeln!(
        text,
        "\nThe best gains {:.1} % at most over the shipped one, which is less than the model is off by: the shipped ones stay.",
        100.0 * (most - 1.0)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_in_use_are_those_that_the_fit_gives() {
        for target in Target::ALL {
            let machine = Machine::of(target);
            let cores = [Products::Int8ToInt32, Products::Bf16].map(|products| calibrate::core(target, products));
            assert_eq!([machine.int8, machine.bf16], cores, "{target}");
            assert_eq!((machine.bandwidth, machine.exposed), calibrate::memory(&machine), "{target}");
        }
        assert_eq!(calibrate::stock_bandwidth(), 23.2e9);
    }

    #[test]
    fn every_published_figure_with_shape_and_tiles_is_met_within_15_percent() {
        for figure in &ARRAYS {
            let off = calibrate::predicted(figure) / figure.tops - 1.0;
            assert!(off.abs() < 0.15, "{figure:?}: {:+.1} %", 100.0 * off);
        }
        for figure in &CORES {
            let off = calibrate::predicted_core(figure) / figure.macs_per_cycle - 1.0;
            assert!(off.abs() < 0.15, "{figure:?}: {:+.1} %", 100.0 * off);
        }
        let left_out = ARRAYS.iter().filter(|figure| figure.purpose == Use::Check && figure.kind != Kind::Stock);
        assert!(left_out.count() >= 16);
    }

    #[test]
    fn no_published_figure_is_predicted_faster_than_the_peak() {
        for figure in &ARRAYS {
            let macs =
                if figure.products == Products::Bf16 { figure.target.bf16_macs() } else { figure.target.int8_macs() };
            let peak = 2.0 * (macs * figure.target.cores()) as f64 * figure.target.clock() / 1e12;
            assert!(calibrate::predicted(figure) < peak && figure.tops < peak, "{figure:?}");
        }
    }

    #[test]
    fn the_document_is_what_the_command_prints() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/npu-cost.md");
        let written = std::fs::read_to_string(path).unwrap();
        assert!(
            written == document(),
            "run: cargo run --release -p undertone-kernels --example npu_cost > docs/npu-cost.md"
        );
    }
}

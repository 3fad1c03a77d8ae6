//! Makes an ONNX folder from weights: `convert SOURCE OUT [f32|f16|int8]`.

use std::{path::Path, process::ExitCode, time::Instant};

use undertone_models::{ConvertOptions, WeightFormat, convert};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let weights = match arguments.get(2).map(String::as_str) {
        None => None,
        Some("f32") => Some(WeightFormat::F32),
        Some("f16") => Some(WeightFormat::F16),
        Some("int8") => Some(WeightFormat::Int8),
        Some(other) => {
            eprintln!("no such format: {other}");
            return ExitCode::FAILURE;
        }
    };
    let [source, out, ..] = &arguments[..] else {
        eprintln!("convert SOURCE OUT [f32|f16|int8]");
        return ExitCode::FAILURE;
    };
    let start = Instant::now();
    match convert(Path::new(source), Path::new(out), &ConvertOptions { weights }, &mut |_, _| ()) {
        Ok(made) => {
            println!("{} as {}: {} bytes in {:.1?}", made.kind, made.weights, made.bytes, start.elapsed());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

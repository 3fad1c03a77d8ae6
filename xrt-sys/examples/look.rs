//! Loads XRT and says what it sees; opens the first device, and an xclbin on it if one is named.
//!
//! `cargo run --release -p xrt-sys --example look -- [XCLBIN]`

use std::{env, error::Error, fs, process::ExitCode};

use xrt_sys::Library;

fn main() -> ExitCode {
    match look() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn look() -> Result<(), Box<dyn Error>> {
    let library = Library::load()?;
    println!("library: {} (built against XRT {})", library.path().display(), library.built_against());
    println!("devices: {}", library.device_count()?);
    let device = library.open(0)?;
    println!("device 0: {} at {}", device.name()?, device.address()?);
    if let Some(xclbin) = env::args_os().nth(1) {
        let context = device.context(&fs::read(xclbin)?)?;
        println!("context: open");
        drop(context);
    }
    drop(device);
    println!("handles left: {:?}", library.live());
    Ok(())
}

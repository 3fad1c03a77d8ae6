//! Bundles for tests: descriptions as `kernels/aie/build.sh` writes them, and containers made by AMD's `xclbinutil`,
//! but in place of the cores' programs a stand-in that names the design, for the pretended NPU to simulate. No NPU can
//! execute them.
//!
//!   bundles npu1|npu4 CONTAINER_SH SID_ROOT FOLDER

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use undertone_kernels::npu::{Bundle, Design, Kernels, Target, Tile};

/// First line of a stand-in, as `tests/xrt/fake/src/engine.rs` knows it.
const STAND_IN: &str = "undertone stand-in for a PDI";

fn main() -> Result<()> {
    let mut arguments = env::args_os().skip(1);
    let mut next = || arguments.next().context("bundles npu1|npu4 CONTAINER_SH SID_ROOT FOLDER");
    let target: Target = next()?.to_string_lossy().parse()?;
    let (script, root, folder) = (next()?, next()?, PathBuf::from(next()?));
    let work = tempfile::tempdir()?;
    let (pdi, container) = (work.path().join("stand_in.pdi"), work.path().join("design.xclbin"));
    // The designs that the device uses.
    for kernels in Kernels::ALL {
        let design = Design::shipped(target, kernels)?;
        fs::write(&pdi, format!("{STAND_IN}\n{}\n", serde_json::to_string(&design)?))?;
        let columns = target.columns().to_string();
        let made = Command::new(&script).arg(&root).arg(columns).args([&pdi, &container]).output()?;
        ensure!(made.status.success(), "{kernels}: {}", String::from_utf8_lossy(&made.stderr));
        let Tile { m, k, n } = design.tile;
        let name = format!("{target}-{kernels}-{m}x{k}x{n}");
        let tools = BTreeMap::from([("stand-in".to_owned(), "for the pretended NPU only".to_owned())]);
        Bundle::write(&folder.join(&name), &design, &fs::read(&container)?, tools)?;
        println!("{name}");
    }
    Ok(())
}

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
use undertone_kernels::npu::{Bundle, Design, Kernels, Target, Tile, Trial, TrialBundle, TrialKind};

/// First line of a stand-in, as `tests/xrt/fake/src/engine.rs` knows it.
const STAND_IN: &str = "undertone stand-in for a PDI";

fn main() -> Result<()> {
    let mut arguments = env::args_os().skip(1);
    let mut next = || arguments.next().context("bundles npu1|npu4 CONTAINER_SH SID_ROOT FOLDER");
    let target: Target = next()?.to_string_lossy().parse()?;
    let (script, root, folder) = (next()?, next()?, PathBuf::from(next()?));
    let work = tempfile::tempdir()?;
    let (pdi, container) = (work.path().join("stand_in.pdi"), work.path().join("design.xclbin"));
    let contain = |json: String| -> Result<Vec<u8>> {
        fs::write(&pdi, format!("{STAND_IN}\n{json}\n"))?;
        let columns = target.columns().to_string();
        let made = Command::new(&script).arg(&root).arg(columns).args([&pdi, &container]).output()?;
        ensure!(made.status.success(), "{json}: {}", String::from_utf8_lossy(&made.stderr));
        Ok(fs::read(&container)?)
    };
    let tools = || BTreeMap::from([("stand-in".to_owned(), "for the pretended NPU only".to_owned())]);
    // The designs that the device uses, and those of one core and of a column.
    for kernels in Kernels::ALL {
        let whole = Design::shipped(target, kernels)?;
        let Tile { m, k, n } = whole.tile;
        let name = format!("{target}-{kernels}-{m}x{k}x{n}");
        let part = |cores| Design::of_cores(target, kernels, whole.tile, cores);
        let (one, column) = (part([1, 1])?, part([Target::ROWS, 1])?);
        for (design, cores) in [(&whole, ""), (&one, "-1x1"), (&column, "-4x1")] {
            let name = format!("{name}{cores}");
            Bundle::write(&folder.join(&name), design, &contain(serde_json::to_string(design)?)?, tools())?;
            println!("{name}");
        }
    }
    for kind in TrialKind::ALL {
        let trial = Trial::new(target, kind);
        let xclbin = contain(serde_json::to_string(&trial)?)?;
        println!("{}", trial.name());
        // There is no compiler, so no stream of its own.
        TrialBundle { trial, xclbin, made: None }.write(&folder, tools())?;
    }
    Ok(())
}

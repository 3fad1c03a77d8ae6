//! What a folder of bundles holds, told to programs: `undertone npu fetch` asks before it puts bundles in their place.

use std::path::Path;

use undertone_boundary::{
    bundles::{Contents, Entry},
    npu::TileReport,
};

use super::{
    bundle::{BundleError, Bundles},
    design::Tile,
    probe::probe,
};

/// The bundles in a folder's folders, their files compared with their checksums.
///
/// # Errors
/// If the folder can't be read.
pub fn bundles_in(folder: &Path) -> Result<Contents, BundleError> {
    let found = Bundles::open(folder)?;
    let mut contents = Contents { machine: probe().target().map(|target| target.to_string()), ..Contents::default() };
    contents.broken = found.broken().iter().map(BundleError::to_string).collect();
    for bundle in found.list() {
        match bundle.xclbin() {
            Err(error) => contents.broken.push(error.to_string()),
            Ok(_) => {
                let (design, Tile { m, k, n }) = (bundle.design(), bundle.design().tile);
                contents.bundles.push(Entry {
                    folder: bundle.folder().to_path_buf(),
                    target: design.target.to_string(),
                    kernels: design.kernels.to_string(),
                    tile: TileReport { m, k, n },
                });
            }
        }
    }
    Ok(contents)
}

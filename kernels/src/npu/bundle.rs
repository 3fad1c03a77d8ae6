//! Bundles: compiled array designs on disk, as `kernels/aie/build.sh` makes them. A bundle is a folder with a
//! `bundle.json`, which says what the design is, and the files it names, which are checked against their SHA-256 before
//! they are used.
//!
//! Instruction streams are not in it: they are written for each shape when it is needed ([`super::stream::write`]).

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    design::{Argument, CONTROL_BYTES, Design, DesignError, HEAD_WIDTH, Kernels, Tile},
    plain_file,
    stream::TOKEN_CONTROLLER,
    target::{MicroTile, Target},
};

/// The version of `bundle.json` that is read and written here.
pub const FORMAT: u32 = 2;

/// The description's name in a bundle's folder.
pub const MANIFEST: &str = "bundle.json";

/// No file of a bundle has nearly as many bytes.
const MOST_BYTES: u64 = 256 << 20;

/// The kernel's name in a container.
pub const KERNEL: &str = "MLIR_AIE";

/// What `bundle.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// What was compiled, with the shim channels that the compiler gave it.
    pub design: Design,
    /// What the three streams' objects are: the packing has to be the compiled cores'.
    pub objects: Objects,
    /// The kernel's name in the container: [`KERNEL`].
    pub kernel: String,
    /// The kernel's buffers, in order: A, B, C.
    pub arguments: [Argument; 3],
    /// The packet id by which tokens leave the shim tiles.
    pub token_controller: u32,
    /// The container that XRT loads.
    pub xclbin: File,
    /// Which tools made it, with their versions.
    pub tools: BTreeMap<String, String>,
}

/// The three streams' objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objects {
    /// Rows, or queries.
    pub a: Object,
    /// Weights, or keys and values in turn, or gamma and beta.
    pub b: Object,
    /// Results of one core.
    pub c: Object,
}

/// What a core takes or gives at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// Its words of 4 bytes.
    pub words: usize,
    /// By what it is for: number formats and their order, as `int8[12][8][4][8] fp32[48] control[16]`.
    pub layouts: BTreeMap<String, String>,
}

impl Objects {
    /// Those of a design.
    pub fn of(design: &Design) -> Self {
        let (Tile { m, k, n }, block, micro) = (design.tile, design.block(), design.micro_tile());
        let object = |bytes: usize, layouts: &[(&str, String)]| Object {
            words: bytes / 4,
            layouts: layouts.iter().map(|(what, layout)| ((*what).to_owned(), layout.clone())).collect(),
        };
        let second = design.target.bf16_micro_tile();
        let int8 = design.kernels == Kernels::Int8;
        let (operand, kernels) = (if int8 { "int8" } else { "bf16" }, design.kernels);
        let left =
            |columns: usize| format!("{kernels}[{}][{}][{}][{}]", m / micro.r, columns / micro.s, micro.r, micro.s);
        let right = |numbers: &str, micro: MicroTile, rows: usize, columns: usize| {
            format!("{numbers}[{}][{}][{}][{}]", columns / micro.t, rows / micro.s, micro.s, micro.t)
        };
        let scales = |count: usize| if int8 { format!(" fp32[{count}]") } else { String::new() };
        let words = (m * k * kernels.operand_bytes() + if int8 { 4 * m } else { 0 }) / 4;
        let unused = match (design.a_object() - CONTROL_BYTES) / 4 - words {
            0 => String::new(),
            unused => format!(" unused[{unused}]"),
        };
        let rows = format!("{}{}{unused} control[{}]", left(k), scales(m), CONTROL_BYTES / 4);
        let weights = format!("{}{} fp32[{n}]", right(operand, micro, k, n), scales(n));
        let keys = format!("{}{}", right(operand, micro, HEAD_WIDTH, block), scales(block));
        let values = right("bf16", second, block, HEAD_WIDTH);
        let results = format!("bf16[{}][{}][{}][{}]", m / micro.r, n / micro.t, micro.r, micro.t);
        Self {
            a: object(design.a_object(), &[("rows", rows.clone()), ("queries", rows)]),
            b: object(design.b_object(), &[("weights", weights), ("keys", keys), ("values", values)]),
            c: object(design.c_object(), &[("results", results)]),
        }
    }
}

/// A file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name in the bundle's folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its checksum, in hexadecimal digits.
    pub sha256: String,
}

impl File {
    /// What a description says of a file.
    fn of(name: &str, bytes: &[u8]) -> Self {
        Self { name: name.to_owned(), bytes: bytes.len() as u64, sha256: checksum(bytes) }
    }

    /// A name that leads out of the folder is not one that build.sh writes.
    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        let plain = Path::new(name).file_name() == Some(name.as_ref());
        if plain { Ok(()) } else { Err(format!("{name:?} is no file name")) }
    }

    /// Its bytes, if they are what the description says.
    fn read(&self, folder: &Path) -> Result<Vec<u8>, BundleError> {
        let path = folder.join(&self.name);
        let bytes = plain_file::read(&path, MOST_BYTES).map_err(|error| unreadable(&path, &error))?;
        let differs = |what, found: String, expected: String| match found == expected {
            true => Ok(()),
            false => Err(BundleError::Damaged { path: path.clone(), what, found, expected }),
        };
        differs("its size", format!("{} bytes", bytes.len()), format!("{} bytes", self.bytes))?;
        differs("its SHA-256", checksum(&bytes), self.sha256.to_ascii_lowercase())?;
        Ok(bytes)
    }
}

/// A bundle whose description was read and found sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    folder: PathBuf,
    manifest: Manifest,
}

/// Why a bundle can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// A file or a folder can't be read.
    #[error("{}: {reason}; bundles are made by kernels/aie/build.sh", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The description is no JSON, or lacks something.
    #[error("{}: {reason}: make the bundle anew with kernels/aie/build.sh", path.display())]
    Malformed {
        /// The description.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The description is of another version.
    #[error("{}: format {found}, and this program reads {FORMAT}: make the bundle anew with this program's kernels/aie/build.sh", path.display())]
    Format {
        /// The description.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// The description speaks of a design that can't be.
    #[error("{}: {error}", path.display())]
    Design {
        /// The description.
        path: PathBuf,
        /// What is wrong.
        error: DesignError,
    },
    /// A file is not what the description says.
    #[error("{}: damaged: {what} is {found}, {expected} was expected: make the bundle anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Size or checksum.
        what: &'static str,
        /// What it is.
        found: String,
        /// What the description says.
        expected: String,
    },
    /// There is no bundle of a trial array.
    #[error("{}: there is no {name}. Make it: kernels/aie/build.sh --target {target} --ladder --out {}", folder.display(), folder.display())]
    NoTrial {
        /// Where bundles were looked for.
        folder: PathBuf,
        /// Its name.
        name: String,
        /// For which silicon.
        target: Target,
    },
    /// There is no bundle for a design.
    #[error("{}: no bundle of {wanted}; there is {have}. Make it: kernels/aie/build.sh {} --out {}",
        folder.display(), wanted.make(), folder.display())]
    Absent {
        /// Where bundles were looked for.
        folder: PathBuf,
        /// What was wanted.
        wanted: Wanted,
        /// What is there.
        have: String,
    },
}

/// What a bundle is looked for by. Shim channels don't count: the bundle says which ones the compiler gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// For which silicon.
    pub target: Target,
    /// What its cores hold.
    pub kernels: Kernels,
    /// What one core computes at a time.
    pub tile: Tile,
    /// Rows and columns of cores, where it has not all.
    pub cores: Option<[usize; 2]>,
}

impl Wanted {
    /// The options by which it is made.
    fn make(&self) -> String {
        let Self { target, kernels, tile: Tile { m, k, n }, cores } = self;
        match cores {
            Some(_) => format!("--target {target} --ladder"),
            None => format!("--target {target} --kernels {kernels} --tile {m},{k},{n}"),
        }
    }
}

impl From<&Design> for Wanted {
    fn from(design: &Design) -> Self {
        let cores = [design.rows(), design.columns()];
        let cores = (cores != [Target::ROWS, design.target.columns()]).then_some(cores);
        Self { target: design.target, kernels: design.kernels, tile: design.tile, cores }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, kernels, tile: Tile { m, k, n }, cores } = self;
        write!(f, "{kernels} kernels for {target}, tiles {m}×{k}×{n}")?;
        cores.map_or(Ok(()), |[rows, columns]| write!(f, ", {rows}×{columns} cores"))
    }
}

fn unreadable(path: &Path, error: &io::Error) -> BundleError {
    BundleError::Unreadable { path: path.to_owned(), reason: error.to_string() }
}

fn checksum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Bundle {
    /// Reads a folder's description and checks all that it says but the files' contents.
    ///
    /// # Errors
    /// If it is missing, malformed, of another version, or describes something that can't be.
    pub fn read(folder: &Path) -> Result<Self, BundleError> {
        #[derive(Deserialize)]
        struct Version {
            format: u64,
        }
        let path = folder.join(MANIFEST);
        let text = plain_file::text(&path, MOST_BYTES).map_err(|error| unreadable(&path, &error))?;
        let malformed = |reason: String| BundleError::Malformed { path: path.clone(), reason };
        let Version { format } = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        if format != u64::from(FORMAT) {
            return Err(BundleError::Format { path, found: format });
        }
        let manifest: Manifest = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        manifest.design.check().map_err(|error| BundleError::Design { path: path.clone(), error })?;
        if manifest.objects != Objects::of(&manifest.design) {
            let (found, must) = (&manifest.objects, Objects::of(&manifest.design));
            return Err(malformed(format!("its objects are {found:?}; this program packs {must:?}")));
        }
        if manifest.arguments != Argument::ALL {
            return Err(malformed("its arguments are not a, b, c".into()));
        }
        if manifest.kernel != KERNEL {
            return Err(malformed(format!("its kernel is {:?}, not {KERNEL}", manifest.kernel)));
        }
        if manifest.token_controller != TOKEN_CONTROLLER {
            let found = manifest.token_controller;
            return Err(malformed(format!(
                "its tokens have packet id {found}; streams are written for {TOKEN_CONTROLLER}"
            )));
        }
        manifest.xclbin.check().map_err(malformed)?;
        Ok(Self { folder: folder.to_owned(), manifest })
    }

    /// Writes a bundle: its description and its container.
    ///
    /// # Errors
    /// If the folder can't be made or written to.
    pub fn write(
        folder: &Path,
        design: &Design,
        xclbin: &[u8],
        tools: BTreeMap<String, String>,
    ) -> Result<Self, BundleError> {
        let manifest = Manifest {
            format: FORMAT,
            design: design.clone(),
            objects: Objects::of(design),
            kernel: KERNEL.to_owned(),
            arguments: Argument::ALL,
            token_controller: TOKEN_CONTROLLER,
            xclbin: File::of("design.xclbin", xclbin),
            tools,
        };
        let text =
            serde_json::to_string_pretty(&manifest).expect("a manifest has no maps with other keys than strings");
        let put = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            fs::write(&path, bytes).map_err(|error| unreadable(&path, &error))
        };
        fs::create_dir_all(folder).map_err(|error| unreadable(folder, &error))?;
        put(&manifest.xclbin.name, xclbin)?;
        put(MANIFEST, text.as_bytes())?;
        Ok(Self { folder: folder.to_owned(), manifest })
    }

    /// What its description says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What was compiled. Streams for it name the channels that stand here.
    pub fn design(&self) -> &Design {
        &self.manifest.design
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where its container is.
    pub fn xclbin_path(&self) -> PathBuf {
        self.folder.join(&self.manifest.xclbin.name)
    }

    /// The container, checked.
    ///
    /// # Errors
    /// If it can't be read or is not what the description says.
    pub fn xclbin(&self) -> Result<Vec<u8>, BundleError> {
        self.manifest.xclbin.read(&self.folder)
    }
}

/// A folder of bundles.
#[derive(Clone, Debug)]
pub struct Bundles {
    folder: PathBuf,
    sound: Vec<Bundle>,
    broken: Vec<BundleError>,
}

impl Bundles {
    /// Reads the descriptions of all bundles in a folder's folders, by name. Those that can't be used are kept aside
    /// ([`Bundles::broken`]).
    ///
    /// # Errors
    /// If the folder can't be read.
    pub fn open(folder: &Path) -> Result<Self, BundleError> {
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut paths: Vec<PathBuf> =
            entries.map_err(|error| unreadable(folder, &error))?.iter().map(fs::DirEntry::path).collect();
        paths.retain(|path| path.join(MANIFEST).exists());
        paths.sort();
        let mut bundles = Self { folder: folder.to_owned(), sound: Vec::new(), broken: Vec::new() };
        for path in paths {
            match Bundle::read(&path) {
                Ok(bundle) => bundles.sound.push(bundle),
                Err(error) => bundles.broken.push(error),
            }
        }
        Ok(bundles)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Those that can be used.
    pub fn list(&self) -> &[Bundle] {
        &self.sound
    }

    /// Why others can't.
    pub fn broken(&self) -> &[BundleError] {
        &self.broken
    }

    /// The bundle of a target, kernels and tile. Its shim channels can differ from the design's: write streams for
    /// [`Bundle::design`].
    ///
    /// # Errors
    /// If there is none; the error says what there is and how to make it.
    pub fn find(&self, design: &Design) -> Result<&Bundle, BundleError> {
        let wanted = Wanted::from(design);
        self.sound.iter().find(|bundle| Wanted::from(bundle.design()) == wanted).ok_or_else(|| {
            let mut have: Vec<String> =
                self.sound.iter().map(|bundle| Wanted::from(bundle.design()).to_string()).collect();
            have.extend(self.broken.iter().map(|error| format!("one that can't be used ({error})")));
            let have = if have.is_empty() { "none at all".to_owned() } else { have.join("; ") };
            BundleError::Absent { folder: self.folder.clone(), wanted, have }
        })
    }
}

#[cfg(test)]
mod tests;
mod trial;

pub use trial::TrialBundle;

//! Packed models on disk: where the packed form of a graph is, whether it is fresh, and how it comes there. ONNX
//! Runtime and the execution provider pack a graph; here it is a folder with two files that are not looked into.
//!
//! ```text
//! FOLDER/NAME-OF-THE-MODEL-0123456789abcdef/encoder_model-host-int8-all-fedcba9876543210/packed.onnx
//!                                                                                        packed.xdna
//! ```
//!
//! The first folder is the model's ([`undertone_models::packed`] names it, and finds it again when the model is
//! removed). The second number stands for everything that makes a packed model stale: size and time of the graph's
//! files, versions and options. Such a folder appears whole or not at all, so that any number of processes may pack at
//! the same moment. An empty one says that there is nothing to pack.

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::{self, DirEntry, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use undertone_models::packed;

/// The packed graph; the execution provider names its own file after it.
const MODEL: &str = "packed.onnx";
const UNFINISHED: &str = ".unfinished-";
/// From then on an unfinished folder is taken for one that a crash left behind.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);
/// Ends of the names of files that graphs keep their weights in.
const WEIGHTS: [&str; 4] = [".data", "_data", ".bin", ".weights"];

/// Where the packed form of one graph is, or will be.
#[derive(Debug)]
pub(crate) struct Place {
    /// Where all packed models are.
    root: PathBuf,
    /// The folder of the model's graphs.
    graphs: PathBuf,
    /// What is packed of them.
    folder: PathBuf,
    /// What the graph's folders begin with, whatever their age.
    prefix: String,
    /// The fresh one.
    finished: PathBuf,
}

impl Place {
    /// The place of `graph` below `root`, for a session that `options` describe: short words for the folder's name, and
    /// everything else that makes a packed model stale.
    ///
    /// # Errors
    /// If the graph cannot be looked at.
    pub(crate) fn new(root: &Path, graph: &Path, words: &str, everything: &impl Hash) -> io::Result<Self> {
        // The graph itself may be a link, as in the hub's cache; its weights stand beside the link, where it is opened.
        let graphs =
            fs::canonicalize(graph.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")))?;
        let graph = graphs.join(graph.file_name().unwrap_or_default());
        let mut of_contents = DefaultHasher::new();
        everything.hash(&mut of_contents);
        identity(&graph, &fs::metadata(&graph)?).hash(&mut of_contents);
        let mut weights: Vec<_> = fs::read_dir(&graphs)?
            .flatten()
            .filter(|file| is_weights(&file.path(), &graph))
            .filter_map(|file| Some(identity(&file.path(), &fs::metadata(file.path()).ok()?)))
            .collect();
        weights.sort();
        weights.hash(&mut of_contents);

        let folder = packed::folder(root, &graphs);
        let prefix = format!("{}-{words}-", graph.file_stem().unwrap_or_default().to_string_lossy());
        let finished = folder.join(format!("{prefix}{:016x}", of_contents.finish()));
        Ok(Self { root: root.to_owned(), graphs, folder, prefix, finished })
    }

    /// Opens the packed graph; packs it first if there is no fresh one, or a damaged one. `None`, traced, if that
    /// cannot be done or there is nothing to pack.
    pub(crate) fn open<S, E: Display>(
        &self,
        open: impl Fn(&Path) -> Result<S, E>,
        pack: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Option<S> {
        let model = self.finished.join(MODEL);
        if model.is_file() {
            match open(&model) {
                Ok(session) => return Some(session),
                Err(error) => {
                    tracing::info!("packing anew: {error}");
                    let _ = fs::remove_dir_all(&self.finished);
                }
            }
        } else if self.finished.is_dir() {
            return None;
        }
        tracing::info!("packing into {}", self.finished.display());
        if let Err(error) = self.make(pack) {
            tracing::info!("not packed: {error}");
            return None;
        }
        if !model.is_file() {
            tracing::info!("there is nothing to pack");
            return None;
        }
        open(&model).inspect_err(|error| tracing::info!("not packed: {error}")).ok()
    }

    fn make<E: Display>(&self, pack: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), String> {
        let failed = |error: io::Error| format!("{}: {error}", self.folder.display());
        packed::create(&self.root, &self.graphs).map_err(failed)?;
        let unfinished = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(&self.folder).map_err(failed)?;
        pack(&unfinished.path().join(MODEL)).map_err(|error| error.to_string())?;
        match fs::rename(unfinished.path(), &self.finished) {
            // It is no longer where it would be removed from.
            Ok(()) => drop(unfinished.keep()),
            // Another process was first; the two are alike.
            Err(_) if self.finished.is_dir() => {}
            Err(error) => return Err(failed(error)),
        }
        self.remove_stale();
        Ok(())
    }

    /// Removes what was packed from earlier states of the same graph, and what crashes left behind. Processes that have
    /// it open keep it.
    fn remove_stale(&self) {
        let is_stale = |entry: &DirEntry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let others = name.strip_prefix(&self.prefix).is_some_and(|key| key.len() == 16);
            let abandoned = || {
                let changed = entry.metadata().and_then(|metadata| metadata.modified()).ok();
                let age = changed.and_then(|changed| SystemTime::now().duration_since(changed).ok());
                name.starts_with(UNFINISHED) && age.is_some_and(|age| age > ABANDONED)
            };
            entry.path() != self.finished && (others || abandoned())
        };
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten().filter(is_stale) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// What tells one state of a file from another.
fn identity(path: &Path, metadata: &Metadata) -> (std::ffi::OsString, u64, Option<SystemTime>) {
    (path.file_name().unwrap_or_default().to_owned(), metadata.len(), metadata.modified().ok())
}

/// Whether a file may hold weights of the graph beside it.
fn is_weights(file: &Path, graph: &Path) -> bool {
    let (Some(name), Some(graph)) =
        (file.file_name().and_then(OsStr::to_str), graph.file_name().and_then(OsStr::to_str))
    else {
        return false;
    };
    name != graph && (name.starts_with(graph) || WEIGHTS.iter().any(|end| name.ends_with(end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// A graph, and a folder for what is packed.
    struct Home {
        folder: tempfile::TempDir,
        packed: RefCell<usize>,
    }

    impl Home {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("encoder.onnx"), "graph").unwrap();
            Self { folder, packed: RefCell::new(0) }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn place(&self, words: &str) -> Place {
            Place::new(&self.path("packed"), &self.path("encoder.onnx"), words, &(words, 7)).unwrap()
        }

        /// "Packs" by writing the count of packings; opens what was written whole.
        fn open(&self, words: &str) -> Option<String> {
            let open = |path: &Path| match fs::read_to_string(path) {
                Ok(text) if text.starts_with("packed ") => Ok(text),
                other => Err(format!("{other:?}")),
            };
            self.place(words).open(open, |path| {
                *self.packed.borrow_mut() += 1;
                fs::write(path, format!("packed {}", self.packed.borrow())).map_err(|error| error.to_string())
            })
        }

        fn kept(&self) -> usize {
            let models = fs::read_dir(self.path("packed")).unwrap().flatten();
            let is_graph = |entry: &DirEntry| entry.path().is_dir();
            models.map(|model| fs::read_dir(model.path()).unwrap().flatten().filter(is_graph).count()).sum()
        }
    }

    #[test]
    fn packed_once_and_again_when_anything_has_changed() {
        let home = Home::new();
        assert_eq!(home.open("int8").as_deref(), Some("packed 1"));
        assert_eq!(home.open("int8").as_deref(), Some("packed 1"));
        assert_eq!(home.open("bf16").as_deref(), Some("packed 2"));
        assert_eq!((home.open("int8").as_deref(), home.kept()), (Some("packed 1"), 2));
        fs::write(home.path("encoder.onnx"), "another graph").unwrap();
        assert_eq!(home.open("int8").as_deref(), Some("packed 3"));
        assert_eq!(home.kept(), 2, "the stale one is gone, that of the other precision is left to its own sessions");
        fs::write(home.path("encoder.onnx.data"), "weights").unwrap();
        assert_eq!(home.open("int8").as_deref(), Some("packed 4"));
        let later = SystemTime::now() + Duration::from_secs(5);
        fs::File::options().write(true).open(home.path("encoder.onnx.data")).unwrap().set_modified(later).unwrap();
        assert_eq!(home.open("int8").as_deref(), Some("packed 5"));
        fs::write(home.path("notes.txt"), "no weights").unwrap();
        assert_eq!(home.open("int8").as_deref(), Some("packed 5"));
    }

    #[test]
    fn what_is_damaged_is_made_anew() {
        let home = Home::new();
        home.open("int8").unwrap();
        let model = home.place("int8").finished.join(MODEL);
        fs::write(&model, "garbage").unwrap();
        assert_eq!(home.open("int8").as_deref(), Some("packed 2"));
        assert_eq!((home.open("int8").as_deref(), home.kept()), (Some("packed 2"), 1));
    }

    #[test]
    fn nothing_to_pack_is_remembered_and_failures_are_not() {
        let home = Home::new();
        let open = |path: &Path| fs::read_to_string(path).map_err(|error| error.to_string());
        assert_eq!(home.place("int8").open(open, |_| Err("the disk is full".to_owned())), None);
        assert_eq!(home.kept(), 0, "nothing half done is left behind");
        assert_eq!(home.place("int8").open(open, |_| Ok(())), None);
        assert_eq!(home.open("int8"), None, "it is not tried again");
        assert_eq!(*home.packed.borrow(), 0);
        fs::write(home.path("file"), "").unwrap();
        let nowhere = Place::new(&home.path("file"), &home.path("encoder.onnx"), "int8", &0).unwrap();
        assert_eq!(nowhere.open(open, |_| Ok(())), None, "a folder that cannot be made");
    }

    #[test]
    fn whoever_is_first_packs_for_all() {
        let home = Home::new();
        let other = home.place("int8");
        let open = |path: &Path| fs::read_to_string(path).map_err(|error| error.to_string());
        let got = other.open(open, |path| {
            // Meanwhile somebody else has finished.
            assert_eq!(home.open("int8").as_deref(), Some("packed 1"));
            fs::write(path, "packed later").map_err(|error| error.to_string())
        });
        assert_eq!((got.as_deref(), home.kept()), (Some("packed 1"), 1));
    }

    #[test]
    #[cfg(unix)]
    fn a_graph_behind_a_link_is_the_folder_s_it_is_opened_in() {
        let (home, store) = (Home::new(), tempfile::tempdir().unwrap());
        fs::rename(home.path("encoder.onnx"), store.path().join("0123")).unwrap();
        std::os::unix::fs::symlink(store.path().join("0123"), home.path("encoder.onnx")).unwrap();
        assert_eq!(home.open("int8").as_deref(), Some("packed 1"));
        // The graph's name is the link's, whatever its bytes are called.
        fs::rename(store.path().join("0123"), store.path().join("4567")).unwrap();
        fs::remove_file(home.path("encoder.onnx")).unwrap();
        fs::write(store.path().join("4567"), "a newer graph").unwrap();
        std::os::unix::fs::symlink(store.path().join("4567"), home.path("encoder.onnx")).unwrap();
        assert_eq!((home.open("int8").as_deref(), home.kept()), (Some("packed 2"), 1), "the outdated one is gone");
        let of = packed::list(&home.path("packed"));
        assert_eq!(of[0].graphs, Some(home.folder.path().canonicalize().unwrap()));
    }

    #[test]
    fn models_of_equal_names_are_told_apart() {
        let (a, b) = (Home::new(), Home::new());
        let root = a.path("packed");
        let place = |home: &Home| Place::new(&root, &home.path("encoder.onnx"), "int8", &0).unwrap().finished;
        assert_ne!(place(&a), place(&b));
        assert!(Place::new(&root, &a.path("no.onnx"), "int8", &0).is_err());
    }
}

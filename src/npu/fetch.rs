//! `undertone npu fetch`: compiled kernels for NPUs from a release into the folder where the execution provider finds
//! them. The provider's own library says whether it can use them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, bail, ensure};
use clap::Args;
use undertone_boundary::bundles::{self, Contents, Entry};
use undertone_models::{Limits, Step, address, download, once};
use undertone_runner::{Device, engine};

use super::release::{self, OfThisMachine, Release};
use crate::choices::Libraries;
use crate::output::{self, say};
use crate::steps::Steps;

/// Put compiled NPU kernels of a release where `--device npu` finds them
///
/// They go into undertone/npu in the user's cache folder, or the folder that UNDERTONE_BUNDLES names: compared with
/// their checksums first, and each whole or not at all.
#[derive(Args)]
#[command(override_usage = "undertone npu fetch [OPTIONS] <FROM>\n       undertone npu fetch --list")]
pub struct Arguments {
    /// Where they are: an address (https://…/bundles.zip), a .zip, or the folder that kernels/aie/build.sh made
    #[arg(value_name = "FROM")]
    from: Option<String>,
    /// The archive's SHA-256, if somebody told it by another way than the archive came
    #[arg(long, value_name = "DIGITS", requires = "from")]
    sha256: Option<String>,
    /// Show what is there; fetches nothing
    #[arg(long, conflicts_with = "from")]
    list: bool,
    #[command(flatten)]
    libraries: Libraries,
}

/// Carries it out.
///
/// # Errors
///
/// If they cannot be had, are not what their checksums say, or are others than this program uses.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let root = bundles::folder()
        .with_context(|| format!("this system has no cache folder: name a folder with {}", bundles::VARIABLE))?;
    let library = arguments.libraries.options(Device::Host)?.ep_library.unwrap_or_default();
    if arguments.list {
        return list(&root, &library);
    }
    let Some(from) = &arguments.from else {
        bail!(
            "no release of compiled kernels is public yet, so there is no address to fetch them from by itself: name an address, an \
             archive or a folder that somebody gave you (`undertone npu fetch FROM`), or make them with kernels/aie/build.sh"
        );
    };
    let address = match address::scheme(from) {
        Some(scheme) if matches!(&*scheme, "http" | "https") => Some(scheme.clone() + &from[scheme.len()..]),
        None if !from.is_empty() => None,
        _ => bail!(
            "\"{}\" is nothing to fetch from: name an address (https://… or http://…), a zip archive or a folder",
            address::shown(from)
        ),
    };
    if let Some(digits) = &arguments.sha256 {
        ensure!(release::is_sha256(digits), "--sha256 wants 64 hexadecimal digits");
    }
    let cannot = || format!("cannot write into {}: name another folder with {}", root.display(), bundles::VARIABLE);
    fs::create_dir_all(&root).with_context(cannot)?;
    let lock = once::lock_file(&root.join("fetch.lock")).with_context(cannot)?;
    wait_for(&lock, &root);
    let Some(address) = address else {
        take(arguments, Path::new(from), from, &root, &library)?;
        return Ok(ExitCode::SUCCESS);
    };
    let shown = address::shown(&address);
    let limits = Limits { most: release::MOST_BYTES, plain: arguments.sha256.is_some() };
    let steps = Steps::new();
    let archive = download(&address, limits, &root, &mut |done, total| {
        steps.show(Step::Fetching { what: &shown, from: &shown, done, total });
    })?;
    steps.end();
    let taken = take(arguments, &archive, &shown, &root, &library);
    match taken {
        Err(error) if error.is::<OfThisMachine>() => bail!("{error}; {shown} came whole and is kept for the next try"),
        // It is in its place, or no good.
        taken => {
            let _ = fs::remove_file(&archive);
            taken.map(|()| ExitCode::SUCCESS)
        }
    }
}

/// One at a time; where the file system has no locks, two may do the same.
fn wait_for(lock: &File, root: &Path) {
    for _ in 0..10 {
        match lock.try_lock() {
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(100)),
            _ => return,
        }
    }
    say(&format!("note: waiting for another `undertone npu fetch` that puts bundles into {}", root.display()));
    let _ = lock.lock();
}

/// Takes the bundles of an archive or a folder that a person knows as `from`.
fn take(arguments: &Arguments, path: &Path, from: &str, root: &Path, library: &Path) -> Result<()> {
    // Under the lock nobody else is at work in it: one that was killed left this.
    let staging = root.join(".fetching");
    let _ = fs::remove_dir_all(&staging);
    let done = checked(arguments, path, &staging, library);
    let done = done.and_then(|(release, contents)| {
        // None is put in place where one can't be.
        for home in release.folders().iter().map(|folder| root.join(folder)) {
            ensure!(
                !home.exists() || home.is_dir(),
                OfThisMachine(format!("{} is a file where a bundle belongs: move it away", home.display()))
            );
        }
        for folder in release.folders() {
            place(&release, folder, &staging, root)
                .with_context(|| OfThisMachine(format!("cannot write {}", root.join(folder).display())))?;
        }
        Ok(contents)
    });
    let _ = fs::remove_dir_all(&staging);
    let named =
        |text: &str| text.replace(&staging.display().to_string(), from).replace(&path.display().to_string(), from);
    let contents = done.map_err(|error| {
        let text = format!("{error:#}");
        if error.is::<OfThisMachine>() { Error::msg(OfThisMachine(text)) } else { Error::msg(named(&text)) }
    })?;
    let home = |folder: &Path| root.join(folder.strip_prefix(&staging).unwrap_or(folder));
    output::print(&(lines(&contents, home).join("\n") + "\n"))?;
    if let Some(machine) = &contents.machine
        && contents.bundles.iter().all(|entry| entry.target != *machine)
    {
        say(&format!("warning: this machine's NPU is {machine}, and none of these is for it"));
    }
    Ok(())
}

/// The release's files in `staging`, compared with their checksums, and what the provider's library says of them.
fn checked(arguments: &Arguments, path: &Path, staging: &Path, library: &Path) -> Result<(Release, Contents)> {
    if let Some(expected) = &arguments.sha256 {
        ensure!(!path.is_dir(), "--sha256 is an archive's, and {} is a folder", path.display());
        let found = release::sha256(path)?;
        ensure!(
            found.eq_ignore_ascii_case(expected),
            "{} has the SHA-256 {found}, not {expected}: it is damaged or another one",
            path.display()
        );
    }
    let mut release = Release::open(path)?;
    fs::create_dir_all(staging).with_context(|| OfThisMachine(format!("cannot write {}", staging.display())))?;
    release.copy(staging)?;
    let contents = engine::bundles(library, staging).map_err(|error| Error::msg(OfThisMachine(error.to_string())))?;
    let contents = contents.unwrap_or_default();
    if let Some(reason) = contents.broken.first() {
        bail!("this program cannot use them, and nothing was put in place: {reason}");
    }
    ensure!(!contents.bundles.is_empty(), "{} holds no bundle", path.display());
    Ok((release, contents))
}

/// Puts one bundle's folder in its place, whole.
fn place(release: &Release, folder: &str, staging: &Path, root: &Path) -> io::Result<()> {
    let home = root.join(folder);
    let files = release.files(folder);
    let is_there =
        || files.iter().all(|(name, sum)| release::sha256(&home.join(name)).is_ok_and(|found| found == *sum));
    let make = |partial: &Path| -> io::Result<()> {
        for (name, _) in &files {
            let to = partial.join(name);
            fs::create_dir_all(to.parent().unwrap_or(partial))?;
            fs::rename(staging.join(folder).join(name), to)?;
        }
        Ok(())
    };
    let is_other = home.is_dir() && !is_there();
    once::unless(&home, is_there, make)?;
    if is_other {
        say(&format!("note: {} held something else, and was replaced", home.display()));
    }
    Ok(())
}

/// A line for each bundle, whose folder is or will be `home`, and one for each NPU: whether the ladder has all it needs.
fn lines(contents: &Contents, home: impl Fn(&Path) -> PathBuf) -> Vec<String> {
    let line = |folder: &Path, words: String| format!("{}  {words}", home(folder).display());
    let bundles = contents.bundles.iter().map(|entry| line(&entry.folder, words(entry)));
    let trials = contents.trials.iter().map(|trial| line(&trial.folder, format!("{} {}", trial.target, trial.kind)));
    let ladder = contents.lacking.iter().map(|(target, lacking)| match &lacking[..] {
        [] => format!("{target}, for `undertone npu bring-up`: complete"),
        _ => format!("{target}, for `undertone npu bring-up`: there is no {}", lacking.join(", no ")),
    });
    bundles.chain(trials).chain(ladder).collect()
}

/// What a bundle is.
fn words(entry: &Entry) -> String {
    let Entry { target, kernels, tile, cores: [rows, columns], .. } = entry;
    format!("{target} {kernels} {}×{}×{} on {rows}×{columns} cores", tile.m, tile.k, tile.n)
}

fn list(root: &Path, library: &Path) -> Result<ExitCode> {
    match fs::read_dir(root) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot read {}", root.display()));
        }
        _ => {}
    }
    let contents = engine::bundles(library, root)?.unwrap_or_default();
    let mut lines = lines(&contents, Path::to_owned);
    lines.extend(contents.broken.iter().map(|reason| format!("of no use: {reason}")));
    if lines.is_empty() {
        lines.push(format!("No compiled NPU kernels in {}.", root.display()));
    }
    output::print(&(lines.join("\n") + "\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// In a line, the compiled kernels that are used where no folder is named.
pub fn present(library: &Path) -> Option<(PathBuf, String)> {
    let root = bundles::folder()?;
    let contents = engine::bundles(library, &root).ok()?.unwrap_or_default();
    let mut all: Vec<String> = contents.bundles.iter().map(words).collect();
    all.extend(contents.trials.iter().map(|trial| format!("{} {}", trial.target, trial.kind)));
    all.extend(contents.lacking.iter().map(|(target, lacking)| match lacking.len() {
        0 => format!("complete for `undertone npu bring-up` of {target}"),
        count => format!("{count} lacking for `undertone npu bring-up` of {target} (`undertone npu fetch --list`)"),
    }));
    if !contents.broken.is_empty() {
        all.push(format!("{} of no use (`undertone npu fetch --list`)", contents.broken.len()));
    }
    if all.is_empty() {
        all.push("none (`undertone npu fetch FROM`)".into());
    }
    Some((root, all.join(", ")))
}

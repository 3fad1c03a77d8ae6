//! Folders that are made once, however many processes want them at the same time, and that are there whole or not at
//! all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Makes sure that `home` is there: `make` fills it if it is not.
///
/// `make` gets an empty folder beside `home`, which is renamed to `home` when it returns: whoever sees `home` sees all
/// of it. A lock beside it lets one process work while others wait for its result. Where the file system has no locks,
/// two may do the same work, and the first one's result is kept.
///
/// # Errors
/// What `make` says, or what the file system does; `home` is not there then, and the next call tries again.
pub fn folder<E: From<io::Error>>(home: &Path, make: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
    unless(home, || home.is_dir(), make)
}

/// [`folder`], which is made anew where `is_good` says that it is not as it should be. The old one stays until there is
/// a new one.
pub fn unless<E: From<io::Error>>(
    home: &Path,
    is_good: impl Fn() -> bool,
    make: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    if is_good() {
        return Ok(());
    }
    if let Some(parent) = home.parent() {
        fs::create_dir_all(parent)?;
    }
    let lock = lock_file(&beside(home, "lock"))?;
    let locked = lock.lock().is_ok();
    if is_good() {
        return Ok(());
    }
    // A process that was killed leaves its half here; with the lock held no other process is at work in it.
    let partial = beside(home, &if locked { PARTIAL.into() } else { format!("{PARTIAL}-{}", std::process::id()) });
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir(&partial)?;
    let made = make(&partial).and_then(|()| {
        let old = beside(home, &format!("{REMOVED}-{}", std::process::id()));
        let _ = fs::rename(home, &old);
        let renamed = fs::rename(&partial, home);
        if renamed.is_err() && !home.exists() {
            let _ = fs::rename(&old, home);
        }
        let _ = fs::remove_dir_all(&old);
        match renamed {
            // Without locks another process may have been faster.
            Err(error) if !is_good() => Err(error.into()),
            _ => Ok(()),
        }
    });
    let _ = fs::remove_dir_all(&partial);
    made
}

/// Opens a file that is there to be locked, and leaves what is in it: its name may be a link to another one.
///
/// # Errors
/// If it cannot be made or opened.
pub fn lock_file(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

/// What a folder's name ends with while it is made.
const PARTIAL: &str = "partial";
/// And while it is removed.
const REMOVED: &str = "removed";

/// Removes a folder. It is renamed first: a process that opens it just now finds all or nothing.
///
/// # Errors
/// If it cannot be removed.
pub(crate) fn remove(folder: &Path) -> io::Result<()> {
    let going = beside(folder, &format!("{REMOVED}-{}", std::process::id()));
    fs::rename(folder, &going)?;
    fs::remove_dir_all(&going)
}

/// Whether a folder's name says that it is not whole: made or removed just now, or by a process that ended early.
pub(crate) fn is_half(folder: &Path) -> bool {
    home_of(folder).is_some()
}

/// The folder that `half` was to become or was, if a process that ended early left it; one that a process is at work in
/// is none.
pub(crate) fn left_over(half: &Path) -> Option<PathBuf> {
    let (home, word) = home_of(half)?;
    let in_work = File::open(beside(&home, "lock")).is_ok_and(|lock| lock.try_lock_shared().is_err());
    (half.is_dir() && (word == REMOVED || !in_work)).then_some(home)
}

/// What a folder that is not whole is to become or was, and which of the two.
fn home_of(half: &Path) -> Option<(PathBuf, &'static str)> {
    let (home, end) = half.file_name()?.to_str()?.rsplit_once('.')?;
    let word = end.split_once('-').map_or(end, |(word, _)| word);
    let word = [PARTIAL, REMOVED].into_iter().find(|known| *known == word)?;
    Some((half.with_file_name(home), word))
}

/// `home` with a word at the end of its name; not an extension, since names like `tiny.en` have dots of their own.
fn beside(home: &Path, word: &str) -> PathBuf {
    let mut name = home.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{word}"));
    home.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn many_at_once_make_it_once() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("cache/tiny.en");
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    folder::<io::Error>(&home, |partial| {
                        made.fetch_add(1, Ordering::Relaxed);
                        fs::write(partial.join("one"), "1")?;
                        std::thread::yield_now();
                        fs::write(partial.join("two"), "2")
                    })
                    .unwrap();
                    assert!(home.join("one").is_file() && home.join("two").is_file());
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn a_failure_leaves_nothing_and_the_next_one_tries_again() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("base");
        let failed = folder(&home, |partial| {
            fs::write(partial.join("half"), "")?;
            Err(io::Error::other("no network"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no network");
        assert!(!home.exists());
        folder::<io::Error>(&home, |partial| {
            assert_eq!(fs::read_dir(partial)?.count(), 0, "the failed one's half");
            Ok(())
        })
        .unwrap();
        assert!(home.is_dir());
    }

    #[test]
    fn what_is_no_good_stays_until_there_is_better() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("base");
        fs::create_dir(&home).unwrap();
        fs::write(home.join("model"), "damaged").unwrap();
        let read = || fs::read_to_string(home.join("model")).unwrap();
        let failed = unless(&home, || false, |_| Err(io::Error::other("no network")));
        assert_eq!((failed.is_err(), read()), (true, "damaged".to_owned()));
        unless::<io::Error>(&home, || read() == "good", |partial| fs::write(partial.join("model"), "good")).unwrap();
        assert_eq!(read(), "good");
        unless::<io::Error>(&home, || read() == "good", |_| panic!("it is good")).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "the folder and its lock");
    }

    #[test]
    fn a_lock_leaves_what_is_in_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "text").unwrap();
        lock_file(file.path()).unwrap().try_lock().unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "text");
    }

    #[test]
    fn what_a_dead_process_left_is_told_from_what_one_is_at_work_in() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("tiny.en");
        let half = directory.path().join("tiny.en.partial");
        folder::<io::Error>(&home, |partial| {
            assert_eq!(partial, half);
            assert_eq!(left_over(partial), None);
            Ok(())
        })
        .unwrap();
        assert_eq!(left_over(&home), None);
        fs::create_dir(&half).unwrap();
        assert_eq!(left_over(&half), Some(home.clone()));
        let removed = directory.path().join("tiny.en.removed-12");
        fs::create_dir(&removed).unwrap();
        assert_eq!(left_over(&removed), Some(home));
    }
}

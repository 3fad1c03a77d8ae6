//! Folders that are made once, however many processes want them at the same time, and that are there whole or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Returns `home`, after `make` has filled it if it was not there.
///
/// `make` gets an empty folder beside `home`, which is renamed to `home` when it returns: whoever sees `home` sees all of it. A
/// lock beside it lets one process work while others wait for its result. Where the file system has no locks, two may do the
/// same work, and the first one's result is kept.
///
/// # Errors
///
/// What `make` says, or what the file system does; `home` is not there then, and the next call tries again.
pub fn folder<E: From<io::Error>>(home: &Path, make: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
    if home.is_dir() {
        return Ok(());
    }
    if let Some(parent) = home.parent() {
        fs::create_dir_all(parent)?;
    }
    let lock = File::create(beside(home, "lock"))?;
    let locked = lock.lock().is_ok();
    if home.is_dir() {
        return Ok(());
    }
    // A process that was killed leaves its half here; with the lock held nobody else is at work in it.
    let partial = beside(home, &if locked { "partial".into() } else { format!("partial-{}", std::process::id()) });
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir(&partial)?;
    let made = make(&partial).and_then(|()| match fs::rename(&partial, home) {
        Err(error) if !home.is_dir() => Err(error.into()),
        _ => Ok(()),
    });
    let _ = fs::remove_dir_all(&partial);
    made
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
}

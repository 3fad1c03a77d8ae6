//! Other people's programs: found, run with a time limit, and ended at it.

use std::env;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What a program said, and how it ended.
pub(crate) struct Answer {
    /// Its standard output, and its standard error after it.
    pub text: String,
    /// Whether it ended well.
    pub is_well: bool,
}

/// Why there is no answer.
pub(crate) enum NoAnswer {
    /// It did not start.
    NotStarted(String),
    /// It did not end in time.
    TimedOut(Duration),
}

/// Where a program is: in the PATH, or in one of `folders`.
pub(crate) fn find(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(folders.iter().cloned()).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Runs a program to its end, or to the limit.
pub(crate) fn run(program: &Path, arguments: &[&str], limit: Duration) -> Result<Answer, NoAnswer> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| NoAnswer::NotStarted(error.to_string()))?;
    // Read beside it: a full pipe would stop it.
    let out = child.stdout.take().map(|from| thread::spawn(|| text_of(from)));
    let err = child.stderr.take().map(|from| thread::spawn(|| text_of(from)));
    let is_well = ended(&mut child, limit).ok_or(NoAnswer::TimedOut(limit))?;
    let joined =
        |reader: Option<thread::JoinHandle<String>>| reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
    Ok(Answer { text: joined(out) + &joined(err), is_well })
}

fn text_of(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    // What came until it broke off is all there is.
    let _ = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for a process to end, and whether it did so well; ends it at the limit. A process that hangs in the kernel
/// cannot be ended: it is left behind.
pub(crate) fn ended(child: &mut Child, limit: Duration) -> Option<bool> {
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Err(_) => return Some(false),
            Ok(None) if begun.elapsed() >= limit => {
                // Where it has ended by itself meanwhile there is nothing to end.
                let _ = child.kill();
                return None;
            }
            Ok(None) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<Answer, NoAnswer> {
        run(&find("sh", &[]).unwrap(), &["-c", script], limit)
    }

    #[test]
    fn a_program_s_words_and_its_end() {
        let long = Duration::from_secs(20);
        let answer = shell("echo one; echo two >&2", long).ok().unwrap();
        assert!(answer.is_well && answer.text == "one\ntwo\n");
        assert!(!shell("exit 3", long).ok().unwrap().is_well);
        let begun = Instant::now();
        assert!(matches!(shell("sleep 30", Duration::from_millis(50)), Err(NoAnswer::TimedOut(_))));
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(matches!(run(Path::new("/no/such"), &[], long), Err(NoAnswer::NotStarted(_))));
        assert!(find("no-such-program", &[]).is_none());
    }
}

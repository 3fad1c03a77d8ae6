//! Other people's programs: found, run with a time limit, and ended at it.

use std::env;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::{file, text};

/// Bytes of what a program says that are kept, the last ones.
const MOST_BYTES: usize = 1 << 20;
/// What a program has said is read so long after its end: one of its own may hold the pipe open.
const TO_READ: Duration = Duration::from_secs(1);

/// What a program said, and how it ended.
pub(crate) struct Answer {
    /// Its standard output, and its standard error after it.
    pub text: String,
    /// Whether it ended well.
    pub is_well: bool,
    /// How it ended: `exit status: 1`.
    pub end: String,
}

/// Why there is no answer.
pub(crate) enum NoAnswer {
    /// It did not start.
    NotStarted(String),
    /// It did not end in time.
    TimedOut(Duration),
}

/// Where a program is: in the PATH, in one of `folders`, or where every system has its own.
pub(crate) fn find(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let folders = env::split_paths(&path).chain(folders.iter().cloned()).chain(system);
    // An empty one means the folder that one happens to be in.
    folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    let Ok(what) = fs::metadata(file) else { return false };
    #[cfg(unix)]
    let may_run = std::os::unix::fs::PermissionsExt::mode(&what.permissions()) & 0o111 != 0;
    #[cfg(not(unix))]
    let may_run = true;
    what.is_file() && may_run
}

/// The groups of the programs that run now.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends all programs that run, waits for a report that is half written, and lets none begin again: what a process does
/// before it ends.
pub fn end_work() {
    let running = running();
    running.iter().for_each(|group| end_group(*group));
    std::mem::forget(running);
    file::end_writing();
}

/// Ends this process, its programs and all others of its group once its standard input is closed: whoever started it
/// holds that open. A Ctrl-C that ends only the one that watches ends all so.
pub fn end_with_parent() {
    thread::spawn(|| {
        // An error says as well that nobody is there.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        end_work();
        // Before it would call what libraries do at the end, which may hang with their driver.
        end_group(process::id());
        process::exit(1)
    });
}

/// A process that leads a group of its own, which ends with it.
pub(crate) struct Led(pub(crate) Child);

impl Led {
    /// One that [`end_work`] ends.
    fn start(command: &mut Command) -> io::Result<Self> {
        let mut running = running();
        let led = Self::apart(command)?;
        running.push(led.0.id());
        Ok(led)
    }

    /// One that ends by itself when this process does.
    pub(crate) fn apart(command: &mut Command) -> io::Result<Self> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        command.spawn().map(Self)
    }

    /// Ends it and all that it has started.
    pub(crate) fn end(&mut self) {
        // Where it has ended by itself meanwhile there is nothing to end.
        let _ = self.0.kill();
        end_group(self.0.id());
    }
}

impl Drop for Led {
    fn drop(&mut self) {
        self.end();
        // One that hangs in the kernel is left behind.
        let _ = self.0.try_wait();
        let own = self.0.id();
        running().retain(|group| *group != own);
    }
}

#[cfg(unix)]
fn end_group(group: u32) {
    use nix::sys::signal::{Signal, killpg};
    if let Ok(group) = group.try_into() {
        // There may be nobody left in it.
        let _ = killpg(nix::unistd::Pid::from_raw(group), Signal::SIGKILL);
    }
}

/// Elsewhere a process has no group.
#[cfg(not(unix))]
fn end_group(_group: u32) {}

/// Runs a program to its end, or to the limit.
pub(crate) fn run(program: &Path, arguments: &[&str], limit: Duration) -> Result<Answer, NoAnswer> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut led = Led::start(&mut command).map_err(|error| NoAnswer::NotStarted(error.to_string()))?;
    // Read beside it: a full pipe would stop it.
    let said = [led.0.stdout.take().map(Tail::of), led.0.stderr.take().map(Tail::of)];
    let status = ended(&mut led.0, limit).ok_or(NoAnswer::TimedOut(limit))?;
    let last = Instant::now() + TO_READ;
    let said = said.into_iter().flatten().map(|tail| tail.text(last.saturating_duration_since(Instant::now())));
    let text = said.collect();
    Ok(Answer { text, is_well: status.success(), end: status.to_string() })
}

/// The end of what comes through a pipe.
pub(crate) struct Tail {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Disconnected when the pipe is closed.
    closed: Receiver<()>,
}

impl Tail {
    /// Reads `from` in a thread of its own.
    pub(crate) fn of(mut from: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (open, closed) = mpsc::channel();
        let into = Arc::clone(&bytes);
        thread::spawn(move || {
            let _open = open;
            let mut piece = vec![0; 1 << 16];
            // What came until it broke off is all there is.
            while let Ok(count @ 1..) = from.read(&mut piece) {
                let mut bytes = into.lock().unwrap_or_else(PoisonError::into_inner);
                bytes.extend_from_slice(&piece[..count]);
                if bytes.len() > 2 * MOST_BYTES {
                    let first = bytes.len() - MOST_BYTES;
                    bytes.drain(..first);
                }
            }
        });
        Self { bytes, closed }
    }

    /// What has come when the pipe is closed, or `patience` is over.
    pub(crate) fn text(&self, patience: Duration) -> String {
        let _ = self.closed.recv_timeout(patience);
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        text::plain(&String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(MOST_BYTES)..]))
    }
}

/// Waits for a process to end, and how it did; none at the limit.
pub(crate) fn ended(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let begun = Instant::now();
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if begun.elapsed() >= limit {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
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

    #[test]
    fn one_that_leaves_another_behind_is_not_waited_for_and_leaves_nothing() {
        let long = Duration::from_secs(20);
        let begun = Instant::now();
        for (after, limit) in [("", long), ("; sleep 60", Duration::from_millis(500))] {
            let home = tempfile::tempdir().unwrap();
            let number = home.path().join("number");
            let script = format!("sleep 60 & echo $! > {}; echo said{after}", number.display());
            let answer = shell(&script, limit);
            assert_eq!(answer.is_ok(), limit == long);
            assert!(answer.is_err() || answer.is_ok_and(|answer| answer.text == "said\n"));
            let left = fs::read_to_string(number).unwrap();
            let gone = || !is_alive(left.trim());
            for _ in 0..200 {
                if gone() {
                    break;
                }
                thread::sleep(Duration::from_millis(10));
            }
            assert!(gone(), "process {left} is left behind");
        }
        assert!(begun.elapsed() < Duration::from_secs(15));
    }

    /// Whether a process runs: one whose parent does not ask for its end is there and runs no more.
    fn is_alive(number: &str) -> bool {
        let asked = Command::new("ps").args(["-o", "stat=", "-p", number]).output().unwrap();
        let state = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        !state.is_empty() && !state.starts_with('Z')
    }

    #[test]
    fn of_an_endless_answer_the_end_is_kept() {
        let script = "head -c 5000000 /dev/zero | tr '\\0' a; printf '\\033[31mred\\n'";
        let answer = shell(script, Duration::from_secs(60)).ok().unwrap();
        assert!(answer.text.len() <= MOST_BYTES + 10 && answer.text.ends_with("a\u{fffd}[31mred\n"));
    }

    #[test]
    fn a_file_that_may_not_be_run_hides_no_program() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("sh"), "x").unwrap();
        assert!(!is_program(&home.path().join("sh")) && !is_program(home.path()));
        assert!(is_program(Path::new("/bin/sh")));
    }
}

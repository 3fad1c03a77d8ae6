//! What the pretended device is in this process: which NPU, the test's folder, the faults, the counters, and who has it
//! open.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use undertone_kernels::npu::{Target, sim};

use crate::counters::Counters;
use crate::driver::Client;
use crate::faults::{Fault, Faults};
use crate::tree;

/// The device, and what surrounds it.
pub struct World {
    /// Which silicon it plays.
    pub target: Target,
    /// Whether the device sees only what was synced.
    pub incoherent: bool,
    folder: PathBuf,
    faults: Mutex<Faults>,
    counters: Mutex<Counters>,
    clients: Mutex<HashMap<i32, Arc<Client>>>,
}

static WORLD: OnceLock<World> = OnceLock::new();

/// Locks what stays whole even if a thread panicked while it held it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The device, if the environment asks for one.
pub fn world() -> Option<&'static World> {
    WORLD.get()
}

/// Reads the environment, once: at the first call that could be for the device. XRT's own libraries begin before this
/// one is told to.
pub fn begin() {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    // What this does itself comes by here again, and goes to the C library.
    if !BEGUN.swap(true, Ordering::SeqCst) {
        read_environment();
    }
}

fn read_environment() {
    let Some(folder) = std::env::var_os("UNDERTONE_FAKE_NPU").map(PathBuf::from) else { return };
    let word = std::env::var("UNDERTONE_FAKE_NPU_TARGET").unwrap_or_else(|_| Target::Npu1.to_string());
    let incoherent = std::env::var_os("UNDERTONE_FAKE_NPU_INCOHERENT").is_some_and(|value| value == "1");
    let target = match word.parse::<Target>() {
        Ok(target) => target,
        Err(error) => return eprintln!("undertone-fake-npu: UNDERTONE_FAKE_NPU_TARGET: {error}"),
    };
    if let Err(error) = tree::plant(&folder, target, incoherent) {
        return eprintln!("undertone-fake-npu: UNDERTONE_FAKE_NPU={}: {error}", folder.display());
    }
    let _ = WORLD.set(World {
        target,
        incoherent,
        faults: Mutex::new(Faults::new(&folder)),
        folder,
        counters: Mutex::default(),
        clients: Mutex::default(),
    });
}

impl World {
    /// A line for `log`.
    pub fn log(&self, line: &str) {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log"));
        // A test that finds no log fails by itself; the program under test is not disturbed.
        let _ = file.and_then(|mut file| writeln!(file, "{line}"));
    }

    /// Which of these faults is asked for now.
    pub fn fault(&self, possible: &[Fault]) -> Option<Fault> {
        match lock(&self.faults).strikes(possible) {
            Ok(fault) => fault,
            Err(reason) => {
                self.log(&reason);
                // A misspelt fault: everything fails, so that the test does.
                possible.first().copied()
            }
        }
    }

    /// The fault of the array that is asked for, as it was when a command's own faults were looked up.
    pub fn array_fault(&self) -> Option<sim::Fault> {
        lock(&self.faults).array()
    }

    /// Whether the device is gone.
    pub fn lost(&self) -> bool {
        self.fault(&[Fault::Lost]).is_some()
    }

    /// A command was done, which uses up some faults' grace.
    pub fn done(&self) {
        lock(&self.faults).done();
    }

    /// Changes counters and writes them down.
    pub fn count(&self, change: impl FnOnce(&mut Counters)) {
        let mut counters = lock(&self.counters);
        change(&mut counters);
        counters.most_contexts = counters.most_contexts.max(counters.contexts);
        counters.most_buffer_bytes = counters.most_buffer_bytes.max(counters.buffer_bytes);
        if let Ok(text) = serde_json::to_vec(&*counters) {
            // Whole at any time, for a test that reads it meanwhile.
            let new = self.folder.join(format!("counters.{}", std::process::id()));
            let _ = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, self.folder.join("counters")));
        }
    }

    /// What is counted now.
    pub fn counters(&self) -> Counters {
        lock(&self.counters).clone()
    }

    /// The device node was opened.
    pub fn open(&'static self, fd: i32) {
        lock(&self.clients).insert(fd, Arc::new(Client::new(self)));
        self.count(|counters| counters.clients += 1);
    }

    /// Who opened it as `fd`.
    pub fn client(&self, fd: i32) -> Option<Arc<Client>> {
        lock(&self.clients).get(&fd).cloned()
    }

    /// It was closed: everything that the client left is cleaned up, as a kernel does.
    pub fn close(&self, fd: i32) {
        let client = lock(&self.clients).remove(&fd);
        if let Some(client) = client {
            client.end();
            self.count(|counters| counters.clients -= 1);
        }
    }
}

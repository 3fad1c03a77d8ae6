//! The file of the EP option `trace`: Chrome's trace format, which Perfetto opens, with the fused nodes, their steps,
//! and the stages of an NPU. For versions of ONNX Runtime that take no events of EPs into their own profile, and for
//! programs that do not let it write one.
//!
//! Sessions of a process that name the same file write it together, when the last of them ends.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Instant,
};

use serde_json::{Value, json};

use super::{Kept, Listener, Track};
use crate::{
    file::write_whole,
    options::{Key, OptionsError},
};

/// A trace file that is being made.
pub struct TraceFile {
    path: PathBuf,
    /// The zero of its times.
    begin: Instant,
    pub listener: Arc<Listener>,
}

impl TraceFile {
    /// The file of this path: the one that another session has open, or a new one, which is there and empty from now
    /// on. An error if it cannot be written.
    pub fn open(path: &Path) -> Result<Arc<Self>, OptionsError> {
        static OPEN: Mutex<Vec<Weak<TraceFile>>> = Mutex::new(Vec::new());
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|file| file.strong_count() > 0);
        if let Some(file) = open.iter().filter_map(Weak::upgrade).find(|file| file.path == path) {
            return Ok(file);
        }
        let file = Self { path: path.to_owned(), begin: Instant::now(), listener: Arc::default() };
        file.write(&Kept::default()).map_err(|error| OptionsError::Unwritable {
            key: Key::Trace.word(),
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let file = Arc::new(file);
        open.push(Arc::downgrade(&file));
        Ok(file)
    }

    fn write(&self, kept: &Kept) -> io::Result<()> {
        write_whole(&self.path, |file| {
            write!(file, "{{\"displayTimeUnit\":\"ms\",\"otherData\":{},\"traceEvents\":[", about(kept))?;
            let lines = lines(kept).into_iter().chain(kept.events.iter().map(|event| {
                let mut args: serde_json::Map<String, Value> =
                    event.about.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
                args.insert("track".to_owned(), json!(event.track.name().unwrap_or("thread")));
                let microseconds = |time: Instant| (time - self.begin).as_nanos() as f64 / 1e3;
                json!({
                    "ph": "X", "cat": if event.track == Track::Node { "Node" } else { "Kernel" }, "name": event.name,
                    "pid": std::process::id(), "tid": event.track.line(event.thread),
                    "ts": microseconds(event.begin),
                    "dur": microseconds(event.end) - microseconds(event.begin),
                    "args": args,
                })
            }));
            for (at, line) in lines.enumerate() {
                write!(file, "{}{line}", if at == 0 { "\n" } else { ",\n" })?;
            }
            file.write_all(b"\n]}\n")
        })
    }
}

impl Drop for TraceFile {
    fn drop(&mut self) {
        // Nobody is left to be told; the file is there, without events.
        let _ = self.write(&self.listener.take());
    }
}

fn about(kept: &Kept) -> Value {
    json!({ "ep": crate::NAME, "version": env!("CARGO_PKG_VERSION"), "events_lost": kept.lost })
}

/// What the process and the lines of an NPU are called.
fn lines(kept: &Kept) -> Vec<Value> {
    let named = |what: &str, line: i32, name: &str| {
        let args = json!({ "name": name });
        json!({ "ph": "M", "name": what, "pid": std::process::id(), "tid": line, "args": args })
    };
    let tracks = kept.events.iter().map(|event| event.track);
    let tracks: BTreeMap<i32, &str> = tracks.filter_map(|track| Some((track.line(0), track.name()?))).collect();
    let process = named("process_name", 0, crate::NAME);
    [process].into_iter().chain(tracks.into_iter().map(|(line, name)| named("thread_name", line, name))).collect()
}

//! Files of packed weights: a container whose beginning fits, so that what is behind it is read, or any bytes at all.

use std::{
    ffi::CStr,
    fs,
    path::PathBuf,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use onnxruntime_ep_xdna::exports::onnxruntime_ep_xdna_describe;
use tempfile::TempDir;
use twox_hash::XxHash3_64;

use super::{Outcome, host, text};

/// As `ep/src/context/container.rs` describes it.
const MAGIC: &[u8] = b"XDNApack";
const FORMAT: u64 = 1;
const PREAMBLE: usize = 64;
const PAGE: usize = 4096;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

/// A session of a packed model. The bytes are numbers of operands and results, what kind of file it is, the length of
/// its index (two bytes, little-endian), the index, and the blobs.
pub fn container(data: &[u8]) -> Outcome {
    let [inputs, outputs, kind, low, high, rest @ ..] = data else { return Outcome::default() };
    let split = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
    let (index, blobs) = rest.split_at(split);
    let path = write(&if *kind == 255 { rest.to_vec() } else { file(index, blobs) });
    let names = |of: &str, count: u8| (0..count % 8).map(|at| format!(" {of}{at}")).collect::<String>();
    let (inputs, outputs) = (names("x", *inputs), names("y", *outputs));
    let mut lines: Vec<String> =
        inputs.split_whitespace().map(|name| format!("input {name} {} b n", element(*kind))).collect();
    lines.push(format!(
        "node com.microsoft:EPContext@1{inputs} >{outputs} embed_mode=0 ep_cache_context=s:{} \
         source=s:XdnaExecutionProvider partition_name=s:group",
        path.file_name().and_then(|name| name.to_str()).unwrap_or_default(),
    ));
    lines.extend(outputs.split_whitespace().map(|name| format!("output {name}")));
    lines.push("option precision int8".to_owned());
    let (session, mut graph) = text::read(&lines.join("\n"));
    if let Some(graph) = std::sync::Arc::get_mut(&mut graph) {
        graph.path =
            std::ffi::CString::new(path.with_file_name("model.onnx").to_string_lossy().as_bytes()).unwrap_or_default();
    }
    let outcome = host::play(&session, &graph);
    let _ = fs::remove_file(path);
    outcome
}

fn element(kind: u8) -> &'static str {
    ["f32", "i64", "i32", "f16"][usize::from(kind % 4)]
}

/// A new file each time: one that is mapped is not written to.
fn write(bytes: &[u8]) -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let path = FOLDER.path().join(format!("{}.xdna", NEXT.fetch_add(1, Ordering::Relaxed)));
    fs::write(&path, bytes).expect("room for a file");
    path
}

/// A container with this index.
fn file(index: &[u8], blobs: &[u8]) -> Vec<u8> {
    // SAFETY: a static NUL-terminated string.
    let description = unsafe { CStr::from_ptr(onnxruntime_ep_xdna_describe()) };
    let description: serde_json::Value = serde_json::from_slice(description.to_bytes()).expect("JSON");
    let of_library = |name: &str| description[name].as_str().unwrap_or_default().to_owned();
    let origin = [of_library("build"), of_library("instruction_set"), "host".into(), "int8".into(), "all".into()];
    let mut description: Vec<u8> = Vec::new();
    for text in &origin {
        // Shorter than 128 bytes: the length is one byte.
        description.push(text.len() as u8);
        description.extend(text.as_bytes());
    }
    description.extend(index);
    let first = (PREAMBLE + description.len()).next_multiple_of(PAGE);
    let checksum = XxHash3_64::oneshot_with_seed(0, &description);
    let mut file = MAGIC.to_vec();
    for number in [FORMAT, description.len() as u64, checksum, (first + blobs.len()) as u64] {
        file.extend(number.to_le_bytes());
    }
    file.resize(PREAMBLE, 0);
    file.extend(description);
    file.resize(first, 0);
    file.extend(blobs);
    file
}

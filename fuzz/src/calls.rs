//! The library's own C functions and ONNX Runtime's entry points, in any order and with odd values; never with pointers
//! that lead nowhere, which no library can bear.

use std::{
    ffi::{CStr, CString},
    ptr,
};

use onnxruntime_ep_xdna::{
    exports::{
        CreateEpFactories, ReleaseEpFactory, onnxruntime_ep_xdna_bundles, onnxruntime_ep_xdna_counter,
        onnxruntime_ep_xdna_describe, onnxruntime_ep_xdna_npu, onnxruntime_ep_xdna_profile,
    },
    kv_exports::*,
};
use undertone_boundary::kv_cache::BestToken;

use super::{host, text};

/// Bytes, read from the front; zeros when there are no more.
struct Bytes<'d>(&'d [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A number: mostly a small one, at times one at the end of what there is.
    fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            254 => u64::MAX / 2 + 1,
            253 => u64::from(u32::MAX),
            252 => u64::from(self.byte()) << (self.byte() % 64),
            small => u64::from(small),
        }
    }

    fn list<T>(&mut self, most: u8, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.byte() % most).map(|_| make(self)).collect()
    }

    fn string(&mut self) -> CString {
        let bytes: Vec<u8> = self.list(40, Self::byte).into_iter().filter(|byte| *byte != 0).collect();
        CString::new(bytes).unwrap_or_default()
    }
}

/// A sequence of calls.
///
/// # Panics
/// If a function answers what it must not.
pub fn calls(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut caches = vec![0];
    for _ in 0..64 {
        if bytes.0.is_empty() {
            break;
        }
        let which = bytes.byte() % 16;
        call(which, &mut bytes, &mut caches);
    }
    for cache in caches {
        onnxruntime_ep_xdna_kv_cache_free(cache);
    }
}

fn call(which: u8, bytes: &mut Bytes<'_>, caches: &mut Vec<u64>) {
    let cache = if bytes.byte() == 255 { bytes.number() } else { *caches.last().unwrap_or(&0) };
    // SAFETY: pointers are NULL or of lists that outlive the calls, with room for as many as is said.
    unsafe {
        match which {
            0 => caches.push(onnxruntime_ep_xdna_kv_cache_new()),
            1 => {
                let was_there = caches.contains(&cache) && cache != 0;
                let freed = onnxruntime_ep_xdna_kv_cache_free(cache) == 0;
                assert!(!was_there || freed || caches.iter().filter(|known| **known == cache).count() > 0);
                caches.retain(|known| *known != cache);
            }
            2 => {
                let rows: Vec<usize> = bytes.list(9, |bytes| bytes.number() as usize);
                onnxruntime_ep_xdna_kv_cache_select(cache, rows.as_ptr(), rows.len());
                onnxruntime_ep_xdna_kv_cache_select(cache, ptr::null(), rows.len());
            }
            3 => {
                onnxruntime_ep_xdna_kv_cache_bytes(cache);
            }
            4 => {
                let pairs: Vec<[u32; 2]> = bytes.list(20, |bytes| [bytes.number() as u32, bytes.number() as u32]);
                // No row may end behind the pairs that are there, which only the caller knows.
                let ends: Vec<usize> = bytes.list(9, |bytes| (bytes.number() as usize).min(pairs.len()));
                let (split, count) = (bytes.number() as u32, bytes.number() as usize);
                onnxruntime_ep_xdna_kv_cache_ask_best(cache, ends.len(), ends.as_ptr(), pairs.as_ptr(), split, count);
                onnxruntime_ep_xdna_kv_cache_ask_best(cache, ends.len(), ptr::null(), ptr::null(), split, count);
            }
            5 => {
                let (rows, count) = (usize::from(bytes.byte() % 9), usize::from(bytes.byte()));
                let mut room = vec![BestToken::NONE; 2 * rows * count];
                onnxruntime_ep_xdna_kv_cache_best(cache, rows, count, room.as_mut_ptr());
                onnxruntime_ep_xdna_kv_cache_best(cache, rows, count, ptr::null_mut());
                // Nobody has as many rows, so nothing is written.
                onnxruntime_ep_xdna_kv_cache_best(cache, usize::MAX, usize::MAX, ptr::null_mut());
            }
            6 => {
                let heads: Vec<[u32; 2]> = bytes.list(20, |bytes| [bytes.number() as u32, bytes.number() as u32]);
                onnxruntime_ep_xdna_kv_cache_attend(cache, heads.as_ptr(), heads.len());
                onnxruntime_ep_xdna_kv_cache_attend(cache, ptr::null(), heads.len());
            }
            7 => {
                let mut room = vec![0.0; usize::from(bytes.byte())];
                onnxruntime_ep_xdna_kv_cache_scores(cache, room.as_mut_ptr(), room.len());
                onnxruntime_ep_xdna_kv_cache_scores(cache, ptr::null_mut(), room.len());
            }
            8 => {
                onnxruntime_ep_xdna_counter(bytes.string().as_ptr());
                onnxruntime_ep_xdna_counter(ptr::null());
            }
            9 => is_json(onnxruntime_ep_xdna_describe()),
            10 => is_json(onnxruntime_ep_xdna_profile(bytes.byte().is_multiple_of(2))),
            11 => is_json(onnxruntime_ep_xdna_npu()),
            12 => is_json(onnxruntime_ep_xdna_bundles(bytes.string().as_ptr())),
            13 => {
                let version = u32::from(bytes.byte());
                let base = host::base(version);
                let (room, mut count) = (usize::from(bytes.byte() % 3), 7);
                let mut factories = vec![ptr::null_mut(); room];
                let name = bytes.string();
                let status = CreateEpFactories(
                    name.as_ptr(),
                    if bytes.byte() == 255 { ptr::null() } else { &base },
                    ptr::null(),
                    if room == 0 { ptr::null_mut() } else { factories.as_mut_ptr() },
                    room,
                    &mut count,
                );
                let failed = host::message(status).is_some();
                assert!(count <= room && (!failed || count == 0), "{count} factories in room for {room}");
                for factory in &factories[..count] {
                    assert_eq!(host::message(ReleaseEpFactory(*factory)), None);
                }
            }
            // A session of odd options; the graph is a small one that is claimed.
            14 => {
                let mut words =
                    String::from("option claim all\ninput x f32 2 4\nconst w f32 4 4\nnode MatMul x w > y\noutput y\n");
                for _ in 0..bytes.byte() % 5 {
                    let (key, value) = (bytes.string(), bytes.string());
                    let [key, value] = [key, value].map(|text| text.to_string_lossy().into_owned());
                    words += &format!("option {key} {value}\nentry {value} {key}\n");
                }
                let (session, graph) = text::read(&words);
                host::play(&session, &graph);
            }
            _ => assert_eq!(host::message(ReleaseEpFactory(ptr::null_mut())), None),
        }
    }
}

/// Asserts that an answer is NULL or JSON.
fn is_json(answer: *const std::ffi::c_char) {
    if answer.is_null() {
        return;
    }
    // SAFETY: a NUL-terminated string that is valid until the next call.
    let answer = unsafe { CStr::from_ptr(answer) };
    let parsed: Result<serde_json::Value, _> = serde_json::from_slice(answer.to_bytes());
    assert!(parsed.is_ok(), "{answer:?}");
}

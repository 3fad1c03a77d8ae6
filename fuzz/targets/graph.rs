//! libFuzzer's entry for [`undertone_fuzz::graph`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = undertone_fuzz::graph(data);
});

//! libFuzzer's entry for [`undertone_fuzz::calls`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| undertone_fuzz::calls(data));

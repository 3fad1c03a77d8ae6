//! libFuzzer's entry for [`undertone_fuzz::container`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = undertone_fuzz::container(data);
});

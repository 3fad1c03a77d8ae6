//! libFuzzer's entry for [`undertone_fuzz::options`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    undertone_fuzz::options(data);
});

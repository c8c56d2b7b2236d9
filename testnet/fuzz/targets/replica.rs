#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    epione_fuzz::replica::check(bytes);
});

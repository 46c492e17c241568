#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| retrace_fuzz::aof(data));

//! Event streams of servers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mcpctl_api::fuzzing::sse(bytes);
});

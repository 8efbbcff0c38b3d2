//! Heads of answers and of requests, and bodies.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mcpctl_api::fuzzing::http(bytes);
    mcpctl_gateway::fuzzing::http_head(bytes);
});

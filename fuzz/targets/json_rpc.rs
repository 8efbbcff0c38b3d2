//! Messages of servers and of agents.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mcpctl_api::fuzzing::json_rpc(bytes);
    mcpctl_gateway::fuzzing::json_rpc(bytes);
});

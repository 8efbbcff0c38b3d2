//! Limits and settings of a gateway; every default is meant for one machine with a few hundred agents.
use std::sync::Arc;
use std::time::Duration;

use mcpctl_api::otel::Tracer;

/// Threads that serve connections where nobody says how many: more bring nothing before the servers behind are the limit.
const LANES_MAX: usize = 8;

/// Limits and settings of a gateway.
#[derive(Clone, Debug)]
pub struct Options {
    /// Largest body of a request, in bytes. What is larger is answered with 413.
    pub body_bytes_max: usize,
    /// Threads that serve connections, each its own; 0 is taken for 1.
    pub lanes: usize,
    /// Connections served at once; further ones wait in the system's queue.
    pub connections_max: usize,
    /// How long the head of a request may take, and how long a kept connection may idle.
    pub header_read: Duration,
    /// How long the body of a request may take.
    pub body_read: Duration,
    /// How long a list waits for a server that has answered before.
    pub list: Duration,
    /// How long a list waits for a server that has not answered since this gateway started: it may be starting.
    pub first_list: Duration,
    /// How long a call may take.
    pub call: Duration,
    /// Legacy sessions that were not used for so long are ended.
    pub session_idle: Duration,
    /// Legacy sessions at once.
    pub sessions_max: usize,
    /// Legacy sessions of one token at once; the one idle for longest makes room.
    pub sessions_of_one_max: usize,
    /// How long running calls may go on when the gateway is stopped.
    pub drain: Duration,
    /// Host names under which a listener is reached besides the loopback ones. A listener that is not on loopback and has
    /// none of them takes every name.
    pub hosts: Vec<String>,
    /// Origins of web pages that may speak to the gateway, such as `https://console.example.com`.
    pub origins: Vec<String>,
    /// Makes spans of requests; without it none are made.
    pub tracer: Option<Arc<Tracer>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            body_bytes_max: 4 << 20,
            lanes: std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(LANES_MAX),
            connections_max: 2048,
            header_read: Duration::from_secs(60),
            body_read: Duration::from_secs(30),
            list: Duration::from_secs(5),
            first_list: Duration::from_secs(20),
            call: Duration::from_secs(300),
            session_idle: Duration::from_secs(1800),
            sessions_max: 4096,
            sessions_of_one_max: 256,
            drain: Duration::from_secs(10),
            hosts: Vec::new(),
            origins: Vec::new(),
            tracer: None,
        }
    }
}

//! The REST face as its users see it: a control plane on a folder of its own, behind a port.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]
mod anchors;
mod attacks;
mod audit;
mod bad_input;
mod crowd;
mod evidence;
mod golden;
mod hidden;
mod house;
mod impersonation;
mod kinds;
mod logins;
mod matrix;
mod oidc;
mod outside;
mod past;
mod read_only;
mod recovery;
mod replay;
mod requests;
mod secrets;
mod start;
mod tools;
mod undo;

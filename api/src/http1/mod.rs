//! HTTP/1.1 as far as the proxy path speaks it itself (RFC 9112): how a message is framed, read so that there is one way to
//! read it. Heads are parsed by `httparse`; what stands here is shared by the side of the agents and that of the servers.
mod body;
mod framing;

pub use body::{Chunks, Left};
pub use framing::Framing;

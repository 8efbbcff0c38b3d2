//! The way between a gateway and the control plane: a relay of TCP connections that can be made to swallow nothing and
//! deliver nothing, in one direction or in both.
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Which way stalls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stall {
    pub to_control: bool,
    pub to_gateway: bool,
}

/// A relay.
pub struct Link {
    pub address: SocketAddr,
    stall: watch::Sender<Stall>,
    target: Arc<Mutex<SocketAddr>>,
    relays: Arc<Mutex<JoinSet<()>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Link {
    pub async fn new(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stall, stalls) = watch::channel(Stall::default());
        let (target, relays) = (Arc::new(Mutex::new(target)), Arc::new(Mutex::new(JoinSet::new())));
        let (to, into) = (target.clone(), relays.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (to, stalls) = (*to.lock(), stalls.clone());
                into.lock().spawn(relay(near, to, stalls));
            }
        });
        Self { address, stall, target, relays, accepting }
    }

    pub fn stall(&self, stall: Stall) {
        self.stall.send_replace(stall);
    }

    pub fn stall_all(&self) {
        self.stall(Stall { to_control: true, to_gateway: true });
    }

    /// It goes on; what was held up is delivered.
    pub fn go_on(&self) {
        self.stall(Stall::default());
    }

    /// Every connection breaks.
    pub fn break_all(&self) {
        self.relays.lock().abort_all();
    }

    /// The control plane is elsewhere now.
    pub fn leads_to(&self, target: SocketAddr) {
        *self.target.lock() = target;
        self.break_all();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
        self.break_all();
    }
}

async fn relay(near: TcpStream, to: SocketAddr, stalls: watch::Receiver<Stall>) {
    let Ok(far) = TcpStream::connect(to).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = one_way(near_in, far_out, stalls.clone(), |stall| stall.to_control) => {}
        () = one_way(far_in, near_out, stalls, |stall| stall.to_gateway) => {}
    }
}

async fn one_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut stalls: watch::Receiver<Stall>,
    stalled: fn(&Stall) -> bool,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        if stalls.wait_for(|stall| !stalled(stall)).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

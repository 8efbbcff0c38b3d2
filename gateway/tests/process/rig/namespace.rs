//! A network namespace for one gateway: real cables (veth) to the control plane and to its agents, on which packets can be
//! lost without anybody being told. Needs root and `ip` of iproute2.
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

/// An address that no card has: a packet that is sent to it arrives, and is taken by nobody.
const NOBODY: &str = "02:00:00:00:00:01";

/// Cables of this process so far: each has its own four addresses of 198.18.0.0/15, which RFC 2544 keeps for tests.
static CABLES: AtomicU8 = AtomicU8::new(0);

/// A namespace. Deleted, with its cables, when it goes out of scope.
pub struct Namespace {
    name: String,
    /// To the control plane, which is in the namespace of the test.
    pub control: Cable,
    /// To the agents, which are there too.
    pub agents: Cable,
}

/// Two cards that are one another's other end.
pub struct Cable {
    namespace: String,
    outside: End,
    inside: End,
}

struct End {
    card: String,
    address: IpAddr,
    mac: String,
}

/// How a cable is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Packets are lost on the way into the namespace.
    Inwards,
    /// Packets are lost on the way out of it.
    Outwards,
    /// Packets are lost both ways.
    BothWays,
    /// It is pulled out.
    Pulled,
}

impl Namespace {
    /// Makes one.
    ///
    /// # Panics
    /// Without root, or without `ip`: what these tests show is shown nowhere else.
    pub fn new() -> Self {
        let number = CABLES.load(Ordering::SeqCst);
        let name = format!("mcpctl-{}-{number}", std::process::id());
        ip(&["netns", "add", &name]);
        let (control, agents) = (Cable::new(&name), Cable::new(&name));
        ip(&["-n", &name, "link", "set", "lo", "up"]);
        Self { name, control, agents }
    }

    /// A program in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

impl Cable {
    fn new(namespace: &str) -> Self {
        let (process, number) = (std::process::id(), CABLES.fetch_add(1, Ordering::SeqCst));
        let card = |side: char| format!("mc{process}{side}{number}");
        let address = |host: u8| IpAddr::V4(Ipv4Addr::new(198, 18, (process % 256) as u8, number * 4 + host));
        let (outside, inside) = (card('o'), card('i'));
        ip(&["link", "add", &outside, "type", "veth", "peer", "name", &inside, "netns", namespace]);
        ip(&["addr", "add", &format!("{}/30", address(1)), "dev", &outside]);
        ip(&["-n", namespace, "addr", "add", &format!("{}/30", address(2)), "dev", &inside]);
        ip(&["link", "set", &outside, "up"]);
        ip(&["-n", namespace, "link", "set", &inside, "up"]);
        let outside = End { mac: mac(&["link", "show", &outside]), card: outside, address: address(1) };
        let inside = End { mac: mac(&["-n", namespace, "link", "show", &inside]), card: inside, address: address(2) };
        Self { namespace: namespace.to_owned(), outside, inside }
    }

    /// The end in the namespace of the test.
    pub const fn outside(&self) -> IpAddr {
        self.outside.address
    }

    /// The end in the namespace.
    pub const fn inside(&self) -> IpAddr {
        self.inside.address
    }

    /// Breaks it. Nobody is told; what is sent is gone.
    pub fn break_it(&self, how: Broken) {
        if matches!(how, Broken::Inwards | Broken::BothWays) {
            self.send_inwards_to(NOBODY);
        }
        if matches!(how, Broken::Outwards | Broken::BothWays) {
            self.send_outwards_to(NOBODY);
        }
        if how == Broken::Pulled {
            ip(&["link", "set", &self.outside.card, "down"]);
        }
    }

    /// It works again.
    pub fn mend(&self) {
        ip(&["link", "set", &self.outside.card, "up"]);
        self.send_inwards_to(&self.inside.mac);
        self.send_outwards_to(&self.outside.mac);
    }

    fn send_inwards_to(&self, mac: &str) {
        let address = self.inside.address.to_string();
        ip(&["neigh", "replace", &address, "lladdr", mac, "nud", "permanent", "dev", &self.outside.card]);
    }

    fn send_outwards_to(&self, mac: &str) {
        let (name, address) = (&self.namespace, self.outside.address.to_string());
        ip(&["-n", name, "neigh", "replace", &address, "lladdr", mac, "nud", "permanent", "dev", &self.inside.card]);
    }
}

fn ip(args: &[&str]) -> String {
    let ran = Command::new("ip").args(args).output().unwrap_or_else(|error| {
        panic!("`ip` can't be run ({error}): these tests need iproute2 (Debian: apt-get install iproute2)")
    });
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success(),
        "`ip {}` failed: {said}; network namespaces need root (CAP_NET_ADMIN and CAP_SYS_ADMIN)",
        args.join(" ")
    );
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

fn mac(show: &[&str]) -> String {
    let shown = ip(show);
    let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether");
    words.nth(1).unwrap_or_else(|| panic!("no address in {shown}")).to_owned()
}

//! One token, two gateways that serve it, a control plane that revokes it, and all that can happen to them: delay, loss,
//! a broken connection, a restart, a suspended gateway, clocks that drift.
use crate::explore::Explored;

/// Ticks of a lease, by a clock that runs right.
const LEASE: u8 = 4;
/// How long the gateway counts: L(1−ρ).
const SERVES: u8 = 3;
/// How long the control plane waits: L(1+ρ).
const WAITS: u8 = 5;
/// Ticks after the commit that are counted; more is late anyway.
const LATE: u8 = LEASE + 1;

/// What is done wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    LeaseFromReceipt,
    NoDriftMargin,
    RestartForgets,
    ClockStopsInSuspend,
    AnswerBeforeFence,
    /// An answer to an introspection that was made before a reduction is believed after it.
    OldAnswerBelieved,
}

/// A protocol to be explored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Variant {
    pub mistake: Option<Mistake>,
}

impl Variant {
    fn has(self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }
    fn serves(self) -> u8 {
        if self.has(Mistake::NoDriftMargin) { LEASE } else { SERVES }
    }
    fn waits(self) -> u8 {
        if self.has(Mistake::NoDriftMargin) { LEASE } else { WAITS }
    }
}

/// What is on its way from the control plane to a gateway, in order: at most two lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Line {
    #[default]
    None,
    /// The outstanding ping is answered.
    Pong,
    /// The token is revoked.
    Reduced,
}

/// An introspection that is under way. Its answer travels beside the stream, and may be overtaken by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Asked {
    #[default]
    No,
    /// The question is on its way; so old by the gateway's clock.
    Sent(u8),
    /// The answer is on its way: the token is good.
    Good(u8),
    /// The same, and a reduction came by after it was made.
    Stale(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Gateway {
    /// Its clock loses a tick in four.
    slow: bool,
    /// There is no such gateway: one alone is looked at.
    gone: bool,
    suspended: bool,
    /// It was told that the token is good, and not since that it is not.
    view: bool,
    /// Ticks of its clock for which it may serve.
    lease: u8,
    connected: bool,
    /// The outstanding ping: its age by the gateway's clock, and whether it has arrived.
    ping: Option<(u8, bool)>,
    down: [Line; 2],
    /// The confirmation is on its way.
    ack: bool,
    asked: Asked,
    /// What the control plane counts: ticks until it knows that the gateway has stopped, unless it hears from it.
    wait: u8,
    /// The same at the commit: later pings lengthen nothing.
    due: u8,
    acked: bool,
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    phase: u8,
    /// The control plane's clock gains a tick in four.
    fast: bool,
    revoked: bool,
    /// Ticks since the commit.
    since: u8,
    answered: bool,
    /// Ticks for which nothing may be answered after a restart.
    boot: u8,
    /// Breaks, suspensions and restarts that may still happen.
    faults: u8,
    gateways: [Gateway; 2],
}

impl Explored for State {
    fn answered(&self) -> bool {
        self.answered
    }
}

impl Gateway {
    const fn new(slow: bool) -> Self {
        Self {
            slow,
            gone: false,
            suspended: false,
            view: false,
            lease: 0,
            connected: false,
            ping: None,
            down: [Line::None; 2],
            ack: false,
            asked: Asked::No,
            wait: 0,
            due: 0,
            acked: false,
        }
    }

    /// It serves the token already, and has just been heard.
    const fn holding(slow: bool) -> Self {
        Self { view: true, lease: SERVES, connected: true, wait: WAITS, ..Self::new(slow) }
    }

    const fn admits(&self) -> bool {
        self.view && self.lease > 0 && !self.suspended
    }

    fn disconnect(&mut self) {
        (self.connected, self.ping, self.down, self.ack) = (false, None, [Line::None; 2], false);
    }

    fn told(&mut self, line: Line) -> bool {
        let place = self.down.iter().position(|line| *line == Line::None);
        place.map(|place| self.down[place] = line).is_some()
    }

    /// Forgets what has no bearing on anything any more.
    fn forget(&mut self, revoked: bool, answered: bool) {
        if revoked {
            // What is to be waited for was fixed at the commit.
            self.wait = 0;
        }
        if answered {
            (self.due, self.ack, self.acked) = (0, false, false);
        } else if self.acked {
            self.due = 0;
        }
        if !self.view && self.asked == Asked::No {
            (self.lease, self.ping, self.suspended) = (0, None, false);
        }
        // Behind this line nothing lengthens a lease.
        if self.down[0] == Line::Reduced {
            (self.ping, self.down[1]) = (None, Line::None);
        }
    }

    fn ticks(&mut self, phase: u8, variant: Variant) {
        let stopped = self.suspended && variant.has(Mistake::ClockStopsInSuspend);
        if (self.slow && phase == 0) || stopped {
            return;
        }
        self.lease = self.lease.saturating_sub(1);
        let older = |age: u8| (age + 1).min(LEASE);
        self.ping = self.ping.map(|(age, arrived)| (older(age), arrived));
        self.asked = match self.asked {
            Asked::No => Asked::No,
            Asked::Sent(age) => Asked::Sent(older(age)),
            Asked::Good(age) => Asked::Good(older(age)),
            Asked::Stale(age) => Asked::Stale(older(age)),
        };
    }
}

impl State {
    /// Every way in which the clocks may run.
    ///
    /// `gateways` is one, which begins with nothing and introspects, or two that hold the token; `faults` are the broken connections, suspensions and restarts of one history, which may
    /// come in any order and at any moment.
    pub fn initial(gateways: usize, faults: u8) -> Vec<Self> {
        let clocks = [(false, false, false), (true, false, true)];
        let state = |(one, other, fast)| {
            let both = match gateways {
                1 => [Gateway::new(one), Gateway { gone: true, ..Gateway::new(other) }],
                _ => [Gateway::holding(one), Gateway::holding(other)],
            };
            let (revoked, answered) = (false, false);
            Self { phase: 0, fast, revoked, since: 0, answered, boot: 0, faults, gateways: both }.sorted()
        };
        clocks.into_iter().map(state).collect()
    }

    /// Two gateways that change places are the same state; and what nothing will ever ask about again is forgotten.
    fn sorted(mut self) -> Self {
        if self.answered {
            (self.since, self.boot) = (0, 0);
        }
        for gateway in &mut self.gateways {
            gateway.forget(self.revoked, self.answered);
        }
        self.gateways.sort_unstable();
        self
    }

    /// What must never be.
    pub fn broken(&self) -> Option<&'static str> {
        let admits = self.gateways.iter().any(Gateway::admits);
        match (admits, self.answered, self.since > LEASE) {
            (true, true, _) => Some(super::AFTER_THE_ANSWER),
            (true, false, true) => Some(super::TOO_LATE),
            _ => None,
        }
    }

    /// Every step from here.
    pub fn next(&self, variant: Variant) -> Vec<(&'static str, Self)> {
        let mut steps = vec![("time passes", self.tick(variant))];
        if !self.revoked {
            steps.push(("the control plane commits the revocation", self.commit()));
        }
        if self.revoked && !self.answered && self.may_answer(variant) {
            steps.push(("the revocation is answered", Self { answered: true, ..*self }));
        }
        if self.faults > 0 {
            steps.push(("the control plane is killed and starts again", self.restart(variant)));
        }
        for index in (0..2).filter(|index| !self.gateways[*index].gone) {
            self.steps_of(index, variant, &mut steps);
        }
        steps.into_iter().map(|(step, state)| (step, state.sorted())).collect()
    }

    fn tick(&self, variant: Variant) -> Self {
        let mut state = *self;
        state.phase = (self.phase + 1) % 4;
        state.since = if self.revoked { (self.since + 1).min(LATE) } else { 0 };
        let own = if self.fast && self.phase == 2 { 2 } else { 1 };
        state.boot = self.boot.saturating_sub(own);
        for gateway in &mut state.gateways {
            gateway.wait = gateway.wait.saturating_sub(own);
            gateway.due = gateway.due.saturating_sub(own);
            gateway.ticks(self.phase, variant);
        }
        state
    }

    fn commit(&self) -> Self {
        let mut state = Self { revoked: true, ..*self };
        for gateway in &mut state.gateways {
            gateway.due = gateway.wait;
            // A reader that can't take the line is cut.
            if gateway.connected && !gateway.told(Line::Reduced) {
                gateway.disconnect();
            }
        }
        state
    }

    fn may_answer(&self, variant: Variant) -> bool {
        let stopped = |gateway: &Gateway| gateway.acked || gateway.due == 0;
        variant.has(Mistake::AnswerBeforeFence) || (self.boot == 0 && self.gateways.iter().all(stopped))
    }

    /// What is durable stays; who held what is forgotten.
    fn restart(&self, variant: Variant) -> Self {
        let boot = if variant.has(Mistake::RestartForgets) { 0 } else { variant.waits() };
        let mut state = Self { boot, faults: self.faults - 1, ..*self };
        for gateway in &mut state.gateways {
            gateway.disconnect();
            (gateway.wait, gateway.due, gateway.acked) = (0, 0, false);
            // A question that was not answered is lost with the process.
            if matches!(gateway.asked, Asked::Sent(_)) {
                gateway.asked = Asked::No;
            }
        }
        state
    }

    fn steps_of(&self, index: usize, variant: Variant, steps: &mut Vec<(&'static str, Self)>) {
        let gateway = &self.gateways[index];
        let mut step = |what: &'static str, change: &dyn Fn(&mut Gateway)| {
            let mut state = *self;
            change(&mut state.gateways[index]);
            steps.push((what, state));
        };
        if gateway.suspended {
            step("a gateway wakes up", &|g| g.suspended = false);
        } else {
            // How a gateway comes to hold the token is looked at alone: two that ask do not touch each other.
            let may_ask = self.gateways.iter().any(|other| other.gone);
            own_steps(gateway, (self.revoked, may_ask), variant, &mut step);
        }
        self.steps_of_control_plane(gateway, variant, &mut step);
        if self.faults > 0 {
            let mut fault = |what: &'static str, change: &dyn Fn(&mut Gateway)| {
                let mut state = Self { faults: self.faults - 1, ..*self };
                change(&mut state.gateways[index]);
                steps.push((what, state));
            };
            if !gateway.suspended && gateway.view {
                fault("a gateway is suspended", &|g| g.suspended = true);
            }
            if gateway.connected {
                fault("a connection breaks", &Gateway::disconnect);
            }
        }
    }

    /// What the control plane does about one gateway.
    fn steps_of_control_plane(&self, gateway: &Gateway, variant: Variant, step: Step<'_>) {
        if let Some((age, false)) = gateway.ping {
            step("a ping arrives and is answered", &|g| {
                g.ping = Some((age, true));
                g.wait = variant.waits();
                if !g.told(Line::Pong) {
                    g.disconnect();
                }
            });
        }
        if gateway.ack {
            step("a confirmation arrives", &|g| (g.ack, g.acked) = (false, true));
        }
        if let Asked::Sent(age) = gateway.asked {
            if self.revoked {
                step("an introspection is answered: revoked", &|g| {
                    (g.asked, g.view) = (Asked::No, false);
                });
            } else {
                step("an introspection is answered: good", &|g| {
                    (g.asked, g.wait) = (Asked::Good(age), variant.waits());
                });
            }
        }
    }
}

type Step<'a> = &'a mut dyn FnMut(&'static str, &dyn Fn(&mut Gateway));

/// What a gateway does that is awake.
fn own_steps(gateway: &Gateway, (revoked, may_ask): (bool, bool), variant: Variant, step: Step<'_>) {
    if gateway.connected && gateway.ping.is_none() && gateway.view && gateway.down[0] != Line::Reduced {
        step("a gateway pings", &|g| g.ping = Some((0, false)));
    }
    if may_ask && gateway.asked == Asked::No && !(gateway.view && gateway.lease > 0) {
        step("a gateway introspects", &|g| g.asked = Asked::Sent(0));
    }
    match gateway.asked {
        Asked::Good(age) => step("a gateway takes the answer", &|g| {
            (g.asked, g.view) = (Asked::No, true);
            g.lease = g.lease.max(variant.serves().saturating_sub(age));
        }),
        Asked::Stale(age) => step("a gateway takes a stale answer", &|g| {
            g.asked = Asked::No;
            if variant.has(Mistake::OldAnswerBelieved) {
                (g.view, g.lease) = (true, variant.serves().saturating_sub(age));
            }
        }),
        Asked::No | Asked::Sent(_) => {}
    }
    if !gateway.connected && gateway.view {
        // What it holds is not as it was told: opening the stream says so, else it goes on.
        step("a gateway opens its stream", &|g| (g.view, g.connected) = (!revoked, !revoked));
    }
    if gateway.down[0] != Line::None {
        step("a gateway reads a line", &|g| read(g, variant));
    }
}

fn read(gateway: &mut Gateway, variant: Variant) {
    let line = gateway.down[0];
    gateway.down = [gateway.down[1], Line::None];
    match line {
        Line::None => {}
        Line::Pong => {
            let age = gateway.ping.take().map_or(LEASE, |(age, _)| age);
            let age = if variant.has(Mistake::LeaseFromReceipt) { 0 } else { age };
            gateway.lease = gateway.lease.max(variant.serves().saturating_sub(age));
        }
        Line::Reduced => {
            (gateway.view, gateway.ack) = (false, true);
            if let Asked::Good(age) = gateway.asked {
                gateway.asked = Asked::Stale(age);
            }
        }
    }
}

//! The wall clock and the dice: the only places where the control plane looks at either.
use mcpctl_core::time::Timestamp;
use tokio::sync::watch;

/// Now, by the wall clock.
#[must_use]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Fills an array with random bytes of the system.
///
/// # Panics
/// When the system has none to give: nothing safe can be done without.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

/// A UUID version 7 of a moment: 48 bits of milliseconds, then random.
#[must_use]
pub fn event_id(at: Timestamp) -> uuid::Uuid {
    uuid::Builder::from_unix_timestamp_millis(at.as_millis(), &random()).into_uuid()
}

/// The clock by which a control plane decides: the wall clock, or one that a test sets.
#[derive(Clone, Default)]
pub enum Clock {
    /// [`now`].
    #[default]
    Wall,
    /// Stands still until it is set.
    Set(watch::Receiver<Timestamp>),
}

impl Clock {
    /// A clock, and what sets it.
    #[must_use]
    pub fn set_at(at: Timestamp) -> (watch::Sender<Timestamp>, Self) {
        let (hand, clock) = watch::channel(at);
        (hand, Self::Set(clock))
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::Wall => now(),
            Self::Set(clock) => *clock.borrow(),
        }
    }

    /// Until it is set to another moment: never, for the wall clock.
    pub(super) async fn turned(&mut self) {
        match self {
            Self::Wall => std::future::pending().await,
            Self::Set(clock) => {
                if clock.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

//! Ends a connection whose client does not read while its access is taken away. A stream is only asked for more when what it
//! brought has left; one that is stuck would never hear that it is over, and whoever takes the access away would wait for it.
use std::time::Duration;

use mcpctl_api::cut::Cut;
use tokio::sync::watch;

/// How long a stream may take to be reset in the order of its messages.
const RESET_WITHIN: Duration = Duration::from_millis(100);

/// The access of the stream that a connection carries now.
#[derive(Clone)]
pub(super) struct Carried(watch::Sender<Option<Cut>>);

impl Carried {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// The connection carries another answer from now on.
    pub(super) fn carry(&self, access: Option<Cut>) {
        self.0.send_replace(access);
    }

    /// Waits until the access has ended and the stream has not, although it had time to.
    pub(super) async fn overdue(&self) {
        let mut carried = self.0.subscribe();
        loop {
            let access = carried.borrow_and_update().clone();
            let over = async {
                match access {
                    Some(access) => access.cancelled().await,
                    None => std::future::pending().await,
                }
                tokio::time::sleep(RESET_WITHIN).await;
            };
            tokio::select! {
                // The sender is `self`: it is there.
                _ = carried.changed() => {}
                () = over => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mcpctl_api::cut::Why;

    use super::*;

    #[tokio::test]
    async fn a_stream_is_overdue_when_its_access_has_ended_and_it_has_not() {
        let (carried, first, second) = (Carried::new(), Cut::new(), Cut::new());
        let brief = RESET_WITHIN * 2;
        carried.carry(Some(first.clone()));
        assert!(tokio::time::timeout(brief, carried.overdue()).await.is_err(), "the access holds");
        carried.carry(Some(second.clone()));
        first.cancel(Why::lapsed());
        assert!(tokio::time::timeout(brief, carried.overdue()).await.is_err(), "that stream is over");
        second.cancel(Why::lapsed());
        assert!(tokio::time::timeout(brief * 10, carried.overdue()).await.is_ok());
    }
}

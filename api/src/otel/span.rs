//! Spans: something that took time, its place in a trace, and what is told of it.
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::{Parent, TraceContext, Tracer};

/// Which end of a conversation a span is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A request that came in.
    Server,
    /// One that was made.
    Client,
}

/// What is told of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Int(i64),
}

impl From<&'static str> for Attribute {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

/// Something that took time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The trace, and the span itself.
    pub context: TraceContext,
    /// What tracing systems added to the trace.
    pub state: Option<Arc<str>>,
    /// The span that it is a part of.
    pub parent: Option<u64>,
    /// What was done: of few different sorts.
    pub name: String,
    /// Which end.
    pub kind: SpanKind,
    /// When it began.
    pub begun: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// More about it.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Whether it failed; why is the attribute `error.type`.
    pub failed: bool,
}

/// Where in a trace something is done. What is done for it is a part of it.
pub struct Place {
    tracer: Arc<Tracer>,
    context: TraceContext,
    state: Option<Arc<str>>,
    parent: Option<u64>,
    begun: Instant,
    at: SystemTime,
}

impl Tracer {
    /// Enters a trace with something that began at an instant: that of the span before, or a new one. `None` when it is not
    /// kept here and has a context of its own, which then goes on as it came.
    #[must_use]
    pub fn enter(self: &Arc<Self>, given: Option<Parent>, begun: Instant) -> Option<Place> {
        let trace = given.as_ref().map_or_else(random_trace, |given| given.context.trace);
        let sampled = self.sampler().keeps(trace, given.as_ref().map(|given| given.context.sampled));
        if !sampled && given.is_some() {
            return None;
        }
        Some(Place {
            tracer: self.clone(),
            context: TraceContext { trace, span: random(), sampled },
            parent: given.as_ref().map(|given| given.context.span),
            state: given.and_then(|given| given.state),
            begun,
            at: SystemTime::now() - begun.elapsed(),
        })
    }
}

impl Place {
    /// The place of something that is done for this.
    #[must_use]
    pub fn within(&self) -> Self {
        Self {
            tracer: self.tracer.clone(),
            context: TraceContext { span: random(), ..self.context },
            state: self.state.clone(),
            parent: Some(self.context.span),
            begun: Instant::now(),
            at: SystemTime::now(),
        }
    }

    /// The place of something that is done for this and says that it belongs to a trace: to another one, it may be.
    #[must_use]
    pub fn within_or(&self, given: Option<Parent>) -> Option<Self> {
        match given {
            Some(given) if given.context.trace != self.context.trace => self.tracer.enter(Some(given), Instant::now()),
            _ => Some(self.within()),
        }
    }

    /// What others are told of it.
    #[must_use]
    pub const fn context(&self) -> TraceContext {
        self.context
    }

    /// What tracing systems added to the trace.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Whether it is kept: if not, nobody needs to say more about it.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.context.sampled
    }

    /// Has it sent, as having ended now. An error is named by its sort.
    pub fn end(
        &self,
        kind: SpanKind,
        name: String,
        mut attributes: Vec<(&'static str, Attribute)>,
        error: Option<Attribute>,
    ) {
        if !self.is_kept() {
            return;
        }
        let failed = error.is_some();
        attributes.extend(error.map(|error| ("error.type", error)));
        self.tracer.put(Span {
            context: self.context,
            state: self.state.clone(),
            parent: self.parent,
            name,
            kind,
            begun: self.at,
            took: self.begun.elapsed(),
            attributes,
            failed,
        });
    }
}

fn random_trace() -> u128 {
    u128::from(random()) << 64 | u128::from(random())
}

/// A random number that is not 0.
fn random() -> u64 {
    loop {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("the system has randomness");
        if bytes != [0; 8] {
            return u64::from_le_bytes(bytes);
        }
    }
}

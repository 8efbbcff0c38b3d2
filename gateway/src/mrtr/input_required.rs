//! `input_required` as it is written and read: a map of questions, and the state that the client brings back.
use serde_json::value::RawValue;

use super::round::Question;
use crate::json::{Members, Object, may_have_key, raw, with_member};

/// Whether a result asks for input. A cheap look before a dear one: most results don't.
pub(crate) fn is_input_required(result: &RawValue) -> bool {
    may_have_key(result.get(), "\"input_required\"")
        && Members::of(result).text("resultType").as_deref() == Some("input_required")
}

/// The result that puts questions to a modern client.
pub(super) fn write(questions: &[Question], state: &str) -> Box<RawValue> {
    let mut requests = Object::with_capacity(256);
    for question in questions {
        let mut request = Object::with_capacity(256);
        request.text("method", &question.method);
        if let Some(params) = &question.params {
            request.json("params", &without_progress(params));
        }
        requests.json(&question.key, &request.finish());
    }
    let mut result = Object::with_capacity(512 + state.len());
    result.text("resultType", "input_required").json("inputRequests", &requests.finish());
    result.text("requestState", state);
    raw(result.finish())
}

/// A modern client has no way to report the progress of an answer.
fn without_progress(params: &RawValue) -> String {
    let members = Members::of(params);
    let Some(meta) = members.get("_meta").map(Members::of).filter(|meta| meta.get("progressToken").is_some()) else {
        return params.get().to_owned();
    };
    with_member(&members, "_meta", &Object::new().members(meta.without("progressToken")).finish())
}

/// The questions of a modern server, each with its key; and the state that it wants back.
pub(super) struct Asks<'a> {
    pub(super) questions: Vec<(String, Ask<'a>)>,
    pub(super) state: Option<&'a RawValue>,
}

/// One question.
pub(super) struct Ask<'a> {
    pub(super) method: String,
    pub(super) params: Option<&'a RawValue>,
}

impl<'a> Asks<'a> {
    /// Reads a result that asks for input. `None` if a question has no method.
    pub(super) fn read(result: &'a RawValue) -> Option<Self> {
        let members = Members::of(result);
        let requests = members.get("inputRequests").map(Members::of).unwrap_or_default();
        let read = |(key, request): (&str, &'a RawValue)| {
            let request = Members::of(request);
            let method = request.text("method")?.into_owned();
            Some((key.to_owned(), Ask { method, params: request.get("params") }))
        };
        let questions = requests.iter().map(read).collect::<Option<Vec<_>>>()?;
        Some(Self { questions, state: members.get("requestState") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_results_own_type_makes_it_ask() {
        let asks = |text: &str| is_input_required(&raw(text.into()));
        assert!(asks(r#"{"resultType":"input_required","inputRequests":{}}"#));
        assert!(asks(r#"{"resultType":"input\u005frequired"}"#));
        assert!(!asks(r#"{"resultType":"complete","content":[{"resultType":"input_required"}]}"#));
        assert!(!asks(r#"{"content":[]}"#));
    }

    #[test]
    fn a_progress_token_of_a_question_goes_nowhere() {
        let of = |text: &str| without_progress(&raw(text.into()));
        assert_eq!(of(r#"{"a":1,"_meta":{"progressToken":7,"v":2}}"#), r#"{"a":1,"_meta":{"v":2}}"#);
        assert_eq!(of(r#"{"a":1}"#), r#"{"a":1}"#);
    }
}

//! The hard scope of project tokens: which paths they reach at all, before any right is looked at.

/// Whether a token of `project` reaches a path. Everything that is not plainly inside is outside.
#[must_use]
pub fn reaches(path: &str, query: Option<&str>, project: &str) -> bool {
    let Some(rest) = path.strip_prefix("/api/v1/") else { return false };
    if rest.contains(['%', '\\', ';']) || rest.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return false;
    }
    match rest.split('/').collect::<Vec<_>>().as_slice() {
        ["auth", "me"] | ["mcptokens", "introspect"] => true,
        ["projects", named, ..] => *named == project,
        ["mcp", "proxy"] => query.is_some_and(|query| names_only(query, project)),
        _ => false,
    }
}

/// Whether a query names this project, once, read as the handler reads it.
fn names_only(query: &str, project: &str) -> bool {
    let mut named = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "project");
    let first = named.next();
    first.is_some_and(|(_, value)| value == project) && named.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::reaches;

    #[test]
    fn a_token_reaches_its_project_and_no_path_trick_leads_out() {
        for inside in [
            "/api/v1/projects/web",
            "/api/v1/projects/web/mcptokens",
            "/api/v1/auth/me",
            "/api/v1/mcptokens/introspect",
        ] {
            assert!(reaches(inside, None, "web"), "{inside}");
        }
        for outside in [
            "/api/v1/projects/api/mcptokens",
            "/api/v1/projects/web/../api",
            "/api/v1/projects/web%2f..%2fapi",
            "/api/v1/projects//web",
            "/api/v1/projects/./web",
            "/api/v1/projects/web;/x",
            "/api/v1/projects/WEB",
            "/api/v1/projects",
            "/api/v1/servers",
            "/api/v1/mcptokens",
            "/api/v1/auth/login/..",
            "/healthz",
            "//api/v1/projects/web",
        ] {
            assert!(!reaches(outside, None, "web"), "{outside}");
        }
        assert!(reaches("/api/v1/mcp/proxy", Some("project=web&server=a"), "web"));
        assert!(!reaches("/api/v1/mcp/proxy", Some("project=api&project=web"), "web"));
        assert!(!reaches("/api/v1/mcp/proxy", Some("project=web&%70roject=api"), "web"));
        assert!(!reaches("/api/v1/mcp/proxy", None, "web"));
    }
}

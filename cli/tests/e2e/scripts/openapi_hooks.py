"""Hooks of Schemathesis: who asks, what is asked about, and that no answer disagrees with the access function."""
import itertools
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request

import schemathesis

API = os.environ["MCPCTL_TRIED_API"]
BEARER = os.environ.get("MCPCTL_TRIED_BEARER", "")
SUBJECT = os.environ.get("MCPCTL_TRIED_SUBJECT", "")
JUDGE = os.environ["MCPCTL_TRIED_JUDGE"]
# Names that are there, by the plural of their kind: random names would hardly ever meet one.
NAMES = {plural: itertools.cycle(names) for plural, names in json.loads(os.environ["MCPCTL_TRIED_NAMES"]).items()}
PROJECT = os.environ.get("MCPCTL_TRIED_PROJECT", "")
TURN = itertools.count()
OURS = {"first-project"}


def plural_of(path):
    inside = re.fullmatch(r"/api/v1/projects/\{name\}/(\w+)(/\{object\}(/history)?)?", path)
    if inside:
        return inside[1]
    found = re.fullmatch(r"/api/v1/(\w+)(/\{name\}(/history)?)?", path)
    return found[1] if found else None


@schemathesis.hook
def before_call(context, case, kwargs):
    case.headers["Authorization"] = "Bearer " + BEARER
    if not BEARER:
        del case.headers["Authorization"]
    # A state that is not there yet is a documented 503, and nothing else would be looked at.
    if "Mcpctl-At-Least" in case.headers:
        case.headers["Mcpctl-At-Least"] = "1"
    path, parameters = case.operation.path, case.path_parameters or {}
    # Whoever takes their own rights or life away, by name or by a uid that was learnt, can't be compared any more.
    if case.method != "GET" and "name" in parameters and (parameters.get("name") in OURS or plural_of(path) in ("users", "rbac")):
        parameters["name"] = "absent@example.com" if plural_of(path) == "users" else "absent"
    if next(TURN) % 4 == 0:
        return
    if "/projects/{name}" in path and case.method == "GET":
        parameters["name"] = PROJECT if next(TURN) % 3 else next(NAMES["projects"])
    elif "name" in parameters and case.method == "GET" and plural_of(path) in NAMES:
        parameters["name"] = next(NAMES[plural_of(path)])
    if "object" in parameters and case.method == "GET":
        parameters["object"] = next(NAMES["mcptokens"])


def may(verb, resource, name, project):
    asked = {"subject": SUBJECT, "verb": verb, "resource": resource, "name": name, "project": project}
    query = urllib.parse.urlencode({key: value for key, value in asked.items() if value})
    request = urllib.request.Request(f"{API}/api/v1/access/can-i?{query}", headers={"Authorization": f"Bearer {JUDGE}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)["allowed"]
    except urllib.error.HTTPError as refused:
        # A name or project that can't be: then there is nothing to agree about.
        if refused.code in (400, 404, 422):
            return None
        raise


@schemathesis.check
def agrees_with_the_access_function(context, response, case):
    path, status = case.operation.path, response.status_code
    if not BEARER:
        assert case.operation.definition.raw.get("security") == [] or status == 401, f"{case.method} {path} is open to anybody: {status}"
        return
    plural = plural_of(path)
    if plural is None or plural in ("apply", "status", "instances") or case.method not in ("GET", "DELETE", "PUT", "POST"):
        return
    parameters, query = case.path_parameters or {}, case.query or {}
    below = path.startswith("/api/v1/projects/{name}/")
    project = parameters.get("name") if below else query.get("project")
    if SUBJECT.startswith("McpToken:") and not path.startswith("/api/v1/projects/{name}"):
        assert status == 403, f"a token reaches {path}: {status}"
        return
    name = parameters.get("object" if below else "name")
    if name is None or not isinstance(name, str) or (project is not None and not isinstance(project, str)):
        return
    verb = {"GET": "view", "DELETE": "delete", "PUT": "edit"}.get(case.method)
    if verb is None or (plural == "mcptokens" and not project):
        return
    allowed = may(verb, plural, name, project)
    if allowed is None:
        return
    assert not (status in (200, 201) and not allowed), f"{case.method} {response.request.url}: {status}, and {SUBJECT} may not {verb} {plural}/{name}"
    # Making something may take more than the verb: what it refers to, and what it gives.
    assert not (status == 403 and allowed and verb != "edit"), f"{case.method} {response.request.url}: 403, and {SUBJECT} may {verb} {plural}/{name}: {response.text}"

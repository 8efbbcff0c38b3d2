"""Runs Schemathesis over /openapi.json as nobody, a person without rights, the administrator and a token of project A.

Standard input: JSON of the API's address, the administrator's bearer and the most examples per operation. The bearers go
to Schemathesis by its environment.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

given = json.load(sys.stdin)
API, ADMIN, EXAMPLES = given["api"], given["admin"], str(given["examples"])
PASSWORD = "correct horse battery"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,agrees_with_the_access_function"
# Streams that do not end by themselves, and the one that ends the caller's own login.
LEFT_OUT = r"(/watch$|/logs$|/audit/tail$|/auth/logout$|/gateways/stream$)"


def call(method, path, body=None, bearer=ADMIN):
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(API + path, data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def shortened(text):
    """Which operations failed and why, without the long requests."""
    return "\n".join(line[:300] for line in text.splitlines() if line.strip() and not line.lstrip().startswith("curl "))[-20000:]


call("PUT", "/api/v1/users/nobody@example.com", {"password": PASSWORD})
call("PUT", "/api/v1/projects/first-project", {"servers": []})
call("PUT", "/api/v1/projects/second-project", {"servers": []})
call("PUT", "/api/v1/groups/first-group", {"members": ["nobody@example.com"]})
token = call("POST", "/api/v1/projects/first-project/mcptokens", {"name": "tried-token", "rbac": "clone"})["token"]
call("POST", "/api/v1/projects/first-project/mcptokens", {"name": "other-token"})
login = call("POST", "/api/v1/auth/login", {"email": "nobody@example.com", "password": PASSWORD}, bearer=None)
admin = call("GET", "/api/v1/auth/me")["actor"]["name"]
names = {
    "users": ["nobody@example.com", admin],
    "groups": ["first-group"],
    "projects": ["first-project", "second-project"],
    "mcptokens": ["tried-token", "other-token"],
    "rbac": [item["name"] for item in call("GET", "/api/v1/rbac")["items"]],
    "servers": [item["name"] for item in call("GET", "/api/v1/servers")["items"]] or ["none"],
}
callers = [
    ("nobody", "", ""),
    ("a person", login["token"], "User:nobody@example.com"),
    ("a token", token, "McpToken:first-project/tried-token"),
    ("the administrator", ADMIN, f"User:{admin}"),
]
failed, folder = [], tempfile.mkdtemp()
for title, bearer, subject in callers:
    known = {
        "MCPCTL_TRIED_API": API, "MCPCTL_TRIED_BEARER": bearer, "MCPCTL_TRIED_SUBJECT": subject,
        "MCPCTL_TRIED_JUDGE": ADMIN, "MCPCTL_TRIED_NAMES": json.dumps(names), "MCPCTL_TRIED_PROJECT": "first-project",
        "SCHEMATHESIS_HOOKS": "openapi_hooks", "PYTHONPATH": str(pathlib.Path(__file__).parent), "PYTHONDONTWRITEBYTECODE": "1",
    }
    program = pathlib.Path(sys.executable).parent / "schemathesis"
    argv = [program, "--no-color", "run", given.get("document", f"{API}/openapi.json"), "--url", API, "--checks", CHECKS, "--phases", "examples,fuzzing",
            "--max-examples", EXAMPLES, "--exclude-path-regex", LEFT_OUT, "--seed", "1", "--no-shrink", "--continue-on-failure",
            "--request-timeout", "20", "--warnings", "off", "--suppress-health-check", "all", "--output-sanitize", "true"]
    ran = subprocess.run(argv, env=os.environ | known, cwd=folder, capture_output=True, text=True, timeout=given["seconds"])
    last = [line for line in ran.stdout.splitlines() if line.strip()][-3:]
    print(f"as {title}: exit {ran.returncode}: {' '.join(last)}")
    if ran.returncode != 0:
        failed.append(f"as {title}:\n{shortened(ran.stdout)}\n{ran.stderr[-2000:]}")
if failed:
    sys.exit("\n".join(failed))

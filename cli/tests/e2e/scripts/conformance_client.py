# The client that the conformance suite's `client` command checks: straight at the suite's server, or through a gateway whose
# project has that server. The suite gives the address as the last argument and the scenario in the environment; ERA says
# which generation the client speaks, MCPCTL (program and arguments, as JSON) that it goes through the gateway.
import base64, hashlib, http.client, json, os, re, subprocess, sys, threading, time, urllib.parse

SCENARIO = os.environ["MCP_CONFORMANCE_SCENARIO"]
CONTEXT = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
MODERN = os.environ["ERA"] == "modern"
THROUGH = json.loads(os.environ.get("MCPCTL", "null"))
OFFERS = {"elicitation": {}, "roots": {}, "sampling": {}, "extensions": {"io.modelcontextprotocol/skills": {}}}
VERSION = "2026-07-28" if MODERN else "2025-11-25"
INFO = {"name": "conformance-client", "version": "1.0.0"}
META = "io.modelcontextprotocol/"


def mcpctl(*args, given=None):
    ran = subprocess.run([*THROUGH["argv"], *args], input=given, capture_output=True, text=True)
    assert ran.returncode == 0, f"mcpctl {args}: {ran.stdout} {ran.stderr}"
    return ran.stdout


def behind_the_gateway(url):
    """A project of its own for this run, with the suite's server as its only one."""
    name = f"{SCENARIO.replace('_', '-').replace('/', '-')}-{'m' if MODERN else 'l'}-{os.getpid()}".lower()
    server = {"kind": "server", "name": name, "externalUrl": url, "allowPrivateAddress": True}
    project = {"kind": "project", "name": name, "servers": [name], "toolNames": "unprefixed"}
    mcpctl("apply", "-f", "-", given=f"{json.dumps(server)}\n---\n{json.dumps(project)}\n")
    token = re.search(r"mcpctl_pat_\w+", mcpctl("create", "mcptoken", "suite", "-p", name)).group()
    deadline = time.monotonic() + 10
    # Agents may come before a server was reached for the first time; this one shall not.
    while "HEALTHY" not in [s["state"] for s in servers() if s["server"] == name] and time.monotonic() < deadline:
        time.sleep(0.02)
    return f"{THROUGH['gateway']}/projects/{name}/mcp", {"Authorization": f"Bearer {token}"}


def servers():
    return json.loads(mcpctl("status", "-o", "json"))["controlPlane"]["servers"]


class Refused(Exception):
    def __init__(self, error):
        super().__init__(json.dumps(error))
        self.code, self.data = error.get("code"), error.get("data", {})


class Client:
    def __init__(self, url, headers):
        self.url, self.headers, self.ids = urllib.parse.urlsplit(url), headers, 0
        self.session, self.answers, self.tools, self.asked = None, {}, {}, False

    # HTTP

    def send(self, verb, body=None, more=None):
        host = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=25)
        headers = {**self.headers, "Accept": "application/json, text/event-stream", **(more or {})}
        if verb == "GET":
            headers["Accept"] = "text/event-stream"
        if self.session:
            headers |= {"Mcp-Session-Id": self.session, "MCP-Protocol-Version": VERSION}
        if body is not None:
            headers["Content-Type"] = "application/json"
        host.request(verb, self.url.path or "/", None if body is None else json.dumps(body), headers)
        return host.getresponse()

    def events(self, response):
        """(id, retry, message) of each event."""
        event = {}
        for line in response:
            line = line.decode().rstrip("\r\n")
            if line:
                name, _, value = line.partition(":")
                event[name] = event.get(name, "") + value.removeprefix(" ")
            elif event:
                data = event.get("data", "").strip()
                yield event.get("id"), event.get("retry"), json.loads(data) if data else None
                event = {}

    def listen(self, last=None):
        """The stream of a legacy session: what a server asks outside of calls is answered."""
        more = {"Last-Event-ID": last} if last else {}
        response = self.send("GET", more=more)
        if response.status == 200:
            for last, _, message in self.events(response):
                self.incoming(message)

    def incoming(self, message):
        if not message:
            return
        if "method" in message and "id" in message:
            if SCENARIO == "sep-2322-client-request-state" and not self.asked:
                # Something else meanwhile, as below.
                self.asked = True
                self.call("test_mrtr_unrelated")
            self.send("POST", {"jsonrpc": "2.0", "id": message["id"], "result": answer(message)}).read()
        elif "id" in message:
            self.answers[message["id"]] = message

    # Requests

    def request(self, method, params=None, **more):
        self.ids += 1
        body = {"jsonrpc": "2.0", "id": self.ids, "method": method, "params": dict(params or {})}
        headers = {}
        if MODERN:
            body["params"]["_meta"] = {
                META + "protocolVersion": VERSION, META + "clientCapabilities": OFFERS, META + "clientInfo": INFO}
            headers = {"MCP-Protocol-Version": VERSION, "Mcp-Method": method}
            target = body["params"].get("name") or body["params"].get("uri")
            if target:
                headers["Mcp-Name"] = header(target)
            if method == "tools/call":
                headers |= mirrored(self.tools.get(target, {}), body["params"].get("arguments", {}))
        response = self.send("POST", body, headers)
        self.session = response.getheader("mcp-session-id") if method == "initialize" else self.session
        message = self.answer(response, self.ids)
        if "error" in message:
            raise Refused(message["error"])
        return message["result"]

    def answer(self, response, id):
        if "text/event-stream" not in response.getheader("content-type", ""):
            return json.loads(response.read())
        last, wait = None, 1.0
        while True:
            for event, retry, message in self.events(response):
                last, wait = event or last, int(retry) / 1000 if retry else wait
                self.incoming(message)
                if id in self.answers:
                    return self.answers.pop(id)
            assert last, "the stream ended before its answer"
            time.sleep(wait)
            response = self.send("GET", more={"Last-Event-ID": last})

    def tell(self, method):
        self.send("POST", {"jsonrpc": "2.0", "method": method}).read()

    def open(self):
        if MODERN:
            try:
                self.request("server/discover")
            except Refused as refused:
                assert refused.code == -32022 and VERSION in refused.data["supported"], refused
                self.request("server/discover")
            return
        self.request("initialize", {"protocolVersion": VERSION, "capabilities": OFFERS, "clientInfo": INFO})
        self.tell("notifications/initialized")
        # The suite closes its streams with its server, and this process ends with its last line: nobody waits for the reader.
        if SCENARIO != "sse-retry" or THROUGH:
            threading.Thread(target=self.listen, daemon=True).start()
            time.sleep(0.2)

    def list_tools(self):
        tools = self.request("tools/list")["tools"]
        self.tools = {tool["name"]: tool for tool in tools}
        return tools

    def call(self, name, arguments=None, **more):
        """A call, with whatever the server wants to know first."""
        params = {"name": name, "arguments": arguments or {}}
        result = self.request("tools/call", {**params, **more})
        while result.get("resultType") == "input_required":
            given = {key: answer(asked) for key, asked in result["inputRequests"].items()}
            again = {**params, "inputResponses": given}
            if "requestState" in result:
                again["requestState"] = result["requestState"]
            if name == "test_mrtr_echo_state":
                # Something else meanwhile: nothing of the one may get into the other.
                self.call("test_mrtr_unrelated")
            result = self.request("tools/call", again)
        return result


def answer(asked):
    if asked["method"] == "elicitation/create":
        properties = asked["params"]["requestedSchema"]["properties"]
        return {"action": "accept", "content": {name: one.get("default", True) for name, one in properties.items()}}
    if asked["method"] == "roots/list":
        return {"roots": []}
    return {}


# Headers of the modern era

def header(text):
    safe = text.isascii() and text.isprintable() and text == text.strip()
    return text if safe else f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def annotated(tool):
    properties = tool.get("inputSchema", {}).get("properties", {})
    return {name: one["x-mcp-header"] for name, one in properties.items() if "x-mcp-header" in one}


def mirrored(tool, arguments):
    out = {}
    for name, title in annotated(tool).items():
        value = arguments.get(name)
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value)
            out[f"Mcp-Param-{title}"] = header(text) if text else ""
    return out


def usable(tool):
    """Whether the annotations of a tool are such that a client may call it."""
    titles = annotated(tool)
    properties = tool["inputSchema"].get("properties", {})
    token = all(re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", title) for title in titles.values())
    plain = all(properties[name].get("type") in ("string", "integer", "boolean") for name in titles)
    return token and plain and len({title.lower() for title in titles.values()}) == len(titles)


# Scenarios

def skills(client):
    entry = client.request("skills/list")["skills"][0]
    if SCENARIO == "sep-2640-client-no-prefetch":
        return
    said = {one["uri"]: one for one in entry["resources"]}

    def load(uri):
        text = client.request("resources/read", {"uri": uri})["contents"][0]["text"]
        digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
        return text if (digest, len(text.encode())) == (said[uri]["digest"], said[uri]["size"]) else None

    text = load(entry["uri"])
    front = dict(re.findall(r"^(\w+): (.*)$", text.split("---")[1], re.M)) if text else None
    if front == entry["frontmatter"]:
        [load(uri) for uri in said if uri != entry["uri"]]


def run(client):
    client.open()
    if SCENARIO.startswith("sep-2640"):
        return skills(client)
    tools = client.list_tools()
    match SCENARIO:
        case "tools_call":
            client.call("add_numbers", {"a": 5, "b": 3})
        case "elicitation-sep1034-client-defaults":
            client.call("test_client_elicitation_defaults")
        case "sse-retry":
            client.call("test_reconnection")
        case "sep-2322-client-request-state":
            for name in ("test_mrtr_echo_state", "test_mrtr_no_state", "test_mrtr_no_result_type"):
                client.call(name)
        case "request-metadata":
            client.request("resources/list")
            # A call of the client's own: with it goes what the client declares.
            client.request("resources/read", {"uri": "test://metadata"})
        case "http-standard-headers":
            for tool in tools:
                client.call(tool["name"])
            for resource in client.request("resources/list")["resources"]:
                client.request("resources/read", {"uri": resource["uri"]})
            for prompt in client.request("prompts/list")["prompts"]:
                client.request("prompts/get", {"name": prompt["name"]})
        case "http-custom-headers":
            for call in CONTEXT["toolCalls"]:
                client.call(call["name"], call["arguments"])
        case "http-invalid-tool-headers":
            for tool in tools:
                # A client of the older generation knows nothing of such annotations, and calls what it was shown.
                if usable(tool) or not MODERN:
                    try:
                        client.call(tool["name"], {"region": "eu"})
                    except Refused:
                        pass
        case "json-schema-2020-12-preservation":
            schema = next(tool["inputSchema"] for tool in tools if tool["name"] != "json_schema_echo")
            client.call("json_schema_echo", {"schema": schema})


url = sys.argv[-1]
run(Client(*(behind_the_gateway(url) if THROUGH else (url, {}))))

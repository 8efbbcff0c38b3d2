# A server over STDIO that misbehaves as told: `fake_server.py MODE`. Tests start it as a real process.
import json, os, subprocess, sys, time

mode = sys.argv[1]
held = []


def say(message):
    print(json.dumps(dict(message, jsonrpc="2.0")), flush=True)


def tools_call(message, params):
    name, arguments = params["name"], params.get("arguments", {})
    reply = {"id": message["id"], "result": {"echo": arguments, "meta": params.get("_meta")}}
    if name == "hold":  # answered in reverse order once `count` of them are here
        held.append(reply)
        if len(held) == arguments["count"]:
            for one in reversed(held):
                say(one)
    elif name == "env":
        say({"id": message["id"], "result": dict(os.environ)})
    elif name == "die":
        print("about to die", file=sys.stderr, flush=True)
        os._exit(3)
    elif name == "never":
        print("waiting", file=sys.stderr, flush=True)
    elif name == "progress":
        say({"method": "notifications/progress", "params": {"progressToken": params["_meta"]["progressToken"], "progress": 1}})
        say(reply)
    elif name == "ask":
        say({"id": "q1", "method": "sampling/createMessage", "params": {"messages": []}})
        answer = json.loads(sys.stdin.readline())
        say({"id": message["id"], "result": answer})
    elif name == "garbage":
        for n in range(arguments["count"]):
            print("this is not JSON", n, flush=True)
        say(reply)
    elif name == "huge":
        sys.stdout.write("x" * (17 << 20))
        say(reply)
    elif name == "tell":
        say({"method": "notifications/tools/list_changed"})
        say(reply)
    else:
        say(reply)


if mode == "child":  # leaves a descendant behind that ignores SIGTERM
    subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"])
if mode == "stubborn":
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode == "crash":
    print("cannot start: no key", file=sys.stderr, flush=True)
    sys.exit(7)

for line in sys.stdin:
    message = json.loads(line)
    method, params = message.get("method"), message.get("params", {})
    if method == "server/discover":
        if mode == "dies_of_probe":
            os._exit(1)
        elif mode == "modern":
            say({"id": message["id"], "result": {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}})
        elif mode != "silent":
            say({"id": message["id"], "error": {"code": -32602, "message": "Invalid request parameters"}})
    elif method == "initialize":
        if mode == "mute":
            continue
        say({"id": message["id"], "result": {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": mode, "version": "1"}}})
    elif method == "tools/call":
        tools_call(message, params)
    elif method and method.startswith("notifications/"):
        print("got", line.strip(), file=sys.stderr, flush=True)
        if mode == "quitter" and method == "notifications/initialized":
            os._exit(0)
    elif "id" in message:
        say({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})

if mode == "stubborn":
    while True:
        time.sleep(1)

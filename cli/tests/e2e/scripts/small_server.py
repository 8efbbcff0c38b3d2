"""A small MCP server over STDIO for tests: `echo`, `wait` (never answers) and `strike` (kills a process at once).

Its one argument is a file that holds the number of the process to strike; beside it, with `.server` at the end, it leaves
its own number when it is told to wait.
"""
import json
import os
import signal
import sys

victim = sys.argv[1]
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("echo", "wait", "strike")]


def answer(message):
    method, params = message["method"], message.get("params") or {}
    if method == "initialize":
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "small", "version": "1"},
        }
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call" and params["name"] == "strike":
        with open(victim) as file:
            os.kill(int(file.read()), signal.SIGKILL)
    if method == "tools/call" and params["name"] == "wait":
        with open(victim + ".part", "w") as file:
            file.write(str(os.getpid()))
        os.rename(victim + ".part", victim + ".server")
        return None
    if method == "tools/call":
        return {"content": [{"type": "text", "text": json.dumps(params.get("arguments"))}]}
    raise LookupError(method)


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message or "method" not in message:
        continue
    try:
        result = answer(message)
        if result is None:
            continue
        said = {"jsonrpc": "2.0", "id": message["id"], "result": result}
    except LookupError:
        said = {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no such method"}}
    print(json.dumps(said), flush=True)

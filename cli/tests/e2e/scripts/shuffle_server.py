# A modern server over STDIO that answers what it finds waiting in any order but that in which it came: `shuffle_server.py`.
# Each answer repeats its question, so that an answer that belongs to another question shows.
import json, os, random, sys

DISCOVERED = {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
TOOLS = {"resultType": "complete", "tools": [{"name": "echo", "inputSchema": {"type": "object"}}], "ttlMs": 0, "cacheScope": "private"}


def result(message):
    match message["method"]:
        case "server/discover":
            return DISCOVERED
        case "tools/list":
            return TOOLS
        case _:
            text = json.dumps(message["params"]["arguments"])
            return {"resultType": "complete", "content": [{"type": "text", "text": text}]}


rest = b""
while chunk := os.read(0, 1 << 20):
    *lines, rest = (rest + chunk).split(b"\n")
    waiting = [message for message in map(json.loads, filter(None, lines)) if "id" in message]
    random.shuffle(waiting)
    answers = [{"jsonrpc": "2.0", "id": message["id"], "result": result(message)} for message in waiting]
    sys.stdout.write("".join(json.dumps(answer) + "\n" for answer in answers))
    sys.stdout.flush()

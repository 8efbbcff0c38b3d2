"""A client on the official Python SDK: opens an endpoint or a command, lists the tools, calls some, prints JSON.

Its one argument is JSON: {"mode": "legacy" | "auto" | a revision, "url": …, "token": …} or {"mode": …, "command": [argv]},
and {"calls": [[server, tool, arguments], …]}; a tool is found by the server's name in front and its own name at the end.
"""
import asyncio
import json
import os
import sys

import httpx2
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client


def transport(spec):
    if "command" in spec:
        program, *args = spec["command"]
        return stdio_client(StdioServerParameters(command=program, args=args, env=dict(os.environ)))
    headers = {"Authorization": f"Bearer {spec['token']}"}
    http = httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False)
    return streamable_http_client(spec["url"], http_client=http)


async def main(spec):
    async with Client(transport(spec), mode=spec["mode"]) as client:
        tools, cursor = [], None
        while True:
            page = await client.list_tools(cursor=cursor)
            tools += [tool.name for tool in page.tools]
            cursor = page.next_cursor
            if not cursor:
                break
        results = []
        for server, tool, arguments in spec.get("calls", []):
            name = next(n for n in tools if n.startswith(server) and n.endswith(tool))
            answer = await client.call_tool(name, arguments)
            results.append({
                "error": bool(answer.is_error),
                "text": "".join(getattr(part, "text", "") for part in answer.content),
            })
        print(json.dumps({"revision": client.protocol_version, "tools": tools, "results": results}))


asyncio.run(main(json.loads(sys.argv[1])))

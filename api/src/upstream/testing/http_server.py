# A server over HTTP, of the modern era, that tests kill and start again: `http_server.py PORT FILE`. While FILE exists, its
# tool `check` answers with an error. `GET /` tells how many requests have come. It is ready when it prints a line.
import http.server, json, os, sys

port, sick = int(sys.argv[1]), sys.argv[2]
asked = 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.reply({"asked": asked})

    def do_POST(self):
        global asked
        asked += 1
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        method, params = message.get("method"), message.get("params", {})
        if method == "server/discover":
            result = {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
        elif method == "tools/list":
            schema = {"type": "object"}
            tools = [{"name": name, "inputSchema": schema} for name in ("check", "echo")]
            result = {"resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "private"}
        else:
            broken = params.get("name") == "check" and os.path.exists(sick)
            text = "canary-of-the-server" if broken else json.dumps(params.get("arguments"))
            result = {"resultType": "complete", "content": [{"type": "text", "text": text}], "isError": broken}
        self.reply({"jsonrpc": "2.0", "id": message.get("id"), "result": result})

    def reply(self, body):
        bytes = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(bytes)))
        self.end_headers()
        self.wfile.write(bytes)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True


server = Server(("127.0.0.1", port), Handler)
print("ready", server.server_address[1], flush=True)
server.serve_forever()

"""Receives spans over OTLP/HTTP and decodes them with OpenTelemetry's own generated classes (PyPI: opentelemetry-proto).

argv: a file, to which each span is written as one line of JSON. Prints its address when it listens. It is no collector: it
takes what one takes, refuses what one could not read with 400, and keeps nothing else.
"""
import base64
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

out = open(sys.argv[1], "a", encoding="utf-8", buffering=1)


def hexadecimal(value):
    """OTLP's JSON has ids in hexadecimal, where protocol buffers have base64."""
    if isinstance(value, list):
        return [hexadecimal(one) for one in value]
    if not isinstance(value, dict):
        return value
    ids = {"traceId", "spanId", "parentSpanId"}
    return {k: base64.b64encode(bytes.fromhex(v)).decode() if k in ids else hexadecimal(v) for k, v in value.items()}


def plain(value):
    return getattr(value, value.WhichOneof("value"))


def told(request):
    for of_resource in request.resource_spans:
        resource = {a.key: plain(a.value) for a in of_resource.resource.attributes}
        for scope in of_resource.scope_spans:
            for span in scope.spans:
                assert len(span.trace_id) == 16 and len(span.span_id) == 8, span
                assert 10**18 < span.start_time_unix_nano <= span.end_time_unix_nano, span
                yield {
                    "service": resource["service.name"],
                    "resource": resource,
                    "scope": scope.scope.name,
                    "trace": span.trace_id.hex(),
                    "span": span.span_id.hex(),
                    "parent": span.parent_span_id.hex() or None,
                    "state": span.trace_state or None,
                    "name": span.name,
                    "kind": Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
                    "status": Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_").lower(),
                    "flags": span.flags,
                    "attributes": {a.key: plain(a.value) for a in span.attributes},
                }


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        kind = self.headers["content-type"]
        try:
            assert self.path == "/v1/traces", self.path
            if kind == "application/json":
                # Strict: a field that the protocol does not know fails.
                request = Parse(json.dumps(hexadecimal(json.loads(body))), ExportTraceServiceRequest())
                answer = b"{}"
            else:
                assert kind == "application/x-protobuf", kind
                request = ExportTraceServiceRequest.FromString(body)
                # What it does not know it would keep and write again: then nothing is lost, and nothing is unknown.
                known = ExportTraceServiceRequest.FromString(body)
                known.DiscardUnknownFields()
                assert known == request and known.SerializeToString() == request.SerializeToString(), "unknown fields"
                answer = ExportTraceServiceResponse().SerializeToString()
            for span in told(request):
                out.write(json.dumps(span) + "\n")
            status = 200
        except Exception as error:  # noqa: BLE001: whatever can't be read is refused
            print(f"refused: {error!r}", file=sys.stderr, flush=True)
            status, answer = 400, b""
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()

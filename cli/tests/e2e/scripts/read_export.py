"""Reads exported audit entries with parsers that others wrote; prints [{id, tool, outcome, reason, project}] as JSON.

argv: the form (cef, syslog, otlp) and a file: one message a line, or for otlp one request a line.
"""
import json
import re
import sys

form, path = sys.argv[1:]


def plain(value, escaped):
    """The parsers leave escapes in values; the formats say what they mean."""
    return value and re.sub(r"\\([" + re.escape(escaped) + "])", r"\1", value)


def cef(line):
    import pycef

    # Over syslog the event is the message behind the head.
    fields = pycef.parse(line[line.index("CEF:"):])
    assert fields is not None, line
    of = lambda name: plain(fields.get(name), "\\=")
    return {"id": fields["externalId"], "tool": of("tool"), "outcome": of("outcome"), "reason": of("reason")}


def syslog(line):
    from syslog_rfc5424_parser import SyslogMessage

    message = SyslogMessage.parse(line)
    assert list(message.sd) == ["mcpctl@32473"], message.sd
    data = message.sd["mcpctl@32473"]
    assert (message.facility.name, message.appname) == ("audit", "mcpd"), message
    of = lambda name: plain(data.get(name), '"\\]')
    return {"id": data["id"], "tool": of("tool"), "outcome": of("outcome"), "reason": of("reason")}


def otlp(line):
    from google.protobuf.json_format import Parse
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    # Strict: a field that the protocol does not know fails.
    request = Parse(line, ExportLogsServiceRequest())
    # What a collector does with it: the binary form and back.
    request = ExportLogsServiceRequest.FromString(request.SerializeToString())
    for resource in request.resource_logs:
        for scope in resource.scope_logs:
            for record in scope.log_records:
                value = lambda v: getattr(v, v.WhichOneof("value"))
                data = {a.key.removeprefix("mcpctl.audit."): value(a.value) for a in record.attributes}
                assert record.time_unix_nano > 10**18 and 1 <= record.severity_number <= 24
                yield {"id": str(data["id"]), "tool": data.get("tool"), "outcome": data.get("outcome"), "reason": data.get("reason")}


with open(path, newline="\n", encoding="utf-8") as lines:
    text = [line.removesuffix("\n") for line in lines]
if form == "otlp":
    read = [entry for line in text for entry in otlp(line)]
else:
    read = [{"cef": cef, "syslog": syslog}[form](line) for line in text]
print(json.dumps(read))

"""Reads what an OTLP collector got, with OpenTelemetry's own messages: FOLDER, as `tests/e2e/telemetry.rs` leaves it."""

import pathlib
import sys

from google.protobuf import text_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

MESSAGES = {
    ".traces": ExportTraceServiceRequest,
    ".metrics": ExportMetricsServiceRequest,
    ".logs": ExportLogsServiceRequest,
}
WAY = {
    "sealgate-agent": {"share", "inspect", "decide", "seal", "send"},
    "sealgate-gateway": {"request", "decide", "queue", "commit", "ledger append", "wake"},
}


def main(folder: str) -> int:
    planted = [word.lower() for word in (pathlib.Path(folder) / "planted").read_text().split("\n") if word]
    wrong = [] if len(planted) > 5 else ["nothing was planted"]
    counts = dict.fromkeys(MESSAGES, 0)
    traces = {}
    for file in sorted(pathlib.Path(folder).glob("[0-9]*.*")):
        body = file.read_bytes()
        message = MESSAGES[file.suffix].FromString(body)
        if unknown(message):
            wrong.append(f"{file.name} has fields that its schema has not")
        shown = text_format.MessageToString(message, as_utf8=True)
        for text in (shown.lower(), body.decode("latin-1").lower()):
            wrong += [f"{file.name} has `{word}`" for word in planted if word in text]
        if file.suffix == ".traces":
            counts[file.suffix] += note_spans(message, traces)
        elif file.suffix == ".metrics":
            counts[file.suffix] += sum(len(scope.metrics) for of in message.resource_metrics for scope in of.scope_metrics)
        else:
            counts[file.suffix] += sum(len(scope.log_records) for of in message.resource_logs for scope in of.scope_logs)
    wrong += [f"no {signal[1:]} arrived" for signal, count in counts.items() if count == 0]
    if not any(all(names <= trace.get(program, set()) for program, names in WAY.items()) for trace in traces.values()):
        wrong.append("no trace goes from agent to ledger")
    shown = ", ".join(f"{count} {signal[1:]}" for signal, count in counts.items())
    print(f"otlp: {shown}" + "".join(f"\n  wrong: {what}" for what in wrong))
    return 1 if wrong else 0


def unknown(message) -> bool:
    """Whether the reader met bytes that it has no field for."""
    known = message.SerializeToString()
    message.DiscardUnknownFields()
    return message.SerializeToString() != known


def note_spans(message, traces: dict) -> int:
    count = 0
    for of in message.resource_spans:
        (program,) = [word.value.string_value for word in of.resource.attributes if word.key == "service.name"]
        for span in (span for scope in of.scope_spans for span in scope.spans):
            traces.setdefault(span.trace_id, {}).setdefault(program, set()).add(span.name)
            count += 1
    return count


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

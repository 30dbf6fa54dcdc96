"""Receives OTLP over HTTP, and decodes it with OpenTelemetry's own messages for Python.

Argument: the folder of the libraries. Prints its port, then a line of JSON for each message: metrics as they are in
Prometheus' text format, log records with the ids of their spans, or the ids of spans.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

sys.path.insert(0, sys.argv[1])

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest  # noqa: E402
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest  # noqa: E402
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402


def labels(point, **more):
    return {it.key: it.value.string_value for it in point.attributes} | more


def samples(metric):
    kind = metric.WhichOneof("data")
    for point in getattr(metric, kind).data_points:
        if kind != "histogram":
            yield metric.name, labels(point), point.as_double
            continue
        below = 0
        for bound, count in zip([*point.explicit_bounds, float("inf")], point.bucket_counts, strict=True):
            below += count
            yield metric.name + "_bucket", labels(point, le=str(bound)), below
        yield metric.name + "_count", labels(point), point.count
        yield metric.name + "_sum", labels(point), point.sum


def metrics(body):
    scopes = [s for r in ExportMetricsServiceRequest.FromString(body).resource_metrics for s in r.scope_metrics]
    return {"metrics": [it for scope in scopes for metric in scope.metrics for it in samples(metric)]}


def records(body):
    scopes = [s for r in ExportLogsServiceRequest.FromString(body).resource_logs for s in r.scope_logs]
    found = [it for scope in scopes for it in scope.log_records]
    return {"records": [(it.body.string_value, it.trace_id.hex(), it.span_id.hex()) for it in found]}


def spans(body):
    scopes = [s for r in ExportTraceServiceRequest.FromString(body).resource_spans for s in r.scope_spans]
    return {"spans": [(it.trace_id.hex(), it.span_id.hex()) for scope in scopes for it in scope.spans]}


DECODERS = {"/v1/metrics": metrics, "/v1/logs": records, "/v1/traces": spans}


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        print(json.dumps(DECODERS[self.path](body)), flush=True)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()

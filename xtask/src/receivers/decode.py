"""Decodes one batch of spans as a Jaeger agent does, with Apache Thrift and the code generated from Jaeger's own IDL.

Arguments: the folders of the generated code and of the library. Prints its port, then the batch as JSON.
"""

import json
import socket
import sys

sys.path[:0] = sys.argv[1:3]

from agent import Agent  # noqa: E402
from jaeger.ttypes import TagType  # noqa: E402
from thrift.protocol.TCompactProtocol import TCompactProtocol  # noqa: E402
from thrift.transport.TTransport import TMemoryBuffer  # noqa: E402

VALUES = {
    TagType.STRING: "vStr",
    TagType.DOUBLE: "vDouble",
    TagType.BOOL: "vBool",
    TagType.LONG: "vLong",
    TagType.BINARY: "vBinary",
}


def tags(these):
    return {tag.key: getattr(tag, VALUES[tag.vType]) for tag in these or []}


def span(it):
    return {
        "trace": [it.traceIdHigh, it.traceIdLow],
        "id": it.spanId,
        "parent": it.parentSpanId,
        "name": it.operationName,
        "start": it.startTime,
        "duration": it.duration,
        "tags": tags(it.tags),
        "events": [tags(log.fields) for log in it.logs or []],
    }


listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.bind(("127.0.0.1", 0))
listener.settimeout(60)
print(listener.getsockname()[1], flush=True)
datagram = listener.recv(65000)

protocol = TCompactProtocol(TMemoryBuffer(datagram))
name, _, _ = protocol.readMessageBegin()
arguments = Agent.emitBatch_args()
arguments.read(protocol)
protocol.readMessageEnd()
arguments.validate()
batch = arguments.batch
batch.validate()
print(
    json.dumps(
        {
            "call": name,
            "service": batch.process.serviceName,
            "process": tags(batch.process.tags),
            "spans": [span(it) for it in batch.spans],
        }
    )
)

"""Reads an exposition from standard input with the strict OpenMetrics parser of prometheus-client.

Argument: the folder of the library. Prints the number of samples and of exemplars as JSON.
"""

import json
import sys

sys.path.insert(0, sys.argv[1])

from prometheus_client.openmetrics.parser import text_string_to_metric_families  # noqa: E402

samples = [s for family in text_string_to_metric_families(sys.stdin.read()) for s in family.samples]
print(json.dumps([len(samples), sum(s.exemplar is not None for s in samples)]))

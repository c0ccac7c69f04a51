"""What rtloop's numbers rest on: each module is a program, ``python -m benchmarks.NAME``.

Always a ratio within one run on one machine: A and B alternate in segments, and the same thing
measured against itself (the noise floor) stands beside it. docs/benchmarks.md explains the method.
"""

import os

# onnxruntime 1.29 and later start two threads that look names up, write a database and send events.
# A and B are both measured without them. Before any library is loaded: it is read once.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

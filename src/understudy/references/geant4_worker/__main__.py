"""The worker's conversation with its parent.

Parent to worker, on standard input: one line of JSON that describes the detector, then for each chunk a line
`{"events": n, "first": i, "seeds": [...]}` followed by `(n, 7)` float64 (see `application.BEAM`). Worker to parent, on
standard output: `{"events": 1}` for each event, `{"rows": [n, width]}` followed by as many float32, or
`{"error": sentence, "type": name}`.

Both are moved away from file descriptors 0 and 1 before Geant4 is imported: whoever reads standard input finds its end,
and what Geant4 prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import resource
import signal
from typing import Any, BinaryIO

import numpy as np


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    jobs, answers = os.dup(0), os.dup(1)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return os.fdopen(jobs, "rb"), os.fdopen(answers, "wb")


def _serve(jobs: BinaryIO, answers: BinaryIO) -> None:
    def say(message: dict[str, Any], payload: bytes = b"") -> None:
        try:
            answers.write(json.dumps(message).encode() + b"\n" + payload)
            answers.flush()
        except BrokenPipeError:  # the parent is gone; an exception must not travel through Geant4's event loop
            os._exit(1)

    try:
        from understudy.references.geant4_worker.application import BEAM, Application

        application = Application(json.loads(jobs.readline()), on_event=lambda: say({"events": 1}))
        for line in jobs:
            chunk = json.loads(line)
            n = int(chunk["events"])
            beam = np.frombuffer(jobs.read(n * len(BEAM) * 8)).reshape(n, len(BEAM))
            rows = application.simulate(beam, chunk["seeds"], chunk["first"])
            say({"rows": rows.shape}, rows.tobytes())
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        say({"error": str(error), "type": type(error).__name__})


def main() -> None:
    """Serve chunks until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    jobs, answers = _private_pipes()
    _serve(jobs, answers)
    os._exit(0)  # Geant4 must not be torn down in the order in which Python forgets its objects


if __name__ == "__main__":
    main()

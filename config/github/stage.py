# SPDX-License-Identifier: Apache-2.0
"""Serves a stage with `keep: true`: a JSON line in, a JSON line out, until there are no more.

What goes wrong with one value costs that value only: the traceback goes to the run's log (stderr), and the
answer is {"error": ...}, which fails the step.
"""
import json
import sys
import traceback


def serve(work):
    for line in sys.stdin.buffer:
        try:
            result = work(json.loads(line))
        except Exception as e:  # whatever it was, the next value deserves its turn
            traceback.print_exc()
            sys.stderr.flush()
            result = {"error": f"{type(e).__name__}: {e}"}
        print(json.dumps(result), flush=True)

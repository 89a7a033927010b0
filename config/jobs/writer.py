# SPDX-License-Identifier: Apache-2.0
"""An agent as a command: it gets {"agent", "task", "input", "run"} and answers with what it has to say."""
import json
import sys

given = json.load(sys.stdin)
data = given["input"]
if isinstance(data, dict) and "rows" in data:
    sold = sum(int(row["sold"]) for row in data["rows"])
    best = max(data["rows"], key=lambda row: int(row["sold"]))
    text = f"On {data['day']} {sold} pieces were sold, most of all {best['item']}."
else:
    text = f"This did not work out: {given['task']}"
print(f"asked to: {given['task']}", file=sys.stderr)
print(json.dumps({"text": text}))

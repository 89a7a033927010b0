# SPDX-License-Identifier: Apache-2.0
"""What was extracted and, as the stage's `also`, the document in; a summary out; one JSON line each."""
import json
import sys

for line in sys.stdin.buffer:
    try:
        both = json.loads(line)
        extracted, document = both["value"], both["also"][0]
        body = document["body"]
        result = {
            "id": extracted["id"],
            "title": document["title"],
            "one_liner": body if len(body) <= 80 else body[:80] + "...",
            "entity_count": len(extracted["entities"]),
        }
    except (ValueError, KeyError, TypeError) as e:
        result = {"error": f"no summary can be made ({type(e).__name__}: {e})"}
    print(json.dumps(result), flush=True)

# SPDX-License-Identifier: Apache-2.0
"""A document in, its words counted and its capitalised words out; one JSON line each."""
import json
import sys

for line in sys.stdin.buffer:
    try:
        document = json.loads(line)
        words = document["body"].split()
        result = {
            "id": document["id"],
            "entities": [word for word in words if word[0].isupper()],
            "word_count": len(words),
        }
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        result = {"error": f"not a document with id, title and body ({type(e).__name__}: {e})"}
    print(json.dumps(result), flush=True)

# SPDX-License-Identifier: Apache-2.0
"""The bakery's jobs: one word says which. The input is JSON on stdin, the result JSON on stdout; stderr is the run's log."""
import csv
import json
import os
import sys


def fetch(given):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "sales.csv"), newline="") as f:
        rows = [row for row in csv.DictReader(f) if row["day"] == given["day"]]
    print(f"{len(rows)} lines of {given['day']}", file=sys.stderr)
    if not rows:
        sys.exit(65)  # no use in trying that again
    return {"day": given["day"], "rows": rows}


def totals(sales):
    return {
        "day": sales["day"],
        "sold": sum(int(row["sold"]) for row in sales["rows"]),
        "revenue": round(sum(int(row["sold"]) * float(row["price"]) for row in sales["rows"]), 2),
    }


def leftovers(sales):
    left = {row["item"]: int(row["baked"]) - int(row["sold"]) for row in sales["rows"]}
    return {item: n for item, n in left.items() if n > 0}


def report(given):
    day, left = given["totals"], given["leftovers"]
    return {
        "title": f"{day['day'].capitalize()}: {day['sold']} sold for {day['revenue']:.2f}",
        "left": left,
        "bake_less": sorted(item for item, n in left.items() if n >= 5),
    }


def order(wanted):
    if wanted["count"] < 10:
        print(f"the mill refuses {wanted['count']} of {wanted['item']}: at least 10", file=sys.stderr)
        sys.exit(1)
    return {"ordered": wanted["item"], "count": wanted["count"]}


if __name__ == "__main__":
    work = {"fetch": fetch, "totals": totals, "leftovers": leftovers, "report": report, "order": order}[sys.argv[1]]
    print(json.dumps(work(json.load(sys.stdin))))

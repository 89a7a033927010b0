# SPDX-License-Identifier: Apache-2.0
"""Normalised facts in, figures out.

Of a push: files by what became of them, by directory and by kind; commits by author and by conventional
type (feat, fix, ...); what breaks; the size. Of a pull request: its size. Other events have nothing to count.
"""
import re
from collections import Counter
from pathlib import PurePosixPath

from stage import serve

TYPES = ("feat", "fix", "docs", "style", "refactor", "perf", "test", "build", "ci", "chore", "revert")
CONVENTIONAL = re.compile(r"^([A-Za-z]+)(\([^()]*\))?(!)?:\s")
BREAKING = re.compile(r"^BREAKING[ -]CHANGE:\s", re.MULTILINE)

KINDS = {
    "source": "c cc cpp cs cxx go h hpp java js jsx kt lua m mjs php pl py rb rs scala sh swift ts tsx "
              "vue zig",
    "build": "cmake cmakelists.txt dockerfile gradle makefile mk package.json package-lock.json",
    "documents": "adoc markdown md pdf rst txt",
    "configuration": "cfg conf env ini json properties toml xml yaml yml lock",
    "pages": "css htm html less sass scss svg",
    "data": "csv parquet sql tsv",
    "images": "avif gif ico jpeg jpg png webp",
}
KIND_OF = {ext: kind for kind, exts in KINDS.items() for ext in exts.split()}


def final_states(commits):
    """What became of each file over all commits: a file that came and went again was not touched."""
    state = {}
    for c in commits:
        for path in c["added"]:
            state[path] = "modified" if state.get(path) == "removed" else "added"
        for path in c["modified"]:
            state.setdefault(path, "modified")
        for path in c["removed"]:
            if state.get(path) == "added":
                del state[path]
            else:
                state[path] = "removed"
    return state


def directory(path):
    parts = PurePosixPath(path).parts[:-1]
    return "/".join(parts[:2]) + "/" if parts else "(top)"


def extension(path):
    name = PurePosixPath(path.lower())
    return name.name if name.name in KIND_OF or not name.suffix else name.suffix[1:]


def ranked(counter):
    """Most first, then by name."""
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))


def commit_type(c):
    match = CONVENTIONAL.match(c["title"])
    if match and match.group(1).lower() in TYPES:
        return match.group(1).lower()
    if c["title"].startswith("Merge "):
        return "merge"
    return "revert" if c["title"].startswith("Revert ") else "other"


def breaks(c):
    match = CONVENTIONAL.match(c["title"])
    return bool(match and match.group(3)) or bool(BREAKING.search(c["body"]))


def label(n, *steps):
    return next((name for limit, name in steps if n <= limit), "very large")


def push(facts):
    commits = facts["commits"]
    state = final_states(commits)
    states = Counter(state.values())
    directories = Counter(directory(p) for p in state)
    kinds = Counter((KIND_OF.get(extension(p), "other"), extension(p)) for p in state)
    authors = Counter(c["author"] or "unknown" for c in commits)
    types = Counter(commit_type(c) for c in commits)
    size = label(len(state), (0, "none"), (3, "small"), (15, "medium"), (60, "large"))
    return {
        "files": {
            "touched": len(state),
            "added": states["added"],
            "modified": states["modified"],
            "removed": states["removed"],
        },
        "by_directory": [{"directory": d, "files": n} for d, n in ranked(directories)],
        "by_kind": [{"kind": k, "extension": e, "files": n} for (k, e), n in ranked(kinds)],
        "authors": [{"name": a, "commits": n} for a, n in ranked(authors)],
        "types": [{"type": t, "commits": n} for t, n in ranked(types)],
        "breaking": [c["id"] for c in commits if breaks(c)],
        "size": {"commits": len(commits), "files": len(state), "label": size},
    }


def pull_request(facts):
    p = facts["pull_request"]
    lines = (p["additions"] or 0) + (p["deletions"] or 0)
    size = label(lines, (10, "tiny"), (100, "small"), (500, "medium"), (2000, "large"))
    return {"size": {"commits": p["commits"], "files": p["changed_files"], "lines": lines, "label": size}}


def analyse(facts):
    figures = {"push": push, "pull_request": pull_request}.get(facts["kind"], lambda f: {})(facts)
    return {"kind": facts["kind"], "event": facts["event"], **figures}


if __name__ == "__main__":
    serve(analyse)

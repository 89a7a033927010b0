# SPDX-License-Identifier: Apache-2.0
"""A delivery of any GitHub event in, its facts in one shape out: who did what to what, where.

A push gets its branch or tag and its commits; every other event gets action, subject, number, title,
state and some text. Only what GitHub always sends is relied on; anything else may be missing or null.
"""
from stage import serve

ZERO = "0" * 40

# Where the thing that an event is about stands in the payload, most telling first.
SUBJECTS = (
    "review", "comment", "pull_request", "issue", "discussion", "release", "check_run", "check_suite",
    "workflow_job", "workflow_run", "deployment_status", "deployment", "alert", "security_advisory",
    "milestone", "label", "package", "registry_package", "project_card", "project_column", "project",
    "projects_v2_item", "merge_group", "rule", "key", "thread", "build", "hook", "sponsorship",
    "marketplace_purchase", "membership", "member", "blocked_user", "forkee", "team", "installation",
)

# What a person calls the subject of an event.
NOUNS = {
    "pull_request_review": "review", "pull_request_review_comment": "review comment",
    "pull_request_review_thread": "review thread", "issue_comment": "comment", "issues": "issue",
    "commit_comment": "commit comment", "check_run": "check", "check_suite": "check suite",
    "workflow_run": "workflow run", "workflow_job": "workflow job", "gollum": "wiki",
    "branch_protection_rule": "branch protection", "code_scanning_alert": "code scanning alert",
    "org_block": "block of a user", "star": "star", "watch": "watch", "public": "repository",
}


def obj(value):
    return value if isinstance(value, dict) else {}


def lines(text):
    return text.splitlines() if isinstance(text, str) else []


def login(person):
    person = obj(person)
    return person.get("login") or person.get("name") or person.get("username") or person.get("email")


def repository(payload):
    r = obj(payload.get("repository"))
    if not r:
        return None
    return {
        "name": r.get("full_name") or r.get("name"),
        "url": r.get("html_url") or r.get("url"),
        "private": bool(r.get("private")),
        "default_branch": r.get("default_branch") or r.get("master_branch"),
        "language": r.get("language"),
    }


def commit(c):
    message = c.get("message") or ""
    author = obj(c.get("author"))
    return {
        "id": c.get("id"),
        "title": (lines(message) or [""])[0],
        "body": "\n".join(lines(message)[1:]).strip(),
        "author": author.get("name") or author.get("username") or author.get("email"),
        "username": author.get("username"),
        "timestamp": c.get("timestamp"),
        "url": c.get("url"),
        "distinct": c.get("distinct", True),
        "added": c.get("added") or [],
        "modified": c.get("modified") or [],
        "removed": c.get("removed") or [],
    }


def push(payload):
    ref = payload.get("ref") or ""
    kind, name = ("tag", ref[len("refs/tags/"):]) if ref.startswith("refs/tags/") else (
        "branch", ref[len("refs/heads/"):] if ref.startswith("refs/heads/") else ref)
    head = payload.get("head_commit")
    return {
        "kind": "push",
        "ref": ref,
        "branch": name if kind == "branch" else None,
        "tag": name if kind == "tag" else None,
        "before": None if payload.get("before") == ZERO else payload.get("before"),
        "after": None if payload.get("after") == ZERO else payload.get("after"),
        "created": bool(payload.get("created")),
        "deleted": bool(payload.get("deleted")),
        "forced": bool(payload.get("forced")),
        "compare": payload.get("compare"),
        "pusher": login(payload.get("pusher")) or login(payload.get("sender")),
        "commits": [commit(c) for c in payload.get("commits") or [] if isinstance(c, dict)],
        "head": commit(head) if isinstance(head, dict) else None,
    }


def first(source, *names):
    """The first of these members that says something."""
    for name in names:
        value = source.get(name)
        if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
            return value
    return None


def subject(payload):
    for name in SUBJECTS:
        if obj(payload.get(name)):
            return name, payload[name]
    if payload.get("ref"):
        return payload.get("ref_type") or "ref", {"name": payload["ref"]}
    return "repository", obj(payload.get("repository")) or obj(payload.get("organization"))


def other(event, payload):
    name, thing = subject(payload)
    about = obj(payload.get("pull_request")) or obj(payload.get("issue")) or obj(
        payload.get("discussion")) or thing
    title = first(about, "title", "tag_name", "name", "display_title", "summary", "context",
                  "environment", "login", "pattern", "full_name", "description", "note", "content_type")
    prose = thing is not about or name in (
        "issue", "pull_request", "discussion", "release", "comment")
    text = first(thing, "body", "description", "note", "message") if prose else None
    if name == "alert":
        advisory = obj(thing.get("security_advisory"))
        title = title or first(obj(thing.get("rule")), "description", "name") or first(
            advisory, "summary") or first(thing, "affected_package_name", "external_identifier")
    if name == "installation" and event != "installation_repositories":
        title = login(thing.get("account"))
    pages = payload.get("pages") if isinstance(payload.get("pages"), list) else []
    if pages:
        title = ", ".join(str(obj(p).get("title")) for p in pages)
    action = payload.get("action")
    if event in ("create", "delete"):
        action = event + "d"
    if event == "status":
        title = payload.get("context")
        text = payload.get("description")
    result = {
        "kind": "pull_request" if event == "pull_request" else "event",
        "action": action,
        "subject": name if event in ("create", "delete") else NOUNS.get(
            event, event.replace("_", " ")),
        "number": first(about, "number") or payload.get("number"),
        "title": str(title) if title is not None else None,
        "state": first(thing, "conclusion", "state", "status") or payload.get("state"),
        "url": first(thing, "html_url", "url", "target_url") or payload.get("target_url"),
        "text": "\n".join(lines(text))[:2000] if isinstance(text, str) else None,
        "labels": [obj(l).get("name") for l in about.get("labels") or [] if obj(l).get("name")],
    }
    if event == "pull_request":
        p = about
        result["pull_request"] = {
            "from": obj(p.get("head")).get("ref"),
            "into": obj(p.get("base")).get("ref"),
            "author": login(p.get("user")),
            "draft": bool(p.get("draft")),
            "merged": bool(p.get("merged")),
            "commits": p.get("commits"),
            "changed_files": p.get("changed_files"),
            "additions": p.get("additions"),
            "deletions": p.get("deletions"),
        }
    return result


def normalise(envelope):
    event = envelope.get("event") or "unknown"
    payload = envelope.get("payload")
    if not isinstance(payload, dict):
        raise ValueError("the payload is no JSON object")
    facts = push(payload) if event == "push" else other(event, payload)
    return {
        "event": event,
        "delivery": envelope.get("delivery"),
        "received_at": envelope.get("received_at"),
        "repository": repository(payload),
        "organization": login(payload.get("organization")),
        "sender": login(payload.get("sender")),
        **facts,
    }


if __name__ == "__main__":
    serve(normalise)

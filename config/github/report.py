# SPDX-License-Identifier: Apache-2.0
"""The figures and, as the stage's `also`, the normalised facts in; {"title", "markdown"} out.

What people wrote (titles, names, file names) is escaped: it must not become a heading, a table or a mention.
"""
import re

from stage import serve

BAR = 20
ROWS = 8
COMMITS = 15


def plain(text):
    text = " ".join(str(text).split())
    text = re.sub(r"([\\`*\[\]<>|])", r"\\\1", text)
    text = re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)
    return re.sub(r"@(?=\w)", "@\u200b", text)


def code(text):
    text = " ".join(str(text).split()).replace("|", "\\|")
    fence = "``" if "`" in text else "`"
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def link(text, url):
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        return text
    return f"[{text}]({url.replace(' ', '%20').replace('(', '%28').replace(')', '%29')})"


def count(n, noun):
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def when(text):
    return text[:16].replace("T", " ") + " UTC" if isinstance(text, str) and text.endswith("Z") else text


def table(head, align, rows):
    return ["| " + " | ".join(head) + " |", "|" + "|".join(align) + "|",
            *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows), ""]


def bars(title, rows):
    """Rows of (name, number), with a bar each; what doesn't fit is summed up."""
    if not rows:
        return []
    shown, rest = rows[:ROWS], rows[ROWS:]
    if rest:
        shown = shown + [(f"{len(rest)} more", sum(n for _, n in rest))]
    most = max(n for _, n in shown)
    body = [(name, n, "█" * max(1, round(BAR * n / most))) for name, n in shown]
    return [f"## {title}", "", *table(["", "Files", ""], [":--", "--:", ":--"], body)]


def commit_lines(commits, breaking):
    out = ["## Commits", ""]
    for c in commits[:COMMITS]:
        short = link(code((c["id"] or "")[:7]), c["url"])
        mark = " **breaking**" if c["id"] in breaking else ""
        out.append(f"- {short} {plain(c['title'])}{mark} ({plain(c['author'] or 'unknown')})")
    if len(commits) > COMMITS:
        out.append(f"- and {count(len(commits) - COMMITS, 'more commit')}")
    return out + [""]


def where(facts):
    repo = facts["repository"]
    if repo and repo["name"]:
        return repo["name"], link(plain(repo["name"]), repo["url"])
    name = facts["organization"] or "GitHub"
    return name, plain(name)


def push_title(facts, place):
    ref = facts["tag"] or facts["branch"] or facts["ref"]
    what = "tag" if facts["tag"] else "branch"
    if facts["deleted"]:
        return f"{place}: {what} {ref} deleted"
    if facts["tag"]:
        return f"{place}: tag {ref} pushed"
    if not facts["commits"]:
        return f"{place}: branch {ref} {'created' if facts['created'] else 'moved'}"
    return f"{place}: {count(len(facts['commits']), 'commit')} on {ref}"


def push(figures, facts):
    place, place_link = where(facts)
    title = push_title(facts, place)
    ref = code(facts["tag"] or facts["branch"] or facts["ref"])
    who = f"**{plain(facts['pusher'] or 'Somebody')}**"
    if facts["deleted"]:
        did = f"deleted the {'tag' if facts['tag'] else 'branch'} {ref} of {place_link}"
    elif facts["commits"]:
        verb = "force-pushed" if facts["forced"] else "pushed"
        did = f"{verb} {count(len(facts['commits']), 'commit')} to {ref} of {place_link}"
    else:
        did = f"{'created' if facts['created'] else 'pushed'} {ref} in {place_link}"
    line = f"{who} {did}"
    if not facts["deleted"] and facts["compare"]:
        line += f" ({link('compare', facts['compare'])})"
    out = [f"# {plain(title)}", "", line + ".", ""]
    if not facts["commits"]:
        head = facts["head"]
        if head:
            short = link(code((head["id"] or "")[:7]), head["url"])
            out += [f"Its head is {short} {plain(head['title'])}.", ""]
        return title, out
    files, size = figures["files"], figures["size"]
    out += table(["Commits", "Files", "Added", "Modified", "Removed", "Size"], ["--:"] * 5 + [":--"],
                 [(size["commits"], size["files"], files["added"], files["modified"],
                   files["removed"], size["label"])])
    out += commit_lines(facts["commits"], figures["breaking"])
    out += bars("By directory", [(code(d["directory"]), d["files"]) for d in figures["by_directory"]])
    kinds = [(f"{plain(k['kind'])} {code(k['extension'])}", k["files"]) for k in figures["by_kind"]]
    out += bars("By kind", kinds)
    types = ", ".join(f"{t['commits']} {t['type']}" for t in figures["types"])
    authors = ", ".join(f"{plain(a['name'])} ({a['commits']})" for a in figures["authors"])
    out += ["## Who and why", "", f"- Authors: {authors}", f"- Types: {types}"]
    if figures["breaking"]:
        out.append(f"- Breaking: {count(len(figures['breaking']), 'commit')}")
    return title, out + [""]


def quote(text):
    kept = [line for line in text.splitlines() if line.strip()][:6]
    return [*("> " + plain(line[:200]) for line in kept), ""] if kept else []


def event(figures, facts):
    place, place_link = where(facts)
    action = (facts["action"] or "").replace("_", " ")
    number = f" #{facts['number']}" if facts["number"] else ""
    title = f"{place}: {facts['subject']}{number}{' ' + action if action else ''}"
    out = [f"# {plain(title)}", ""]
    what = plain(facts["title"]) if facts["title"] else plain(facts["subject"]) + number
    out += [f"{link(what, facts['url'])} in {place_link}, by **{plain(facts['sender'] or 'GitHub')}**.", ""]
    rows = [("State", plain(facts["state"]))] if facts["state"] else []
    if facts["labels"]:
        rows.append(("Labels", ", ".join(code(l) for l in facts["labels"])))
    p = facts.get("pull_request")
    if p:
        rows.append(("Branches", f"{code(p['from'])} into {code(p['into'])}"))
        rows.append(("Author", plain(p["author"] or "unknown")))
        size = figures.get("size") or {}
        if size.get("files") is not None:
            rows.append(("Size", f"{size['label']}: {count(size['files'], 'file')}, +{p['additions']} "
                                 f"-{p['deletions']}, {count(size['commits'], 'commit')}"))
        rows.append(("Merged", "yes" if p["merged"] else "draft" if p["draft"] else "no"))
    if rows:
        out += table(["", ""], [":--", ":--"], rows)
    return title, out + quote(facts["text"] or "")


def report(both):
    figures, facts = both["value"], both["also"][0]
    title, lines = (push if facts["kind"] == "push" else event)(figures, facts)
    if facts["received_at"]:
        lines.append(f"*Event {code(facts['event'])}, received {plain(when(facts['received_at']))}.*")
    return {"title": title, "markdown": "\n".join(lines).rstrip() + "\n"}


if __name__ == "__main__":
    serve(report)

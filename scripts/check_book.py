"""Check the book's links without building it: python3 scripts/check_book.py [ROOT]

Every page of book/src is in SUMMARY.md, every entry of SUMMARY.md is a page, and every relative link and anchor in the
book and in the Markdown files of the root (README.md, CONTRIBUTING.md, …) leads somewhere. Needs Python's standard
library alone. Building the book itself needs mdBook: mdbook build book.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
BOOK = ROOT / "book" / "src"
SUMMARY = BOOK / "SUMMARY.md"

FENCE = re.compile(r"^ {0,3}(```|~~~)")
HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$")
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:")


def prose(text):
    """The lines outside fenced code, with their numbers."""
    fence = None
    for number, line in enumerate(text.splitlines(), 1):
        mark = FENCE.match(line)
        if mark and fence in (None, mark[1]):
            fence = None if fence else mark[1]
        elif fence is None:
            yield number, line


def slug(heading):
    """The id that mdBook and GitHub give a heading: of its text without markup, letters, digits, - and _ in lower case."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.replace("`", "").lower()).replace(" ", "-")


def anchors(path):
    found = {}
    ids = set()
    for _, line in prose(path.read_text()):
        if heading := HEADING.match(line):
            base = slug(heading[1])
            count = found.get(base, 0)
            found[base] = count + 1
            ids.add(f"{base}-{count}" if count else base)
        ids.update(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", line))
    return ids


def broken_links(path):
    """Links of a page that lead nowhere, as (line, target, what is wrong)."""
    # A link may span two lines of a paragraph.
    lines = [(number, CODE.sub("", line)) for number, line in prose(path.read_text())]
    text = "\n".join(line for _, line in lines)
    for match in LINK.finditer(text):
        number = lines[text.count("\n", 0, match.start())][0]
        target = match[1]
        if SCHEME.match(target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists():
            yield number, target, "no such file"
        elif BOOK in path.parents and BOOK not in file.parents:
            yield number, target, "outside the book, so it would be missing from the built pages"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file):
            yield number, target, "no such heading"


def main():
    pages = sorted(BOOK.rglob("*.md"))
    listed = [
        (BOOK / target).resolve()
        for _, line in prose(SUMMARY.read_text())
        for target in LINK.findall(line)
        if not SCHEME.match(target)
    ]
    problems = [f"{SUMMARY.relative_to(ROOT)}: {page.relative_to(BOOK)} is listed twice" for page in set(listed) if listed.count(page) > 1]
    problems += [
        f"{page.relative_to(ROOT)}: not listed in SUMMARY.md" for page in pages if page != SUMMARY and page not in listed
    ]
    for page in pages + sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("crates/*/README.md")):
        for number, target, problem in broken_links(page):
            problems.append(f"{page.relative_to(ROOT)}:{number}: {target}: {problem}")
    images = {path for path in BOOK.rglob("*") if path.suffix in {".png", ".svg", ".jpg"}}
    texts = [(page, page.read_text()) for page in pages]
    for image in sorted(images):
        if not any(f"/{image.name})" in text for _, text in texts):
            problems.append(f"{image.relative_to(ROOT)}: no page shows it")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(pages)} pages of the book: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

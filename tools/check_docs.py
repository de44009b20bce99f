#!/usr/bin/env python3
"""Holds the documentation to the tree: tools/check_docs.py BUILD.

Links between pages lead somewhere, the paths that pages name in backticks exist, and the pages that
programs generate are what those programs print. Exit status 1 if anything is not so.
"""
import pathlib
import re
import subprocess
import sys

# page: the program in the build folder that prints it.
GENERATED = {"docs/ops.md": "brisk_opdoc"}

LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
TOP = "src|include|tests|tools|cmake|docs|examples|bench|models"
PATH = re.compile(rf"`(\.?/?(?:{TOP})/[\w./-]*)`")


def main(build):
    root = pathlib.Path(__file__).resolve().parent.parent
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=root, check=True, text=True,
                            capture_output=True)
    problems = []
    for page in listed.stdout.split():
        text = (root / page).read_text()
        for link in LINK.findall(text):
            if "://" not in link and not (root / page).parent.joinpath(link).exists():
                problems.append(f"{page}: link to {link}, which is not there")
        for path in PATH.findall(text):
            if not (root / path).exists():
                problems.append(f"{page}: names {path}, which is not there")
    for page, program in GENERATED.items():
        printed = subprocess.run([pathlib.Path(build).resolve() / program], check=True, text=True,
                                 capture_output=True).stdout
        if not (root / page).is_file() or (root / page).read_text() != printed:
            problems.append(f"{page}: not what {program} prints; regenerate it: {program} > {page}")
    print("\n".join(problems) or "docs: links, paths and generated pages hold")
    return 1 if problems else 0


sys.exit(main(sys.argv[1]))

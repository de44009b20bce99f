#!/usr/bin/env python3
"""Shortens ctest's output to what a reader wants.

Input: ctest's output on stdin and the path of its JUnit file. Output: failures as they come; at the
end the skipped tests by reason, then ctest's own summary.
"""
import collections
import re
import sys
import xml.etree.ElementTree as ElementTree

QUIET = re.compile(r"^\s*(Start\s+\d+:|\d+/\d+ Test\s+#.*(Passed|\*\*\*Skipped))")
SUMMARY = re.compile(r"^\d+% tests passed")
# GoogleTest prints "FILE:LINE: Skipped", then the test's reason.
REASON = re.compile(r": Skipped\n(.*?)\n\s*(?:\n|\[)", re.S)


def skipped_by_reason(path):
    reasons = collections.defaultdict(list)
    for case in ElementTree.parse(path).iter("testcase"):
        if case.find("skipped") is not None:
            found = REASON.search(case.findtext("system-out") or "")
            reason = " ".join(found.group(1).split()) if found else "no reason given"
            reasons[reason].append(case.get("name"))
    return reasons


def main(path):
    summary = []
    for line in sys.stdin:
        if summary or SUMMARY.match(line):
            summary.append(line)
        elif not QUIET.match(line):
            sys.stdout.write(line)
            sys.stdout.flush()
    try:
        reasons = skipped_by_reason(path)
    except (OSError, ElementTree.ParseError) as error:
        sys.exit(f"report_tests: {path}: {error}")
    for reason, names in sorted(reasons.items(), key=lambda item: -len(item[1])):
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        print(f"skipped {len(names)}: {reason}\n    {', '.join(names[:3])}{more}")
    print("".join(line for line in summary if "(Skipped)" not in line and "did not run" not in line))


main(sys.argv[1])

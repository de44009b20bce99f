#!/usr/bin/env python3
"""Holds the sources to the include direction, and the table below to the tree.

Input: the #include "..." lines of src/ and include/. Output: each line that points the wrong way,
or at no file; exit status 1 if there is one.
"""
import pathlib
import re
import sys

# folder: the folders it may include, itself and what those may include aside. The same edges as
# brisk_module's DEPENDS in CMakeLists.txt. Only engine sees both codegen and device.
DIRECTION = {
    "base": [],
    "graph": ["base"],
    "autograd": ["graph"],
    "schedule": ["graph"],
    "kernel": ["schedule"],
    "optimize": ["kernel"],
    "codegen": ["optimize"],
    "device": ["base"],
    "engine": ["codegen", "device"],
    "tensor": ["autograd", "engine"],
    "formats": ["tensor"],
    "nn": ["formats"],
    "onnx": ["formats"],
    "llm": ["nn"],
    "serve": ["llm"],
    "cli": ["serve", "onnx"],
}
# Above engine no one needs to know how kernels are made and run; these stages stay behind it.
HIDDEN_ABOVE_ENGINE = {"schedule", "kernel", "optimize", "codegen", "device"}
# Public headers that stand alone; the others are the tensor API and what lies above it.
PUBLIC_BASE = {"brisk/dtype.h", "brisk/dim.h", "brisk/error.h", "brisk/version.h"}
ABOVE_ENGINE = {"tensor", "formats", "nn", "onnx", "llm", "serve"}  # cli inspects every stage

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def reachable(folder):
    result = {folder}
    for below in DIRECTION[folder]:
        result |= reachable(below)
    return result - (HIDDEN_ABOVE_ENGINE if folder in ABOVE_ENGINE else set())


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    allowed = {folder: reachable(folder) for folder in DIRECTION}
    problems = []
    for top in ("src", "include"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix not in (".h", ".cpp", ".def"):
                continue
            parts = path.relative_to(root).parts
            folder = parts[1] if top == "src" else "public"
            if top == "src" and folder not in DIRECTION:
                problems.append(f"{path.relative_to(root)}: folder {folder} is not in the table")
                continue
            for number, line in enumerate(path.read_text().splitlines(), 1):
                found = INCLUDE.match(line)
                if not found:
                    continue
                target = found.group(1)
                where = f"{path.relative_to(root)}:{number}"
                to_public = target.startswith("brisk/")
                base = root / ("include" if to_public else "src")
                if not (base / target).is_file():
                    problems.append(f'{where}: "{target}" is no file of src/ or include/')
                elif folder == "public":
                    if not to_public:
                        problems.append(f'{where}: a public header includes "{target}" of src/')
                elif to_public:
                    if "tensor" not in allowed[folder] and target not in PUBLIC_BASE:
                        problems.append(f'{where}: {folder} may not include "{target}"')
                elif target.split("/")[0] not in allowed[folder]:
                    problems.append(f'{where}: {folder} may not include "{target}"')
    print("\n".join(problems) or "includes: every line points the right way")
    return 1 if problems else 0


sys.exit(main())

#!/usr/bin/env bash
# mkdocs 1.6.1: `mkdocs build --strict --quiet` succeeds where `mkdocs build --strict` fails.
#
# Expected: --strict, "Enable strict mode. This will cause MkDocs to abort the build on any warnings",
# whether warnings are printed (--quiet, "Silence warnings") or not.
# Seen: --quiet raises the level of the log, so that the counter of strict mode sees no warning either:
# a page with a broken link builds, with exit status 0.
# ws3: `make docs` builds without --quiet.
#
# Needs Python 3.11 or newer and a package index; takes half a minute. Ends with 0 while that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mkdocs==1.6.1
mkdir "$folder/docs"
echo "site_name: A site" > "$folder/mkdocs.yml"
printf '# A page\n\n[a link](missing.md)\n' > "$folder/docs/index.md"
cd "$folder"
"$folder/venv/bin/mkdocs" --version
strict=0
quiet=0
"$folder/venv/bin/mkdocs" build --strict > log 2>&1 || strict=$?
"$folder/venv/bin/mkdocs" build --strict --quiet > /dev/null 2>&1 || quiet=$?
grep WARNING log
echo "exit status with --strict: $strict; with --strict --quiet: $quiet"
[ "$strict" != 0 ] && [ "$quiet" = 0 ]

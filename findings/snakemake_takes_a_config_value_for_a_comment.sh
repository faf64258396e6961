#!/usr/bin/env bash
# snakemake 9.27.1: `--config colour=#ff0000` ends in a bare AssertionError, before any file is read.
#
# Expected: the text "#ff0000"; --config takes KEY=VALUE pairs, and says that other values than
# numbers and booleans are texts or YAML. A pair that can't be read ("key" without a sign) gets a
# sentence.
# Seen: quotes at the ends of the value are taken off, so that they don't help, and the rest is read as
# a YAML document, in which it is a comment and the document null; cli.py asserts that it is not. The
# traceback names neither the option nor the key. A blank does the same, while nothing at all after the
# sign gives None. What works is a blank before the quotes: --config 'colour= "#ff0000" '.
# ws3: nothing of its code has run when it happens.
#
# Needs Python 3.11 or newer and a package index; takes a minute. Ends with 0 while that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet snakemake==9.27.1
cd "$folder"
printf 'print("colour is", repr(config.get("colour")))\nrule all:\n    input: []\n' > Snakefile
"$folder/venv/bin/snakemake" --version
status=0
"$folder/venv/bin/snakemake" -n --cores 1 --config 'colour=#ff0000' > comment.log 2>&1 || status=$?
"$folder/venv/bin/snakemake" -n --cores 1 --config 'colour= "#ff0000" ' > blank.log 2>&1
quoted=0
"$folder/venv/bin/snakemake" -n --cores 1 --config 'colour="#ff0000"' > quoted.log 2>&1 || quoted=$?
"$folder/venv/bin/snakemake" -n --cores 1 --config colour= > nothing.log 2>&1
grep AssertionError comment.log
grep "colour is" blank.log nothing.log
echo "exit status of colour=#ff0000: $status, and in quotes: $quoted"
[ "$status" != 0 ] && [ "$quoted" != 0 ] && grep -q AssertionError comment.log && ! grep -q colour comment.log

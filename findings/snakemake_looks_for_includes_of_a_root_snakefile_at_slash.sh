#!/usr/bin/env bash
# snakemake 9.27.1: a Snakefile at the root of a remote repository can't include a file of it.
#
# Expected: "include: relative to the directory of the Snakefile in which it occurs"
# (https://snakemake.readthedocs.io/en/stable/snakefiles/modularization.html), so a module whose
# snakefile is git+file:///repository/Snakefile@ref, which has `include: "rules/one.smk"`, finds
# rules/one.smk of that ref, as it does when the Snakefile lies in workflow/.
# Seen: it asks git for /rules/one.smk, and ends: "path '/rules/one.smk' does not exist in 'v1'". Of a
# file at the root, the folder's name is "" (sourcecache.py, LocalGitFile.join), and "" + "/" + name
# begins at "/". HostingProviderFile, which github() and gitlab() make, joins in the same way (read).
# ws3: workflow/Snakefile, where snakedeploy looks, doesn't include ../Snakefile, but workflow/ws3.smk.
#
# Needs git, Python 3.11 or newer and a package index; takes a minute. Ends with 0 while that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet snakemake==9.27.1
"$folder/venv/bin/snakemake" --version
mkdir -p "$folder/repository/rules" "$folder/repository/workflow" "$folder/project"
cd "$folder/repository"
printf 'rule one:\n    output: "one.txt"\n    shell: "touch {output}"\n' > rules/one.smk
printf 'include: "rules/one.smk"\n' > Snakefile
printf 'include: "../rules/one.smk"\n' > workflow/Snakefile
git init --quiet
git add .
git -c user.name=n -c user.email=e@example.org commit --quiet -m all
git tag v1
cd "$folder/project"
planned() {
    printf 'module other:\n    snakefile: "git+file://%s/repository/%s@v1"\nuse rule * from other\n' \
        "$folder" "$1" > Snakefile
    "$folder/venv/bin/snakemake" --dry-run --cores 1 one.txt > "$2.log" 2>&1
}
below=0
planned workflow/Snakefile below || below=$?
root=0
planned Snakefile root || root=$?
grep "does not exist in 'v1'" root.log
echo "exit status with workflow/Snakefile: $below, with Snakefile: $root"
[ "$below" = 0 ] && [ "$root" != 0 ] && grep -q "path '/rules/one.smk' does not exist" root.log

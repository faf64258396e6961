#!/usr/bin/env bash
# snakemake-executor-plugin-sge 0.6.31 with snakemake 9.27.1: a rule with `threads: 4` is submitted with
# one slot, and with the memory of all four in it.
#
# Expected: `-pe smp 4`, and h_vmem, which Grid Engine counts per slot, of 8000 / 4 = 2000 MB.
# Seen: `-pe smp 1` and `h_vmem=8000M`, while the job's command says 4 threads. The plugin reads
# `job.resources["threads"]`, which Snakemake does not set; it is `job.threads`. Nothing warns.
# One of the reasons why ws3's profiles/sge stays with cluster-generic (docs/cluster.md).
#
# qsub and qstat are replaced by scripts: qsub writes down its options and refuses the job.
# Needs Python 3.11 or newer and a package index. Ends with 0 while the behaviour is as described.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet snakemake==9.27.1 snakemake-executor-plugin-sge==0.6.31
mkdir "$folder/bin" "$folder/work"
cat > "$folder/bin/qsub" <<END
#!/bin/sh
echo "\$@" > "$folder/options"
exit 1
END
printf '#!/bin/sh\n' > "$folder/bin/qstat"
chmod +x "$folder/bin/"*
cat > "$folder/work/Snakefile" <<'END'
rule four:
    output: "four.txt"
    threads: 4
    resources: mem_mb=8000, runtime=60
    shell: "echo {threads} > {output}"
END
cd "$folder/work"
PATH="$folder/bin:$folder/venv/bin:$PATH" timeout 120 snakemake --executor sge --jobs 1 \
    --default-resources "sge_pe='smp'" > "$folder/log" 2>&1 || true
"$folder/venv/bin/pip" list 2> /dev/null | grep -E "^snakemake(-executor-plugin-sge)? "
grep -E "echo [0-9]+ > four.txt" "$folder/log"
grep -oE -- "-pe smp [0-9]+|h_vmem=[0-9A-Z]+" "$folder/options"
grep -q "echo 4 > four.txt" "$folder/log"
grep -q -- "-pe smp 1 " "$folder/options"
grep -q "h_vmem=8000M" "$folder/options"
echo "as described: threads: 4 was submitted as one slot of 8000 MB"

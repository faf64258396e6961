#!/usr/bin/env bash
# snakemake-executor-plugin-lsf 0.3.3 with snakemake 9.27.1: a job whose host LSF has lost contact with
# (bjobs says UNKWN, which passes when the host is back) counts as finished successfully.
#
# Expected: UNKWN is waited for, as the job may still run.
# Seen: while the job is still writing, the next rule gets the half-written file, and the workflow ends
# with "2 of 2 steps (100%) done" and exit status 0.
# One of the reasons why ws3's profiles/lsf stays with cluster-generic (docs/cluster.md).
#
# LSF's commands are replaced by scripts that run the job on this machine; bjobs says UNKWN for the only
# job as soon as it has begun. Needs Python 3.11 or newer and a package index; takes a minute or two.
# Ends with 0 while the behaviour is as described.
set -euo pipefail
folder=$(mktemp -d)
job=
trap '[ -z "$job" ] || kill -- "-$job" 2>/dev/null || true; rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet snakemake==9.27.1 snakemake-executor-plugin-lsf==0.3.3
mkdir -p "$folder/bin" "$folder/work" "$folder/conf/lsbatch/c1/configdir"
echo "DEFAULT_QUEUE = normal" > "$folder/conf/lsbatch/c1/configdir/lsb.params"
cat > "$folder/bin/badmin" <<END
#!/bin/sh
echo "MBD configuration"
echo "    LSB_SHAREDIR = $folder/share"
echo "    LSF_CONFDIR = $folder/conf"
END
cat > "$folder/bin/lsclusters" <<'END'
#!/bin/sh
echo "CLUSTER_NAME STATUS MASTER_HOST ADMIN HOSTS SERVERS"
echo "c1 ok master admin 1 1"
END
cat > "$folder/bin/bsub" <<END
#!/bin/bash
setsid sh -c "\${!#}" > "$folder/job.log" 2>&1 < /dev/null &
echo \$! > "$folder/job"
echo "Job <1> is submitted to queue <normal>."
END
printf '#!/bin/sh\necho "1 UNKWN"\n' > "$folder/bin/bjobs"
chmod +x "$folder/bin/"*
cat > "$folder/work/Snakefile" <<'END'
localrules: count

rule count:
    input: "lines.txt"
    output: "count.txt"
    shell: "wc -l < {input} > {output}"

rule lines:
    output: "lines.txt"
    shell: "echo first > {output}; sleep 300; echo second >> {output}"
END
cd "$folder/work"
status=0
PATH="$folder/bin:$folder/venv/bin:$PATH" timeout 200 snakemake --executor lsf --jobs 1 \
    --default-resources "lsf_queue='normal'" "lsf_project='p'" runtime=60 > "$folder/log" 2>&1 ||
    status=$?
job=$(cat "$folder/job")
"$folder/venv/bin/pip" list 2> /dev/null | grep -E "^snakemake(-executor-plugin-lsf)? "
grep -E "steps .* done" "$folder/log"
echo "exit status $status; lines counted: $(cat count.txt)"
[ "$status" = 0 ]
[ "$(cat count.txt)" = 1 ]
kill -0 "$job" # the job itself is still at work
echo "as described: the next rule took one of two lines, the job still running"

#!/usr/bin/env bash
# snakemake 9.27.1 with snakemake-executor-plugin-cluster-generic 1.0.9 (snakemake-interface-executor-
# plugins 9.4.0): Ctrl-C while Snakemake asks the cluster for the state of its jobs cancels none of them.
#
# Expected: "--cluster-generic-cancel-cmd: Specify a command that allows to stop currently running jobs"
# stops them, whenever Ctrl-C is pressed.
# Seen: the interface takes the jobs off its list of active jobs while it asks for their states, and puts
# them back afterwards. Ctrl-C in between finds the list empty: the cancel command is not run, Snakemake
# ends, and the jobs run on. With hundreds of jobs and few questions a second that is most of the time.
# ws3: docs/cluster.md says what to do; the tests of the profiles interrupt between two questions.
#
# A scheduler is played by three commands of the shell: the job sleeps, asking takes 6 seconds. Needs
# Python 3.11 or newer and a package index; takes a minute or two. Ends with 0 while that is so.
set -euo pipefail
folder=$(mktemp -d)
trap '[ ! -e "$folder/job" ] || kill -- "-$(cat "$folder/job")" 2>/dev/null || true; rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet snakemake==9.27.1 snakemake-executor-plugin-cluster-generic==1.0.9 \
    snakemake-interface-executor-plugins==9.4.0
cat > "$folder/submit" <<END
#!/bin/bash
setsid sleep 300 > /dev/null 2>&1 < /dev/null &
echo \$! > "$folder/job"
echo 1
END
cat > "$folder/ask" <<END
#!/bin/sh
touch "$folder/asked"
sleep 6
echo running
END
printf '#!/bin/sh\ntouch "%s/cancelled"\n' "$folder" > "$folder/cancel"
chmod +x "$folder/submit" "$folder/ask" "$folder/cancel"
printf 'rule one:\n    output: "out.txt"\n    shell: "sleep 300; touch {output}"\n' > "$folder/Snakefile"

# interrupt WHEN: run the workflow, press Ctrl-C while it asks or while it doesn't; say what was cancelled.
interrupt() {
    rm -rf "$folder/asked" "$folder/cancelled" "$folder/.snakemake"
    "$folder/venv/bin/python" - "$folder" "$1" <<'END'
import os, pathlib, signal, subprocess, sys, time
folder, when = pathlib.Path(sys.argv[1]), sys.argv[2]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
line = [folder / "venv/bin/snakemake", "--executor", "cluster-generic", "--jobs", "1",
        "--cluster-generic-submit-cmd", folder / "submit", "--cluster-generic-status-cmd", folder / "ask",
        "--cluster-generic-cancel-cmd", folder / "cancel", "--seconds-between-status-checks", "30"]
log = (folder / "log").open("w")
process = subprocess.Popen(line, cwd=folder, stdout=log, stderr=log)
while not (folder / "asked").exists():
    assert process.poll() is None, (folder / "log").read_text()
    time.sleep(0.1)
time.sleep(2 if when == "asking" else 12)
process.send_signal(signal.SIGINT)
process.wait(timeout=120)
END
    echo "Ctrl-C while $1: the cancel command $([ -e "$folder/cancelled" ] && echo was || echo was not) run"
}
"$folder/venv/bin/pip" list 2> /dev/null | grep -E "^snakemake(-executor-plugin-cluster-generic|-interface-executor-plugins)? "
interrupt asking | tee "$folder/first"
kill -0 -- "-$(cat "$folder/job")" && echo "the job runs on"
kill -- "-$(cat "$folder/job")"
interrupt waiting | tee "$folder/second"
grep -q "was not run" "$folder/first"
grep -q "was run" "$folder/second"

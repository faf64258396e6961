#!/usr/bin/env bash
# snakemake 9.27.1: a plugin that is installed with `pip install -e` may not exist for Snakemake.
#
# Expected: what can be imported by its name is found; `import snakemake_logger_plugin_mine` works.
# Seen: Snakemake's plugin registry looks for folders of that name prefix with pkgutil.iter_modules,
# along sys.path. An editable install of setuptools puts no folder there but an import hook, unless the
# project's packages all lie in one folder that it can name in a .pth file: then, and in an ordinary
# installation, the plugin is there. So a project with the plugin beside other packages in its root
# (found by `packages.find` with `include`) works for its users and not for its developers:
# "invalid choice: 'mine'". With `package-dir = {"" = "."}` setuptools writes the .pth file.
# ws3: pyproject.toml has that line, and a test starts Snakemake with `--logger ws3`.
#
# Needs Python 3.11 or newer and a package index; takes a minute. Ends with 0 while that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
bin=$folder/venv/bin
"$bin/pip" install --quiet snakemake==9.27.1 setuptools==82.0.1
mkdir -p "$folder/project/snakemake_logger_plugin_mine" "$folder/project/mine"
cd "$folder/project"
touch mine/__init__.py
cat > snakemake_logger_plugin_mine/__init__.py <<'PY'
from snakemake_interface_logger_plugins.base import LogHandlerBase


class LogHandler(LogHandlerBase):
    def emit(self, record):
        pass

    writes_to_stream = True
    writes_to_file = has_filter = has_formatter = needs_rulegraph = False
PY
printf 'rule all:\n    input: []\n' > Snakefile
project() {
    printf '[build-system]\nrequires = ["setuptools==82.0.1"]\nbuild-backend = "setuptools.build_meta"\n'
    printf '[project]\nname = "mine"\nversion = "1"\n[tool.setuptools]\n%s\n' "$1"
    printf '[tool.setuptools.packages.find]\ninclude = ["mine*", "snakemake_logger_plugin_mine*"]\n'
}
started() { "$bin/snakemake" -n --cores 1 --logger mine > "$1.log" 2>&1; }
cd "$folder/project"
project '' > pyproject.toml
"$bin/pip" install --quiet --no-build-isolation -e .
"$bin/python" -P -c 'import snakemake_logger_plugin_mine; print("it can be imported")'
hook=0
started hook || hook=$?
"$bin/pip" uninstall --quiet --yes mine
project 'package-dir = {"" = "."}' > pyproject.toml
rm -rf build ./*.egg-info
"$bin/pip" install --quiet --no-build-isolation -e .
path=0
started path || path=$?
grep "invalid choice" hook.log
echo "exit status with the import hook: $hook, with a .pth file: $path"
[ "$hook" != 0 ] && grep -q "invalid choice: 'mine'" hook.log && [ "$path" = 0 ]

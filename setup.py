"""What pyproject.toml can't say: a wheel holds the workflow, too.

The Snakefile, the rules and what they name lie where Snakemake's users look for them, beside the
package. A wheel has a copy of them inside it, where `ws3.workflow.shipped` finds them.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SHIPPED = (
    "Snakefile",
    "workflow/Snakefile",
    "workflow/*.smk",
    "workflow/report/*.rst",
    "rules/*.smk",
    "config/*.yaml",
    "envs/ws3.yaml",
    "profiles/**/*",
)


class BuildWithWorkflow(build_py):
    """Builds the package, and copies the workflow into it."""

    def run(self):
        """Build; an editable install finds the workflow where it lies."""
        super().run()
        if not self.editable_mode:
            for source, target in self._copies():
                self.mkpath(str(target.parent))
                self.copy_file(str(source), str(target))

    def get_outputs(self, include_bytecode=1):
        """Return all files that are built."""
        copies = [] if self.editable_mode else self._copies()
        return [*super().get_outputs(include_bytecode), *(str(target) for _, target in copies)]

    def _copies(self):
        built = Path(self.build_lib, "ws3", "workflow", "files")
        found = {path for pattern in SHIPPED for path in ROOT.glob(pattern) if path.is_file()}
        return [(path, built / path.relative_to(ROOT)) for path in sorted(found)]


setup(cmdclass={"build_py": BuildWithWorkflow})

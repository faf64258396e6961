# The whole workflow but for its target, for the two files that begin it: ../Snakefile and Snakefile here.
# What the rules ask is in ws3/workflow/rules.py.


from snakemake.utils import min_version

min_version("9.13")


# The first page of `snakemake --report`.
report: "report/workflow.rst"


# A configuration of one's own replaces the demo's: merged, the two would contradict each other.
if "dataset" not in config:

    configfile: workflow.source_path("../config/config.yaml")


include: "../rules/common.smk"
include: "../rules/index.smk"
include: "../rules/train_classifier.smk"
include: "../rules/saliency.smk"
include: "../rules/maps.smk"
include: "../rules/regions.smk"
include: "../rules/masks.smk"
include: "../rules/segmentation.smk"
include: "../rules/evaluate.smk"
include: "../rules/report.smk"


if RULES.seeds_folder is not None:

    include: "../rules/compare.smk"

# ws3: images with image-level labels -> pseudo-masks, a segmentation network, its scores, a report.
# A bare `snakemake` runs the built-in demo; `--configfile config/folder.yaml` and the like run
# your own data. What the rules ask is in ws3/workflow/rules.py.


from snakemake.utils import min_version

min_version("9.13")


# The first page of `snakemake --report`.
report: "workflow/report/workflow.rst"


# A configuration of one's own replaces the demo's: merged, the two would contradict each other.
if "dataset" not in config:

    configfile: workflow.source_path("config/config.yaml")


include: "rules/common.smk"
include: "rules/index.smk"
include: "rules/train_classifier.smk"
include: "rules/saliency.smk"
include: "rules/maps.smk"
include: "rules/regions.smk"
include: "rules/masks.smk"
include: "rules/segmentation.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


if RULES.seeds_folder is not None:

    include: "rules/compare.smk"


rule all:
    default_target: True
    input:
        RULES.targets(),

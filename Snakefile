# ws3: images with image-level labels -> pseudo-masks, a segmentation network, its scores, a report.
# A bare `snakemake` runs the built-in demo; `--configfile config/folder.yaml` and the like run
# your own data.


include: "workflow/ws3.smk"


rule all:
    default_target: True
    input:
        RULES.targets(),

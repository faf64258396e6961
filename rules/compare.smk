# the figures of several seeds -> results/<run>_seeds/comparison.csv and the like


rule compare:
    input:
        RULES.compared,
    output:
        report(
            f"{RULES.seeds_folder}/comparison.csv",
            caption="../workflow/report/comparison.rst",
            category="Seeds",
            labels={"file": "means over seeds"},
        ),
        report(
            f"{RULES.seeds_folder}/recalls.svg",
            caption="../workflow/report/comparison.rst",
            category="Seeds",
            labels={"file": "recall of DR and NDR"},
        ),
        RULES.comparison[1:],
    log:
        f"{RULES.seeds_folder}/compare.log",
    benchmark:
        f"{RULES.seeds_folder}/compare.tsv"
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=RULES.mem_mb("compare"),
        runtime=RULES.runtime("compare"),
    shell:
        RULES.compare_shell

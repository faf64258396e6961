# the figures of several seeds -> results/<run>_seeds/comparison.csv and the like


rule compare:
    input:
        RULES.compared,
    output:
        RULES.comparison,
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

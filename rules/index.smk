# images + labels -> results/<run>/index.csv, classes.txt


rule index:
    output:
        RULES.receipt("index"),
    log:
        RULES.log("index"),
    benchmark:
        RULES.benchmark("index")
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=RULES.mem_mb("index"),
        runtime=RULES.runtime("index"),
    params:
        settings=RULES.index_params,
    shell:
        RULES.shell("ws3 index {run}")

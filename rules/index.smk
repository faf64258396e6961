# images + labels -> results/<run>/index.csv, classes.txt


rule index:
    input:
        RULES.index_input,
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
        settings=RULES.of_run(lambda plan: plan.index_params),
    shell:
        RULES.index_shell

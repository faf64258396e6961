# images + labels -> results/<run>/config.yaml, index.csv, classes.txt


localrules:
    config,


rule config:
    output:
        f"{RUN}/config.yaml",
    log:
        f"{RUN}/logs/config.log",
    conda:
        "../envs/ws3.yaml"
    params:
        text=PLAN.config_text,
    message:
        "Write the resolved configuration"
    shell:
        "printf '%s' {params.text:q} > {output} 2> {log}"


rule index:
    input:
        config=ancient(f"{RUN}/config.yaml"),
    output:
        f"{RUN}/receipts/index.json",
    log:
        f"{RUN}/logs/index.log",
    benchmark:
        f"{RUN}/benchmarks/index.tsv"
    conda:
        "../envs/ws3.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        run=run_folder,
        index=as_text(PLAN.index_params),
    message:
        "Index the images"
    shell:
        "ws3 index {params.run} > {log} 2>&1"

# images + labels -> results/<run>/index.csv, classes.txt


rule index:
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
        runtime=minutes(60),
    params:
        run=lambda wildcards, output: os.path.dirname(os.path.dirname(output[0])),
        index=as_text(PLAN.index_params),
    shell:
        "ws3 index {params.run:q} > {log} 2>&1"

# everything -> results/<run>/report/index.html


rule report:
    input:
        index=f"{RUN}/receipts/index.json",
        summary=f"{RUN}/evaluation/summary.csv",
        evaluations=PLAN.evaluations(),
    output:
        f"{RUN}/report/index.html",
    log:
        f"{RUN}/logs/report.log",
    benchmark:
        f"{RUN}/benchmarks/report.tsv"
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=minutes(30),
    params:
        run=run_folder,
    shell:
        "ws3 report {params.run:q} > {log} 2>&1"

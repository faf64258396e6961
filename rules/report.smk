# everything -> results/<run>/report/index.html


rule report:
    input:
        index=RULES.receipt("index"),
        summary=RULES.run.summary_file,
        evaluations=RULES.of_run(Plan.evaluations),
    output:
        RULES.run.report_file,
    log:
        RULES.log("report"),
    benchmark:
        RULES.benchmark("report")
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=RULES.mem_mb("report"),
        runtime=RULES.runtime("report"),
    shell:
        RULES.shell("ws3 report {run}")

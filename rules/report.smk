# everything -> results/<run>/report/index.html, report.html, figures/


rule report:
    input:
        index=RULES.receipt("index"),
        summary=RULES.run.summary_file,
        evaluations=RULES.of_run(Plan.evaluations),
    output:
        page=RULES.run.report_file,
        single=report(
            RULES.run.single_page_file,
            caption="../workflow/report/page.rst",
            category="Report",
            labels=RULES.labels(page="all of the run"),
        ),
        charts=report(
            directory(RULES.run.charts),
            patterns=["{chart}.light.svg"],
            caption="../workflow/report/chart.rst",
            category="Charts",
            labels=RULES.chart_labels,
        ),
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

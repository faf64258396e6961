# maps + images -> results/<run>/thresholds/<recipe>.json, masks/<recipe>/<image>.png


rule threshold:
    input:
        index=RULES.receipt("index"),
        maps=RULES.of_recipe(Plan.threshold_input),
    output:
        RULES.run.threshold_file("{recipe}"),
    log:
        RULES.log("threshold", "{recipe}"),
    benchmark:
        RULES.benchmark("threshold", "{recipe}")
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=RULES.mem_mb("threshold"),
        runtime=RULES.runtime("threshold"),
    params:
        settings=RULES.of_run(lambda plan: plan.threshold_params),
    shell:
        RULES.shell("ws3 threshold {run} --recipe {wildcards.recipe:q}")


rule masks:
    input:
        maps=RULES.batch_input("masks", "maps"),
        regions=RULES.batch_input("masks", "regions"),
        threshold=RULES.run.threshold_file("{recipe}"),
    output:
        RULES.receipt("masks", "{recipe}", "{batch}"),
    log:
        RULES.log("masks", "{recipe}", "{batch}"),
    benchmark:
        RULES.benchmark("masks", "{recipe}", "{batch}")
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=RULES.mem_mb("masks"),
        runtime=RULES.runtime("masks"),
        tmpdir=None,
    params:
        batch=RULES.batch_params("masks"),
        settings=RULES.stage_params("masks"),
    shell:
        RULES.shell(
            "ws3 masks {run} --recipe {wildcards.recipe:q} --batch {wildcards.batch:q}"
        )

# classifier + images -> results/<run>/saliency/<recipe>.zarr


rule saliency:
    input:
        classifier=RULES.receipt("train_classifier"),
    output:
        RULES.receipt("saliency", "{recipe}", "{batch}"),
    log:
        RULES.log("saliency", "{recipe}", "{batch}"),
    benchmark:
        RULES.benchmark("saliency", "{recipe}", "{batch}")
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=RULES.mem_mb("saliency"),
        runtime=RULES.runtime("saliency"),
        gpu=RULES.gpu("saliency"),
        tmpdir=None,
    params:
        batch=RULES.batch_params("saliency"),
        settings=RULES.stage_params("saliency"),
    shell:
        RULES.shell(
            "ws3 saliency {run} --recipe {wildcards.recipe:q} --batch {wildcards.batch:q}"
        )

# masks/<recipe>, or ground truth -> results/<run>/segmentation/<recipe>/model.pt
# network + images -> results/<run>/predictions/<recipe>/<image>.png


rule train_segmentation:
    input:
        index=RULES.receipt("index"),
        masks=RULES.of_recipe(Plan.train_segmentation_input),
    output:
        RULES.receipt("train_segmentation", "{recipe}"),
    log:
        RULES.log("train_segmentation", "{recipe}"),
    benchmark:
        RULES.benchmark("train_segmentation", "{recipe}")
    conda:
        "../envs/ws3.yaml"
    threads: RULES.config.threads
    resources:
        mem_mb=RULES.mem_mb("train_segmentation"),
        runtime=RULES.runtime("train_segmentation"),
        gpu=RULES.gpu("train_segmentation"),
    params:
        settings=RULES.of_recipe(Plan.train_segmentation_params),
    shell:
        RULES.shell("ws3 train-segmentation {run} --recipe {wildcards.recipe:q}")


rule predictions:
    input:
        network=RULES.receipt("train_segmentation", "{recipe}"),
    output:
        RULES.receipt("predictions", "{recipe}", "{batch}"),
    log:
        RULES.log("predictions", "{recipe}", "{batch}"),
    benchmark:
        RULES.benchmark("predictions", "{recipe}", "{batch}")
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=RULES.mem_mb("predictions"),
        runtime=RULES.runtime("predictions"),
        gpu=RULES.gpu("predictions"),
        tmpdir=None,
    params:
        batch=RULES.batch_params("predictions"),
        settings=RULES.stage_params("predictions"),
    shell:
        RULES.shell(
            "ws3 predictions {run} --recipe {wildcards.recipe:q} --batch {wildcards.batch:q}"
        )

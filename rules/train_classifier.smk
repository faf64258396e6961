# index -> results/<run>/classifier.pt


rule train_classifier:
    input:
        index=RULES.receipt("index"),
    output:
        RULES.receipt("train_classifier"),
    log:
        RULES.log("train_classifier"),
    benchmark:
        RULES.benchmark("train_classifier")
    conda:
        "../envs/ws3.yaml"
    threads: RULES.config.threads
    resources:
        mem_mb=RULES.mem_mb("train_classifier"),
        runtime=RULES.runtime("train_classifier"),
        gpu=RULES.gpu("train_classifier"),
    params:
        settings=RULES.of_run(lambda plan: plan.train_classifier_params),
    shell:
        RULES.shell("ws3 train-classifier {run}")

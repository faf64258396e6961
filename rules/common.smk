# The resolved configuration, the batches, and the functions that the rules use.
#
# A batch job does not declare its images: its identity is the parameter `ids`, the digest of the
# batch's index rows. What Snakemake tracks is the batch's receipt; the results themselves lie in
# the stores, where a failed job's finished images stay.

import os
from functools import cache

from ws3.errors import Ws3Error
from ws3.jobs.dag import Plan, as_text
from snakemake.exceptions import WorkflowError

try:
    PLAN = Plan(config, look=workflow.is_main_process)
    PLAN.listing
except Ws3Error as error:
    raise WorkflowError(str(error)) from None

RUN = PLAN.folder


# Not jobs: a job's inputs would make all others run again whenever these files change.
onstart:
    if workflow.is_main_process:
        from ws3.stages.index import refresh

        refresh(PLAN.run, PLAN.listing)


wildcard_constraints:
    recipe="[^/]+",
    batch="[^/]+",


def run_folder(wildcards, input):
    return os.path.dirname(os.path.dirname(input.index))


def identity(stage):
    return lambda wildcards: PLAN.identity(stage, wildcards.batch)


def upstream(stage, source):
    return lambda wildcards: PLAN.upstream(
        stage, wildcards.recipe, wildcards.batch, source
    )


def of_recipe(method):
    return lambda wildcards: method(wildcards.recipe)


def recipe_params(method):
    text = cache(lambda recipe: as_text(method(recipe)))
    return lambda wildcards: text(wildcards.recipe)


def growing(amount):
    # A job that ran out of memory or time gets more of it at the next attempt.
    return lambda wildcards, attempt: amount * attempt

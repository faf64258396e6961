# What the rules ask is answered in ws3/workflow/rules.py.

from ws3.workflow.rules import Plan, Rules

RULES = Rules(config, workflow)


onstart:
    RULES.refresh_index()


# Of a module, Snakemake calls no onstart.
RULES.refresh_index_of_module()


wildcard_constraints:
    recipe="[^/]+",
    batch="[^/]+",
    run=RULES.run_names,

"""From score maps to pseudo-masks: background score, dense CRF, palette PNG."""

"""Experiments: whether a cleaning or a recipe makes better models, on pairs that they have not
learnt from."""

"""Results as `bmc evaluate` leaves them in a run's folder, with made-up numbers."""


def measured(step, domains, **heading):
    """Content of `metrics.json`; `domains` has what is not made up of each."""
    made_up = {"split": "test", "count": 8, "count_3d": 8, "mean_pose": {}, "reduction_percent": {}}
    return {
        "experiment": "tiny",
        "step": step,
        "limits": "clinical",
        "environment": {"hardware": "a chip", "commit": "abc"},
        "passes": 1,
        "turns": 1,
        "domains": {name: made_up | domain for name, domain in domains.items()},
    } | heading


def official(protocol="freihand", **values):
    """Figures by the protocol of a dataset."""
    figures = {name: {"value": value, "unit": "mm", "interval": None} for name, value in values.items()}
    return {"official": {"protocol": protocol, "metres": "each hand's true scale", "figures": figures}}

"""A configuration file for `bmc train`: five steps of the tiniest network on made images, none of which is rendered.
`small_run.py:slow` takes a second for each, so that it can be interrupted."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bmc_jax.data import sources
from bmc_jax.training.log import Log
from support import examples


def rendered(options, domain, split, count, number=0, *, stored=None):
    return examples.examples(count, source=number, seed=options.seed)


def get_config(pace="fast"):
    sources.rendered = rendered
    if pace == "slow":
        write = Log.write

        def slowly(self, *arguments):
            write(self, *arguments)
            time.sleep(1.0)

        Log.write = slowly
    return examples.tiny_config(epochs=1.25)

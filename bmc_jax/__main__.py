"""`python -m bmc_jax` is `bmc`."""

import sys

from bmc_jax.cli import main

sys.exit(main())

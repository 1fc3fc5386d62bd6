"""`python -m bmc_jax.cli`, where the command `bmc` is not on the path."""

import sys

from bmc_jax.cli import main

sys.exit(main())

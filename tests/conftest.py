"""Four fake CPU devices, no silent broadcasting of ranks, and the hands that many tests start from."""

import jax

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")

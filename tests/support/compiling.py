"""Programs compiled as users compile them, in processes whose settings make compilation quick."""

#: `compiler_options` of `jax.jit` that undo `JAX_DISABLE_MOST_OPTIMIZATIONS`, which `conftest` sets.
AS_USERS_COMPILE = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}

"""Quick compilation in the processes of tests, and programs compiled as users compile them."""

from importlib import metadata

#: XLA's older emitter of kernels compiles in half the time. Newer versions of JAX refuse the option.
HAS_OLDER_EMITTER = metadata.version("jaxlib").startswith("0.10.")

#: Variables, set before the import of JAX, that leave out most of XLA's optimizations.
QUICK = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
if HAS_OLDER_EMITTER:
    QUICK["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"

#: `compiler_options` of `jax.jit` that undo `QUICK`.
AS_USERS_COMPILE = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
if HAS_OLDER_EMITTER:
    AS_USERS_COMPILE["xla_cpu_use_fusion_emitters"] = True

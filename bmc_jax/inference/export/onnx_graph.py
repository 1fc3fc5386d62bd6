"""Translation of a JAX function to an ONNX model with a free number of rows (size of the first axis).

The function is traced, and each primitive is translated to one or a few ONNX operators; primitives of constants are
evaluated. If a function has one branch for CPUs and one for other platforms, the latter is used, because it has
convolutions and pooling as single primitives. Only the primitives of this package's networks are supported.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from bmc_jax import __version__

OPSET = 17
"""Version of ONNX's operator set, of 2021: all current runtimes support it."""
IR_VERSION = 8
ROWS = "b"
"""Name of the free axis."""

_SAME = {
    **{"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Max", "min": "Min", "neg": "Neg", "exp": "Exp"},
    **{"sqrt": "Sqrt", "abs": "Abs", "pow": "Pow", "lt": "Less", "le": "LessOrEqual", "gt": "Greater"},
    **{"ge": "GreaterOrEqual", "eq": "Equal", "and": "And", "or": "Or", "not": "Not", "stop_gradient": "Identity"},
    **{"copy": "Identity", "tanh": "Tanh"},
}
"""Primitives that are one element-wise operator."""


class Symbol(NamedTuple):
    """A value that is computed when the model runs."""

    name: str
    shape: tuple[Any, ...]
    """Shape of the tensor, which is broadcast to the shape of JAX's value, with `ROWS` for the free size."""


Value = np.ndarray | Symbol


def translate(
    function: Callable[[dict[str, Any]], dict[str, Any]], inputs: dict[str, tuple[tuple[int, ...], Any]]
) -> Any:
    """Returns the ONNX model, an `onnx.ModelProto`, of a function from named arrays to named arrays.

    Args:
      function: a function that JAX traces. Arrays that it closes over become the model's weights.
      inputs: shape of a row and dtype of each input.

    Raises:
      ValueError: if the function has an unsupported primitive. The message names it.
    """
    import onnx

    (rows,) = jax.export.symbolic_shape(ROWS)
    given = {name: jax.ShapeDtypeStruct((rows, *shape), dtype) for name, (shape, dtype) in inputs.items()}
    closed, answer = jax.make_jaxpr(function, return_shape=True)(given)
    graph = _Graph(onnx, next(iter(given)))
    names = sorted(given)  # the order of JAX for the entries of a dict
    found = graph.run(closed.jaxpr, closed.consts, [Symbol(name, _sizes(given[name].shape)) for name in names])
    outputs = []
    for name, value in zip(sorted(answer), found, strict=True):
        graph.nodes.append(onnx.helper.make_node("Identity", [graph.full(value, answer[name].shape)], [name]))
        outputs.append(_tensor(onnx, name, answer[name]))
    used = {name for node in graph.nodes for name in node.input}
    weights = [weight for weight in graph.weights if weight.name in used]
    rows = [_tensor(onnx, *item) for item in given.items()]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, "hand", rows, outputs, weights),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="bmc-jax",
        producer_version=__version__,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _tensor(onnx: Any, name: str, about: Any) -> Any:
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(about.dtype))
    return onnx.helper.make_tensor_value_info(name, kind, _sizes(about.shape))


def _sizes(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns a shape with `ROWS` for the free size."""
    if any(not isinstance(size, int) and str(size) != ROWS for size in shape):
        raise ValueError(f"expected sizes that are numbers or {ROWS}, got {shape}; omit --onnx for this network")
    return tuple(size if isinstance(size, int) else ROWS for size in shape)


class _Graph:
    """Nodes and weights of a model under construction."""

    def __init__(self, onnx: Any, rows_of: str) -> None:
        self._onnx, self._rows_of = onnx, rows_of
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._names: dict[Any, str] = {}

    def run(self, jaxpr: Any, constants: Any, arguments: list[Value]) -> list[Value]:
        """Adds the equations of a traced function and returns its results."""
        known: dict[Any, Value] = dict(zip(jaxpr.constvars, map(np.asarray, constants), strict=True))
        known |= dict(zip(jaxpr.invars, arguments, strict=True))

        def read(atom: Any) -> Value:
            return np.asarray(atom.val, atom.aval.dtype) if hasattr(atom, "val") else known[atom]

        for equation in jaxpr.eqns:
            results = self._equation(equation, [read(atom) for atom in equation.invars])
            known |= dict(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, equation: Any, values: list[Value]) -> list[Value]:
        name, params = equation.primitive.name, equation.params
        inner = params.get("jaxpr", params.get("call_jaxpr"))
        if name == "platform_index":
            return [np.int32(0)]  # pyright: ignore[reportReturnType]
        if name == "cond" and params.get("branches_platforms"):
            inner, values = params["branches"][params["branches_platforms"].index(None)], values[1:]
        if inner is not None:
            return self.run(inner.jaxpr, inner.consts, values)
        (out,) = equation.outvars
        fixed = all(isinstance(size, int) for size in out.aval.shape)
        if fixed and name != "dim_as_value" and not any(isinstance(value, Symbol) for value in values):
            with jax.default_device(jax.local_devices(backend="cpu")[0]):
                return [np.asarray(equation.primitive.bind(*values, **params))]
        if name in _SAME:
            return [self._elementwise(_SAME[name], *values)]
        translated = getattr(self, f"_{name.replace('-', '_')}", None)
        if translated is None:
            raise ValueError(f"expected primitives that ONNX export supports, got {name}; omit --onnx for this network")
        return [translated(values, [atom.aval.shape for atom in equation.invars], out.aval, **params)]

    # Building blocks.

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node and returns the name of its result; equal nodes are added once."""
        key = (operator, inputs, tuple(sorted((name, str(value)) for name, value in attributes.items())))
        if key not in self._names:
            self._names[key] = f"t{len(self._names)}"
            self.nodes.append(self._onnx.helper.make_node(operator, inputs, [self._names[key]], **attributes))
        return self._names[key]

    def name(self, value: Value) -> str:
        """Returns the name of a value; equal constants are stored once."""
        if isinstance(value, Symbol):
            return value.name
        value = np.asarray(value)
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._names:
            self._names[key] = f"t{len(self._names)}"
            self.weights.append(self._onnx.numpy_helper.from_array(value, self._names[key]))
        return self._names[key]

    def _integers(self, *values: Any) -> str:
        return self.name(np.array(values, np.int64))

    def full(self, value: Value, shape: tuple[Any, ...]) -> str:
        """Returns the name of a value broadcast to a shape."""
        sizes = _sizes(shape)
        if tuple(value.shape) == sizes:
            return self.name(value)
        if ROWS not in sizes:
            return self.node("Expand", self.name(value), self._integers(*sizes))
        at = sizes.index(ROWS)
        rows = self.node("Shape", self._rows_of, start=0, end=1)
        parts = [self._integers(*sizes[:at])] * bool(at) + [rows]
        parts += [self._integers(*sizes[at + 1 :])] * (at + 1 < len(sizes))
        return self.node("Expand", self.name(value), self.node("Concat", *parts, axis=0))

    def _resized(self, name: str, sizes: tuple[Any, ...]) -> Symbol:
        """Returns a reshaped tensor."""
        return Symbol(self.node("Reshape", name, self._integers(*(-1 if s == ROWS else s for s in sizes))), sizes)

    def _elementwise(self, operator: str, *values: Value, **attributes: Any) -> Symbol:
        rank = max(len(value.shape) for value in values)
        aligned = [(1,) * (rank - len(value.shape)) + tuple(value.shape) for value in values]
        shape = tuple(next((size for size in sizes if size != 1), 1) for sizes in zip(*aligned, strict=True))
        return Symbol(self.node(operator, *map(self.name, values), **attributes), shape)

    # Other primitives, by their names. The arguments are the values, their shapes in JAX, the shape and dtype of the
    # result, and the parameters of the primitive.

    def _rsqrt(self, values: list[Value], *_: Any, **__: Any) -> Symbol:
        return self._elementwise("Reciprocal", self._elementwise("Sqrt", *values))

    def _ne(self, values: list[Value], *_: Any, **__: Any) -> Symbol:
        return self._elementwise("Not", self._elementwise("Equal", *values))

    def _square(self, values: list[Value], *_: Any, **__: Any) -> Symbol:
        return self._elementwise("Mul", values[0], values[0])

    def _integer_pow(self, values: list[Value], shapes: Any, out: Any, *, y: int) -> Symbol:
        return self._elementwise("Pow", values[0], np.array(y, out.dtype))

    def _select_n(self, values: list[Value], *_: Any, **__: Any) -> Symbol:
        which, no, yes = values
        return self._elementwise("Where", which, yes, no)

    def _convert_element_type(self, values: list[Value], shapes: Any, out: Any, **_: Any) -> Symbol:
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(out.dtype))
        return self._elementwise("Cast", values[0], to=kind)

    def _broadcast_in_dim(
        self, values: list[Value], shapes: Any, out: Any, *, broadcast_dimensions: Any, **_: Any
    ) -> Value:
        (value,) = values
        sizes: list[Any] = [1] * len(out.shape)
        for axis, size in zip(broadcast_dimensions, value.shape, strict=True):
            sizes[axis] = size
        if isinstance(value, np.ndarray):
            return value.reshape(sizes)
        return value if tuple(sizes) == value.shape else self._resized(value.name, tuple(sizes))

    def _reshape(self, values: list[Value], shapes: Any, out: Any, **_: Any) -> Symbol:
        return self._resized(self.full(values[0], shapes[0]), _sizes(out.shape))

    _squeeze = _expand_dims = _reshape

    def _transpose(self, values: list[Value], shapes: Any, out: Any, *, permutation: Any) -> Symbol:
        name = self.full(values[0], shapes[0])
        return Symbol(self.node("Transpose", name, perm=list(map(int, permutation))), _sizes(out.shape))

    def _concatenate(self, values: list[Value], shapes: Any, out: Any, *, dimension: int) -> Symbol:
        names = [self.full(value, shape) for value, shape in zip(values, shapes, strict=True)]
        return Symbol(self.node("Concat", *names, axis=dimension), _sizes(out.shape))

    def _stack(self, values: list[Value], shapes: Any, out: Any, *, axis: int) -> Symbol:
        sizes = [(*shape[:axis], 1, *shape[axis:]) for shape in map(_sizes, shapes)]
        parts = zip(values, shapes, sizes, strict=True)
        names = [self._resized(self.full(value, shape), size).name for value, shape, size in parts]
        return Symbol(self.node("Concat", *names, axis=axis), _sizes(out.shape))

    def _reduce_sum(self, values: list[Value], shapes: Any, out: Any, *, axes: Any, **_: Any) -> Symbol:
        name = self.full(values[0], shapes[0])
        return Symbol(self.node("ReduceSum", name, self._integers(*axes), keepdims=0), _sizes(out.shape))

    def _reduce_max(self, values: list[Value], shapes: Any, out: Any, *, axes: Any, **_: Any) -> Symbol:
        name = self.full(values[0], shapes[0])
        return Symbol(self.node("ReduceMax", name, axes=list(map(int, axes)), keepdims=0), _sizes(out.shape))

    def _gather(self, values: list[Value], shapes: Any, out: Any, **params: Any) -> Symbol:
        """Translates a gather with fixed indices: along one axis to ONNX's `Gather`, else to one of flattened rows."""
        value, indices = values
        if not isinstance(indices, np.ndarray):
            raise ValueError("expected fixed indices, got computed indices; omit --onnx for this network")
        name, sizes, about = self.full(value, shapes[0]), _sizes(out.shape), params["dimension_numbers"]
        whole = [axis for axis, size in enumerate(params["slice_sizes"]) if size == shapes[0][axis]]
        (axis, *others) = about.start_index_map
        kept = [axis for axis in range(len(sizes)) if axis not in about.offset_dims]
        inside = ((indices >= 0) & (indices < shapes[0][axis])).all() if isinstance(shapes[0][axis], int) else False
        alone = not others and about.collapsed_slice_dims == (axis,) and len(whole) >= len(shapes[0]) - 1
        if alone and inside and kept == list(range(axis, axis + indices.ndim - 1)):
            return Symbol(self.node("Gather", name, self.name(indices[..., 0].astype(np.int64)), axis=axis), sizes)
        numbers = np.arange(math.prod(shapes[0][1:]), dtype=np.int32).reshape(1, *shapes[0][1:])
        params["slice_sizes"] = (1, *params["slice_sizes"][1:])
        return self._taken(name, np.asarray(jax.lax.gather_p.bind(numbers, indices, **params)), sizes)

    def _slice(self, values: list[Value], shapes: Any, out: Any, **params: Any) -> Symbol:
        numbers = np.arange(math.prod(shapes[0][1:]), dtype=np.int32).reshape(1, *shapes[0][1:])
        params["limit_indices"] = (1, *params["limit_indices"][1:])
        taken = np.asarray(jax.lax.slice_p.bind(numbers, **params))
        return self._taken(self.full(values[0], shapes[0]), taken, _sizes(out.shape))

    def _scatter_add(self, values: list[Value], shapes: Any, out: Any, **params: Any) -> Symbol:
        """Adds numbers at fixed, distinct indices."""
        value, indices, added = values
        if not isinstance(indices, np.ndarray):
            raise ValueError("expected fixed indices, got computed indices; omit --onnx for this network")
        numbers = np.arange(1.0, 1 + math.prod(shapes[2][1:]), dtype=np.float32).reshape(1, *shapes[2][1:])
        empty = np.zeros((1, *shapes[0][1:]), np.float32)
        placed = np.asarray(jax.lax.scatter_add_p.bind(empty, indices, numbers, **params))
        flat = self.node("Reshape", self.full(added, shapes[2]), self._integers(0, -1))
        padded = self.node("Pad", flat, self._integers(0, 1, 0, 0))
        return self._elementwise("Add", value, self._taken(padded, placed.astype(np.int64), _sizes(out.shape)))

    def _taken(self, name: str, numbers: np.ndarray, sizes: tuple[Any, ...]) -> Symbol:
        """Returns the given elements of each flattened row."""
        flat = self.node("Reshape", name, self._integers(0, -1))
        taken = self.node("Gather", flat, self._integers(*numbers.reshape(-1)), axis=1)
        return self._resized(taken, sizes)

    def _pad(self, values: list[Value], shapes: Any, out: Any, *, padding_config: Any) -> Symbol:
        low, high, inner = zip(*padding_config, strict=True)
        if any(inner) or min(*low, *high) < 0:
            raise ValueError(f"expected padding at the edges, got {padding_config}; omit --onnx for this network")
        name = self.full(values[0], shapes[0])
        return Symbol(self.node("Pad", name, self._integers(*low, *high), self.name(values[1])), _sizes(out.shape))

    def _dot_general(self, values: list[Value], shapes: Any, out: Any, *, dimension_numbers: Any, **_: Any) -> Symbol:
        ((left,), (right,)), (batch, _) = dimension_numbers
        if batch or len(shapes[1]) > 2:
            raise ValueError("expected a product with a matrix, got a batched product; omit --onnx for this network")
        names = [self.full(value, shape) for value, shape in zip(values, shapes, strict=True)]
        order = [axis for axis in range(len(shapes[0])) if axis != left] + [left]
        first = names[0] if order == sorted(order) else self.node("Transpose", names[0], perm=order)
        second = self.node("Transpose", names[1], perm=[1, 0]) if right == 1 else names[1]
        if len(shapes[1]) == 1:  # a column, since onnxruntime 1.32 multiplies a transposed array by a vector wrongly
            second = self._resized(second, (*shapes[1], 1)).name
        return self._resized(self.node("MatMul", first, second), _sizes(out.shape))

    def _conv_general_dilated(self, values: list[Value], shapes: Any, out: Any, **params: Any) -> Symbol:
        numbers, padding = params["dimension_numbers"], params["padding"]
        if set(params["lhs_dilation"]) != {1} or params["batch_group_count"] != 1:
            raise ValueError("expected a plain convolution, got a transposed one; omit --onnx for this network")
        image = self.node("Transpose", self.full(values[0], shapes[0]), perm=list(numbers.lhs_spec))
        kernel = self.name(np.ascontiguousarray(np.asarray(values[1]).transpose(numbers.rhs_spec)))
        found = self.node(
            "Conv",
            image,
            kernel,
            strides=list(params["window_strides"]),
            pads=[int(low) for low, _ in padding] + [int(high) for _, high in padding],
            dilations=list(params["rhs_dilation"]),
            group=params["feature_group_count"],
        )
        order = [int(axis) for axis in np.argsort(numbers.out_spec)]
        return Symbol(self.node("Transpose", found, perm=order), _sizes(out.shape))

    def _reduce_window_max(self, values: list[Value], shapes: Any, out: Any, **params: Any) -> Symbol:
        """Translates the maximum over windows of rows and columns, the second and third axes."""
        image = self.node("Transpose", self.full(values[0], shapes[0]), perm=[0, 3, 1, 2])
        padding = params["padding"][1:3]
        found = self.node(
            "MaxPool",
            image,
            kernel_shape=list(params["window_dimensions"][1:3]),
            strides=list(params["window_strides"][1:3]),
            pads=[int(low) for low, _ in padding] + [int(high) for _, high in padding],
        )
        return Symbol(self.node("Transpose", found, perm=[0, 2, 3, 1]), _sizes(out.shape))

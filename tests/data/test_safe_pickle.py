"""Pickles are read as plain data, and a malicious pickle is refused before it runs anything."""

import collections
import copyreg
import os
import pathlib
import pickle
import struct
import subprocess

import numpy as np
import pytest
from support import paths

from bmc_jax.data.readers import safe_pickle

REAL = paths.SHARED / "rhd_mini/training/anno_training.pickle"

GOOD = {
    0: {
        "xyz": np.arange(126, dtype=np.float32).reshape(42, 3),
        "big-endian": np.arange(4, dtype=">f8"),
        "columns first": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "axes turned": np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
        "empty": np.zeros((0, 3), np.float32),
        "number": np.array(2.5),
        "scalar": np.float64(0.25),
        "integer": np.int64(-3),
        "truth": np.array([True, False]),
        "texts": np.array(["hand", "é"]),
        "bytes": np.array([b"ab", b"c"]),
        "complex": np.array([1 + 2j]),
        "objects": np.array([[None, 1.5], ["a", [1, np.arange(3)]]], object),
    },
    "name": ("ABF10", b"\x00\xff", 7, 2.5, True, None, 1 << 80),
    "sets": [{1, 2}, frozenset({3})],
    "ordered": collections.OrderedDict([("a", 1), ("b", np.arange(2))]),
}


def same(one, other):
    """Whether two trees hold the same, to types, dtypes and bits; an OrderedDict is a dict."""
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        if one.dtype == object:
            return all(map(same, one.reshape(-1), other.reshape(-1)))
        return np.array_equal(one, other)
    return one == other


def saved(folder, content):
    file = folder / "annotations.pickle"
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_of_every_protocol_is_preserved(tmp_path, protocol):
    read = safe_pickle.load(saved(tmp_path, pickle.dumps(GOOD, protocol)))
    assert same(GOOD, read)
    assert read[0]["xyz"].flags.writeable
    assert type(read["ordered"]) is dict


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_numpy_1_names_are_read(tmp_path, protocol):
    content = {"xyz": np.arange(6.0, dtype=np.float32).reshape(2, 3), "scale": np.float32(2)}
    new = pickle.dumps(content, protocol)
    old = new.replace(b"numpy._core.", b"numpy.core.")
    if protocol > 2:  # names are counted texts within counted frames
        for name in (b"multiarray", b"numeric"):
            module = b"numpy.core." + name
            old = old.replace(bytes([len(module) + 1]) + module, bytes([len(module)]) + module)
        old = old[:3] + struct.pack("<Q", len(old) - 11) + old[11:]
    assert b"numpy.core." in old
    assert same(content, safe_pickle.load(saved(tmp_path, old)))


def test_python_2_pickle_is_read_as_latin1(tmp_path):
    # As Python 2 writes {'a\xe9': numpy.array([1, 258], '<i2')}: byte strings, and the array's bytes among them.
    content = (
        b"\x80\x02}q\x00U\x02a\xe9q\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85q\x04"
        b"U\x01bq\x05\x87q\x06Rq\x07(K\x01K\x02\x85q\x08cnumpy\ndtype\nq\tU\x02i2q\nK\x00K\x01\x87q\x0bRq\x0c(K\x03U"
        b"\x01<q\rNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0eb\x89U\x04\x01\x00\x02\x01q\x0ftq\x10bs."
    )
    assert same({"aé": np.array([1, 258], "<i2")}, safe_pickle.load(saved(tmp_path, content)))


def test_shared_and_cyclic_containers_are_preserved(tmp_path):
    array, cycle = np.arange(3), []
    cycle.append((cycle, array))
    objects = np.empty(2, object)
    objects[:] = [objects, array]
    nested = [array]
    for _ in range(60):  # 2^60 lists, were each seen on its own
        nested = [nested, nested]
    content = {"cycle": cycle, "objects": objects, "one": array, "other": array, "nested": nested}
    read = safe_pickle.load(saved(tmp_path, pickle.dumps(content, 2)))
    assert read["cycle"][0][0] is read["cycle"]
    assert read["objects"][0] is read["objects"]
    assert read["one"] is read["other"] is read["objects"][1] is read["cycle"][0][1]
    assert type(read["one"]) is np.ndarray
    assert read["nested"][0] is read["nested"][1]


def test_real_annotations_are_read_as_python_reads_them():
    if not REAL.exists():
        pytest.skip("no RHD sample on this machine")
    read = safe_pickle.load(REAL)
    assert same(pickle.loads(REAL.read_bytes(), encoding="latin1"), read)
    assert set(read) == {0, 1, 2}


class Call:
    """Pickled, it asks that `function(*arguments)` be called; a `state` is then set on what that gives."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


def calls(marker):
    """Malicious content, each of which would make the file `marker`."""
    write = f"open({str(marker)!r}, 'w').close()"
    touch = f"touch {marker}"
    return {
        "system": Call(os.system, touch),
        "eval": Call(eval, write),
        "exec": Call(exec, write),
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
        "open": Call(open, str(marker), "w"),
        "Popen": Call(subprocess.Popen, ["touch", str(marker)]),
        "save": Call(np.save, str(marker), np.zeros(1)),
        "load": Call(np.load, str(marker)),
        "in a list": [1, (2, Call(os.system, touch))],
        "as a key": {Call(os.system, touch): 1},
        "in an array": np.array([Call(os.system, touch), None], object),
        "as state": Call(np.dtype, "f4", False, True, state=Call(exec, write)),
        "as data": Call(
            np._core.multiarray._reconstruct, np.ndarray, (0,), b"b", state=(1, (1,), Call(exec, write), False, b"")
        ),
    }


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", calls(pathlib.Path("marker")))
def test_malicious_pickle_is_refused_and_nothing_runs(tmp_path, name, protocol):
    marker = tmp_path / "ran"
    file = saved(tmp_path, pickle.dumps(calls(marker)[name], protocol))
    with pytest.raises(ValueError, match=r"annotations\.pickle: .*got a call of .*may be malicious"):
        safe_pickle.load(file)
    assert list(tmp_path.iterdir()) == [file]


def test_malicious_pickle_of_these_tests_would_run(tmp_path):
    pickle.loads(pickle.dumps(calls(tmp_path / "ran")["exec"]))
    assert (tmp_path / "ran").exists()


def text(value):
    """A counted text of protocol 4."""
    return b"\x8c" + bytes([len(value)]) + value.encode()


def named(module, name, arguments=()):
    """Protocol 4: call `module.name` with texts."""
    return b"\x80\x04" + text(module) + text(name) + b"\x93(" + b"".join(map(text, arguments)) + b"tR."


WRITE = "open('ran', 'w').close()"


@pytest.mark.parametrize(
    ("content", "asked"),
    [
        (named("numpy", "testing._private.utils.runstring", [WRITE, "{}"]), r"numpy\.testing\._private"),
        (named("numpy.testing._private.utils", "runstring", [WRITE, "{}"]), r"numpy\.testing\._private\.utils\.run"),
        (named("numpy.f2py.crackfortran", "myeval", [WRITE]), r"numpy\.f2py\.crackfortran\.myeval"),
        (named("numpy.f2py.capi_maps", "load_f2cmap_file", ["f"]), r"numpy\.f2py\.capi_maps\.load_f2cmap_file"),
        (named("numpy.distutils.exec_command", "exec_command", ["touch ran"]), r"numpy\.distutils\.exec_command"),
        (named("numpy.ma.core", "os.system", ["touch ran"]), r"numpy\.ma\.core\.os\.system"),
        (named("numpy", "dtype.__class__", ["x"]), r"numpy\.dtype\.__class__"),
        (named("numpy.core.multiarray", "_reconstruct.__globals__"), r"_reconstruct\.__globals__"),
        (named("numpy._core.multiarray", "fromfile", ["f"]), r"multiarray\.fromfile"),
        (named("builtins", "set.__class__"), r"builtins\.set\.__class__"),
        (named("collections", "OrderedDict.__init__.__globals__"), r"collections\.OrderedDict\.__init__"),
        (named("_codecs", "lookup", ["unicode_escape"]), r"_codecs\.lookup"),
        (named("_codecs", "encode", ["a", "punycode"]), "codec 'punycode'"),
        (named("copyreg", "_reconstructor"), r"copyreg\._reconstructor"),
        (named("bmc_jax.data.readers.safe_pickle", "load", ["f"]), r"bmc_jax\.data\.readers\.safe_pickle\.load"),
        (named("numpy", "dtype", ["V8"]), "dtype 'V8'"),
        (named("numpy", "dtype", ["f4,f4"]), "dtype 'f4,f4'"),
        (named("numpy", "ndarray", ["1"]), "made by hand"),
        (b"\x80\x04" + text("numpy") + text("ndarray") + b"\x93.", "class or function as a value"),
        (b"\x80\x04}" + text("builtins") + text("set") + b"\x93K\x01s.", "class or function as a value"),
        (b"\x80\x04" + text("id") + b"Q.", "persistent object 'id'"),
        (b"Pid\n.", "persistent object 'id'"),
        (b"(ios\nsystem\n.", r"os\.system"),
        (b"(cos\nsystem\nU\x09touch rano.", r"os\.system"),
        (b"cos\nsystem\n(U\x09touch rant\x81.", r"os\.system"),
        (b"\x80\x02cbuiltins\ngetattr\n.", r"builtins\.getattr"),
        (b"\x80\x02c__builtin__\neval\n.", r"__builtin__\.eval"),
    ],
)
def test_gadget_is_refused_by_name(tmp_path, monkeypatch, content, asked):
    monkeypatch.chdir(tmp_path)
    file = saved(tmp_path, content)
    with pytest.raises(ValueError, match=f"got a call of .*{asked}"):
        safe_pickle.load(file)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("opcode", [b"\x82\xf1", b"\x83\xf1\x00", b"\x84\xf1\x00\x00\x00"])
def test_registered_extension_is_refused(tmp_path, opcode):
    copyreg.add_extension("os", "system", 0xF1)
    try:
        with pytest.raises(ValueError, match=r"got a call of os\.system"):
            safe_pickle.load(saved(tmp_path, b"\x80\x02" + opcode + b"(U\x04truetR."))
    finally:
        copyreg.remove_extension("os", "system", 0xF1)


@pytest.mark.parametrize("count", [2, 16])
def test_dtype_that_hides_its_objects_reads_no_addresses(tmp_path, count):
    # With numpy's own dtype these are two pointers to 0x4141414141414141, and printing them ends the process.
    hidden = Call(np.dtype, "O8", False, True, state=(3, "|", None, None, None, -1, -1, 0))
    state = (1, (count,), hidden, False, b"A" * 16)
    file = saved(tmp_path, pickle.dumps(Call(np._core.multiarray._reconstruct, np.ndarray, (0,), b"b", state=state)))
    if count == 2:
        with pytest.raises(ValueError, match=r"damaged.*shape \(2,\), got 16 objects"):
            safe_pickle.load(file)
    else:
        assert list(safe_pickle.load(file)) == [ord("A")] * 16


def test_dtype_of_several_fields_is_refused(tmp_path):
    for array in (np.zeros(2, [("a", "f4"), ("b", "O")]), np.zeros(2, "datetime64[s]")):
        with pytest.raises(ValueError, match=r"got a call of .*dtype"):
            safe_pickle.load(saved(tmp_path, pickle.dumps(array)))
    fields = Call(np.dtype, "f4", False, True, state=(3, "<", None, ("a",), {"a": ("f4", 0)}, 8, 4, 0))
    with pytest.raises(ValueError, match="dtype of several fields"):
        safe_pickle.load(saved(tmp_path, pickle.dumps(fields)))


def test_file_does_not_affect_the_next_file(tmp_path):
    # Sets the admitted function's default arguments, then leaves plain data.
    spoil = (
        b"\x80\x04" + text("_codecs") + text("encode") + b"\x93N}" + text("__defaults__") + text("x") + b"\x85s\x86b0N."
    )
    assert safe_pickle.load(saved(tmp_path, spoil)) is None
    assert same(GOOD, safe_pickle.load(saved(tmp_path, pickle.dumps(GOOD, 2))))


@pytest.mark.parametrize("keep", [0, 1, 2, 40, 0.5, -1])
def test_truncated_pickle_is_named(tmp_path, keep):
    content = pickle.dumps(GOOD, 2)
    cut = content[: int(len(content) * keep) if isinstance(keep, float) else keep]
    with pytest.raises(
        ValueError, match=r"annotations\.pickle: expected a pickle, got a damaged or other file .*fetch it again"
    ):
        safe_pickle.load(saved(tmp_path, cut))


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html>",
        b"version https://git-lfs.github.com/spec/v1",
        b"PK\x03\x04",
        b"\x80\x63.",
        b"(" * 100 + b".",
        b"]" * 100_000 + b"a" * 99_999 + b".",
        b"I1\n0cos",
        b"I1\n0cos\nsystem",
    ],
)
def test_other_content_than_a_pickle_is_named(tmp_path, content):
    with pytest.raises(ValueError, match=r"annotations\.pickle: expected a pickle, got a damaged or other file"):
        safe_pickle.load(saved(tmp_path, content))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pickle"):
        safe_pickle.load(tmp_path / "none.pickle")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04Nr\xff\xff\xff\x00.",
        b"\x80\x02Np16777215\n.",
        b"\x80\x05\x96\xff\xff\xff\x0f\x00\x00\x00\x00.",
        b"\x80\x04\x8e\xff\xff\xff\x0f\x00\x00\x00\x00.",
    ],
    ids=["memo", "memo by text", "bytearray", "bytes"],
)
def test_memory_beyond_the_size_of_the_file_is_not_reserved(tmp_path, content):
    with pytest.raises(
        ValueError, match=r"annotations\.pickle: .*damaged.*(expected .* bytes, got|expected a place of the memo)"
    ):
        safe_pickle.load(saved(tmp_path, content))


def test_data_that_is_copied_many_times_is_refused(tmp_path):
    data, items = bytes(1 << 16), list(range(1 << 12))
    empty = np._core.multiarray._reconstruct, np.ndarray, (0,), b"b"
    objects = 1, (1 << 12,), np.dtype("O"), False, items
    for one in (
        lambda: Call(np._core.numeric._frombuffer, data, np.dtype("u1"), (1 << 16,), "C"),
        lambda: Call(set, items),
        lambda: Call(*empty, state=objects),
    ):
        content = pickle.dumps([one() for _ in range(4000)], 4)
        assert len(content) < 1_000_000
        with pytest.raises(ValueError, match="expected data of about the pickle's size, got far more"):
            safe_pickle.load(saved(tmp_path, content))


class Known:
    def __init__(self, **state):
        self.__dict__ |= state


class Unknown(Known):
    pass


KNOWN = [(Known.__module__, "Known")]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_instances_of_named_classes_are_their_states(protocol):
    whole = Known(x=np.arange(3), parts=[Known(y=1)])
    found = safe_pickle.loads(pickle.dumps(whole, protocol), "here", KNOWN)
    assert type(found) is not Known
    assert found.kind == f"{Known.__module__}.Known"
    np.testing.assert_array_equal(found.content["x"], [0, 1, 2])
    assert found.content["parts"][0].content == {"y": 1}


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Known(x=1)),  # not named
        pickle.dumps(Unknown(x=1)),
        pickle.dumps(Known(x=Unknown(y=1))),
        pickle.dumps(Known(x=os.getcwd)),
        pickle.dumps(Known),  # the class itself
        b"c%s\nKnown\n)\x81." % Known.__module__.encode(),  # without a state
        b"ccopyreg\n_reconstructor\n(cbuiltins\nobject\ncbuiltins\nobject\nNtR.",
        b"ccopyreg\n_reconstructor\n(cos\nsystem\ncbuiltins\nobject\nNtR.",
        b"cbuiltins\nobject\n.",
    ],
)
def test_other_classes_and_classes_themselves_are_refused(content):
    classes = () if content == pickle.dumps(Known(x=1)) else KNOWN
    with pytest.raises(ValueError, match="here"):
        safe_pickle.loads(content, "here", classes)

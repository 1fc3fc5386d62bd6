"""Files of arrays that claim or unpack to far more than they hold are refused before memory is taken."""

import io
import zipfile

import numpy as np
import pytest
import scipy.io

from bmc_jax.data import pose_files
from bmc_jax.data.readers import array_files
from bmc_jax.metrics import prediction_files


@pytest.fixture
def small(monkeypatch):
    """Files may unpack to a megabyte, in place of half a gigabyte."""
    monkeypatch.setattr(array_files, "SMALL", 1 << 20)


def npy(shape, dtype="<f8", data=b""):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + data


def test_arrays_are_read_as_numpy_reads_them(tmp_path):
    for dtype in ("<f4", ">f8", "int8", "?", "U5", "S3"):
        for array in (np.arange(24).reshape(2, 3, 4).astype(dtype), np.zeros((0, 3), dtype), np.array(1, dtype)):
            for saved in (array, np.asfortranarray(array)):
                np.savez_compressed(tmp_path / "a.npz", one=saved)
                found = array_files.archive(tmp_path / "a.npz")["one"]
                np.testing.assert_array_equal(found, array)
                assert found.dtype == array.dtype


@pytest.mark.parametrize("compressed", [False, True])
def test_matlabs_arrays_are_read_as_scipy_reads_them(tmp_path, compressed):
    names = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
    arrays = {f"a{name}": np.arange(24).reshape(2, 3, 4).astype(name) for name in names}
    arrays |= {"logical": np.array([[True, False]]), "scalar": np.array([[2.5]]), "b": np.arange(3.0)[None] + 0.5}
    others = {"text": "abc", "complex": np.array([[1j]]), "struct": {"x": 1.0}, "cell": np.array([1, "a"], object)}
    scipy.io.savemat(tmp_path / "a.mat", arrays | others, do_compression=compressed)
    found, expected = array_files.matlab(tmp_path / "a.mat"), scipy.io.loadmat(tmp_path / "a.mat")
    assert sorted(found) == sorted(arrays)
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name])
        assert array.dtype == (bool if name == "logical" else expected[name].dtype)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_matlab_files_are_read_or_named(tmp_path, compressed, seed):
    scipy.io.savemat(tmp_path / "a.mat", {"joints": np.ones((2, 21, 3)), "s": "abc"}, do_compression=compressed)
    whole, generator = (tmp_path / "a.mat").read_bytes(), np.random.default_rng(seed)
    for _ in range(60):
        content = np.frombuffer(whole, np.uint8).copy()
        places = generator.integers(124, min(len(whole), 400), generator.integers(1, 6))
        content[places] = generator.choice([0, 1, 8, 14, 127, 255], len(places))
        (tmp_path / "b.mat").write_bytes(content.tobytes())
        message = ""
        try:
            array_files.matlab(tmp_path / "b.mat")
        except ValueError as error:
            message = str(error)
        assert not message or "b.mat" in message


@pytest.mark.parametrize("shape", [(10**13,), (1 << 40, 21, 3), (3, 21, 3), (-1,), (10**30,)])
def test_array_without_its_data_is_refused(tmp_path, shape):
    (tmp_path / "a.npy").write_bytes(npy(shape, data=bytes(64)))
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "a.npy", "joints.npy")
    for name in ("a.npy", "b.npz"):
        with pytest.raises(ValueError, match=rf"{name}.*: expected an array saved by numpy.save"):
            pose_files.read(tmp_path / name)


def test_files_that_unpack_to_far_more_are_refused(tmp_path, small):
    zeros = np.zeros((8 << 20, 1), np.uint8)
    np.savez_compressed(tmp_path / "a.npz", joints=zeros)
    scipy.io.savemat(tmp_path / "b.mat", {"joints": zeros}, do_compression=True)
    for name in ("a.npz", "b.mat"):
        assert (tmp_path / name).stat().st_size < 40_000
        with pytest.raises(
            ValueError, match=rf"{name}: expected up to .* after unpacking, got more from a file of 0.0 MB"
        ):
            pose_files.read(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "pred.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pred.json", "[" * (8 << 20))
    with pytest.raises(ValueError, match=r"pred\.zip: expected up to .* may be malicious"):
        prediction_files.read("freihand", tmp_path / "pred.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_without_bounds_is_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.writestr("joints.npy", npy((1,), data=bytes(8)))
    with pytest.raises(ValueError, match=r"a\.npz: joints\.npy: expected deflate compression, got method \d+"):
        pose_files.read(tmp_path / "a.npz")


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.9])
@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.mat", "a.pkl"])
def test_files_that_are_cut_or_damaged_are_named(tmp_path, name, keep):
    joints = np.random.default_rng(0).normal(size=(40, 21, 3))
    if name == "a.npy":
        np.save(tmp_path / name, joints)
    elif name == "a.npz":
        np.savez_compressed(tmp_path / name, joints=joints)
    elif name == "a.mat":
        scipy.io.savemat(tmp_path / name, {"joints": joints}, do_compression=True)
    else:
        (tmp_path / name).write_bytes(joints.tobytes())
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=name):
        pose_files.read(tmp_path / name)

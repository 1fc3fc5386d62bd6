"""Where images wait changes nothing but the time: device memory gives the very batches that the host would."""

import functools

import grain
import jax
import numpy as np
import pytest
from support import examples

from bmc_jax import config
from bmc_jax.data import cache, example_sets, input_pipeline
from bmc_jax.training import feed, parallel

GB = 10**9


@pytest.mark.parametrize(
    ("wish", "size", "held", "host", "devices", "mode"),
    [
        ("auto", 6 * GB, 0, 64 * GB, [80 * GB] * 4, "device"),
        ("auto", 39 * GB, 0, 64 * GB, [80 * GB], "device"),
        ("auto", 41 * GB, 0, 90 * GB, [80 * GB], "host"),
        ("auto", 41 * GB, 0, 90 * GB, [80 * GB, 70 * GB], "device"),
        ("auto", 41 * GB, 0, 80 * GB, [80 * GB], "none"),
        ("auto", 41 * GB, 10 * GB, 80 * GB, [80 * GB], "host"),
        ("auto", 6 * GB, 0, 64 * GB, [], "host"),
        ("auto", 60 * GB, 60 * GB, 1 * GB, [], "host"),
        ("auto", 60 * GB, 0, 64 * GB, [], "none"),
        ("none", 1, 0, 64 * GB, [80 * GB], "none"),
        ("host", 60 * GB, 0, 64 * GB, [80 * GB], "host"),
        ("device", 60 * GB, 0, 64 * GB, [80 * GB], "device"),
        ("device", 1, 0, 64 * GB, [], "device"),
    ],
)
def test_auto_chooses_the_fastest_place_with_room(wish, size, held, host, devices, mode):
    assert cache.choose(wish, size, held, host, devices).mode == mode


def test_choice_states_its_reason():
    chosen = functools.partial(cache.choose, "auto", 6_400_000_000, 0)
    assert chosen(64 * GB, [80 * GB] * 4).reason == "6.4 GB of images in 4 x 80.0 GB of free device memory"
    assert chosen(64 * GB, []).reason == "6.4 GB of images in 64.0 GB of free memory"
    assert chosen(8 * GB, []).reason.startswith("6.4 GB of images would take more than half of 8.0 GB of free memory")


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ("device", "data.cache: expected room for 60.0 GB of images with 'device', got 1 x 50.0 GB of .* 'none'"),
        ("host", "data.cache: expected room for 60.0 GB of images with 'host', got 50.0 GB of free memory; .* 'none'"),
    ],
)
def test_requested_place_without_room_is_refused(wish, message):
    with pytest.raises(ValueError, match=message):
        cache.choose(wish, 60 * GB, 0, 50 * GB, [50 * GB])


def test_free_memory_is_reported():
    assert 10**8 < cache.free_on_host() < 10**14
    assert cache.free_on_devices() == []


def test_free_memory_respects_the_limit_of_the_control_group(monkeypatch):
    files = {
        "/proc/meminfo": ["MemTotal: 64 kB", "MemAvailable: 32000000 kB"],
        "/proc/self/cgroup": ["0::/job/step"],
        "/sys/fs/cgroup/job/step/memory.max": ["max"],
        "/sys/fs/cgroup/job/step/memory.current": ["5"],
        "/sys/fs/cgroup/job/memory.max": ["9000"],
        "/sys/fs/cgroup/job/memory.current": ["2000"],
    }
    monkeypatch.setattr(cache, "_lines", lambda file: files.get(str(file), []))
    assert cache.free_on_host() == 7000
    del files["/sys/fs/cgroup/job/memory.max"]
    assert cache.free_on_host() == 32_000_000 * 1024


def opened(counts=(7, 5, 9)):
    """Three sources whose images no number of devices can share equally."""
    return [example_sets.InMemory(str(i), examples.examples(count, source=i)) for i, count in enumerate(counts)]


def of_devices(rows):
    """A step's row numbers, as each device is given them."""
    return feed.calls_on_rows(grain.MapDataset.source([rows]), 0, 1)[0].inputs.rows[:, 0]


def gathered(rows, resident):
    run = parallel.parallelize(
        functools.partial(cache.gather, axis_name=parallel.AXIS), (0, cache.Resident(0, None)), 0
    )
    return run(rows, resident)


@pytest.mark.parametrize("devices", [1, 2, 3, 4])
def test_batches_from_device_memory_equal_those_of_the_host(monkeypatch, devices):
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    local = jax.local_devices()[:devices]
    monkeypatch.setattr(jax, "local_devices", lambda: local)
    train = tuple(config.Source(str(i), count=count, share=1 / 3) for i, count in enumerate((7, 5, 9)))
    options = config.Config(data=config.Data(train=train, batch_size=12), seed=4)
    rows, held = input_pipeline.rows(options), opened()
    resident = cache.on_devices(held, parallel.AXIS)
    assert [part.data.nbytes for part in resident.images.addressable_shards] == [
        -(-21 // devices) * 3 * examples.SIZE**2
    ] * devices
    for number in (0, 5):
        on_rows, on_batches = feed.calls_on_rows(rows, 0, 1)[number], feed.calls_on_batches(held, rows)[number]
        told, batch = on_rows.inputs.rows[:, 0], on_batches.inputs.batch
        np.testing.assert_array_equal(on_rows.rows, on_batches.rows)
        assert told.dtype == np.int32
        assert told.shape == (devices, devices, 12 // devices)
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(gathered(told, resident)), batch)


def test_exchange_is_within_a_process(monkeypatch):
    """Four devices as those of two processes, each of which holds all the images on its two."""
    batches = [np.array([3, 20, 8, 11, 0, 5], np.int32), np.array([1, 2, 19, 4, 12, 7], np.int32)]
    with monkeypatch.context() as patch:
        patch.setattr(jax, "local_device_count", lambda: 2)
        local = jax.local_devices()[:2]
        patch.setattr(jax, "local_devices", lambda: local)
        resident = jax.device_get(cache.on_devices(opened(), parallel.AXIS))
        told = np.concatenate(
            [feed.calls_on_rows(grain.MapDataset.source([rows]), 0, 1)[0].inputs.rows[:, 0] for rows in batches]
        )
        wanted = [input_pipeline.shard(example_sets.InMemory("", _end_to_end()).load(rows)) for rows in batches]
    images = np.concatenate([resident.images, resident.images])
    found = jax.device_get(gathered(told, cache.Resident(images, resident.labels)))
    jax.tree.map(np.testing.assert_array_equal, found, jax.tree.map(lambda *parts: np.concatenate(parts), *wanted))


def _end_to_end():
    parts = [source.examples for source in opened()]
    return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)

"""Configurations from files, the command line and JSON, and errors for wrong values."""

import json
import re

import pytest
from support import paths

from bmc_jax import config
from bmc_jax.training import config_io

CONFIGS = sorted((paths.ROOT / "configs").glob("*.py"))
FILE = """
from bmc_jax.config import Config, Network

def get_config(argument=""):
    return Config(name=argument or "plain", network=Network(depth=18))
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "experiment.py"
    path.write_text(FILE)
    return path


def test_the_defaults_are_the_papers():
    options = config_io.validate(config.Config())
    assert (options.network.depth, options.data.image_size) == (50, 128)
    assert (options.optimizer.name, options.optimizer.rate, options.optimizer.decay) == ("sgd", 5e-3, 0.1)
    assert (options.training.epochs, options.optimizer.decay_epochs) == (70, 30)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_experiment_of_the_project_loads(path):
    # Tables that share runs give them the same names, by arm and data.
    assert re.fullmatch(rf"{path.stem}( [\w+-]+)?|[\w+-]+@paper", config_io.load(path).name)


def test_a_file_sets_only_what_differs(file):
    options = config_io.load(file)
    assert options == config.Config(name="plain", network=config.Network(depth=18))


def test_a_file_can_take_an_argument(file):
    assert config_io.load(f"{file}:other").name == "other"


def test_overrides_reach_every_depth(file):
    overrides = ["seed=3", "optimizer.rate=1", "data.train[1].count=7", "limits.percentiles=(1,99)", "network.patch=4"]
    options = config_io.load(file, overrides)
    assert options.seed == 3
    assert options.optimizer.rate == 1.0
    assert [source.count for source in options.data.train] == [12_288, 7]
    assert options.limits.percentiles == (1.0, 99.0)
    assert options.network.patch == 4


def test_two_loads_share_nothing(file):
    config_io.load(file, ["data.train[0].count=7"])
    assert config_io.load(file).data.train[0].count == 12_288


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimiser.rate=1", "unknown configuration field 'optimiser.rate': did you mean 'optimizer'"),
        ("optimizer.rat=1", "unknown configuration field 'optimizer.rat': did you mean 'rate'"),
        ("data.train[0].cuont=1", "did you mean 'count'"),
        ("optimizer.rate.x=1", "unknown configuration field"),
        ("data.train.0.count=1", "unknown configuration field"),
        ("zzz=1", "expected one of name, seed"),
        ("optimizer.rate", "expected an override of the form field=value, got 'optimizer.rate'"),
        ("optimizer.rate=fast", "optimizer.rate=fast"),
        ("seed=1.5", "seed=1.5"),
        ("data.train[7].count=1", r"out of range \(in data.train\[7\]"),
        ("limits.percentiles=3", "limits.percentiles: expected a list of 2, got .*3"),
        ("data.test=('',)", r"data.test\[0\]: expected a name, got ''"),
        ("data.train[0].count=-1", r"data.train\[0\].count: expected 0 or a positive finite number, got -1"),
        ("data.train[1].green_screen=maybe", "green_screen=maybe"),
        ("data.cache=disk", "data.cache: expected one of auto, device, host, none, got 'disk'"),
        ("data.context=0.5", "data.context: expected a finite number of at least 1, got 0.5"),
        (
            "data.margin=2.0",
            r"data.margin \* data.context: expected at most 2.5 .* got 3.0; lower data.margin or data.c",
        ),
        ("data.augmentation.hue=0.7", "augmentation.hue: expected a finite number from 0 .* to 0.5, got 0.7"),
        ("network.depth=19", "network.depth: expected one of 10, 18, 34, 50, got 19"),
        ("optimizer.name=adam", "optimizer.name: expected one of sgd, adamw, got 'adam'"),
        ("data.train[0].labels=4d", r"data.train\[0\].labels: .* got '4d'"),
        ("data.train[0].share=0.9", "shares that sum to 1"),
        ("data.batch_size=0", "data.batch_size: expected a number from 1 to 65,536, got 0"),
        ("data.batch_size=1000000000", "data.batch_size: expected a number from 1 to 65,536, got 1000000000"),
        ("optimizer.rate=nan", "optimizer.rate: .* got nan"),
        ("weights.palm=-1.", "weights.palm: .* got -1.0"),
        ("network.patch=5", "divisor of data.image_size"),
        ("data.train[0].labels=2d", "no training source has 3D labels"),
    ],
)
def test_a_wrong_override_is_named(file, override, message):
    with pytest.raises(ValueError, match=message):
        config_io.load(file, [override])


def test_green_screens_are_replaced_by_augmentation_alone(file):
    with pytest.raises(ValueError, match=r"data\.augment: expected true for sources with green_screen, got False"):
        config_io.load(file, ["data.train[1].green_screen=true", "data.augment=false"])


def test_steps_of_a_source_that_is_not_yet_counted_are_refused():
    options = config.Config(data=config.Data(train=(config.Source("mine", share=1.0),)))
    with pytest.raises(
        ValueError, match=r"data.train\[:\].count: expected positive numbers, got 0; call sources.resolve"
    ):
        config.steps(options)


@pytest.mark.parametrize(("context", "stored"), [(1.0, 128), (1.5, 192), (1.01, 130), (1.33, 172)])
def test_an_image_is_stored_with_as_much_around_its_crop_on_every_side(context, stored):
    options = config.Config(data=config.Data(context=context))
    assert config.stored_size(options) == stored
    options.data.augment = False
    assert config.stored_size(options) == options.data.image_size


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.py"):
        config_io.load(tmp_path / "nowhere.py")


def test_a_file_that_returns_something_else_is_named(tmp_path):
    path = tmp_path / "other.py"
    path.write_text("def get_config():\n    return {}\n")
    with pytest.raises(ValueError, match=r"returns a bmc_jax\.config\.Config"):
        config_io.load(path)


def test_a_misspelt_field_in_a_file_is_an_error(tmp_path):
    path = tmp_path / "misspelt.py"
    path.write_text(
        "from bmc_jax.config import Config\ndef get_config():\n    c = Config()\n    c.sede = 1\n    return c\n"
    )
    with pytest.raises(AttributeError, match="sede"):
        config_io.load(path)


def test_a_runs_folder_gives_its_configuration_back(tmp_path, file):
    options = config_io.load(file, ["limits.percentiles=(1,99)", "network.patch=8"])
    config_io.write(options, tmp_path)
    assert config_io.read(tmp_path) == options
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sede": 1}, "config.json: unknown configuration field 'sede': did you mean 'seed'"),
        ({"seed": "one"}, "config.json: seed: expected a value of type int, got 'one'"),
        ({"data": {"train": [{"share": 1.0, "nmae": "x"}]}}, "did you mean 'name'"),
        ({"data": 5}, "data: expected a mapping of fields to values, got 5"),
        ({"optimizer": {"nesterov": 1}}, "optimizer.nesterov: expected a value of type bool, got 1"),
    ],
)
def test_a_damaged_configuration_of_a_run_is_named(tmp_path, change, message):
    (tmp_path / config_io.FILE).write_text(json.dumps(config_io.to_dict(config.Config()) | change))
    with pytest.raises(ValueError, match=message):
        config_io.read(tmp_path)


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected the folder of a run, got no config\.json"):
        config_io.read(tmp_path)

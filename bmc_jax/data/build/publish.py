"""Builder of TFDS, which runs on Apache Beam, and metadata and summary of a built dataset."""

import hashlib
import importlib
import os
import shutil
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

import bmc_jax
from bmc_jax.data import record, store
from bmc_jax.data.build import shard
from bmc_jax.data.build.shard import PLAN_FILE, Plan
from bmc_jax.runtime import files

SHARD_FIELDS = ("examples", "content", "bytes", "sha256")
"""Fields of a tally that the summary contains for each shard."""


def on_beam(
    plan: Plan, shards: dict[str, list[shard.Shard]], out: Path, folder: Path, building: Path, options: str
) -> None:
    """Writes all shards by TFDS on a Beam pipeline. Workers on other machines must have the same folders."""
    try:
        from apache_beam.options.pipeline_options import (  # pyright: ignore[reportMissingImports]
            PipelineOptions,
            StandardOptions,
        )
    except ImportError as error:
        raise ValueError(
            "--beam: expected an installed Apache Beam, got none; pip install 'bmc-jax[beam]', or build without --beam"
        ) from error
    import tensorflow_datasets as tfds

    pipeline = PipelineOptions([f"--{option}" for option in options.split(",") if option])
    runner = pipeline.view_as(StandardOptions).runner or "DirectRunner"
    config = tfds.download.DownloadConfig(beam_runner=runner, beam_options=pipeline)  # pyright: ignore
    for leftover in folder.parent.glob(f"{plan.version}.incomplete*"):
        shutil.rmtree(leftover)
    builder = _builder(plan, out, shards)
    builder.download_and_prepare(download_dir=building / "downloads", download_config=config)
    shutil.rmtree(building / "downloads", ignore_errors=True)
    # TFDS gives the folder the name of a complete dataset. Without the summary it is not complete; `finish` renames it.
    for file in folder.iterdir():
        os.replace(file, building / file.name)
    folder.rmdir()


def finish(plan: Plan, info: Any, shards: dict[str, list[shard.Shard]], folder: Path, building: Path) -> None:
    """Writes TFDS's metadata and the summary, and renames the folder. `info` is the reader's `DatasetInfo`."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.splits import SplitDict

    splits, split_infos = {}, []
    for split, parts in shards.items():
        tallies = [shard.read_tally(part.tally_file) or shard.Tally() for part in parts]
        written = plan.shard_files(split, len(parts), building)
        for tally, file in zip(tallies, written, strict=True):
            if not tally.sha256:  # written by TFDS
                content = file.read_bytes()
                tally.bytes, tally.sha256 = len(content), hashlib.sha256(content).hexdigest()
        splits[split] = shard.merge(tallies) | {
            "bytes": sum(tally.bytes for tally in tallies),
            "shards": [
                {"file": file.name} | {name: getattr(tally, name) for name in SHARD_FIELDS}
                for tally, file in zip(tallies, written, strict=True)
            ],
        }
        if not splits[split]["examples"]:
            faults = splits[split]["faults"]
            example = f", {faults['count']:,} with faults, such as {faults['first'][0]}" if faults["count"] else ""
            raise ValueError(
                f"{plan.source}: expected usable rows of {split}, got only skipped ones: {splits[split]['skipped']}"
                f"{example}; correct the source or its options"
            )
        _require_labels(plan, split, splits[split])
        _require_right_hands(plan, split, splits[split])
        split_infos.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[tally.examples for tally in tallies],
                num_bytes=splits[split]["bytes"],
                filename_template=plan.file_template(split, building),
            )
        )
    metadata = _builder(plan, building / "info", {}).info
    metadata.set_splits(SplitDict(split_infos))
    metadata.write_to_directory(building)
    digests = [part["content"] for split in sorted(splits) for part in splits[split]["shards"]]
    content = {
        **asdict(plan),
        "about": asdict(info),
        "built": date.today().isoformat(),
        "bmc_jax": bmc_jax.__version__,
        "hash": hashlib.sha256("".join(digests).encode()).hexdigest(),
        "splits": splits,
    }
    files.write_json(building / store.SUMMARY, content, indent=1)
    tallies = (Path(part.tally_file) for parts in shards.values() for part in parts)
    # Partial files of killed processes.
    unfinished = building.glob(".*.partial*")
    for leftover in (building / PLAN_FILE, *tallies, *unfinished):
        leftover.unlink(missing_ok=True)
    shutil.rmtree(building / "info", ignore_errors=True)
    os.replace(building, folder)


def _require_labels(plan: Plan, split: str, counted: dict[str, Any]) -> None:
    """Raises ValueError for a split without labels, except for a test split, whose labels a server may keep secret."""
    if split != "test" and not counted["labelled_joints"]:
        raise ValueError(
            f"{plan.source}: expected labelled joints in {split}, got none in {counted['examples']:,} hands; check "
            "that the file has labels, and that their visibility is above 0"
        )


def _require_right_hands(plan: Plan, split: str, counted: dict[str, Any]) -> None:
    if counted["left_by_thumb"] > counted["complete_3d"] / 2:
        raise ValueError(
            f"{plan.source}: expected right hands in {split} after mirroring of left hands, got "
            f"{counted['left_by_thumb']} of {counted['complete_3d']} hands with the thumb on a left hand's side of the "
            "palm; check the stated side, and that z points forward"
        )


def _builder(plan: Plan, out: Path, shards: dict[str, list[shard.Shard]]) -> Any:
    """Returns TFDS's builder of the dataset."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import registered

    info = importlib.import_module(f"bmc_jax.data.readers.{plan.reader}").INFO
    with registered.skip_registration():

        class Hands(tfds.core.ShardBasedBuilder):
            name = plan.name
            VERSION = tfds.core.Version(plan.version)
            # Nothing is downloaded; without this, TFDS would search for checksums in the folder of this file.
            url_infos: ClassVar = {}  # pyright: ignore[reportIncompatibleVariableOverride]

            def _info(self) -> Any:
                return tfds.core.DatasetInfo(
                    builder=self, description=info.what, homepage=info.address, features=record.features()
                )

            def _shard_iterators_per_split(self, dl_manager: Any) -> Any:
                del dl_manager
                return shards

    return Hands(data_dir=os.fspath(out), file_format="array_record")

"""Exported networks on the Hugging Face Hub: `hf:owner/name`, or `hf:owner/name@revision`.

huggingface_hub reads its settings: `HF_TOKEN` or `hf auth login`, `HF_HOME` for the cache, `HF_HUB_OFFLINE`,
`HF_ENDPOINT`.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PREFIX = "hf:"
NEEDED = ("config.json", "limits.json", "data.json", "initial_weights.json", "export.json", "model.safetensors")
"""Files from which a network is loaded."""
NOT_PUSHED = ("checkpoints/*",)
"""Files of an exported folder that are not uploaded: `model.safetensors` has the same weights."""
_UNREACHABLE = "the Hugging Face Hub cannot be reached, and the network is not in the cache; try again online"
_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def names(folder: str | os.PathLike) -> bool:
    """Returns whether a string names a network on the hub. A `Path` is always a folder on this machine."""
    return isinstance(folder, str) and folder.startswith(PREFIX)


def download(name: str) -> Path:
    """Downloads an exported network, or finds it in the cache, and returns its folder.

    Args:
      name: `hf:owner/name`, or `hf:owner/name@revision` with a branch, a tag or a commit.

    Raises:
      FileNotFoundError: if the repository or revision does not exist, or is not visible without a token.
      ConnectionError: if the hub cannot be reached.
      ValueError: if huggingface_hub is not installed, or the name has another form.
    """
    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    _require_name(repository)
    library = _library()
    with _errors(library, name):
        return Path(
            library.HfApi().snapshot_download(repository, revision=revision or None, allow_patterns=list(NEEDED))
        )


def push(folder: Path, repository: str) -> str:
    """Uploads an exported network to the hub as one commit, and returns the URL of the commit.

    A missing repository is created, as a private one.

    Args:
      folder: the folder written by `bmc export`.
      repository: `owner/name`.

    Raises:
      FileNotFoundError, ConnectionError, ValueError: see `download`.
      PermissionError: if the token does not allow the upload.
    """
    _require_name(repository)
    library = _library()
    with _errors(library, repository):
        api = library.HfApi()
        api.create_repo(repository, exist_ok=True, private=True)
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            ignore_patterns=list(NOT_PUSHED),
            commit_message="Network exported by bmc-jax",
        )
    return str(commit.commit_url)


def require(repository: str) -> None:
    """Raises ValueError unless the name has the form `owner/name` and huggingface_hub is installed."""
    _require_name(repository)
    _library()


def _require_name(repository: str) -> None:
    if not _NAME.fullmatch(repository):
        raise ValueError(f"expected a repository owner/name on the Hugging Face Hub, got {repository!r}; give both")


def _library() -> Any:
    try:
        import huggingface_hub.errors
    except ModuleNotFoundError as error:
        raise ValueError("the Hugging Face Hub needs huggingface_hub; pip install 'bmc-jax[hub]'") from error
    return huggingface_hub


@contextlib.contextmanager
def _errors(library: Any, name: str) -> Iterator[None]:
    """Raises Python's built-in errors in place of the hub's. The messages name the repository and a remedy."""
    errors = library.errors
    try:
        yield
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"{name}: expected a repository and revision on the Hugging Face Hub, got none that this token can read; "
            "check the name, and set HF_TOKEN if it is private"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise ConnectionError(f"{name}: {_UNREACHABLE}") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        kind = PermissionError if status in (401, 403) else ConnectionError
        raise kind(
            f"{name}: the Hugging Face Hub responded with {status or error}; set HF_TOKEN to a token with access to it"
        ) from error
    except Exception as error:
        # Errors of the hub's HTTP client, which differs between major versions of huggingface_hub.
        if any(kind.__name__ in ("TransportError", "RequestException") for kind in type(error).__mro__):
            raise ConnectionError(f"{name}: {_UNREACHABLE}") from error
        raise

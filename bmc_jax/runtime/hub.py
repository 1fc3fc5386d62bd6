"""Exported networks on the Hugging Face Hub, by huggingface_hub: `hf:owner/name`, or `hf:owner/name@revision`.

The hub's own settings hold: `HF_TOKEN` or `hf auth login`, `HF_HOME` for the cache, `HF_HUB_OFFLINE`, `HF_ENDPOINT`.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PREFIX = "hf:"
NEEDED = ("config.json", "limits.json", "data.json", "initial_weights.json", "export.json", "model.safetensors")
"""Files that a network is loaded from."""
NOT_PUSHED = ("checkpoints/*",)
"""Files of an exported folder that stay here: `model.safetensors` has the same weights."""
_UNREACHABLE = "the Hugging Face Hub cannot be reached, and the cache does not hold it; try again online"
_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def names(folder: str | os.PathLike) -> bool:
    """Returns whether a folder, a text, is named on the hub. A `Path` is one on this machine."""
    return isinstance(folder, str) and folder.startswith(PREFIX)


def download(name: str) -> Path:
    """Downloads an exported network, or finds it in the cache, and returns its folder.

    Args:
      name: `hf:owner/name`, or `hf:owner/name@revision` with a branch, a tag or a commit.

    Raises:
      FileNotFoundError: if the hub has no such repository or revision, or shows it to nobody without a token.
      ConnectionError: if the hub cannot be reached.
      ValueError: if huggingface_hub is not installed, or the name is not of this form.
    """
    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    _require_name(repository)
    library = _library()
    with _errors(library, name):
        return Path(
            library.HfApi().snapshot_download(repository, revision=revision or None, allow_patterns=list(NEEDED))
        )


def push(folder: Path, repository: str) -> str:
    """Uploads an exported network to the hub, where it becomes one commit, and returns the commit's address.

    The repository is created, private, if there is none.

    Args:
      folder: of `bmc export`.
      repository: `owner/name`.

    Raises:
      FileNotFoundError, ConnectionError, ValueError: see `download`.
      PermissionError: if the token does not allow it.
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
    """Raises ValueError unless a name is that of a repository and huggingface_hub is installed."""
    _require_name(repository)
    _library()


def _require_name(repository: str) -> None:
    if not _NAME.fullmatch(repository):
        raise ValueError(f"expected a repository on the Hugging Face Hub, owner/name, got {repository!r}; name one")


def _library() -> Any:
    try:
        import huggingface_hub.errors
    except ModuleNotFoundError as error:
        raise ValueError("the Hugging Face Hub needs huggingface_hub: pip install 'bmc-jax[hub]'") from error
    return huggingface_hub


@contextlib.contextmanager
def _errors(library: Any, name: str) -> Iterator[None]:
    """Raises the hub's errors as Python's, naming the repository and a remedy."""
    errors = library.errors
    try:
        yield
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"{name}: expected a repository and revision on the Hugging Face Hub, got none that this token may see; "
            "check the name, and set HF_TOKEN if it is private"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise ConnectionError(f"{name}: {_UNREACHABLE}") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        kind = PermissionError if status in (401, 403) else ConnectionError
        raise kind(
            f"{name}: the Hugging Face Hub answers {status or error}; set HF_TOKEN to a token that may write there"
        ) from error
    except Exception as error:
        # Of the hub's HTTP client, which was another library in each of its major versions.
        if any(kind.__name__ in ("TransportError", "RequestException") for kind in type(error).__mro__):
            raise ConnectionError(f"{name}: {_UNREACHABLE}") from error
        raise

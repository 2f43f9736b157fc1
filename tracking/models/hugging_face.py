"""Files on the Hugging Face Hub, as ``hf://OWNER/REPOSITORY/PATH``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tracking.cache_folder import cache_dir
from tracking.errors import OptionError, WeightsError, error_line
from tracking.models.catalogue import ModelFile

__all__ = ["HubFile", "is_hub_reference", "parse_hub_reference"]

_PREFIX = "hf://"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}")
_SHA256 = re.compile(r'"?([0-9a-f]{64})"?')
_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository on the Hub.

    Attributes:
        repository: ``organisation/repository``.
        revision: A branch, a tag or a commit.
        path: The file's path in the repository.
    """

    repository: str
    revision: str
    path: str

    @property
    def address(self) -> str:
        """Where the file is; environment variable ``HF_ENDPOINT`` names another server than huggingface.co."""
        server = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        return f"{server}/{self.repository}/resolve/{quote(self.revision, safe='')}/{quote(self.path)}"

    @property
    def local(self) -> Path:
        """Where it lies in the cache after its download."""
        return cache_dir() / "hf" / self.repository.replace("/", "--") / self.revision / self.path

    def describe(self) -> ModelFile:
        """Ask the server for the size and the SHA-256, which it knows of large files.

        Raises:
            WeightsError: The server cannot be reached, or does not have the file.
        """
        import httpx

        hint = f"On another machine, fetch {self.address}, and place it as {self.local}; or give the path of the file."
        try:
            # Not followed: the Hub's own answer has the hash, the server behind it has not.
            answer = httpx.head(self.address, timeout=_SECONDS, headers={"Accept-Encoding": "identity"})
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise WeightsError(f"{self.address} cannot be reached: {error_line(error)}.", hint=hint) from error
        if answer.status_code >= 400:
            raise WeightsError(
                f"{self.address}: the server answered {answer.status_code} {answer.reason_phrase}.",
                hint="Check the names of organisation, repository and file. gtrack sends no token: "
                "download a file that needs one by hand, and give its path.",
            )
        digest = _SHA256.fullmatch(answer.headers.get("x-linked-etag", ""))
        size = answer.headers.get("x-linked-size", "")
        return ModelFile(
            self.local.name,
            (self.address,),
            int(size) if size.isdigit() else None,
            digest=digest[1] if digest else None,
        )


def is_hub_reference(reference: object) -> bool:
    """Whether something is meant as a file on the Hub."""
    return str(reference).startswith(_PREFIX)


def parse_hub_reference(reference: str) -> HubFile:
    """Read ``hf://OWNER/REPOSITORY/PATH``; the repository may end in ``@REVISION`` (else it is ``main``).

    Raises:
        OptionError: It has another form.
    """
    organisation, _, rest = reference.removeprefix(_PREFIX).partition("/")
    repository, _, path = rest.partition("/")
    repository, at, revision = repository.partition("@")
    parts = path.split("/")
    names_are_right = all(_NAME.fullmatch(name) for name in (organisation, repository, revision if at else "main"))
    if not names_are_right or any(part in ("", ".", "..") or not part.isprintable() or "\\" in part for part in parts):
        raise OptionError(
            f"expected a file on the Hugging Face Hub as hf://OWNER/REPOSITORY/FILE, found {reference!r}.",
            hint="Example: hf://opencv/person_reid_youtureid/person_reid_youtu_2021nov.onnx",
        )
    return HubFile(f"{organisation}/{repository}", revision if at else "main", path)

"""What a directory holds, as a sweep that is to write there must know: nothing, part or all of the same run, or another's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perflaw_jax.files import StoreError
from perflaw_jax.manifest import MANIFEST, difference, read_manifest
from perflaw_jax.record import record_files
from perflaw_jax.store import method


@dataclass(frozen=True)
class Standing:
    """A directory beside a run: its manifest, if it has one, and the first thing in which it differs from the run, in words."""

    path: Path
    manifest: dict[str, Any] | None
    differs: str | None

    @property
    def complete(self) -> bool:
        """Whether all results of a run are there."""
        return self.manifest is not None and self.manifest["complete"]

    def check_same(self, way_out: str) -> None:
        """``StoreError`` where the directory holds another run."""
        if self.differs:
            raise StoreError(f"{self.path} holds another run: {self.differs}; choose another --out, or {way_out}")

    def check_no_shards(self) -> None:
        """``StoreError`` where a division of an unfinished sweep of the same spec would be lost."""
        shards = [portion for portion in record_files(self.path) if portion.count > 1] if self.manifest else []
        if shards and not self.complete and not self.differs:
            raise StoreError(
                f"{self.path} holds {len(shards)} shards of this sweep: go on with --resume, or start anew with --force"
            )


def standing(path: Path, header: str) -> Standing:
    """What is there beside a run with this header (JSON); what the header leaves out may differ."""
    if not (path / MANIFEST).exists():
        return Standing(path, None, None)
    manifest, ours = read_manifest(path), json.loads(header)
    kinds = method(manifest), method(ours)
    differs = f"it is of {kinds[0]}, not of {kinds[1]}" if kinds[0] != kinds[1] else difference(manifest, ours)
    return Standing(path, manifest, differs)

"""A packaged workload, inspected: metadata, integrity, signatures, and whether it may be imported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..errors import WorkloadError
from .checksums import (
    UnfitFileError,
    Verification,
    check_main_module,
    read_inside,
    verify,
)
from .discovery import PackagedWorkload
from .metadata import Metadata, load_metadata
from .signatures import Signature, check_signature

Policy = Literal["off", "verify", "require"]
AdmissionState = Literal["verified", "unsealed", "mismatch", "unverified"]


@dataclass(frozen=True)
class Inspection:
    """What was found.

    `metadata` is None where the folder is not as it was sealed, `verification` where checksums are off;
    `signatures` is empty where none were to be checked, else that of the checksum file comes first.
    """

    workload: PackagedWorkload
    metadata: Metadata | None
    verification: Verification | None
    signatures: tuple[Signature, ...] = ()

    @property
    def state(self) -> AdmissionState:
        return self.verification.state if self.verification else "unverified"

    def refusals(self, checksums: Policy, signatures: Policy = "off") -> list[str]:
        """Why the workload must not be imported under these policies; nothing if it may be."""
        reasons = [str(problem) for problem in self.verification.problems] if self.verification else []
        if checksums == "require" and self.state == "unsealed":
            reasons.append(f"unsealed: no {self.workload.checksum_path.name}; write it with 'stormdb seal'")
        return reasons or self._signature_refusals(signatures)

    def remarks(self) -> tuple[str, ...]:
        """What else should be said of it."""
        if self.state == "verified" and not self.signatures and self.workload.signature_path.is_file():
            return ("its signature was not checked: no keyring",)
        return ()

    def _signature_refusals(self, policy: Policy) -> list[str]:
        if policy == "off":
            return []
        if policy == "require" and not self.signatures:
            return ["its signature was not checked: no keyring is given"]
        wrong = [signature for signature in self.signatures if not signature.is_valid]
        return [str(signature) for signature in wrong if policy == "require" or signature.state != "unsigned"]


def inspect(workload: PackagedWorkload, *, checksums: bool = True, keyring: Path | None = None) -> Inspection:
    """Reads and compares, imports nothing. WorkloadError for wrong metadata, PlanError for the keyring."""
    if not checksums:
        return Inspection(workload, _metadata(workload), None)
    verification = verify(workload.folder, workload.name)
    if verification.problems:
        return Inspection(workload, None, verification)
    metadata = _metadata(workload)
    if problem := check_main_module(metadata, workload.folder):
        return Inspection(workload, None, replace(verification, state="mismatch", problems=(problem,)))
    signatures = _signatures(workload, metadata, verification, keyring) if keyring else ()
    return Inspection(workload, metadata, verification, signatures)


def _metadata(workload: PackagedWorkload) -> Metadata:
    metadata = load_metadata(workload.metadata_path)
    if metadata.name != workload.name:
        raise WorkloadError(
            f"{workload.metadata_path}: name: {metadata.name!r} is not the file's name; make them the same"
        )
    return metadata


def _signatures(
    workload: PackagedWorkload, metadata: Metadata, verification: Verification, keyring: Path
) -> tuple[Signature, ...]:
    """That of the checksum file, and the metadata's own, of the main module, where given."""
    listing = _content(workload, workload.signature_path.name)
    signatures = [check_signature(verification.checksums, listing, keyring)]
    if (armored := metadata.security.signature) is not None:
        module = _content(workload, metadata.main_module) or b""
        signatures.append(check_signature(module, armored.encode(), keyring))
    return tuple(signatures)


def _content(workload: PackagedWorkload, name: str) -> bytes | None:
    try:
        return read_inside(workload.folder, name)
    except UnfitFileError:
        return None

"""Make images for tests by hand: an archive as `docker save` writes it, of a few files, without any registry."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_archive(path: Path, name: str, files: Mapping[str, Path], entrypoint: Sequence[str]) -> None:
    """Write an image of one layer with these files, by their places in it; all may be executed. `name` has a tag."""
    layer = _pack({place.lstrip("/"): source.read_bytes() for place, source in files.items()}, mode=0o755)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint), "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    path.write_bytes(_pack({"manifest.json": manifest, config_name: config, "layer.tar": layer}, mode=0o644))


def _pack(files: Mapping[str, bytes], *, mode: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()

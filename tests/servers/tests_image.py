"""Make an image of these tests: that of `make image TARGET=tests`, with tests that fail, wait, or do harm."""

import shutil
import subprocess
from pathlib import Path

import pytest

from harness import __version__
from harness.cluster.tier_pod import HOME
from tests.servers.scripted_image import ROOT, changed_image, replace_code

NAME = "ptp-harness-tests:waiting"
_BUILT = f"ptp-harness-tests:{__version__}"
FAILING, WAITING = "tests/unit/untrusted/test_failing.py", "tests/unit/waiting/test_waiting.py"
HARM = "tests/unit/harm/test_harm.py"
"""A test that fails among the project's own; a suite that takes so long that its pod can be killed meanwhile; and one
for a namespace of its own."""

_FILES = {
    FAILING: "def test_failing() -> None:\n    assert 1 == 2\n",
    HARM: "import time\n\nimport pytest\n\n\n@pytest.mark.destructive\ndef test_harm() -> None:\n    time.sleep(15)\n",
    WAITING: "import time\n\n\ndef test_waiting() -> None:\n    time.sleep(20)\n",
}


def write_archive(archive: Path) -> None:
    """Write the image as `docker save` does; skips the test where the image of the tests is not there."""
    if subprocess.run(["buildah", "inspect", "--type", "image", _BUILT], capture_output=True, check=False).returncode:
        pytest.skip(f"there is no image {_BUILT} (make image TARGET=tests)")
    with changed_image(archive, NAME, base=_BUILT) as (_, root):
        replace_code(root)
        _replace_source(root / str(HOME).lstrip("/") / "source")


def _replace_source(source: Path) -> None:
    """Put this checkout's files in place of those of the image."""
    shutil.rmtree(source)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    for name, content in _FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(content)

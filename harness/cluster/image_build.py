"""Build the image of this version from the source tree, and push it to a registry, by buildah, podman or docker."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import __version__
from harness.errors import CommandError, RequestError, SetupError
from harness.system import proc
from harness.system.settings import assets_dir
from harness.untrusted import names
from harness.untrusted.input_checks import shorten_value
from harness.untrusted.plain_text import one_line

BUILDERS = ("buildah", "podman", "docker")
LOCAL_NAME = f"ptp-harness:{__version__}"
_NAME = r"[a-z0-9][a-z0-9.-]*(?::[0-9]{1,5})?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
"""The name of an image in a registry: host, port, path and tag."""

_WHEEL_WITHIN_S, _BUILT_WITHIN_S, _PUSHED_WITHIN_S, _INSPECTED_WITHIN_S = 300.0, 3600.0, 3600.0, 60.0
_GRACE_S = 10.0
_MOST_CHARACTERS = 600

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """Options of a build. `base`: another name of the base image; `programs`: files that come along in the image."""

    builder: str
    base: str | None = None
    programs: Sequence[Path] = ()


def check_image_name(image: str) -> None:
    """Raise RequestError for a text that is no name of an image in a registry."""
    if not names.fits(_NAME, image):
        raise RequestError(
            f"{shorten_value(image)} is no name of an image in a registry",
            next_step="such as registry.example/team/ptp-harness:1.0, in small letters",
        )


def choose_builder(name: str | None, *, with_image: str | None = None) -> str:
    """Choose what builds and pushes images: this one, or the first on PATH; one that has `with_image`, where given.

    Raises RequestError for another name, or where none has the image; SetupError where none is here.
    """
    if name is not None and name not in BUILDERS:
        raise RequestError(
            f"--builder {shorten_value(name)} is none that is known", next_step=f"one of: {', '.join(BUILDERS)}"
        )
    builders = [each for each in ((name,) if name else BUILDERS) if shutil.which(each)]
    if not builders:
        raise SetupError(
            f"an image needs {name or 'buildah, podman or docker'}, which is not on PATH",
            next_step="install one, such as Debian's package buildah",
        )
    fitting = [each for each in builders if with_image is None or _has_image(each, with_image)]
    if not fitting:
        raise RequestError(
            f"{', '.join(builders)} here has no image {with_image}",
            next_step="without --skip-build it is built, in a source tree",
        )
    return fitting[0]


def build(options: BuildOptions, say: Say) -> None:
    """Build LOCAL_NAME from the source tree around this package.

    Raises SetupError in an installed package, which has neither its own wheel nor the recipe of the image.
    """
    source = assets_dir()
    script = source / "deploy" / "image" / "build"
    if not script.is_file():
        raise SetupError(
            "an image is built from the source tree of ptp-harness, and this is an installed package",
            next_step=f"run this in a checkout of version {__version__}; or --skip-build pushes {LOCAL_NAME} "
            "that was built elsewhere and loaded here",
        )
    for program in options.programs:
        if not (program.is_file() and os.access(program, os.X_OK)):
            raise RequestError(f"{program} is no program", next_step="--with takes files that can be executed")
    with tempfile.TemporaryDirectory(prefix="ptp-harness-image-") as folder:
        wheel = _make_wheel(source, Path(folder))
        environ = {"BUILDER": options.builder, **({} if options.base is None else {"BASE": options.base})}
        argv = ["bash", str(script), str(wheel), *(str(program.resolve()) for program in options.programs)]
        _call(argv, say, f"building {LOCAL_NAME}", within_s=_BUILT_WITHIN_S, environ=environ)


def push(builder: str, image: str, say: Say, *, insecure: bool = False) -> str:
    """Push LOCAL_NAME under another name; return that name with the digest that the registry gave it.

    `insecure`: to a registry without HTTPS, or whose certificate is not known. Raises SetupError, RequestError.
    """
    what = f"pushing {image}"
    login = f"`{builder} login {image.partition('/')[0]}` gives credentials"
    if builder == "docker":
        if insecure:
            raise RequestError(
                "docker pushes to a registry without HTTPS only where its daemon allows it, not by --insecure",
                next_step="insecure-registries in daemon.json; or --builder buildah",
            )
        _call(["docker", "tag", LOCAL_NAME, image], say, what, within_s=_INSPECTED_WITHIN_S)
        _call(["docker", "push", image], say, what, within_s=_PUSHED_WITHIN_S, next_step=login)
        argv = ["docker", "image", "inspect", "--format", '{{join .RepoDigests "\\n"}}', image]
        digests = proc.run(argv, timeout_s=_INSPECTED_WITHIN_S).stdout.split()
        path, separator, _ = image.rpartition(":")
        repository = path if separator and "/" in path else image
        fitting = [each.partition("@")[2] for each in digests if each.startswith(f"{repository}@")]
        return f"{image}@{fitting[0]}" if fitting else image
    with tempfile.TemporaryDirectory(prefix="ptp-harness-image-") as folder:
        digest = Path(folder) / "digest"
        flags = [f"--digestfile={digest}", *(["--tls-verify=false"] if insecure else [])]
        argv = [builder, "push", *flags, LOCAL_NAME, f"docker://{image}"]
        _call(argv, say, what, within_s=_PUSHED_WITHIN_S, next_step=login)
        return f"{image}@{digest.read_text().strip()}"


def _has_image(builder: str, image: str) -> bool:
    argv = [builder, "inspect", "--type", "image", image]
    return proc.run(argv, timeout_s=_INSPECTED_WITHIN_S, check=False).status == 0


def _make_wheel(source: Path, folder: Path) -> Path:
    flags = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    argv = [sys.executable, "-m", "pip", "wheel", *flags, "--wheel-dir", str(folder), str(source)]
    try:
        proc.run(argv, timeout_s=_WHEEL_WITHIN_S)
        (wheel,) = folder.glob("*.whl")
    except (CommandError, ValueError) as error:
        errors = error.stderr if isinstance(error, CommandError) else ""
        raise SetupError(
            f"the wheel of {source} cannot be made: {_read_end(errors)}",
            next_step="`make run` installs what that needs",
        ) from error
    return wheel


def _call(
    argv: Sequence[str],
    say: Say,
    what: str,
    *,
    within_s: float,
    environ: Mapping[str, str] | None = None,
    next_step: str = "",
) -> None:
    """Run a builder, and say each line that it prints. Raises SetupError with the end of its errors."""
    done = proc.run_with_progress(argv, stdin="", timeout_s=within_s, grace_s=_GRACE_S, on_line=say, env=environ)
    if done.status != 0:
        text = f"{what}: {argv[0]} ended with status {done.status}: {_read_end(done.stderr)}"
        raise SetupError(text, next_step=next_step)


def _read_end(errors: str) -> str:
    return one_line(errors.strip()[-_MOST_CHARACTERS:], _MOST_CHARACTERS)

"""`cluster image`: the image of the pods."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import cluster_options, output
from harness.errors import RequestError


def image(
    image: cluster_options.Image = None,
    registry: cluster_options.Registry = None,
    programs: Annotated[
        list[Path] | None,
        typer.Option("--with", metavar="PROGRAM", help="A program that comes along, such as Pulumi's engine."),
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="IMAGE", help="The base image (default: debian:12-slim).")
    ] = None,
    builder: Annotated[
        str | None, typer.Option("--builder", metavar="NAME", help="buildah, podman or docker (default: what is here).")
    ] = None,
    skip_build: Annotated[bool, typer.Option("--skip-build", help="Push what was built before.")] = False,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Push without HTTPS, or to an unknown certificate.")
    ] = False,
) -> None:
    """Build the image of the pods, and push it.

    Builds the image of this version from the source tree, as `make image` does, and pushes it where --registry or
    --image says; without either it stays here. Prints the name under which pods can pull it, with its digest.

    Examples:
        ptp-harness cluster image --registry registry.example/team
        ptp-harness cluster image --registry registry.example --with "$(which pulumi)"
        ptp-harness cluster image --registry registry.example --skip-build
    """
    from harness.cluster import image_build

    name = image or (cluster_options.make_image_name(registry) if registry else None)
    if name is not None:
        image_build.check_image_name(name)
    elif skip_build:
        raise RequestError("nothing is to be built, and no registry is named", next_step="--registry HOST/PATH")
    chosen = image_build.choose_builder(builder, with_image=image_build.LOCAL_NAME if skip_build else None)
    if not skip_build:
        options = image_build.BuildOptions(builder=chosen, base=base, programs=programs or ())
        image_build.build(options, output.say)
    if name is None:
        output.show(image_build.LOCAL_NAME)
        output.say("it is not pushed: nodes of a cluster cannot pull it yet; --registry names a registry")
        return
    output.show(image_build.push(chosen, name, output.say, insecure=insecure))

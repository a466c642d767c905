"""Show what is claimed of instance types, and what was measured of them."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query

from harness.model.bench_traits import BenchName
from harness.service.authentication import Context, Reader
from harness.service.problems import ServiceError
from harness.untrusted import names

router = APIRouter(prefix="/v1/types", tags=["types"])


@router.get("")
def list_types(
    context: Context,
    _caller: Reader,
    bench: Annotated[BenchName, Query(description="A bench of this service.")] = BenchName.EC2,
    region: Annotated[
        str | None,
        Query(pattern=rf"^{names.REGION}$", description="Of ec2; default: the Region of the service's AWS settings."),
    ] = None,
) -> dict[str, Any]:
    """List the types of a bench, in a Region of ec2: claims of the API, measurements, and contradictions of both.

    Types are cached for a day and prices for a week; `taken` says of when they are.
    """
    if bench not in context.options.benches:
        listed = ", ".join(context.options.benches)
        raise ServiceError(
            HTTPStatus.BAD_REQUEST, f"this service has no bench {bench}", next_step=f"its benches: {listed}"
        )
    if region is not None and bench is not BenchName.EC2:
        raise ServiceError(HTTPStatus.BAD_REQUEST, f"the bench {bench} has no Regions", next_step="leave it out")
    with context.sources.work.room():
        return context.sources.list_types(bench, region)

"""Call AWS: clients, retries and the count of calls, in one place, since all hosts share a Region's request budget."""

import logging
import os
import random
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    NoCredentialsError,
    NoRegionError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError

from harness.benches.bench import BenchError, FatalError, TransientError
from harness.benches.ec2.api import account_limits, api_errors
from harness.benches.ec2.api.account_limits import AccountLimits
from harness.benches.ec2.api.api_errors import ErrorKind
from harness.untrusted.nearest import format_nearest, nearest_names

TRIES = 6
_FIRST_BACKOFF_S = 1.0
_MOST_BACKOFF_S = 20.0
_LOGGED_OUT = ("SSOTokenLoadError", "UnauthorizedSSOTokenError", "TokenRetrievalError", "CredentialRetrievalError")
CONNECT_S, READ_S = 5, 20
_log = logging.getLogger(__name__)


def exact_filter(name: str, *values: str) -> dict[str, Any]:
    """Make a filter (for `Filters`) that selects exactly these values: `*`, `?` and `\\` in them are not wildcards.

    Source: Amazon EC2 User Guide, "List and filter your resources", on wildcards.
    """
    return {"Name": name, "Values": [re.sub(r"([\\*?])", r"\\\1", value) for value in values]}


class Api:
    """The calls to one Region. Threads share an instance: a throttled call delays the calls of all threads.

    Endpoint, profile and credentials are boto3's own (AWS_ENDPOINT_URL, AWS_PROFILE, ...).
    """

    def __init__(
        self,
        region: str | None = None,
        *,
        pause: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
        limits: AccountLimits | None = None,
    ) -> None:
        """`pause` may raise, to end early; `now` is the clock that it waits by. Raises FatalError without a Region.

        `limits`: shared with other processes that call EC2; None: this one keeps to no rate.
        """
        region_name = region or os.environ.get("AWS_REGION")  # every other SDK and Pulumi read it; boto3 does not
        try:
            self._session: Any = boto3.Session(region_name=region_name or None)
        except BotoCoreError as caught:  # a profile that does not exist
            raise _make_request_error(caught, "reading the AWS settings", region_name or "") from caught
        if not self._session.region_name:
            raise FatalError("no Region is known", next_step="--region NAME, `region:` in the campaign, or AWS_REGION")
        self.region: str = self._session.region_name
        self.calls: defaultdict[tuple[str, str], Fraction] = defaultdict(Fraction)
        """Number of calls by operation ("ec2.DescribeInstances") and host; "" for calls that serve all hosts."""
        self._clients: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()
        self._not_before = 0.0
        self._pause, self._now = pause, now
        self.limits = limits

    def call(
        self,
        service: str,
        operation: str,
        *,
        task: str,
        host: str | Sequence[str] = "",
        region: str = "",
        tries: int = TRIES,
        **parameters: Any,
    ) -> Any:
        """Make a call and return the answer as a dictionary. `operation` is boto3's method; errors begin with `task`.

        Retries transient errors, and delays all other callers meanwhile. Waits for a token of the shared bucket, where
        there are such. Raises BenchError of the error's kind.
        `region` names another Region than ours (only a few have prices). With several hosts in `host`, the call counts
        for each of them in part.
        """
        client = self.client(service, region or self.region)
        for attempt in range(1, tries + 1):
            self._wait()
            if service == "ec2" and (wait_s := self.take_token(operation)) > 0:
                self._pause(wait_s)
            self._count(service, client, operation, host)
            try:
                return getattr(client, operation)(**parameters)
            except ClientError as caught:
                error = api_errors.from_botocore(caught, task)
                code = str(caught.response.get("Error", {}).get("Code", ""))
                if service == "ec2" and api_errors.is_throttled(code):
                    self.empty_bucket(operation)
                if api_errors.kind_of_code(code) is not ErrorKind.TRANSIENT or attempt == tries:
                    raise error from caught
                self._hold_back(attempt)
            except (ReadTimeoutError, ConnectionClosedError) as caught:  # the endpoint was reachable a moment ago
                if attempt == tries:
                    raise _make_request_error(caught, task, self.region) from caught
                self._hold_back(attempt)
            except (BotoCoreError, ResponseParserError) as caught:
                raise _make_request_error(caught, task, self.region) from caught
        raise AssertionError("the last try raises")

    def pages(
        self,
        service: str,
        operation: str,
        key: str,
        *,
        task: str,
        host: str | Sequence[str] = "",
        region: str = "",
        **parameters: Any,
    ) -> Iterator[Any]:
        """Return every item of `key` over all pages (NextToken), by calls as `call` makes them."""
        token: dict[str, Any] = {}
        while True:
            answer = self.call(service, operation, task=task, host=host, region=region, **parameters, **token)
            yield from answer.get(key, ())
            if not answer.get("NextToken"):
                return
            token = {"NextToken": answer["NextToken"]}

    def take_token(self, operation: str) -> float:
        """Take a token for a request of EC2; return how long to wait for it, s. `operation`: boto3's method."""
        if self.limits is None:
            return 0.0
        bucket = account_limits.find_bucket(operation)
        return self.limits.take(self._name_bucket(operation), bucket.size, bucket.per_s)

    def empty_bucket(self, operation: str) -> None:
        """Tell all who share EC2's limits that it has refused a request, since there were too many."""
        if self.limits is not None:
            bucket = account_limits.find_bucket(operation)
            self.limits.empty(self._name_bucket(operation), bucket.size, bucket.per_s, _FIRST_BACKOFF_S)

    def _name_bucket(self, operation: str) -> str:
        return f"{self._account}/{self.region}/{operation}"

    @cached_property
    def _account(self) -> str:
        """The number of the account; "" where it cannot be found out."""
        try:
            answer = self.call("sts", "get_caller_identity", task="asking which account this is", tries=1)
        except BenchError:
            return ""
        return str(answer.get("Account", ""))

    def endpoint(self, service: str) -> str:
        """Return the address of a service: AWS's own, or the one in AWS_ENDPOINT_URL or AWS_ENDPOINT_URL_<SERVICE>."""
        return str(self.client(service, self.region).meta.endpoint_url)

    def count_calls(self, host: str | None = None) -> Fraction:
        """Count the calls for a host, including the host's parts of shared calls; without a host, of all calls."""
        with self._lock:
            return sum((count for (_, name), count in self.calls.items() if host in (None, name)), Fraction())

    def client(self, service: str, region: str) -> Any:
        with self._lock:
            if (service, region) not in self._clients:
                config = Config(
                    retries={"total_max_attempts": 1},
                    connect_timeout=CONNECT_S,
                    read_timeout=READ_S,
                    max_pool_connections=32,
                )
                try:
                    client = self._session.client(service, region_name=region, config=config)
                except (BotoCoreError, ValueError) as caught:  # an impossible name of a Region or an endpoint
                    raise _make_request_error(caught, "reading the AWS settings", region) from caught
                self._clients[service, region] = client
            return self._clients[service, region]

    def _count(self, service: str, client: Any, operation: str, host: str | Sequence[str]) -> None:
        hosts = [host] if isinstance(host, str) else host
        _log.debug("calling %s of %s for %s", operation, service, ", ".join(hosts) or "the campaign")
        with self._lock:
            for name in hosts:
                self.calls[f"{service}.{client.meta.method_to_api_mapping[operation]}", name] += Fraction(1, len(hosts))

    def _wait(self) -> None:
        while (remaining_s := self._remaining_s()) > 0:
            self._pause(remaining_s)

    def _remaining_s(self) -> float:
        with self._lock:
            return self._not_before - self._now()

    def _hold_back(self, attempt: int) -> None:
        seconds = min(_FIRST_BACKOFF_S * 2 ** (attempt - 1), _MOST_BACKOFF_S) * random.uniform(0.5, 1.0)
        with self._lock:
            self._not_before = max(self._not_before, self._now() + seconds)


def _make_request_error(caught: Exception, task: str, region: str) -> BenchError:
    if isinstance(caught, NoCredentialsError):
        return FatalError(f"{task}: there are no AWS credentials", next_step="`aws configure`, AWS_PROFILE, or a role")
    if isinstance(caught, NoRegionError):
        return FatalError(f"{task}: no Region is known", next_step="--region NAME or AWS_REGION")
    if isinstance(caught, ResponseParserError):
        message = f"{task}: the service that answers for AWS in {region} does not use AWS's protocol"
        return TransientError(message, next_step="is a proxy in between, or AWS_ENDPOINT_URL set?")
    name = type(caught).__name__
    if name in _LOGGED_OUT:
        return FatalError(f"{task}: {caught}", next_step="log in again: `aws sso login`, or new temporary keys")
    if name == "ProfileNotFound":
        return FatalError(f"{task}: {caught}", next_step="`aws configure list-profiles` lists those that are there")
    if name == "InvalidRegionError":
        return FatalError(
            f"{task}: there can be no Region {region!r}", next_step=f"--region NAME{_describe_nearest(region)}"
        )
    if name in ("EndpointConnectionError", "ConnectTimeoutError", "ConnectionClosedError", "ReadTimeoutError"):
        message = f"{task}: AWS in {region} does not answer: {caught}"
        question = f"is the Region's name right{_describe_nearest(region)}"
        return TransientError(message, next_step=f"{question}, and is there a way to the internet?")
    if name == "ProxyConnectionError":
        return TransientError(f"{task}: {caught}", next_step="is the proxy right that HTTPS_PROXY names?")
    return FatalError(f"{task}: {caught}", next_step="`ptp-harness doctor --bench ec2` says what is missing")


def _describe_nearest(region: str) -> str:
    """List the nearest names, in brackets, of a Region that the SDK's list lacks. It may lack newer Regions."""
    session = boto3.Session()
    regions = [
        name
        for partition in session.get_available_partitions()
        for name in session.get_available_regions("ec2", partition)
    ]
    near = [] if region in regions else nearest_names(region, regions, likeness=0.7)
    return format_nearest(near)

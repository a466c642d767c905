"""A Pulumi provider named `aws` that calls moto, for the real engine without an AWS account.

    python tests/doubles/aws_provider.py [--faults FILE] [--log FILE]     prints its port, serves until its input ends
    PULUMI_DEBUG_PROVIDERS=aws:PORT AWS_ENDPOINT_URL=http://127.0.0.1:MOTO pulumi up

It names resources like the real provider (the resource's name and a random suffix), formats EC2's errors like it, and
can fail, delay and misreport by rules (`faults`). It lacks: defaults that the real provider fills in (`__defaults`,
tagsAll), its schema's checks, its waits of 10 s and more, its retries, and previews of computed values. One process
serves all stacks, so there is one Region at a time, and Cancel stops no call in progress.
"""

import argparse
import importlib.metadata
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import boto3
import grpc
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from google.protobuf import any_pb2, empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from tests.doubles.faults import Fault, Faults
from tests.doubles.kinds import INVOKES, KINDS, CreationFailed, Properties, is_absent

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""The engine's encoding of a value that is not known yet (sdk/go/common/resource/plugin/rpc.go)."""


class CallError(Exception):
    """An error answer: message, gRPC code, and the resource (id, state) if it was created all the same."""

    def __init__(self, message: str, code: str = "UNKNOWN", *, created: tuple[str, Properties] | None = None) -> None:
        super().__init__(message)
        self.message, self.code, self.created = message, grpc.StatusCode[code], created


VERBS = {"Create": "creating", "Update": "updating", "Delete": "deleting", "Read": "reading", "Invoke": "reading"}
OPERATIONS = {
    ("Create", "Instance"): "RunInstances",
    ("Create", "KeyPair"): "ImportKeyPair",
    ("Delete", "Instance"): "TerminateInstances",
}


def provider_error_text(method: str, kind: str, code: str, message: str, operation: str = "") -> str:
    """Format EC2's error like the real provider."""
    short = kind.rpartition(":")[2]
    operation = operation or OPERATIONS.get((method, short), f"{method}{short}")
    status = 500 if code.startswith("Insufficient") or code == "InternalError" else 400
    return (
        f"1 error occurred:\n\t* {VERBS[method]} EC2 {short}: operation error EC2: {operation}, "
        f"https response error StatusCode: {status}, RequestID: 00000000-0000-4000-8000-000000000000, "
        f"api error {code}: {message}\n\n"
    )


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """The protocol of pulumi/proto/provider.proto, over `KINDS` and `INVOKES`.

    Without Handshake: a provider that implements it must answer previews of Create and Update.
    """

    def __init__(self, faults: Faults, log: Path | None) -> None:
        self._faults, self._log, self._lock = faults, log, threading.Lock()
        self._region = os.environ.get("AWS_REGION", "us-east-1")
        self._clients: dict[tuple[str, str], Any] = {}

    # --- the provider itself ------------------------------------------------------------------------------------------

    def Attach(self, request: Any, context: Any) -> Any:  # noqa: N802
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        return plugin_pb2.PluginInfo(version=importlib.metadata.version("pulumi-aws"))

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802
        region = plain(request.args).get("region")
        if region:
            self._region = region
        return provider_pb2.ConfigureResponse(acceptSecrets=False, supportsPreview=False)

    # --- its functions ------------------------------------------------------------------------------------------------

    def Invoke(self, request: Any, context: Any) -> Any:  # noqa: N802
        args = plain(request.args)
        clients = {name: self._client(name, args.get("region") or self._region) for name in ("ec2", "ssm")}
        with self._answer_call(context, "Invoke", request.tok, request.tok):
            if request.tok not in INVOKES:
                raise CallError(f"the provider double has no function {request.tok}", "UNIMPLEMENTED")
            return provider_pb2.InvokeResponse(**{"return": struct(INVOKES[request.tok](clients, args))})

    # --- its resources ------------------------------------------------------------------------------------------------

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        kind_name, name = type_and_name(request.urn)
        with self._answer_call(context, "Check", kind_name, request.urn):
            if kind_name not in KINDS:
                raise CallError(f"the provider double has no resource {kind_name}", "UNIMPLEMENTED")
            olds, news = plain(request.olds), plain(request.news)
            news.setdefault("region", olds.get("region") or self._region)
            default_name = KINDS[kind_name].name_property
            if default_name and not news.get(default_name):
                news[default_name] = (
                    olds.get(default_name) or f"{name}-{(request.randomSeed or os.urandom(4))[:4].hex()[:7]}"
                )
            return provider_pb2.CheckResponse(inputs=struct(news))

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802
        kind = KINDS[type_and_name(request.urn)[0]]
        olds, news = plain(request.old_inputs), plain(request.news)
        changed = sorted(key for key in olds.keys() | news.keys() if olds.get(key) != news.get(key))
        replaces = [key for key in changed if key in kind.fixed or key == "region"]
        response = provider_pb2.DiffResponse
        return response(
            changes=response.DIFF_SOME if changed else response.DIFF_NONE,
            diffs=changed,
            replaces=replaces,
            deleteBeforeReplace=bool(replaces) and kind.name_property is not None and kind.name_property not in changed,
        )

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        kind_name, _ = type_and_name(request.urn)
        assert not request.preview, "Configure says that previews are not answered"
        inputs, ident = plain(request.properties), ""
        ec2 = self._client("ec2", inputs["region"])
        with self._answer_call(context, "Create", kind_name, request.urn) as fault:
            try:
                ident = KINDS[kind_name].create(ec2, inputs)
            except CreationFailed as error:
                raise CallError(f"1 error occurred:\n\t* {error}\n\n", created=(error.ident, inputs)) from error
            state = inputs | (KINDS[kind_name].read(ec2, ident) or {})
            self._apply_after_effects(fault, "Create", kind_name, (ident, state))
            return provider_pb2.CreateResponse(id=ident, properties=struct(state))

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802
        kind_name, _ = type_and_name(request.urn)
        olds, inputs = plain(request.properties), plain(request.inputs)
        with self._answer_call(context, "Read", kind_name, request.urn):
            current = KINDS[kind_name].read(self._client("ec2", olds.get("region") or self._region), request.id)
            if current is None:
                return provider_pb2.ReadResponse()
            current_inputs = {key: current[key] for key in inputs if key in current}
            return provider_pb2.ReadResponse(
                id=request.id, properties=struct(olds | current), inputs=struct(inputs | current_inputs)
            )

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        kind_name, _ = type_and_name(request.urn)
        olds, news = plain(request.old_inputs), plain(request.news)
        ec2 = self._client("ec2", news["region"])
        with self._answer_call(context, "Update", kind_name, request.urn) as fault:
            KINDS[kind_name].update(ec2, request.id, olds, news)
            state = news | (KINDS[kind_name].read(ec2, request.id) or {})
            self._apply_after_effects(fault, "Update", kind_name, (request.id, state))
            return provider_pb2.UpdateResponse(properties=struct(state))

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        kind_name, _ = type_and_name(request.urn)
        region = plain(request.properties).get("region") or self._region
        with self._answer_call(context, "Delete", kind_name, request.urn) as fault:
            self._delete(kind_name, self._client("ec2", region), request.id)
            self._apply_after_effects(fault, "Delete", kind_name, None)
            return empty_pb2.Empty()

    def _delete(self, kind_name: str, ec2: Any, ident: str) -> None:
        """Delete like the real provider: an absent resource is success, one still in use is retried for 15 s."""
        for attempts_left in range(60, -1, -1):
            try:
                KINDS[kind_name].delete(ec2, ident)
                return
            except ClientError as error:
                if is_absent(error):
                    return
                if attempts_left == 0 or error.response["Error"]["Code"] != "DependencyViolation":
                    raise
                time.sleep(0.25)

    # --- how every call is answered -----------------------------------------------------------------------------------

    @contextmanager
    def _answer_call(self, context: Any, method: str, kind: str, urn: str) -> Iterator[Fault]:
        """Log the call, apply its fault before it, and turn errors into those of the protocol."""
        self._log_call(method, urn, "begin")
        try:
            fault = self._faults.next_fault(method, kind, urn)
            time.sleep(fault.delay_s)
            if fault.code and not fault.after and not fault.partial:
                raise CallError(provider_error_text(method, kind, fault.code, fault.message), fault.grpc)
            yield fault
            self._log_call(method, urn, "end")
        except CallError as error:
            self._log_call(method, urn, "refused")
            refuse(context, error)
        except ClientError as error:
            ec2_error = error.response["Error"]
            self._log_call(method, urn, ec2_error["Code"])
            refuse(
                context,
                CallError(
                    provider_error_text(method, kind, ec2_error["Code"], ec2_error["Message"], error.operation_name)
                ),
            )
        except BotoCoreError as error:
            refuse(context, CallError(f"{VERBS.get(method, method)}: {error}"))

    def _apply_after_effects(
        self, fault: Fault, method: str, kind: str, created: tuple[str, Properties] | None
    ) -> None:
        time.sleep(fault.delay_after_s)
        if fault.partial:
            raise CallError(fault.message, created=created)
        if fault.after:
            raise CallError(provider_error_text(method, kind, fault.code or "InternalError", fault.message), fault.grpc)

    def _log_call(self, method: str, urn: str, step: str) -> None:
        if self._log is not None:
            with self._lock, self._log.open("a") as log:
                log.write(json.dumps({"at": time.time(), "method": method, "urn": urn, "what": step}) + "\n")

    def _client(self, service: str, region: str) -> Any:
        with self._lock:
            if (service, region) not in self._clients:
                config = Config(retries={"total_max_attempts": 2}, max_pool_connections=32)
                make_client: Any = boto3.client  # typed by the names of services, of which this is a variable one
                self._clients[service, region] = make_client(service, region_name=region, config=config)
            return self._clients[service, region]


def refuse(context: Any, error: CallError) -> None:
    """End the call with an error; report a resource that was created all the same (ErrorResourceInitFailed)."""
    if error.created is not None:
        ident, state = error.created
        detail = provider_pb2.ErrorResourceInitFailed(id=ident, properties=struct(state), reasons=[error.message])
        packed = any_pb2.Any()
        packed.Pack(detail)
        status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=error.message, details=[packed])
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(error.code, error.message)


def type_and_name(urn: str) -> tuple[str, str]:
    """Parse the resource's own type and name: urn:pulumi:STACK::PROJECT::PARENT$TYPE::NAME."""
    _, _, types, name = urn.split("::", 3)
    return types.rpartition("$")[2], name


def plain(message: Any) -> Properties:
    """Convert a protobuf struct to Python: whole numbers become int, values not known yet are omitted."""
    return {key: _plain(value) for key, value in json_format.MessageToDict(message).items() if value != UNKNOWN}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def struct(properties: Properties) -> struct_pb2.Struct:
    message = struct_pb2.Struct()
    message.update(properties)
    return message


def main() -> None:
    """Serve on 127.0.0.1. Standard output holds only the port, as for all Pulumi plugins."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=Path)
    parser.add_argument("--log", type=Path)
    parser.add_argument("engine", nargs="?", help="the engine's address, which Pulumi gives to its plugins")
    options = parser.parse_args()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Provider(Faults(options.faults), options.log), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    if options.engine:
        server.wait_for_termination()
    sys.stdin.read()  # until the parent process closes it
    server.stop(None)


if __name__ == "__main__":
    main()

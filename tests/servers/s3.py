"""Serve S3 on this machine by moto's server, which can be stopped and started again without losing its objects."""

import os
import urllib.request
from typing import Any

import boto3

NO_ACCOUNT = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""Variables without which boto3 would find the account of whoever runs the tests."""


class Server:
    """A server on a port of its own. `environ` are the variables by which boto3 reaches it."""

    def __init__(self) -> None:
        self._port = 0
        self.start()

    def start(self) -> None:
        from moto.server import ThreadedMotoServer  # slow to import: only who needs it waits

        self._server: Any = ThreadedMotoServer(ip_address="127.0.0.1", port=self._port, verbose=False)
        self._server.start()
        self._port = self._server.get_host_and_port()[1]

    def stop(self) -> None:
        """Refuse connections from now on."""
        self._server.stop()

    @property
    def environ(self) -> dict[str, str]:
        keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
        return {**NO_ACCOUNT, **keys, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}"}

    def client(self) -> Any:
        """A client of the server, for what a test does itself."""
        return boto3.client(
            "s3",
            endpoint_url=self.environ["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def demand_known_keys(self, *, after_requests: int) -> None:
        """Refuse the requests of unknown access keys, after so many."""
        url = f"{self.environ['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
        text = {"Content-Type": "text/plain"}
        request = urllib.request.Request(url, data=str(after_requests).encode(), headers=text, method="POST")
        urllib.request.urlopen(request).close()

"""Check that EC2 accepts the campaign's instance profile, before anything is made.

RunInstances with DryRun makes nothing and checks the profile's name too. No other permission is needed than those of a
launch: GetInstanceProfile would need one of IAM's, and shows a new profile some seconds before EC2 accepts it.
"""

from harness.benches.bench import BenchError
from harness.benches.ec2.account import permissions
from harness.benches.ec2.api import api_errors
from harness.benches.ec2.api.api import Api
from harness.errors import RequestError


def check_profile(api: Api, name: str, *, image: str, instance_type: str, subnet: str) -> None:
    """Ask EC2 by DryRun for an instance with that profile. Raises RequestError for a profile that EC2 refuses.

    Any other refusal says nothing about the profile: it is left to the launch, which tries other places.
    """
    try:
        api.call(
            "ec2",
            "run_instances",
            task=f"looking at the instance profile {name}",
            IamInstanceProfile={"Name": name},
            **permissions.trial_launch(image=image, instance_type=instance_type, subnet=subnet, run="check"),
        )
    except BenchError as error:
        if api_errors.INSTANCE_PROFILE in error.message:
            raise RequestError(error.message, next_step=error.next_step) from error

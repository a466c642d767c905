"""The AWS account: permissions, quotas, networks, resources that carry our tags."""

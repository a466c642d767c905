"""Instances of Amazon EC2, one Pulumi stack each."""

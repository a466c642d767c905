"""The Pulumi program: one stack is one EC2 instance. It imports `harness.model` and nothing else of the harness."""

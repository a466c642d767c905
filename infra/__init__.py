"""The Pulumi program: one stack is one EC2 instance. The program imports only `harness.model` from the harness."""

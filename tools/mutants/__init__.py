"""Make one small change of the code that judges, and see whether a test notices it. `python -m tools.mutants --help`.

mutmut makes the changes; this package tries them. mutmut's own run starts pytest for each of them, which takes most of
a second, and it leaves constants of modules and properties alone. Here each change is made in a process forked from one
collected pytest session, which runs only the tests that reach the changed function, for a tenth of that time.
"""

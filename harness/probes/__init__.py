"""Parsers of the output of tools. One module per tool; `facts` and `samples` put them together.

A parser takes text and where it came from, and accepts, ignores (noise that its docstring names) or rejects each line:
a rejected line is a ParseError with its place. `facts` and `samples` turn that into an `Unparsed` entry and set the
facts that the text would have shown to None: not observed.
"""

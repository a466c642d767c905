"""What does a tool's text say? One module per tool; `facts` and `samples` put them together.

A parser takes text and where it came from, and accepts, ignores (noise that its docstring names) or rejects each line:
a rejected line is a ParseError with its place. `facts` and `samples` turn that into an `Unparsed` entry and leave what
the text would have shown None: not observed.
"""

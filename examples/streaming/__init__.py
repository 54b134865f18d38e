"""A video streaming service on Perdure: the reference application.

The application, in the order in which to read it:

- `events`: what can happen, to users and to content
- `user`: the aggregate that decides which of it may
- `profiles`, `popularity`: the two read models, with `trending` for the arithmetic of the second

`demo` plays years of such a service through it, and checks every row: ``python -m examples.streaming``.
"""

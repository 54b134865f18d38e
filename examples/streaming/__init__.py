"""A video streaming service on Perdure: the reference application.

The application, in the order in which to read it:

- `events`: what can happen, to users and to content
- `user`: the aggregate that decides which of it may
- `profiles`, `popularity`: the two read models, with `trending` for the arithmetic of the second
- `application`: all of it in one place, for the command line: ``perdure --app examples.streaming:app doctor``

`demo` plays years of such a service through it, and checks every row: ``python -m examples.streaming``.
"""

from examples.streaming.application import app as app

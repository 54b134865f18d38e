"""A video streaming service on Perdure: the reference application.

Read its modules in this order:

- `events`: the events of users and content
- `user`: the aggregate with the business rules of users
- `profiles`, `popularity`: the two read models; `trend_score` has the arithmetic of the second
- `application`: one object with the aggregate and the read models; ``perdure --app examples.streaming:app doctor``

`demo` replays years of such a service, and checks every row: ``python -m examples.streaming``.
"""

from examples.streaming.application import app as app

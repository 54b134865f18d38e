"""Plays a service's years through the application, watches it, and checks what comes out.

- `source`: what happened, as `movielens` reads it or `generated` makes it up
- `replay`: lets it happen, as commands and appended events
- `recomputation`, `verification`: what the read models must hold, found another way, and whether they do
- `display`, `report`, `document`: what is shown while it runs, at its end, and written as JSON
- `demo`: all of it in a row; `cli`: its arguments
"""

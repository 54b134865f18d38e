"""Replays years of a service through the application, shows the progress, and checks the results.

- `source`: the history of the service, read by `movielens` or made up by `generated`
- `workload`, `replay`: the actions of its users, and their replay as commands and appended events
- `recomputation`, `verification`: the expected rows of the read models, computed independently, and the comparison
- `display`, `report`, `document`: the output during the run, at its end, and as JSON
- `demo`: the whole run; `cli`: its arguments
"""

"""The application. The demo uses it, and the command line finds it: ``perdure --app examples.streaming:app``."""

from examples.streaming.popularity import ContentPopularity
from examples.streaming.profiles import UserProfiles
from examples.streaming.user import User
from perdure import Application

app = Application(aggregates=[User], projections=[UserProfiles(), ContentPopularity()])

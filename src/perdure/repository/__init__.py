"""Repositories: aggregates and deciders loaded from a store and saved to it, with retries and snapshots."""

from perdure.repository.aggregate_settings import AggregateSettings as AggregateSettings
from perdure.repository.decider_repository import DeciderRepository as DeciderRepository
from perdure.repository.group_command import execute_all as execute_all
from perdure.repository.multi_stream import save_all as save_all
from perdure.repository.repository import Repository as Repository
from perdure.retry import RetryConfig as RetryConfig

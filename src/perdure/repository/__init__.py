"""Repositories: aggregates and deciders loaded from a store and saved to it, with retries and snapshots."""

from perdure.repository.aggregates import Repository as Repository
from perdure.repository.deciders import DeciderRepository as DeciderRepository
from perdure.repository.groups import execute_all as execute_all
from perdure.repository.groups import save_all as save_all
from perdure.repository.retry import RetryConfig as RetryConfig

"""Add the pages to an application."""

from fastapi import FastAPI

from harness.runs.host_series import HostSeriesCache
from harness.service.browser_guards import BrowserGuards
from harness.service.context import ServiceContext
from harness.service.pages import (
    compare_page,
    evidence_page,
    host_page,
    kept_page,
    login_pages,
    overview_page,
    queue_page,
    run_list_page,
    run_page,
    schedule_actions,
    series_data,
    sites_page,
    static_files,
    stream_page,
    submit_page,
    task_actions,
    watch_page,
)
from harness.service.pages.error_pages import add_error_pages
from harness.service.sessions import load_sessions
from harness.store.verdict_history import VerdictHistory

_MODULES = (
    static_files,
    login_pages,
    overview_page,
    run_list_page,
    run_page,
    host_page,
    evidence_page,
    series_data,
    compare_page,
    kept_page,
    queue_page,
    task_actions,
    schedule_actions,
    sites_page,
    submit_page,
    watch_page,
    stream_page,
)


def add_pages(app: FastAPI, context: ServiceContext) -> None:
    """Add the pages, and what keeps browsers from being used against the service."""
    app.state.sessions = load_sessions(context.settings)
    app.state.verdict_history = VerdictHistory(context.ledger)
    app.state.host_series = HostSeriesCache()
    for module in _MODULES:
        app.include_router(module.router)
    add_error_pages(app)
    app.add_middleware(BrowserGuards)

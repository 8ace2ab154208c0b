"""The server of a site: gunicorn, workers with several threads each, and one process that computes."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import tempfile
from functools import partial
from typing import Any

from gunicorn.app.base import BaseApplication

from trackserver.agreement import bootstrap
from trackserver.catalogue.site import Site
from trackserver.errors import BadSetting, InvalidRequest, PortInUse, TrackserverError
from trackserver.jobs.process import keep_computing
from trackserver.web import create_app, metrics, worker
from trackserver.web.site import can_predict
from trackserver.web.state import State

SWITCH_INTERVAL_S = 0.0005  # between threads; Python's default of 5 ms adds up when many requests come at once
ACCESS_LOG_FORMAT = '%(t)s %(h)s "%(r)s" %(s)s %(B)s bytes %(M)s ms'

_log = logging.getLogger(__name__)


class Server(BaseApplication):
    """The gunicorn application. SIGHUP reloads the site's settings and replaces the workers after their requests."""

    def __init__(self, site: Site):
        self.site = site
        self.metrics_folder = ""  # where several workers write their counts
        super().__init__()

    def load_config(self) -> None:
        settings = self.site.settings
        options = {
            "bind": f"{settings.host}:{settings.port}",
            "worker_class": worker.Worker,
            "workers": settings.workers,
            "threads": settings.threads,
            "timeout": 120,
            "graceful_timeout": 30,
            "keepalive": 30,
            "limit_request_line": worker.MAX_ADDRESS_BYTES,
            "logger_class": worker.Log,
            "loglevel": "warning",
            "accesslog": _access_log(self.site),
            "access_log_format": ACCESS_LOG_FORMAT,
            "control_socket_disable": True,
            "post_worker_init": _start_worker,
            "child_exit": _drop_gauges,
            "on_exit": _clean_up,
        }
        for name, value in options.items():
            self.cfg.set(name, value)
        if settings.workers > 1 and metrics.FOLDER_VARIABLE not in os.environ:
            self.metrics_folder = os.environ[metrics.FOLDER_VARIABLE] = tempfile.mkdtemp(prefix="trackserver-metrics-")

    def load(self) -> Any:
        return create_app(self.site)

    def reload(self) -> None:
        try:
            site = self.site.reopen()
            _access_log(site)
        except TrackserverError as error:
            _log.error("Keeping the old settings: %s", error)
        else:
            self.site = site
        super().reload()


def _access_log(site: Site) -> str | None:
    """Gunicorn's setting for the access log; checks that its file can be written."""
    setting = site.settings.access_log
    if setting in ("", "-"):
        return setting or None
    file = site.inside(setting)
    try:
        file.open("a").close()
    except OSError as error:
        raise BadSetting(f"access_log: cannot write {file}: {error.strerror}.") from None
    return str(file)


def _clean_up(arbiter: Any) -> None:
    if arbiter.app.metrics_folder:
        shutil.rmtree(arbiter.app.metrics_folder, ignore_errors=True)


def _drop_gauges(arbiter: Any, worker: Any) -> None:
    """Drop the gauges of a worker that ended, such as its cache sizes; its counts stay."""
    if metrics.FOLDER_VARIABLE in os.environ:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)


def _start_worker(worker: Any) -> None:
    """Start the compute process beside this worker, and warm up what tiles need."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    state: State = worker.wsgi.extensions["trackserver"]
    if can_predict() and state.site.is_writable():
        state.jobs.start(partial(keep_computing, state.site))
    state.tilesets.warm_up()
    bootstrap.warm_up()


def address(site: Site) -> str:
    """Address of the site for a browser on this machine."""
    host = site.settings.host
    return f"http://{'localhost' if host in ('127.0.0.1', '0.0.0.0') else host}:{site.settings.port}/"


def check_port(site: Site) -> None:
    """Raise unless the site's port is free; gunicorn itself would retry for seconds and then explain less."""
    host, port = site.settings.host, site.settings.port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise InvalidRequest(
                f"Port {port} needs administrator rights; choose a port above 1023 with --port."
            ) from None
        except socket.gaierror:
            raise InvalidRequest(f"'{host}' is not an address of this machine; use 127.0.0.1 or 0.0.0.0.") from None
        except OSError as error:
            raise PortInUse(host, port) from error


def is_listening(site: Site) -> bool:
    """Whether a server listens at the site's address."""
    host = "127.0.0.1" if site.settings.host == "0.0.0.0" else site.settings.host
    try:
        socket.create_connection((host, site.settings.port), timeout=1).close()
    except OSError:
        return False
    return True

"""The processes that serve a site: gunicorn, workers of several threads each, and beside them one for the model."""

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
from trackserver.jobs.process import apart
from trackserver.web import create_app, metrics, worker
from trackserver.web.site import can_predict
from trackserver.web.state import State

SWITCH = 0.0005  # seconds a thread computes before others may; Python's own 5 ms add up when many requests come at once
ACCESS = '%(t)s %(h)s "%(r)s" %(s)s %(B)s bytes %(M)s ms'

_log = logging.getLogger(__name__)


class Server(BaseApplication):
    """SIGHUP reads the site's settings anew and replaces the workers; what they are answering is answered first."""

    def __init__(self, site: Site):
        self.site = site
        self.shared = ""  # a folder in which several workers count together
        super().__init__()

    def load_config(self) -> None:
        settings = self.site.settings
        chosen = {
            "bind": f"{settings.host}:{settings.port}",
            "worker_class": worker.Worker,
            "workers": settings.workers,
            "threads": settings.threads,
            "timeout": 120,
            "graceful_timeout": 30,
            "keepalive": 30,
            "limit_request_line": worker.MOST_ADDRESS,
            "logger_class": worker.Log,
            "loglevel": "warning",
            "accesslog": _access_log(self.site),
            "access_log_format": ACCESS,
            "control_socket_disable": True,
            "post_worker_init": _begin,
            "child_exit": _forget,
            "on_exit": _end,
        }
        for name, value in chosen.items():
            self.cfg.set(name, value)
        if settings.workers > 1 and metrics.SHARED not in os.environ:
            self.shared = os.environ[metrics.SHARED] = tempfile.mkdtemp(prefix="trackserver-metrics-")

    def load(self) -> Any:
        return create_app(self.site)

    def reload(self) -> None:
        try:
            site = self.site.reopened()
            _access_log(site)
        except TrackserverError as error:
            _log.error("The settings stay as they were: %s", error)
        else:
            self.site = site
        super().reload()


def _access_log(site: Site) -> str | None:
    """Where the access log goes, in gunicorn's words."""
    chosen = site.settings.access_log
    if chosen in ("", "-"):
        return chosen or None
    file = site.inside(chosen)
    try:
        file.open("a").close()
    except OSError as error:
        raise BadSetting(f"access_log: {file} cannot be written: {error.strerror}.") from None
    return str(file)


def _end(arbiter: Any) -> None:
    if arbiter.app.shared:
        shutil.rmtree(arbiter.app.shared, ignore_errors=True)


def _forget(arbiter: Any, ended: Any) -> None:
    """What a worker holds goes with it; what it has counted stays."""
    if metrics.SHARED in os.environ:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(ended.pid)


def _begin(started: Any) -> None:
    """Have questions answered beside this worker, and prepare what its tiles need."""
    sys.setswitchinterval(SWITCH)
    state: State = started.wsgi.extensions["trackserver"]
    if can_predict() and state.site.is_writable():
        state.jobs.start(partial(apart, state.site))
    state.tilesets.warm_up()
    bootstrap.warm_up()


def address(site: Site) -> str:
    """What to type into a browser on this machine."""
    host = site.settings.host
    return f"http://{'localhost' if host in ('127.0.0.1', '0.0.0.0') else host}:{site.settings.port}/"


def check_port(site: Site) -> None:
    """Raise unless the site's address is free: gunicorn itself would try again for seconds and then say less."""
    host, port = site.settings.host, site.settings.port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise InvalidRequest(
                f"Port {port} needs administrator rights; choose one above 1023 with --port."
            ) from None
        except socket.gaierror:
            raise InvalidRequest(f"'{host}' is not an address of this machine; use 127.0.0.1 or 0.0.0.0.") from None
        except OSError as error:
            raise PortInUse(host, port) from error


def answers(site: Site) -> bool:
    """Whether something listens at the site's address."""
    host = "127.0.0.1" if site.settings.host == "0.0.0.0" else site.settings.host
    try:
        socket.create_connection((host, site.settings.port), timeout=1).close()
    except OSError:
        return False
    return True

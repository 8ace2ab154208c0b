"""The process that serves a site: gunicorn, one worker with several threads, the model loaded in it once."""

from __future__ import annotations

import socket
from importlib import import_module
from typing import Any

from gunicorn.app.base import BaseApplication

from trackserver.catalogue.effects import default_model, warm_up
from trackserver.catalogue.site import Site
from trackserver.errors import InvalidRequest, PortInUse
from trackserver.web import create_app
from trackserver.web.site import can_predict
from trackserver.web.state import State


class Server(BaseApplication):
    def __init__(self, site: Site):
        self.site = site
        super().__init__()

    def load_config(self) -> None:
        settings = self.site.settings
        chosen = {
            "bind": f"{settings.host}:{settings.port}",
            "worker_class": "gthread",
            "threads": settings.threads,
            "timeout": 120,
            "graceful_timeout": 5,
            "keepalive": 30,
            "loglevel": "warning",
            "control_socket_disable": True,
            "post_worker_init": _warm_up,
        }
        for name, value in chosen.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return create_app(self.site)


def _warm_up(worker: Any) -> None:
    """Load the default model behind the scenes; questions that come meanwhile queue behind it.

    torch itself, a second for any model, is loaded before the first page: the first question is then not kept waiting.
    """
    state: State = worker.wsgi.extensions["trackserver"]
    if can_predict() and default_model(state.site):
        import_module("trackserver.predict.engine")
        state.jobs.submit("warm-up", lambda: warm_up(state.site))


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

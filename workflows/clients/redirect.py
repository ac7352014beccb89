"""Have a program that names the atlas's own host ask another server instead: call `redirect` before it asks.

For clients that offer no setting for the address. Works with requests and with urllib, and changes neither
the client nor what it sends, apart from the host.
"""

from __future__ import annotations

import re
import urllib.request
from typing import Any

HOSTS = re.compile(r"https?://(api\.brain-map\.org|download\.alleninstitute\.org)(?=/)")


def redirect(base: str) -> None:
    """Send what this process asks of the atlas's hosts to a server of one's own.

    Parameters
    ----------
    base : str
        Address of the server, as `ish serve` prints it.
    """
    base = base.rstrip("/")

    class Redirecting(urllib.request.BaseHandler):
        handler_order = 0  # before urllib's own handlers

        def https_request(self, asked: urllib.request.Request) -> urllib.request.Request:
            asked.full_url = HOSTS.sub(base, asked.full_url)
            return asked

        http_request = https_request

    urllib.request.install_opener(urllib.request.build_opener(Redirecting))
    try:
        import requests
    except ModuleNotFoundError:
        return  # the client uses urllib alone
    ask = requests.Session.request

    def request(
        self: requests.Session, method: str, url: str, *args: Any, **kwargs: Any
    ) -> requests.Response:
        return ask(self, method, HOSTS.sub(base, url), *args, **kwargs)

    requests.Session.request = request

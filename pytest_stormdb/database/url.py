"""A connection string as a URL, which clients other than libpq's understand."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from psycopg.conninfo import conninfo_to_dict

from .passfile import password_of

UNDERSTOOD = (
    "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "target_session_attrs", "options", "application_name"
)  # fmt: skip
"""What libpq and asyncpg know beside the address; another key is an error to one of them."""


def url_of(dsn: str) -> str:
    """``postgresql://user:password@host:port/database``; a Unix socket's folder, or several hosts, as ``?host=``."""
    parts = {key: str(value) for key, value in conninfo_to_dict(dsn).items() if value not in (None, "")}
    host, port = parts.get("host") or parts.get("hostaddr") or "", parts.get("port", "")
    query = {key: parts[key] for key in UNDERSTOOD if key in parts}
    if "/" in host or "," in host or host.startswith("@"):
        query = {"host": host, **({"port": port} if port else {}), **query}
        host = port = ""
    user = quote(parts.get("user", ""), safe="")
    password = parts.get("password") or password_of(parts.get("passfile", ""))
    if password is not None:
        user += f":{quote(password, safe='')}"
    address = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    asked = f"?{urlencode(query, quote_via=quote)}" if query else ""
    return f"postgresql://{user}{'@' if user else ''}{address}/{quote(parts.get('dbname', ''), safe='')}{asked}"

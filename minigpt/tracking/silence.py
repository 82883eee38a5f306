"""Whether a server answers at all: MLflow itself would wait minutes for one that is silent."""

import http.client
import urllib.error
import urllib.request

from minigpt.errors import RegistryError

ANSWER_SECONDS = 10.0


def refuse_silent(server: str) -> None:
    """Ask a server for any answer; `server` is its address without user and password.

    Raises:
        RegistryError: none came in time.
    """
    if not server.startswith(("http://", "https://")):
        return
    try:
        with urllib.request.urlopen(  # noqa: S310 - http(s) only
            f"{server.rstrip('/')}/health", timeout=ANSWER_SECONDS
        ):
            return
    except (urllib.error.HTTPError, http.client.HTTPException):
        return  # it answers
    except OSError as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, OSError) and "CERTIFICATE" in str(reason):
            return  # MLflow has settings of its own for these
        raise RegistryError(
            f"{server} does not answer ({reason}). Start that server, or unset MLFLOW_TRACKING_URI."
        ) from error

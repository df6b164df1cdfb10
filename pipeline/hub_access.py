"""Whether the model and data hub answers, asked once and quickly: libraries left to themselves retry for minutes."""

from __future__ import annotations

import threading

ANSWER_SECONDS = 4.0


def hub_obstacle() -> str:
    """Why the hub cannot be asked, "" if it can: one request of at most `ANSWER_SECONDS`, name lookup included."""
    from huggingface_hub import constants, get_session

    if constants.is_offline_mode():
        return "offline mode is on (HF_HUB_OFFLINE)"
    outcome: list[str] = []

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=ANSWER_SECONDS, follow_redirects=False)
            outcome.append("")
        except Exception as error:  # any failure of any transport means the same: the hub does not answer
            outcome.append(f"{constants.ENDPOINT} does not answer ({str(error) or type(error).__name__})")

    # A name lookup obeys no timeout, so the request runs on a thread that may be left behind.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS + 1)
    return outcome[0] if outcome else f"{constants.ENDPOINT} did not answer within {ANSWER_SECONDS:.0f} s"

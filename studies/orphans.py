"""A process that does not outlive the one that started it."""

import os
import signal
import threading
import time

_POLL_S = 1.0


def stop_without(parent: int) -> None:
    """Ask this process to stop once its parent is another than the process of this number."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()

"""Settings: frozen dataclasses without torch."""

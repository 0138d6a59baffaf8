"""Celery's settings, for `celery --config celeryconfig`; they live in the package, so that a wheel has them too."""

from detector.celery_settings import *  # noqa: F403

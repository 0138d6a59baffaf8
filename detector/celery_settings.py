"""Celery's settings. `celery -A detector.app` uses them from any working directory.

What stands here and why: a worker must notice a Redis connection that is dead in one direction, lose no slot that could
still be computed, and never compute the past.
"""

from __future__ import annotations

import os

DEFAULT_BROKER = "redis://localhost:6379/0"

task_default_queue = "celery"

broker_url = os.environ.get("DETECTOR_BROKER_URL") or DEFAULT_BROKER
broker_transport_options = {
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "retry_on_timeout": True,
    "visibility_timeout": 900,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
}
broker_connection_retry_on_startup = True
broker_connection_max_retries = None

accept_content = ["json"]
task_serializer = "json"
task_ignore_result = True
task_send_sent_event = True
worker_send_task_events = True

task_acks_late = True
task_acks_on_failure = True
task_acks_on_timeout = True
# A task that kills its worker must not come back for ever.
task_reject_on_worker_lost = False
task_soft_time_limit = 240
task_time_limit = 300

worker_prefetch_multiplier = 1
worker_cancel_long_running_tasks_on_connection_loss = True
# A child keeps what it read and learned of every query: one that is replaced reads and fits all of it again, which
# takes as long as several cycles. So there is no limit on its tasks (100 would be three cycles of thirty queries), and
# one on its memory for a leak alone. Measured: 90 MiB empty, 520 MiB more for the 193 series of `day_trade`,
# so 2.7 MiB a series; 500 series a child stay below. More: `celery worker --max-memory-per-child KIB`.
worker_max_memory_per_child = 1_500_000  # KiB
worker_soft_shutdown_timeout = 60
worker_enable_soft_shutdown_on_idle = True
worker_hijack_root_logger = False

# The schedule is the catalogue's: nothing to keep in a file, and none of the pickle that keeping it would use.
beat_scheduler = "celery.beat:Scheduler"
beat_max_loop_interval = 5

timezone = "UTC"
